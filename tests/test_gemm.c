/* test_gemm.c - the matrix products of each ISA against the scalar definition, bit for bit (any NaN equals any NaN):
 * awkward shapes, transposes, epilogues, accumulation, packed weights, scratch memory, teams. Whole buffers are
 * compared, so writing outside the matrix fails too. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/backend/cpu/gemm.h"
#include "runtime/base/pool.h"
#include "runtime/worker/worker.h"

typedef struct isa_functions {
    const char *name;
    tarn_gemm_function *gemm;
    void (*small)(const tarn_small_gemm *gemm);
    size_t (*packed_floats)(int64_t n, int64_t k);
    void (*pack_b)(float *packed, const float *b, int64_t ldb, bool transpose_b, int64_t n, int64_t k);
} isa_functions;
static const isa_functions isas[2] = {
    {"avx2", tarn_gemm_avx2, tarn_small_gemm_avx2, tarn_gemm_packed_b_floats_avx2, tarn_gemm_pack_b_avx2},
    {"avx512", tarn_gemm_avx512, tarn_small_gemm_avx512, tarn_gemm_packed_b_floats_avx512, tarn_gemm_pack_b_avx512}};

static bool runs_here(int isa)
{
    if (isa == 0) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
}

static uint32_t random_state;
static float random_float(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (float)(int32_t)random_state * 0x1p-30f;
}

/* `extra` floats of guard before and after, at an odd offset. The fill differs per call through random_state. */
enum { GUARD = 67 };
static float *buffer(int64_t rows, int64_t ld)
{
    int64_t count = rows * ld + 2 * GUARD;
    float *memory = malloc((size_t)count * sizeof(float));
    cr_assert_not_null(memory);
    for (int64_t i = 0; i < count; i++) memory[i] = random_float();
    return memory;
}

static bool same(const float *a, const float *b, int64_t rows, int64_t ld)
{
    for (int64_t i = 0; i < rows * ld + 2 * GUARD; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0 && (a[i] == a[i] || b[i] == b[i])) return false;
    return true;
}

