/* list.c - looking at checkpoints without a store: listing a directory, reading a text, initialising a module. */
#include "checkpoint/load.h"
#include "nn/module.h"
#include "runtime/dist/control.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tarn_status tarn_checkpoint_list(tarn_context *context, const char *directory, bool verify,
                                 tarn_checkpoint_info **infos, int *count)
{
    *infos = NULL;
    *count = 0;
    int64_t *steps;
    int files;
    tarn_problem problem;
    if (!tarn_checkpoint_scan(&steps, &files, directory, &problem)) {
        bool written = problem.error_number == ENOENT || problem.error_number == ENOTDIR;
        return tarn_fail(context, written ? TARN_ERROR_ARGUMENT : TARN_ERROR_IO, TARN_HERE,
                         "checkpoint: %s; name a directory of checkpoints", problem.text);
    }
    tarn_checkpoint_info *list = calloc((size_t)files + 1, sizeof *list);
    tarn_checkpoint_found *found = calloc(1, sizeof *found);
    for (int i = 0; list && found && i < files; i++) {
        tarn_checkpoint_info *info = &list[i];
        if (!tarn_checkpoint_find(found->path, directory, steps[i])) continue;
        tarn_checkpoint_reader *file = NULL;
        info->valid = verify ? tarn_checkpoint_open_verified(&file, found, true, &problem)
                             : tarn_checkpoint_verify(found, false, &problem);
        tarn_checkpoint_reader_close(file);
        if (info->valid && found->header.step != steps[i])
            info->valid = tarn_problem_set(&problem, 0, "it is the checkpoint of step %lld under another name",
                                           (long long)found->header.step);
        strcpy(info->path, found->path);
        info->step = steps[i];
        info->bytes = found->bytes;
        info->newer = !info->valid && problem.newer;
        if (!info->valid)
            snprintf(info->problem, sizeof info->problem, "%s", problem.text);
        else if (verify || !found->parts)
            tarn_sha256_hex(found->header.state_digest, info->digest);
    }
    bool done = list && found;
    free(found);
    free(steps);
    if (!done || !files) {
        free(list);
        return done ? TARN_OK : tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: out of memory");
    }
    *infos = list;
    *count = files;
    return TARN_OK;
}

tarn_status tarn_checkpoint_peek(tarn_context *context, const char *path, const char *name, char **value)
{
    *value = NULL;
    tarn_checkpoint_found *found = calloc(1, sizeof *found);
    tarn_checkpoint_reader *file = NULL;
    tarn_problem problem;
    if (!found) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: out of memory");
    tarn_status status = tarn_checkpoint_open_path(&file, found, context, path);
    const tarn_hdf5_dataset *dataset = status ? NULL : tarn_checkpoint_reader_find(file, name);
    if (dataset && dataset->is_text) {
        char *text = malloc((size_t)dataset->bytes + 1);
        if (!text)
            status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: no memory for text %s", name);
        else if (!tarn_checkpoint_reader_read(file, dataset, text, &problem))
            status = tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "checkpoint: %s: %s", found->path, problem.text);
        if (!status)
            *value = text;
        else
            free(text);
    }
    tarn_checkpoint_reader_close(file);
    free(found);
    return status;
}

/* ---- init_from --------------------------------------------------------------------------------------------------- */

/* The module's parameters as entries; names are "model/" and the parameter's. NULL when memory is short. */
static tarn_checkpoint_entry *entries_of(const tarn_module *module, int count)
{
    tarn_checkpoint_entry *entries = calloc((size_t)count + 1, sizeof *entries);
    for (int i = 0; entries && i < count; i++) {
        tarn_parameter_info info;
        char *name = NULL;
        if (!tarn_module_parameter_at(module, i, &info) || asprintf(&name, "model/%s", info.name) < 0) name = NULL;
        if (!name) {
            while (i--) free((char *)entries[i].name);
            free(entries);
            return NULL;
        }
        entries[i] = (tarn_checkpoint_entry){.name = name, .dtype = TARN_F32, .ndim = info.ndim, .data = info.values};
        memcpy(entries[i].shape, info.shape, sizeof info.shape);
    }
    return entries;
}

