/* optimizer.c - the optimizer's state and its update: one pass over the flat buffers, spread over the workers.
 *
 * Invariants
 *  1. The update of a value depends on its own gradient, moments and value and on factors computed once in double: the
 *     bits do not depend on workers, chunks or the ISA.
 *  2. An update that is refused (a status is returned) has changed nothing.
 *  3. The hash is a sum over chunks of 4096 values, each hashed with its number: no order, no number of workers in it.
 *     It covers all values, and of the moments one chunk in 16, another sixteenth each step: hashing them all would
 *     triple its cost, and a moment that differs moves its value, sooner or later.
 */
#include "optim/optimizer.h"

#include "optim/update.h"
#include "runtime/base/context.h"
#include "runtime/base/portable_math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK       4096 /* values; also the unit of the hash */
#define MOMENT_TURN 16   /* steps in which every chunk of the moments is hashed once */
#define CLIP_MARGIN 1e-6 /* torch.nn.utils.clip_grad_norm_'s */

struct tarn_optimizer {
    tarn_context *context;
    tarn_optim_options options; /* resolved */
    int64_t count;
    tarn_optim_range *ranges;
    int range_count;
    float *first, *second; /* AdamW: m, v; SGD with momentum: momentum, NULL; plain SGD: neither */
};

void tarn_optim_resolve(const tarn_optim_options *options, tarn_optim_options *resolved)
{
    *resolved = options ? *options : (tarn_optim_options){0};
    bool adamw = resolved->kind == TARN_ADAMW;
    if (resolved->lr == 0) resolved->lr = adamw ? 1e-3 : 1e-2;
    if (!adamw) return;
    if (resolved->beta1 == 0) resolved->beta1 = 0.9;
    if (resolved->beta2 == 0) resolved->beta2 = 0.999;
    if (resolved->epsilon == 0) resolved->epsilon = 1e-8;
}

/* ---- making ----------------------------------------------------------------------------------------------------- */

static tarn_status check_options(tarn_context *context, const tarn_optim_options *options)
{
    const struct {
        const char *name, *expected;
        double value;
        bool good;
    } rules[] = {
        {"lr", "finite and above 0", options->lr, options->lr > 0 && isfinite(options->lr)},
        {"momentum", "in [0, 1)", options->momentum, options->momentum >= 0 && options->momentum < 1},
        {"beta1", "in (0, 1), or 0 for 0.9", options->beta1, options->beta1 >= 0 && options->beta1 < 1},
        {"beta2", "in (0, 1), or 0 for 0.999", options->beta2, options->beta2 >= 0 && options->beta2 < 1},
        {"epsilon", "finite and above 0, or 0 for 1e-8", options->epsilon,
         options->kind != TARN_ADAMW || ((float)options->epsilon > 0 && isfinite((float)options->epsilon))},
        {"weight_decay", "finite and not negative", options->weight_decay,
         options->weight_decay >= 0 && isfinite(options->weight_decay)},
        {"clip", "finite and not negative (0 = no clipping)", options->clip,
         options->clip >= 0 && isfinite(options->clip)},
    };
    if (options->kind != TARN_ADAMW && options->kind != TARN_SGD)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "optim: kind %d is unknown; use TARN_ADAMW or TARN_SGD", (int)options->kind);
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (!rules[i].good)
            return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "optim: %s is %g; it must be %s", rules[i].name,
                             rules[i].value, rules[i].expected);
    if (options->kind == TARN_SGD && options->nesterov && options->momentum == 0)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE,
                         "optim: nesterov needs a momentum above 0; set momentum, or leave nesterov out");
    return TARN_OK;
}

static tarn_status check_ranges(tarn_context *context, int64_t count, const tarn_optim_range *ranges, int range_count)
{
    int64_t at = 0;
    for (int i = 0; i < range_count; i++) {
        if (ranges[i].begin != at || ranges[i].end <= at)
            return tarn_fail(context, TARN_ERROR_INTERNAL, TARN_HERE,
                             "optimizer: range %d is [%lld, %lld), it should begin at %lld", i,
                             (long long)ranges[i].begin, (long long)ranges[i].end, (long long)at);
        at = ranges[i].end;
    }
    if (at != count)
        return tarn_fail(context, TARN_ERROR_INTERNAL, TARN_HERE, "optimizer: the ranges end at %lld of %lld values",
                         (long long)at, (long long)count);
    return TARN_OK;
}

