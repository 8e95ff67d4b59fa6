/* test_checkpoint.c - what a checkpoint file is: round trip, digest, damage of every kind, retention, texts, the wrong
 * model.
 */
#include "checkpoint/header.h"
#include "runtime/base/context.h"
#include "tests/checkpoint_state.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <inttypes.h>

static tarn_context *context;
static tarn_checkpoint_store *store;
static char *directory;
static made_state state, expected;
static char logged[65536];

static void take_log(void *user, tarn_log_level level, const char *line)
{
    (void)user, (void)level;
    size_t used = strlen(logged);
    snprintf(logged + used, sizeof logged - used, "%s\n", line);
}

static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, take_log, NULL);
    cr_assert_not_null(directory = tarn_test_directory());
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 2), TARN_OK);
}

static void end(void)
{
    tarn_checkpoint_store_close(store);
    tarn_error_clear(context);
    tarn_exit(context);
    tarn_test_remove(directory);
    free(directory);
}

TestSuite(checkpoint, .init = begin, .fini = end, .timeout = 120);

static tarn_status save(int64_t step, const char *config, bool is_best)
{
    const tarn_checkpoint_text texts[] = {{"text/config", config}, {"text/run_id", "run-7"}};
    state_fill(&state, (uint64_t)step);
    return tarn_checkpoint_save(store, step, state.entries, STATE_ENTRIES, texts, config ? 2 : 0, is_best);
}

static char *path_of(const char *name)
{
    return tarn_test_format("%s/%s", directory, name);
}

static bool exists(const char *name)
{
    char *path = path_of(name);
    bool there = !access(path, F_OK);
    free(path);
    return there;
}

/* Loads into memory full of other values; the step found (-1: none), or -2 after an error. */
static int64_t load(void)
{
    int64_t step = -7;
    bool found = false;
    state_fill(&state, 4711);
    tarn_status status = tarn_checkpoint_load(store, state.entries, STATE_ENTRIES, &step, &found);
    return status ? -2 : found ? step : -1;
}

static void check_loaded(int64_t step)
{
    cr_assert_eq(load(), step, "expected step %" PRId64 ": %s", step,
                 tarn_get_error(context) ? tarn_get_error(context)->message : logged);
    state_fill(&expected, (uint64_t)step);
    cr_assert_eq(memcmp(&state, &expected, offsetof(made_state, entries)), 0);
}

static bool names_error(const char *text)
{
    return tarn_get_error(context) && strstr(tarn_get_error(context)->message, text);
}

Test(checkpoint, round_trip)
{
    cr_assert_eq(load(), -1);
    cr_assert_null(tarn_checkpoint_text_get(store, "text/config"));
    cr_assert_eq(save(12, "model: {kind: gpt}\n", false), TARN_OK);
    check_loaded(12);
    cr_assert_str_eq(tarn_checkpoint_text_get(store, "text/config"), "model: {kind: gpt}\n");
    cr_assert_str_eq(tarn_checkpoint_text_get(store, "text/run_id"), "run-7");
    cr_assert_null(tarn_checkpoint_text_get(store, "text/other"));
    cr_assert(exists("ckpt-000000000012.h5"));
    cr_assert(!exists(".tmp-template.h5") && !exists(".tmp-000000000012.h5"));
    cr_assert(!strncmp(logged, "saved step 12: ", 15) && !strchr(logged, '\n')[1], "%s", logged);
}

Test(checkpoint, digest_is_the_documented_one)
{
    const float w[6] = {1, 2, 3, 4, 5, -0.5f};
    const int32_t i[2] = {7, -7};
    int64_t step = 41;
    tarn_checkpoint_entry entries[] = {
        {"state/step", TARN_I64, 0, {0}, &step, true, false, false},
        {"model/w", TARN_F32, 2, {2, 3}, (void *)w, true, false, false},
        {"history", TARN_F32, 1, {6}, (void *)w, false, false, false},
        {"model.w", TARN_I32, 1, {2}, (void *)i, true, false, false},
    };
    char digest[65];
    cr_assert_eq(tarn_checkpoint_digest(entries, 4, digest), TARN_OK);
    /* Computed with Python's hashlib from the definition in checkpoint/digest.c. */
    cr_assert_str_eq(digest, "75b8088c511da1bedfcc0c66cc22ddf5cf3480f99986b3ea8f84b0ae2273a85f");
    step = 42;
    char other[65];
    cr_assert_eq(tarn_checkpoint_digest(entries, 4, other), TARN_OK);
    cr_assert_str_neq(digest, other);
}

