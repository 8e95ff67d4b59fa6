/* test_ops_values.c - what the checker cannot see: values worked out by hand, rules for NaN, the mask of dropout,
 * views, and the messages of ops that refuse their inputs. */
#include "runtime/autograd/step.h"
#include <tarn/tarn.h>

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static tarn_context *context;
static tarn_step *step;

static void open_step(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    cr_assert_eq(tarn_step_open(&step, context, NULL), TARN_OK);
}

static void close_step(void)
{
    cr_expect_eq(tarn_step_close(step), TARN_OK);
    tarn_exit(context);
}

TestSuite(ops_values, .init = open_step, .fini = close_step);

/* values NULL: zeros. */
static tarn_tensor *floats(int ndim, const int64_t *shape, const float *values)
{
    static const float zeros[64];
    return tarn_leaf(step, TARN_F32, ndim, shape, values ? values : zeros, true);
}

static void expect_floats(const tarn_tensor *tensor, int count, const float *expected)
{
    float got[64] = {0};
    cr_assert_eq(tarn_tensor_read(tensor, got, (size_t)count * sizeof(float)), TARN_OK);
    for (int i = 0; i < count; i++)
        cr_expect(got[i] == expected[i] || (isnan(got[i]) && isnan(expected[i])), "element %d: %g, not %g", i,
                  (double)got[i], (double)expected[i]);
}

#define SHAPE(...)                                                                                                     \
    (const int64_t[])                                                                                                  \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define VALUES(...)                                                                                                    \
    (const float[])                                                                                                    \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

Test(ops_values, broadcasting_and_its_gradient)
{
    tarn_tensor *column = floats(2, SHAPE(2, 1), VALUES(1, 2)), *row = floats(1, SHAPE(3), VALUES(10, 20, 30));
    tarn_tensor *product = tarn_multiply(column, row);
    cr_expect_eq(tarn_tensor_ndim(product), 2);
    expect_floats(product, 6, VALUES(10, 20, 30, 20, 40, 60));
    expect_floats(tarn_subtract(row, column), 6, VALUES(9, 19, 29, 8, 18, 28));
    cr_assert_eq(tarn_backward(step, tarn_sum_all(product)), TARN_OK);
    expect_floats(tarn_gradient(column), 2, VALUES(60, 60));
    expect_floats(tarn_gradient(row), 3, VALUES(3, 3, 3));
}

Test(ops_values, reductions_and_their_rules_for_nan)
{
    tarn_tensor *x = floats(2, SHAPE(2, 3), VALUES(1, 5, 2, -1, NAN, 7));
    expect_floats(tarn_max(x, 1, false), 2, VALUES(5, NAN));
    expect_floats(tarn_max(x, 0, true), 3, VALUES(1, NAN, 7));
    expect_floats(tarn_sum(x, -1, false), 2, VALUES(8, NAN));
    tarn_tensor *y = floats(2, SHAPE(2, 2), VALUES(1, 3, 5, 7));
    expect_floats(tarn_mean(y, 0, false), 2, VALUES(3, 5));
    expect_floats(tarn_mean(y, 1, true), 2, VALUES(2, 6));
    tarn_tensor *ties = floats(1, SHAPE(4), VALUES(2, 9, 9, 1));
    cr_assert_eq(tarn_backward(step, tarn_max(ties, 0, false)), TARN_OK);
    expect_floats(tarn_gradient(ties), 4, VALUES(0, 1, 0, 0)); /* the first of equals */
}

Test(ops_values, relu_passes_nan)
{
    expect_floats(tarn_relu(floats(1, SHAPE(4), VALUES(-2, 0, 3, NAN))), 4, VALUES(0, 0, 3, NAN));
}

Test(ops_values, views)
{
    tarn_tensor *x = floats(2, SHAPE(2, 3), VALUES(1, 2, 3, 4, 5, 6));
    tarn_tensor *swapped = tarn_transpose(x, 0, 1);
    expect_floats(swapped, 6, VALUES(1, 4, 2, 5, 3, 6));
    cr_expect_eq(swapped->view.data, x->view.data, "a transpose copies nothing");
    tarn_tensor *flat = tarn_reshape(swapped, 1, SHAPE(-1)); /* of strided memory: copies */
    expect_floats(flat, 6, VALUES(1, 4, 2, 5, 3, 6));
    expect_floats(tarn_slice(x, 1, -2, 3), 4, VALUES(2, 3, 5, 6));
    tarn_tensor *part = tarn_slice(flat, 0, 1, 3);
    cr_assert_eq(tarn_backward(step, tarn_sum_all(tarn_multiply(part, part))), TARN_OK);
    expect_floats(tarn_gradient(x), 6, VALUES(0, 4, 0, 8, 0, 0));
}

