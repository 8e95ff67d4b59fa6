/* test_fused_ops.c - what the checker's cases cannot say of the fused ops: gradients wanted one by one, one op against
 * the ops it fuses, values worked out by hand, messages. */
#include "runtime/autograd/step.h"
#include <tarn/tarn.h>

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static tarn_context *context;
static tarn_step *step;

static void open_context(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
}

static void close_context(void)
{
    tarn_exit(context);
}

TestSuite(fused_ops, .init = open_context, .fini = close_context);

enum { VALUES = 4096, MAX_LEAVES = 6 };

/* Values in [-1, 1) that differ from leaf to leaf. */
static const float *values(int seed)
{
    static float tables[MAX_LEAVES + 2][VALUES];
    for (int i = 0; i < VALUES; i++) tables[seed][i] = (float)((i * 7919 + seed * 104729) % 2001 - 1000) / 1001.0f;
    return tables[seed];
}

static const int32_t ids[12] = {3, 0, 4, 4, 1, 3, 2, 0, 4, 3, 1, 2};
static const int32_t targets[12] = {3, -1, 4, 4, 1, 3, -7, 0, 4, 3, 1, 2};

#define SHAPE(...)                                                                                                     \
    (const int64_t[])                                                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

/* A leaf that wants a gradient when bit `number` of mask is set. */
static tarn_tensor *leaf(unsigned mask, int number, int ndim, const int64_t *shape)
{
    return tarn_leaf(step, TARN_F32, ndim, shape, values(number), mask >> number & 1);
}

static tarn_tensor *integers(int ndim, const int64_t *shape, const int32_t *from)
{
    return tarn_leaf(step, TARN_I32, ndim, shape, from, false);
}

/* Each builds its op over leaf[0..count) and returns count. */
typedef int build(unsigned mask, tarn_tensor **leaves, tarn_tensor **result);

static int build_linear(unsigned mask, tarn_tensor **l, tarn_tensor **result)
{
    l[0] = leaf(mask, 0, 3, SHAPE(2, 3, 19));
    l[1] = leaf(mask, 1, 2, SHAPE(21, 19));
    l[2] = leaf(mask, 2, 1, SHAPE(21));
    l[3] = leaf(mask, 3, 3, SHAPE(2, 3, 21));
    *result = tarn_linear(l[0], l[1], l[2], l[3], TARN_GELU_TANH);
    return 4;
}

static int build_mlp_block(unsigned mask, tarn_tensor **l, tarn_tensor **result)
{
    l[0] = leaf(mask, 0, 2, SHAPE(6, 19));
    l[1] = leaf(mask, 1, 2, SHAPE(35, 19));
    l[2] = leaf(mask, 2, 1, SHAPE(35));
    l[3] = leaf(mask, 3, 2, SHAPE(19, 35));
    l[4] = leaf(mask, 4, 1, SHAPE(19));
    l[5] = leaf(mask, 5, 2, SHAPE(6, 19));
    *result = tarn_mlp_block(l[0], l[1], l[2], l[3], l[4], l[5], TARN_GELU_TANH);
    return 6;
}

static int build_layer_norm(unsigned mask, tarn_tensor **l, tarn_tensor **result)
{
    l[0] = leaf(mask, 0, 2, SHAPE(6, 37));
    l[1] = leaf(mask, 1, 1, SHAPE(37));
    l[2] = leaf(mask, 2, 1, SHAPE(37));
    *result = tarn_layer_norm(l[0], l[1], l[2], 1e-5f);
    return 3;
}

static int build_rms_norm(unsigned mask, tarn_tensor **l, tarn_tensor **result)
{
    l[0] = leaf(mask, 0, 2, SHAPE(6, 37));
    l[1] = leaf(mask, 1, 1, SHAPE(37));
    *result = tarn_rms_norm(l[0], l[1], 1e-5f);
    return 2;
}

static int build_embedding(unsigned mask, tarn_tensor **l, tarn_tensor **result)
{
    l[0] = leaf(mask, 0, 2, SHAPE(5, 18));
    l[1] = leaf(mask, 1, 2, SHAPE(9, 18));
    *result = tarn_embedding(integers(2, SHAPE(3, 4), ids), l[0], l[1]);
    return 2;
}

static int build_classifier_loss(unsigned mask, tarn_tensor **l, tarn_tensor **result)
{
    l[0] = leaf(mask, 0, 2, SHAPE(12, 18));
    l[1] = leaf(mask, 1, 2, SHAPE(5, 18));
    *result = tarn_classifier_loss(l[0], l[1], integers(1, SHAPE(12), targets));
    return 2;
}

static int build_matmul(unsigned mask, tarn_tensor **l, tarn_tensor **result)
{
    l[0] = leaf(mask, 0, 3, SHAPE(2, 3, 18));
    l[1] = leaf(mask, 1, 2, SHAPE(18, 7));
    *result = tarn_matmul(l[0], l[1]);
    return 2;
}

