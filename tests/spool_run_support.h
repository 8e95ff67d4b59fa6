/* spool_run_support.h - a folder with a store and a spool, trackers that use them, and what was warned of. */
#ifndef TARN_TESTS_SPOOL_RUN_SUPPORT_H
#define TARN_TESTS_SPOOL_RUN_SUPPORT_H

#include "tests/spool_support.h"

#include <criterion/criterion.h>

static tarn_context *context;
static char *folder, *store, *spool;
static char heard[16384];
static int warnings;

__attribute__((unused)) static void hear(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    if (level != TARN_LOG_WARN) return;
    warnings++;
    snprintf(heard + strlen(heard), sizeof heard - strlen(heard), "%s\n", line);
}

__attribute__((unused)) static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, hear, NULL);
    folder = tarn_test_directory();
    store = tarn_test_format("%s/mlruns", folder);
    spool = tarn_test_format("%s/spool", folder);
    unsetenv("MLFLOW_TRACKING_URI");
    unsetenv("MLFLOW_RUN_ID");
}

__attribute__((unused)) static void end(void)
{
    tarn_test_remove(folder);
    free(folder);
    free(store);
    free(spool);
    forget_taken();
    tarn_error_clear(context);
    tarn_exit(context);
}

__attribute__((unused)) static tarn_tracker *open_with(const tarn_track_options *options)
{
    tarn_tracker *tracker = NULL;
    tarn_track_options own = *options;
    if (!own.store) own.store = store;
    own.spool = spool;
    tarn_status status = tarn_track_open(&tracker, context, &own);
    cr_assert_eq(status, TARN_OK, "%s", tarn_get_error(context) ? tarn_get_error(context)->message : "");
    return tracker;
}

static uint64_t random_state = 88172645463325252u;
__attribute__((unused)) static uint64_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

#endif