Test(ops_values, more_parts_than_a_call_takes)
{
    tarn_tensor *parts[19];
    float expected[19];
    for (int i = 0; i < 19; i++) {
        expected[i] = (float)i;
        parts[i] = floats(1, SHAPE(1), &expected[i]);
    }
    tarn_tensor *joined = tarn_concat(19, parts, 0);
    expect_floats(joined, 19, expected);
    cr_assert_eq(tarn_backward(step, tarn_sum_all(tarn_multiply(joined, joined))), TARN_OK);
    for (int i = 0; i < 19; i++) expect_floats(tarn_gradient(parts[i]), 1, VALUES(2 * (float)i));
}

Test(ops_values, conversions)
{
    /* bf16: ties to even at 1 + 2^-8 (down) and 1 + 3 * 2^-8 (up); NaN stays NaN, overflow becomes infinity */
    tarn_tensor *x = floats(1, SHAPE(5), VALUES(1.00390625f, 1.01171875f, -2.5f, NAN, 3.4e38f));
    expect_floats(tarn_convert(tarn_convert(x, TARN_BF16), TARN_F32), 5, VALUES(1.0f, 1.015625f, -2.5f, NAN, INFINITY));
    tarn_tensor *y = floats(1, SHAPE(5), VALUES(-1.9f, 2.9f, NAN, 1e20f, -INFINITY));
    int32_t whole[5];
    cr_assert_eq(tarn_tensor_read(tarn_convert(y, TARN_I32), whole, sizeof whole), TARN_OK);
    cr_expect(whole[0] == -1 && whole[1] == 2 && whole[2] == 0 && whole[3] == INT32_MAX && whole[4] == INT32_MIN);
    cr_expect_eq(tarn_convert(y, TARN_F32), y);
    /* no gradient through integers, and none is asked of them */
    tarn_tensor *rows = floats(2, SHAPE(2, 1), VALUES(3, 4));
    tarn_tensor *index = tarn_convert(floats(1, SHAPE(3), VALUES(1, 0, 1)), TARN_I64);
    cr_assert_eq(tarn_backward(step, tarn_sum_all(tarn_gather(rows, index))), TARN_OK);
    expect_floats(tarn_gradient(rows), 2, VALUES(1, 2));
}

enum { SAMPLES = 8, ELEMENTS = 100 };

/* Which elements a dropout of ones keeps for samples [first, first + samples). */
static void kept(const tarn_step_options *options, int ops_before, float *out)
{
    static float ones[SAMPLES * ELEMENTS];
    for (int i = 0; i < SAMPLES * ELEMENTS; i++) ones[i] = 1;
    tarn_step *inner;
    cr_assert_eq(tarn_step_open(&inner, context, options), TARN_OK);
    tarn_tensor *x = tarn_leaf(inner, TARN_F32, 2, SHAPE(options->samples, ELEMENTS), ones, true);
    for (int i = 0; i < ops_before; i++) tarn_dropout(x, 0.5f);
    tarn_tensor *y = tarn_dropout(x, 0.25f);
    cr_assert_eq(tarn_tensor_read(y, out, (size_t)options->samples * ELEMENTS * sizeof(float)), TARN_OK);
    tarn_step_close(inner);
    tarn_step_make_current(step);
}