Test(checkpoint, list_tells_digest_and_size)
{
    char digest[65];
    cr_assert_eq(save(3, "x", false), TARN_OK);
    cr_assert_eq(tarn_checkpoint_digest(state.entries, STATE_ENTRIES, digest), TARN_OK);
    cr_assert_eq(save(5, "x", true), TARN_OK);
    tarn_checkpoint_info *infos;
    int count;
    cr_assert_eq(tarn_checkpoint_list(context, directory, true, &infos, &count), TARN_OK);
    cr_assert_eq(count, 2);
    cr_assert_eq(infos[0].step, 5);
    cr_assert_eq(infos[1].step, 3);
    cr_assert(infos[0].valid && infos[1].valid, "%s %s", infos[0].problem, infos[1].problem);
    cr_assert_str_eq(infos[1].digest, digest);
    cr_assert_str_neq(infos[0].digest, digest);
    struct stat info;
    cr_assert(!stat(infos[0].path, &info) && info.st_size == infos[0].bytes);
    free(infos);
}

/* Neither time nor the past of the store enters the bytes of a file. */
Test(checkpoint, files_are_functions_of_their_contents)
{
    char *path = path_of("ckpt-000000000009.h5");
    size_t first_bytes = 0, second_bytes = 0;
    cr_assert_eq(save(9, "a", false), TARN_OK);
    char *first = tarn_test_read(path, &first_bytes);
    char *text = calloc(1, 9000);
    memset(text, 'x', 8999);
    cr_assert_eq(save(10, text, false), TARN_OK);
    sleep(2); /* a time stamp would differ */
    cr_assert_eq(save(9, "a", false), TARN_OK);
    char *second = tarn_test_read(path, &second_bytes);
    cr_assert_eq(first_bytes, second_bytes);
    cr_assert_eq(memcmp(first, second, first_bytes), 0);
    free(first);
    free(second);
    free(text);
    free(path);
}

Test(checkpoint, texts_grow_up_to_a_mebibyte)
{
    char *text = calloc(1, (1 << 20) + 1);
    for (int length = 4094; length < 1 << 20; length = length < 4097 ? length + 1 : 4 * length) {
        memset(text, 'a' + length % 26, (size_t)length);
        text[length] = '\0';
        cr_assert_eq(save(length, text, false), TARN_OK);
        check_loaded(length);
        cr_assert_str_eq(tarn_checkpoint_text_get(store, "text/config"), text);
    }
    cr_assert_eq(save((1 << 20) + 1, "short again", false), TARN_OK);
    check_loaded((1 << 20) + 1);
    cr_assert_str_eq(tarn_checkpoint_text_get(store, "text/config"), "short again");
    memset(text, 'z', 1 << 20);
    cr_assert_eq(save((1 << 20) + 2, text, false), TARN_ERROR_ARGUMENT);
    cr_assert(names_error("text/config") && names_error("1 MiB"), "%s", tarn_get_error(context)->message);
    free(text);
}

Test(checkpoint, nothing_at_all_can_be_saved)
{
    int64_t step;
    bool found;
    cr_assert_eq(tarn_checkpoint_save(store, 1, NULL, 0, NULL, 0, false), TARN_OK);
    cr_assert_eq(tarn_checkpoint_load(store, NULL, 0, &step, &found), TARN_OK);
    cr_assert(found && step == 1);
    cr_assert_null(tarn_checkpoint_text_get(store, "text/config"));
}

