/* test_monitoring.c - what launch/monitoring ships: the dashboard and the alerts use names that runs export, promtool
 * understands every expression and makes each alert fire. tests/test_monitoring_runs.c has whole runs,
 * tests/test_prometheus.c the sink itself. */
#include "tests/monitoring_support.h"

TestSuite(monitoring, .init = set_up, .fini = tear_down, .timeout = 900);

static void must_run(const char *command)
{
    char *output;
    int code = tarn_test_run(command, 120, &output);
    cr_expect_eq(code, 0, "%s: %d\n%s", command, code, output);
    free(output);
}

/* ---- what runs export -------------------------------------------------------------------------------------------- */

/* The texts of runs that between them have everything to show. */
static char *exported(void)
{
    char *output;
    int code = tarn_test_tarn(folder, "", 2, "train gpt.yaml", &output);
    cr_assert_eq(code, 0, "%s", output);
    free(output);
    code = tarn_test_tarn(folder, "", 0, "train mlp.yaml", &output);
    cr_assert_eq(code, 0, "%s", output);
    free(output);
    char *gpt = read_in("gpt.prom"), *mlp = read_in("mlp.prom");
    cr_assert(gpt && mlp);
    char *both = tarn_test_format("%s%s", gpt, mlp);
    free(gpt);
    free(mlp);
    return both;
}

/* Whether some series has that name and, unless NULL, that label. A host's metrics have a node for a name when there
 * are several. */
static bool exports(const char *text, const char *name, const char *label)
{
    if (!strncmp(name, "tarn_node_", 10)) {
        if (label && !strcmp(label, "node")) return true;
        char *host = tarn_test_format("tarn_system_%s", name + 10);
        bool found = exports(text, host, label);
        free(host);
        return found;
    }
    size_t length = strlen(name);
    char *wanted = label ? tarn_test_format("%s=\"", label) : NULL;
    bool found = false;
    for (const char *line = text; !found && line; line = strchr(line, '\n'), line += line != NULL) {
        if (strncmp(line, name, length) || line[length] != '{') continue;
        size_t whole = strcspn(line, "\n");
        found = !label || memmem(line, whole, wanted, strlen(wanted));
    }
    free(wanted);
    return found;
}

/* The next tarn_... in *at, in name; false at the end. */
static bool next_name(const char **at, char name[200])
{
    for (; (*at = strstr(*at, "tarn_")); *at += 5) {
        size_t length = strspn(*at, "abcdefghijklmnopqrstuvwxyz0123456789_");
        snprintf(name, 200, "%.*s", (int)length, *at);
        *at += length;
        return true;
    }
    return false;
}

static int names_of_expression(const char *text, const char *expression)
{
    char name[200];
    int count = 0;
    for (const char *at = expression; next_name(&at, name); count++)
        cr_expect(exports(text, name, NULL), "no run exports %s, used in: %.100s", name, expression);
    return count;
}

/* Every {{label}} of a legend, of the series that the expression names first. */
static void labels_of_legend(const char *text, const char *expression, const char *legend)
{
    char name[200];
    const char *at = expression;
    if (!next_name(&at, name)) return;
    for (const char *label = legend; (label = strstr(label, "{{")); label += 2) {
        char word[64];
        cr_assert_eq(sscanf(label, "{{%63[a-z]}}", word), 1, "%s", legend);
        cr_expect(exports(text, name, word), "%s has no label %s, used in the legend %s", name, word, legend);
    }
}

static int expressions;

static void check_expression(const cJSON *object, void *user)
{
    const char *expression = text_in(object, "expr"), *legend = text_in(object, "legendFormat");
    if (!expression) return;
    expressions++;
    cr_expect_gt(names_of_expression(user, expression), 0, "%s", expression);
    if (legend) labels_of_legend(user, expression, legend);
}

