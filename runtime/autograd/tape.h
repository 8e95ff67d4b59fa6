/* tape.h - the tape behind step.h: nodes and the step itself, for the files of autograd alone. */
#ifndef TARN_RUNTIME_TAPE_H
#define TARN_RUNTIME_TAPE_H

#include "runtime/autograd/step.h"

/* One application of an op that backward will visit. */
struct tarn_node {
    tarn_node *previous; /* the tape is a list from the newest node to the oldest */
    tarn_call call;      /* views as forward saw them; data of what backward does not read may be gone */
    tarn_tensor *in[TARN_MAX_OPERANDS];
    tarn_tensor *out;
    tarn_buffer *pinned[2 * TARN_MAX_OPERANDS]; /* buffers backward reads: released when the node has run */
    int pinned_count;
};

struct tarn_step {
    tarn_context *context;
    tarn_arena arena;
    tarn_step_setup setup;
    bool owns_pool, owns_scratch;
    bool recording;
    bool backward_done;
    uint32_t next_stream; /* number of random ops so far */
    const char *module;   /* path of the module whose forward runs; NULL outside of any */
    tarn_node *newest;
    struct tensor_list {
        struct tensor_list *next;
        tarn_tensor tensor;
    } * tensors;                       /* every tensor of the step, to release its memory */
    int *writers;                      /* per trainable parameter: gradient writers still to come */
    bool *written;                     /* per trainable parameter: its range holds a gradient already */
    const tarn_parameter_slot **slots; /* per trainable parameter some op used */
    tarn_status status;
    const char *file;
    int line;
    char message[1600];
    tarn_tensor inert;
    const tarn_batch *batch;
    void *owner;
    double *loss_sum; /* see tarn_step_on_loss */
    tarn_status (*end)(tarn_step *step, void *owner);
    tarn_step *outer; /* the thread's current step before this one */
};

/* A tensor of the step with no memory yet; the step's inert tensor when memory is out. */
tarn_tensor *tarn_step_tensor(tarn_step *step);
/* Gives a contiguous tensor its memory. False (and an error recorded) when memory is out. */
bool tarn_step_allocate(tarn_step *step, tarn_tensor *tensor);
/* Double when any operand is, else float: what kernels are looked up by. */
tarn_dtype tarn_call_dtype(const tarn_call *call);

#endif
