/* test_monitoring.c - what launch/monitoring ships, against runs: the dashboard and the alerts use names that are
 * exported, promtool understands every expression and makes each alert fire; a real Prometheus scrapes a run.
 * tests/test_prometheus.c has the sink itself.
 */
#include "runtime/http/http.h"
#include "tests/run_support.h"
#include "tests/server_support.h"

#include <arpa/inet.h>
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <ctype.h>
#include <math.h>
#include <netinet/in.h>
#include <sys/socket.h>

#define MONITORING TARN_SOURCE_DIR "/launch/monitoring/"

static char *folder;

static const char gpt_run[] = "name: watched\nseed: 3\n"
                              "model: {kind: gpt, layers: 1, heads: 2, width: 16, context: 16}\n"
                              "data: {kind: text, path: text.txt, validation: 0.1}\n"
                              "train: {batch: 8, shards: 4, steps: 60, threads: 1, eval_every: 20}\n"
                              "checkpoint: {dir: ckpt, every: 20}\n"
                              "track: {store: mlruns, system_every: 0.2}\n"
                              "metrics: {file: gpt.prom}\n";
/* A rate at which nothing stays finite. */
static const char mlp_run[] = "model: {kind: mlp, sizes: [16, 8, 4]}\n"
                              "data: {kind: idx, images: images, labels: labels, validation: 0.25}\n"
                              "train: {batch: 8, shards: 2, steps: 20, threads: 1, eval_every: 5}\n"
                              "optim: {kind: sgd, lr: 1.0e+30}\n"
                              "health: {nonfinite: skip}\n"
                              "track: {store: null}\n"
                              "metrics: {file: mlp.prom}\n";

static void write_in(const char *name, const void *data, size_t bytes)
{
    char *path = tarn_test_format("%s/%s", folder, name);
    cr_assert(tarn_test_write(path, data, bytes));
    free(path);
}

static char *read_in(const char *name)
{
    char *path = tarn_test_format("%s/%s", folder, name), *text = tarn_test_read(path, NULL);
    free(path);
    return text;
}

/* 64 images of 4 x 4 with one of four labels. */
static void write_images(void)
{
    unsigned char images[16 + 64 * 16] = {0, 0, 8, 3, 0, 0, 0, 64, 0, 0, 0, 4, 0, 0, 0, 4};
    unsigned char labels[8 + 64] = {0, 0, 8, 1, 0, 0, 0, 64};
    for (int i = 0; i < 64 * 16; i++) images[16 + i] = (unsigned char)(i * 37 % 251);
    for (int i = 0; i < 64; i++) labels[8 + i] = (unsigned char)(i % 4);
    write_in("images", images, sizeof images);
    write_in("labels", labels, sizeof labels);
}

static void set_up(void)
{
    folder = tarn_test_directory();
    cr_assert(folder);
    char *text = tarn_test_format("%s/text.txt", folder);
    cr_assert(tarn_test_write_text(text, 200));
    free(text);
    write_images();
    write_in("gpt.yaml", gpt_run, strlen(gpt_run));
    write_in("mlp.yaml", mlp_run, strlen(mlp_run));
    unsetenv("MLFLOW_TRACKING_URI");
}

static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(monitoring, .init = set_up, .fini = tear_down, .timeout = 900);

static bool has(const char *program)
{
    char *command = tarn_test_format("command -v %s >/dev/null 2>&1", program);
    bool found = system(command) == 0;
    free(command);
    if (!found) cr_skip("%s is not installed (Debian: prometheus)", program);
    return found;
}

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

static void walk(const cJSON *item, void (*visit)(const cJSON *object, void *user), void *user)
{
    const cJSON *child;
    if (cJSON_IsObject(item)) visit(item, user);
    cJSON_ArrayForEach(child, item) walk(child, visit, user);
}

