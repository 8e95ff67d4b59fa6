/* test_nn.c - modules: names, the flat buffer, first values, freezing, what is refused; then the models, run and
 * trained by hand on one tiny batch. */
#include "nn/module.h"
#include "runtime/autograd/step.h"
#include "runtime/base/context.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static tarn_context *context;

static void quiet(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
}

static void start(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, quiet, NULL);
}

static void end(void)
{
    tarn_exit(context);
}

TestSuite(names, .init = start, .fini = end);
TestSuite(layout, .init = start, .fini = end);
TestSuite(values, .init = start, .fini = end);
TestSuite(freezing, .init = start, .fini = end);
TestSuite(refusals, .init = start, .fini = end);

/* Checks the recorded error and forgets it. */
static void expect_error(tarn_status got, tarn_status wanted, const char *text)
{
    cr_assert_eq(got, wanted, "status %s, wanted %s", tarn_status_name(got), tarn_status_name(wanted));
    const tarn_error *error = tarn_get_error(context);
    cr_assert(error && error->status == wanted);
    cr_assert(strstr(error->message, text), "\"%s\" does not say \"%s\"", error->message, text);
    tarn_error_clear(context);
}

static tarn_module *holder(const char *kind)
{
    tarn_module *module;
    cr_assert_eq(tarn_module_create(&module, context, kind, NULL, NULL, NULL), TARN_OK);
    return module;
}

static tarn_parameter *add(tarn_module *module, const char *name, int64_t numel, bool no_decay)
{
    tarn_parameter *parameter;
    tarn_parameter_options options = {.init = TARN_INIT_NORMAL, .scale = 0.5, .no_decay = no_decay};
    cr_assert_eq(tarn_module_parameter(&parameter, module, name, 1, &numel, &options), TARN_OK);
    return parameter;
}

static tarn_module *tiny_gpt(void)
{
    tarn_module *gpt;
    tarn_gpt_options options = {.layers = 2, .heads = 2, .width = 24, .context = 8, .vocabulary = 11};
    cr_assert_eq(tarn_gpt_create(&gpt, context, &options), TARN_OK);
    return gpt;
}

static tarn_parameter_info at(const tarn_module *module, int index)
{
    tarn_parameter_info info;
    cr_assert(tarn_module_parameter_at(module, index, &info), "no parameter %d", index);
    return info;
}

static tarn_parameter_info named(const tarn_module *module, const char *name)
{
    tarn_parameter_info info;
    for (int i = 0; tarn_module_parameter_at(module, i, &info); i++)
        if (!strcmp(info.name, name)) return info;
    cr_assert_fail("no parameter %s", name);
    return info;
}

/* ---- names and counts ------------------------------------------------------------------------------------------- */

Test(names, of_a_gpt)
{
    static const char *const expected[] = {"token_embedding.weight",
                                           "position_embedding.weight",
                                           "blocks.0.norm1.weight",
                                           "blocks.0.norm1.bias",
                                           "blocks.0.attention.qkv.weight",
                                           "blocks.0.attention.qkv.bias",
                                           "blocks.0.attention.output.weight",
                                           "blocks.0.attention.output.bias",
                                           "blocks.0.norm2.weight",
                                           "blocks.0.norm2.bias",
                                           "blocks.0.mlp.up.weight",
                                           "blocks.0.mlp.up.bias",
                                           "blocks.0.mlp.down.weight",
                                           "blocks.0.mlp.down.bias",
                                           "blocks.1.norm1.weight"};
    tarn_module *gpt = tiny_gpt();
    for (int i = 0; i < (int)(sizeof expected / sizeof *expected); i++) cr_assert_str_eq(at(gpt, i).name, expected[i]);
    int count = tarn_module_parameter_count(gpt);
    cr_assert_eq(count, 2 + 2 * 12 + 2);
    cr_assert_str_eq(at(gpt, count - 2).name, "norm.weight");
    cr_assert_str_eq(at(gpt, count - 1).name, "norm.bias");
    tarn_parameter_info info;
    cr_assert(!tarn_module_parameter_at(gpt, count, &info) && !tarn_module_parameter_at(gpt, -1, &info));
    cr_assert(tarn_module_is_gpt(gpt));
    tarn_module_destroy(gpt);
}

