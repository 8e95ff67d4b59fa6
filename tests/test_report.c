/* test_report.c - runs read back from a store and a spool, and the page of them: that it holds what the record holds,
 * that nothing a run says becomes markup, and (in headless Chromium) that it is drawn, fits the screen and stays
 * silent.
 */
#include "tests/report_support.h"
#include "track/environment.h"

#include <cjson/cJSON.h>

TestSuite(report, .init = make_folder, .fini = remove_folder, .timeout = 300);

static char *page_of_one(const char *name)
{
    size_t length;
    return page_of(1, &name, &length);
}

static void expect(const char *text, const char *part)
{
    cr_expect_not_null(strstr(text, part), "\"%s\" is missing", part);
}

static void expect_none(const char *text, const char *part)
{
    const char *found = strstr(text, part);
    cr_expect_null(found, "\"%s\" is there: %.80s", part, found);
}

/* The data of a page, parsed. */
static cJSON *data_of(const char *page)
{
    const char *begin = strstr(page, "id=\"data\">");
    cr_assert_not_null(begin);
    begin += strlen("id=\"data\">");
    const char *end = strstr(begin, "</script>");
    cr_assert_not_null(end);
    cr_assert_eq(strcspn(begin, "<>&"), (size_t)(end - begin), "markup in the data: %.40s", strpbrk(begin, "<>&"));
    cJSON *data = cJSON_ParseWithLength(begin, (size_t)(end - begin));
    cr_assert_not_null(data, "no JSON near %.60s", cJSON_GetErrorPtr());
    return data;
}

static cJSON *curve_of(cJSON *data, int run, const char *key)
{
    cJSON *curves = cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(data, "runs"), run), "curves");
    return cJSON_GetObjectItemCaseSensitive(curves, key);
}

/* ---- reading ---- */

Test(report, groups_say_the_truth_of_their_points)
{
    enum { POINTS = 30011 };
    put_run(ID, "run", BEGIN, 3);
    put_curve(ID, "train.loss", POINTS);
    for (int most = 2; most <= 40000; most = most * 7 + 3) {
        tarn_run_view *view = read_most(ID, most);
        const tarn_run_curve *curve = tarn_run_curve_of(view, "train.loss");
        cr_assert_not_null(curve);
        cr_assert_eq(curve->count, POINTS);
        cr_assert_leq(curve->group_count, most);
        cr_assert_geq(curve->group_count, most < POINTS ? most / 2 : POINTS);
        int64_t step = 1;
        double least = INFINITY, greatest = -INFINITY;
        for (int i = 0; i < curve->group_count; i++) {
            const tarn_run_group *group = &curve->groups[i];
            double sum = 0, low = INFINITY, high = -INFINITY;
            cr_assert_eq(group->first_step, step);
            for (int64_t k = 0; k < group->count; k++, step++) {
                sum += value_at(step);
                low = fmin(low, value_at(step));
                high = fmax(high, value_at(step));
            }
            cr_assert_eq(group->last_step, step - 1);
            cr_assert_eq(group->time_ms, BEGIN + 10 * (step - 1));
            cr_assert_float_eq(group->sum, sum, 1e-9 * fabs(sum));
            cr_assert(group->least == low && group->greatest == high);
            least = fmin(least, low);
            greatest = fmax(greatest, high);
        }
        cr_assert_eq(step, POINTS + 1);
        cr_assert(curve->least == least && curve->greatest == greatest);
        cr_assert(value_at(curve->least_step) == least && value_at(curve->greatest_step) == greatest);
        cr_assert(curve->first == value_at(1) && curve->last == value_at(POINTS));
        tarn_run_view_free(view);
    }
}

