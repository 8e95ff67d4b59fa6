/* test_checkpoint_large.c - states of more than 4 GiB: no offset, length or count of a checkpoint fits in 32 bits.
 *
 * The layout is computed always; only TARN_TEST_LONG=1 writes and reads one (5 GiB of memory and of disk in /tmp).
 */
#include "checkpoint/files.h"
#include "checkpoint/image.h"
#include "checkpoint/parts.h"
#include "runtime/base/context.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <sys/mman.h>

enum { ROWS = 1101, COLUMNS = 1 << 20, AFTER = 1000 };
#define ELEMENTS ((int64_t)ROWS * COLUMNS)
#define BYTES    (4 * ELEMENTS) /* 4404 MiB */

static bool is_long(void)
{
    const char *value = getenv("TARN_TEST_LONG");
    return value && *value;
}

/* One array of more than 4 GiB, one that lies behind it. */
static void describe(tarn_checkpoint_entry entries[2], float *large, float *after)
{
    entries[0] = (tarn_checkpoint_entry){"model/large", TARN_F32, 2, {ROWS, COLUMNS}, large, .in_digest = true};
    entries[1] = (tarn_checkpoint_entry){"model/small", TARN_F32, 1, {AFTER}, after, .in_digest = true};
}

Test(checkpoint_large, a_layout_of_more_than_4_gib)
{
    tarn_checkpoint_entry entries[2];
    float nothing; /* a layout reads no data */
    describe(entries, &nothing, &nothing);
    tarn_checkpoint_content content = {.step = 1, .entries = entries, .entry_count = 2};
    tarn_problem problem = {0};
    /* One file: HDF5 puts the second array behind the first. */
    tarn_hdf5_dataset datasets[2] = {
        {.name = "model/large", .dtype = TARN_F32, .ndim = 2, .shape = {ROWS, COLUMNS}, .bytes = BYTES},
        {.name = "model/small", .dtype = TARN_F32, .ndim = 1, .shape = {AFTER}, .bytes = 4 * AFTER}};
    tarn_hdf5_memory *memory = tarn_hdf5_memory_create();
    cr_assert(tarn_hdf5_make(memory, TARN_CHECKPOINT_BLOCK, datasets, 2, &problem), "%s", problem.text);
    cr_expect_geq(datasets[0].offset, TARN_CHECKPOINT_BLOCK);
    cr_expect_geq(datasets[1].offset, datasets[0].offset + BYTES);
    cr_expect_geq(tarn_hdf5_memory_bytes(memory), datasets[1].offset + 4 * AFTER);
    cr_expect_leq(tarn_hdf5_memory_bytes(memory), BYTES + 4 * AFTER + (1 << 20));
    tarn_checkpoint_image *image;
    cr_assert(tarn_checkpoint_image_make(&image, &content, &problem), "%s", problem.text);
    cr_expect_eq(tarn_checkpoint_image_bytes(image), tarn_hdf5_memory_bytes(memory));
    tarn_checkpoint_image_destroy(image);
    tarn_hdf5_memory_destroy(memory);
    /* In parts: as many as parts.h says, which follow one another without a gap. */
    int64_t bytes = tarn_checkpoint_state_bytes(entries, 2), next = 0;
    int parts = tarn_checkpoint_part_count(bytes, 0);
    cr_assert_eq(bytes, BYTES + 4 * AFTER);
    cr_assert_eq(parts, 5, "parts of about 1 GiB: %d", parts);
    for (int i = 0; i < parts; i++) {
        tarn_checkpoint_part part;
        cr_assert(tarn_checkpoint_cut(&part, &content, i, parts, &problem), "%s", problem.text);
        cr_assert_eq(part.content.entry_count, i == parts - 1 ? 2 : 1);
        cr_expect_eq(part.slices[0].begin, next, "part %d begins at %" PRId64, i, part.slices[0].begin);
        cr_expect_eq((char *)part.entries[0].data - (char *)&nothing, 4 * next);
        next += part.entries[0].shape[0];
        cr_assert(tarn_checkpoint_image_make(&image, &part.content, &problem), "%s", problem.text);
        int64_t size = tarn_checkpoint_image_bytes(image);
        cr_expect(size > bytes / parts && size < bytes / parts + (1 << 20), "part %d: %" PRId64, i, size);
        tarn_checkpoint_image_destroy(image);
        tarn_checkpoint_part_free(&part);
    }
    cr_expect_eq(next, ELEMENTS);
}

