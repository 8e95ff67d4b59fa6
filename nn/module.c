/* module.c - the tree of modules: registration, names, looking parameters up, freezing, forward.
 *
 * Invariants: see tree.h. A call that fails leaves the tree as it was, and an object that could not be added stays with
 * its caller.
 */
#include "nn/tree.h"

#include <fnmatch.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- life ------------------------------------------------------------------------------------------------------- */

tarn_status tarn_module_create(tarn_module **out, tarn_context *context, const char *kind,
                               tarn_forward_function *forward, void *self, void (*free_self)(void *self))
{
    *out = NULL;
    tarn_module *module = calloc(1, sizeof *module);
    if (!module) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "module %s: out of memory", kind);
    module->context = context;
    module->kind = kind;
    module->forward = forward;
    module->self = self;
    module->free_self = free_self;
    *out = module;
    return TARN_OK;
}

void tarn_module_destroy(tarn_module *module)
{
    if (!module) return;
    if (module->parent) {
        tarn_fail(module->context, TARN_ERROR_STATE, TARN_HERE,
                  "tarn_module_destroy(%s): it belongs to another module; destroy the root", module->path);
        return;
    }
    for (int i = 0; i < module->entry_count; i++) {
        free(module->entries[i].parameter);
        if (module->entries[i].child) module->entries[i].child->parent = NULL;
        tarn_module_destroy(module->entries[i].child);
    }
    if (module->free_self) module->free_self(module->self);
    free(module->entries);
    free(module->values);
    free(module->order);
    free(module->ranges);
    free(module);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

tarn_module *tarn_module_root(const tarn_module *module)
{
    while (module->parent) module = module->parent;
    return (tarn_module *)module;
}

/* The part of a path below `module`. */
static const char *relative(const tarn_module *module, const char *path)
{
    size_t length = strlen(module->path);
    return length ? path + length + 1 : path;
}

static const char *entry_name(const tarn_module *module, const tarn_module_entry *entry)
{
    return relative(module, entry->parameter ? entry->parameter->path : entry->child->path);
}

static bool name_is_good(const char *name)
{
    if (!name || !*name || name[0] == '.') return false;
    for (const char *c = name; *c; c++) {
        bool letter = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9');
        if (!letter && *c != '_' && *c != '-' && *c != '.') return false;
        if (*c == '.' && (c[1] == '.' || !c[1])) return false;
    }
    return true;
}

/* Length of the longest path in the tree below and including `module`. */
static size_t longest_path(const tarn_module *module)
{
    size_t longest = strlen(module->path);
    for (int i = 0; i < module->entry_count; i++) {
        const tarn_module_entry *entry = &module->entries[i];
        size_t length = entry->parameter ? strlen(entry->parameter->path) : longest_path(entry->child);
        if (length > longest) longest = length;
    }
    return longest;
}

/* path = prefix.path; the caller has checked that it fits. */
static void prefix_path(char *path, const char *prefix)
{
    size_t length = strlen(prefix), old = strlen(path);
    if (!length) return;
    memmove(path + length + (old > 0), path, old + 1);
    memcpy(path, prefix, length);
    if (old) path[length] = '.';
}

static void prefix_tree(tarn_module *module, const char *prefix)
{
    prefix_path(module->path, prefix);
    for (int i = 0; i < module->entry_count; i++) {
        if (module->entries[i].parameter)
            prefix_path(module->entries[i].parameter->path, prefix);
        else
            prefix_tree(module->entries[i].child, prefix);
    }
}

/* What a new parameter and a new child have in common: the moment, the name, room in the array. */
static tarn_status check_entry(tarn_module *module, const char *name, size_t below)
{
    tarn_context *context = module->context;
    if (tarn_module_root(module)->built)
        return tarn_fail(context, TARN_ERROR_STATE, TARN_HERE,
                         "%s \"%s\": \"%s\" cannot be added after tarn_module_build; add it before", module->kind,
                         module->path, name ? name : "");
    if (!name_is_good(name))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "%s \"%s\": \"%s\" is no name; use letters, digits, _ and -, with single dots in between",
                         module->kind, module->path, name ? name : "(NULL)");
    for (int i = 0; i < module->entry_count; i++)
        if (!strcmp(entry_name(module, &module->entries[i]), name))
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                             "%s \"%s\": it has a \"%s\" already; choose another name", module->kind, module->path,
                             name);
    size_t above = strlen(module->path), length = strlen(name) + (above ? above + 1 : 0) + (below ? below + 1 : 0);
    if (length >= TARN_MODULE_PATH)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "%s \"%s\": with \"%s\" a parameter's name becomes longer than %d bytes; shorten it",
                         module->kind, module->path, name, TARN_MODULE_PATH - 1);
    if (module->entry_count < module->entry_capacity) return TARN_OK;
    int capacity = module->entry_capacity ? 2 * module->entry_capacity : 8;
    tarn_module_entry *entries = realloc(module->entries, (size_t)capacity * sizeof *entries);
    if (!entries)
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "%s: no memory for \"%s\"", module->kind, name);
    module->entries = entries;
    module->entry_capacity = capacity;
    return TARN_OK;
}