Test(report, a_record_of_another_hand_is_read_as_far_as_it_can_be)
{
    put_run(ID, "run", BEGIN, 3);
    put(ID, "metrics/disorder", "1795000000005 5 5\n1795000000001 1 1\n1795000000003 3 3\n");
    put(ID, "metrics/torn", "1795000000001 1 1\nwords\n\n1795000000002 2 2\n17950000");
    put(ID, "metrics/wild", "1795000000001 nan 1\n1795000000002 inf 2\n1795000000003 -inf 3\n1795000000004 4 4\n");
    put(ID, "metrics/forms", "1795000000001 0.5\n1795000000002 0.25 1 a b\n");
    put(ID, "metrics/empty", "");
    put(ID, "params/bytes", "a\xff\xfe b");
    tarn_run_view *view = read_most(ID, 64);
    const tarn_run_curve *disorder = tarn_run_curve_of(view, "disorder");
    cr_assert_eq(disorder->group_count, 3);
    for (int i = 0; i < 3; i++) cr_expect_eq(disorder->groups[i].first_step, 2 * i + 1);
    cr_expect(disorder->first == 1 && disorder->last == 5);
    cr_expect_eq(tarn_run_curve_of(view, "torn")->count, 2);
    cr_expect_eq(view->left_out, 3);
    cr_expect_eq(tarn_run_curve_of(view, "wild")->count, 1);
    cr_expect_eq(view->not_finite, 3);
    cr_expect_eq(tarn_run_curve_of(view, "forms")->count, 2);
    cr_expect_eq(tarn_run_curve_of(view, "empty")->count, 0);
    cr_expect(tarn_document_is_utf8(tarn_run_param(view, "bytes")));
    tarn_run_view_free(view);
    char *page = page_of_one(ID);
    expect(page, "3 lines of the record could not be read");
    expect(page, "3 values are no finite numbers");
    free(page);
}

Test(report, runs_are_found_by_what_a_person_writes)
{
    tarn_run_head head;
    char problem[TARN_SINK_PROBLEM];
    put_run(ID, "shakespeare", BEGIN, 3);
    put_run("aa23456789abcdef0123456789abcdef", "twin", BEGIN, 3);
    put_run(OTHER, "twin", BEGIN + 5, 1);
    char *path = tarn_test_format("%s/7/%s", store, ID);
    const struct {
        const char *text, *id;
    } found[] = {{ID, ID},        {"0123", ID},   {"shakespeare", ID}, {"shak", ID},
                 {"twin", OTHER}, {"fed", OTHER}, {path, ID}};
    for (size_t i = 0; i < sizeof found / sizeof *found; i++) {
        cr_assert_eq(tarn_run_find(&head, store, found[i].text, problem), 0, "%s: %s", found[i].text, problem);
        cr_expect_str_eq(head.run_id, found[i].id, "%s", found[i].text);
        tarn_run_head_free(&head);
    }
    cr_expect_neq(tarn_run_find(&head, store, "shakespaere", problem), 0);
    expect(problem, "did you mean \"shakespeare\"?");
    expect(problem, "twin (fedcba98)");
    cr_expect_neq(tarn_run_find(&head, store, "tw", problem), 0);
    expect(problem, "several runs begin with \"tw\"");
    cr_expect_neq(tarn_run_find(&head, store, "", problem), 0);
    char *nowhere = tarn_test_format("%s/nowhere", folder);
    cr_expect_neq(tarn_run_find(&head, nowhere, "x", problem), 0);
    expect(problem, "there is no file store");
    free(nowhere);
    free(path);
    tarn_run_head *heads;
    int count;
    cr_assert_eq(tarn_run_list(&heads, &count, store, problem), 0);
    cr_assert_eq(count, 3);
    cr_expect_str_eq(heads[0].run_id, OTHER, "the newest is the first");
    cr_expect_str_eq(heads[0].status, "RUNNING");
    cr_expect_str_eq(heads[0].experiment, "An experiment");
    tarn_run_heads_free(heads, count);
}

/* ---- the page ---- */

Test(report, nothing_a_run_says_becomes_markup)
{
    put_run(ID, hostile, BEGIN, 3);
    put_run(OTHER, "another", BEGIN, 3);
    put_curve(ID, "train.loss", 20);
    put_curve(OTHER, "train.loss", 20);
    put(ID, "params/name", hostile);
    put(ID, "tags/mlflow.note.content", hostile);
    put(ID, "tags/nonfinite.x", hostile);
    put(ID, "tags/tarn.broken_promise", hostile);
    put(ID, "tags/control", "a\x01\x1b[31m b");
    const char *const names[] = {ID, OTHER};
    for (int count = 1; count <= 2; count++) {
        size_t length;
        char *page = page_of(count, names, &length);
        cr_expect_eq(strlen(page), length);
        expect_none(page, "<script>alert");
        expect_none(page, "alert(1)</script>");
        expect_none(page, "\"'>&");
        expect_none(page, "\x1b");
        expect(page, "&lt;/script&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&gt;&amp; \xc3\xa4\xe2\x82\xac "
                     "\xf0\x9f\x8c\x8a");
        cr_expect(tarn_document_is_utf8(page));
        cJSON *data = data_of(page);
        cr_expect_str_eq(
            cJSON_GetStringValue(cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(data, "runs"), 0), "name")),
            hostile);
        cJSON_Delete(data);
        free(page);
    }
}

