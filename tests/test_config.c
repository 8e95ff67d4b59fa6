/* test_config.c - run files: places, types, guesses, conditions, overrides, resolved text, resume; the schema and its
 * page. */
#include "launch/schema.c"
#include "runtime/config/document.h"
#include "runtime/config/number.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <string.h>

static tarn_context *context;

static void begin(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
}

static void end(void)
{
    tarn_error_clear(context);
    tarn_exit(context);
}

TestSuite(config, .init = begin, .fini = end);

static const char *const whole = "name: shakespeare\n"
                                 "seed: 1\n"
                                 "model: {kind: gpt, layers: 4, heads: 4, width: 128, context: 64, dropout: 0.1}\n"
                                 "data: {kind: text, path: corpus.txt, tokenizer: char, validation: 0.05}\n"
                                 "train: {batch: 32, shards: 8, steps: 400, threads: 1, eval_every: 100}\n"
                                 "optim: {kind: adamw, lr: 1.0e-3, weight_decay: 0.1, clip: 1.0}\n"
                                 "schedule: {kind: cosine, warmup: 40}\n"
                                 "checkpoint: {dir: runs/shakespeare, every: 100, keep: 3}\n"
                                 "track: {experiment: shakespeare, store: mlruns}\n";

static const char *const mlp = "model:\n"
                               "  kind: mlp\n"
                               "  sizes: [784, 128, 10]\n"
                               "data:\n"
                               "  kind: idx\n"
                               "  images: images.gz\n"
                               "  labels: labels.gz\n";

static tarn_config *parse(const char *text)
{
    tarn_config *config;
    tarn_status status = tarn_config_parse(&config, context, tarn_run_schema, tarn_run_schema_count, text, "run.yaml");
    cr_assert_eq(status, TARN_OK, "%s", tarn_get_error(context)->message);
    return config;
}

static tarn_config *load(const char *text, int overrides, const char *const *override, tarn_status *status)
{
    char *folder = tarn_test_directory(), *path = tarn_test_format("%s/run.yaml", folder);
    cr_assert(tarn_test_write(path, text, strlen(text)));
    tarn_config *config;
    *status = tarn_config_load(&config, context, tarn_run_schema, tarn_run_schema_count, path, overrides, override);
    tarn_test_remove(folder);
    free(path);
    free(folder);
    return config;
}

/* The text must be refused with a message that holds both parts. */
static void refuse(const char *text, const char *part, const char *other)
{
    tarn_config *config;
    tarn_status status = tarn_config_parse(&config, context, tarn_run_schema, tarn_run_schema_count, text, "run.yaml");
    cr_assert_eq(status, TARN_ERROR_CONFIG, "accepted, or another status, for:\n%s", text);
    cr_assert_null(config);
    const char *message = tarn_get_error(context)->message;
    cr_assert(strstr(message, part) && strstr(message, other), "\"%s\" lacks \"%s\" or \"%s\"", message, part, other);
    tarn_error_clear(context);
}

static void refuse_override(const char *override, const char *part, const char *other)
{
    tarn_status status;
    tarn_config *config = load(whole, 1, &override, &status);
    cr_assert_eq(status, TARN_ERROR_CONFIG, "accepted: %s", override);
    cr_assert_null(config);
    const char *message = tarn_get_error(context)->message;
    cr_assert(strstr(message, part) && strstr(message, other), "\"%s\" lacks \"%s\" or \"%s\"", message, part, other);
    tarn_error_clear(context);
}

