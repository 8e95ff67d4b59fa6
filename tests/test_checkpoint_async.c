/* test_checkpoint_async.c - checkpoints written under the steps that follow: isolation of the snapshot, one write at a
 * time, errors that become known later, waiting at the end.
 *
 * The writer is held where a test needs it busy by the request's settle function, which it calls when all bytes are
 * written and before the checkpoint takes its name.
 */
#include "runtime/base/context.h"
#include "tests/checkpoint_state.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

#define LARGE (8 << 20)

static tarn_context *context;
static tarn_checkpoint_store *store;
static char *directory, logged[65536];
static made_state state, expected;
static sem_t reached, go_on;
static int64_t settled;

static void take_log(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    size_t used = strlen(logged);
    snprintf(logged + used, sizeof logged - used, "%d %s\n", (int)level, line);
}

static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, take_log, NULL);
    cr_assert_not_null(directory = tarn_test_directory());
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 2), TARN_OK);
    sem_init(&reached, 0, 0);
    sem_init(&go_on, 0, 0);
}

static void end(void)
{
    tarn_checkpoint_store_close(store);
    tarn_error_clear(context);
    tarn_exit(context);
    tarn_test_remove(directory);
    free(directory);
}

TestSuite(checkpoint_async, .init = begin, .fini = end, .timeout = 120);

static void hold(void *user, int64_t mark)
{
    (void)user;
    settled = mark;
    sem_post(&reached);
    sem_wait(&go_on);
}

static bool exists(const char *name)
{
    char *path = tarn_test_format("%s/%s", directory, name);
    bool there = !access(path, F_OK);
    free(path);
    return there;
}

static tarn_checkpoint_request request_of(int64_t step)
{
    static const tarn_checkpoint_text texts[] = {{"text/config", "seed: 1\n"}};
    state_fill(&state, (uint64_t)step);
    return (tarn_checkpoint_request){
        .step = step, .entries = state.entries, .entry_count = STATE_ENTRIES, .texts = texts, .text_count = 1};
}

static void check_newest(int64_t step)
{
    int64_t found_step = -1;
    bool found = false;
    state_fill(&state, 4711);
    cr_assert_eq(tarn_checkpoint_load(store, state.entries, STATE_ENTRIES, &found_step, &found), TARN_OK);
    cr_assert(found && found_step == step, "step %" PRId64, found_step);
    state_fill(&expected, (uint64_t)step);
    cr_assert_eq(memcmp(&state, &expected, offsetof(made_state, entries)), 0);
}

Test(checkpoint_async, what_changes_after_the_copy_is_not_in_the_file)
{
    /* Large enough that the writer cannot be done before the changes below. */
    float *large = malloc(LARGE);
    char *text = strdup("model: one"), *name = strdup("model/large");
    for (int i = 0; i < LARGE / 4; i++) large[i] = (float)i;
    tarn_checkpoint_entry *entry = malloc(sizeof *entry);
    *entry = (tarn_checkpoint_entry){name, TARN_F32, 1, {LARGE / 4}, large, true, false, false};
    tarn_checkpoint_text *texts = malloc(sizeof *texts);
    *texts = (tarn_checkpoint_text){"text/config", text};
    tarn_checkpoint_request request = {.step = 5, .entries = entry, .entry_count = 1, .texts = texts, .text_count = 1};
    cr_assert_eq(tarn_checkpoint_prepare(store, &request), TARN_OK);
    bool begun;
    cr_assert_eq(tarn_checkpoint_begin(store, &request, &begun), TARN_OK);
    cr_assert(begun, "memory that is still being touched is no reason to leave a checkpoint out");
    memset(large, 255, LARGE);
    memset(text, 'x', strlen(text));
    memset(name, 'y', strlen(name));
    free(text);
    free(name);
    free(entry);
    free(texts);
    cr_assert_eq(tarn_checkpoint_wait(store), TARN_OK);
    cr_assert_eq(tarn_checkpoint_saved_step(store), 5);
    cr_assert_gt(tarn_checkpoint_persist_seconds(store), 0);
    tarn_checkpoint_entry back = {"model/large", TARN_F32, 1, {LARGE / 4}, large, true, false, false};
    int64_t step;
    bool found;
    cr_assert_eq(tarn_checkpoint_load(store, &back, 1, &step, &found), TARN_OK);
    for (int i = 0; i < LARGE / 4; i++) cr_assert_eq(large[i], (float)i);
    cr_assert_str_eq(tarn_checkpoint_text_get(store, "text/config"), "model: one");
    free(large);
}

