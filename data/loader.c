/* loader.c - the rows of a step, the next step's read ahead by a thread.
 *
 * Invariants
 *  1. What a step holds depends on (dataset, options, step) alone, never on what was loaded before or by whom.
 *  2. Two blocks of memory: the caller's current one, and the other, which belongs to the thread while `busy` is set
 *     and to the caller otherwise.
 *  3. The thread records no error: it leaves it in its block, for the load that wants the step.
 */
#include "data/loader.h"
#include "data/dataset.h"
#include "runtime/base/context.h"
#include "runtime/monitor/monitor.h"
#include "runtime/random/random.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_ALIGNMENT 64

typedef struct rows_block {
    int64_t step; /* -1: none */
    tarn_status status;
    tarn_data_error error;
    uint8_t *inputs, *targets;
    tarn_rows *slots;
} rows_block;

struct tarn_loader {
    tarn_context *context;
    tarn_dataset *dataset;
    tarn_loader_options options;
    tarn_sample_shape shape;
    int64_t length, input_bytes, target_bytes; /* as the dataset was at creation */
    int64_t rows;                              /* of a slot */
    int64_t input_stride, target_stride;       /* bytes from slot to slot */
    rows_block blocks[2];
    int current;

    bool threaded;
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool busy; /* the thread owns the other block and reads `wanted` into it */
    bool quit;
    int64_t wanted;
    rows_block *target;
};

/* ---- which sample stands where --------------------------------------------------------------------------- */

int64_t tarn_loader_batches(const tarn_loader *loader)
{
    return (loader->length - 1) / loader->options.batch + 1;
}

int64_t tarn_loader_sample_at(const tarn_loader *loader, int64_t position)
{
    if (position < 0) return -1;
    if (loader->options.evaluation || loader->dataset->stream) return position < loader->length ? position : -1;
    tarn_permutation permutation;
    tarn_permutation_init(&permutation, loader->options.seed, (uint64_t)(position / loader->length),
                          (uint64_t)loader->length);
    return (int64_t)tarn_permutation_at(&permutation, (uint64_t)(position % loader->length));
}

/* ---- reading --------------------------------------------------------------------------------------------- */

/* Targets >= 0 among `bytes` bytes of integers. */
static int64_t count_classes(tarn_dtype dtype, const uint8_t *targets, int64_t bytes)
{
    int64_t count = 0;
    if (dtype == TARN_I32) {
        const int32_t *values = (const int32_t *)targets;
        for (int64_t i = 0; i < bytes / 4; i++) count += values[i] >= 0;
    } else {
        const int64_t *values = (const int64_t *)targets;
        for (int64_t i = 0; i < bytes / 8; i++) count += values[i] >= 0;
    }
    return count;
}

static tarn_status fill_slot(const tarn_loader *loader, rows_block *block, int64_t local)
{
    bool evaluation = loader->options.evaluation, classes = tarn_targets_are_classes(&loader->shape);
    int64_t slot = loader->options.slot_begin + local;
    int64_t first = block->step * loader->options.batch + slot * loader->rows;
    int64_t valid = loader->rows;
    if (evaluation && first + valid > loader->length) valid = first < loader->length ? loader->length - first : 0;

    uint8_t *inputs = block->inputs + local * loader->input_stride;
    uint8_t *targets = block->targets + local * loader->target_stride;
    tarn_permutation permutation;
    int64_t epoch = -1;
    for (int64_t row = 0; row < valid; row++) {
        int64_t position = first + row, sample = position;
        if (!evaluation && !loader->dataset->stream) {
            if (position / loader->length != epoch) {
                epoch = position / loader->length;
                tarn_permutation_init(&permutation, loader->options.seed, (uint64_t)epoch, (uint64_t)loader->length);
            }
            sample = (int64_t)tarn_permutation_at(&permutation, (uint64_t)(position % loader->length));
        }
        tarn_status status = tarn_dataset_read_quiet(loader->dataset, sample, inputs + row * loader->input_bytes,
                                                     targets + row * loader->target_bytes, &block->error);
        if (status != TARN_OK) return status;
        tarn_monitor_progress(loader->context); /* rows may come from far away */
    }
    if (classes && valid < loader->rows) {
        int64_t padding = loader->rows - valid;
        memset(inputs + valid * loader->input_bytes, 0, (size_t)(padding * loader->input_bytes));
        memset(targets + valid * loader->target_bytes, 0xff, (size_t)(padding * loader->target_bytes)); /* -1 */
    }
    block->slots[local] = (tarn_rows){
        .inputs = inputs,
        .targets = targets,
        .samples = classes ? loader->rows : valid,
        .valid = valid,
        .count = classes ? count_classes(loader->shape.target_dtype, targets, valid * loader->target_bytes) : valid,
        .first = first,
    };
    return TARN_OK;
}