Test(monitoring, the_dashboard_and_the_alerts_use_names_that_a_run_exports)
{
    char *text = exported(), *rules = tarn_test_read(MONITORING "alerts.yaml", NULL);
    cJSON *json = dashboard();
    walk(json, check_expression, text);
    cr_expect_gt(expressions, 40);
    cr_assert(rules);
    cr_expect_gt(names_of_expression(text, rules), 15);
    char *shown = cJSON_PrintUnformatted(json); /* variables and titles, too */
    names_of_expression(text, shown);
    free(shown);
    cJSON_Delete(json);
    free(rules);
    /* And the other way round: what docs/monitoring.md says there is. */
    char *docs = tarn_test_read(TARN_SOURCE_DIR "/docs/monitoring.md", NULL);
    cr_assert(docs);
    for (const char *own = docs; (own = strstr(own, "`tarn_")); own++) {
        char name[200];
        const char *at = own;
        if (next_name(&at, name) && strncmp(name, "tarn_eval", 9) && strncmp(name, "tarn_my", 7) &&
            strncmp(name, "tarn_rouge", 10) && strcmp(name, "tarn_track_"))
            cr_expect(exports(text, name, NULL), "docs/monitoring.md names %s", name);
    }
    free(docs);
    free(text);
}

/* ---- the dashboard as it stands ---------------------------------------------------------------------------------- */

static void check_variables(const cJSON *object, void *user)
{
    const char *places[] = {text_in(object, "expr"), text_in(object, "query"), text_in(object, "uid")};
    for (int i = 0; i < 3; i++)
        for (const char *at = places[i]; at && (at = strchr(at, '$')); at++) {
            char name[40];
            if (sscanf(at + 1, "{%39[a-z_]}", name) != 1) cr_assert_eq(sscanf(at + 1, "%39[a-z_]", name), 1, "%s", at);
            bool known = !strncmp(name, "__", 2);
            const cJSON *variable;
            cJSON_ArrayForEach(variable, (const cJSON *)user) known |= !strcmp(text_in(variable, "name"), name);
            cr_expect(known, "no variable $%s", name);
        }
}

Test(monitoring, panels_lie_side_by_side_and_ask_the_chosen_source)
{
    cJSON *json = dashboard();
    const cJSON *panels = cJSON_GetObjectItem(json, "panels"), *panel, *target;
    static bool taken[1000][24], ids[1000];
    cr_expect_gt(cJSON_GetArraySize(panels), 20);
    cJSON_ArrayForEach(panel, panels)
    {
        const cJSON *place = cJSON_GetObjectItem(panel, "gridPos");
        int id = cJSON_GetObjectItem(panel, "id")->valueint, x = cJSON_GetObjectItem(place, "x")->valueint,
            y = cJSON_GetObjectItem(place, "y")->valueint, w = cJSON_GetObjectItem(place, "w")->valueint,
            h = cJSON_GetObjectItem(place, "h")->valueint;
        const char *title = text_in(panel, "title"), *type = text_in(panel, "type");
        cr_assert(title && *title && type);
        cr_assert(id > 0 && id < 1000 && !ids[id], "%s", title);
        ids[id] = true;
        cr_assert(w > 0 && h > 0 && x >= 0 && x + w <= 24 && y >= 0 && y + h < 1000, "%s", title);
        for (int i = 0; i < w * h; i++) {
            bool *cell = &taken[y + i / w][x + i % w];
            cr_assert_not(*cell, "%s lies on another panel", title);
            *cell = true;
        }
        if (!strcmp(type, "row")) continue;
        cr_expect(text_in(panel, "description"), "%s says what it shows", title);
        const cJSON *targets = cJSON_GetObjectItem(panel, "targets");
        cr_expect_gt(cJSON_GetArraySize(targets), 0, "%s", title);
        cJSON_ArrayForEach(target, targets)
        {
            cr_expect_str_eq(text_in(cJSON_GetObjectItem(target, "datasource"), "uid"), "${datasource}");
            cr_expect(text_in(target, "expr") && text_in(target, "refId"), "%s", title);
        }
    }
    walk(json, check_variables, cJSON_GetObjectItem(cJSON_GetObjectItem(json, "templating"), "list"));
    cJSON_Delete(json);
}

