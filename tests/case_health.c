/* case_health.c - one small training with things that go wrong in it, for tests/test_health.c.
 *
 *   case_health key=value ...
 *
 * - steps, eval_every, early_stop, every (checkpoints), parts (of them), skip=1, dir=DIRECTORY, track=STORE: options of
 *   the run
 * - nan=SAMPLE: that sample is not a number (-1: all of them)
 * - stream=N: a stream of N samples instead of an epoch of 48
 * - tests=N: samples of the validation data
 * - stop=STEP: rank 0 asks to stop in the progress function of that step
 * - die=STEP: all ranks leave without a word there, a moment later
 * - fail=STEP:RANK: that rank's progress function fails; leave=1: and its loop is left
 * - flip=STEP:RANK:TENSOR:ELEMENT: one bit of an element of the first parameter (TENSOR: value, m or v) changes before
 *   that step
 * - way=STEP:RANK: that rank evaluates before that step, and the others do not
 * - middle=STEP:RANK: that rank calls a barrier in the middle of that step
 * - slow=STEP:RANK[:MILLISECONDS]: that rank sleeps in its loss function (100 ms) up to that step
 * - stop_evaluation=N:RANK: that rank asks to stop in its N-th batch of an evaluation
 * - evaluate=1: one evaluation after the last step
 *
 * At its end every rank prints "rank R: STATUS", rank 0 what the run is: digest, counts, history, the user's state.
 */
#include "runtime/base/context.h"
#include "runtime/comm/agree.h"
#include "train/trainer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tarn/tarn.h>
#include <time.h>
#include <unistd.h>

enum { SAMPLES = 64, INPUTS = 6 };

static tarn_context *context;
static int count;
static char **words;
static float inputs[SAMPLES][INPUTS];
static int32_t targets[SAMPLES];
static tarn_trainer *trainer;
static int64_t counter; /* the user's state */
static long evaluated;  /* calls of the loss function in evaluations, on this rank */
static long stop_at_batch = -1;
static bool slow;
static long slow_milliseconds = 100;

/* The first number of key=a:b:c, or `none`; the others through *more (NULL: not asked for). */
static long option(const char *key, long none, const char **more)
{
    size_t length = strlen(key);
    for (int i = 1; i < count; i++) {
        if (strncmp(words[i], key, length) || words[i][length] != '=') continue;
        char *end;
        long value = strtol(words[i] + length + 1, &end, 10);
        if (more) *more = *end == ':' ? end + 1 : end;
        return value;
    }
    if (more) *more = "";
    return none;
}

static const char *text(const char *key)
{
    size_t length = strlen(key);
    for (int i = 1; i < count; i++)
        if (!strncmp(words[i], key, length) && words[i][length] == '=') return words[i] + length + 1;
    return NULL;
}

/* True at the step of key=STEP:RANK on that rank; of a key without a rank on all. */
static bool here(const char *key, int64_t step)
{
    const char *more;
    if (option(key, -1, &more) != step) return false;
    return !*more || atoi(more) == tarn_rank(context);
}

static tarn_status read_stream(void *user, int64_t index, void *input, void *target)
{
    (void)user;
    if (index >= option("stream", 0, NULL)) return TARN_EXHAUSTED;
    memcpy(input, inputs[index % SAMPLES], sizeof *inputs);
    memcpy(target, &targets[index % SAMPLES], sizeof *targets);
    return TARN_OK;
}

/* As the default loss, with what the case asks for. Evaluations are told by their step having no gradient: the trainer
 * runs them outside of its steps. */
static tarn_tensor *loss(tarn_step *step, const tarn_batch *batch, void *model)
{
    if (slow && trainer && trainer->in_step)
        nanosleep(&(struct timespec){.tv_nsec = slow_milliseconds * 1000000}, NULL);
    if (trainer && !trainer->in_step && ++evaluated == stop_at_batch) tarn_request_stop();
    return tarn_cross_entropy(tarn_forward(step, model, batch->inputs), batch->targets);
}

