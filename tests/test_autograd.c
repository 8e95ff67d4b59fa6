/* test_autograd.c - the tape: lifetimes, errors that compose, accumulation of gradients, compositions and kernels.
 */
#include "runtime/autograd/step.h"
#include "runtime/base/context.h"

#include <criterion/criterion.h>
#include <math.h>
#include <tarn/tarn.h>

static tarn_context *context;

static void set_up(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
}

static void tear_down(void)
{
    tarn_exit(context);
}

TestSuite(autograd, .init = set_up, .fini = tear_down, .timeout = 60);

static tarn_tensor *vector(tarn_step *step, int n, const float *values, bool gradient)
{
    return tarn_leaf(step, TARN_F32, 1, (int64_t[]){n}, values, gradient);
}

Test(autograd, gradients_of_a_tensor_used_twice_add_up)
{
    tarn_step *step;
    float x[3] = {1, 2, -3}, gradient[3];
    cr_assert_eq(tarn_step_open(&step, context, NULL), TARN_OK);
    tarn_tensor *leaf = vector(step, 3, x, true);
    tarn_tensor *loss = tarn_sum_all(tarn_add(tarn_multiply(leaf, leaf), leaf)); /* x^2 + x */
    cr_assert_eq(tarn_backward(step, loss), TARN_OK);
    cr_assert_eq(tarn_tensor_read(tarn_gradient(leaf), gradient, sizeof gradient), TARN_OK);
    for (int i = 0; i < 3; i++) cr_expect_float_eq(gradient[i], 2 * x[i] + 1, 1e-6);
    cr_assert_eq(tarn_step_close(step), TARN_OK);
}

Test(autograd, views_carry_gradients)
{
    tarn_step *step;
    float x[6] = {1, 2, 3, 4, 5, 6}, gradient[6];
    tarn_step_open(&step, context, NULL);
    tarn_tensor *leaf = tarn_leaf(step, TARN_F32, 2, (int64_t[]){2, 3}, x, true);
    tarn_tensor *part = tarn_slice(tarn_transpose(leaf, 0, 1), 0, 1, 3); /* columns 1, 2 as rows */
    tarn_tensor *loss = tarn_sum_all(tarn_multiply(part, part));
    cr_assert_eq(tarn_backward(step, loss), TARN_OK);
    tarn_tensor_read(tarn_gradient(leaf), gradient, sizeof gradient);
    for (int i = 0; i < 6; i++) cr_expect_float_eq(gradient[i], i % 3 ? 2 * x[i] : 0, 1e-6);
    cr_assert_eq(tarn_step_close(step), TARN_OK);
}

Test(autograd, the_first_error_names_op_and_shapes_and_everything_after_is_inert)
{
    tarn_step *step;
    float x[6] = {0};
    tarn_step_open(&step, context, NULL);
    tarn_tensor *a = tarn_leaf(step, TARN_F32, 2, (int64_t[]){2, 3}, x, true);
    tarn_tensor *b = tarn_leaf(step, TARN_F32, 2, (int64_t[]){2, 2}, x, true);
    tarn_tensor *bad = tarn_add(a, b), *after = tarn_exp(tarn_multiply(bad, a));
    cr_expect_not(tarn_tensor_is_valid(bad));
    cr_expect_not(tarn_tensor_is_valid(after));
    cr_expect_eq(tarn_backward(step, tarn_sum_all(after)), TARN_ERROR_SHAPE);
    double value;
    cr_expect_neq(tarn_item(after, &value), TARN_OK);
    cr_expect_eq(tarn_step_close(step), TARN_ERROR_SHAPE);
    const tarn_error *error = tarn_get_error(context);
    cr_assert(error);
    cr_expect(strstr(error->message, "test_autograd.c:"), "no place in: %s", error->message);
    cr_expect(strstr(error->message, "add") && strstr(error->message, "(2, 3)") && strstr(error->message, "(2, 2)"),
              "%s", error->message);
    tarn_error_clear(context);
}

Test(autograd, values_are_gone_after_backward_unless_kept)
{
    tarn_step *step;
    float x[2] = {3, 4}, value[2];
    tarn_step_open(&step, context, NULL);
    tarn_tensor *leaf = vector(step, 2, x, true), *y = tarn_scale(leaf, 2, 0), *kept;
    cr_assert_eq(tarn_keep(&kept, y), TARN_OK);
    cr_assert_eq(tarn_backward(step, tarn_sum_all(y)), TARN_OK);
    cr_expect_neq(tarn_tensor_read(y, value, sizeof value), TARN_OK);
    tarn_error_clear(context);
    cr_assert_eq(tarn_step_close(step), TARN_OK);
    cr_assert_eq(tarn_tensor_read(kept, value, sizeof value), TARN_OK);
    cr_expect_eq(value[1], 8);
    tarn_tensor_destroy(kept);
}

