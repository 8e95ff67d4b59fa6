/* step.h - the inside of tensors and steps: the tape of one shard.
 *
 * Invariants
 *  1. A tensor header lives in its step's arena, its bytes in the step's pool (or with their owner, for leaves and
 *     views).
 *  2. The tape lists nodes in order of application; backward walks it once, in reverse.
 *  3. A gradient buffer is allocated at its first write (overwrite), later writes add; the order of writes is the
 *     reverse order of application, so the bits do not depend on anything else.
 *  4. What no backward reads is freed when backward begins; what it reads, after its node has run.
 *  5. The first error of a step stays and makes every later op inert.
 */
#ifndef TARN_RUNTIME_STEP_H
#define TARN_RUNTIME_STEP_H

#include "runtime/base/arena.h"
#include "runtime/base/pool.h"
#include <tarn/tensor.h>
#include <tarn/sys/op.h>

typedef struct tarn_node tarn_node;

/* What a parameter's tensor points at: where its gradient goes in a shard's flat gradient buffer. Owned by the module.
 */
typedef struct tarn_parameter_slot {
    int index;      /* dense number among the root module's trainable parameters; -1 = frozen */
    int64_t offset; /* in the flat buffer */
    int64_t numel;
    const char *name;
} tarn_parameter_slot;

struct tarn_tensor {
    tarn_view view; /* data NULL: inert, or freed */
    tarn_context *context;
    tarn_step *step;                 /* NULL: a leaf outside any step (parameter, constant) */
    tarn_node *node;                 /* that made it; NULL for leaves */
    const tarn_parameter_slot *slot; /* parameters only */
    tarn_tensor *gradient;           /* of leaves that want one, and of intermediates while backward runs */
    struct tarn_buffer *buffer;      /* its memory, when it is the step's */
    bool wants_gradient;
    bool valid;
};

/* Called as soon as the gradient of a parameter is final on this tape: values [offset, offset + numel). */
typedef void tarn_gradient_ready(void *user, const tarn_parameter_slot *slot);

/* Called after each op that was applied, when somebody looks on (the export to ONNX): the call as the kernel saw it,
 * the tensors, the path of the module whose forward function runs, "" outside of any. */
typedef void tarn_op_applied(void *user, const tarn_call *call, tarn_tensor *const *in, const tarn_tensor *out,
                             const char *module);

/* How the trainer opens the step of a shard. */
typedef struct tarn_step_setup {
    tarn_pool *pool; /* of the worker; must outlive the step. NULL: the step makes its own */
    tarn_scratch *scratch;
    tarn_team *team;
    bool no_gradient;
    bool dry; /* kernels are not run: only shapes and memory are gone through, to learn how much a step needs */
    tarn_random_key random;
    float *gradients; /* the shard's flat gradient buffer, NULL: parameters get none */
    bool accumulate;  /* a later micro-batch: add to what is there */
    int parameters;   /* number of trainable parameters (slot->index below it) */
    tarn_gradient_ready *ready;
    void (*poll)(void *user); /* called between the nodes of backward */
    tarn_op_applied *applied;
    void *user;
} tarn_step_setup;

tarn_status tarn_step_create(tarn_step **step, tarn_context *context, const tarn_step_setup *setup);
/* Frees it; returns its status. Parameters no op used get a zero gradient in tarn_backward, not here. */
tarn_status tarn_step_free(tarn_step *step);
const char *tarn_step_message(const tarn_step *step); /* of its first error; "" when there is none */
/* Where its first error arose; file NULL when there is none. The name is a literal that outlives the step. */
void tarn_step_place(const tarn_step *step, const char **file, int *line);
/* True once tarn_backward has begun on it. */
bool tarn_step_backward_done(const tarn_step *step);
/* Of the calling thread. Steps nest: when the current one ends, the one before it is current again, and they may end in
 * any order. A step is ended on the thread on which it was made current. */
void tarn_step_make_current(tarn_step *step);
tarn_step *tarn_step_current(void);
/* False in a no_gradient step and while a gradient rule runs. */
bool tarn_step_is_recording(const tarn_step *step);
/* Says whose forward function runs from here on; returns what was said before, to be set again behind it. */
const char *tarn_step_enter_module(tarn_step *step, const char *path);
/* A leaf over memory that outlives the step: no copy. */
tarn_tensor *tarn_step_borrow(tarn_step *step, tarn_dtype dtype, int ndim, const int64_t *shape, const void *data);
/* Records the first error of the step. */
tarn_status tarn_step_fail(tarn_step *step, tarn_status status, const char *file, int line, const char *format, ...)
    TARN_PRINTF(5, 6);
/* Attached by the trainer, so that tarn_step_batch and tarn_step_end find their way. */
void tarn_step_set_owner(tarn_step *step, const tarn_batch *batch, void *owner,
                         tarn_status (*end)(tarn_step *, void *));
/* tarn_backward adds the value of the loss it was given to *sum. */
void tarn_step_on_loss(tarn_step *step, double *sum);
/* Fills a parameter's tensor in place; storage belongs to the caller (modules). */
void tarn_tensor_init_parameter(tarn_tensor *tensor, tarn_context *context, int ndim, const int64_t *shape, float *data,
                                const tarn_parameter_slot *slot);

/* Inert results for public op functions whose arguments are wrong in a way infer cannot see. */
tarn_tensor *tarn_step_inert(tarn_step *step);

#endif
