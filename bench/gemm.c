/* gemm.c - Tarn's matrix product against oneDNN's sgemm: one core, both sides alternating in one run.
 *
 * usage: gemm [avx2|avx512] [rounds]
 * Shapes: the products of a training step of chargpt (1024 rows) and gpt2 (128 rows): forward (x weight^T), dX (dY
 * weight) and dW (dY^T x). Columns: GFLOP/s of the best round, and two ratios to oneDNN: "packed", with the weights
 * packed before the clock starts (a step packs them once for several products; dW has no weights, so its whole call
 * counts), and "call", the whole call. Operands are warm and nothing else runs between: a kernel alone, not a step; see
 * train_step for that.
 */
#include <dlfcn.h>
#include <math.h>
#include <oneapi/dnnl/dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "runtime/backend/cpu/gemm.h"
#include "runtime/base/clock.h"

typedef enum product { FORWARD, GRADIENT_X, GRADIENT_W, PRODUCTS } product;
static const char *const product_names[PRODUCTS] = {"forward", "dX", "dW"};

typedef struct side {
    tarn_gemm_function *gemm;
    size_t (*packed_floats)(int64_t n, int64_t k);
    void (*pack_b)(float *packed, const float *b, int64_t ldb, bool transpose_b, int64_t n, int64_t k);
} side;

/* oneDNN's OpenMP runtime is in the process already; asking it by name needs no OpenMP compiler. */
static bool one_openmp_thread(void)
{
    void (*set_threads)(int) = NULL;
    *(void **)&set_threads = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    if (set_threads) set_threads(1);
    return set_threads != NULL;
}

static void fill(float *x, size_t count)
{
    static uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state * 0x1p-31f;
    }
}

static float *allocate(int64_t count)
{
    float *p = aligned_alloc(64, ((size_t)count * sizeof(float) + 127) / 64 * 64);
    if (!p) {
        fprintf(stderr, "gemm: no memory for %lld floats\n", (long long)count);
        exit(1);
    }
    fill(p, (size_t)count);
    return p;
}

/* One product of the linear layer (rows, inputs) -> (rows, outputs). Sets the ratios oneDNN's time / own time. */
static void measure(const side *own, product kind, int64_t rows, int64_t outputs, int64_t inputs, int rounds,
                    double *packed_ratio, double *call_ratio)
{
    tarn_gemm_f32 g = {0};
    bool weights = kind != GRADIENT_W;
    if (kind == FORWARD) g = (tarn_gemm_f32){.m = rows, .n = outputs, .k = inputs, .transpose_b = true};
    if (kind == GRADIENT_X) g = (tarn_gemm_f32){.m = rows, .n = inputs, .k = outputs};
    if (kind == GRADIENT_W) g = (tarn_gemm_f32){.m = outputs, .n = inputs, .k = rows, .transpose_a = true};
    g.lda = g.transpose_a ? g.m : g.k;
    g.ldb = g.transpose_b ? g.k : g.n;
    g.ldc = g.n;
    float *a = allocate(g.m * g.k), *b = allocate(g.k * g.n), *c = allocate(g.m * g.n), *d = allocate(g.m * g.n);
    float *packed = allocate((int64_t)own->packed_floats(g.n, g.k));
    g.a = a;
    g.b = b;
    g.c = c;
    own->pack_b(packed, b, g.ldb, g.transpose_b, g.n, g.k);
    double best[3] = {1e9, 1e9, 1e9}, flops = 2.0 * (double)g.m * (double)g.n * (double)g.k;
    for (int round = 0; round < rounds; round++)
        for (int way = 0; way < 3; way++) {
            if (way == 1 && !weights) continue;
            tarn_gemm_f32 h = g;
            h.packed_b = way == 1 ? packed : NULL;
            double start = tarn_seconds();
            if (way < 2)
                own->gemm(&h, NULL, NULL);
            else
                dnnl_sgemm(g.transpose_a ? 'T' : 'N', g.transpose_b ? 'T' : 'N', g.m, g.n, g.k, 1.0f, a, g.lda, b,
                           g.ldb, 0.0f, d, g.ldc);
            double seconds = tarn_seconds() - start;
            if (seconds < best[way]) best[way] = seconds;
        }
    double difference = 0;
    for (int64_t i = 0; i < g.m * g.n; i++) difference = fmax(difference, fabs((double)c[i] - (double)d[i]));
    if (!weights) best[1] = best[0];
    *packed_ratio = best[2] / best[1];
    *call_ratio = best[2] / best[0];
    printf("%-8s %6lld x %6lld x %6lld  packed %6.1f  call %6.1f  oneDNN %6.1f  ratio %.3f, call %.3f  |difference| "
           "%.1e\n",
           product_names[kind], (long long)g.m, (long long)g.n, (long long)g.k, 1e-9 * flops / best[1],
           1e-9 * flops / best[0], 1e-9 * flops / best[2], *packed_ratio, *call_ratio, difference);
    fflush(stdout);
    free(a);
    free(b);
    free(c);
    free(d);
    free(packed);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *model;
        int64_t rows, outputs, inputs;
    } layers[] = {{"chargpt", 1024, 1152, 384}, {"chargpt", 1024, 384, 384}, {"chargpt", 1024, 1536, 384},
                  {"chargpt", 1024, 384, 1536}, {"gpt2", 128, 2304, 768},    {"gpt2", 128, 768, 768},
                  {"gpt2", 128, 3072, 768},     {"gpt2", 128, 768, 3072},    {"gpt2", 128, 50304, 768}};
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq");
    if (argc > 1) wide = wide && strcmp(argv[1], "avx512") == 0;
    int rounds = argc > 2 ? atoi(argv[2]) : 30;
    side own = {tarn_gemm_avx2, tarn_gemm_packed_b_floats_avx2, tarn_gemm_pack_b_avx2};
    if (wide) own = (side){tarn_gemm_avx512, tarn_gemm_packed_b_floats_avx512, tarn_gemm_pack_b_avx512};
    if (!one_openmp_thread()) fprintf(stderr, "gemm: set OMP_NUM_THREADS=1, or oneDNN may use all cores\n");
    printf("kernels: %s, best of %d rounds, GFLOP/s on one core\n", wide ? "avx512" : "avx2", rounds);
    double logarithms[2] = {0, 0}, lowest[2] = {1e9, 1e9};
    int count = 0;
    for (size_t l = 0; l < sizeof layers / sizeof *layers; l++)
        for (int kind = 0; kind < PRODUCTS; kind++, count++) {
            int fewer = layers[l].outputs > 10000 ? (rounds + 3) / 4 : rounds;
            double ratio[2];
            measure(&own, (product)kind, layers[l].rows, layers[l].outputs, layers[l].inputs, fewer, &ratio[0],
                    &ratio[1]);
            for (int i = 0; i < 2; i++) {
                logarithms[i] += log(ratio[i]);
                lowest[i] = fmin(lowest[i], ratio[i]);
            }
        }
    printf("weights packed: geometric mean of the ratios %.3f, lowest %.3f\n", exp(logarithms[0] / count), lowest[0]);
    printf("whole call:     geometric mean of the ratios %.3f, lowest %.3f\n", exp(logarithms[1] / count), lowest[1]);
    return 0;
}
