/* case_train.c - small trainings as a plain program: for ThreadSanitizer and for several ranks.
 *
 *   case_train tsan [DIRECTORY]   4 threads, 3 shards of 2 micro-batches, dropout, evaluation, with a directory also
 *                         checkpoints and tracking: prints the digest
 *
 * Each of the others trains the same on every rank but for one thing; every rank prints "rank R: ok" or "failed"
 * (status). same                  nothing is different seed, samples, steps, shards, model rank 1 has another seed,
 * number of samples or steps, another V, another dropout final DIRECTORY       the checkpoints' folder is gone before
 * the last step early DIRECTORY       likewise, and the loop is left early init PATH             starts from that model
 *   left_out              rank 1 leaves its last shard out
 *   mistakes DIRECTORY    every rank makes wrong log calls at every step, beside good ones
 *   late                  rank 1 runs no shard of its second step within the deadline; rank 0 prints
 *                         whether it waited for the control word too
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tarn/tarn.h>
#include <unistd.h>

static int32_t ids[64 * 9];

static tarn_status read_sample(void *user, int64_t index, void *input, void *target)
{
    (void)user;
    memcpy(input, ids + index * 9, 8 * sizeof *ids);
    memcpy(target, ids + index * 9 + 1, 8 * sizeof *ids);
    return TARN_OK;
}

static const tarn_sample_shape sample_shape = {.input_dtype = TARN_I32,
                                               .target_dtype = TARN_I32,
                                               .input_ndim = 1,
                                               .target_ndim = 1,
                                               .input_shape = {8},
                                               .target_shape = {8},
                                               .classes = 11};

static int open_parts(tarn_context *context, int64_t samples, double dropout, tarn_module **gpt, tarn_dataset **data)
{
    tarn_gpt_options options = {
        .layers = 1, .heads = 2, .width = 16, .context = 8, .vocabulary = 11, .dropout = dropout};
    return tarn_gpt_create(gpt, context, &options) ||
           tarn_callback_open(data, context, samples, &sample_shape, read_sample, NULL);
}

static int train(tarn_context *context, int threads, const char *folder, char digest[65])
{
    tarn_module *gpt;
    tarn_dataset *data;
    if (open_parts(context, 64, 0.1, &gpt, &data) || tarn_dataset_split(data, 0.25)) return 1;
    tarn_trainer *trainer;
    tarn_train_options train = {.model = gpt,
                                .data = data,
                                .steps = 6,
                                .batch = 12,
                                .shards = 3,
                                .accumulate = 2,
                                .threads = threads,
                                .eval_every = 3,
                                .checkpoint_directory = folder,
                                .checkpoint_every = 1,
                                .from_scratch = true,
                                .track = folder ? &(tarn_track_options){.store = folder} : NULL,
                                .optim = {.clip = 0.5}};
    if (tarn_trainer_create(&trainer, context, &train)) return 1;
    while (tarn_trainer_next(trainer)) {
        tarn_trainer_run_shards(trainer);
        tarn_optim_step(trainer);
    }
    tarn_trainer_digest(trainer, digest);
    tarn_status status = tarn_trainer_finish(trainer);
    tarn_dataset_close(data);
    tarn_module_destroy(gpt);
    return status != TARN_OK;
}

static int run_tsan(tarn_context *context, const char *folder)
{
    char digests[3][65] = {"", "", ""};
    static const int threads[3] = {1, 2, 4};
    for (int i = 0; i < 3; i++)
        if (train(context, threads[i], folder, digests[i])) break;
    printf("digest %s\n", digests[0]);
    bool same = *digests[2] && !strcmp(digests[0], digests[1]) && !strcmp(digests[0], digests[2]);
    if (!same) fprintf(stderr, "digests differ: %s %s %s\n", digests[0], digests[1], digests[2]);
    int code = tarn_exit(context);
    return code ? code : !same;
}

/* The first shards of this rank's step, one after the other. */
static void run_by_hand(tarn_trainer *trainer, void *gpt, int shards)
{
    for (int i = 0; i < shards; i++) {
        tarn_step *step = tarn_step_begin(trainer);
        const tarn_batch *batch = tarn_step_batch(step);
        tarn_backward(step, tarn_gpt_loss(step, gpt, batch->inputs, batch->targets));
        tarn_step_end(step);
    }
}