Test(config, values_and_places)
{
    tarn_config *config = parse(whole);
    cr_assert_str_eq(tarn_config_string(config, "name"), "shakespeare");
    cr_assert_eq(tarn_config_integer(config, "model.layers"), 4);
    cr_assert_eq(tarn_config_number(config, "model.dropout"), 0.1);
    cr_assert_eq(tarn_config_number(config, "optim.lr"), 1.0e-3);
    cr_assert_str_eq(tarn_config_string(config, "model.kind"), "gpt");
    cr_assert_str_eq(tarn_config_where(config, "train.steps"), "run.yaml:5");
    cr_assert_str_eq(tarn_config_where(config, "optim.beta1"), "default");
    cr_assert_eq(tarn_config_number(config, "optim.beta1"), 0.9);
    cr_assert_eq(tarn_config_number(config, "schedule.final_ratio"), 0);
    cr_assert(tarn_config_has(config, "schedule.final_ratio"));
    cr_assert_not(tarn_config_has(config, "schedule.gamma"), "belongs to another kind");
    cr_assert_not(tarn_config_has(config, "optim.nesterov"));
    cr_assert_null(tarn_config_string(config, "model.init_from"));
    tarn_config_destroy(config);

    config = parse(mlp);
    const int64_t *sizes;
    cr_assert_eq(tarn_config_integers(config, "model.sizes", &sizes), 3);
    cr_assert(sizes[0] == 784 && sizes[1] == 128 && sizes[2] == 10);
    cr_assert_str_eq(tarn_config_where(config, "model.sizes"), "run.yaml:3");
    cr_assert_str_eq(tarn_config_string(config, "model.activation"), "relu");
    cr_assert_eq(tarn_config_integer(config, "train.batch"), 32);
    cr_assert_eq(tarn_config_integer(config, "train.shards"), 8);
    cr_assert_str_eq(tarn_config_string(config, "track.store"), "auto");
    tarn_config_destroy(config);
}

Test(config, unknown_keys_get_a_guess)
{
    refuse("model:\n  kind: gpt\n  layesr: 4\n", "run.yaml:3", "did you mean \"model.layers\"?");
    refuse("modle: {kind: gpt}\n", "run.yaml:1: unknown key \"modle\"", "did you mean \"model\"?");
    refuse("lr: 0.1\n", "unknown key \"lr\"", "did you mean \"optim.lr\"?");
    refuse("train: {lr: 0.1}\n", "unknown key \"train.lr\"", "did you mean \"optim.lr\"?");
    refuse("train: {zzzzzzzzzz: 1}\n", "unknown key \"train.zzzzzzzzzz\"", "train.batch, train.shards");
    refuse("zzzzzzzzzz: 1\n", "unknown key \"zzzzzzzzzz\"", "name, seed, model, data, train");
    refuse_override("optim.wieght_decay=1", "on the command line", "did you mean \"optim.weight_decay\"?");
    refuse_override("optimm.lr=1", "unknown key \"optimm.lr\"", "did you mean \"optim.lr\"?");
}

Test(config, wrong_types)
{
    refuse("train: {batch: many}\n", "run.yaml:1: train.batch", "expected an integer, got many");
    refuse("train: {batch: 3.5}\n", "train.batch", "expected an integer, got 3.5");
    refuse("train: {batch: \"32\"}\n", "train.batch", "remove the quotes");
    refuse("train: {batch: }\n", "train.batch", "got nothing");
    refuse("train: {batch: [1]}\n", "train.batch", "got a list");
    refuse("train: {batch: {a: 1}}\n", "train.batch", "got a section");
    refuse("train: {batch: 99999999999999999999}\n", "train.batch", "expected an integer");
    refuse("optim: {lr: fast}\n", "optim.lr", "expected a number, got fast");
    refuse("optim: {lr: nan}\n", "optim.lr", "expected a number");
    refuse("optim: {lr: 0x10}\n", "optim.lr", "expected a number");
    refuse("optim: {lr: 1e999}\n", "optim.lr", "expected a number");
    refuse("optim: {kind: sgd, nesterov: yes}\n", "optim.nesterov", "expected true or false, got yes");
    refuse("model: {kind: mlp, sizes: 10}\n", "model.sizes", "a list of integers");
    refuse("model: {kind: mlp, sizes: []}\n", "model.sizes", "a list of integers");
    refuse("model: {kind: mlp, sizes: [1, x]}\n", "model.sizes", "entry 2 is \"x\"");
    refuse("model: gpt\n", "model is a section", "run.yaml:1");
    refuse("just words\n", "run.yaml:1", "key: value");
    refuse("- a\n- b\n", "run.yaml:1", "key: value");
}

