/* view.h - arithmetic on views: strides, copies, accumulation. */
#ifndef TARN_RUNTIME_VIEW_H
#define TARN_RUNTIME_VIEW_H

#include <tarn/sys/op.h>

/* Row-major strides for the view's shape. */
void tarn_view_set_contiguous(tarn_view *view);
size_t tarn_view_bytes(const tarn_view *view);
/* Copies the elements of a view of any strides to contiguous memory, in row-major order. */
void tarn_view_copy(const tarn_view *from, void *to);
/* to[i] = to[i] + from[i] for two contiguous views of one floating dtype. */
void tarn_view_accumulate(const tarn_view *to, const tarn_view *from);
bool tarn_view_same_shape(const tarn_view *a, const tarn_view *b);
/* "(8, 64, 128) f32" for messages; returns out. */
const char *tarn_view_describe(const tarn_view *view, char *out, size_t size);

#endif