static void fill_block(const tarn_loader *loader, rows_block *block, int64_t step)
{
    block->step = step;
    block->status = TARN_OK;
    int64_t slots = loader->options.slot_end - loader->options.slot_begin;
    for (int64_t local = 0; local < slots && block->status == TARN_OK; local++)
        block->status = fill_slot(loader, block, local);
}

/* ---- the thread ------------------------------------------------------------------------------------------ */

static void *read_ahead(void *argument)
{
    tarn_loader *loader = argument;
    pthread_mutex_lock(&loader->lock);
    for (;;) {
        while (!loader->busy && !loader->quit) pthread_cond_wait(&loader->changed, &loader->lock);
        if (loader->quit) break;
        rows_block *block = loader->target;
        int64_t step = loader->wanted;
        pthread_mutex_unlock(&loader->lock);
        fill_block(loader, block, step);
        pthread_mutex_lock(&loader->lock);
        loader->busy = false;
        pthread_cond_broadcast(&loader->changed);
    }
    pthread_mutex_unlock(&loader->lock);
    return NULL;
}

/* Signals are for the main thread. */
static void start_thread(tarn_loader *loader)
{
    sigset_t before;
    tarn_block_signals(&before);
    loader->threaded = pthread_create(&loader->thread, NULL, read_ahead, loader) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!loader->threaded)
        tarn_log(loader->context, TARN_LOG_WARN,
                 "no thread to read data ahead: batches are read between the steps, which is slower");
}

static void wait_until_idle(tarn_loader *loader)
{
    if (!loader->threaded) return;
    pthread_mutex_lock(&loader->lock);
    while (loader->busy) pthread_cond_wait(&loader->changed, &loader->lock);
    pthread_mutex_unlock(&loader->lock);
}

static void request(tarn_loader *loader, rows_block *block, int64_t step)
{
    pthread_mutex_lock(&loader->lock);
    loader->target = block;
    loader->wanted = step;
    loader->busy = true;
    pthread_cond_broadcast(&loader->changed);
    pthread_mutex_unlock(&loader->lock);
}

/* ---- life ------------------------------------------------------------------------------------------------ */

static tarn_status check_options(tarn_context *context, const tarn_dataset *dataset, const tarn_loader_options *options)
{
    long long batch = options->batch, slots = options->slots, length = dataset->length;
    if (length < 1)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s: the dataset is empty%s", dataset->name,
                         dataset->shape.input_ndim == 1 && dataset->shape.input_shape[0] == 0
                             ? ": set the context of the text first (tarn_text_set_context)"
                             : "");
    if (dataset->stream && options->evaluation)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "%s: a stream cannot be evaluated on: its samples come once", dataset->name);
    if (batch < 1 || slots < 1)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "a batch of %lld samples in %lld parts makes no sense: both must be at least 1", batch, slots);
    if (batch % slots != 0)
        return tarn_fail(
            context, TARN_ERROR_CONFIG, TARN_HERE,
            "a batch of %lld samples does not divide into %lld parts (shards x accumulate): a batch of %lld "
            "or %lld would",
            batch, slots, batch > slots ? batch / slots * slots : slots,
            batch > slots ? (batch / slots + 1) * slots : 2 * slots);
    if (options->slot_begin < 0 || options->slot_end < options->slot_begin || options->slot_end > slots)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "parts %lld to %lld are outside of the batch's %lld",
                         (long long)options->slot_begin, (long long)options->slot_end, slots);
    return TARN_OK;
}

/* Bytes of a slot rounded up to the alignment; false when they fit in no memory. */
static bool slot_stride(int64_t rows, int64_t bytes, int64_t slots, int64_t *stride)
{
    int64_t total;
    if (__builtin_mul_overflow(rows, bytes, stride) || *stride > INT64_MAX - SLOT_ALIGNMENT) return false;
    *stride = (*stride + SLOT_ALIGNMENT - 1) / SLOT_ALIGNMENT * SLOT_ALIGNMENT;
    return !__builtin_mul_overflow(*stride, slots + 1, &total);
}