static tarn_status progress(void *user, const tarn_progress *now)
{
    int64_t *sum = user;
    *sum = (int64_t)((uint64_t)*sum * 31u + (uint64_t)now->step + (uint64_t)(now->loss * 1e9)); /* may wrap around */
    if (here("die", now->step)) {
        fflush(stdout);
        usleep(300000); /* checkpoints are written by a thread: so that there is one to go on from */
        _exit(9);
    }
    if (here("stop", now->step) && tarn_rank(context) == 0) tarn_request_stop();
    if (here("fail", now->step)) {
        tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "the program's own file is gone at step %lld",
                  (long long)now->step);
        return TARN_ERROR_IO;
    }
    return TARN_OK;
}

static void flip(tarn_module *model, const char *what)
{
    tarn_parameter_info info;
    tarn_module_parameter_at(model, 0, &info);
    const char *states[4];
    float *buffers[4], *values = info.values;
    int found = tarn_optimizer_states(trainer->optimizer, states, buffers);
    for (int i = 0; i < found; i++)
        if (!strncmp(what, states[i], strlen(states[i])) && what[strlen(states[i])] == ':')
            values = buffers[i] + info.offset;
    int element = atoi(strchr(what, ':') + 1);
    uint32_t bits;
    memcpy(&bits, &values[element], sizeof bits);
    bits ^= 1u << 12; /* not the lowest: the next update may round that one away */
    memcpy(&values[element], &bits, sizeof bits);
    printf("flipped a bit of %s on rank %d\n", info.name, tarn_rank(context));
}

static void log_line(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    if (level <= TARN_LOG_WARN) printf("log: %s\n", line);
}

static void print_summary(void)
{
    char digest[65];
    tarn_trainer_digest(trainer, digest);
    const tarn_progress *now = tarn_trainer_progress(trainer);
    printf("step %lld digest %s ended %d\n", (long long)now->step, digest, (int)tarn_trainer_ended(trainer));
    printf("loss %a norm %a lr %a skipped %lld best %a of step %lld without %lld counter %lld\n", now->loss,
           now->gradient_norm, now->lr, (long long)now->skipped, now->best, (long long)now->best_step,
           (long long)trainer->counts.not_improved, (long long)counter);
    tarn_evaluation history[700];
    int64_t evaluations = tarn_trainer_history(trainer, history, 700);
    /* All of a long history at once would be torn apart by mpirun. */
    uint64_t hash = 0;
    for (int64_t i = 0; i < evaluations && i < 700; i++) {
        uint64_t bits;
        memcpy(&bits, &history[i].loss, sizeof bits);
        hash = (hash ^ bits ^ (uint64_t)history[i].step) * 1099511628211ull;
    }
    if (evaluations) printf("evaluation hash %016" PRIx64 " of %lld\n", hash, (long long)evaluations);
    for (int64_t i = evaluations > 12 ? evaluations - 12 : 0; i < evaluations && i < 700; i++)
        printf("evaluation %lld: %a %a\n", (long long)history[i].step, history[i].loss, history[i].accuracy);
    if (now->slowest_rank >= 0) printf("slowest rank %d ratio %.2f\n", now->slowest_rank, now->slow_ratio);
}

static tarn_status run(tarn_module *model, const tarn_train_options *options)
{
    tarn_status status = tarn_trainer_create(&trainer, context, options);
    if (status) return status;
    printf("rank %d begins at step %lld, ended %d\n", tarn_rank(context), (long long)trainer->step,
           (int)tarn_trainer_ended(trainer));
    const char *more;
    long stop = option("stop_evaluation", -1, &more), last = option("slow", -1, &more);
    option("stop_evaluation", -1, &more);
    if (*more && atoi(more) == tarn_rank(context)) stop_at_batch = stop;
    option("slow", -1, &more);
    const bool mine = *more && atoi(more) == tarn_rank(context);
    if (strchr(more, ':')) slow_milliseconds = atol(strchr(more, ':') + 1);
    for (;;) {
        if (here("way", trainer->step)) tarn_trainer_evaluate(trainer, options->validation, NULL, NULL);
        option("flip", -1, &more);
        if (here("flip", trainer->step)) flip(model, strchr(more, ':') + 1);
        slow = mine && trainer->step < last;
        if (!tarn_trainer_next(trainer)) break;
        if (here("middle", trainer->step)) tarn_comm_barrier(tarn_get_comm(context), "a barrier of one rank");
        tarn_trainer_run_shards(trainer);
        if (tarn_optim_step(trainer) && option("leave", 0, NULL)) break;
    }
    if (option("evaluate", 0, NULL)) {
        double value;
        status = tarn_trainer_evaluate(trainer, options->validation, &value, NULL);
        printf("rank %d evaluated: %s %g\n", tarn_rank(context), tarn_status_name(status), value);
    }
    if (tarn_rank(context) == 0 && !trainer->status) print_summary();
    printf("rank %d ran %ld batches of evaluations\n", tarn_rank(context), evaluated);
    return tarn_trainer_finish(trainer);
}