Test(config, ranges_and_choices)
{
    refuse("train: {batch: 0}\n", "train.batch", "expected 1 or more, got 0");
    refuse("train: {threads: 5000}\n", "train.threads", "from 0 to 1024, got 5000");
    refuse("optim: {lr: 0}\n", "optim.lr", "a value above 0, got 0");
    refuse("optim: {lr: -1e-3}\n", "optim.lr", "got -0.001");
    refuse("model: {kind: mlp, sizes: [3, 0, 2]}\n", "model.sizes", "1 or more, got 0");
    refuse("model: {dropout: 1}\n", "model.dropout", "got 1");
    refuse("model: {kind: gtp}\n", "one of gpt|mlp, got \"gtp\"", "did you mean \"gpt\"?");
    refuse("model: {kind: 7}\n", "model.kind", "one of gpt|mlp");
    refuse("model: {kind: }\n", "model.kind", "got nothing");
}

Test(config, what_is_given_twice_or_missing)
{
    refuse("seed: 1\nname: x\nseed: 2\n", "run.yaml:3: seed was given before", "line 1");
    refuse("train: {batch: 8}\nseed: 1\ntrain: {steps: 8}\n", "run.yaml:3: train was given before", "line 1");
    refuse("train: {batch: 8}\ntrain.batch: 9\n", "train.batch was given before", "line 1");
    refuse("", "run.yaml", "required key model.kind is missing");
    refuse("# nothing but words\n", "run.yaml", "required key model.kind is missing");
    refuse("model:\n", "run.yaml", "required key model.kind is missing");
    refuse("model: {kind: gpt, layers: 1, heads: 1, width: 8}\n", "model.context is missing", "model.kind=gpt");
    refuse("model: {kind: mlp, sizes: [1, 2]}\ndata: {kind: idx, images: x}\n", "data.labels is missing",
           "data.kind=idx");
    tarn_config *config;
    cr_assert_eq(
        tarn_config_load(&config, context, tarn_run_schema, tarn_run_schema_count, "/nowhere/run.yaml", 0, NULL),
        TARN_ERROR_CONFIG);
    cr_assert(strstr(tarn_get_error(context)->message, "/nowhere/run.yaml"));
    cr_assert(strstr(tarn_get_error(context)->message, "No such file"));
    tarn_error_clear(context);
    cr_assert_eq(tarn_config_load(&config, context, tarn_run_schema, tarn_run_schema_count, "/tmp", 0, NULL),
                 TARN_ERROR_CONFIG);
}

Test(config, keys_of_another_choice)
{
    refuse("model: {kind: mlp, sizes: [2, 1], layers: 4}\n", "run.yaml:1: model.layers belongs to model.kind=gpt",
           "model.kind is mlp (run.yaml:1)");
    refuse("optim: {nesterov: true}\n", "optim.nesterov belongs to optim.kind=sgd", "optim.kind is adamw (default)");
    refuse("schedule: {kind: step, every: 5, final_ratio: 0.1}\n", "belongs to schedule.kind=cosine|linear", "is step");
    refuse_override("model.kind=mlp", "model.layers belongs to model.kind=gpt", "model.kind=mlp on the command line");
    refuse("data: {path: x}\n", "data.path belongs to data.kind=text", "data.kind is not given");
}

