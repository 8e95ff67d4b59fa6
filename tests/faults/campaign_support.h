/* campaign_support.h - what test_faults_*.c share: running a campaign of case_faults and reading its count. */
#ifndef TARN_TESTS_FAULTS_CAMPAIGN_SUPPORT_H
#define TARN_TESTS_FAULTS_CAMPAIGN_SUPPORT_H

#include "tests/support.h"

#include <criterion/criterion.h>

typedef struct campaign_result {
    long long points, violations;
    char *output;
} campaign_result;

/* Runs "case_faults arguments" with --long where the tests are long, and shows what it printed. points -1: it did not
 * come to its end. */
__attribute__((unused)) static campaign_result run_campaign(const char *arguments)
{
    const char *wanted = getenv("TARN_TEST_LONG");
    bool is_long = wanted && wanted[0];
    campaign_result result = {-1, -1, NULL};
    /* Leaks are looked for elsewhere: every one of thousands of children would. */
    char *command = tarn_test_format(
        "ASAN_OPTIONS=detect_leaks=0:exitcode=99 UBSAN_OPTIONS=halt_on_error=1:exitcode=99 exec " TARN_BINARY_DIR
        "/tests/case_faults %s%s",
        arguments, is_long ? " --long" : "");
    int code = tarn_test_run(command, is_long ? 3600 : 900, &result.output);
    const char *total = strstr(result.output, "total: ");
    if (!total || sscanf(total, "total: %lld points, %lld violations", &result.points, &result.violations) != 2)
        result.points = -1;
    fprintf(stderr, "case_faults %s (exit %d)\n%s\n", arguments, code, result.output);
    free(command);
    return result;
}

/* The store keeps all invariants at no fewer than so many points. */
__attribute__((unused)) static void check_holds(const char *arguments, long long least)
{
    campaign_result result = run_campaign(arguments);
    cr_assert_geq(result.points, least, "%s", result.output);
    cr_assert_eq(result.violations, 0, "%s", result.output);
    free(result.output);
}

/* A negative control: the same campaign must find a good part of its points in violation. */
__attribute__((unused)) static void check_bites(const char *arguments, long long least_percent)
{
    campaign_result result = run_campaign(arguments);
    cr_assert_gt(result.points, 0, "%s", result.output);
    cr_assert_geq(100 * result.violations, least_percent * result.points, "%s", result.output);
    free(result.output);
}

#endif
