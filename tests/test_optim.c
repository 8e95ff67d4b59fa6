/* test_optim.c - updates against PyTorch's numbers and against the formulas in double; the same bits from every ISA,
 * number of workers and split into ranges; clipping, hash, what is refused; schedules. */
#include "optim/optimizer.h"
#include "optim/update.h"
#include "runtime/base/context.h"
#include "tests/optim_golden.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static tarn_context *context;

static void quiet(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    (void)level;
    (void)line;
}

static void start(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, quiet, NULL);
}

static void end(void)
{
    tarn_exit(context);
}

TestSuite(optimizer, .init = start, .fini = end);

static void expect_error(tarn_status got, tarn_status wanted, const char *text)
{
    cr_assert_eq(got, wanted, "status %s, wanted %s", tarn_status_name(got), tarn_status_name(wanted));
    const tarn_error *error = tarn_get_error(context);
    cr_assert(error && strstr(error->message, text), "\"%s\" does not say \"%s\"", error ? error->message : "", text);
    tarn_error_clear(context);
}

static double squares(const float *gradient, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)gradient[i] * gradient[i];
    return sum;
}

/* Fractions that a generator gives, in [-2, 2). */
static void scatter(float *out, int64_t n, uint32_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t x = ((uint32_t)i + seed * 7919u) * 2654435761u;
        x ^= x >> 15;
        x *= 2246822519u;
        out[i] = (float)(int32_t)(x ^ (x >> 13)) * 0x1p-30f;
    }
}

/* ---- against PyTorch -------------------------------------------------------------------------------------------- */

Test(optimizer, equals_pytorch)
{
    const tarn_optim_range ranges[] = {{0, GOLDEN_DECAYED, true}, {GOLDEN_DECAYED, GOLDEN_COUNT, false}};
    for (size_t c = 0; c < sizeof goldens / sizeof *goldens; c++) {
        const struct golden *golden = &goldens[c];
        tarn_optimizer *optimizer;
        cr_assert_eq(tarn_optimizer_create(&optimizer, context, &golden->options, GOLDEN_COUNT, ranges, 2), TARN_OK);
        float values[GOLDEN_COUNT], gradient[GOLDEN_COUNT];
        for (int i = 0; i < GOLDEN_COUNT; i++) values[i] = (float)((i * 29 + 5) % 64 - 32) / 64;
        for (int step = 0; step < GOLDEN_STEPS; step++) {
            for (int i = 0; i < GOLDEN_COUNT; i++)
                gradient[i] = (float)((i * 37 + step * 101 + i * step * 7 + 17) % 256 - 128) / 64;
            cr_assert_eq(tarn_optimizer_update(optimizer, NULL, values, gradient, squares(gradient, GOLDEN_COUNT),
                                               GOLDEN_TOTAL, golden->options.lr, step, NULL, NULL, false),
                         TARN_OK);
        }
        for (int i = 0; i < GOLDEN_COUNT; i++)
            cr_assert_float_eq(values[i], golden->values[i], 1e-6, "%s[%d]: %.9g, PyTorch %.9g", golden->name, i,
                               values[i], golden->values[i]);
        tarn_optimizer_destroy(optimizer);
    }
}

/* ---- against the formulas in double ----------------------------------------------------------------------------- */

typedef struct trial {
    const char *name;
    tarn_optim_options options;
} trial;

static const trial trials[] = {
    {"adamw", {.kind = TARN_ADAMW, .lr = 1e-3, .weight_decay = 0.1, .clip = 1}},
    {"sgd", {.kind = TARN_SGD, .lr = 0.1, .weight_decay = 0.01}},
    {"momentum", {.kind = TARN_SGD, .lr = 0.05, .momentum = 0.9, .clip = 0.5}},
    {"nesterov", {.kind = TARN_SGD, .lr = 0.05, .momentum = 0.9, .nesterov = true, .weight_decay = 0.02}},
};
enum { TRIALS = sizeof trials / sizeof *trials };