int main(int argc, char **argv)
{
    count = argc;
    words = argv;
    if (tarn_init(&context, &argc, &argv)) return tarn_exit(context);
    tarn_set_log(context, log_line, NULL);
    uint32_t state = 5;
    long nan = option("nan", -2, NULL);
    for (int i = 0; i < SAMPLES; i++) {
        for (int k = 0; k < INPUTS; k++)
            inputs[i][k] = (float)((state = state * 1664525u + 1013904223u) >> 8) * 0x1p-24f;
        targets[i] = (int32_t)(state >> 30) & 1; /* nothing to learn but by heart: validation gets worse soon */
        if (i == nan || (nan == -1 && i < 48)) inputs[i][2] = NAN;
    }
    static const int64_t sizes[] = {INPUTS, 16, 2};
    static const tarn_sample_shape shape = {
        .input_dtype = TARN_F32, .target_dtype = TARN_I32, .input_ndim = 1, .input_shape = {INPUTS}, .classes = 2};
    tarn_module *model;
    tarn_dataset *data, *validation;
    long stream = option("stream", 0, NULL), tests = option("tests", 16, NULL);
    if (tarn_mlp_create(&model, context, &(tarn_mlp_options){.count = 3, .sizes = sizes, .dropout = 0.1}) ||
        (stream ? tarn_stream_open(&data, context, &shape, read_stream, NULL)
                : tarn_arrays_open(&data, context, 48, &shape, inputs, targets)) ||
        tarn_arrays_open(&validation, context, tests, &shape, inputs[SAMPLES - tests], targets + SAMPLES - tests))
        return tarn_exit(context);
    tarn_user_state user = {.name = "counter", .data = &counter, .bytes = sizeof counter};
    char spool[4096];
    snprintf(spool, sizeof spool, "%s-spool", text("track") ? text("track") : "no");
    tarn_track_options track = {.store = text("track"), .name = "health", .spool = spool};
    tarn_train_options options = {.model = model,
                                  .loss = loss,
                                  .data = data,
                                  .validation = validation,
                                  .optim = {.lr = 0.05},
                                  .schedule = {.kind = TARN_COSINE, .warmup = 3},
                                  .seed = 3,
                                  .steps = option("steps", 12, NULL),
                                  .batch = 12,
                                  .shards = 6,
                                  .threads = 1,
                                  .eval_every = option("eval_every", 0, NULL),
                                  .early_stop = option("early_stop", 0, NULL),
                                  .nonfinite = option("skip", 0, NULL) ? TARN_NONFINITE_SKIP : TARN_NONFINITE_STOP,
                                  .checkpoint_directory = text("dir"),
                                  .checkpoint_every = option("every", 0, NULL),
                                  .checkpoint_parts = (int)option("parts", 0, NULL),
                                  .track = track.store ? &track : NULL,
                                  .user_states = &user,
                                  .user_state_count = 1,
                                  .progress = progress,
                                  .progress_user = &counter};
    tarn_status status = run(model, &options);
    printf("rank %d: %s\n", tarn_rank(context), tarn_status_name(status));
    fflush(stdout);
    tarn_dataset_close(data);
    tarn_dataset_close(validation);
    tarn_module_destroy(model);
    return tarn_exit(context);
}
