/* tarn.h - all of Tarn's public face. Those who extend it also include tarn/sys/op.h. */
#ifndef TARN_H
#define TARN_H

#include <tarn/base.h>
#include <tarn/checkpoint.h>
#include <tarn/data.h>
#include <tarn/nn.h>
#include <tarn/onnx.h>
#include <tarn/ops.h>
#include <tarn/optim.h>
#include <tarn/tensor.h>
#include <tarn/track.h>
#include <tarn/train.h>

#endif