static double update_in_double(const tarn_optim_options *o, double p, double g, double *m, double *v, int step,
                               bool decay)
{
    double wd = decay ? o->weight_decay : 0;
    if (o->kind == TARN_ADAMW) {
        *m = o->beta1 * *m + (1 - o->beta1) * g;
        *v = o->beta2 * *v + (1 - o->beta2) * g * g;
        double mean = *m / (1 - pow(o->beta1, step + 1)), second = *v / (1 - pow(o->beta2, step + 1));
        return p - o->lr * wd * p - o->lr * mean / (sqrt(second) + o->epsilon);
    }
    g += wd * p;
    *m = o->momentum * *m + g;
    return p - o->lr * (o->nesterov ? g + o->momentum * *m : *m);
}

Test(optimizer, equals_the_formulas_in_double)
{
    enum { N = 1000, STEPS = 25 };
    const tarn_optim_range ranges[] = {{0, 17, false}, {17, 600, true}, {600, N, false}};
    const double total = 96;
    static float values[N], gradient[N];
    static double p[N], m[N], v[N];
    for (int t = 0; t < TRIALS; t++) {
        tarn_optim_options options;
        tarn_optim_resolve(&trials[t].options, &options);
        tarn_optimizer *optimizer;
        cr_assert_eq(tarn_optimizer_create(&optimizer, context, &options, N, ranges, 3), TARN_OK);
        scatter(values, N, 1);
        for (int i = 0; i < N; i++) p[i] = values[i], m[i] = v[i] = 0;
        for (int step = 0; step < STEPS; step++) {
            scatter(gradient, N, (uint32_t)step + 2);
            double norm, expected = sqrt(squares(gradient, N)) / total, factor = options.clip / (expected + 1e-6);
            if (options.clip == 0 || factor > 1) factor = 1;
            for (int i = 0; i < N; i++)
                p[i] = update_in_double(&options, p[i], factor * gradient[i] / total, &m[i], &v[i], step,
                                        i >= 17 && i < 600);
            cr_assert_eq(tarn_optimizer_update(optimizer, NULL, values, gradient, squares(gradient, N), total,
                                               options.lr, step, &norm, NULL, false),
                         TARN_OK);
            cr_assert_float_eq(norm, expected, 1e-12 * expected);
        }
        for (int i = 0; i < N; i++)
            cr_assert_float_eq(values[i], p[i], 2e-6, "%s[%d]: %.9g, in double %.9g", trials[t].name, i, values[i],
                               p[i]);
        tarn_optimizer_destroy(optimizer);
    }
}

Test(optimizer, clips_as_pytorch_does)
{
    /* Plain SGD with lr 1 on zeros: the values are the clipped mean gradient, negated. Norm 2.5 of the mean. */
    const float gradient[4] = {6, 8, 0, 0};
    static const struct {
        double clip, factor;
    } cases[] = {{0, 1}, {3, 1}, {2.5, 2.5 / (2.5 + 1e-6)}, {1, 1 / (2.5 + 1e-6)}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        tarn_optimizer *optimizer;
        tarn_optim_options options = {.kind = TARN_SGD, .clip = cases[c].clip};
        cr_assert_eq(tarn_optimizer_create(&optimizer, context, &options, 4, &(tarn_optim_range){0, 4, true}, 1),
                     TARN_OK);
        float values[4] = {0};
        double norm;
        cr_assert_eq(tarn_optimizer_update(optimizer, NULL, values, gradient, 100, 4, 1, 0, &norm, NULL, false),
                     TARN_OK);
        cr_assert_float_eq(norm, 2.5, 1e-15);
        float scale = (float)(cases[c].factor / 4);
        cr_assert(values[0] == -6 * scale && values[1] == -8 * scale, "clip %g: %.9g", cases[c].clip, values[0]);
        tarn_optimizer_destroy(optimizer);
    }
}

/* ---- the same bits ---------------------------------------------------------------------------------------------- */

typedef struct outcome {
    float *bytes; /* values, then states */
    int64_t count;
    uint64_t hash;
} outcome;

