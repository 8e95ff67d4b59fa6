/* record_support.h - a context, a folder with a store and a spool in it, and what was warned of. */
#ifndef TARN_TESTS_RECORD_SUPPORT_H
#define TARN_TESTS_RECORD_SUPPORT_H

#include "tests/support.h"

#include <criterion/criterion.h>
#include <tarn/tarn.h>

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

__attribute__((unused)) static void begin_record(const char *store_name)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, hear, NULL);
    folder = tarn_test_directory();
    store = tarn_test_format("%s/%s", folder, store_name);
    spool = tarn_test_format("%s/spool", folder);
}

__attribute__((unused)) static void end_record(void)
{
    tarn_test_remove(folder);
    free(folder);
    free(store);
    free(spool);
    tarn_error_clear(context);
    tarn_exit(context);
}

#endif