Test(config, yaml_that_is_none)
{
    refuse("model:\n\tkind: gpt\n", "run.yaml:2", "");
    refuse("model: {kind: gpt\n", "run.yaml:", "");
    refuse("seed: &a 1\n", "run.yaml:1", "anchors");
    refuse("seed: *a\n", "run.yaml:1", "aliases");
    refuse("seed: !!int 1\n", "run.yaml:1", "tags");
    refuse("seed: 1\n---\nseed: 2\n", "run.yaml:2", "second document");
    refuse("model: {kind: mlp, sizes: [[1], 2]}\n", "run.yaml:1", "plain values");
    refuse("? [a, b]\n: 1\n", "run.yaml:1", "plain word");
    refuse("name: \xff\xfe\n", "run.yaml:", "");
    refuse("name: \"a\\0b\"\n", "run.yaml:1", "zero byte");
    refuse("a: {a: {a: {a: {a: {a: {a: {a: {a: {a: 1}}}}}}}}}}\n", "run.yaml:1", "nested too deeply");
}

Test(config, overrides)
{
    static const char *const override[] = {
        "optim.lr=6e-4",    "name=a: b #c",  "model.layers=2", "data.path=\"quoted \\u00e4\"",
        "track.store=null", "train.steps=7", "train.steps=+8", "checkpoint.dir="};
    tarn_status status;
    tarn_config *config = load(whole, 8, override, &status);
    cr_assert_eq(status, TARN_OK, "%s", tarn_get_error(context)->message);
    cr_assert_eq(tarn_config_number(config, "optim.lr"), 6e-4);
    cr_assert_str_eq(tarn_config_where(config, "optim.lr"), "optim.lr=6e-4 on the command line");
    cr_assert_str_eq(tarn_config_string(config, "name"), "a: b #c");
    cr_assert_eq(tarn_config_integer(config, "model.layers"), 2);
    cr_assert_str_eq(tarn_config_string(config, "data.path"), "quoted \xc3\xa4");
    cr_assert_not(tarn_config_has(config, "track.store"));
    cr_assert_not(tarn_config_has(config, "checkpoint.dir"));
    cr_assert_eq(tarn_config_integer(config, "train.steps"), 8, "the last one counts");
    tarn_config *again = parse(tarn_config_text(config));
    cr_assert_str_eq(tarn_config_text(again), tarn_config_text(config));
    cr_assert_not(tarn_config_has(again, "track.store"));
    tarn_config_destroy(again);
    tarn_config_destroy(config);

    static const char *const alone[] = {"model.kind=mlp", "model.sizes=[4, 3, 2]", "data.kind=idx", "data.images=i",
                                        "data.labels=l"};
    status = tarn_config_load(&config, context, tarn_run_schema, tarn_run_schema_count, NULL, 5, alone);
    cr_assert_eq(status, TARN_OK);
    const int64_t *sizes;
    cr_assert_eq(tarn_config_integers(config, "model.sizes", &sizes), 3);
    tarn_config_destroy(config);

    refuse_override("steps", "expected key=value", "steps on the command line");
    refuse_override("=3", "expected key=value", "");
    refuse_override("model={kind: gpt}", "model is a section", "");
    refuse_override("train.steps=many", "train.steps=many on the command line", "expected an integer, got many");
    refuse_override("train.steps=", "train.steps", "got nothing");
    refuse_override("train.steps=a: b", "train.steps", "expected an integer");
    refuse_override("model.heads=[1", "model.heads", "expected an integer");
    refuse_override("train.steps=0", "train.steps=0 on the command line", "1 or more");
}