/* Five updates of n values by so many workers (0: none), the middle of them without decay. */
static outcome run(const tarn_optim_options *options, int64_t n, int workers_count, tarn_isa isa)
{
    const tarn_optim_range ranges[] = {{0, n / 3, true}, {n / 3, n / 2, false}, {n / 2, n, true}};
    tarn_optimizer *optimizer;
    tarn_workers *workers = NULL;
    tarn_isa before = context->isa;
    context->isa = isa;
    cr_assert_eq(tarn_optimizer_create(&optimizer, context, options, n, ranges, 3), TARN_OK);
    if (workers_count) cr_assert_eq(tarn_workers_create(&workers, context, workers_count), TARN_OK);
    outcome result = {malloc((size_t)(3 * n) * sizeof(float)), n, 0};
    float *gradient = malloc((size_t)n * sizeof *gradient);
    scatter(result.bytes, n, 1);
    for (int step = 0; step < 5; step++) {
        scatter(gradient, n, (uint32_t)step + 2);
        for (int64_t i = 0; i < n; i += 97) gradient[i] = i % 2 ? 1e-30f : 0; /* v underflows */
        cr_assert_eq(tarn_optimizer_update(optimizer, workers, result.bytes, gradient, squares(gradient, n), 32, 1e-2,
                                           step, NULL, &result.hash, false),
                     TARN_OK);
    }
    const char *names[4];
    float *states[4];
    int count = tarn_optimizer_states(optimizer, names, states);
    for (int s = 0; s < count; s++, result.count += n)
        memcpy(result.bytes + result.count, states[s], (size_t)n * sizeof(float));
    free(gradient);
    tarn_workers_destroy(workers);
    tarn_optimizer_destroy(optimizer);
    context->isa = before;
    return result;
}

static void expect_same(const outcome *a, const outcome *b, const char *name, const char *what, int number)
{
    cr_assert_eq(a->count, b->count);
    cr_assert_eq(memcmp(a->bytes, b->bytes, (size_t)a->count * sizeof(float)), 0, "%s: bits differ, %s %d", name, what,
                 number);
    cr_assert_eq(a->hash, b->hash, "%s: hash differs, %s %d", name, what, number);
}

Test(optimizer, every_isa_gives_the_same_bits)
{
    static const int64_t counts[] = {5, 15, 33, 1000, 4096, 4097, 20011};
    cr_log_info("best ISA here: %s", tarn_isa_name(context));
    for (int t = 0; t < TRIALS; t++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            outcome scalar = run(&trials[t].options, counts[c], 0, TARN_ISA_SCALAR);
            for (int isa = TARN_ISA_AVX2; isa <= (int)context->isa; isa++) {
                outcome fast = run(&trials[t].options, counts[c], 0, (tarn_isa)isa);
                expect_same(&scalar, &fast, trials[t].name, "ISA", isa);
                free(fast.bytes);
            }
            free(scalar.bytes);
        }
}

Test(optimizer, any_number_of_workers_gives_the_same_bits)
{
    static const int64_t counts[] = {48, 5 * 4096 + 16, 77777};
    for (int t = 0; t < TRIALS; t++)
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
            outcome alone = run(&trials[t].options, counts[c], 0, context->isa);
            for (int workers = 1; workers <= 5; workers++) {
                outcome shared = run(&trials[t].options, counts[c], workers, context->isa);
                expect_same(&alone, &shared, trials[t].name, "workers", workers);
                free(shared.bytes);
            }
            free(alone.bytes);
        }
}

Test(optimizer, padding_stays_zero)
{
    for (int t = 0; t < TRIALS; t++) {
        tarn_optimizer *optimizer;
        float values[64] = {0}, gradient[64] = {0};
        static const float zeros[64];
        for (int i = 0; i < 20; i++) values[i] = 1, gradient[i] = (float)i - 10;
        cr_assert_eq(
            tarn_optimizer_create(&optimizer, context, &trials[t].options, 64, &(tarn_optim_range){0, 64, true}, 1),
            TARN_OK);
        for (int step = 0; step < 10; step++)
            cr_assert_eq(tarn_optimizer_update(optimizer, NULL, values, gradient, 670, 2, 0.1, step, NULL, NULL, false),
                         TARN_OK);
        const char *names[4];
        float *states[4];
        int count = tarn_optimizer_states(optimizer, names, states);
        cr_assert_eq(memcmp(values + 20, zeros, 44 * sizeof(float)), 0, "%s", trials[t].name);
        for (int s = 0; s < count; s++) cr_assert_eq(memcmp(states[s] + 20, zeros, 44 * sizeof(float)), 0);
        tarn_optimizer_destroy(optimizer);
    }
}