Test(autograd, backward_twice_and_backward_of_a_constant_are_refused)
{
    tarn_step *step;
    float x[2] = {3, 4};
    tarn_step_open(&step, context, NULL);
    tarn_tensor *loss = tarn_sum_all(vector(step, 2, x, true));
    cr_expect_eq(tarn_backward(step, loss), TARN_OK);
    cr_expect_eq(tarn_backward(step, loss), TARN_ERROR_STATE);
    tarn_step_close(step);
    tarn_error_clear(context);
    tarn_step_open(&step, context, NULL);
    cr_expect_eq(tarn_backward(step, tarn_sum_all(vector(step, 2, x, false))), TARN_ERROR_ARGUMENT);
    tarn_step_close(step);
    tarn_error_clear(context);
}

Test(autograd, a_tensor_of_another_step_is_refused)
{
    tarn_step *one, *two;
    float x[2] = {3, 4};
    tarn_step_open(&one, context, NULL);
    tarn_tensor *a = vector(one, 2, x, false);
    tarn_step_open(&two, context, NULL);
    tarn_tensor *b = vector(two, 2, x, false);
    cr_expect_not(tarn_tensor_is_valid(tarn_add(b, a)));
    cr_expect_neq(tarn_step_close(two), TARN_OK);
    tarn_error_clear(context);
    cr_expect(tarn_tensor_is_valid(tarn_add(a, a)), "the first step is whole");
    cr_expect_eq(tarn_step_close(one), TARN_OK);
}

Test(autograd, the_pool_reuses_memory_from_step_to_step)
{
    tarn_pool *pool = tarn_pool_create();
    size_t held = 0;
    float x[1000] = {1};
    for (int round = 0; round < 5; round++) {
        tarn_step *step;
        tarn_step_setup setup = {.pool = pool, .random = {.samples = 1}};
        cr_assert_eq(tarn_step_create(&step, context, &setup), TARN_OK);
        tarn_step_make_current(step);
        tarn_tensor *leaf = vector(step, 1000, x, true);
        tarn_backward(step, tarn_sum_all(tarn_relu(tarn_scale(leaf, 2, 1))));
        cr_assert_eq(tarn_step_free(step), TARN_OK);
        if (round) cr_expect_eq(tarn_pool_bytes(pool), held, "round %d", round);
        held = tarn_pool_bytes(pool);
    }
    tarn_pool_destroy(pool);
}

Test(autograd, steps_may_end_in_any_order)
{
    tarn_step *outermost, *outer, *inner;
    cr_assert_eq(tarn_step_open(&outermost, context, NULL), TARN_OK);
    cr_assert_eq(tarn_step_open(&outer, context, NULL), TARN_OK);
    cr_assert_eq(tarn_step_open(&inner, context, NULL), TARN_OK);
    cr_assert_eq(tarn_step_close(outer), TARN_OK);
    cr_expect_eq(tarn_step_current(), inner);
    cr_assert_eq(tarn_step_close(inner), TARN_OK);
    cr_expect_eq(tarn_step_current(), outermost, "not the step that has ended");
    tarn_step_make_current(outermost);
    cr_assert_eq(tarn_step_open(&inner, context, NULL), TARN_OK);
    tarn_step_make_current(outermost); /* an order other than that of opening */
    cr_assert_eq(tarn_step_close(outermost), TARN_OK);
    cr_expect_eq(tarn_step_current(), inner);
    cr_assert_eq(tarn_step_close(inner), TARN_OK);
    cr_expect_null(tarn_step_current());
}

Test(autograd, a_leaf_without_data_is_zero)
{
    tarn_step *step;
    float value[5] = {1, 1, 1, 1, 1};
    for (int round = 0; round < 2; round++) { /* of memory never used, then of memory used before */
        cr_assert_eq(tarn_step_open(&step, context, NULL), TARN_OK);
        vector(step, 5, value, false);
        cr_assert_eq(tarn_tensor_read(vector(step, 5, NULL, false), value, sizeof value), TARN_OK);
        for (int i = 0; i < 5; i++) cr_expect_eq(value[i], 0);
        cr_assert_eq(tarn_step_close(step), TARN_OK);
    }
}
