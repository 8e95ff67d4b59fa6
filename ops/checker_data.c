/* checker_data.c - inputs, guarded memory and comparisons of the op checker. */
#include "ops/checker_internal.h"
#include "ops/shape.h"
#include "runtime/random/random.h"
#include "runtime/tensor/view.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GUARD_BYTE = 0xA5 };

void checker_fail(checker *check, const char *format, ...)
{
    tarn_op_report *report = check->report;
    if (report->failures++) return;
    int used = snprintf(report->message, sizeof report->message, "op %s, case '%s': ", check->op->name,
                        check->op_case->name ? check->op_case->name : "");
    if (used < 0 || (size_t)used >= sizeof report->message) return;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(report->message + used, sizeof report->message - (size_t)used, format, arguments);
    va_end(arguments);
}

void *checker_memory(checker *check, size_t bytes)
{
    char *memory = tarn_arena_get(&check->arena, bytes + 64);
    if (!memory) {
        check->out_of_memory = true;
        return NULL;
    }
    return memory + (64 - (uintptr_t)memory % 64) % 64;
}

checker_block checker_block_make(checker *check, const tarn_view *view, int offset, int fill)
{
    checker_block block = {NULL, tarn_view_bytes(view)};
    size_t shift = (size_t)offset * tarn_dtype_size(view->dtype);
    char *memory = checker_memory(check, block.bytes + shift + 2 * CHECKER_GUARD);
    if (!memory) return block;
    block.data = memory + CHECKER_GUARD + shift;
    memset(block.data - CHECKER_GUARD, GUARD_BYTE, CHECKER_GUARD);
    memset(block.data, fill, block.bytes);
    memset(block.data + block.bytes, GUARD_BYTE, CHECKER_GUARD);
    return block;
}

bool checker_block_intact(const checker_block *block)
{
    for (int i = 0; i < CHECKER_GUARD; i++)
        if ((unsigned char)block->data[-1 - i] != GUARD_BYTE ||
            (unsigned char)block->data[block->bytes + (size_t)i] != GUARD_BYTE)
            return false;
    return true;
}

static uint32_t word_at(uint32_t stream, int64_t i)
{
    const uint32_t counter[4] = {(uint32_t)i, (uint32_t)((uint64_t)i >> 32), stream, 0}, key[2] = {0x7461726eu, 0};
    uint32_t words[4];
    tarn_philox(counter, key, words);
    return words[0];
}

double checker_uniform(uint32_t stream, int64_t i)
{
    return (double)word_at(stream, i) * 0x1p-32;
}

static void store(const tarn_view *view, int64_t at, double value)
{
    switch (view->dtype) {
    case TARN_F32:
        ((float *)view->data)[at] = (float)value;
        break;
    case TARN_F64:
        ((double *)view->data)[at] = value;
        break;
    case TARN_BF16:
        ((uint16_t *)view->data)[at] = (uint16_t)((int)value & 0x3fff);
        break; /* any pattern will do */
    case TARN_I32:
        ((int32_t *)view->data)[at] = (int32_t)floor(value);
        break;
    case TARN_I64:
        ((int64_t *)view->data)[at] = (int64_t)floor(value);
        break;
    default:
        ((uint8_t *)view->data)[at] = value > 0;
        break;
    }
}

void checker_fill(const tarn_view *view, uint32_t stream)
{
    int64_t n = tarn_view_numel(view);
    for (int64_t i = 0; i < n; i++) store(view, i, (double)(float)(2 * checker_uniform(stream, i) - 1));
}

double checker_value(const tarn_view *contiguous, int64_t i)
{
    return contiguous->dtype == TARN_F64 ? ((const double *)contiguous->data)[i]
                                         : (double)((const float *)contiguous->data)[i];
}

static double special_value(uint32_t word)
{
    static const double values[] = {NAN,           INFINITY, -INFINITY, -0.0,    0.0,      FLT_TRUE_MIN,
                                    -FLT_TRUE_MIN, 1e-39,    -3e-39,    FLT_MAX, -FLT_MAX, 1e-20,
                                    1e20,          88.8,     -103.9,    0.5,     1.0,      -1.0};
    return values[word % (sizeof values / sizeof values[0])];
}

