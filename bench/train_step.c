/* train_step.c - times whole training steps of the models in PyTorch's own benchmark script
 * (bench/torch_train_step.py), through the public headers and the very loop tarn_train runs.
 *
 * usage: train_step MODEL [--batch N] [--threads N] [--ranks N] [--steps N] [--warmup N] [--shards N]
 * MODEL: mlp | chargpt-small | chargpt | gpt2. Prints one JSON line with the keys of the PyTorch script and the
 * reduction's times.
 * --ranks N starts itself again under mpirun.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <tarn/tarn.h>
#include <time.h>
#include <unistd.h>

typedef struct model_row {
    const char *name;
    int64_t batch;
    tarn_gpt_options gpt; /* width 0: the mlp */
    int64_t tokens, sample_tokens;
} model_row;

static const model_row models[] = {
    {"mlp", 64, {0}, 0, 0},
    {"chargpt-small", 12, {.layers = 4, .heads = 4, .width = 128, .context = 64, .vocabulary = 65}, 65, 64},
    {"chargpt", 8, {.layers = 6, .heads = 6, .width = 384, .context = 256, .vocabulary = 65}, 65, 256},
    {"gpt2", 4, {.layers = 12, .heads = 12, .width = 768, .context = 1024, .vocabulary = 50304}, 50257, 64},
};

typedef struct settings {
    const model_row *model;
    int64_t batch;
    int threads, ranks, steps, warmup, shards;
} settings;