Test(checkpoint, bad_names_and_shapes_are_refused)
{
    float value[4] = {0};
    static const char *const names[] = {"", "/a", "a/", "a//b", ".", "a/./b", "./a", "a/."};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        tarn_checkpoint_entry entry = {names[i], TARN_F32, 1, {4}, value, true, false, false};
        cr_assert_eq(tarn_checkpoint_save(store, 1, &entry, 1, NULL, 0, false), TARN_ERROR_ARGUMENT, "%s", names[i]);
        tarn_error_clear(context);
    }
    tarn_checkpoint_entry twice[2] = {{"a", TARN_F32, 1, {4}, value, true, false, false},
                                      {"a", TARN_F32, 1, {4}, value, true, false, false}};
    cr_assert_neq(tarn_checkpoint_save(store, 1, twice, 2, NULL, 0, false), TARN_OK);
    tarn_error_clear(context);
    twice[1].name = "a/b";
    cr_assert_neq(tarn_checkpoint_save(store, 1, twice, 2, NULL, 0, false), TARN_OK);
    tarn_error_clear(context);
    tarn_checkpoint_entry huge = {"a", TARN_F32, 3, {INT64_MAX, 4, 0}, value, true, false, false};
    huge.shape[2] = 2;
    cr_assert_eq(tarn_checkpoint_save(store, 1, &huge, 1, NULL, 0, false), TARN_ERROR_ARGUMENT);
    cr_assert(!exists("ckpt-000000000001.h5") && !exists(".tmp-template.h5"));
}

/* ---- retention --------------------------------------------------------------------------------------------------- */

Test(checkpoint, the_newest_and_the_best_are_kept)
{
    for (int64_t step = 1; step <= 5; step++) cr_assert_eq(save(step, "x", step == 2), TARN_OK);
    cr_assert(!exists("ckpt-000000000001.h5") && !exists("ckpt-000000000002.h5") && !exists("ckpt-000000000003.h5"));
    cr_assert(exists("ckpt-000000000004.h5") && exists("ckpt-000000000005.h5") && exists("best.h5"));
    char *path = path_of("best.h5"), *text;
    cr_assert_eq(tarn_checkpoint_peek(context, path, "text/run_id", &text), TARN_OK);
    cr_assert_str_eq(text, "run-7");
    free(text);
    cr_assert_eq(tarn_checkpoint_peek(context, path, "text/none", &text), TARN_OK);
    cr_assert_null(text);
    size_t bytes = 0;
    uint8_t *block = (uint8_t *)tarn_test_read(path, &bytes);
    tarn_checkpoint_header header;
    tarn_problem problem;
    cr_assert(tarn_checkpoint_header_decode(&header, block, &problem) && header.step == 2);
    free(block);
    cr_assert_eq(save(6, "x", true), TARN_OK);
    block = (uint8_t *)tarn_test_read(path, &bytes);
    cr_assert(tarn_checkpoint_header_decode(&header, block, &problem) && header.step == 6);
    free(block);
    cr_assert(!exists(".tmp-best.h5"));
    /* Saved again as the best: both names lead to the new file. */
    cr_assert_eq(save(6, "y", true), TARN_OK);
    cr_assert_eq(tarn_checkpoint_peek(context, path, "text/config", &text), TARN_OK);
    cr_assert_str_eq(text, "y");
    free(text);
    free(path);
}

