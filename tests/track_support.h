/* track_support.h - a run in a file store of its own: opening it, reading what stands there. */
#ifndef TARN_TESTS_TRACK_SUPPORT_H
#define TARN_TESTS_TRACK_SUPPORT_H

#include "track/tracker.h"
#include "tests/record_support.h"

__attribute__((unused)) static void begin(void)
{
    begin_record("store of runs");
}

__attribute__((unused)) static tarn_tracker *open_run(const char *experiment, const char *name, const char *run_id)
{
    tarn_tracker *tracker = NULL;
    tarn_status status =
        tarn_track_open(&tracker, context,
                        &(tarn_track_options){
                            .store = store, .spool = spool, .experiment = experiment, .name = name, .run_id = run_id});
    cr_assert_eq(status, TARN_OK, "%s", tarn_get_error(context)->message);
    return tracker;
}

/* The path of a file of the run, whose place is the experiment's business. Freed by the caller. */
__attribute__((unused)) static char *run_path(const char *run_id, const char *file)
{
    char *command = tarn_test_format("ls -d '%s'/*/%s", store, run_id), *found;
    cr_assert_eq(tarn_test_run(command, 20, &found), 0, "no folder of run %s: %s", run_id, found);
    found[strcspn(found, "\n")] = '\0';
    char *path = tarn_test_format("%s/%s", found, file);
    free(command);
    free(found);
    return path;
}

__attribute__((unused)) static char *run_file(const char *run_id, const char *file)
{
    char *path = run_path(run_id, file), *text = tarn_test_read(path, NULL);
    cr_assert_not_null(text, "%s is not there", path);
    free(path);
    return text;
}

/* The metric's lines without their times. */
__attribute__((unused)) static void expect_points(const char *run_id, const char *key, const char *expected)
{
    char *name = tarn_test_format("metrics/%s", key), *text = run_file(run_id, name), *bare = NULL;
    size_t size;
    FILE *out = open_memstream(&bare, &size);
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *blank = strchr(line, ' ');
        cr_assert(blank && blank - line == 13, "no time in milliseconds: %s", line);
        fprintf(out, "%s;", blank + 1);
    }
    fclose(out);
    cr_assert_str_eq(bare, expected);
    free(bare);
    free(text);
    free(name);
}

#endif