Test(ops_values, dropout_follows_the_sample_not_the_shard)
{
    static float whole[SAMPLES * ELEMENTS], part[SAMPLES * ELEMENTS], other[SAMPLES * ELEMENTS];
    kept(&(tarn_step_options){.seed = 9, .index = 4, .first_sample = 16, .samples = 8}, 0, whole);
    for (int first = 0; first < 8; first += 2) {
        kept(&(tarn_step_options){.seed = 9, .index = 4, .first_sample = 16 + first, .samples = 2}, 0, part);
        cr_expect(!memcmp(part, whole + first * ELEMENTS, 2 * ELEMENTS * sizeof(float)), "samples %d and %d", first,
                  first + 1);
    }
    int alive = 0;
    for (int i = 0; i < SAMPLES * ELEMENTS; i++) {
        cr_expect(whole[i] == 0.0f || whole[i] == 1.0f / 0.75f);
        alive += whole[i] != 0.0f;
    }
    cr_expect(alive > 540 && alive < 660, "%d of 800 kept, about 600 expected", alive);
    /* seed, step and the number of the op each change the mask, and so does the sample */
    kept(&(tarn_step_options){.seed = 10, .index = 4, .first_sample = 16, .samples = 8}, 0, other);
    cr_expect(memcmp(whole, other, sizeof whole));
    kept(&(tarn_step_options){.seed = 9, .index = 5, .first_sample = 16, .samples = 8}, 0, other);
    cr_expect(memcmp(whole, other, sizeof whole));
    kept(&(tarn_step_options){.seed = 9, .index = 4, .first_sample = 16, .samples = 8}, 1, other);
    cr_expect(memcmp(whole, other, sizeof whole));
    cr_expect(memcmp(whole, whole + ELEMENTS, ELEMENTS * sizeof(float)));
}

Test(ops_values, dropout_is_identity_where_nothing_is_learnt)
{
    tarn_step *inner;
    tarn_step_open(&inner, context, &(tarn_step_options){.no_gradient = true});
    tarn_tensor *x = tarn_leaf(inner, TARN_F32, 1, SHAPE(3), VALUES(1, 2, 3), false);
    expect_floats(tarn_dropout(x, 0.9f), 3, VALUES(1, 2, 3));
    tarn_step_close(inner);
    tarn_step_make_current(step);
}

/* What a wrong call leaves behind must name the op and say enough. */
static void expect_message(tarn_tensor *result, const char *op, const char *part)
{
    cr_expect_not(tarn_tensor_is_valid(result));
    cr_expect_neq(tarn_step_status(step), TARN_OK);
    const char *message = tarn_step_message(step);
    cr_expect(strstr(message, op) && strstr(message, part), "'%s' names not both %s and '%s'", message, op, part);
    tarn_step_close(step);
    tarn_error_clear(context);
    cr_assert_eq(tarn_step_open(&step, context, NULL), TARN_OK);
}

Test(ops_values, wrong_calls_say_why)
{
    expect_message(tarn_add(floats(1, SHAPE(3), NULL), floats(1, SHAPE(4), NULL)), "add", "do not broadcast");
    expect_message(tarn_sum(floats(1, SHAPE(3), NULL), 1, false), "sum", "dimension 1");
    expect_message(tarn_reshape(floats(1, SHAPE(6), NULL), 2, SHAPE(4, -1)), "reshape", "do not fill");
    expect_message(tarn_reshape(floats(1, SHAPE(6), NULL), 1, SHAPE(7)), "reshape", "do not fit");
    expect_message(tarn_slice(floats(1, SHAPE(3), NULL), 0, 2, 5), "slice", "2 to 5");
    expect_message(tarn_transpose(floats(1, SHAPE(3), NULL), 0, 1), "transpose", "1 dimensions");
    expect_message(tarn_dropout(floats(1, SHAPE(3), NULL), 1.0f), "dropout", "not in [0, 1)");
    expect_message(tarn_mse(floats(1, SHAPE(3), NULL), floats(2, SHAPE(3, 1), NULL)), "mse", "same shape");
    expect_message(tarn_softmax(floats(0, NULL, NULL)), "softmax", "scalar");
    expect_message(
        tarn_gather(floats(1, SHAPE(3), NULL), tarn_leaf(step, TARN_I32, 1, SHAPE(2), (const int32_t[]){1, 3}, false)),
        "gather", "index 3");
    expect_message(tarn_concat(2, (tarn_tensor *[]){floats(2, SHAPE(2, 2), NULL), floats(2, SHAPE(2, 3), NULL)}, 0),
                   "concat", "part 1");
    expect_message(tarn_relu(tarn_leaf(step, TARN_I32, 1, SHAPE(2), (const int32_t[2]){0}, false)), "relu",
                   "tarn_convert");
    expect_message(tarn_concat(0, NULL, 0), "concat", "inputs");
}
