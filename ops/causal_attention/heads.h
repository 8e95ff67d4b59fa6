/* heads.h - where a head of a packed projection lies; shared by reference.c and kernel.c. */
#ifndef TARN_OPS_ATTENTION_HEADS_H
#define TARN_OPS_ATTENTION_HEADS_H

#include "ops/fused.h"

/* Queries in a block: part of the definition. */
enum { TARN_QUERY_BLOCK = 32 };

typedef struct attention_shape {
    int64_t batch, time, width, heads, depth; /* depth: D, the width of a head */
    int64_t ld;                               /* from one token to the next in qkv: 3 * width */
} attention_shape;

static inline attention_shape attention_shape_of(const tarn_call *call)
{
    const tarn_view *qkv = &call->in[0];
    attention_shape s = {
        .batch = qkv->shape[0], .time = qkv->shape[1], .width = qkv->shape[2] / 3, .ld = qkv->shape[2]};
    s.heads = ((const tarn_attention_attrs *)call->attrs)->heads;
    s.depth = s.width / s.heads;
    return s;
}

/* Element offsets of head number `index` = b * heads + h in qkv (its q; k is width further, v twice), y and lse. */
static inline int64_t attention_qkv_offset(const attention_shape *s, int64_t index)
{
    return index / s->heads * s->time * s->ld + index % s->heads * s->depth;
}

static inline int64_t attention_out_offset(const attention_shape *s, int64_t index)
{
    return index / s->heads * s->time * s->width + index % s->heads * s->depth;
}

#endif