static float *zeros(int64_t count)
{
    size_t bytes = (size_t)(count > 0 ? (count + 15) / 16 * 16 : 16) * sizeof(float);
    float *buffer = aligned_alloc(64, bytes);
    if (buffer) memset(buffer, 0, bytes);
    return buffer;
}

tarn_status tarn_optimizer_create(tarn_optimizer **out, tarn_context *context, const tarn_optim_options *options,
                                  int64_t count, const tarn_optim_range *ranges, int range_count)
{
    *out = NULL;
    tarn_optim_options resolved;
    tarn_optim_resolve(options, &resolved);
    tarn_status status = check_options(context, &resolved);
    if (!status) status = check_ranges(context, count, ranges, range_count);
    if (status) return status;
    tarn_optimizer *optimizer = calloc(1, sizeof *optimizer);
    if (!optimizer) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "optimizer: out of memory");
    optimizer->context = context;
    optimizer->options = resolved;
    optimizer->count = count;
    optimizer->range_count = range_count;
    optimizer->ranges = malloc((size_t)(range_count + 1) * sizeof *optimizer->ranges);
    bool wants_first = resolved.kind == TARN_ADAMW || resolved.momentum > 0, wants_second = resolved.kind == TARN_ADAMW;
    if (wants_first) optimizer->first = zeros(count);
    if (wants_second) optimizer->second = zeros(count);
    if (!optimizer->ranges || (wants_first && !optimizer->first) || (wants_second && !optimizer->second)) {
        tarn_optimizer_destroy(optimizer);
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE,
                         "optimizer: no memory for the moments of %lld values; SGD without momentum needs none",
                         (long long)count);
    }
    if (range_count) memcpy(optimizer->ranges, ranges, (size_t)range_count * sizeof *ranges);
    *out = optimizer;
    return TARN_OK;
}

void tarn_optimizer_destroy(tarn_optimizer *optimizer)
{
    if (!optimizer) return;
    free(optimizer->ranges);
    free(optimizer->first);
    free(optimizer->second);
    free(optimizer);
}

int tarn_optimizer_states(const tarn_optimizer *optimizer, const char *names[4], float *buffers[4])
{
    int states = 0;
    if (optimizer->first) {
        names[states] = optimizer->second ? "m" : "momentum";
        buffers[states++] = optimizer->first;
    }
    if (optimizer->second) {
        names[states] = "v";
        buffers[states++] = optimizer->second;
    }
    return states;
}

/* ---- update ----------------------------------------------------------------------------------------------------- */

typedef struct update_job {
    const tarn_optimizer *optimizer;
    const tarn_update_kernels *kernels;
    float *values;
    const float *gradient;
    tarn_adamw_factors adamw[2]; /* [decay] */
    tarn_sgd_factors sgd[2];
    bool hashing, whole;
    int64_t turn;  /* chunks whose number is this modulo MOMENT_TURN have their moments hashed */
    uint64_t hash; /* added to atomically: a sum of integers has no order */
} update_job;

static const tarn_update_kernels *choose_kernels(tarn_isa isa)
{
#if defined(__x86_64__)
    if (isa == TARN_ISA_AVX512) return &tarn_update_avx512;
    if (isa == TARN_ISA_AVX2) return &tarn_update_avx2;
#endif
    (void)isa;
    return &tarn_update_scalar;
}