/* Strides of a dense tensor whose dimensions lie in memory in the order permutation[0] (outermost), [1], ... */
static void set_strides(tarn_view *view, const int *permutation, bool contiguous)
{
    bool given = false;
    for (int d = 0; d < view->ndim; d++) given |= permutation[d] != 0;
    tarn_view_set_contiguous(view);
    if (!given || contiguous) return;
    int64_t stride = 1;
    for (int k = view->ndim - 1; k >= 0; k--) {
        view->stride[permutation[k]] = stride;
        stride *= view->shape[permutation[k]];
    }
}

static bool make_input(checker *check, checker_inputs *inputs, int i, bool special, bool contiguous)
{
    tarn_view *view = &inputs->in[i];
    double low = check->op_case->in[i].low, high = check->op_case->in[i].high;
    if (low == 0 && high == 0) {
        low = -1;
        high = 1;
    }
    view->dtype = check->op_case->in[i].dtype;
    if (view->dtype == TARN_F32) view->dtype = inputs->real;
    view->ndim = check->op_case->in[i].ndim;
    memcpy(view->shape, check->op_case->in[i].shape, sizeof view->shape);
    set_strides(view, check->op_case->in[i].permutation, contiguous);
    size_t size = tarn_dtype_size(view->dtype);
    char *memory = checker_memory(check, tarn_view_bytes(view) + size);
    if (!memory) return false;
    view->data = memory + (special ? size : 0);

    uint32_t stream = 1000 + (uint32_t)i;
    int64_t numel = tarn_view_numel(view), index[TARN_MAX_DIMS] = {0}, offset = 0;
    for (int64_t n = 0; n < numel; n++) {
        double value = low + (high - low) * checker_uniform(stream, n);
        if (tarn_dtype_is_real(view->dtype)) {
            value = (double)(float)value;
            uint32_t word = word_at(stream + 100, n);
            if (special && word % 3 == 0) value = special_value(word / 3);
        }
        store(view, offset, value);
        for (int d = view->ndim - 1; d >= 0; d--) {
            offset += view->stride[d];
            if (++index[d] < view->shape[d]) break;
            offset -= view->stride[d] * view->shape[d];
            index[d] = 0;
        }
    }
    inputs->direct[i] = *view;
    if (tarn_view_is_contiguous(view) || (check->op->strided >> i & 1) || check->op->view) return true;
    inputs->direct[i].data = checker_memory(check, tarn_view_bytes(view));
    if (!inputs->direct[i].data) return false;
    tarn_view_copy(view, inputs->direct[i].data);
    tarn_view_set_contiguous(&inputs->direct[i]);
    return true;
}

bool checker_inputs_make(checker *check, checker_inputs *inputs, tarn_dtype real, bool special, bool contiguous)
{
    *inputs = (checker_inputs){.real = real};
    for (int i = 0; i < check->op_case->inputs; i++)
        if (!check->op_case->in[i].absent && !make_input(check, inputs, i, special, contiguous)) return false;
    return true;
}

bool checker_same(const tarn_view *view, const void *a, const void *b, int64_t *at)
{
    size_t size = tarn_dtype_size(view->dtype), bytes = tarn_view_bytes(view);
    if (!bytes || !memcmp(a, b, bytes)) return true;
    for (int64_t i = 0, n = tarn_view_numel(view); i < n; i++) {
        const char *x = (const char *)a + (size_t)i * size, *y = (const char *)b + (size_t)i * size;
        if (!memcmp(x, y, size)) continue;
        float fx, fy;
        double dx, dy;
        if (view->dtype == TARN_F32) {
            memcpy(&fx, x, size);
            memcpy(&fy, y, size);
            if (fx != fx && fy != fy) continue;
        } else if (view->dtype == TARN_F64) {
            memcpy(&dx, x, size);
            memcpy(&dy, y, size);
            if (dx != dx && dy != dy) continue;
        }
        *at = i;
        return false;
    }
    return true;
}
