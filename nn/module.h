/* module.h - the inside of modules, for the trainer and checkpoints: the flat buffer and its ranges.
 */
#ifndef TARN_NN_MODULE_H
#define TARN_NN_MODULE_H

#include "optim/optimizer.h"
#include "runtime/autograd/step.h"
#include <tarn/nn.h>

/* Values of the flat buffer: parameters in reverse order of registration, each padded with zeros to a multiple of 16;
 * the frozen ones stand after all trainable ones. */
int64_t tarn_module_flat_count(const tarn_module *module); /* trainable, padding included */
int64_t tarn_module_flat_total(const tarn_module *module); /* with the frozen ones */
float *tarn_module_flat_values(tarn_module *module);
/* Stretches for the optimizer: neighbours with the same treatment are joined. *ranges is owned by the module. */
int tarn_module_ranges(tarn_module *module, const tarn_optim_range **ranges);
/* Trainable parameters: every slot->index is below it (tarn_step_setup.parameters). */
int tarn_module_trainable_count(const tarn_module *module);
/* The slot of the trainable parameter with that index: where its gradient goes. */
const tarn_parameter_slot *tarn_module_slot(const tarn_module *module, int index);
tarn_context *tarn_module_context(const tarn_module *module);
const char *tarn_module_kind(const tarn_module *module);

#endif
