/* checker_internal.h - what the files of the op checker share.
 *
 * checker.c runs kernels against the scalar one; checker_data.c makes inputs, guarded memory and comparisons;
 * checker_gradient.c runs the op through a real tape and compares gradients with central differences.
 *
 * Invariants
 *  1. All memory of a check comes from one arena and goes with it.
 *  2. Values are functions of fixed seeds and positions, the same for every element type and memory layout.
 *  3. Only the first failure's message is kept, all are counted.
 */
#ifndef TARN_OPS_CHECKER_INTERNAL_H
#define TARN_OPS_CHECKER_INTERNAL_H

#include "runtime/base/arena.h"
#include <tarn/sys/op.h>

enum { CHECKER_TEAMS = 3, CHECKER_GUARD = 64 };

typedef struct checker {
    tarn_context *context;
    const tarn_op *op;
    const tarn_op_case *op_case;
    tarn_op_report *report;
    tarn_arena arena;
    tarn_scratch *scratch;
    struct tarn_workers *workers[CHECKER_TEAMS]; /* [t]: t + 1 threads; [0] is NULL */
    tarn_random_key random;
    bool out_of_memory;
} checker;

/* The inputs of a case. Strided inputs are dense in memory, with their dimensions in another order. */
typedef struct checker_inputs {
    tarn_dtype real;                 /* what f32 of the case became: f32 or f64 */
    tarn_view in[TARN_MAX_OPERANDS]; /* as a user has them */
    tarn_view
        direct[TARN_MAX_OPERANDS]; /* as the engine hands them to kernels: contiguous unless the row says strided */
} checker_inputs;

/* Guarded memory of an output. */
typedef struct checker_block {
    char *data;
    size_t bytes;
} checker_block;

/* One run of a kernel. */
typedef struct checker_run {
    tarn_call call;
    checker_block out[TARN_MAX_OPERANDS], grad[TARN_MAX_OPERANDS];
} checker_run;

/* ---- checker_data.c ---- */

void checker_fail(checker *check, const char *format, ...) TARN_PRINTF(2, 3);
/* 64-byte aligned memory of the check, zeroed; NULL and out_of_memory when there is none. */
void *checker_memory(checker *check, size_t bytes);
/* Guarded memory, `offset` elements off alignment, filled with a byte. */
checker_block checker_block_make(checker *check, const tarn_view *view, int offset, int fill);
bool checker_block_intact(const checker_block *block);
/* A value in [0, 1) for element i of a stream. */
double checker_uniform(uint32_t stream, int64_t i);
/* Fills contiguous memory of f32 or f64 with uniform values in [-1, 1), rounded to float. */
void checker_fill(const tarn_view *view, uint32_t stream);
double checker_value(const tarn_view *contiguous, int64_t i);
/* special: about a third of the real elements are NaN, infinities, zeros, subnormals, huge; memory is misaligned.
 * contiguous: strides of the case are ignored. */
bool checker_inputs_make(checker *check, checker_inputs *inputs, tarn_dtype real, bool special, bool contiguous);
/* True when both hold the same bits, any NaN taken for any NaN; else *at is the first difference. */
bool checker_same(const tarn_view *view, const void *a, const void *b, int64_t *at);

/* ---- checker.c ---- */

/* The call that reaches a kernel, after infer. False after recording a failure. */
bool checker_infer(checker *check, const checker_inputs *inputs, tarn_call *call);
/* Runs a kernel on `threads` threads. False after a failure (no scratch memory). */
bool checker_launch(checker *check, tarn_kernel *kernel, tarn_call *call, int threads);
/* The scalar forward on fresh guarded memory. */
bool checker_forward(checker *check, const checker_inputs *inputs, tarn_kernel *kernel, int threads, int fill,
                     checker_run *run);
/* The scalar backward for gradients of all inputs: see checker.c. */
bool checker_backward(checker *check, const checker_inputs *inputs, const checker_run *forward, tarn_kernel *kernel,
                      int threads, int fill, int only, bool add, checker_run *run);
/* Input i has a gradient that kernels and rules make; with_passed: or that is handed on. */
bool checker_differentiable(const checker *check, const checker_inputs *inputs, int i, bool with_passed);

/* ---- checker_gradient.c ---- */

void checker_check_gradient(checker *check);

#endif