Test(checkpoint_async, one_write_at_a_time)
{
    bool begun;
    tarn_checkpoint_request request = request_of(1);
    request.settle = hold;
    request.settle_mark = 77;
    cr_assert_eq(tarn_checkpoint_begin(store, &request, &begun), TARN_OK);
    cr_assert(begun);
    sem_wait(&reached);
    cr_assert_eq(settled, 77);
    /* Everything is written, but what must come first has not: nothing is there, nothing is acknowledged. */
    tarn_checkpoint_poll(store);
    cr_assert(!exists("ckpt-000000000001.h5") && tarn_checkpoint_saved_step(store) == -1);
    request = request_of(2);
    cr_assert_eq(tarn_checkpoint_begin(store, &request, &begun), TARN_OK);
    cr_assert(!begun && tarn_checkpoint_left_out(store) == 1);
    cr_assert(strstr(logged, "step 2 is left out: the one of step 1"), "%s", logged);
    sem_post(&go_on);
    request = request_of(3);
    request.must = true; /* waits, and learns of the one before */
    cr_assert_eq(tarn_checkpoint_begin(store, &request, &begun), TARN_OK);
    cr_assert(begun && tarn_checkpoint_saved_step(store) == 1);
    cr_assert_eq(tarn_checkpoint_wait(store), TARN_OK);
    cr_assert(exists("ckpt-000000000001.h5") && !exists("ckpt-000000000002.h5"));
    check_newest(3);
    cr_assert(strstr(logged, "saved step 1: ") && strstr(logged, "saved step 3: "), "%s", logged);
}

Test(checkpoint_async, an_error_is_known_later_and_the_next_one_tries_again)
{
    char *away = tarn_test_format("%s-away", directory);
    tarn_checkpoint_request request = request_of(1);
    cr_assert_eq(tarn_checkpoint_save(store, 1, request.entries, STATE_ENTRIES, NULL, 0, false), TARN_OK);
    request = request_of(2);
    request.text_count = 0;
    cr_assert_eq(rename(directory, away), 0);
    cr_assert_eq(tarn_checkpoint_begin(store, &request, NULL), TARN_OK);
    for (int i = 0; i < 6000 && !strstr(logged, "was not written"); i++) {
        tarn_checkpoint_poll(store);
        usleep(10000);
    }
    cr_assert(strstr(logged, "ckpt-000000000002.h5 was not written") && strstr(logged, "choose another"), "%s", logged);
    cr_assert_eq(tarn_checkpoint_saved_step(store), 1);
    cr_assert_eq(tarn_checkpoint_wait(store), TARN_OK, "what a poll has told is not told again");
    /* The same when somebody waits: then it is the error of the wait. */
    request.step = 3;
    cr_assert_eq(tarn_checkpoint_begin(store, &request, NULL), TARN_OK);
    cr_assert_eq(tarn_checkpoint_wait(store), TARN_ERROR_IO);
    tarn_error_clear(context);
    cr_assert_eq(rename(away, directory), 0);
    request = request_of(4);
    cr_assert_eq(tarn_checkpoint_begin(store, &request, NULL), TARN_OK);
    cr_assert_eq(tarn_checkpoint_wait(store), TARN_OK);
    check_newest(4);
    free(away);
}

Test(checkpoint_async, closing_finishes_the_write)
{
    tarn_checkpoint_request request = request_of(9);
    cr_assert_eq(tarn_checkpoint_begin(store, &request, NULL), TARN_OK);
    memset(&state, 0, offsetof(made_state, entries));
    tarn_checkpoint_store_close(store);
    cr_assert_eq(tarn_checkpoint_store_open(&store, context, directory, 2), TARN_OK);
    check_newest(9);
    cr_assert(strstr(logged, "saved step 9"), "%s", logged);
}

/* Signals are for the thread that trains. */
Test(checkpoint_async, the_writer_takes_no_signal)
{
    tarn_checkpoint_request request = request_of(1);
    request.settle = hold;
    cr_assert_eq(tarn_checkpoint_begin(store, &request, NULL), TARN_OK);
    sem_wait(&reached);
    char *output;
    char *command = tarn_test_format("grep -l tarn-checkpoint /proc/%d/task/*/comm | sed s/comm/status/ | "
                                     "xargs grep -h SigBlk",
                                     (int)getpid());
    tarn_test_run(command, 60, &output);
    sem_post(&go_on);
    unsigned long long mask = 0;
    cr_assert_eq(sscanf(output, "SigBlk: %llx", &mask), 1, "%s", output);
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, SIGALRM, SIGCHLD};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        cr_assert(mask >> (signals[i] - 1) & 1, "signal %d is not blocked: %s", signals[i], output);
    free(output);
    free(command);
}