Test(names, counts_are_those_of_pytorch)
{
    /* torch_train.py's chargpt and mlp: sum(p.numel() for p in net.parameters()) */
    tarn_module *gpt, *mlp;
    tarn_gpt_options options = {.layers = 6, .heads = 6, .width = 384, .context = 256, .vocabulary = 65};
    cr_assert_eq(tarn_gpt_create(&gpt, context, &options), TARN_OK);
    cr_assert_eq(tarn_module_numel(gpt), 65 * 384 + 256 * 384 + 6 * (12 * 384 * 384 + 13 * 384) + 2 * 384);
    cr_assert_eq(tarn_mlp_create(&mlp, context, &(tarn_mlp_options){4, (int64_t[]){784, 512, 512, 10}, 0, 0}), TARN_OK);
    cr_assert_eq(tarn_module_numel(mlp), 784 * 512 + 512 + 512 * 512 + 512 + 512 * 10 + 10);
    cr_assert_eq(tarn_module_parameter_count(mlp), 6);
    cr_assert_str_eq(at(mlp, 2).name, "layers.1.weight");
    cr_assert_eq(at(mlp, 4).shape[0], 10);
    cr_assert_eq(at(mlp, 4).shape[1], 512);
    tarn_module_destroy(gpt);
    tarn_module_destroy(mlp);
}

Test(names, are_joined_whatever_the_order_of_adding)
{
    tarn_module *root = holder("root"), *middle = holder("middle"), *leaf = holder("leaf");
    add(leaf, "w", 3, false);
    cr_assert_eq(tarn_module_add(root, "m", middle), TARN_OK);
    cr_assert_eq(tarn_module_add(middle, "l.0", leaf), TARN_OK); /* below a module that has a parent */
    add(leaf, "b", 3, true);
    add(root, "own", 2, false);
    cr_assert_str_eq(at(root, 0).name, "m.l.0.w");
    cr_assert_str_eq(at(root, 1).name, "m.l.0.b");
    cr_assert_str_eq(at(root, 2).name, "own");
    cr_assert_str_eq(at(middle, 0).name, "l.0.w"); /* relative to the module that is asked */
    cr_assert_str_eq(at(leaf, 1).name, "b");
    tarn_module_destroy(root);
}

/* ---- layout ----------------------------------------------------------------------------------------------------- */

Test(layout, reverse_order_padded_aligned_and_zero_between)
{
    tarn_module *gpt = tiny_gpt();
    cr_assert(!tarn_module_is_built(gpt) && !at(gpt, 0).values);
    cr_assert_eq(tarn_module_build(gpt, 5), TARN_OK);
    float *flat = tarn_module_flat_values(gpt);
    cr_assert_eq((uintptr_t)flat % 64, 0);
    int64_t offset = 0;
    for (int i = tarn_module_parameter_count(gpt) - 1; i >= 0; i--) {
        tarn_parameter_info info = at(gpt, i);
        cr_assert_eq(info.offset, offset, "%s", info.name);
        cr_assert_eq(info.values, flat + offset);
        offset += (info.numel + 15) / 16 * 16;
        for (int64_t k = info.offset + info.numel; k < offset; k++)
            cr_assert(flat[k] == 0 && !signbit(flat[k]), "padding after %s", info.name);
    }
    cr_assert_eq(tarn_module_flat_count(gpt), offset);
    cr_assert_eq(tarn_module_flat_total(gpt), offset);
    cr_assert_eq(tarn_module_trainable_count(gpt), tarn_module_parameter_count(gpt));
    tarn_module_destroy(gpt);
}

Test(layout, ranges_cover_and_join)
{
    tarn_module *root = holder("root");
    add(root, "a", 10, false);
    add(root, "b", 17, false);
    add(root, "c", 1, true);
    add(root, "d", 5, true);
    add(root, "e", 33, false);
    cr_assert_eq(tarn_module_build(root, 1), TARN_OK);
    const tarn_optim_range *ranges;
    cr_assert_eq(tarn_module_ranges(root, &ranges), 3);
    cr_assert(ranges[0].begin == 0 && ranges[0].end == 48 && ranges[0].decay);   /* e */
    cr_assert(ranges[1].begin == 48 && ranges[1].end == 80 && !ranges[1].decay); /* d, c */
    cr_assert(ranges[2].begin == 80 && ranges[2].end == 128 && ranges[2].decay); /* b, a */
    tarn_module_destroy(root);
}