Test(config, the_resolved_text_parses_to_itself)
{
    static const char *const texts[] = {"name: \"yes\"\ntrack: {store: ~}\noptim: {lr: 1e-05}\n",
                                        "name: 'a\"b\\c: #d'\noptim: {lr: 0.30000000000000004}\n",
                                        "name: 12\noptim: {kind: sgd, lr: 1e+20, momentum: 0.9, nesterov: true}\n",
                                        "name: \"tab\\t line\\n \\x01 \xc3\xa4 \xe2\x80\xa8 \xc2\x85\"\n",
                                        "name: \"\"\nschedule: {kind: step, every: 3}\n"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char *text = tarn_test_format("%s%s", mlp, texts[i]);
        tarn_config *first = parse(text), *second = parse(tarn_config_text(first));
        cr_assert_str_eq(tarn_config_text(first), tarn_config_text(second));
        cr_assert_str_eq(tarn_config_string(first, "name"), tarn_config_string(second, "name"));
        cr_assert_eq(tarn_config_number(first, "optim.lr"), tarn_config_number(second, "optim.lr"));
        tarn_config_destroy(first);
        tarn_config_destroy(second);
        free(text);
    }
    tarn_config *config = parse(whole);
    cr_assert(strstr(tarn_config_text(config), "optim:\n  kind: adamw\n  lr: 0.001\n  beta1: 0.9\n"), "%s",
              tarn_config_text(config));
    tarn_config_destroy(config);
}

Test(config, numbers_read_back_to_the_same_double)
{
    uint64_t state = 1;
    for (int i = 0; i < 200000; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t bits = state ^ (state >> 29);
        double value, back;
        memcpy(&value, &bits, sizeof value);
        if (!isfinite(value)) continue;
        char text[TARN_NUMBER_TEXT];
        cr_assert_eq((size_t)tarn_number_print(text, value), strlen(text));
        cr_assert(tarn_number_parse(text, &back) && !memcmp(&value, &back, sizeof value), "%a became %s", value, text);
    }
    char text[TARN_NUMBER_TEXT];
    tarn_number_print(text, 0.1);
    cr_assert_str_eq(text, "0.1");
    double value;
    cr_assert_not(tarn_number_parse("", &value) || tarn_number_parse("1 ", &value) || tarn_number_parse("e", &value));
}

Test(config, resume)
{
    tarn_config *begun = parse(whole), *now;
    static const char *const may[] = {"train.steps=900", "train.threads=2", "checkpoint.every=7", "track.store=null",
                                      "name=other"};
    tarn_status status;
    now = load(whole, 5, may, &status);
    cr_assert_eq(tarn_config_check_resume(context, now, begun), TARN_OK);
    tarn_config_destroy(now);
    static const char *const not [] = {"optim.lr=0.002", "seed=2", "train.shards=4", "model.width=64", "optim.clip=0"};
    for (int i = 0; i < 5; i++) {
        now = load(whole, 1, not +i, &status);
        cr_assert_eq(tarn_config_check_resume(context, now, begun), TARN_ERROR_CONFIG, "%s", not [i]);
        const char *message = tarn_get_error(context)->message;
        cr_assert(!strncmp(message, not [i], strlen(not [i])), "%s", message);
        cr_assert(strstr(message, "--from-scratch"));
        if (!i) cr_assert(strstr(message, "0.002") && strstr(message, "0.001"), "both values: %s", message);
        tarn_error_clear(context);
        tarn_config_destroy(now);
    }
    /* A value given as its default is no change; a value that was not given then is one. */
    static const char *const same[] = {"optim.beta1=0.90"}, *const new[] = {"model.freeze=wte"};
    now = load(whole, 1, same, &status);
    cr_assert_eq(tarn_config_check_resume(context, now, begun), TARN_OK);
    tarn_config_destroy(now);
    now = load(whole, 1, new, &status);
    cr_assert_eq(tarn_config_check_resume(context, now, begun), TARN_ERROR_CONFIG);
    cr_assert(strstr(tarn_get_error(context)->message, "not given"));
    tarn_config_destroy(now);
    tarn_config_destroy(begun);
}

