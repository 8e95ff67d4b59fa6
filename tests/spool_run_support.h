/* spool_run_support.h - trackers that use the store and the spool of a folder; random bits. */
#ifndef TARN_TESTS_SPOOL_RUN_SUPPORT_H
#define TARN_TESTS_SPOOL_RUN_SUPPORT_H

#include "tests/record_support.h"
#include "tests/spool_support.h"

__attribute__((unused)) static void begin(void)
{
    begin_record("mlruns");
    unsetenv("MLFLOW_TRACKING_URI");
    unsetenv("MLFLOW_RUN_ID");
}

__attribute__((unused)) static void end(void)
{
    forget_taken();
    end_record();
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