Test(monitoring, grafana_knows_every_field_of_the_dashboard)
{
    const char *python = getenv("TARN_TEST_PYTHON");
    if (!python) cr_skip("TARN_TEST_PYTHON names no interpreter with grafana-foundation-sdk");
    char *output, *command = tarn_test_format(
                      "%s " TARN_SOURCE_DIR "/tests/python/check_dashboard.py " MONITORING "dashboard.json", python);
    int code = tarn_test_run(command, 120, &output);
    if (code == 77) cr_skip("grafana-foundation-sdk is not installed");
    cr_expect_eq(code, 0, "%s", output);
    free(output);
    free(command);
}

static void write_rule(const cJSON *object, void *user)
{
    if (!text_in(object, "expr")) return;
    char *expression = with_variables(text_in(object, "expr"), "a|b");
    cJSON *quoted = cJSON_CreateString(expression);
    char *text = cJSON_PrintUnformatted(quoted); /* JSON's quotes are YAML's, too */
    fprintf(user, "      - {record: \"panel:%d\", expr: %s}\n", expressions++, text);
    free(text);
    cJSON_Delete(quoted);
    free(expression);
}

Test(monitoring, promtool_parses_every_expression)
{
    if (!has("promtool")) return;
    must_run("promtool check rules " MONITORING "alerts.yaml");
    char *path = tarn_test_format("%s/panels.yaml", folder);
    FILE *file = fopen(path, "w");
    fprintf(file, "groups:\n  - name: panels\n    rules:\n");
    cJSON *json = dashboard();
    walk(json, write_rule, file);
    fclose(file);
    cJSON_Delete(json);
    cr_expect_gt(expressions, 40);
    char *command = tarn_test_format("promtool check rules %s", path);
    must_run(command);
    free(command);
    free(path);
    /* The configuration that is shipped, with the rules where they lie here. */
    char *config = tarn_test_read(MONITORING "prometheus.yaml", NULL);
    replace(&config, "/usr/share/tarn/monitoring/", MONITORING);
    write_in("prometheus.yaml", config, strlen(config));
    free(config);
    command = tarn_test_format("promtool check config %s/prometheus.yaml", folder);
    must_run(command);
    free(command);
}

Test(monitoring, each_alert_fires_where_it_should)
{
    if (!has("promtool")) return;
    char *tests = tarn_test_read(TARN_SOURCE_DIR "/tests/monitoring/alerts_test.yaml", NULL),
         *rules = tarn_test_read(MONITORING "alerts.yaml", NULL);
    cr_assert(tests && rules);
    for (const char *at = rules; (at = strstr(at, "- alert: ")); at++) {
        char name[64], once[96];
        cr_assert_eq(sscanf(at, "- alert: %63s", name), 1);
        snprintf(once, sizeof once, "alertname: %s", name);
        const char *tested = strstr(tests, once);
        cr_expect(tested && strstr(tested + 1, once), "%s is tested firing and silent", name);
    }
    replace(&tests, "ALERTS", MONITORING "alerts.yaml");
    write_in("alerts_test.yaml", tests, strlen(tests));
    free(rules);
    free(tests);
    char *command = tarn_test_format("promtool test rules %s/alerts_test.yaml", folder);
    must_run(command);
    free(command);
}

Test(monitoring, promtool_has_nothing_to_say_about_the_text_of_runs)
{
    if (!has("promtool")) return;
    free(exported());
    const char *const names[] = {"gpt.prom", "mlp.prom"};
    for (int i = 0; i < 2; i++) {
        char *output, *command = tarn_test_format("promtool check metrics < %s/%s", folder, names[i]);
        cr_expect_eq(tarn_test_run(command, 60, &output), 0);
        cr_expect_str_eq(output, "");
        free(output);
        free(command);
        char *text = read_in(names[i]);
        cr_expect(strstr(text, "status=\"finished\"} 1\n"));
        cr_expect(i || strstr(text, "tarn_steps_total{"), "%s", text);
        free(text);
    }
    char *text = read_in("gpt.prom");
    for (int rank = 0; rank < 2; rank++) {
        char *label = tarn_test_format("rank=\"%d\"", rank);
        cr_expect(strstr(text, label));
        free(label);
    }
    cr_expect(strstr(text, "name=\"watched\"} 60\n"), "60 steps");
    cr_expect(strstr(text, "ranks=\"2\"} 1\n"), "the run says how many ranks it has");
    free(text);
}