static bool allocate_blocks(tarn_loader *loader)
{
    int64_t slots = loader->options.slot_end - loader->options.slot_begin;
    if (!slot_stride(loader->rows, loader->input_bytes, slots, &loader->input_stride) ||
        !slot_stride(loader->rows, loader->target_bytes, slots, &loader->target_stride))
        return false;
    for (int i = 0; i < 2; i++) {
        rows_block *block = &loader->blocks[i];
        block->step = -1;
        /* One stride more, so that an empty range of slots asks for memory too. */
        block->inputs = aligned_alloc(SLOT_ALIGNMENT, (size_t)(loader->input_stride * (slots + 1)));
        block->targets = aligned_alloc(SLOT_ALIGNMENT, (size_t)(loader->target_stride * (slots + 1)));
        block->slots = calloc((size_t)slots + 1, sizeof *block->slots);
        if (block->inputs == NULL || block->targets == NULL || block->slots == NULL) return false;
    }
    return true;
}

tarn_status tarn_loader_create(tarn_loader **loader, tarn_context *context, tarn_dataset *dataset,
                               const tarn_loader_options *options)
{
    *loader = NULL;
    tarn_status status = check_options(context, dataset, options);
    if (status != TARN_OK) return status;
    tarn_loader *made = calloc(1, sizeof *made);
    if (made == NULL)
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "%s: no memory to load it", dataset->name);
    made->context = context;
    made->dataset = dataset;
    made->options = *options;
    made->shape = dataset->shape;
    made->length = dataset->length;
    made->input_bytes = dataset->input_bytes;
    made->target_bytes = dataset->target_bytes;
    made->rows = options->batch / options->slots;
    pthread_mutex_init(&made->lock, NULL);
    pthread_cond_init(&made->changed, NULL);
    atomic_fetch_add(&tarn_dataset_root(dataset)->loaders, 1);
    if (!allocate_blocks(made)) {
        status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE,
                           "%s: no memory for twice %lld parts of %lld samples of %lld bytes: use a smaller batch",
                           dataset->name, (long long)(options->slot_end - options->slot_begin), (long long)made->rows,
                           (long long)(made->input_bytes + made->target_bytes));
        tarn_loader_destroy(made);
        return status;
    }
    if (options->prefetch) start_thread(made);
    *loader = made;
    return TARN_OK;
}

void tarn_loader_destroy(tarn_loader *loader)
{
    if (loader == NULL) return;
    if (loader->threaded) {
        pthread_mutex_lock(&loader->lock);
        loader->quit = true;
        pthread_cond_broadcast(&loader->changed);
        pthread_mutex_unlock(&loader->lock);
        pthread_join(loader->thread, NULL);
    }
    atomic_fetch_sub(&tarn_dataset_root(loader->dataset)->loaders, 1);
    pthread_cond_destroy(&loader->changed);
    pthread_mutex_destroy(&loader->lock);
    for (int i = 0; i < 2; i++) {
        free(loader->blocks[i].inputs);
        free(loader->blocks[i].targets);
        free(loader->blocks[i].slots);
    }
    free(loader);
}

/* ---- steps ----------------------------------------------------------------------------------------------- */

tarn_status tarn_loader_load(tarn_loader *loader, int64_t step)
{
    bool evaluation = loader->options.evaluation;
    if (step < 0 || (evaluation && step >= tarn_loader_batches(loader)) ||
        step >= INT64_MAX / loader->options.batch - 1)
        return tarn_fail(loader->context, TARN_ERROR_ARGUMENT, TARN_HERE, "%s: there is no %s %lld",
                         loader->dataset->name, evaluation ? "batch" : "step", (long long)step);
    if (loader->blocks[loader->current].step == step) return TARN_OK;
    wait_until_idle(loader);
    rows_block *next = &loader->blocks[1 - loader->current];
    if (next->step != step) fill_block(loader, next, step);
    if (next->status != TARN_OK) {
        next->step = -1;                                           /* another load tries again */
        if (next->status == TARN_EXHAUSTED) return TARN_EXHAUSTED; /* no error */
        return tarn_fail(loader->context, next->status, TARN_HERE, "%s %lld of %s: %s",
                         evaluation ? "evaluation batch" : "step", (long long)step, loader->dataset->name,
                         next->error.text);
    }
    loader->current = 1 - loader->current;
    if (loader->threaded && !(evaluation && step + 1 >= tarn_loader_batches(loader)))
        request(loader, &loader->blocks[1 - loader->current], step + 1);
    return TARN_OK;
}

void tarn_loader_get(const tarn_loader *loader, int64_t slot, tarn_rows *rows)
{
    const rows_block *block = &loader->blocks[loader->current];
    if (block->step < 0 || slot < loader->options.slot_begin || slot >= loader->options.slot_end) {
        *rows = (tarn_rows){0};
        return;
    }
    *rows = block->slots[slot - loader->options.slot_begin];
}