static tarn_status check_match(tarn_context *context, const char *path, const tarn_checkpoint_entry *entry,
                               const tarn_hdf5_dataset *dataset, bool strict)
{
    char here[TARN_CHECKPOINT_SHAPE_TEXT], there[TARN_CHECKPOINT_SHAPE_TEXT + 16] = "not in the file";
    tarn_checkpoint_shape_text(here, entry->dtype, entry->ndim, entry->shape);
    if (dataset && dataset->is_text) {
        strcpy(there, "a text there");
    } else if (dataset) {
        strcpy(there, "there ");
        tarn_checkpoint_shape_text(there + 6, dataset->dtype, dataset->ndim, dataset->shape);
    }
    if (strict)
        return tarn_fail(
            context, TARN_ERROR_SHAPE, TARN_HERE,
            "init_from: %s does not fit this model: %s is %s here and %s; allow a partial match, or name the "
            "checkpoint of a model of this shape",
            path, entry->name, here, there);
    tarn_log(context, TARN_LOG_INFO, "init_from: %s keeps its initial values: it is %s here and %s", entry->name, here,
             there);
    return TARN_OK;
}

/* Rank 0 reads; taken[i] tells which entries were filled. All are checked before the first is. */
static tarn_status init_here(tarn_context *context, const char *path, bool strict, tarn_checkpoint_entry *entries,
                             int count, int32_t *taken)
{
    tarn_checkpoint_found *found = calloc(1, sizeof *found);
    tarn_checkpoint_reader *file = NULL;
    tarn_problem problem;
    if (!found) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "init_from: out of memory");
    tarn_status status = tarn_checkpoint_open_path(&file, found, context, path);
    for (int i = 0; !status && i < count; i++) {
        const tarn_hdf5_dataset *dataset = tarn_checkpoint_reader_find(file, entries[i].name);
        taken[i] = dataset && tarn_checkpoint_matches(&entries[i], dataset);
        if (!taken[i]) status = check_match(context, found->path, &entries[i], dataset, strict);
    }
    for (int i = 0; !status && i < count; i++)
        if (taken[i] && !tarn_checkpoint_reader_read(file, tarn_checkpoint_reader_find(file, entries[i].name),
                                                     entries[i].data, &problem))
            status = tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "init_from: %s: %s", found->path, problem.text);
    tarn_checkpoint_reader_close(file);
    free(found);
    return status;
}

tarn_status tarn_module_init_from(tarn_module *module, const char *path, bool strict, int *loaded)
{
    tarn_context *context = tarn_module_context(module);
    int count = tarn_module_parameter_count(module), total = 0;
    tarn_status status = TARN_OK;
    tarn_checkpoint_entry *entries = entries_of(module, count);
    int32_t *taken = calloc((size_t)count + 1, sizeof *taken);
    if (!entries || !taken)
        status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "init_from: out of memory");
    else if (!tarn_module_is_built(module))
        status = tarn_fail(context, TARN_ERROR_STATE, TARN_HERE,
                           "init_from: the module is not built yet: call tarn_module_build first");
    else if (tarn_rank(context) == 0)
        status = init_here(context, path, strict, entries, count, taken);
    status = tarn_agree(context, status, "initialising from a checkpoint");
    /* Every rank's memory equals rank 0's, also where nothing was read: sending all keeps the order of broadcasts
     * simple. */
    if (!status && tarn_ranks(context) > 1) {
        if (count)
            status = tarn_comm_broadcast(tarn_get_comm(context), taken, (size_t)count * sizeof *taken, 0,
                                         "initialising from a checkpoint");
        if (!status) status = tarn_checkpoint_share(context, entries, count);
    }
    for (int i = 0; taken && i < count; i++) total += taken[i];
    for (int i = 0; entries && i < count; i++) free((char *)entries[i].name);
    free(entries);
    free(taken);
    if (loaded) *loaded = status ? 0 : total;
    if (!status && !total && count)
        tarn_log(context, TARN_LOG_WARN, "init_from: no parameter of %s fits this model: nothing was loaded", path);
    return status;
}
