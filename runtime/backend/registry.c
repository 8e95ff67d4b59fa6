/* registry.c - see registry.h. */
#include "runtime/backend/registry.h"
#include "runtime/base/context.h"

#include <stdlib.h>
#include <string.h>

enum { PASSES = 2 };

typedef struct entry {
    const tarn_op *op;
    tarn_kernel *kernels[PASSES][TARN_DTYPE_COUNT][TARN_ISA_COUNT];
} entry;

struct tarn_registry {
    entry *entries; /* in order of registration: a few dozen, so a scan by pointer is quick */
    int count, capacity;
};

tarn_status tarn_registry_create(tarn_registry **registry, tarn_context *context)
{
    *registry = calloc(1, sizeof **registry);
    return *registry ? TARN_OK : tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the registry of ops");
}

void tarn_registry_destroy(tarn_registry *registry)
{
    if (!registry) return;
    free(registry->entries);
    free(registry);
}

static entry *find(const tarn_registry *registry, const char *name)
{
    for (int i = 0; i < registry->count; i++)
        if (!strcmp(registry->entries[i].op->name, name)) return &registry->entries[i];
    return NULL;
}

tarn_status tarn_op_register(tarn_context *context, const tarn_op *op)
{
    tarn_registry *registry = context->registry;
    if (!op->name || !*op->name || !op->infer || op->max_inputs > TARN_MAX_OPERANDS || op->min_inputs < 1 ||
        op->min_inputs > op->max_inputs)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "op %s: a row needs a name, infer, and 1 <= min_inputs <= max_inputs <= %d",
                         op->name ? op->name : "(no name)", TARN_MAX_OPERANDS);
    if (find(registry, op->name))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "op %s is registered already: choose another name, such as my_%s", op->name, op->name);
    if (registry->count == registry->capacity) {
        int capacity = registry->capacity ? 2 * registry->capacity : 64;
        entry *entries = realloc(registry->entries, (size_t)capacity * sizeof *entries);
        if (!entries) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to register op %s", op->name);
        registry->entries = entries;
        registry->capacity = capacity;
    }
    registry->entries[registry->count++] = (entry){.op = op};
    return TARN_OK;
}

tarn_status tarn_kernel_register(tarn_context *context, const char *op, tarn_pass pass, tarn_dtype dtype, tarn_isa isa,
                                 tarn_kernel *kernel)
{
    entry *found = find(context->registry, op);
    if (!found)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "a kernel for op %s, which is not registered: call tarn_op_register first", op);
    if ((unsigned)pass >= PASSES || (unsigned)dtype >= TARN_DTYPE_COUNT || (unsigned)isa >= TARN_ISA_COUNT)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "op %s: pass %d, dtype %d or ISA %d is unknown", op,
                         (int)pass, (int)dtype, (int)isa);
    found->kernels[pass][dtype][isa] = kernel;
    return TARN_OK;
}

const tarn_op *tarn_op_find(const tarn_context *context, const char *name)
{
    entry *found = find(context->registry, name);
    return found ? found->op : NULL;
}

static tarn_kernel *best(const entry *entry, tarn_pass pass, tarn_dtype dtype, tarn_isa highest, tarn_isa *found)
{
    for (int isa = (int)highest; isa >= 0; isa--) {
        if (!entry->kernels[pass][dtype][isa]) continue;
        if (found) *found = (tarn_isa)isa;
        return entry->kernels[pass][dtype][isa];
    }
    return NULL;
}

tarn_kernel *tarn_kernel_find(const tarn_context *context, const char *op, tarn_pass pass, tarn_dtype dtype,
                              tarn_isa highest, tarn_isa *found)
{
    const entry *entry = find(context->registry, op);
    return entry ? best(entry, pass, dtype, highest, found) : NULL;
}

tarn_kernel *tarn_kernel_of(const tarn_context *context, const tarn_op *op, tarn_pass pass, tarn_dtype dtype)
{
    const tarn_registry *registry = context->registry;
    for (int i = 0; i < registry->count; i++)
        if (registry->entries[i].op == op) return best(&registry->entries[i], pass, dtype, context->isa, NULL);
    return NULL;
}