Test(report, the_page_asks_for_nothing_outside)
{
    put_run(ID, "run", BEGIN, 3);
    put_curve(ID, "train.loss", 20);
    char *page = page_of_one(ID);
    static const char *const ways[] = {"http:",  "https:",         "src=",   "@import",
                                       "url(h",  "url(/",          "url(\"", "<link rel=\"stylesheet",
                                       "fetch(", "XMLHttpRequest", "import("};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) expect_none(page, ways[i]);
    expect(page, "default-src 'none'");
    expect(page, "script-src 'sha256-");
    expect_none(page, "{{");
    free(page);
}

Test(report, an_empty_run_has_a_page)
{
    put_run(ID, "nothing yet", BEGIN, 1);
    char *page = page_of_one(ID);
    expect(page, "No curves yet");
    expect(page, "No parameter has been recorded");
    expect(page, "Running");
    free(page);
}

Test(report, one_point_is_a_dot)
{
    put_run(ID, "one", BEGIN, 3);
    put(ID, "metrics/train.loss", "1795000000010 2.5 1\n");
    char *page = page_of_one(ID);
    expect(page, "<circle");
    expect(page, "2.5");
    cJSON *data = data_of(page), *curve = curve_of(data, 0, "train.loss");
    cr_assert_not_null(curve);
    cr_expect_eq(cJSON_GetArraySize(cJSON_GetObjectItem(curve, "y")), 1);
    cJSON_Delete(data);
    *strstr(page, "<script") = '\0';
    expect_none(page, "nan");
    expect_none(page, "inf ");
    free(page);
}

Test(report, starts_are_on_the_time_line_and_what_is_wrong_is_said)
{
    put_run(ID, "run", BEGIN, 4);
    put_curve(ID, "train.loss", 1000);
    put(ID, "tags/tarn.starts", "1795000000000:0:4 1795000005000:400:3 1795000007000:600:1");
    put(ID, "tags/nonfinite.train.loss", "nan at step 12");
    char *page = page_of_one(ID);
    expect(page, "2 restarts");
    expect(page, "Restart 1: went on from step 400 on 3 ranks");
    expect(page, "Restart 2: went on from step 600 on 1 rank,");
    expect(page, "Failed");
    expect(page, "<b>train.loss</b> was nan at step 12");
    cJSON *data = data_of(page);
    cr_expect_eq(
        cJSON_GetArraySize(cJSON_GetObjectItem(cJSON_GetArrayItem(cJSON_GetObjectItem(data, "runs"), 0), "starts")), 2);
    cJSON_Delete(data);
    free(page);
}

Test(report, several_runs_are_compared)
{
    put_run(ID, "slow", BEGIN, 3);
    put_run(OTHER, "fast", BEGIN, 3);
    put_curve(ID, "train.loss", 50);
    put_curve(OTHER, "train.loss", 80);
    put(ID, "metrics/validation.loss", "1795000000010 2.5 50\n");
    put(OTHER, "metrics/validation.loss", "1795000000010 2.25 80\n");
    put(ID, "params/optim.lr", "0.001");
    put(OTHER, "params/optim.lr", "0.1");
    put(ID, "params/seed", "1");
    put(OTHER, "params/seed", "1");
    put(OTHER, "params/optim.clip", "2");
    const char *const names[] = {ID, OTHER};
    size_t length;
    char *page = page_of(2, names, &length);
    expect(page, "<h1>2 runs</h1>");
    expect(page, "Only what differs (2 of 3)");
    expect(page, "<tr class=\"differs\"><th scope=\"row\">optim.<wbr>lr");
    expect(page, "<tr class=\"differs\"><th scope=\"row\">optim.<wbr>clip");
    expect(page, "<tr><th scope=\"row\">seed</th>");
    expect(page, "class=\"best\"><span>2.25");
    free(page);
}

Test(report, a_million_points_make_a_small_page)
{
    enum { POINTS = 1000000 };
    put_run(ID, "long", BEGIN, 3);
    put_curve(ID, "train.loss", POINTS);
    put_curve(ID, "system/step_seconds", 1000);
    size_t length;
    const char *name = ID;
    char *page = page_of(1, &name, &length);
    cr_expect_lt(length, 2000000);
    expect(page, "1\u202f001\u202f000 recorded points, drawn as");
    cJSON *data = data_of(page), *curve = curve_of(data, 0, "train.loss"), *counts = cJSON_GetObjectItem(curve, "n"),
          *count;
    double sum = 0, least = INFINITY;
    cJSON_ArrayForEach(count, counts) sum += count->valuedouble;
    cr_expect_eq(sum, POINTS);
    cJSON_ArrayForEach(count, cJSON_GetObjectItem(curve, "a")) least = fmin(least, count->valuedouble);
    double smallest = INFINITY;
    for (int64_t step = 1; step <= POINTS; step++) smallest = fmin(smallest, value_at(step));
    cr_expect_float_eq(least, smallest, 1e-6, "no extreme is lost: %g, %g", least, smallest);
    cJSON_Delete(data);
    free(page);
}