/* The finaliser of splitmix64 (Steele et al. 2014): chunks of equal content at different places differ. */
static uint64_t mix(uint64_t hash, int64_t chunk)
{
    uint64_t x = hash + ((uint64_t)chunk + 1) * 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static void update_stretch(const update_job *job, int64_t begin, int64_t end, bool decay)
{
    const tarn_optimizer *optimizer = job->optimizer;
    float *values = job->values + begin, *first = optimizer->first ? optimizer->first + begin : NULL;
    const float *gradient = job->gradient + begin;
    if (optimizer->options.kind == TARN_ADAMW)
        job->kernels->adamw(&job->adamw[decay], end - begin, values, first, optimizer->second + begin, gradient);
    else
        job->kernels->sgd(&job->sgd[decay], end - begin, values, first, gradient);
}

/* Of one chunk, while it is in the first-level cache. */
static uint64_t hash_chunk(const update_job *job, int64_t at, int64_t count)
{
    const tarn_optimizer *optimizer = job->optimizer;
    int64_t chunk = at / CHUNK, chunks = (optimizer->count + CHUNK - 1) / CHUNK;
    uint64_t hash = mix(job->kernels->hash(job->values + at, count), chunk);
    if (!job->whole && chunk % MOMENT_TURN != job->turn) return hash;
    if (optimizer->first) hash += mix(job->kernels->hash(optimizer->first + at, count), chunks + chunk);
    if (optimizer->second) hash += mix(job->kernels->hash(optimizer->second + at, count), 2 * chunks + chunk);
    return hash;
}

/* Values [begin, end): begins at a multiple of CHUNK. */
static void update_piece(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    update_job *job = argument;
    const tarn_optim_range *range = job->optimizer->ranges;
    uint64_t hash = 0;
    for (int64_t at = begin; at < end; at += CHUNK) {
        int64_t stop = end - at < CHUNK ? end : at + CHUNK;
        for (int64_t from = at; from < stop;) {
            while (range->end <= from) range++;
            int64_t to = range->end < stop ? range->end : stop;
            update_stretch(job, from, to, range->decay);
            from = to;
        }
        if (job->hashing) hash += hash_chunk(job, at, stop - at);
    }
    if (job->hashing) __atomic_fetch_add(&job->hash, hash, __ATOMIC_RELAXED);
}

/* All in double, then rounded once: t = step + 1, corrections of Kingma and Ba 2015. */
static void compute_factors(update_job *job, double scale, double lr, int64_t step)
{
    const tarn_optim_options *options = &job->optimizer->options;
    for (int decay = 0; decay < 2; decay++) {
        double weight_decay = decay ? options->weight_decay : 0.0;
        job->sgd[decay] = (tarn_sgd_factors){(float)scale, (float)weight_decay, (float)options->momentum, (float)lr,
                                             options->nesterov};
        job->adamw[decay] = (tarn_adamw_factors){
            .scale = (float)scale,
            .beta1 = (float)options->beta1,
            .one_minus_beta1 = (float)(1.0 - options->beta1),
            .beta2 = (float)options->beta2,
            .one_minus_beta2 = (float)(1.0 - options->beta2),
            .inverse_root = (float)(1.0 / tarn_math_sqrt(1.0 - tarn_math_pow_int(options->beta2, step + 1))),
            .epsilon = (float)options->epsilon,
            .step_size = (float)(lr / (1.0 - tarn_math_pow_int(options->beta1, step + 1))),
            .keep = (float)(1.0 - lr * weight_decay)};
    }
}

tarn_status tarn_optimizer_update(tarn_optimizer *optimizer, tarn_workers *workers, float *values,
                                  const float *gradient, double sum_of_squares, double total, double lr, int64_t step,
                                  double *norm, uint64_t *hash, bool whole)
{
    tarn_context *context = optimizer->context;
    if (!(total > 0) || !isfinite(total) || !isfinite(lr) || lr < 0 || step < 0)
        return tarn_fail(
            context, TARN_ERROR_ARGUMENT, TARN_HERE,
            "optimizer: step %lld with learning rate %g over %g samples or tokens; the first two must not be "
            "negative, and the batch needs at least one valid target",
            (long long)step, lr, total);
    double mean_norm = tarn_math_sqrt(sum_of_squares) / total;
    if (!isfinite(mean_norm))
        return tarn_fail(
            context, TARN_ERROR_NUMERIC, TARN_HERE,
            "step %lld: the gradient is not finite; the parameters were left as they are. Lower optim.lr, set "
            "optim.clip, or look for NaN in the data",
            (long long)step);
    double factor = 1.0, clip = optimizer->options.clip;
    if (clip > 0 && clip / (mean_norm + CLIP_MARGIN) < 1.0) factor = clip / (mean_norm + CLIP_MARGIN);
    update_job job = {.optimizer = optimizer,
                      .kernels = choose_kernels(context->isa),
                      .values = values,
                      .gradient = gradient,
                      .hashing = hash != NULL,
                      .whole = whole,
                      .turn = step % MOMENT_TURN};
    compute_factors(&job, factor / total, lr, step);
    if (workers) {
        tarn_workers_for(workers, optimizer->count, CHUNK, update_piece, &job);
    } else {
        unsigned saved = tarn_float_environment_enter();
        update_piece(&job, 0, optimizer->count, 0);
        tarn_float_environment_leave(saved);
    }
    if (norm) *norm = mean_norm;
    if (hash) *hash = job.hash;
    return TARN_OK;
}