static const char *text_in(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
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

static cJSON *dashboard(void)
{
    char *text = tarn_test_read(MONITORING "dashboard.json", NULL);
    cJSON *json = cJSON_Parse(text);
    cr_assert(json, "dashboard.json is JSON");
    free(text);
    return json;
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

static void replace(char **text, const char *what, const char *with)
{
    for (char *at; (at = strstr(*text, what));) {
        char *longer = tarn_test_format("%.*s%s%s", (int)(at - *text), *text, with, at + strlen(what));
        free(*text);
        *text = longer;
    }
}

/* An expression of the dashboard as Grafana sends it. */
static char *with_variables(const char *expression, const char *runs)
{
    char *text = strdup(expression);
    replace(&text, "$__rate_interval", "5m");
    replace(&text, "$__range", "1h");
    replace(&text, "$run", runs);
    replace(&text, "$experiment", ".*");
    return text;
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

/* ---- runs that cannot serve -------------------------------------------------------------------------------------- */

static int times(const char *text, const char *what)
{
    int count = 0;
    for (const char *at = text; (at = strstr(at, what)); at++) count++;
    return count;
}

Test(monitoring, a_wrong_address_ends_all_ranks_and_a_taken_port_is_one_warning)
{
    char *output;
    int code = tarn_test_tarn(folder, "", 2, "train gpt.yaml metrics.listen=nowhere", &output);
    cr_expect_eq(code, 2, "%d: %s", code, output);
    cr_expect(strstr(output, "metrics.listen: \"nowhere\" is no ADDRESS:PORT"), "%s", output);
    free(output);
    code = tarn_test_tarn(folder, "", 0, "train gpt.yaml metrics.file=missing/tarn.prom", &output);
    cr_expect_eq(code, 2, "%d: %s", code, output);
    cr_expect(strstr(output, "metrics.file missing/tarn.prom"), "%s", output);
    free(output);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_not(bind(file, (struct sockaddr *)&address, length));
    cr_assert_not(listen(file, 1));
    cr_assert_not(getsockname(file, (struct sockaddr *)&address, &length));
    char *arguments = tarn_test_format("train gpt.yaml metrics.listen=127.0.0.1:%d", ntohs(address.sin_port));
    code = tarn_test_tarn(folder, "", 0, arguments, &output);
    cr_expect_eq(code, 0, "%s", output);
    cr_expect_eq(times(output, "metrics.listen"), 1, "%s", output);
    cr_expect(strstr(output, "Address already in use; training goes on"), "%s", output);
    free(output);
    free(arguments);
    close(file);
}

/* ---- a real Prometheus ------------------------------------------------------------------------------------------- */

static int free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_not(bind(file, (struct sockaddr *)&address, length));
    cr_assert_not(getsockname(file, (struct sockaddr *)&address, &length));
    close(file);
    return ntohs(address.sin_port);
}

/* A command in the test's folder, its output in `log`. */
static pid_t start(const char *command, const char *log)
{
    char *line = tarn_test_format("cd %s && exec %s >%s 2>&1", folder, command, log);
    pid_t pid = fork();
    if (!pid) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execlp("sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    free(line);
    return pid;
}

static int stop(pid_t pid)
{
    int status = 0;
    kill(pid, SIGTERM);
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* A GET of the server's API, its answer as JSON to delete; *code may be NULL. */
static cJSON *ask(int port, const char *path, const char *text, int *code)
{
    char *url = tarn_test_format("http://127.0.0.1:%d%s", port, path);
    for (const char *at = text; *at; at++) {
        char *longer = tarn_test_format(isalnum((unsigned char)*at) ? "%s%c" : "%s%%%02X", url, *at);
        free(url);
        url = longer;
    }
    tarn_http *http = tarn_http_open();
    tarn_http_answer answer;
    tarn_http_error error = tarn_http_perform(http, &(tarn_http_request){.url = url, .direct = true}, &answer);
    cJSON *json = error ? NULL : cJSON_Parse(answer.body);
    if (code) *code = error ? -1 : answer.code;
    tarn_http_answer_free(&answer);
    tarn_http_close(http);
    free(url);
    return json;
}

/* The first value of an instant query, NAN when there is none; *series: how many there are, -1: an error. */
static double query(int port, const char *expression, int *series)
{
    int code;
    cJSON *json = ask(port, "/api/v1/query?query=", expression, &code);
    const cJSON *result = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "data"), "result");
    const char *value =
        cJSON_GetStringValue(cJSON_GetArrayItem(cJSON_GetObjectItem(cJSON_GetArrayItem(result, 0), "value"), 1));
    double number = value ? strtod(value, NULL) : NAN;
    *series = code == 200 ? cJSON_GetArraySize(result) : -1;
    cJSON_Delete(json);
    return number;
}

static int asked_port, with_series;

/* What only an evaluation shows: labels that match twice, for one. */
static void ask_panel(const cJSON *object, void *user)
{
    if (!text_in(object, "expr")) return;
    char *expression = with_variables(text_in(object, "expr"), user);
    int series;
    query(asked_port, expression, &series);
    cr_expect_geq(series, 0, "%s cannot be evaluated", expression);
    with_series += series > 0;
    free(expression);
}

/* Asks until there is an answer of at least `least`, for two minutes at most. */
static double query_until(int port, const char *expression, double least)
{
    double value = NAN;
    int series = 0;
    for (int i = 0; i < 600 && !(value >= least); i++) {
        value = query(port, expression, &series);
        if (!(value >= least)) tarn_test_pause(0.2);
    }
    cr_expect(value >= least, "%s is %g, not at least %g", expression, value, least);
    cr_expect_eq(series, 1, "%s has %d series", expression, series);
    return value;
}

/* The value of a name's first series; NAN when there is none. */
static double value_of(const char *text, const char *name)
{
    char *begin = tarn_test_format("\n%s{", name);
    const char *at = text ? strstr(text, begin) : NULL, *value = at ? strstr(at, "} ") : NULL;
    free(begin);
    return value ? strtod(value + 2, NULL) : NAN;
}

Test(monitoring, a_run_that_was_killed_goes_on_counting)
{
    char *output, *text = NULL;
    pid_t run = start(TARN_PROGRAM " train gpt.yaml train.steps=100000000 checkpoint.every=50 train.eval_every=50",
                      "train.log");
    for (int i = 0; i < 600 && !(value_of(text, "tarn_checkpoints_total") >= 2); i++) {
        tarn_test_pause(0.2);
        free(text);
        text = read_in("gpt.prom");
    }
    cr_assert_geq(value_of(text, "tarn_checkpoints_total"), 2);
    cr_expect_eq(value_of(text, "tarn_restarts_total"), 0);
    free(text);
    tarn_test_pause(4); /* so that the file, a moment behind, has most of the steps */
    kill(run, SIGKILL);
    waitpid(run, NULL, 0);
    text = read_in("gpt.prom");
    double steps = value_of(text, "tarn_steps_total"), checkpoints = value_of(text, "tarn_checkpoints_total");
    cr_expect(strstr(text, "status=\"running\"} 1\n"), "a killed run stays behind as running");
    free(text);
    char *arguments =
        tarn_test_format("train gpt.yaml train.steps=%.0f checkpoint.every=50 train.eval_every=50", 2 * steps + 100);
    int code = tarn_test_tarn(folder, "", 0, arguments, &output);
    cr_expect_eq(code, 0, "%s", output);
    text = read_in("gpt.prom");
    cr_expect_eq(value_of(text, "tarn_restarts_total"), 1);
    cr_expect_geq(value_of(text, "tarn_steps_total"), 2 * steps + 100);
    cr_expect_geq(value_of(text, "tarn_last_checkpoint_step"), 2 * steps + 100);
    cr_expect_gt(value_of(text, "tarn_checkpoints_total"), checkpoints);
    cr_expect_eq(value_of(text, "tarn_broken_promise"), 0);
    cr_expect_eq(value_of(text, "tarn_track_lost_total"), 0);
    free(text);
    free(arguments);
    free(output);
}

Test(monitoring, prometheus_scrapes_a_run)
{
    if (!has("prometheus")) return;
    int metrics = free_port(), server = free_port();
    char *config = tarn_test_format("global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
                                    "rule_files: [" MONITORING "alerts.yaml]\n"
                                    "scrape_configs:\n"
                                    "  - {job_name: tarn, static_configs: [{targets: [\"127.0.0.1:%d\"]}]}\n",
                                    metrics);
    write_in("prometheus.yaml", config, strlen(config));
    char *train = tarn_test_format(TARN_PROGRAM " train gpt.yaml train.steps=100000000 metrics.listen=127.0.0.1:%d "
                                                "metrics.file=null",
                                   metrics);
    char *serve = tarn_test_format("prometheus --config.file=prometheus.yaml --storage.tsdb.path=data "
                                   "--web.listen-address=127.0.0.1:%d",
                                   server);
    pid_t run = start(train, "train.log"), prometheus = start(serve, "prometheus.log");
    query_until(server, "up{job=\"tarn\"}", 1);
    query_until(server, "tarn_train_loss", 0.01);
    query_until(server, "tarn_steps_total", 30);
    query_until(server, "tarn_checkpoints_total", 1);
    query_until(server, "tarn_validation_loss", 0.01);
    query_until(server, "tarn_run_status{status=\"running\",name=\"watched\"}", 1);
    query_until(server, "tarn_track_events_total", 100);
    query_until(server, "time()-tarn_last_step_timestamp_seconds<60", 0);
    query_until(server, "count({__name__=~\"tarn_.+\"})", 30);
    query_until(server, "rate(tarn_steps_total[10s])", 0.001);
    cJSON *json = dashboard();
    asked_port = server;
    walk(json, ask_panel, ".*");
    cJSON_Delete(json);
    cr_expect_gt(with_series, 30, "%d expressions of the dashboard show something of a run on one rank", with_series);
    json = ask(server, "/api/v1/rules", "", NULL);
    char *rules = cJSON_PrintUnformatted(json);
    cr_expect(strstr(rules, "TarnRunStalled") && !strstr(rules, "\"health\":\"err\""), "%s", rules);
    free(rules);
    cJSON_Delete(json);
    int series;
    query(server, "ALERTS{alertname=~\"TarnRun.+\"}", &series);
    cr_expect_eq(series, 0, "a run that steps is no alarm");
    cr_expect_eq(stop(run), 75);
    stop(prometheus);
    char *log = read_in("train.log");
    cr_expect_null(strstr(log, "metrics."), "%s", log);
    free(log);
    free(serve);
    free(train);
    free(config);
}
