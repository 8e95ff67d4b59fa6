/* histograms.c - how the weights and the gradients of a step are spread, a histogram a parameter.
 *
 * Invariants
 *  1. Values are only read: training has the same bits with and without.
 *  2. The histogram is a function of the values alone, whatever the threads: counts are integers, and sums are taken
 *     over fixed blocks in their order.
 *  3. Of the gradient, it is the mean over the batch, before clipping, as train.gradient_norm is.
 *
 * Buckets grow by the float's own scale, two an octave over 16 octaves on either side, found in the bits of a value;
 * what is smaller lies in one bucket around zero.
 */
#include "nn/module.h"
#include "train/trainer.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SHIFT = 22,      /* bits of a float below its exponent and the first bit of its mantissa */
    SCALES = 512,    /* of magnitudes */
    KEPT = 32,       /* scales shown below the largest one */
    BLOCK = 1 << 16, /* values whose sums are taken in one go */
    MOST_BUCKETS = 2 * KEPT + 1
};

typedef struct block_sums {
    double sum, squares;
    float min, max;
} block_sums;

typedef struct spread {
    const float *values;
    int64_t count;
    double scale;
    block_sums *blocks;
    int64_t (*scales)[2][SCALES]; /* a member of the team each: positive and negative values */
} spread;

static void count_block(const spread *work, int64_t block, uint32_t scales[2][SCALES], block_sums *sums)
{
    int64_t begin = block * BLOCK, end = begin + BLOCK < work->count ? begin + BLOCK : work->count;
    *sums = (block_sums){.min = INFINITY, .max = -INFINITY};
    for (int64_t i = begin; i < end; i++) {
        double wide = (double)work->values[i] * work->scale;
        float value = (float)wide;
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        uint32_t negative = bits >> 31;
        bits &= 0x7fffffffu;
        /* Buckets hold their upper ends: of positive values the larger one, of negative ones the smaller. */
        scales[negative][(bits - (bits && !negative)) >> SHIFT]++;
        sums->sum += value;
        sums->squares += (double)value * value;
        sums->min = value < sums->min ? value : sums->min;
        sums->max = value > sums->max ? value : sums->max;
    }
}

static void count_blocks(void *argument, int64_t begin, int64_t end, int member)
{
    const spread *work = argument;
    uint32_t scales[2][SCALES];
    for (int64_t block = begin; block < end; block++) {
        memset(scales, 0, sizeof scales);
        count_block(work, block, scales, &work->blocks[block]);
        for (int sign = 0; sign < 2; sign++)
            for (int scale = 0; scale < SCALES; scale++) work->scales[member][sign][scale] += scales[sign][scale];
    }
}

static double magnitude(int scale)
{
    uint32_t bits = (uint32_t)scale << SHIFT;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value < FLT_MAX ? (double)value : (double)FLT_MAX;
}

/* The buckets from the first to the last that holds something; their number. */
static int make_buckets(int64_t scales[2][SCALES], double limits[MOST_BUCKETS], int64_t counts[MOST_BUCKETS])
{
    int top = 0, used = 0, last = 0;
    for (int scale = 0; scale < SCALES; scale++)
        if (scales[0][scale] || scales[1][scale]) top = scale;
    int low = top >= KEPT ? top - KEPT + 1 : 1;
    for (int scale = top; scale >= low; scale--) {
        limits[used] = -magnitude(scale);
        counts[used] = scales[1][scale];
        if (used || counts[used]) used++;
    }
    limits[used] = magnitude(low);
    counts[used] = 0;
    for (int scale = 0; scale < low; scale++) counts[used] += scales[0][scale] + scales[1][scale];
    used++;
    for (int scale = low; scale <= top; scale++) {
        limits[used] = magnitude(scale + 1);
        counts[used++] = scales[0][scale];
    }
    int first = 0;
    while (first < used - 1 && !counts[first]) first++;
    for (int i = first; i < used; i++)
        if (counts[i]) last = i;
    used = last >= first ? last - first + 1 : 1;
    memmove(limits, limits + first, (size_t)used * sizeof *limits);
    memmove(counts, counts + first, (size_t)used * sizeof *counts);
    return used;
}

static void log_one(tarn_trainer *trainer, const char *kind, const char *name, spread *work)
{
    int members = tarn_workers_count(trainer->workers);
    int64_t blocks = (work->count + BLOCK - 1) / BLOCK, counts[MOST_BUCKETS + 1];
    double limits[MOST_BUCKETS + 1];
    char key[300]; /* MLflow takes 250 */
    memset(work->scales, 0, (size_t)members * sizeof *work->scales);
    tarn_workers_for(trainer->workers, blocks, 1, count_blocks, work);
    tarn_histogram histogram = {.count = work->count, .limits = limits, .counts = counts};
    histogram.min = INFINITY;
    histogram.max = -INFINITY;
    for (int64_t block = 0; block < blocks; block++) {
        const block_sums *sums = &work->blocks[block];
        histogram.sum += sums->sum;
        histogram.sum_squares += sums->squares;
        if (sums->min < histogram.min) histogram.min = sums->min;
        if (sums->max > histogram.max) histogram.max = sums->max;
    }
    for (int member = 1; member < members; member++)
        for (int sign = 0; sign < 2; sign++)
            for (int scale = 0; scale < SCALES; scale++)
                work->scales[0][sign][scale] += work->scales[member][sign][scale];
    histogram.buckets = make_buckets(work->scales[0], limits, counts);
    snprintf(key, sizeof key, "%s/%s", kind, name);
    tarn_log_histogram(trainer->tracker, key, &histogram, trainer->progress.step);
}

void tarn_trainer_track_histograms(tarn_trainer *trainer, const float *gradient, double total)
{
    int64_t every = trainer->options.histograms_every, most = 0;
    if (every < 1 || trainer->progress.step % every || !trainer->tracker || tarn_rank(trainer->context) != 0) return;
    tarn_monitor_enter(trainer->context, "histograms of weights and gradients");
    int parameters = tarn_module_parameter_count(trainer->model);
    tarn_parameter_info info;
    for (int i = 0; i < parameters; i++)
        if (tarn_module_parameter_at(trainer->model, i, &info) && !info.frozen && info.numel > most) most = info.numel;
    if (!most) return;
    spread work = {.blocks = malloc((size_t)((most + BLOCK - 1) / BLOCK) * sizeof *work.blocks),
                   .scales = malloc((size_t)tarn_workers_count(trainer->workers) * sizeof *work.scales)};
    if (!work.blocks || !work.scales)
        tarn_log(trainer->context, TARN_LOG_WARN, "no memory for the histograms of step %lld: left out",
                 (long long)trainer->progress.step);
    for (int i = 0; i < parameters && work.blocks && work.scales; i++) {
        if (!tarn_module_parameter_at(trainer->model, i, &info) || info.frozen || !info.numel) continue;
        work.count = info.numel;
        work.values = info.values;
        work.scale = 1;
        log_one(trainer, "weights", info.name, &work);
        work.values = gradient + info.offset;
        work.scale = 1 / total;
        log_one(trainer, "gradients", info.name, &work);
    }
    free(work.blocks);
    free(work.scales);
}
