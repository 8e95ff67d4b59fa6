/* case_checkpoint.c - checkpoints over several ranks. Launched by test_checkpoint.c.
 *
 *   case_checkpoint save DIR STEP    all ranks call save with state of seed STEP
 *   case_checkpoint parts DIR STEP K the same in K parts; every rank prints "rank R saved STEP"
 *   case_checkpoint fails DIR        three saves in 3 parts, rank 1 may not write large files during the second
 *   case_checkpoint load DIR         every rank prints "rank R step S digest D config TEXT" of what it received
 *   case_checkpoint mismatch DIR     loads into another shape; every rank prints its status, then ends by tarn_exit
 *   case_checkpoint init PATH        every rank prints "rank R loaded N sum S" of a module initialised from PATH
 *   case_checkpoint under DIR        40 steps that change the state while checkpoints are written, for ThreadSanitizer
 *   case_checkpoint loop DIR         saves steps 1, 2, ... and prints each once it is durable, until it is killed
 */
#include "runtime/base/context.h"
#include "tests/checkpoint_state.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

static tarn_context *context;
static made_state state;

static void print_line(const char *text)
{
    printf("%s\n", text);
    fflush(stdout);
}

static tarn_status save(tarn_checkpoint_store *store, int64_t step)
{
    const tarn_checkpoint_text texts[] = {{"text/config", "model: made up\n"}};
    state_fill(&state, (uint64_t)step);
    return tarn_checkpoint_save(store, step, state.entries, STATE_ENTRIES, texts, 1, false);
}

static void save_parts(tarn_checkpoint_store *store, int64_t step, int parts)
{
    char line[80];
    tarn_checkpoint_store_set_parts(store, parts);
    if (save(store, step)) return;
    snprintf(line, sizeof line, "rank %d saved %" PRId64, tarn_rank(context), tarn_checkpoint_saved_step(store));
    print_line(line);
}

static void fail_once(tarn_checkpoint_store *store)
{
    char line[120];
    struct rlimit before, limit = {.rlim_cur = 6000};
    tarn_checkpoint_store_set_parts(store, 3);
    tarn_status first = save(store, 1);
    getrlimit(RLIMIT_FSIZE, &before);
    limit.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    if (tarn_rank(context) == 1) setrlimit(RLIMIT_FSIZE, &limit);
    tarn_status second = save(store, 2);
    setrlimit(RLIMIT_FSIZE, &before);
    if (second && tarn_rank(context) == 2) print_line(tarn_get_error(context)->message);
    tarn_error_clear(context);
    tarn_status third = save(store, 3);
    snprintf(line, sizeof line, "rank %d: %s %s %s, newest %" PRId64, tarn_rank(context), tarn_status_name(first),
             tarn_status_name(second), tarn_status_name(third), tarn_checkpoint_saved_step(store));
    print_line(line);
}

static void change_state(tarn_checkpoint_store *store)
{
    tarn_checkpoint_request request = {.entries = state.entries, .entry_count = STATE_ENTRIES};
    tarn_status status = TARN_OK;
    state_fill(&state, 1);
    status = tarn_checkpoint_prepare(store, &request);
    for (int64_t step = 1; step <= 40 && !status; step++) {
        state_fill(&state, (uint64_t)step);
        request.step = step;
        request.must = step % 10 == 0;
        status = tarn_checkpoint_begin(store, &request, NULL);
        for (int i = 0; i < 200; i++) tarn_checkpoint_poll(store);
    }
    if (!status) status = tarn_checkpoint_wait(store);
    if (!status) print_line(tarn_checkpoint_saved_step(store) == 40 ? "saved 40" : "not saved");
}

static tarn_status load(tarn_checkpoint_store *store, bool other_shape)
{
    int64_t step = -1;
    bool found = false;
    char line[400], digest[65];
    state_fill(&state, 1000 + (uint64_t)tarn_rank(context));
    if (other_shape) state.entries[1].shape[0] = 52;
    tarn_status status = tarn_checkpoint_load(store, state.entries, STATE_ENTRIES, &step, &found);
    if (status) {
        snprintf(line, sizeof line, "rank %d status %s", tarn_rank(context), tarn_status_name(status));
    } else {
        const char *config = found ? tarn_checkpoint_text_get(store, "text/config") : NULL;
        tarn_checkpoint_digest(state.entries, STATE_ENTRIES, digest);
        snprintf(line, sizeof line, "rank %d step %" PRId64 " digest %s config %.14s", tarn_rank(context),
                 found ? step : -1, digest, config ? config : "none");
    }
    print_line(line);
    return status;
}

static tarn_status init(const char *path)
{
    tarn_module *module = NULL;
    int loaded = -1;
    tarn_status status = tarn_linear_create(&module, context, 53, 37, NULL);
    if (!status) status = tarn_module_build(module, 7 + (uint64_t)tarn_rank(context));
    if (!status) status = tarn_module_init_from(module, path, false, &loaded);
    double sum = 0;
    tarn_parameter_info info;
    for (int i = 0; !status && tarn_module_parameter_at(module, i, &info); i++)
        for (int64_t k = 0; k < info.numel; k++) sum += info.values[k];
    char line[200];
    snprintf(line, sizeof line, "rank %d loaded %d sum %a", tarn_rank(context), loaded, sum);
    if (!status) print_line(line);
    tarn_module_destroy(module);
    return status;
}

int main(int argc, char **argv)
{
    if (argc < 3) return 2;
    tarn_status status = tarn_init(&context, &argc, &argv);
    if (status) return tarn_exit(context);
    if (!strcmp(argv[1], "init")) {
        init(argv[2]);
        return tarn_exit(context);
    }
    tarn_checkpoint_store *store = NULL;
    status = tarn_checkpoint_store_open(&store, context, argv[2], 2);
    if (status) {
        char line[100];
        snprintf(line, sizeof line, "rank %d open %s", tarn_rank(context), tarn_status_name(status));
        print_line(line);
    } else if (!strcmp(argv[1], "save") && argc > 3) {
        save(store, atoll(argv[3]));
    } else if (!strcmp(argv[1], "parts") && argc > 4) {
        save_parts(store, atoll(argv[3]), atoi(argv[4]));
    } else if (!strcmp(argv[1], "fails")) {
        fail_once(store);
    } else if (!strcmp(argv[1], "under")) {
        change_state(store);
    } else if (!strcmp(argv[1], "loop")) {
        char line[40];
        for (int64_t step = 1; !status; step++) {
            status = save(store, step);
            snprintf(line, sizeof line, "%" PRId64, step);
            if (!status) print_line(line);
        }
    } else {
        load(store, !strcmp(argv[1], "mismatch"));
    }
    tarn_checkpoint_store_close(store);
    return tarn_exit(context);
}
