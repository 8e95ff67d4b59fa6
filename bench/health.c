/* health.c - what watching over the ranks costs a training step: the hash of the parameters, fused into the optimizer's
 * pass, and the control word without the wait for the other ranks. Both sides are measured in one run.
 *
 * usage: mpirun -n 2 --bind-to none build/release/bench/health [STEPS]       the chargpt of bench/train_step
 */
#include "nn/module.h"
#include "optim/optimizer.h"
#include "runtime/base/context.h"
#include "runtime/comm/agree.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tarn/tarn.h>

enum { BATCH = 8, TOKENS = 256, VOCABULARY = 65, PAIRS = 30 };

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, by_value);
    return count ? values[count / 2] : 0;
}

/* Seconds of an update of `count` values with the hash over those without it, in turns: the median, and *least of the
 * fastest, which a busy machine disturbs less. */
static double hash_seconds(tarn_context *context, int64_t count, double *plain, double *least)
{
    tarn_optimizer *optimizer = NULL;
    tarn_optim_range range = {0, count, true};
    float *values = calloc((size_t)count, sizeof *values), *gradient = calloc((size_t)count, sizeof *gradient);
    double with[PAIRS], without[PAIRS];
    if (!values || !gradient ||
        tarn_optimizer_create(&optimizer, context, &(tarn_optim_options){.kind = TARN_ADAMW}, count, &range, 1))
        return 0;
    for (int64_t i = 0; i < count; i++) {
        values[i] = (float)(i % 1013) * 1e-3f;
        gradient[i] = (float)(i % 911) * 1e-4f;
    }
    for (int i = 0; i < 2 * PAIRS; i++) {
        uint64_t hash;
        double begin = tarn_seconds();
        tarn_optimizer_update(optimizer, NULL, values, gradient, 1, 1, 1e-4, i / 2, NULL, i % 2 ? &hash : NULL, false);
        (i % 2 ? with : without)[i / 2] = tarn_seconds() - begin;
    }
    tarn_optimizer_destroy(optimizer);
    free(values);
    free(gradient);
    *plain = median(without, PAIRS);
    const double difference = median(with, PAIRS) - *plain;
    *least = with[0] - without[0]; /* sorted */
    return difference;
}

static tarn_status measure(tarn_context *context, int steps)
{
    static int32_t x[BATCH * TOKENS], y[BATCH * TOKENS];
    uint64_t state = 7;
    for (int i = 0; i < BATCH * TOKENS; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = (int32_t)((state >> 33) % VOCABULARY);
        y[i] = (int32_t)((state >> 43) % VOCABULARY);
    }
    tarn_sample_shape shape = {.input_dtype = TARN_I32,
                               .target_dtype = TARN_I32,
                               .input_ndim = 1,
                               .target_ndim = 1,
                               .input_shape = {TOKENS},
                               .target_shape = {TOKENS},
                               .classes = VOCABULARY};
    tarn_module *model;
    tarn_dataset *data;
    tarn_trainer *trainer;
    tarn_gpt_options gpt = {.layers = 6, .heads = 6, .width = 384, .context = TOKENS, .vocabulary = VOCABULARY};
    tarn_status status = tarn_gpt_create(&model, context, &gpt);
    if (!status) status = tarn_arrays_open(&data, context, BATCH, &shape, x, y);
    tarn_train_options options = {.model = model,
                                  .data = data,
                                  .steps = steps,
                                  .batch = BATCH,
                                  .shards = BATCH,
                                  .threads = 1,
                                  .optim = {.kind = TARN_ADAMW, .lr = 3e-4, .clip = 1.0}};
    if (!status) status = tarn_trainer_create(&trainer, context, &options);
    if (status) return status;
    double *step = calloc((size_t)steps, sizeof *step), *control = calloc((size_t)steps, sizeof *control);
    int done = 0;
    while (step && control && tarn_trainer_next(trainer)) {
        tarn_trainer_run_shards(trainer);
        if (tarn_optim_step(trainer)) break;
        step[done] = tarn_trainer_progress(trainer)->step_seconds;
        control[done++] = tarn_trainer_progress(trainer)->control_seconds;
    }
    status = tarn_trainer_finish(trainer);
    double plain = 0, least = 0;
    double hash = status ? 0 : hash_seconds(context, tarn_module_flat_count(model), &plain, &least);
    if (!status && tarn_rank(context) == 0) {
        double whole = median(step, done), word = median(control, done);
        printf("{\"ranks\": %d, \"isa\": \"%s\", \"params\": %lld, \"step_s\": %.6f, \"control_s\": %.6f, "
               "\"update_s\": %.6f, \"hash_s\": %.6f, \"percent_of_step\": %.3f, \"percent_of_fastest\": %.3f}\n",
               tarn_ranks(context), tarn_isa_name(context), (long long)tarn_module_numel(model), whole, word, plain,
               hash, 100 * (word + hash) / whole, 100 * (control[0] + least) / step[0]);
    }
    free(step);
    free(control);
    tarn_dataset_close(data);
    tarn_module_destroy(model);
    return status;
}

int main(int argc, char **argv)
{
    tarn_context *context;
    int steps = argc > 1 ? atoi(argv[1]) : 20;
    if (tarn_init(&context, &argc, &argv) == TARN_OK) measure(context, steps > 0 ? steps : 20);
    return tarn_exit(context);
}