/* A checkpoint of before the default was written down has no such key in its text. */
Test(config, a_default_by_choice_is_written_down_and_is_no_change)
{
    tarn_config *begun = parse(mlp), *now;
    cr_assert_eq(tarn_config_number(begun, "optim.lr"), 1e-3);
    cr_assert_str_eq(tarn_config_value_text(begun, "optim.lr"), "0.001");
    cr_assert_str_eq(tarn_config_where(begun, "optim.lr"), "default");
    cr_assert(strstr(tarn_config_text(begun), "  kind: adamw\n  lr: 0.001\n"), "%s", tarn_config_text(begun));
    static const char *const sgd[] = {"optim.kind=sgd"}, *const same[] = {"optim.lr=1e-3"},
                             *const other[] = {"optim.lr=0.01"},
                             *const sgd_same[] = {"optim.kind=sgd", "optim.lr=0.01"};
    tarn_status status;
    now = load(mlp, 1, same, &status);
    cr_assert_eq(tarn_config_check_resume(context, now, begun), TARN_OK);
    cr_assert_eq(tarn_config_check_resume(context, begun, now), TARN_OK);
    tarn_config_destroy(now);
    now = load(mlp, 1, other, &status);
    cr_assert_eq(tarn_config_check_resume(context, now, begun), TARN_ERROR_CONFIG);
    const char *message = tarn_get_error(context)->message;
    cr_assert(strstr(message, "optim.lr: is 0.01 now") && strstr(message, "begun with 0.001"), "%s", message);
    tarn_error_clear(context);
    tarn_config_destroy(now);
    tarn_config_destroy(begun);
    begun = load(mlp, 1, sgd, &status);
    cr_assert_eq(tarn_config_number(begun, "optim.lr"), 1e-2);
    now = load(mlp, 2, sgd_same, &status);
    cr_assert_eq(tarn_config_check_resume(context, now, begun), TARN_OK);
    cr_assert_str_eq(tarn_config_text(now), tarn_config_text(begun));
    tarn_config_destroy(now);
    tarn_config_destroy(begun);
}

/* What the files hold is not looked at here: tests/test_resume_keys.c. */
Test(config, files_may_move_but_not_come_or_go)
{
    static const char *const moved[] = {"data.images=elsewhere/images.gz", "data.labels=b.gz"},
                             *const tested[] = {"data.test_images=c.gz", "data.test_labels=d.gz"};
    tarn_status status;
    tarn_config *begun = parse(mlp), *now = load(mlp, 2, moved, &status);
    cr_assert_eq(tarn_config_check_resume(context, now, begun), TARN_OK);
    tarn_config_destroy(now);
    now = load(mlp, 2, tested, &status);
    cr_assert_eq(tarn_config_check_resume(context, now, begun), TARN_ERROR_CONFIG);
    cr_assert(strstr(tarn_get_error(context)->message, "data.test_images: is c.gz now"));
    tarn_error_clear(context);
    cr_assert_eq(tarn_config_check_resume(context, begun, now), TARN_ERROR_CONFIG);
    cr_assert(strstr(tarn_get_error(context)->message, "data.test_images: is not given now"));
    tarn_config_destroy(now);
    tarn_config_destroy(begun);
}

Test(config, failures_of_the_caller_name_the_place)
{
    tarn_config *config = parse(whole);
    cr_assert_eq(tarn_config_fail(context, config, "train.batch", "%d does not divide", 32), TARN_ERROR_CONFIG);
    cr_assert_str_eq(tarn_get_error(context)->message, "run.yaml:5: train.batch: 32 does not divide");
    tarn_error_clear(context);
    tarn_config_fail(context, config, "train.accumulate", "too many");
    cr_assert_str_eq(tarn_get_error(context)->message, "run.yaml: train.accumulate is 1 by default: too many");
    tarn_config_destroy(config);
}

/* ---- the schema -------------------------------------------------------------------------------------------------- */

static size_t section_of(const char *name)
{
    return strcspn(name, ".");
}

/* The row of a key, up to `before`, that others may depend on: a choice without a condition. -1 when it is none. */
static int choice_above(const char *name, int before)
{
    for (int i = 0; i < before; i++)
        if (!strcmp(tarn_run_schema[i].name, name) && tarn_run_schema[i].type == TARN_CONFIG_CHOICE &&
            !tarn_run_schema[i].when)
            return i;
    return -1;
}

