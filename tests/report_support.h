/* report_support.h - a file store made by hand, and the page of its runs. */
#ifndef TARN_TESTS_REPORT_SUPPORT_H
#define TARN_TESTS_REPORT_SUPPORT_H

#include "launch/report/report.h"
#include "runtime/config/document.h"
#include "tests/run_support.h"

#include <criterion/criterion.h>
#include <math.h>

static char *folder, *store;

__attribute__((unused)) static void make_folder(void)
{
    folder = tarn_test_directory();
    store = tarn_test_format("%s/mlruns", folder);
    char *experiment = tarn_test_format("%s/7", store), *meta = tarn_test_format("%s/meta.yaml", experiment);
    static const char text[] = "experiment_id: '7'\nname: \"An experiment\"\nlifecycle_stage: active\n";
    cr_assert(!mkdir(store, 0777) && !mkdir(experiment, 0777) && tarn_test_write(meta, text, strlen(text)));
    free(experiment);
    free(meta);
}

__attribute__((unused)) static void remove_folder(void)
{
    tarn_test_remove(folder);
    free(folder);
    free(store);
}

/* ---- a store made by hand ---- */

__attribute__((unused)) static void put(const char *id, const char *file, const char *text)
{
    char *path = tarn_test_format("%s/7/%s/%s", store, id, file);
    for (char *slash = strchr(path + strlen(store), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0777);
        *slash = '/';
    }
    cr_assert(tarn_test_write(path, text, strlen(text)), "%s", path);
    free(path);
}

/* status: as in meta.yaml, 3 = finished */
__attribute__((unused)) static void put_run(const char *id, const char *name, int64_t start_ms, int status)
{
    char *quoted = tarn_document_quote(name),
         *meta = tarn_test_format("run_id: '%s'\nrun_name: %s\nlifecycle_stage: active\nstart_time: %lld\nend_time: "
                                  "%s\nstatus: %d\nuser_id: \"somebody\"\n",
                                  id, quoted, (long long)start_ms, status == 1 ? "null" : "1795000100000", status);
    put(id, "meta.yaml", meta);
    free(quoted);
    free(meta);
}

#define BEGIN 1795000000000
#define ID    "0123456789abcdef0123456789abcdef"
#define OTHER "fedcba9876543210fedcba9876543210"

/* Points of a curve that falls and trembles, 10 ms a step. */
__attribute__((unused)) static double value_at(int64_t step)
{
    uint64_t random = (uint64_t)step * 6364136223846793005u + 1442695040888963407u;
    random ^= random >> 29;
    return 3 * exp(-(double)step / 40000) + 1 + (double)(random % 1000) / 5000;
}

__attribute__((unused)) static void put_curve(const char *id, const char *key, int64_t points)
{
    char *text = NULL, *file = tarn_test_format("metrics/%s", key);
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (int64_t step = 1; step <= points; step++)
        fprintf(out, "%lld %.17g %lld\n", (long long)(BEGIN + 10 * step), value_at(step), (long long)step);
    fclose(out);
    put(id, file, text);
    free(text);
    free(file);
}

__attribute__((unused)) static tarn_run_view *read_most(const char *text, int most)
{
    char problem[TARN_SINK_PROBLEM];
    tarn_run_head head;
    tarn_run_view *view;
    cr_assert_eq(tarn_run_find(&head, store, text, problem), 0, "%s", problem);
    cr_assert_eq(tarn_run_read(&view, &head, most, problem), 0, "%s", problem);
    tarn_run_head_free(&head);
    return view;
}

__attribute__((unused)) static char *page_of(int count, const char *const *names, size_t *length)
{
    tarn_run_view *views[8];
    tarn_report report;
    for (int i = 0; i < count; i++) views[i] = read_most(names[i], 0);
    cr_assert(tarn_report_arrange(&report, views, count, BEGIN + 200000));
    char *page = tarn_report_page(&report, length);
    cr_assert_not_null(page);
    tarn_report_close(&report);
    for (int i = 0; i < count; i++) tarn_run_view_free(views[i]);
    return page;
}

/* What would be markup, quotes, and more than ASCII. */
__attribute__((unused)) static const char *const hostile =
    "</script><script>alert(1)</script>\"'>& \xc3\xa4\xe2\x82\xac \xf0\x9f\x8c\x8a";

#endif