/* The loss weighs every element of the result differently. */
static tarn_tensor *loss_of(tarn_tensor *result)
{
    if (tarn_tensor_ndim(result) == 0) return result;
    int64_t shape[TARN_MAX_DIMS];
    for (int d = 0; d < tarn_tensor_ndim(result); d++) shape[d] = tarn_tensor_dim(result, d);
    tarn_tensor *weights = tarn_leaf(step, TARN_F32, tarn_tensor_ndim(result), shape, values(MAX_LEAVES), false);
    return tarn_sum_all(tarn_multiply(result, weights));
}

static void read(const tarn_tensor *tensor, float *out)
{
    cr_assert_not_null(tensor);
    cr_assert_eq(tarn_tensor_read(tensor, out, (size_t)tarn_tensor_numel(tensor) * sizeof(float)), TARN_OK);
}

Test(fused_ops, a_gradient_does_not_depend_on_which_others_are_wanted)
{
    build *const builds[] = {build_linear,    build_mlp_block,       build_layer_norm, build_rms_norm,
                             build_embedding, build_classifier_loss, build_matmul};
    static float all[MAX_LEAVES][VALUES], alone[VALUES];
    for (size_t b = 0; b < sizeof builds / sizeof builds[0]; b++) {
        tarn_tensor *leaves[MAX_LEAVES], *result;
        cr_assert_eq(tarn_step_open(&step, context, NULL), TARN_OK);
        int count = builds[b](~0u, leaves, &result);
        cr_assert_eq(tarn_backward(step, loss_of(result)), TARN_OK);
        for (int i = 0; i < count; i++) read(tarn_gradient(leaves[i]), all[i]);
        tarn_step_close(step);
        for (unsigned mask = 1; mask < 1u << count; mask++) {
            cr_assert_eq(tarn_step_open(&step, context, NULL), TARN_OK);
            builds[b](mask, leaves, &result);
            cr_assert_eq(tarn_backward(step, loss_of(result)), TARN_OK);
            for (int i = 0; i < count; i++) {
                if (!(mask >> i & 1)) continue;
                read(tarn_gradient(leaves[i]), alone);
                cr_expect(!memcmp(alone, all[i], (size_t)tarn_tensor_numel(leaves[i]) * sizeof(float)),
                          "op %zu, gradient %d, wanted %x", b, i, mask);
            }
            tarn_step_close(step);
        }
    }
}

/* Forward and all gradients of two ways to say the same. */
static void expect_same(build *one, build *other)
{
    static float result[2][VALUES], gradients[2][MAX_LEAVES][VALUES];
    memset(result, 0, sizeof result);
    memset(gradients, 0, sizeof gradients);
    build *const ways[2] = {one, other};
    for (int w = 0; w < 2; w++) {
        tarn_tensor *leaves[MAX_LEAVES], *y;
        cr_assert_eq(tarn_step_open(&step, context, NULL), TARN_OK);
        int count = ways[w](~0u, leaves, &y);
        read(y, result[w]);
        cr_assert_eq(tarn_backward(step, loss_of(y)), TARN_OK);
        for (int i = 0; i < count; i++) read(tarn_gradient(leaves[i]), gradients[w][i]);
        tarn_step_close(step);
    }
    cr_expect(!memcmp(result[0], result[1], sizeof result[0]));
    for (int i = 0; i < MAX_LEAVES; i++)
        cr_expect(!memcmp(gradients[0][i], gradients[1][i], sizeof gradients[0][i]), "gradient %d", i);
}

static int build_two_linears(unsigned mask, tarn_tensor **l, tarn_tensor **result)
{
    build_mlp_block(mask, l, result);
    tarn_tensor *middle = tarn_linear(l[0], l[1], l[2], NULL, TARN_GELU_TANH);
    *result = tarn_linear(middle, l[3], l[4], l[5], TARN_NO_ACTIVATION);
    return 6;
}

static int build_classifier_in_two(unsigned mask, tarn_tensor **l, tarn_tensor **result)
{
    build_classifier_loss(mask, l, result);
    tarn_tensor *logits = tarn_linear(l[0], l[1], NULL, NULL, TARN_NO_ACTIVATION);
    *result = tarn_cross_entropy(logits, integers(1, SHAPE(12), targets));
    return 2;
}

Test(fused_ops, mlp_block_is_two_linears)
{
    expect_same(build_mlp_block, build_two_linears);
}

Test(fused_ops, classifier_loss_is_linear_and_cross_entropy)
{
    expect_same(build_classifier_loss, build_classifier_in_two);
}

