/* load.c - reading state back: rank 0 reads and checks, all ranks agree on the outcome, then everybody gets a copy.
 *
 * Invariants
 *  1. Every entry is checked before the first is filled.
 *  2. No rank enters a broadcast before all ranks agreed that rank 0 has what it broadcasts.
 *  3. Parts are verified by all ranks at once, rank k mod P those of number k, but believed or rejected by rank 0.
 */
#include "checkpoint/load.h"
#include "checkpoint/store_internal.h"
#include "runtime/dist/control.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- comparing --------------------------------------------------------------------------------------------------- */

void tarn_checkpoint_shape_text(char out[TARN_CHECKPOINT_SHAPE_TEXT], tarn_dtype dtype, int ndim, const int64_t *shape)
{
    size_t used = (size_t)snprintf(out, TARN_CHECKPOINT_SHAPE_TEXT, "%s (", tarn_dtype_name(dtype));
    for (int d = 0; d < ndim; d++)
        used += (size_t)snprintf(out + used, TARN_CHECKPOINT_SHAPE_TEXT - used, "%s%" PRId64, d ? ", " : "", shape[d]);
    snprintf(out + used, TARN_CHECKPOINT_SHAPE_TEXT - used, ndim == 1 ? ",)" : ")");
}

bool tarn_checkpoint_matches(const tarn_checkpoint_entry *entry, const tarn_hdf5_dataset *dataset)
{
    if (entry->growing) return !dataset->is_text && dataset->dtype == entry->dtype && dataset->ndim == 1;
    return !dataset->is_text && dataset->dtype == entry->dtype && dataset->ndim == entry->ndim &&
           (!entry->ndim || !memcmp(dataset->shape, entry->shape, (size_t)entry->ndim * sizeof *entry->shape));
}

static bool asked_for(const tarn_checkpoint_entry *entries, int entry_count, const char *name)
{
    for (int i = 0; i < entry_count; i++)
        if (!strcmp(entries[i].name, name)) return true;
    return false;
}

/* What is wrong first, and how many more there are. Parameters of the file that the model lacks count too: a model with
 * half the layers would else load the first half without a word. */
static int differences(const tarn_checkpoint_reader *file, const tarn_checkpoint_entry *entries, int entry_count,
                       char *first, size_t size)
{
    int count = 0;
    bool model = false;
    char here[TARN_CHECKPOINT_SHAPE_TEXT], there[TARN_CHECKPOINT_SHAPE_TEXT];
    for (int i = 0; i < entry_count; i++) {
        const tarn_checkpoint_entry *entry = &entries[i];
        const tarn_hdf5_dataset *dataset = tarn_checkpoint_reader_find(file, entry->name);
        if (!strncmp(entry->name, "model/", 6)) model = true;
        if (!dataset && entry->optional) continue;
        if (dataset && tarn_checkpoint_matches(entry, dataset)) continue;
        if (count++) continue;
        tarn_checkpoint_shape_text(here, entry->dtype, entry->ndim, entry->shape);
        if (dataset && !dataset->is_text) {
            tarn_checkpoint_shape_text(there, dataset->dtype, dataset->ndim, dataset->shape);
            snprintf(first, size, "%s is %s in the file and %s here", entry->name, there, here);
        } else {
            snprintf(first, size, "%s, %s here, is %s", entry->name, here,
                     dataset ? "a text in the file" : "not in the file");
        }
    }
    for (int i = 0; model && i < tarn_checkpoint_reader_count(file); i++) {
        const tarn_hdf5_dataset *dataset = tarn_checkpoint_reader_at(file, i);
        if (strncmp(dataset->name, "model/", 6) || dataset->is_text || asked_for(entries, entry_count, dataset->name))
            continue;
        if (count++) continue;
        tarn_checkpoint_shape_text(there, dataset->dtype, dataset->ndim, dataset->shape);
        snprintf(first, size, "%s, %s in the file, is not in this model", dataset->name, there);
    }
    return count;
}

/* Gives a growing entry room for `length` elements. */
static tarn_status resize(tarn_checkpoint_store *store, tarn_checkpoint_entry *entry, int64_t length)
{
    if (entry->shape[0] == length) return TARN_OK;
    int64_t bytes = tarn_hdf5_array_bytes(entry->dtype, 1, &length);
    void *data = bytes < 0 ? NULL : realloc(entry->data, (size_t)bytes + 1);
    if (!data)
        return tarn_fail(store->context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: no memory for %" PRId64 " of %s",
                         length, entry->name);
    entry->data = data;
    entry->shape[0] = length;
    return TARN_OK;
}

/* ---- rank 0 ------------------------------------------------------------------------------------------------------ */