Test(layout, frozen_ones_stand_last_and_have_no_slot)
{
    tarn_module *root = holder("root");
    tarn_parameter *parameters[4];
    static const char *const names[] = {"a", "b", "c", "d"};
    for (int i = 0; i < 4; i++) parameters[i] = add(root, names[i], 20, false);
    cr_assert_eq(tarn_module_freeze(root, "[bc]", true, NULL), TARN_OK);
    cr_assert_eq(tarn_module_build(root, 1), TARN_OK);
    static const int64_t offsets[] = {32, 96, 64, 0};
    static const int slots[] = {1, -1, -1, 0};
    for (int i = 0; i < 4; i++) {
        const tarn_tensor *tensor = tarn_parameter_tensor(parameters[i]);
        cr_assert_eq(at(root, i).offset, offsets[i]);
        cr_assert_eq(tensor->slot->index, slots[i]);
        cr_assert_eq(tensor->slot->offset, offsets[i]);
        cr_assert_eq(tensor->slot->numel, 20);
        cr_assert_eq(tensor->wants_gradient, slots[i] >= 0);
        cr_assert_str_eq(tensor->slot->name, names[i]);
        cr_assert(tarn_tensor_is_valid(tensor) && tarn_tensor_dim(tensor, 0) == 20);
    }
    const tarn_optim_range *ranges;
    cr_assert_eq(tarn_module_ranges(root, &ranges), 1);
    cr_assert_eq(ranges[0].end, 64);
    cr_assert_eq(tarn_module_flat_count(root), 64);
    cr_assert_eq(tarn_module_flat_total(root), 128);
    cr_assert_eq(tarn_module_trainable_count(root), 2);
    tarn_module_destroy(root);
}

/* ---- first values ----------------------------------------------------------------------------------------------- */

Test(values, depend_on_seed_name_and_index_alone)
{
    /* The same parameter in another order, at another offset, frozen, built by another number of threads: same values.
     */
    enum { N = 90001 };
    float *kept = malloc(N * sizeof *kept);
    for (int variant = 0; variant < 6; variant++) {
        tarn_module *root = holder("root");
        if (variant == 1) add(root, "before", 7, false);
        add(root, variant == 4 ? "other" : "w", N, false);
        if (variant == 2) add(root, "after", 7, false);
        if (variant == 3) tarn_module_freeze(root, "w", true, NULL);
        tarn_set_threads(context, 1 + variant % 3);
        cr_assert_eq(tarn_module_build(root, variant == 5 ? 8 : 7), TARN_OK);
        const float *values = named(root, variant == 4 ? "other" : "w").values;
        if (variant == 0)
            memcpy(kept, values, N * sizeof *kept);
        else
            cr_assert_eq(memcmp(kept, values, N * sizeof *kept) == 0, variant < 4, "variant %d", variant);
        if (variant >= 4) cr_assert_neq(values[N - 1], kept[N - 1]);
        tarn_module_destroy(root);
    }
    free(kept);
}

static void moments(tarn_parameter_info info, double *mean, double *deviation)
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < info.numel; i++) sum += info.values[i], squares += (double)info.values[i] * info.values[i];
    *mean = sum / (double)info.numel;
    *deviation = sqrt(squares / (double)info.numel - *mean * *mean);
}

Test(values, of_a_gpt_are_those_of_gpt2)
{
    tarn_module *gpt;
    tarn_gpt_options options = {.layers = 8, .heads = 4, .width = 128, .context = 64, .vocabulary = 65};
    cr_assert_eq(tarn_gpt_create(&gpt, context, &options), TARN_OK);
    cr_assert_eq(tarn_module_build(gpt, 3), TARN_OK);
    static const struct {
        const char *name;
        double mean, deviation;
    } expected[] = {{"token_embedding.weight", 0, 0.02},
                    {"position_embedding.weight", 0, 0.02},
                    {"blocks.3.attention.qkv.weight", 0, 0.02},
                    {"blocks.3.attention.output.weight", 0, 0.02 / 4},
                    {"blocks.7.mlp.up.weight", 0, 0.02},
                    {"blocks.7.mlp.down.weight", 0, 0.02 / 4},
                    {"blocks.0.mlp.down.bias", 0, 0},
                    {"blocks.0.norm1.weight", 1, 0},
                    {"norm.bias", 0, 0}};
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        double mean, deviation, allowed = 5 * expected[i].deviation / sqrt(8192);
        moments(named(gpt, expected[i].name), &mean, &deviation);
        cr_assert(fabs(mean - expected[i].mean) <= allowed, "%s: mean %g", expected[i].name, mean);
        cr_assert(fabs(deviation - expected[i].deviation) <= allowed, "%s: deviation %g", expected[i].name, deviation);
    }
    tarn_module_destroy(gpt);
}

