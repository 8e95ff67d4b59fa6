/* build.c - the flat buffer of a root module: layout, ranges for the optimizer, first values.
 *
 * Invariants
 *  1. Offsets depend on the order of registration and on what is frozen alone: trainable parameters in reverse order of
 *     registration, then the frozen ones likewise, each beginning at a multiple of 16 values (64 bytes).
 *  2. Padding is +0 and stays so: its gradient is 0 (optim/optimizer.h keeps zeros zero).
 *  3. A value depends on (seed, full parameter name, element index) alone - not on other parameters, threads or layout.
 */
#include "nn/tree.h"
#include "runtime/base/context.h"
#include "runtime/random/random.h"
#include "runtime/worker/worker.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define PAD           16    /* values: one cache line, one AVX-512 vector */
#define INIT_GRAIN    16384 /* values a thread initialises at a time */
#define INIT_THREADED 65536 /* smaller models are initialised before threads would have started */

static int64_t padded(int64_t numel)
{
    return (numel + PAD - 1) / PAD * PAD;
}

/* ---- checks ----------------------------------------------------------------------------------------------------- */

static int compare_paths(const void *a, const void *b)
{
    return strcmp((*(tarn_parameter *const *)a)->path, (*(tarn_parameter *const *)b)->path);
}

static tarn_status check_modules(const tarn_module *module)
{
    tarn_status status = module->check ? module->check(module) : TARN_OK;
    for (int i = 0; !status && i < module->entry_count; i++)
        if (module->entries[i].child) status = check_modules(module->entries[i].child);
    return status;
}

/* parameters is sorted by name here, to find twins: dotted names of different depth can meet ("a.b" + "c", "a" +
 * "b.c"). */
static tarn_status check_parameters(tarn_module *module, tarn_parameter **parameters, int count)
{
    for (int i = 0; i < count; i++)
        if (tarn_parameter_numel(parameters[i]) < 1)
            return tarn_fail(module->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                             "parameter %s of %s has no elements; give every dimension a size of at least 1",
                             parameters[i]->path, module->kind);
    qsort(parameters, (size_t)count, sizeof *parameters, compare_paths);
    for (int i = 1; i < count; i++)
        if (!compare_paths(&parameters[i - 1], &parameters[i]))
            return tarn_fail(module->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                             "%s has two parameters named %s; rename a module or a parameter", module->kind,
                             parameters[i]->path);
    return TARN_OK;
}

/* ---- layout ----------------------------------------------------------------------------------------------------- */

static void lay_out(tarn_module *module, tarn_parameter *const *registered, int count)
{
    int64_t offset = 0;
    int place = 0;
    for (int frozen = 0; frozen < 2; frozen++) {
        for (int i = count - 1; i >= 0; i--) {
            tarn_parameter *parameter = registered[i];
            if (parameter->options.frozen != (bool)frozen) continue;
            int64_t numel = tarn_parameter_numel(parameter);
            parameter->slot = (tarn_parameter_slot){frozen ? -1 : place, offset, numel, parameter->path};
            module->order[place++] = parameter;
            offset += padded(numel);
        }
        if (!frozen) {
            module->flat_count = offset;
            module->trainable_count = place;
        }
    }
    module->flat_total = offset;
    module->order_count = count;
}

static void join_ranges(tarn_module *module)
{
    module->range_count = 0;
    for (int i = 0; i < module->trainable_count; i++) {
        const tarn_parameter *parameter = module->order[i];
        bool decay = !parameter->options.no_decay;
        int64_t end = parameter->slot.offset + padded(parameter->slot.numel);
        tarn_optim_range *last = module->range_count ? &module->ranges[module->range_count - 1] : NULL;
        if (last && last->decay == decay)
            last->end = end;
        else
            module->ranges[module->range_count++] = (tarn_optim_range){parameter->slot.offset, end, decay};
    }
}

/* ---- first values ----------------------------------------------------------------------------------------------- */

typedef struct fill_job {
    tarn_module *module;
    uint64_t seed;
} fill_job;

static void fill_parameter(const tarn_parameter *parameter, uint64_t seed, int64_t first, int64_t n, float *out)
{
    uint64_t stream = XXH64(parameter->path, strlen(parameter->path), TARN_STREAM_INIT);
    float scale = (float)parameter->options.scale;
    switch (parameter->options.init) {
    case TARN_INIT_ZEROS:
        memset(out, 0, (size_t)n * sizeof *out);
        break;
    case TARN_INIT_ONES:
        for (int64_t i = 0; i < n; i++) out[i] = 1.0f;
        break;
    case TARN_INIT_NORMAL:
        tarn_random_normal(seed, stream, first, n, scale, out);
        break;
    case TARN_INIT_UNIFORM:
        tarn_random_uniform(seed, stream, first, n, scale, out);
        break;
    }
}

