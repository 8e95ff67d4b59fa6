/* tree.h - the structs behind modules and parameters; for the files of nn/ alone.
 *
 * Invariants
 *  1. A module lists parameters and children in one array, in order of registration; a walk in that order, depth first,
 *     is the order of registration of the whole tree.
 *  2. path of a module or parameter is its name as seen from the current root ("blocks.0.attention"); a root's is "".
 *  3. Once the root is built nothing of the tree changes but the values: forward only reads it, from any thread.
 */
#ifndef TARN_NN_TREE_H
#define TARN_NN_TREE_H

#include "nn/module.h"
#include "runtime/autograd/step.h"

#define TARN_MODULE_PATH 256 /* bytes of the longest parameter name, zero included */

struct tarn_parameter {
    tarn_tensor tensor; /* inert until the root is built */
    tarn_parameter_slot slot;
    tarn_module *module;
    tarn_parameter_options options;
    int ndim;
    int64_t shape[TARN_MAX_DIMS];
    char path[TARN_MODULE_PATH];
};

typedef struct tarn_module_entry { /* one of the two */
    tarn_parameter *parameter;
    tarn_module *child;
} tarn_module_entry;

struct tarn_module {
    tarn_context *context;
    const char *kind;
    tarn_forward_function *forward;
    void *self;
    void (*free_self)(void *self);
    tarn_status (*check)(const tarn_module *module); /* asked before the root is built; NULL = nothing to check */
    tarn_module *parent;
    tarn_module_entry *entries;
    int entry_count, entry_capacity;
    char path[TARN_MODULE_PATH];

    /* Of a built root. */
    bool built;
    float *values;
    int64_t flat_count, flat_total;
    tarn_parameter **order; /* by offset */
    int order_count, trainable_count;
    tarn_optim_range *ranges;
    int range_count;
};

tarn_module *tarn_module_root(const tarn_module *module);
int64_t tarn_parameter_numel(const tarn_parameter *parameter);
/* Writes the tree's parameters in order of registration to out (may be NULL); returns their number. */
int tarn_module_collect(const tarn_module *module, tarn_parameter **out);
/* Records an error of a forward function in its step, and returns the inert tensor that is then to be returned. */
tarn_tensor *tarn_module_refuse(tarn_step *step, tarn_status status, const char *file, int line, const char *format,
                                ...) TARN_PRINTF(5, 6);
/* tarn_module_add for a child just created with `status`: destroys the child when it cannot be added. */
tarn_status tarn_module_adopt(tarn_module *module, const char *name, tarn_status status, tarn_module *child);

#endif