typedef struct variant {
    const char *name;
    bool bias, pre, residual, gate, activated, add, row_sum, add_row_sum;
    tarn_activation activation;
} variant;
static const variant variants[] = {
    {.name = "plain"},
    {.name = "add", .add = true},
    {.name = "bias", .bias = true},
    {.name = "bias gelu pre", .bias = true, .pre = true, .activation = TARN_GELU_TANH},
    {.name = "bias residual", .bias = true, .residual = true},
    {.name = "all forward", .bias = true, .pre = true, .residual = true, .add = true, .activation = TARN_GELU},
    {.name = "gate", .gate = true, .activation = TARN_GELU_TANH},
    {.name = "gate activated add", .gate = true, .activated = true, .add = true, .activation = TARN_SILU},
    {.name = "row sum", .row_sum = true},
    {.name = "row sum add", .row_sum = true, .add_row_sum = true, .add = true},
    {.name = "relu", .activation = TARN_RELU},
    {.name = "tanh", .activation = TARN_TANH, .add = true},
    {.name = "sigmoid", .activation = TARN_SIGMOID, .pre = true},
    {.name = "gate relu", .gate = true, .activated = true, .activation = TARN_RELU},
    {.name = "gate gelu", .gate = true, .activated = true, .activation = TARN_GELU},
    {.name = "gate tanh", .gate = true, .activated = true, .activation = TARN_TANH},
    {.name = "gate sigmoid", .gate = true, .activation = TARN_SIGMOID},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

typedef struct outputs {
    float *c, *pre, *activated, *row_sum;
} outputs;

static void point(tarn_gemm_f32 *g, const outputs *o, const variant *v)
{
    g->c = o->c + GUARD;
    g->pre = v->pre ? o->pre + GUARD : NULL;
    g->activated = v->activated ? o->activated + GUARD : NULL;
    g->row_sum = v->row_sum ? o->row_sum + GUARD : NULL;
}

static void make_outputs(outputs *o, const tarn_gemm_f32 *g)
{
    random_state = 77;
    o->c = buffer(g->m, g->ldc);
    o->pre = buffer(g->m, g->ld_pre);
    o->activated = buffer(g->m, g->ld_activated);
    o->row_sum = buffer(g->m, 1);
}

static void free_outputs(outputs *o)
{
    free(o->c);
    free(o->pre);
    free(o->activated);
    free(o->row_sum);
}

static bool same_outputs(const outputs *a, const outputs *b, const tarn_gemm_f32 *g)
{
    return same(a->c, b->c, g->m, g->ldc) && same(a->pre, b->pre, g->m, g->ld_pre) &&
           same(a->activated, b->activated, g->m, g->ld_activated) && same(a->row_sum, b->row_sum, g->m, 1);
}

/* Runs one product by the definition and by every ISA: alone; with scratch; with packed B; with `team`. */
static int check(int64_t m, int64_t n, int64_t k, bool transpose_a, bool transpose_b, const variant *v, tarn_team *team,
                 float special)
{
    int failures = 0;
    random_state = (uint32_t)(m * 31 + n * 17 + k);
    tarn_gemm_f32 g = {.m = m, .n = n, .k = k, .transpose_a = transpose_a, .transpose_b = transpose_b};
    g.lda = (transpose_a ? m : k) + 3;
    g.ldb = (transpose_b ? k : n) + 1;
    g.ldc = n + 5;
    g.ld_pre = n + 2;
    g.ld_residual = n + 7;
    g.ld_gate = n;
    g.ld_activated = n + 1;
    g.add = v->add;
    g.add_row_sum = v->add_row_sum;
    g.activation = v->activation;
    float *a = buffer(transpose_a ? k : m, g.lda), *b = buffer(transpose_b ? n : k, g.ldb), *bias = buffer(1, n);
    float *residual = buffer(m, g.ld_residual), *gate = buffer(m, g.ld_gate);
    if (special != 0) {
        a[GUARD] = special;
        b[GUARD] = -special;
        gate[GUARD] = special;
    }
    g.a = a + GUARD;
    g.b = b + GUARD;
    if (v->bias) g.bias = bias + GUARD;
    if (v->residual) g.residual = residual + GUARD;
    if (v->gate) g.gate = gate + GUARD;
    outputs expected;
    make_outputs(&expected, &g);
    point(&g, &expected, v);
    tarn_gemm_reference_f32(&g, NULL, NULL);
    for (int isa = 0; isa < 2; isa++) {
        if (!runs_here(isa)) continue;
        for (int mode = 0; mode < 4; mode++) {
            if (mode == 3 && !team) continue;
            outputs got;
            make_outputs(&got, &g);
            tarn_gemm_f32 h = g;
            point(&h, &got, v);
            tarn_scratch *scratch = mode == 1 || mode == 3 ? tarn_scratch_create() : NULL;
            float *packed = NULL;
            if (mode == 2) {
                packed = aligned_alloc(64, (isas[isa].packed_floats(n, k) * sizeof(float) + 127) / 64 * 64);
                isas[isa].pack_b(packed, h.b, h.ldb, transpose_b, n, k);
                h.packed_b = packed;
                h.b = NULL;
            }
            isas[isa].gemm(&h, mode == 3 ? team : NULL, scratch);
            if (!same_outputs(&expected, &got, &g)) {
                static const char *const modes[] = {"alone", "scratch", "packed", "team"};
                fprintf(stderr, "%s %s: %ldx%ldx%ld ta %d tb %d %s\n", isas[isa].name, modes[mode], (long)m, (long)n,
                        (long)k, transpose_a, transpose_b, v->name);
                failures++;
            }
            if (scratch) tarn_scratch_destroy(scratch);
            free(packed);
            free_outputs(&got);
        }
    }
    free_outputs(&expected);
    free(a);
    free(b);
    free(bias);
    free(residual);
    free(gate);
    return failures;
}

static const int64_t shapes[][3] = {
    {0, 5, 3},      {5, 0, 3},       {3, 5, 0},     {1, 1, 1},      {1, 17, 1},    {17, 1, 33},   {2, 3, 100},
    {7, 47, 15},    {8, 48, 16},     {9, 49, 17},   {6, 16, 40},    {13, 97, 64},  {16, 64, 512}, {5, 33, 513},
    {31, 97, 1030}, {17, 160, 700},  {48, 50, 70},  {49, 50, 71},   {150, 40, 90}, {96, 10, 784}, {144, 150, 24},
    {145, 150, 24}, {100, 131, 530}, {482, 30, 20}, {20, 3100, 18}, {33, 65, 15},  {12, 18, 1},   {3, 3081, 520},
};

Test(gemm, shapes)
{
    int failures = 0;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int64_t *d = shapes[s];
        bool large = d[0] * d[1] * d[2] > 400000;
        for (int t = 0; t < 4; t++)
            for (int v = large ? t : 0; v < VARIANTS; v += large ? 3 : 1)
                failures += check(d[0], d[1], d[2], t & 1, t >> 1, &variants[v], NULL, 0);
    }
    cr_assert_eq(failures, 0);
}