/* Values and padding in [begin, end) of the flat buffer. */
static void fill_range(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const fill_job *job = argument;
    const tarn_module *module = job->module;
    for (int i = 0; i < module->order_count; i++) {
        const tarn_parameter *parameter = module->order[i];
        int64_t start = parameter->slot.offset, values_end = start + parameter->slot.numel;
        int64_t stop = start + padded(parameter->slot.numel);
        int64_t from = start > begin ? start : begin, to = stop < end ? stop : end;
        if (from >= to) continue;
        int64_t values_to = to < values_end ? to : values_end;
        if (from < values_to)
            fill_parameter(parameter, job->seed, from - start, values_to - from, module->values + from);
        for (int64_t k = from > values_to ? from : values_to; k < to; k++) module->values[k] = 0.0f;
    }
}

static tarn_status fill(tarn_module *module, uint64_t seed)
{
    fill_job job = {module, seed};
    if (module->flat_total < INIT_THREADED) {
        unsigned saved = tarn_float_environment_enter();
        fill_range(&job, 0, module->flat_total, 0);
        tarn_float_environment_leave(saved);
        return TARN_OK;
    }
    tarn_workers *workers = tarn_context_workers(module->context);
    if (!workers)
        return tarn_fail(module->context, TARN_ERROR_MEMORY, TARN_HERE, "%s: worker threads could not be started",
                         module->kind);
    tarn_workers_for(workers, module->flat_total, INIT_GRAIN, fill_range, &job);
    return TARN_OK;
}

/* ---- build ------------------------------------------------------------------------------------------------------ */

static tarn_status allocate(tarn_module *module, int count)
{
    size_t bytes = (size_t)(module->flat_total ? module->flat_total : PAD) * sizeof(float);
    module->values = aligned_alloc(64, bytes);
    module->ranges = malloc((size_t)(count + 1) * sizeof *module->ranges);
    if (!module->values || !module->ranges)
        return tarn_fail(module->context, TARN_ERROR_MEMORY, TARN_HERE,
                         "%s: no memory for %lld parameters (%.1f MiB); make the model smaller", module->kind,
                         (long long)tarn_module_numel(module), (double)bytes / 1048576.0);
    return TARN_OK;
}

static void abandon(tarn_module *module)
{
    free(module->values);
    free(module->order);
    free(module->ranges);
    module->values = NULL;
    module->order = NULL;
    module->ranges = NULL;
    module->order_count = module->trainable_count = module->range_count = 0;
    module->flat_count = module->flat_total = 0;
}

tarn_status tarn_module_build(tarn_module *module, uint64_t seed)
{
    if (module->parent)
        return tarn_fail(module->context, TARN_ERROR_STATE, TARN_HERE,
                         "tarn_module_build(%s): it is part of another module; build the root, which holds all "
                         "parameters in one buffer",
                         module->path);
    if (module->built)
        return tarn_fail(module->context, TARN_ERROR_STATE, TARN_HERE,
                         "tarn_module_build: %s is built already; build a module once", module->kind);
    tarn_status status = check_modules(module);
    if (status) return status;
    int count = tarn_module_collect(module, NULL);
    tarn_parameter **registered = malloc((size_t)(count + 1) * sizeof *registered);
    module->order = malloc((size_t)(count + 1) * sizeof *module->order);
    if (!registered || !module->order) {
        status = tarn_fail(module->context, TARN_ERROR_MEMORY, TARN_HERE, "%s: out of memory", module->kind);
    } else {
        tarn_module_collect(module, registered);
        status = check_parameters(module, registered, count);
    }
    if (!status) {
        tarn_module_collect(module, registered);
        lay_out(module, registered, count);
        status = allocate(module, count);
    }
    free(registered);
    if (!status) {
        join_ranges(module);
        status = fill(module, seed);
    }
    if (status) {
        abandon(module);
        return status;
    }
    for (int i = 0; i < count; i++) {
        tarn_parameter *parameter = module->order[i];
        tarn_tensor_init_parameter(&parameter->tensor, module->context, parameter->ndim, parameter->shape,
                                   module->values + parameter->slot.offset, &parameter->slot);
    }
    module->built = true;
    return TARN_OK;
}

int64_t tarn_module_flat_count(const tarn_module *module)
{
    return tarn_module_root(module)->flat_count;
}

int64_t tarn_module_flat_total(const tarn_module *module)
{
    return tarn_module_root(module)->flat_total;
}

float *tarn_module_flat_values(tarn_module *module)
{
    return tarn_module_root(module)->values;
}

int tarn_module_trainable_count(const tarn_module *module)
{
    return tarn_module_root(module)->trainable_count;
}

int tarn_module_ranges(tarn_module *module, const tarn_optim_range **ranges)
{
    const tarn_module *root = tarn_module_root(module);
    *ranges = root->ranges;
    return root->range_count;
}

const tarn_parameter_slot *tarn_module_slot(const tarn_module *module, int index)
{
    return &module->order[index]->slot;
}