/* Uniform attention: with equal keys, each query averages the values up to its own. */
Test(fused_ops, attention_averages_what_came_before)
{
    enum { TIME = 5 };
    float qkv[TIME * 3], got[TIME];
    for (int t = 0; t < TIME; t++) {
        qkv[3 * t] = (float)t;
        qkv[3 * t + 1] = 1.0f;
        qkv[3 * t + 2] = (float)(t * t);
    }
    cr_assert_eq(tarn_step_open(&step, context, NULL), TARN_OK);
    read(tarn_causal_attention(tarn_leaf(step, TARN_F32, 3, SHAPE(1, TIME, 3), qkv, false), 1), got);
    double sum = 0;
    for (int t = 0; t < TIME; t++) {
        sum += t * t;
        cr_expect_float_eq(got[t], sum / (t + 1), 1e-6, "query %d: %g", t, (double)got[t]);
    }
    tarn_step_close(step);
}

Test(fused_ops, ignored_rows_have_no_loss)
{
    static const float logits[6] = {0, 0, 0, NAN, 5, 7};
    static const int32_t some[2] = {1, -1};
    double value;
    cr_assert_eq(tarn_step_open(&step, context, NULL), TARN_OK);
    tarn_tensor *x = tarn_leaf(step, TARN_F32, 2, SHAPE(2, 3), logits, true);
    tarn_tensor *loss = tarn_cross_entropy(x, integers(1, SHAPE(2), some));
    cr_assert_eq(tarn_item(loss, &value), TARN_OK);
    cr_expect_float_eq(value, log(3.0), 1e-6);
    cr_assert_eq(tarn_backward(step, loss), TARN_OK);
    float gradient[6];
    read(tarn_gradient(x), gradient);
    for (int j = 3; j < 6; j++) cr_expect_eq(gradient[j], 0.0f);
    tarn_step_close(step);
}

static void expect_message(tarn_tensor *result, const char *op, const char *part)
{
    cr_expect_not(tarn_tensor_is_valid(result));
    const char *message = tarn_step_message(step);
    cr_expect(strstr(message, op) && strstr(message, part), "'%s' names not both %s and '%s'", message, op, part);
    tarn_step_close(step);
    tarn_error_clear(context);
    cr_assert_eq(tarn_step_open(&step, context, NULL), TARN_OK);
}

Test(fused_ops, wrong_calls_say_why)
{
    static const int32_t wrong[4] = {0, 1, 5, 2};
    cr_assert_eq(tarn_step_open(&step, context, NULL), TARN_OK);
    expect_message(tarn_linear(leaf(0, 0, 2, SHAPE(2, 3)), leaf(0, 1, 2, SHAPE(4, 5)), NULL, NULL, TARN_NO_ACTIVATION),
                   "linear", "takes 5 inputs");
    expect_message(tarn_linear(leaf(0, 0, 2, SHAPE(2, 3)), leaf(0, 1, 2, SHAPE(4, 3)), leaf(0, 2, 1, SHAPE(3)), NULL,
                               TARN_NO_ACTIVATION),
                   "linear", "bias");
    expect_message(tarn_linear(leaf(0, 0, 2, SHAPE(2, 3)), leaf(0, 1, 2, SHAPE(4, 3)), NULL, NULL, (tarn_activation)99),
                   "linear", "activation 99");
    expect_message(tarn_mlp_block(leaf(0, 0, 2, SHAPE(2, 3)), leaf(0, 1, 2, SHAPE(7, 3)), NULL,
                                  leaf(0, 2, 2, SHAPE(7, 3)), NULL, NULL, TARN_RELU),
                   "mlp_block", "(3, 7)");
    expect_message(tarn_layer_norm(leaf(0, 0, 2, SHAPE(2, 3)), leaf(0, 1, 1, SHAPE(4)), NULL, 1e-5f), "layer_norm",
                   "vector (3)");
    expect_message(tarn_causal_attention(leaf(0, 0, 3, SHAPE(1, 2, 30)), 3), "causal_attention", "3 heads");
    expect_message(tarn_embedding(integers(2, SHAPE(2, 2), wrong), leaf(0, 0, 2, SHAPE(5, 3)), NULL), "embedding",
                   "id 5 at sample 1, position 0");
    expect_message(
        tarn_embedding(integers(2, SHAPE(1, 4), wrong), leaf(0, 0, 2, SHAPE(6, 3)), leaf(0, 1, 2, SHAPE(3, 3))),
        "embedding", "longer context");
    expect_message(tarn_cross_entropy(leaf(0, 0, 2, SHAPE(4, 5)), integers(1, SHAPE(4), wrong)), "cross_entropy",
                   "target 5 of row 2");
    expect_message(
        tarn_classifier_loss(leaf(0, 0, 2, SHAPE(4, 3)), leaf(0, 1, 2, SHAPE(5, 3)), integers(2, SHAPE(2, 2), wrong)),
        "classifier_loss", "one a row");
    expect_message(tarn_matmul(leaf(0, 0, 2, SHAPE(4, 3)), leaf(0, 1, 2, SHAPE(4, 3))), "matmul", "3 columns");
    tarn_step_close(step);
}
