/* test_report_browser.c - the page of tarn report in headless Chromium: that it is drawn, fits screens from a phone's
 * to a desktop's in light and dark, answers to pointer, keys and controls, and stays silent. */
#include "tests/report_support.h"

TestSuite(report_browser, .init = make_folder, .fini = remove_folder, .timeout = 900);

static void put_rich_run(const char *id, const char *name, double slower)
{
    static const char *const keys[] = {"system/step_seconds",
                                       "system/data_seconds",
                                       "system/compute_seconds",
                                       "system/rank_0/data_seconds",
                                       "system/rank_0/compute_seconds",
                                       "system/rank_1/data_seconds",
                                       "system/rank_1/compute_seconds",
                                       "system/cpu_utilization_percentage",
                                       "system/system_memory_usage_megabytes",
                                       "system/slowest_rank",
                                       "my/own metric",
                                       "train.lr",
                                       "train.gradient_norm",
                                       "validation.loss",
                                       "validation.accuracy"};
    put_run(id, name, BEGIN, 3);
    put_curve(id, "train.loss", 4000);
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        char *text = NULL, *file = tarn_test_format("metrics/%s", keys[k]);
        size_t size;
        FILE *out = open_memstream(&text, &size);
        for (int step = 10; step <= 4000; step += 10)
            fprintf(out, "%lld %.9g %d\n", BEGIN + 10LL * step,
                    k == 9 ? step % 2 : slower * (k + 1) * 1e-3 * value_at(step), step);
        fclose(out);
        put(id, file, text);
        free(text);
        free(file);
    }
    put(id, "params/optim.lr", slower > 1 ? "0.1" : "0.01");
    put(id, "params/data.path",
        "a/very/long/path/that/has/to/break/somewhere/"
        "because_no_screen_of_a_phone_is_as_wide_as_it_is_without_any_blank.txt");
    /* Of 100 s: parts of any width down to one that has no room for a letter. */
    put(id, "tags/tarn.starts",
        "1795000000000:0:4 1795000004000:350:16 1795000009200:850:3 1795000010000:950:1 1795000012600:1250:1 "
        "1795000015000:1400:3 1795000030000:2800:4 1795000033500:3250:128 1795000038000:3800:1");
}

static void check_in_browser(int count, const char *const *names)
{
    char *output = NULL;
    if (tarn_test_run("command -v chromium && command -v python3", 20, NULL)) {
        printf("SKIP the report in a browser: chromium and python3 are not installed (apt; scripts/test does it)\n");
        fflush(stdout);
        cr_skip_test("no chromium");
    }
    size_t length;
    char *page = page_of(count, names, &length), *path = tarn_test_format("%s/page.html", folder);
    cr_assert(tarn_test_write(path, page, length));
    char *line = tarn_test_format("exec python3 " TARN_SOURCE_DIR "/tests/python/check_page.py %s", path);
    int code = tarn_test_run(line, 800, &output);
    cr_expect_eq(code, 0, "%s", output);
    free(line);
    free(output);
    free(page);
    free(path);
}

Test(report_browser, one_run)
{
    put_rich_run(ID, "run", 1);
    check_in_browser(1, (const char *const[]){ID});
}

Test(report_browser, two_runs_with_hostile_names)
{
    char *name = tarn_test_format("%s %0200d", hostile, 7);
    put_rich_run(ID, name, 1);
    put_rich_run(OTHER, "other", 2);
    put(ID, "params/name", name);
    put(OTHER, "params/name", "other");
    check_in_browser(2, (const char *const[]){ID, OTHER});
    free(name);
}

Test(report_browser, an_empty_run)
{
    put_run(ID, "empty", BEGIN, 1);
    check_in_browser(1, (const char *const[]){ID});
}