Test(optimizer, hash_notices_any_bit_and_any_exchange)
{
    enum { N = 3 * 4096 + 80 };
    static float values[N], gradient[N];
    tarn_optimizer *optimizer;
    tarn_optim_options options = {.kind = TARN_SGD};
    cr_assert_eq(tarn_optimizer_create(&optimizer, context, &options, N, &(tarn_optim_range){0, N, false}, 1), TARN_OK);
    scatter(values, N, 1);
    memcpy(values + 4096, values, 4096 * sizeof *values); /* two chunks of equal content */
    uint64_t first, again, changed;
    cr_assert_eq(tarn_optimizer_update(optimizer, NULL, values, gradient, 0, 1, 0, 0, NULL, &first, false), TARN_OK);
    static const int places[] = {0, 1, 4095, 4096, 8191, 8192, N - 1};
    for (size_t k = 0; k < sizeof places / sizeof *places; k++)
        for (int bit = 0; bit < 32; bit += 31) {
            uint32_t word;
            memcpy(&word, &values[places[k]], 4);
            word ^= 1u << bit;
            memcpy(&values[places[k]], &word, 4);
            tarn_optimizer_update(optimizer, NULL, values, gradient, 0, 1, 0, 1, NULL, &changed, false);
            cr_assert_neq(first, changed, "value %d, bit %d", places[k], bit);
            word ^= 1u << bit;
            memcpy(&values[places[k]], &word, 4);
        }
    tarn_optimizer_update(optimizer, NULL, values, gradient, 0, 1, 0, 1, NULL, &again, false);
    cr_assert_eq(first, again);
    for (int i = 0; i < 4096; i++) { /* chunks 1 and 2 exchanged */
        float kept = values[4096 + i];
        values[4096 + i] = values[8192 + i];
        values[8192 + i] = kept;
    }
    tarn_optimizer_update(optimizer, NULL, values, gradient, 0, 1, 0, 1, NULL, &changed, false);
    cr_assert_neq(first, changed);
    tarn_optimizer_destroy(optimizer);
}

Test(optimizer, the_whole_hash_notices_every_moment_at_any_step)
{
    enum { N = 20 * 4096 + 80 };
    static float values[N], gradient[N];
    tarn_optimizer *optimizer;
    tarn_optim_options options = {.kind = TARN_ADAMW};
    cr_assert_eq(tarn_optimizer_create(&optimizer, context, &options, N, &(tarn_optim_range){0, N, false}, 1), TARN_OK);
    const char *names[4];
    float *moments[4];
    cr_assert_eq(tarn_optimizer_states(optimizer, names, moments), 2);
    uint64_t before, after;
    int missed = 0;
    for (int chunk = 0; chunk < 21; chunk++)
        for (int which = 0; which < 2; which++)
            for (int whole = 0; whole < 2; whole++) {
                float *element = &moments[which][chunk * 4096 + 5];
                *element = 0;
                tarn_optimizer_update(optimizer, NULL, values, gradient, 0, 1, 0, 3, NULL, &before, whole);
                *element = 1e-20f; /* no update of the value comes of it: the rate is 0 */
                tarn_optimizer_update(optimizer, NULL, values, gradient, 0, 1, 0, 3, NULL, &after, whole);
                if (whole) cr_assert_neq(before, after, "chunk %d, %s", chunk, names[which]);
                missed += !whole && before == after;
                *element = 0;
            }
    cr_assert_eq(missed, 2 * (21 - 2),
                 "the hash of one step covers the moments of one chunk in sixteen, here number 3 and 19");
    tarn_optimizer_destroy(optimizer);
}

/* ---- states, refusals ------------------------------------------------------------------------------------------- */