/* ---- the spool ---- */

static void expect_same_view(const tarn_run_view *a, const tarn_run_view *b)
{
    cr_assert_eq(a->curve_count, b->curve_count);
    for (int i = 0; i < a->curve_count; i++) {
        const tarn_run_curve *x = &a->curves[i], *y = &b->curves[i];
        cr_assert_str_eq(x->key, y->key);
        cr_assert_eq(x->group_count, y->group_count, "%s", x->key);
        for (int k = 0; k < x->group_count; k++) {
            cr_assert_eq(x->groups[k].first_step, y->groups[k].first_step);
            cr_assert_eq(x->groups[k].time_ms, y->groups[k].time_ms);
            cr_assert(x->groups[k].sum == y->groups[k].sum && x->groups[k].least == y->groups[k].least, "%s", x->key);
        }
        cr_expect(x->last == y->last && x->least_step == y->least_step && x->last_ms == y->last_ms);
    }
    cr_assert_eq(a->param_count, b->param_count);
    for (int i = 0; i < a->param_count; i++) {
        cr_expect_str_eq(a->params[i].key, b->params[i].key);
        cr_expect_str_eq(a->params[i].value, b->params[i].value);
    }
    cr_assert_eq(a->start_count, b->start_count);
    for (int i = 0; i < a->start_count; i++)
        cr_expect(a->starts[i].time_ms == b->starts[i].time_ms && a->starts[i].step == b->starts[i].step &&
                  a->starts[i].ranks == b->starts[i].ranks);
    cr_assert_eq(a->input_count, b->input_count);
    cr_expect_str_eq(a->head.run_id, b->head.run_id);
    cr_expect_str_eq(a->head.name, b->head.name);
    cr_expect_str_eq(a->head.experiment, b->head.experiment);
    cr_expect_str_eq(a->head.status, b->head.status);
}

static tarn_tracker *open_tracker(tarn_context *context, const char *spool, const char *id)
{
    tarn_tracker *tracker = NULL;
    tarn_track_options options = {
        .store = store, .experiment = "An experiment", .name = "both", .run_id = id, .spool = spool};
    cr_assert_eq(tarn_track_open(&tracker, context, &options), TARN_OK, "%s", tarn_get_error(context)->message);
    return tracker;
}

Test(report, a_spool_and_a_store_show_the_same_run)
{
    tarn_context *context;
    char *spool = tarn_test_format("%s/spool", folder), *folder_of_spool, id[33], problem[TARN_SINK_PROBLEM];
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_tracker *tracker = open_tracker(context, spool, NULL);
    snprintf(id, sizeof id, "%s", tarn_track_run_id(tracker));
    for (int start = 0; start < 2; start++) {
        for (int step = 1 + 100 * start; step <= 150 + 100 * start; step++) {
            tarn_log_metric(tracker, "train.loss", value_at(step), step);
            tarn_log_metric(tracker, "system/step_seconds", value_at(step) / 1e3, step);
        }
        tarn_log_param(tracker, "optim.lr", "0.001");
        tarn_log_tag(tracker, "tarn.starts", start ? "1795000000000:0:2 1795000001000:100:1" : "1795000000000:0:2");
        cr_assert_eq(tarn_track_close(tracker, start ? "FINISHED" : "KILLED"), TARN_OK);
        if (!start) tracker = open_tracker(context, spool, id);
    }
    folder_of_spool = tarn_test_format("%s/%s", spool, id);
    tarn_run_head head;
    tarn_run_view *spooled, *stored;
    for (int most = 16; most <= 2048; most *= 16) {
        cr_assert_eq(tarn_run_find(&head, "/dev/null", folder_of_spool, problem), 0, "%s", problem);
        cr_assert_eq(head.source, TARN_RUN_IN_SPOOL);
        cr_assert_eq(tarn_run_read(&spooled, &head, most, problem), 0, "%s", problem);
        tarn_run_head_free(&head);
        stored = read_most(id, most);
        cr_expect_eq(stored->head.source, TARN_RUN_IN_STORE);
        cr_expect_eq(tarn_run_curve_of(spooled, "train.loss")->count, 250);
        cr_expect_eq(spooled->start_count, 2);
        cr_expect_str_eq(spooled->head.status, "FINISHED");
        expect_same_view(spooled, stored);
        tarn_run_view_free(spooled);
        tarn_run_view_free(stored);
    }
    /* A line that a disk has damaged is one line less. */
    char *command = tarn_test_format("printf X | dd of=$(ls %s/events-* | tail -1) bs=1 seek=400 conv=notrunc",
                                     folder_of_spool),
         *output;
    cr_assert_eq(tarn_test_run(command, 20, &output), 0, "%s", output);
    cr_assert_eq(tarn_run_find(&head, "/dev/null", folder_of_spool, problem), 0, "%s", problem);
    cr_assert_eq(tarn_run_read(&spooled, &head, 0, problem), 0, "%s", problem);
    cr_expect_eq(spooled->left_out, 1);
    tarn_run_view_free(spooled);
    tarn_run_head_free(&head);
    tarn_exit(context);
    free(command);
    free(output);
    free(folder_of_spool);
    free(spool);
}