/* Seconds since the kernel started this process (10 ms ticks). */
static double process_age(void)
{
    char line[1024] = "";
    FILE *file = fopen("/proc/self/stat", "r");
    if (!file || !fgets(line, sizeof line, file)) return 0;
    fclose(file);
    const char *at = strrchr(line, ')');
    unsigned long long ticks = 0;
    for (int field = 2; at && field < 22; field++) at = strchr(at + 1, ' ');
    if (at) ticks = strtoull(at, NULL, 10);
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9 - (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

/* A fixed batch of made-up samples, as the PyTorch script has. */
static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ull + 1442695040888963407ull;
    return *state >> 33;
}

static tarn_status make_data(tarn_dataset **data, tarn_context *context, const settings *s, void **inputs,
                             void **targets)
{
    uint64_t state = 7;
    int64_t n = s->batch, tokens = s->model->sample_tokens;
    if (!s->model->gpt.width) {
        float *x = malloc((size_t)n * 784 * sizeof *x);
        int32_t *y = malloc((size_t)n * sizeof *y);
        for (int64_t i = 0; i < n * 784; i++) x[i] = (float)(next_random(&state) % 10000) / 10000.0f;
        for (int64_t i = 0; i < n; i++) y[i] = (int32_t)(next_random(&state) % 10);
        *inputs = x;
        *targets = y;
        tarn_sample_shape shape = {
            .input_dtype = TARN_F32, .target_dtype = TARN_I32, .input_ndim = 1, .input_shape = {784}, .classes = 10};
        return tarn_arrays_open(data, context, n, &shape, x, y);
    }
    int32_t *x = malloc((size_t)(n * tokens) * sizeof *x), *y = malloc((size_t)(n * tokens) * sizeof *y);
    for (int64_t i = 0; i < n; i++) {
        int32_t token = (int32_t)(next_random(&state) % (uint64_t)s->model->tokens);
        for (int64_t t = 0; t < tokens; t++) {
            x[i * tokens + t] = token;
            token = (int32_t)(next_random(&state) % (uint64_t)s->model->tokens);
            y[i * tokens + t] = token;
        }
    }
    *inputs = x;
    *targets = y;
    tarn_sample_shape shape = {.input_dtype = TARN_I32,
                               .target_dtype = TARN_I32,
                               .input_ndim = 1,
                               .target_ndim = 1,
                               .input_shape = {tokens},
                               .target_shape = {tokens},
                               .classes = s->model->tokens};
    return tarn_arrays_open(data, context, n, &shape, x, y);
}

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

typedef struct measured {
    double *step, *reduce, *exposed, *control, *update;
    double first_loss, last_loss, first_seconds;
} measured;

static tarn_status run(tarn_context *context, const settings *s, measured *m)
{
    tarn_module *model = NULL;
    tarn_dataset *data = NULL;
    void *inputs = NULL, *targets = NULL;
    const bool gpt = s->model->gpt.width != 0;
    static const int64_t sizes[] = {784, 512, 512, 10};
    tarn_status status = gpt ? tarn_gpt_create(&model, context, &s->model->gpt)
                             : tarn_mlp_create(&model, context, &(tarn_mlp_options){.count = 4, .sizes = sizes});
    if (!status) status = make_data(&data, context, s, &inputs, &targets);
    tarn_train_options options = {
        .model = model,
        .data = data,
        .seed = 1,
        .steps = s->warmup + s->steps,
        .batch = s->batch,
        .shards = s->shards,
        .threads = s->threads,
        .optim = gpt ? (tarn_optim_options){.kind = TARN_ADAMW, .lr = 3e-4, .weight_decay = 0.1, .clip = 1.0}
                     : (tarn_optim_options){.kind = TARN_SGD, .lr = 0.05, .momentum = 0.9}};
    tarn_trainer *trainer = NULL;
    if (!status) status = tarn_trainer_create(&trainer, context, &options);
    for (int i = 0; !status && tarn_trainer_next(trainer); i++) {
        tarn_trainer_run_shards(trainer);
        status = tarn_optim_step(trainer);
        const tarn_progress *p = tarn_trainer_progress(trainer);
        if (i == 0) {
            m->first_seconds = process_age();
            m->first_loss = p->loss;
        }
        m->last_loss = p->loss;
        if (i < s->warmup) continue;
        int k = i - s->warmup;
        m->step[k] = p->step_seconds;
        m->reduce[k] = p->reduce_seconds;
        m->exposed[k] = p->reduce_exposed_seconds;
        m->control[k] = p->control_seconds;
        m->update[k] = p->update_seconds;
    }
    tarn_status finished = trainer ? tarn_trainer_finish(trainer) : TARN_OK;
    if (!status) status = finished;
    if (!status && tarn_rank(context) == 0) {
        double best = m->step[0];
        for (int i = 1; i < s->steps; i++) best = m->step[i] < best ? m->step[i] : best;
        double middle = median(m->step, s->steps), n = (double)s->batch * (gpt ? (double)s->model->sample_tokens : 1);
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        printf("{\"model\": \"%s\", \"batch\": %lld, \"threads\": %d, \"ranks\": %d, \"shards\": %d, \"isa\": \"%s\", "
               "\"params\": %lld, \"median_s\": %.6f, \"min_s\": %.6f, \"per_s\": %.1f, \"peak_mib\": %.1f, "
               "\"loss\": [%.5f, %.5f], \"first_step_s\": %.3f, \"reduce_s\": %.6f, \"reduce_exposed_s\": %.6f, "
               "\"control_s\": %.6f, \"update_s\": %.6f}\n",
               s->model->name, (long long)s->batch, tarn_threads(context), tarn_ranks(context), s->shards,
               tarn_isa_name(context), (long long)tarn_module_numel(model), middle, best, n / middle,
               (double)usage.ru_maxrss / 1024, m->first_loss, m->last_loss, m->first_seconds,
               median(m->reduce, s->steps), median(m->exposed, s->steps), median(m->control, s->steps),
               median(m->update, s->steps));
    }
    tarn_dataset_close(data);
    tarn_module_destroy(model);
    free(inputs);
    free(targets);
    return status;
}

static int usage(void)
{
    fprintf(stderr,
            "usage: train_step mlp|chargpt-small|chargpt|gpt2 [--batch N] [--threads N] [--ranks N] [--steps N] "
            "[--warmup N] [--shards N]\n");
    return 2;
}

/* Starts this program again under mpirun. */
static int launch(char **argv, int ranks)
{
    char count[16], *arguments[64] = {"mpirun", "--oversubscribe", "--bind-to", "none", "-n", count};
    snprintf(count, sizeof count, "%d", ranks);
    int used = 6;
    for (int i = 0; argv[i] && used < 62; i++) arguments[used++] = argv[i];
    execvp("mpirun", arguments);
    perror("mpirun");
    return 1;
}

int main(int argc, char **argv)
{
    settings s = {.threads = 1, .ranks = 1, .steps = 20, .warmup = 3};
    for (size_t i = 0; argc > 1 && i < sizeof models / sizeof *models; i++)
        if (!strcmp(argv[1], models[i].name)) s.model = &models[i];
    if (!s.model) return usage();
    s.batch = s.model->batch;
    for (int i = 2; i < argc; i += 2) {
        if (i + 1 == argc) return usage();
        int value = atoi(argv[i + 1]);
        if (!strcmp(argv[i], "--batch"))
            s.batch = value;
        else if (!strcmp(argv[i], "--threads"))
            s.threads = value;
        else if (!strcmp(argv[i], "--ranks"))
            s.ranks = value;
        else if (!strcmp(argv[i], "--steps"))
            s.steps = value;
        else if (!strcmp(argv[i], "--warmup"))
            s.warmup = value;
        else if (!strcmp(argv[i], "--shards"))
            s.shards = value;
        else
            return usage();
    }
    if (s.steps < 1 || s.threads < 1 || s.ranks < 1) return usage();
    if (!s.shards) s.shards = s.threads * s.ranks;
    if (s.ranks > 1 && !getenv("OMPI_COMM_WORLD_SIZE")) return launch(argv, s.ranks);
    double *series = calloc((size_t)s.steps * 5, sizeof *series);
    measured m = {.step = series,
                  .reduce = series + s.steps,
                  .exposed = series + 2 * s.steps,
                  .control = series + 3 * s.steps,
                  .update = series + 4 * s.steps};
    tarn_context *context;
    if (tarn_init(&context, &argc, &argv) == TARN_OK && series) run(context, &s, &m);
    free(series);
    return tarn_exit(context);
}