Test(values, of_a_linear_layer_are_uniform)
{
    tarn_module *linear;
    cr_assert_eq(tarn_linear_create(&linear, context, 100, 300, NULL), TARN_OK);
    cr_assert_eq(tarn_module_build(linear, 3), TARN_OK);
    for (int p = 0; p < 2; p++) {
        tarn_parameter_info info = at(linear, p);
        float low = 0, high = 0;
        for (int64_t i = 0; i < info.numel; i++) {
            low = info.values[i] < low ? info.values[i] : low;
            high = info.values[i] > high ? info.values[i] : high;
        }
        cr_assert(low >= -0.1f && low < -0.098f && high <= 0.1f && high > 0.098f, "[%g, %g]", low, high);
        cr_assert_eq(info.no_decay, p == 1);
    }
    tarn_module_destroy(linear);
}

/* ---- freezing --------------------------------------------------------------------------------------------------- */

Test(freezing, by_pattern)
{
    tarn_module *gpt = tiny_gpt();
    int changed;
    cr_assert_eq(tarn_module_freeze(gpt, "blocks.0.*", true, &changed), TARN_OK);
    cr_assert_eq(changed, 12);
    cr_assert_eq(tarn_module_freeze(gpt, "*.bias", false, &changed), TARN_OK);
    cr_assert_eq(changed, 6);
    cr_assert_eq(tarn_module_freeze(gpt, "*.bias", false, &changed), TARN_OK);
    cr_assert_eq(changed, 0);
    cr_assert(named(gpt, "blocks.0.mlp.up.weight").frozen && !named(gpt, "blocks.0.mlp.up.bias").frozen);
    expect_error(tarn_module_freeze(gpt, "block.*", true, &changed), TARN_ERROR_ARGUMENT, "token_embedding.weight");
    cr_assert_eq(tarn_module_build(gpt, 1), TARN_OK);
    expect_error(tarn_module_freeze(gpt, "blocks.0.*", false, NULL), TARN_ERROR_STATE, "before tarn_module_build");
    tarn_module_destroy(gpt);
}

/* ---- what is refused -------------------------------------------------------------------------------------------- */

Test(refusals, names)
{
    tarn_module *root = holder("root"), *child = holder("child");
    int64_t one = 1;
    add(root, "w", 1, false);
    expect_error(tarn_module_parameter(NULL, root, "w", 1, &one, NULL), TARN_ERROR_ARGUMENT, "already");
    expect_error(tarn_module_add(root, "w", child), TARN_ERROR_ARGUMENT, "already");
    static const char *const bad[] = {"", ".a", "a.", "a..b", "a b", "a/b", NULL};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        expect_error(tarn_module_add(root, bad[i], child), TARN_ERROR_ARGUMENT, "is no name");
    char deep[300];
    memset(deep, 'x', sizeof deep);
    deep[254] = 0;
    add(child, "w", 1, false);
    expect_error(tarn_module_add(root, deep, child), TARN_ERROR_ARGUMENT, "longer than");
    deep[253] = 0;
    cr_assert_eq(tarn_module_add(root, deep, child), TARN_OK);
    cr_assert_eq(strlen(at(root, 1).name), 255);
    tarn_module_destroy(root);
}

Test(refusals, twins_of_different_depth)
{
    tarn_module *root = holder("root"), *a = holder("a"), *ab = holder("ab");
    add(a, "b.w", 1, false);
    add(ab, "w", 1, false);
    cr_assert_eq(tarn_module_add(root, "a", a), TARN_OK);
    cr_assert_eq(tarn_module_add(root, "a.b", ab), TARN_OK);
    expect_error(tarn_module_build(root, 1), TARN_ERROR_ARGUMENT, "two parameters named a.b.w");
    cr_assert(!tarn_module_is_built(root));
    tarn_module_destroy(root);
}

Test(refusals, wrong_moments)
{
    tarn_module *root = holder("root"), *child = holder("child"), *other = holder("other");
    int64_t one = 1;
    cr_assert_eq(tarn_module_add(root, "c", child), TARN_OK);
    expect_error(tarn_module_add(root, "d", child), TARN_ERROR_STATE, "belongs to a module");
    expect_error(tarn_module_add(child, "loop", root), TARN_ERROR_ARGUMENT, "part of itself");
    expect_error(tarn_module_add(root, "d", NULL), TARN_ERROR_ARGUMENT, "NULL");
    expect_error(tarn_module_build(child, 1), TARN_ERROR_STATE, "build the root");
    cr_assert_eq(tarn_module_build(root, 1), TARN_OK); /* without parameters */
    expect_error(tarn_module_build(root, 1), TARN_ERROR_STATE, "built already");
    expect_error(tarn_module_parameter(NULL, child, "w", 1, &one, NULL), TARN_ERROR_STATE, "after tarn_module_build");
    expect_error(tarn_module_add(child, "o", other), TARN_ERROR_STATE, "after tarn_module_build");
    tarn_module_destroy(child); /* refused: it belongs to root */
    cr_assert(tarn_get_error(context));
    tarn_error_clear(context);
    tarn_module_destroy(root);
    tarn_module_destroy(other);
}