static tarn_status gather_texts(tarn_checkpoint_store *store, tarn_checkpoint_reader *file, const char *path)
{
    int64_t capacity = 1;
    tarn_problem problem;
    for (int i = 0; i < tarn_checkpoint_reader_count(file); i++) {
        const tarn_hdf5_dataset *dataset = tarn_checkpoint_reader_at(file, i);
        if (dataset->is_text) capacity += (int64_t)strlen(dataset->name) + 1 + dataset->bytes + 1;
    }
    char *texts = malloc((size_t)capacity);
    if (!texts) return tarn_fail(store->context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: no memory for its texts");
    int64_t used = 0;
    for (int i = 0; i < tarn_checkpoint_reader_count(file); i++) {
        const tarn_hdf5_dataset *dataset = tarn_checkpoint_reader_at(file, i);
        if (!dataset->is_text) continue;
        strcpy(texts + used, dataset->name);
        used += (int64_t)strlen(dataset->name) + 1;
        if (!tarn_checkpoint_reader_read(file, dataset, texts + used, &problem)) {
            free(texts);
            return tarn_fail(store->context, TARN_ERROR_IO, TARN_HERE, "checkpoint: %s: %s", path, problem.text);
        }
        used += (int64_t)strlen(texts + used) + 1;
    }
    free(store->texts);
    store->texts = texts;
    store->text_bytes = used;
    return TARN_OK;
}

static tarn_status fill(tarn_checkpoint_store *store, tarn_checkpoint_reader *file, const char *path,
                        tarn_checkpoint_entry *entries, int entry_count)
{
    char first[700];
    tarn_problem problem;
    int count = differences(file, entries, entry_count, first, sizeof first);
    if (count) {
        char more[48] = "";
        if (count > 1) snprintf(more, sizeof more, " (and %d more like it)", count - 1);
        return tarn_fail(
            store->context, TARN_ERROR_SHAPE, TARN_HERE,
            "checkpoint: %s is a checkpoint of another model: %s%s; choose another checkpoint.dir, or start "
            "over with --from-scratch",
            path, first, more);
    }
    for (int i = 0; i < entry_count; i++) {
        const tarn_hdf5_dataset *dataset = tarn_checkpoint_reader_find(file, entries[i].name);
        tarn_status status = dataset && entries[i].growing ? resize(store, &entries[i], dataset->shape[0]) : TARN_OK;
        if (status) return status;
        if (dataset && !tarn_checkpoint_reader_read(file, dataset, entries[i].data, &problem))
            return tarn_fail(store->context, TARN_ERROR_IO, TARN_HERE, "checkpoint: %s: %s", path, problem.text);
    }
    return gather_texts(store, file, path);
}

/* ---- verifying parts together ------------------------------------------------------------------------------------ */

static const char verifying[] = "verifying the parts of the checkpoint";

/* Rank 0's half: the others verify their share of a folder when it tells them the step. Where one of them finds fault,
 * or does not see the directory, rank 0 looks at everything itself: it must know what to say. */
typedef struct together {
    tarn_checkpoint_store *store;
    tarn_status status; /* of the exchange; after a failure nobody is asked any more */
} together;

static bool verify_together(void *user, tarn_checkpoint_found *found, int64_t step, tarn_problem *problem)
{
    together *all = user;
    tarn_context *context = all->store->context;
    if (tarn_ranks(context) == 1 || all->status || !tarn_checkpoint_is_folder(found->path))
        return tarn_checkpoint_verify(found, true, problem);
    uint64_t faulty = 0;
    all->status = tarn_comm_broadcast(tarn_get_comm(context), &step, sizeof step, 0, verifying);
    if (!all->status) {
        faulty = !tarn_checkpoint_verify_share(found, true, 0, tarn_ranks(context), problem);
        all->status = tarn_comm_or_all(tarn_get_comm(context), &faulty, 1, verifying);
    }
    if (all->status || faulty) return tarn_checkpoint_verify(found, true, problem);
    return true;
}

/* The other ranks' half: until rank 0 names no step any more. */
static tarn_status help_verifying(tarn_checkpoint_store *store)
{
    tarn_context *context = store->context;
    tarn_checkpoint_found *found = calloc(1, sizeof *found);
    for (;;) {
        int64_t step = -1;
        tarn_status status = tarn_comm_broadcast(tarn_get_comm(context), &step, sizeof step, 0, verifying);
        if (status || step < 0) {
            free(found);
            return status;
        }
        tarn_problem problem;
        uint64_t faulty = !found || !tarn_checkpoint_folder(found->path, store->directory, step) ||
                          !tarn_checkpoint_verify_share(found, true, tarn_rank(context), tarn_ranks(context), &problem);
        status = tarn_comm_or_all(tarn_get_comm(context), &faulty, 1, verifying);
        if (status) {
            free(found);
            return status;
        }
    }
}

static tarn_status load_here(tarn_checkpoint_store *store, tarn_checkpoint_entry *entries, int entry_count,
                             int64_t *step, bool *found)
{
    tarn_checkpoint_found *newest = calloc(1, sizeof *newest);
    tarn_checkpoint_reader *file = NULL;
    together all = {.store = store};
    tarn_status status =
        newest ? tarn_checkpoint_open_newest_by(&file, newest, store->context, store->directory, verify_together, &all)
               : tarn_fail(store->context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: out of memory");
    int64_t no_more = -1;
    if (!all.status && tarn_ranks(store->context) > 1)
        all.status = tarn_comm_broadcast(tarn_get_comm(store->context), &no_more, sizeof no_more, 0, verifying);
    if (!status) status = all.status;
    if (!status && file) {
        status = fill(store, file, newest->path, entries, entry_count);
        *step = newest->header.step;
        *found = true;
    }
    tarn_checkpoint_reader_close(file);
    free(newest);
    return status;
}

/* ---- all ranks --------------------------------------------------------------------------------------------------- */

static tarn_status share_texts(tarn_checkpoint_store *store, int64_t bytes)
{
    tarn_context *context = store->context;
    tarn_status status = TARN_OK;
    if (tarn_rank(context) != 0) {
        free(store->texts);
        store->texts = malloc((size_t)bytes + 1);
        store->text_bytes = bytes;
        if (!store->texts)
            status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "checkpoint: no memory for its texts");
    }
    status = tarn_agree(context, status, "receiving the checkpoint's texts");
    if (status || !bytes) return status;
    return tarn_comm_broadcast(tarn_get_comm(context), store->texts, (size_t)bytes, 0,
                               "receiving the checkpoint's texts");
}

tarn_status tarn_checkpoint_share(tarn_context *context, tarn_checkpoint_entry *entries, int entry_count)
{
    for (int i = 0; i < entry_count; i++) {
        int64_t bytes = tarn_hdf5_array_bytes(entries[i].dtype, entries[i].ndim, entries[i].shape);
        if (!bytes) continue;
        tarn_status status =
            tarn_comm_broadcast(tarn_get_comm(context), entries[i].data, (size_t)bytes, 0, "receiving the checkpoint");
        if (status) return status;
    }
    return TARN_OK;
}

/* The other ranks make room for the growing entries, whose length rank 0 found in the file. */
static tarn_status share_lengths(tarn_checkpoint_store *store, tarn_checkpoint_entry *entries, int entry_count)
{
    tarn_status status = TARN_OK;
    for (int i = 0; i < entry_count; i++) {
        if (!entries[i].growing) continue;
        int64_t length = entries[i].shape[0];
        tarn_status lost = tarn_comm_broadcast(tarn_get_comm(store->context), &length, sizeof length, 0,
                                               "receiving the lengths of the checkpoint");
        if (lost) return lost;
        if (!status) status = resize(store, &entries[i], length);
    }
    return tarn_agree(store->context, status, "making room for the checkpoint");
}

tarn_status tarn_checkpoint_load(tarn_checkpoint_store *store, tarn_checkpoint_entry *entries, int entry_count,
                                 int64_t *step, bool *found)
{
    tarn_context *context = store->context;
    tarn_status status = TARN_OK;
    *found = false;
    *step = 0;
    status = tarn_rank(context) == 0 ? load_here(store, entries, entry_count, step, found) : help_verifying(store);
    if (status == TARN_ERROR_COMM) return status; /* a peer is gone: it would not agree either */
    status = tarn_agree(context, status, "loading the checkpoint");
    if (status) {
        *found = false;
        return status;
    }
    if (tarn_ranks(context) == 1) return TARN_OK;
    int64_t word[3] = {*found, *step, store->text_bytes};
    status = tarn_comm_broadcast(tarn_get_comm(context), word, sizeof word, 0, "receiving the checkpoint");
    if (status) return status;
    *found = word[0] != 0;
    *step = word[1];
    if (!*found) return TARN_OK;
    status = share_texts(store, word[2]);
    if (!status) status = share_lengths(store, entries, entry_count);
    return status ? status : tarn_checkpoint_share(context, entries, entry_count);
}

const char *tarn_checkpoint_text_get(const tarn_checkpoint_store *store, const char *name)
{
    for (int64_t at = 0; store->texts && at < store->text_bytes;) {
        const char *key = store->texts + at, *value = key + strlen(key) + 1;
        if (!strcmp(key, name)) return value;
        at = value + strlen(value) + 1 - store->texts;
    }
    return NULL;
}