/* What a script of a user gets wrong, its status not looked at. */
static void log_with_mistakes(tarn_trainer *trainer, int rank, int64_t step)
{
    static char long_text[9000];
    tarn_tracker *tracker = tarn_trainer_tracker(trainer);
    char key[64];
    memset(long_text, 'x', sizeof long_text - 1);
    snprintf(key, sizeof key, "rank_%d/good", rank);
    tarn_log_metric(tracker, key, (double)step, step);
    tarn_log_metric(tracker, "acc (top|5)", 0.5, step);
    tarn_log_param(tracker, long_text, "1");
    snprintf(key, sizeof key, "rank_%d.long", rank);
    tarn_log_tag(tracker, key, long_text);
    tarn_log_artifact(tracker, "no/such/file.txt", NULL);
    tarn_log_artifact(tracker, "/etc/passwd", "../up");
    snprintf(key, sizeof key, "rank_%d/good/inside", rank);
    tarn_log_metric(tracker, key, 1, step); /* a file and a folder at once */
}

static tarn_status run_loop(tarn_context *context, const char *name, const char *path, tarn_train_options *options)
{
    bool odd = tarn_rank(context) == 1, leave = false;
    tarn_trainer *trainer;
    tarn_status status = tarn_trainer_create(&trainer, context, options);
    if (status) return status;
    for (int step = 0; !leave && tarn_trainer_next(trainer); step++) {
        if (step == 4 && tarn_rank(context) == 0 && (!strcmp(name, "final") || !strcmp(name, "early"))) {
            char away[512];
            snprintf(away, sizeof away, "%s-away", path);
            if (rename(path, away)) perror(path);
        }
        if (!strcmp(name, "mistakes")) log_with_mistakes(trainer, odd, step);
        if (step == 1 && !strcmp(name, "late")) setenv("TARN_COMM_TIMEOUT", "3", 1); /* starting takes its time */
        if (step == 1 && odd && !strcmp(name, "late")) {
            sleep(60); /* rank 0 ends the job before */
            _exit(9);
        }
        leave = step == 4 && !strcmp(name, "early");
        if (odd && !strcmp(name, "left_out"))
            run_by_hand(trainer, options->model, 1); /* of its shards 1 and 2 */
        else
            tarn_trainer_run_shards(trainer);
        /* Only an exchange of the control word sets its time anew. */
        const double *control = &tarn_trainer_progress(trainer)->control_seconds, before = *control;
        if (tarn_optim_step(trainer) == TARN_ERROR_COMM && !strcmp(name, "late"))
            printf("the control word was %s\n", *control == before ? "left alone" : "waited for");
    }
    return tarn_trainer_finish(trainer);
}

int main(int argc, char **argv)
{
    tarn_context *context;
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        ids[i] = (int32_t)((state = state * 1664525u + 1013904223u) >> 16) % 11;
    if (argc < 2) return 2;
    if (tarn_init(&context, &argc, &argv)) return tarn_exit(context);
    if (!strcmp(argv[1], "tsan")) return run_tsan(context, argc > 2 ? argv[2] : NULL);
    const char *name = argv[1], *path = argc > 2 ? argv[2] : NULL;
    const char *odd = tarn_rank(context) == 1 ? name : ""; /* what is different on this rank */
    tarn_module *gpt;
    tarn_dataset *data;
    if (open_parts(context, strcmp(odd, "samples") ? 64 : 63, strcmp(odd, "model") ? 0.1 : 0.2, &gpt, &data))
        return tarn_exit(context);
    tarn_train_options options = {.model = gpt,
                                  .data = data,
                                  .steps = strcmp(odd, "steps") ? 6 : 7,
                                  .batch = 12,
                                  .shards = strcmp(odd, "shards") ? 3 : 6,
                                  .threads = 1,
                                  .seed = strcmp(odd, "seed") ? 0 : 1};
    if (!strcmp(name, "final") || !strcmp(name, "early")) options.checkpoint_directory = path;
    tarn_track_options track = {.store = path, .spool = path, .flush_timeout = 60};
    if (!strcmp(name, "mistakes")) options.track = &track;
    if (!strcmp(name, "init")) options.init_from = path;
    tarn_status status = run_loop(context, name, path, &options);
    printf("rank %d: %s (%s)\n", tarn_rank(context), status ? "failed" : "ok", tarn_status_name(status));
    fflush(stdout);
    tarn_dataset_close(data);
    tarn_module_destroy(gpt);
    return tarn_exit(context);
}