Test(gemm, special_values)
{
    static const float values[] = {INFINITY, NAN, 0x1p-140f, -0.0f, 1e30f};
    int failures = 0;
    for (size_t s = 0; s < sizeof values / sizeof *values; s++)
        for (int v = 0; v < VARIANTS; v++)
            for (int t = 0; t < 4; t++) failures += check(19, 35, 37, t & 1, t >> 1, &variants[v], NULL, values[s]);
    cr_assert_eq(failures, 0);
}

static void lead(void *argument, int leader, tarn_team *team)
{
    int *failures = argument;
    (void)leader;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        const int64_t *d = shapes[s];
        for (int t = 0; t < 4; t++)
            *failures += check(d[0], d[1], d[2], t & 1, t >> 1, &variants[(s + (size_t)t * 5) % VARIANTS], team, 0);
    }
}

Test(gemm, teams)
{
    tarn_context *context;
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    for (int threads = 2; threads <= 3; threads++) {
        tarn_workers *workers;
        int failures = 0;
        cr_assert_eq(tarn_workers_create(&workers, context, threads), TARN_OK);
        tarn_workers_run_teams(workers, 1, lead, &failures);
        tarn_workers_destroy(workers);
        cr_assert_eq(failures, 0);
    }
    tarn_exit(context);
}

Test(gemm, small)
{
    int failures = 0;
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int mode = 0; mode < 4; mode++) {
            int64_t m = shapes[s][0], n = shapes[s][1], k = shapes[s][2];
            bool transpose_a = mode & 1, add = mode >> 1;
            random_state = 5;
            tarn_small_gemm g = {.m = m, .n = n, .k = k, .transpose_a = transpose_a, .add = add};
            g.lda = (transpose_a ? m : k) + 1;
            g.ldb = n + 3;
            g.ldc = n + 2;
            float *a = buffer(transpose_a ? k : m, g.lda), *b = buffer(k, g.ldb);
            uint32_t state = random_state;
            float *expected = buffer(m, g.ldc);
            g.a = a + GUARD;
            g.b = b + GUARD;
            g.c = expected + GUARD;
            tarn_small_gemm_reference(&g);
            for (int isa = 0; isa < 2; isa++) {
                if (!runs_here(isa)) continue;
                random_state = state;
                float *got = buffer(m, g.ldc);
                g.c = got + GUARD;
                isas[isa].small(&g);
                if (!same(expected, got, m, g.ldc)) {
                    fprintf(stderr, "small %s: %ldx%ldx%ld ta %d add %d\n", isas[isa].name, (long)m, (long)n, (long)k,
                            transpose_a, add);
                    failures++;
                }
                free(got);
            }
            free(a);
            free(b);
            free(expected);
        }
    cr_assert_eq(failures, 0);
}

/* The scalar definition itself: float against double, and the written-out block rule. */
Test(gemm, definition)
{
    enum { M = 7, N = 9, K = 1100 };
    static float a[M * K], b[K * N], c[M * N];
    static double da[M * K], db[K * N], dc[M * N];
    random_state = 9;
    for (int i = 0; i < M * K; i++) da[i] = a[i] = random_float();
    for (int i = 0; i < K * N; i++) db[i] = b[i] = random_float();
    tarn_gemm_f32 g = {.m = M, .n = N, .k = K, .a = a, .lda = K, .b = b, .ldb = N, .c = c, .ldc = N};
    tarn_gemm_f64 d = {.m = M, .n = N, .k = K, .a = da, .lda = K, .b = db, .ldb = N, .c = dc, .ldc = N};
    tarn_gemm_reference_f32(&g, NULL, NULL);
    tarn_gemm_reference_f64(&d, NULL, NULL);
    cr_assert_eq(tarn_gemm_block(K), 368);
    cr_assert_eq(tarn_gemm_block(512), 512);
    cr_assert_eq(tarn_gemm_block(513), 272);
    cr_assert_eq(tarn_gemm_block(1), 16);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < N; j++) {
            float total = 0;
            for (int begin = 0; begin < K; begin += 368) {
                float sum = 0;
                for (int p = begin; p < K && p < begin + 368; p++) sum = fmaf(a[i * K + p], b[p * N + j], sum);
                total = begin ? total + sum : sum;
            }
            cr_expect_eq(c[i * N + j], total);
            cr_expect_float_eq((double)c[i * N + j], dc[i * N + j], 1e-3);
        }
}