Test(optimizer, states_have_names)
{
    static const struct {
        tarn_optim_options options;
        int count;
        const char *names[2];
    } cases[] = {{{.kind = TARN_ADAMW}, 2, {"m", "v"}},
                 {{.kind = TARN_SGD, .momentum = 0.5}, 1, {"momentum", NULL}},
                 {{.kind = TARN_SGD}, 0, {NULL, NULL}}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        tarn_optimizer *optimizer;
        const char *names[4];
        float *states[4];
        cr_assert_eq(tarn_optimizer_create(&optimizer, context, &cases[c].options, 0, NULL, 0), TARN_OK);
        cr_assert_eq(tarn_optimizer_states(optimizer, names, states), cases[c].count);
        for (int s = 0; s < cases[c].count; s++) cr_assert_str_eq(names[s], cases[c].names[s]);
        tarn_optimizer_destroy(optimizer);
    }
    tarn_optim_options resolved;
    tarn_optim_resolve(NULL, &resolved);
    cr_assert(resolved.lr == 1e-3 && resolved.beta1 == 0.9 && resolved.beta2 == 0.999 && resolved.epsilon == 1e-8);
}

Test(optimizer, refuses_options)
{
    static const struct {
        tarn_optim_options options;
        const char *says;
    } cases[] = {{{.lr = -1}, "lr is -1"},
                 {{.lr = NAN}, "lr is"},
                 {{.beta1 = 1}, "beta1 is 1"},
                 {{.beta2 = -0.5}, "beta2 is -0.5"},
                 {{.epsilon = 1e-60}, "epsilon"},
                 {{.weight_decay = -0.1}, "weight_decay"},
                 {{.clip = -1}, "clip is -1"},
                 {{.kind = TARN_SGD, .momentum = 1}, "momentum is 1"},
                 {{.kind = TARN_SGD, .nesterov = true}, "nesterov needs"},
                 {{.kind = (tarn_optim_kind)7}, "kind 7"}};
    tarn_optimizer *optimizer;
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        expect_error(tarn_optimizer_create(&optimizer, context, &cases[c].options, 0, NULL, 0), TARN_ERROR_ARGUMENT,
                     cases[c].says);
    const tarn_optim_range gap[] = {{0, 16, true}, {32, 48, false}};
    expect_error(tarn_optimizer_create(&optimizer, context, NULL, 48, gap, 2), TARN_ERROR_INTERNAL, "begin at 16");
    expect_error(tarn_optimizer_create(&optimizer, context, NULL, 48, gap, 1), TARN_ERROR_INTERNAL, "end at 16 of 48");
}

Test(optimizer, refuses_an_update_and_changes_nothing)
{
    tarn_optimizer *optimizer;
    float values[16], kept[16], gradient[16] = {1};
    scatter(values, 16, 1);
    memcpy(kept, values, sizeof kept);
    cr_assert_eq(tarn_optimizer_create(&optimizer, context, NULL, 16, &(tarn_optim_range){0, 16, true}, 1), TARN_OK);
    expect_error(tarn_optimizer_update(optimizer, NULL, values, gradient, NAN, 1, 1e-3, 6, NULL, NULL, false),
                 TARN_ERROR_NUMERIC, "step 6: the gradient is not finite");
    expect_error(tarn_optimizer_update(optimizer, NULL, values, gradient, INFINITY, 1, 1e-3, 0, NULL, NULL, false),
                 TARN_ERROR_NUMERIC, "not finite");
    expect_error(tarn_optimizer_update(optimizer, NULL, values, gradient, 1, 0, 1e-3, 0, NULL, NULL, false),
                 TARN_ERROR_ARGUMENT, "valid target");
    expect_error(tarn_optimizer_update(optimizer, NULL, values, gradient, 1, 1, NAN, 0, NULL, NULL, false),
                 TARN_ERROR_ARGUMENT, "learning rate");
    const char *names[4];
    float *states[4];
    cr_assert_eq(tarn_optimizer_states(optimizer, names, states), 2);
    cr_assert(!memcmp(values, kept, sizeof kept) && states[0][0] == 0 && states[1][0] == 0);
    tarn_optimizer_destroy(optimizer);
}

/* ---- schedules -------------------------------------------------------------------------------------------------- */

