/* monitor_support.h - the supervisor of tests (hub.h) that says yes. */
#ifndef TARN_TESTS_MONITOR_SUPPORT_H
#define TARN_TESTS_MONITOR_SUPPORT_H

#include "tests/hub.h"

__attribute__((unused)) static bool has(const char *text, const char *part)
{
    return text && strstr(text, part);
}

static tarn_test_hub hub;

__attribute__((unused)) static bool answer_ok(tarn_test_hub *self, int connection, int rank, const char *line)
{
    (void)self, (void)rank;
    if (!strncmp(line, "at ", 3)) hub_say(connection, "ok");
    return true;
}

#endif
