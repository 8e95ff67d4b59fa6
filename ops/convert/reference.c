/* reference.c - convert, see convert.c. One function for all pairs of types, whichever `real` is. */
#include "ops/reference.h"

/* An element on its way: integers stay integers, so that i64 keeps all its bits. */
typedef struct number {
    bool whole;
    int64_t integer;
    double value;
} number;

static number load(const void *data, tarn_dtype dtype, int64_t i)
{
    uint32_t bits;
    switch (dtype) {
    case TARN_F32:
        return (number){.value = (double)((const float *)data)[i]};
    case TARN_F64:
        return (number){.value = ((const double *)data)[i]};
    case TARN_BF16:
        bits = (uint32_t)((const uint16_t *)data)[i] << 16;
        return (number){.value = (double)tarn_bits_float(bits)};
    case TARN_I32:
        return (number){.whole = true, .integer = ((const int32_t *)data)[i]};
    case TARN_I64:
        return (number){.whole = true, .integer = ((const int64_t *)data)[i]};
    default:
        return (number){.whole = true, .integer = ((const uint8_t *)data)[i] != 0};
    }
}

static uint16_t bf16_of(float x)
{
    uint32_t bits = tarn_float_bits(x);
    if (x != x) return (uint16_t)(bits >> 16 | 0x40u); /* quiet, and not rounded up to infinity */
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* The nearest of the integers from low to high, both within double's reach. */
static int64_t integer_of(number x, int64_t low, int64_t high)
{
    if (x.whole) return x.integer < low ? low : x.integer > high ? high : x.integer;
    if (x.value != x.value) return 0;
    if (x.value <= (double)low) return low;
    return x.value >= (double)high ? high : (int64_t)x.value;
}

static void store(void *data, tarn_dtype dtype, int64_t i, number x)
{
    float single = x.whole ? (float)x.integer : (float)x.value;
    switch (dtype) {
    case TARN_F32:
        ((float *)data)[i] = single;
        break;
    case TARN_F64:
        ((double *)data)[i] = x.whole ? (double)x.integer : x.value;
        break;
    case TARN_BF16:
        ((uint16_t *)data)[i] = bf16_of(single);
        break;
    case TARN_I32:
        ((int32_t *)data)[i] = (int32_t)integer_of(x, INT32_MIN, INT32_MAX);
        break;
    case TARN_I64:
        ((int64_t *)data)[i] = integer_of(x, INT64_MIN, INT64_MAX);
        break;
    default:
        ((uint8_t *)data)[i] = x.whole ? x.integer != 0 : x.value != 0;
        break;
    }
}

static void forward(const tarn_call *call)
{
    const tarn_view *x = &call->in[0];
    int64_t numel = tarn_view_numel(x), index[TARN_MAX_DIMS] = {0}, offset = 0;
    for (int64_t i = 0; i < numel; i++) {
        store(call->out[0].data, call->out[0].dtype, i, load(x->data, x->dtype, offset));
        for (int d = x->ndim - 1; d >= 0; d--) { /* the next element in row-major order */
            offset += x->stride[d];
            if (++index[d] < x->shape[d]) break;
            offset -= x->stride[d] * x->shape[d];
            index[d] = 0;
        }
    }
}

TARN_REFERENCE(convert, forward, NULL)