Test(refusals, options_that_make_no_sense)
{
    tarn_module *module;
    static const struct {
        tarn_gpt_options options;
        const char *says;
    } gpts[] = {{{.heads = 2, .width = 8, .context = 4}, "layers 0"},
                {{.layers = 1, .heads = 3, .width = 8, .context = 4}, "heads 3 does not divide width 8"},
                {{.layers = 1, .heads = 2, .width = 8, .context = 4, .dropout = 1}, "dropout is 1"},
                {{.layers = 1, .heads = 2, .width = 8, .context = 4, .vocabulary = -1}, "vocabulary -1"}};
    for (size_t i = 0; i < sizeof gpts / sizeof *gpts; i++) {
        expect_error(tarn_gpt_create(&module, context, &gpts[i].options), TARN_ERROR_ARGUMENT, gpts[i].says);
        cr_assert_null(module);
    }
    expect_error(tarn_attention_create(&module, context, 10, 3, 0), TARN_ERROR_ARGUMENT, "divide width");
    expect_error(tarn_linear_create(&module, context, 0, 3, NULL), TARN_ERROR_ARGUMENT, "at least 1");
    expect_error(tarn_embedding_create(&module, context, 3, 0, 0), TARN_ERROR_ARGUMENT, "at least 1");
    expect_error(tarn_layer_norm_create(&module, context, 4, -1), TARN_ERROR_ARGUMENT, "epsilon");
    expect_error(tarn_mlp_create(&module, context, &(tarn_mlp_options){1, (int64_t[]){4}, 0, 0}), TARN_ERROR_ARGUMENT,
                 "two numbers");
    expect_error(tarn_mlp_create(&module, context, &(tarn_mlp_options){2, (int64_t[]){4, 0}, 0, 0}),
                 TARN_ERROR_ARGUMENT, "sizes[1]");
    tarn_module *root = holder("root");
    expect_error(tarn_module_parameter(NULL, root, "w", 1, (int64_t[]){4},
                                       &(tarn_parameter_options){.init = TARN_INIT_NORMAL, .scale = NAN}),
                 TARN_ERROR_ARGUMENT, "scale");
    cr_assert_eq(tarn_module_parameter(NULL, root, "w", 1, (int64_t[]){0}, NULL), TARN_OK);
    expect_error(tarn_module_build(root, 1), TARN_ERROR_ARGUMENT, "no elements");
    tarn_module_destroy(root);
}

Test(refusals, vocabulary_given_late)
{
    tarn_module *gpt;
    tarn_gpt_options options = {.layers = 1, .heads = 1, .width = 16, .context = 4}, got;
    cr_assert_eq(tarn_gpt_create(&gpt, context, &options), TARN_OK);
    expect_error(tarn_module_build(gpt, 1), TARN_ERROR_STATE, "tarn_gpt_set_vocabulary");
    expect_error(tarn_gpt_set_vocabulary(gpt, 0), TARN_ERROR_ARGUMENT, "at least 1");
    cr_assert_eq(tarn_gpt_set_vocabulary(gpt, 9), TARN_OK);
    cr_assert_eq(tarn_gpt_set_vocabulary(gpt, 9), TARN_OK);
    expect_error(tarn_gpt_set_vocabulary(gpt, 10), TARN_ERROR_STATE, "9 already");
    cr_assert_eq(tarn_module_build(gpt, 1), TARN_OK);
    cr_assert_eq(at(gpt, 0).shape[0], 9);
    cr_assert_eq(tarn_gpt_get_options(gpt, &got), TARN_OK);
    cr_assert(got.vocabulary == 9 && got.width == 16);
    tarn_module *linear;
    cr_assert_eq(tarn_linear_create(&linear, context, 2, 2, NULL), TARN_OK);
    expect_error(tarn_gpt_get_options(linear, &got), TARN_ERROR_ARGUMENT, "linear");
    tarn_module_destroy(linear);
    tarn_module_destroy(gpt);
}
