/* checkpoint.c - what checkpoints cost: the stall of the training loop against one memcpy of the same bytes, the time
 * to durable against dd conv=fsync, and the share of training time when one is taken every 50 steps.
 *
 *   build/release/bench/checkpoint state DIRECTORY [MiB (64)] [repetitions (9)] [threads (1)]
 *   build/release/bench/checkpoint train DIRECTORY [MODEL (chargpt)] [pairs (5)] [threads (1)] [every (50)]
 *
 * state: arrays of many sizes, parameters and two moments; turn by turn, one memcpy from such memory to touched memory
 * of the same kind, and one checkpoint. Prints medians in seconds; stall_ratio = stall / memcpy, fastest_ratio
 * that of the fastest turns, which a busy machine disturbs less. train: one run of
 * chargpt or chargpt-small, blocks of `every` steps by turns with a checkpoint at their beginning and without; cost =
 * time of all blocks with over those without, less 1; the median of the pairs beside it.
 */
#include "checkpoint/store.h"
#include "runtime/base/context.h"
#include <tarn/tarn.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

/* ---- state ---- */

static uint8_t *touched(size_t bytes)
{
    size_t rounded = (bytes / (2u << 20) + 1) * (2u << 20);
    uint8_t *memory = mmap(NULL, rounded, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return NULL;
    madvise(memory, rounded, MADV_HUGEPAGE);
    for (size_t i = 0; i < bytes; i++) memory[i] = (uint8_t)(i * 131 >> 7);
    return memory;
}

/* A third of the floats each to parameters, first and second moments, as a trainer has them: weights of 4 MiB, each
 * with a bias. */
static int describe(tarn_checkpoint_entry *entries, int most, float *memory, int64_t third)
{
    static const char *const kinds[] = {"model", "optim/m", "optim/v"};
    int count = 0;
    int64_t at = 0;
    for (int layer = 0; at < third && count + 6 < most; layer++) {
        int64_t left = third - at, weight = left < 1024 * 1024 ? left : 1024 * 1024;
        int64_t bias = left - weight < 1024 ? left - weight : 1024;
        for (int k = 0; k < 3; k++) {
            char *names[2] = {NULL, NULL};
            if (asprintf(&names[0], "%s/layer%d.weight", kinds[k], layer) < 0 ||
                asprintf(&names[1], "%s/layer%d.bias", kinds[k], layer) < 0)
                return -1;
            float *data = memory + third * k + at;
            entries[count++] = (tarn_checkpoint_entry){names[0], TARN_F32, 1, {weight}, data, true, false, false};
            entries[count++] =
                (tarn_checkpoint_entry){names[1], TARN_F32, 1, {bias}, data + weight, true, false, false};
        }
        at += weight + bias;
    }
    return count;
}

/* dd reads the newest checkpoint, which is in memory, and writes as much. */
static double dd_seconds(const char *directory, int64_t step, int repetitions)
{
    char command[8400];
    double seconds[64];
    if (repetitions > 5) repetitions = 5;
    for (int i = 0; i < repetitions; i++) {
        snprintf(command, sizeof command, "dd if=%s/ckpt-%012lld.h5 of=%s/dd.bytes bs=1M conv=fsync 2>/dev/null",
                 directory, (long long)step, directory);
        double started = tarn_seconds();
        if (system(command)) return 0;
        seconds[i] = tarn_seconds() - started;
        snprintf(command, sizeof command, "%s/dd.bytes", directory);
        remove(command);
    }
    return median(seconds, repetitions);
}

static tarn_status measure_state(tarn_context *context, const char *directory, int64_t mib, int repetitions,
                                 int threads)
{
    enum { MOST = 4096 };
    int64_t bytes = (mib << 20) / 3 / 64 * 3 * 64;
    uint8_t *state = touched((size_t)bytes), *other = touched((size_t)bytes);
    tarn_checkpoint_entry *entries = calloc(MOST, sizeof *entries);
    double copy[64], stall[64], durable[64];
    tarn_checkpoint_store *store = NULL;
    if (repetitions > 64) repetitions = 64;
    if (!state || !other || !entries) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory");
    int count = describe(entries, MOST, (float *)state, bytes / 3 / 4);
    if (threads > 1) tarn_set_threads(context, threads);
    tarn_status status = tarn_checkpoint_store_open(&store, context, directory, 2);
    tarn_checkpoint_request request = {.entries = entries,
                                       .entry_count = count,
                                       .must = true,
                                       .workers = threads > 1 ? tarn_context_workers(context) : NULL};
    if (!status) status = tarn_checkpoint_prepare(store, &request);
    for (int i = -1; i < repetitions && !status; i++) { /* one to warm up */
        double started = tarn_seconds();
        memcpy(other, state, (size_t)bytes);
        double copied = tarn_seconds() - started;
        request.step = i + 2;
        state[i + 1]++;
        if (!status && i < 0) status = tarn_checkpoint_wait(store);
        started = tarn_seconds();
        if (!status) status = tarn_checkpoint_begin(store, &request, NULL);
        double stalled = tarn_seconds() - started;
        if (!status) status = tarn_checkpoint_wait(store);
        if (i < 0) continue;
        copy[i] = copied;
        stall[i] = stalled;
        durable[i] = tarn_checkpoint_persist_seconds(store);
    }
    if (!status) {
        double once = median(copy, repetitions), waits = median(stall, repetitions); /* sorted now */
        printf("{\"state_mib\": %lld, \"arrays\": %d, \"threads\": %d, \"memcpy_s\": %.6f, \"stall_s\": %.6f, "
               "\"stall_ratio\": %.3f, \"fastest_ratio\": %.3f, \"durable_s\": %.3f, \"dd_fsync_s\": %.3f}\n",
               (long long)mib, count, threads, once, waits, waits / once, stall[0] / copy[0],
               median(durable, repetitions), dd_seconds(directory, repetitions + 1, repetitions));
    }
    tarn_checkpoint_store_close(store);
    return status;
}

/* ---- train ---- */

static int32_t tokens[8 * 257];

static tarn_status read_sample(void *user, int64_t index, void *input, void *target)
{
    size_t length = *(const size_t *)user;
    memcpy(input, tokens + index * 257, length * sizeof *tokens);
    memcpy(target, tokens + index * 257 + 1, length * sizeof *tokens);
    return TARN_OK;
}

static tarn_status measure_training(tarn_context *context, const char *directory, bool small, int pairs, int threads,
                                    int every)
{
    const tarn_gpt_options gpt =
        small ? (tarn_gpt_options){.layers = 4, .heads = 4, .width = 128, .context = 64, .vocabulary = 65}
              : (tarn_gpt_options){.layers = 6, .heads = 6, .width = 384, .context = 256, .vocabulary = 65};
    size_t length = (size_t)gpt.context;
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof tokens / sizeof *tokens; i++)
        tokens[i] = (int32_t)((random = random * 1664525u + 1013904223u) >> 16) % 65;
    const tarn_sample_shape shape = {.input_dtype = TARN_I32,
                                     .target_dtype = TARN_I32,
                                     .input_ndim = 1,
                                     .target_ndim = 1,
                                     .input_shape = {gpt.context},
                                     .target_shape = {gpt.context},
                                     .classes = 65};
    tarn_module *model = NULL;
    tarn_dataset *data = NULL;
    tarn_status status = tarn_gpt_create(&model, context, &gpt);
    if (!status) status = tarn_callback_open(&data, context, 8, &shape, read_sample, &length);
    int steps = every * (2 * pairs + 1) + 1;
    tarn_train_options options = {.model = model,
                                  .data = data,
                                  .steps = steps,
                                  .batch = 8,
                                  .shards = 8,
                                  .threads = threads,
                                  .checkpoint_directory = directory,
                                  .checkpoint_every = 2 * (int64_t)every,
                                  .from_scratch = true,
                                  .optim = {.kind = TARN_ADAMW, .lr = 3e-4, .clip = 1.0}};
    tarn_trainer *trainer = NULL;
    double *at = calloc((size_t)steps + 1, sizeof *at);
    if (!status) status = tarn_trainer_create(&trainer, context, &options);
    for (int step = 1; !status && tarn_trainer_next(trainer); step++) {
        tarn_trainer_run_shards(trainer);
        at[step] = tarn_seconds(); /* before the step's checkpoint, if it takes one */
        status = tarn_optim_step(trainer);
    }
    int parameters = (int)(tarn_module_numel(model) >> 10);
    tarn_status finished = trainer ? tarn_trainer_finish(trainer) : TARN_OK;
    if (!status) status = finished;
    double with = 0, without = 0, *ratio = calloc((size_t)pairs, sizeof *ratio);
    for (int i = 0; i < pairs && !status; i++) {
        double begin = at[2 * every * (i + 1) - every], middle = at[2 * every * (i + 1)];
        double end = at[2 * every * (i + 1) + every];
        without += middle - begin;
        with += end - middle;
        ratio[i] = (end - middle) / (middle - begin);
    }
    if (!status)
        printf("{\"model\": \"%s\", \"kilo_parameters\": %d, \"threads\": %d, \"every\": %d, \"pairs\": %d, "
               "\"step_without_s\": %.6f, \"step_with_s\": %.6f, \"cost\": %.4f, \"cost_median\": %.4f}\n",
               small ? "chargpt-small" : "chargpt", parameters, threads, every, pairs, without / pairs / every,
               with / pairs / every, with / without - 1, median(ratio, pairs) - 1);
    free(ratio);
    free(at);
    tarn_dataset_close(data);
    tarn_module_destroy(model);
    return status;
}

static int argument(int argc, char **argv, int index, int fallback)
{
    int value = argc > index ? atoi(argv[index]) : fallback;
    return value > 0 ? value : fallback;
}

int main(int argc, char **argv)
{
    bool train = argc > 1 && !strcmp(argv[1], "train");
    if (argc < 3 || (!train && strcmp(argv[1], "state"))) {
        fprintf(stderr, "usage: checkpoint state DIRECTORY [MiB] [repetitions] [threads]\n"
                        "       checkpoint train DIRECTORY [chargpt|chargpt-small] [pairs] [threads] [every]\n");
        return 2;
    }
    tarn_context *context;
    if (!tarn_init(&context, NULL, NULL)) {
        if (train)
            measure_training(context, argv[2], argc > 3 && !strcmp(argv[3], "chargpt-small"),
                             argument(argc, argv, 4, 5), argument(argc, argv, 5, 1), argument(argc, argv, 6, 50));
        else
            measure_state(context, argv[2], argument(argc, argv, 3, 64), argument(argc, argv, 4, 9),
                          argument(argc, argv, 5, 1));
    }
    return tarn_exit(context);
}