/* ---- written and read -------------------------------------------------------------------------------------------- */

static float *map_large(void)
{
    void *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(memory, MAP_FAILED);
    return memory;
}

/* A value of their own where something that counts in 32 bits, with a sign or without, would go wrong. */
static void set_marks(float *large)
{
    static const int64_t around[] = {1, (int64_t)1 << 29, (int64_t)1 << 30, ELEMENTS - 2};
    for (int i = 0; i < 4; i++)
        for (int k = -1; k <= 1; k++) large[around[i] + k] = (float)(10 * i + k + 100);
}

static void save_and_load(tarn_context *context, int parts, const float *large, const float *after)
{
    char *directory = tarn_test_directory(), digest[65];
    tarn_checkpoint_store *store;
    tarn_checkpoint_entry entries[2];
    tarn_checkpoint_info *infos;
    int count;
    int64_t step;
    bool found;
    describe(entries, (float *)large, (float *)after);
    double begin = tarn_seconds();
    cr_assert_eq(tarn_checkpoint_digest(entries, 2, digest), TARN_OK);
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 1), TARN_OK);
    tarn_checkpoint_store_set_parts(store, parts);
    double digested = tarn_seconds();
    cr_assert_eq(tarn_checkpoint_save(store, 7, entries, 2, NULL, 0, false), TARN_OK, "%s",
                 tarn_get_error(context) ? tarn_get_error(context)->message : "");
    tarn_checkpoint_store_close(store); /* and with it the copy's memory */
    double saved = tarn_seconds();
    cr_assert_eq(tarn_checkpoint_list(context, directory, true, &infos, &count), TARN_OK);
    cr_assert_eq(count, 1);
    cr_expect(infos[0].valid, "%s", infos[0].problem);
    cr_expect_str_eq(infos[0].digest, digest);
    cr_expect_gt(infos[0].bytes, BYTES + 4 * AFTER);
    cr_expect_eq(tarn_checkpoint_is_folder(infos[0].path), parts != 1);
    double verified = tarn_seconds();
    float *fresh = map_large(), fresh_after[AFTER] = {0};
    describe(entries, fresh, fresh_after);
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 1), TARN_OK);
    cr_assert_eq(tarn_checkpoint_load(store, entries, 2, &step, &found), TARN_OK);
    tarn_checkpoint_store_close(store);
    cr_expect(found && step == 7);
    double loaded = tarn_seconds();
    cr_expect_eq(memcmp(fresh_after, after, sizeof fresh_after), 0);
    cr_expect_eq(memcmp(fresh, large, BYTES), 0, "what was loaded is not what was saved");
    fprintf(stderr, "parts %d: %" PRId64 " bytes; digest %.1f s, saved %.1f s, verified %.1f s, loaded %.1f s\n", parts,
            infos[0].bytes, digested - begin, saved - digested, verified - saved, loaded - verified);
    munmap(fresh, BYTES);
    free(infos);
    tarn_test_remove(directory);
    free(directory);
}

Test(checkpoint_large, a_state_of_more_than_4_gib_comes_back, .timeout = 3600)
{
    if (!is_long()) cr_skip("only with TARN_TEST_LONG=1");
    tarn_context *context;
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    float *large = map_large(), after[AFTER];
    set_marks(large);
    for (int i = 0; i < AFTER; i++) after[i] = (float)i;
    save_and_load(context, 1, large, after);
    save_and_load(context, 0, large, after);
    munmap(large, BYTES);
    tarn_exit(context);
}