/* ---- the command ---- */

static int run_tarn(const char *arguments, char **output)
{
    return tarn_test_tarn(folder, "", 0, arguments, output);
}

Test(report, the_command_finds_a_run_by_its_checkpoints)
{
    static const char run_file[] = "name: tiny\nmodel: {kind: gpt, layers: 1, heads: 1, width: 16, context: 8}\n"
                                   "data: {kind: text, path: text, validation: 0.1}\n"
                                   "train: {batch: 8, shards: 2, steps: 12, threads: 1, eval_every: 4}\n";
    char *path = tarn_test_format("%s/run.yaml", folder), *text = tarn_test_format("%s/text", folder), *output;
    cr_assert(tarn_test_write(path, run_file, strlen(run_file)) && tarn_test_write_text(text, 200));
    cr_assert_eq(run_tarn("train run.yaml", &output), 0, "%s", output);
    free(output);
    char *page = tarn_test_format("%s/report.html", folder);
    cr_assert_eq(run_tarn("report runs/tiny", &output), 0, "%s", output);
    expect(output, "report.html: 1 run");
    free(output);
    char *by_checkpoints = tarn_test_read(page, NULL);
    cr_assert_not_null(by_checkpoints);
    expect(by_checkpoints, "<h1><bdi>tiny</bdi></h1>");
    cJSON *data = data_of(by_checkpoints);
    cr_expect_eq(cJSON_GetArraySize(cJSON_GetObjectItem(curve_of(data, 0, "train.loss"), "y")), 12);
    cr_expect_eq(cJSON_GetArraySize(cJSON_GetObjectItem(curve_of(data, 0, "validation.loss"), "y")), 3);
    cJSON_Delete(data);
    free(by_checkpoints);
    cr_assert_eq(run_tarn("report tiny -o - > piped.html", &output), 0, "%s", output);
    free(output);
    free(page);
    free(path);
    free(text);
}

Test(report, what_cannot_be_done_is_said_and_leaves_the_old_page)
{
    char *output, *page = tarn_test_format("%s/report.html", folder);
    put_run(ID, "shakespeare", BEGIN, 3);
    put_run(OTHER, "other", BEGIN - 1, 3);
    put_curve(ID, "train.loss", 3);
    cr_assert(tarn_test_write(page, "old", 3));
    const struct {
        const char *arguments, *says;
    } wrong[] = {{"report shakespaere", "did you mean \"shakespeare\"?"},
                 {"report", "tarn report needs a run; the newest are: shakespeare, other"},
                 {"report --store nowhere x", "there is no file store"},
                 {"report --colour x", "does not know the option --colour"},
                 {"report shakespeare -o", "-o needs a value"},
                 {"report shakespeare -o nowhere/report.html", "nowhere/report.html"},
                 {"report mlruns/7", "holds several runs"},
                 {"report mlruns/7/" ID "/metrics", "is neither a run of a file store"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_neq(run_tarn(wrong[i].arguments, &output), 0, "%s", wrong[i].arguments);
        cr_expect_not_null(strstr(output, wrong[i].says), "%s says: %s", wrong[i].arguments, output);
        free(output);
    }
    char *text = tarn_test_read(page, NULL);
    cr_expect_str_eq(text, "old");
    free(text);
    free(page);
}