/* ---- registration ----------------------------------------------------------------------------------------------- */

tarn_status tarn_module_parameter(tarn_parameter **out, tarn_module *module, const char *name, int ndim,
                                  const int64_t *shape, const tarn_parameter_options *options)
{
    if (out) *out = NULL;
    tarn_status status = check_entry(module, name, 0);
    if (status) return status;
    tarn_context *context = module->context;
    if (ndim < 0 || ndim > TARN_MAX_DIMS)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "parameter %s: %d dimensions; 0 to %d are possible",
                         name, ndim, TARN_MAX_DIMS);
    for (int d = 0; d < ndim; d++)
        if (shape[d] < 0)
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "parameter %s: dimension %d is %lld", name, d,
                             (long long)shape[d]);
    tarn_parameter_options chosen = options ? *options : (tarn_parameter_options){0};
    if ((unsigned)chosen.init > TARN_INIT_UNIFORM || !(chosen.scale >= 0) || !isfinite(chosen.scale))
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "parameter %s: initialiser %d with scale %g; the scale must be finite and not negative", name,
                         (int)chosen.init, chosen.scale);
    tarn_parameter *parameter = calloc(1, sizeof *parameter);
    if (!parameter) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "parameter %s: out of memory", name);
    parameter->module = module;
    parameter->options = chosen;
    parameter->ndim = ndim;
    if (ndim) memcpy(parameter->shape, shape, (size_t)ndim * sizeof *shape);
    parameter->tensor.context = context;
    parameter->tensor.slot = &parameter->slot; /* so that an op can name it when the module is not built */
    parameter->slot = (tarn_parameter_slot){.index = -1, .name = parameter->path};
    snprintf(parameter->path, sizeof parameter->path, "%s", name);
    prefix_path(parameter->path, module->path);
    module->entries[module->entry_count++] = (tarn_module_entry){.parameter = parameter};
    if (out) *out = parameter;
    return TARN_OK;
}

tarn_status tarn_module_add(tarn_module *module, const char *name, tarn_module *child)
{
    tarn_context *context = module->context;
    if (!child)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "%s: the module to add as \"%s\" is NULL; check that creating it succeeded", module->kind,
                         name ? name : "");
    if (child->parent || child->built)
        return tarn_fail(context, TARN_ERROR_STATE, TARN_HERE,
                         "%s \"%s\" cannot be added as \"%s\": it %s already; add a module of its own", child->kind,
                         child->path, name ? name : "", child->parent ? "belongs to a module" : "has been built");
    if (tarn_module_root(module) == child)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s: a module cannot be part of itself", child->kind);
    tarn_status status = check_entry(module, name, longest_path(child));
    if (status) return status;
    prefix_tree(child, name);
    prefix_tree(child, module->path);
    child->parent = module;
    module->entries[module->entry_count++] = (tarn_module_entry){.child = child};
    return TARN_OK;
}

tarn_status tarn_module_adopt(tarn_module *module, const char *name, tarn_status status, tarn_module *child)
{
    if (status) return status;
    status = tarn_module_add(module, name, child);
    if (status) tarn_module_destroy(child);
    return status;
}

/* ---- looking ---------------------------------------------------------------------------------------------------- */

int64_t tarn_parameter_numel(const tarn_parameter *parameter)
{
    int64_t numel = 1;
    for (int d = 0; d < parameter->ndim; d++) numel *= parameter->shape[d];
    return numel;
}

int tarn_module_collect(const tarn_module *module, tarn_parameter **out)
{
    int count = 0;
    for (int i = 0; i < module->entry_count; i++) {
        const tarn_module_entry *entry = &module->entries[i];
        if (entry->parameter) {
            if (out) out[count] = entry->parameter;
            count++;
        } else {
            count += tarn_module_collect(entry->child, out ? out + count : NULL);
        }
    }
    return count;
}

int tarn_module_parameter_count(const tarn_module *module)
{
    return tarn_module_collect(module, NULL);
}

/* The index-th parameter; *index is lowered by the parameters passed on the way. */
static tarn_parameter *find(const tarn_module *module, int *index)
{
    for (int i = 0; i < module->entry_count; i++) {
        const tarn_module_entry *entry = &module->entries[i];
        if (entry->parameter) {
            if ((*index)-- == 0) return entry->parameter;
        } else {
            tarn_parameter *found = find(entry->child, index);
            if (found) return found;
        }
    }
    return NULL;
}