Test(checkpoint, a_run_that_went_back_leaves_later_steps_aside)
{
    cr_assert_eq(save(100, "x", false), TARN_OK);
    cr_assert_eq(save(200, "x", false), TARN_OK);
    cr_assert_eq(save(50, "x", false), TARN_OK);
    cr_assert(exists("ckpt-000000000050.h5") && exists("superseded-000000000100.h5"));
    cr_assert(exists("superseded-000000000200.h5") && !exists("ckpt-000000000200.h5"));
    cr_assert(strstr(logged, "superseded-000000000200.h5"));
    check_loaded(50);
    /* Again: what was set aside before stays what it was. */
    cr_assert_eq(save(200, "y", false), TARN_OK);
    cr_assert_eq(save(60, "y", false), TARN_OK);
    cr_assert(exists("superseded-000000000200.h5") && exists("superseded-000000000200-2.h5"));
    check_loaded(60);
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

static void damage(const char *path, const char *bytes, size_t count, int64_t good)
{
    cr_assert(tarn_test_write(path, bytes, count));
    logged[0] = '\0';
    check_loaded(good);
    cr_assert(strstr(logged, "ckpt-000000000002.h5 is not used"), "%s", logged);
}

Test(checkpoint, a_truncated_file_is_never_loaded)
{
    char *path = path_of("ckpt-000000000002.h5");
    size_t bytes = 0;
    cr_assert(!save(1, "x", false) && !save(2, "x", false));
    char *whole = tarn_test_read(path, &bytes);
    const size_t cuts[] = {0, 1, 100, 4095, 4096, 4097, 4096 + 48, 8192, bytes / 2, bytes - 4096, bytes - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) damage(path, whole, cuts[i], 1);
    char *longer = calloc(1, bytes + 1);
    memcpy(longer, whole, bytes);
    damage(path, longer, bytes + 1, 1);
    cr_assert(tarn_test_write(path, whole, bytes));
    check_loaded(2);
    free(longer);
    free(whole);
    free(path);
}

Test(checkpoint, no_flipped_bit_is_missed)
{
    char *path = path_of("ckpt-000000000002.h5");
    size_t bytes = 0;
    cr_assert(!save(1, "x", false) && !save(2, "x", false));
    char *whole = tarn_test_read(path, &bytes);
    uint64_t z = 88172645463325252ull;
    for (int i = 0; i < 300; i++) {
        z ^= z << 13;
        z ^= z >> 7;
        z ^= z << 17;
        /* A third each: the header with its padding, HDF5's metadata at the beginning, anywhere. */
        size_t at = i % 3 == 0 ? z % 4096 : i % 3 == 1 ? 4096 + z % 2048 : z % bytes;
        if (i < 40) at = (size_t)i * 4; /* the fields of the header */
        whole[at] ^= (char)(1 << (z >> 32) % 8);
        damage(path, whole, bytes, 1);
        whole[at] ^= (char)(1 << (z >> 32) % 8);
    }
    /* What a checksum of 16-bit words can miss. */
    size_t zero = 4096;
    while (zero + 2 < bytes && (whole[zero] || whole[zero + 1])) zero += 2;
    whole[zero] = whole[zero + 1] = (char)0xff;
    damage(path, whole, bytes, 1);
    free(whole);
    free(path);
}

Test(checkpoint, files_but_none_valid_is_an_error_that_names_each)
{
    char *one = path_of("ckpt-000000000001.h5"), *two = path_of("ckpt-000000000002.h5");
    cr_assert(!save(1, "x", false) && !save(2, "x", false));
    cr_assert(tarn_test_write(one, "short", 5));
    char *whole = calloc(1, 20000);
    cr_assert(tarn_test_write(two, whole, 20000));
    cr_assert_eq(load(), -2);
    cr_assert_eq(tarn_get_error(context)->status, TARN_ERROR_FORMAT);
    cr_assert(names_error("ckpt-000000000001.h5: it is 5 bytes long"), "%s", tarn_get_error(context)->message);
    cr_assert(names_error("ckpt-000000000002.h5: it is not a Tarn checkpoint"));
    free(whole);
    free(one);
    free(two);
}

Test(checkpoint, a_newer_version_says_so)
{
    char *path = path_of("ckpt-000000000002.h5");
    size_t bytes = 0;
    cr_assert_eq(save(2, "x", false), TARN_OK);
    uint8_t *whole = (uint8_t *)tarn_test_read(path, &bytes);
    whole[8] = TARN_CHECKPOINT_VERSION + 1;
    tarn_sha256 *sha = tarn_sha256_create();
    tarn_sha256_update(sha, whole, 4064);
    cr_assert(tarn_sha256_finish(sha, whole + 4064));
    cr_assert(tarn_test_write(path, whole, bytes));
    cr_assert_eq(load(), -2);
    cr_assert(names_error("version 2") && names_error("\nUse a newer Tarn") && !names_error("ut back a good copy"),
              "%s", tarn_get_error(context)->message);
    tarn_error_clear(context);
    char *output, *ls = tarn_test_format(TARN_BINARY_DIR "/tarn checkpoint ls %s", directory);
    cr_expect_eq(tarn_test_run(ls, 60, &output), 0);
    cr_expect(strstr(output, "newer  ckpt-000000000002.h5: it says"), "%s", output);
    free(output);
    char *verify = tarn_test_format(TARN_BINARY_DIR "/tarn checkpoint verify %s", directory);
    cr_expect_eq(tarn_test_run(verify, 60, &output), 1);
    cr_expect(strstr(output, "ckpt-000000000002.h5: newer: ") && !strstr(output, "broken"), "%s", output);
    free(output);
    whole[4000] = 1; /* now that claim may be damage: its sum does not say so */
    cr_assert(tarn_test_write(path, whole, bytes));
    cr_expect_eq(tarn_test_run(verify, 60, &output), 1);
    cr_expect(strstr(output, "broken") && strstr(output, "may be damaged too"), "%s", output);
    cr_assert_eq(load(), -2);
    cr_assert(names_error("\nPut back a good copy") && names_error("--from-scratch (from_scratch in C)"), "%s",
              tarn_get_error(context)->message);
    free(output);
    free(ls);
    free(verify);
    free(whole);
    free(path);
}

Test(checkpoint, a_copy_under_another_step_is_not_believed)
{
    cr_assert_eq(save(1, "x", false), TARN_OK);
    char *one = path_of("ckpt-000000000001.h5"), *nine = path_of("ckpt-000000000009.h5");
    cr_assert_eq(link(one, nine), 0);
    check_loaded(1);
    cr_assert(strstr(logged, "step 1 under another name"), "%s", logged);
    free(one);
    free(nine);
}

/* Broken files do not push good ones out. */
Test(checkpoint, retention_does_not_count_broken_files)
{
    cr_assert(!save(1, "x", false) && !save(2, "x", false));
    char *path = path_of("ckpt-000000000002.h5");
    cr_assert(tarn_test_write(path, "broken", 6));
    cr_assert_eq(save(3, "x", false), TARN_OK);
    cr_assert(exists("ckpt-000000000001.h5") && exists("ckpt-000000000003.h5"));
    free(path);
}

/* ---- another model ----------------------------------------------------------------------------------------------- */

Test(checkpoint, another_shape_names_dataset_and_both_shapes)
{
    cr_assert_eq(save(1, "x", false), TARN_OK);
    int64_t step;
    bool found;
    state_fill(&state, 5);
    state_fill(&expected, 5);
    state.entries[0].shape[1] = 52;
    cr_assert_eq(tarn_checkpoint_load(store, state.entries, STATE_ENTRIES, &step, &found), TARN_ERROR_SHAPE);
    cr_assert(!found);
    cr_assert(names_error("another model") && names_error("model/blocks.0.attention.weight") &&
                  names_error("f32 (37, 53) in the file") && names_error("f32 (37, 52) here") &&
                  names_error("ckpt-000000000001.h5"),
              "%s", tarn_get_error(context)->message);
    cr_assert_eq(memcmp(&state, &expected, offsetof(made_state, entries)), 0, "entries were touched");
}

Test(checkpoint, a_missing_dataset_and_a_surplus_parameter)
{
    cr_assert_eq(save(1, "x", false), TARN_OK);
    int64_t step;
    bool found;
    state_fill(&state, 5);
    state.entries[4].name = "state/third";
    cr_assert_eq(tarn_checkpoint_load(store, state.entries, STATE_ENTRIES, &step, &found), TARN_ERROR_SHAPE);
    cr_assert(names_error("state/third, bf16 (5,) here, is not in the file"), "%s", tarn_get_error(context)->message);
    tarn_error_clear(context);
    state_describe(&state);
    cr_assert_eq(tarn_checkpoint_load(store, state.entries, 3, &step, &found), TARN_ERROR_SHAPE);
    cr_assert(names_error("model/table, f32 (5, 10, 100) in the file, is not in this model"), "%s",
              tarn_get_error(context)->message);
    tarn_error_clear(context);
    /* Parts without parameters may be read alone. */
    state.step = 0;
    cr_assert_eq(tarn_checkpoint_load(store, &state.entries[6], 1, &step, &found), TARN_OK);
    state_fill(&expected, 1);
    cr_assert_eq(state.step, expected.step);
}