/* A default by choice lists the choices in their order: "adamw=0.001|sgd=0.01". */
static void expect_all_choices(const char *name, const char *fallback, const char *choices)
{
    for (const char *choice = choices; *choice;) {
        size_t length = strcspn(choice, "|");
        cr_assert(!strncmp(fallback, choice, length) && fallback[length] == '=', "%s: \"%s\" is not \"%.*s=\"", name,
                  fallback, (int)length, choice);
        fallback += strcspn(fallback, "|");
        fallback += *fallback == '|';
        choice += length + (choice[length] == '|');
    }
    cr_assert_not(*fallback, "%s has a default for %s", name, fallback);
}

Test(config, the_schema_is_sound)
{
    for (int i = 0; i < tarn_run_schema_count; i++) {
        const tarn_config_key *key = &tarn_run_schema[i];
        cr_assert(key->help && *key->help, "%s has no help", key->name);
        cr_assert_not(key->required && key->fallback, "%s is required and has a default", key->name);
        cr_assert_eq(key->type == TARN_CONFIG_CHOICE, key->choices != NULL, "%s", key->name);
        cr_assert(!key->may_move || (key->type == TARN_CONFIG_STRING && !key->may_change), "%s", key->name);
        if (key->by) {
            int row = choice_above(key->by, i);
            cr_assert(row >= 0 && key->fallback && !key->when, "%s depends on %s, no choice above it", key->name,
                      key->by);
            expect_all_choices(key->name, key->fallback, tarn_run_schema[row].choices);
        }
        for (int j = 0; j < i; j++) {
            const char *other = tarn_run_schema[j].name;
            cr_assert(strcmp(key->name, other), "%s stands twice", other);
            size_t length = section_of(key->name);
            bool same = section_of(other) == length && !strncmp(other, key->name, length) && key->name[length] == '.';
            bool neighbour = !strncmp(tarn_run_schema[i - 1].name, key->name, length + 1);
            cr_assert(!same || neighbour, "%s stands apart from its section", key->name);
        }
        if (!key->when) continue;
        char condition[64];
        snprintf(condition, sizeof condition, "%.*s", (int)strcspn(key->when, "="), key->when);
        cr_assert(choice_above(condition, i) >= 0, "%s depends on %s, which is no choice above it", key->name,
                  condition);
    }
}

/* The rows of the table in docs/internals/configuration.md. */
static char *table(void)
{
    static const char *const types[] = {"string", "integer", "number", "true or false", "", "list of integers"};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; i < tarn_run_schema_count; i++) {
        const tarn_config_key *key = &tarn_run_schema[i];
        fprintf(out, "| `%s` | ", key->name);
        for (const char *at = key->choices ? key->choices : types[key->type]; *at; at++)
            fprintf(out, *at == '|' ? ", " : "%c", *at);
        fprintf(out, " | ");
        for (const char *at = key->required ? "required" : key->fallback ? key->fallback : "none"; *at; at++)
            fprintf(out, *at == '|' ? ", " : "%c", *at);
        fprintf(out, " | ");
        for (const char *at = key->when ? key->when : "always"; *at; at++)
            fprintf(out, *at == '|' ? " or " : "%c", *at);
        fprintf(out, " | %s | %s |\n",
                key->may_change ? "may change"
                : key->may_move ? "may move"
                                : "stays",
                key->help);
    }
    fclose(out);
    return text;
}

Test(config, the_page_shows_the_schema)
{
    char *page = tarn_test_read(TARN_SOURCE_DIR "/docs/internals/configuration.md", NULL), *rows = table();
    cr_assert_not_null(page);
    cr_assert(strstr(page, rows), "docs/internals/configuration.md should hold these rows:\n%s", rows);
    free(page);
    free(rows);
}
