/* monitoring_support.h - runs to be watched, and reading the dashboard. */
#ifndef TARN_TESTS_MONITORING_SUPPORT_H
#define TARN_TESTS_MONITORING_SUPPORT_H

#include "tests/run_support.h"

#include <cjson/cJSON.h>
#include <criterion/criterion.h>

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

__attribute__((unused)) static void write_in(const char *name, const void *data, size_t bytes)
{
    char *path = tarn_test_format("%s/%s", folder, name);
    cr_assert(tarn_test_write(path, data, bytes));
    free(path);
}

__attribute__((unused)) static char *read_in(const char *name)
{
    char *path = tarn_test_format("%s/%s", folder, name), *text = tarn_test_read(path, NULL);
    free(path);
    return text;
}

/* 64 images of 4 x 4 with one of four labels. */
__attribute__((unused)) static void write_images(void)
{
    unsigned char images[16 + 64 * 16] = {0, 0, 8, 3, 0, 0, 0, 64, 0, 0, 0, 4, 0, 0, 0, 4};
    unsigned char labels[8 + 64] = {0, 0, 8, 1, 0, 0, 0, 64};
    for (int i = 0; i < 64 * 16; i++) images[16 + i] = (unsigned char)(i * 37 % 251);
    for (int i = 0; i < 64; i++) labels[8 + i] = (unsigned char)(i % 4);
    write_in("images", images, sizeof images);
    write_in("labels", labels, sizeof labels);
}

__attribute__((unused)) static void set_up(void)
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

__attribute__((unused)) static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
}

__attribute__((unused)) static bool has(const char *program)
{
    char *command = tarn_test_format("command -v %s >/dev/null 2>&1", program);
    bool found = system(command) == 0;
    free(command);
    if (!found) cr_skip("%s is not installed (Debian: prometheus)", program);
    return found;
}

__attribute__((unused)) static void walk(const cJSON *item, void (*visit)(const cJSON *object, void *user), void *user)
{
    const cJSON *child;
    if (cJSON_IsObject(item)) visit(item, user);
    cJSON_ArrayForEach(child, item) walk(child, visit, user);
}

__attribute__((unused)) static const char *text_in(const cJSON *object, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, name));
}

__attribute__((unused)) static cJSON *dashboard(void)
{
    char *text = tarn_test_read(MONITORING "dashboard.json", NULL);
    cJSON *json = cJSON_Parse(text);
    cr_assert(json, "dashboard.json is JSON");
    free(text);
    return json;
}

__attribute__((unused)) static void replace(char **text, const char *what, const char *with)
{
    for (char *at; (at = strstr(*text, what));) {
        char *longer = tarn_test_format("%.*s%s%s", (int)(at - *text), *text, with, at + strlen(what));
        free(*text);
        *text = longer;
    }
}

/* An expression of the dashboard as Grafana sends it. */
__attribute__((unused)) static char *with_variables(const char *expression, const char *runs)
{
    char *text = strdup(expression);
    replace(&text, "$__rate_interval", "5m");
    replace(&text, "$__range", "1h");
    replace(&text, "$run", runs);
    replace(&text, "$experiment", ".*");
    return text;
}

#endif