static double rate(tarn_schedule_options options, int64_t step, int64_t steps)
{
    return tarn_schedule_rate(&options, 0.5, step, steps);
}

Test(schedule, begins_and_ends_where_it_says)
{
    for (int kind = TARN_COSINE; kind <= TARN_LINEAR; kind++) {
        tarn_schedule_options options = {.kind = (tarn_schedule_kind)kind, .warmup = 10, .final_ratio = 0.1};
        cr_assert_float_eq(rate(options, 0, 100), 0.05, 1e-16);
        cr_assert_float_eq(rate(options, 4, 100), 0.25, 1e-16);
        cr_assert_eq(rate(options, 9, 100), 0.5);
        cr_assert_eq(rate(options, 10, 100), 0.5);
        cr_assert_float_eq(rate(options, 99, 100), 0.05, 1e-16);
        cr_assert_eq(rate(options, 99, 100), rate(options, 1000, 100)); /* past the end */
        for (int step = 11; step < 100; step++)
            cr_assert_lt(rate(options, step, 100), rate(options, step - 1, 100), "kind %d, step %d", kind, step);
        cr_assert_float_eq(rate(options, 0, 0), 0.05, 1e-16);
        cr_assert_eq(rate(options, 10, 11), 0.5); /* one step after warm-up */
        options.warmup = 0;
        cr_assert_eq(rate(options, 0, 100), 0.5);
        cr_assert_eq(rate(options, 0, 1), 0.5);
    }
    cr_assert_eq(tarn_schedule_rate(NULL, 0.5, 7, 100), 0.5);
    cr_assert_eq(rate((tarn_schedule_options){.warmup = 2}, 0, 100), 0.25);
    cr_assert_eq(rate((tarn_schedule_options){.warmup = 2}, 90, 100), 0.5);
}

Test(schedule, follows_its_formula)
{
    tarn_schedule_options cosine = {.kind = TARN_COSINE, .warmup = 40, .final_ratio = 0.1};
    tarn_schedule_options linear = {.kind = TARN_LINEAR, .warmup = 40, .final_ratio = 0.1};
    for (int step = 40; step < 400; step++) {
        double share = (step - 40) / 359.0;
        cr_assert_float_eq(rate(cosine, step, 400), 0.5 * (0.1 + 0.9 * 0.5 * (1 + cos(M_PI * share))), 1e-15);
        cr_assert_float_eq(rate(linear, step, 400), 0.5 * (1 - 0.9 * share), 1e-15);
    }
    tarn_schedule_options decay = {.kind = TARN_STEP_DECAY, .every = 30, .gamma = 0.5, .warmup = 5};
    cr_assert_eq(rate(decay, 34, 400), 0.5);
    cr_assert_eq(rate(decay, 35, 400), 0.25);
    cr_assert_eq(rate(decay, 95, 400), 0.0625);
    decay.gamma = 0; /* 0.1 */
    cr_assert_float_eq(rate(decay, 65, 400), 0.005, 1e-17);
    decay.every = 0;
    cr_assert_eq(rate(decay, 395, 400), 0.5);
}

Test(schedule, has_the_same_bits_everywhere)
{
    tarn_schedule_options cosine = {.kind = TARN_COSINE, .warmup = 40, .final_ratio = 0.1};
    static const struct {
        int64_t step;
        uint64_t bits;
    } golden[] = {{0, 0x3efa36e2eb1c432d},   {7, 0x3f2a36e2eb1c432d},   {41, 0x3f50623b52bd5b53},
                  {100, 0x3f4ec81d52d80f01}, {222, 0x3f41b32818418f86}, {333, 0x3f26aca56635715a},
                  {399, 0x3f1a36e2eb1c432d}};
    for (size_t i = 0; i < sizeof golden / sizeof *golden; i++) {
        double lr = tarn_schedule_rate(&cosine, 1e-3, golden[i].step, 400);
        uint64_t bits;
        memcpy(&bits, &lr, sizeof bits);
        cr_assert_eq(bits, golden[i].bits, "step %lld: %016llx", (long long)golden[i].step, (unsigned long long)bits);
    }
}