bool tarn_module_parameter_at(const tarn_module *module, int index, tarn_parameter_info *info)
{
    const tarn_parameter *parameter = index < 0 ? NULL : find(module, &index);
    if (!parameter) return false;
    const float *flat = tarn_module_root(module)->values;
    *info = (tarn_parameter_info){.name = relative(module, parameter->path),
                                  .ndim = parameter->ndim,
                                  .numel = tarn_parameter_numel(parameter),
                                  .offset = parameter->slot.offset,
                                  .no_decay = parameter->options.no_decay,
                                  .frozen = parameter->options.frozen,
                                  .values = flat ? (float *)flat + parameter->slot.offset : NULL};
    memcpy(info->shape, parameter->shape, sizeof info->shape);
    return true;
}

int64_t tarn_module_numel(const tarn_module *module)
{
    int64_t numel = 0;
    for (int i = 0; i < module->entry_count; i++) {
        const tarn_module_entry *entry = &module->entries[i];
        numel += entry->parameter ? tarn_parameter_numel(entry->parameter) : tarn_module_numel(entry->child);
    }
    return numel;
}

/* Number of matches below `module`; names are relative to `top`. */
static int freeze_matching(const tarn_module *top, tarn_module *module, const char *pattern, bool frozen, int *changed)
{
    int matches = 0;
    for (int i = 0; i < module->entry_count; i++) {
        tarn_parameter *parameter = module->entries[i].parameter;
        if (!parameter) {
            matches += freeze_matching(top, module->entries[i].child, pattern, frozen, changed);
        } else if (!fnmatch(pattern, relative(top, parameter->path), 0)) {
            matches++;
            *changed += parameter->options.frozen != frozen;
            parameter->options.frozen = frozen;
        }
    }
    return matches;
}

static tarn_status nothing_matches(const tarn_module *module, const char *pattern)
{
    enum { SHOWN = 12 };
    char names[1024] = "";
    size_t used = 0;
    tarn_parameter_info info;
    int count = tarn_module_parameter_count(module);
    for (int i = 0; i < count && i < SHOWN && tarn_module_parameter_at(module, i, &info); i++) {
        int written = snprintf(names + used, sizeof names - used, "%s%s", i ? ", " : "", info.name);
        if (written < 0 || (size_t)written >= sizeof names - used) {
            names[used] = 0;
            break;
        }
        used += (size_t)written;
    }
    return tarn_fail(module->context, TARN_ERROR_ARGUMENT, TARN_HERE,
                     "freeze: no parameter of %s matches \"%s\"; its %d parameters are %s%s", module->kind, pattern,
                     count, names, count > SHOWN ? ", ..." : "");
}

tarn_status tarn_module_freeze(tarn_module *module, const char *pattern, bool frozen, int *changed)
{
    int count = 0;
    if (changed) *changed = 0;
    if (!pattern) return tarn_fail(module->context, TARN_ERROR_ARGUMENT, TARN_HERE, "freeze: the pattern is NULL");
    if (tarn_module_root(module)->built)
        return tarn_fail(
            module->context, TARN_ERROR_STATE, TARN_HERE,
            "freeze \"%s\": the module is built, and frozen parameters stand apart in its flat buffer; call "
            "tarn_module_freeze before tarn_module_build and before training",
            pattern);
    if (!freeze_matching(module, module, pattern, frozen, &count)) return nothing_matches(module, pattern);
    if (changed) *changed = count;
    return TARN_OK;
}

/* ---- use -------------------------------------------------------------------------------------------------------- */

tarn_tensor *tarn_parameter_tensor(tarn_parameter *parameter)
{
    return &parameter->tensor;
}

tarn_tensor *tarn_module_refuse(tarn_step *step, tarn_status status, const char *file, int line, const char *format,
                                ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    if (step) tarn_step_fail(step, status, file, line, "%s", message);
    return tarn_step_inert(step);
}

tarn_tensor *tarn_forward(tarn_step *step, tarn_module *module, tarn_tensor *input)
{
    if (!tarn_module_root(module)->built)
        return tarn_module_refuse(
            step, TARN_ERROR_STATE, TARN_HERE,
            "forward of %s \"%s\": its parameters do not exist yet; call tarn_module_build on the "
            "root module first",
            module->kind, module->path);
    if (!module->forward)
        return tarn_module_refuse(step, TARN_ERROR_UNSUPPORTED, TARN_HERE,
                                  "%s \"%s\" has no forward function: it only holds other modules; run those",
                                  module->kind, module->path);
    if (!step) return module->forward(step, module, module->self, input);
    const char *outer = tarn_step_enter_module(step, *module->path ? module->path : module->kind);
    tarn_tensor *output = module->forward(step, module, module->self, input);
    tarn_step_enter_module(step, outer);
    return output;
}

bool tarn_module_is_built(const tarn_module *module)
{
    return tarn_module_root(module)->built;
}

tarn_context *tarn_module_context(const tarn_module *module)
{
    return module->context;
}

const char *tarn_module_kind(const tarn_module *module)
{
    return module->kind;
}
