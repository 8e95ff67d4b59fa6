/* mlp.c - an MLP on Fashion-MNIST (apt: dataset-fashion-mnist), in both forms of a training loop: the same bits.
 *
 *   mlp FOLDER [train|loop] [EPOCHS]        FOLDER: /usr/share/datasets/fashion-mnist
 * Prints the test accuracy and the digest of the training state. Records the run, with a parameter, metrics, a tag and
 * a file of its own: tarn track show mlp
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <tarn/tarn.h>

/* Form 1: one loss function; the shards of a rank run on all of its threads. Form 2: the loop by hand. */
static tarn_tensor *loss(tarn_step *step, const tarn_batch *batch, void *model)
{
    return tarn_cross_entropy(tarn_forward(step, model, batch->inputs), batch->targets);
}

/* The log calls work on any rank and thread, at any time, and wait for nothing. What one rank only knows needs a key of
 * its own; keys below system/ are measurements, which may differ when a step is run again. */
static void log_step(tarn_context *context, tarn_trainer *trainer)
{
    int64_t step = tarn_trainer_progress(trainer)->step;
    struct rusage usage;
    char key[64];
    if (step % 100 || getrusage(RUSAGE_SELF, &usage)) return;
    snprintf(key, sizeof key, "system/rank_%d/resident_megabytes", tarn_rank(context));
    tarn_log_metric(tarn_trainer_tracker(trainer), key, (double)usage.ru_maxrss / 1024, step);
}

static void log_result(tarn_trainer *trainer, double mean, double accuracy, const char *digest)
{
    tarn_tracker *tracker = tarn_trainer_tracker(trainer);
    tarn_log_metric(tracker, "test.accuracy", accuracy, tarn_trainer_progress(trainer)->step);
    tarn_log_tag(tracker, "digest", digest);
    FILE *file = fopen("result.txt", "w");
    if (!file) return;
    fprintf(file, "loss %.4f accuracy %.4f digest %s\n", mean, accuracy, digest);
    fclose(file);
    tarn_log_artifact(tracker, "result.txt", NULL);
}

static tarn_status run(tarn_context *context, const tarn_train_options *options, tarn_dataset *test, bool by_hand)
{
    tarn_trainer *trainer;
    tarn_status status = tarn_trainer_create(&trainer, context, options);
    if (status) return status;
    if (tarn_rank(context) == 0) tarn_log_param(tarn_trainer_tracker(trainer), "form", by_hand ? "loop" : "train");
    while (tarn_trainer_next(trainer)) {
        if (!by_hand) tarn_trainer_run_shards(trainer);
        for (tarn_step *step; (step = tarn_step_begin(trainer));) { /* shards that have not run yet */
            tarn_backward(step, loss(step, tarn_step_batch(step), options->model));
            tarn_step_end(step);
        }
        tarn_optim_step(trainer);
        log_step(context, trainer);
    }
    double mean, accuracy;
    char digest[65];
    if (!tarn_trainer_evaluate(trainer, test, &mean, &accuracy) && !tarn_trainer_digest(trainer, digest) &&
        tarn_rank(context) == 0) {
        printf("loss %.4f accuracy %.4f digest %s\n", mean, accuracy, digest);
        log_result(trainer, mean, accuracy, digest);
    }
    return tarn_trainer_finish(trainer);
}

int main(int argc, char **argv)
{
    tarn_context *context;
    tarn_module *mlp = NULL;
    tarn_dataset *train = NULL, *test = NULL;
    char path[4][1024];
    static const char *const files[4] = {"train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
                                         "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"};
    if (tarn_init(&context, &argc, &argv) || argc < 2) {
        if (argc < 2) tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "usage: mlp FOLDER [train|loop] [EPOCHS]");
        return tarn_exit(context);
    }
    for (int i = 0; i < 4; i++) snprintf(path[i], sizeof path[i], "%s/%s", argv[1], files[i]);
    static const int64_t sizes[] = {784, 256, 10};
    tarn_mlp_create(&mlp, context, &(tarn_mlp_options){.count = 3, .sizes = sizes, .activation = TARN_RELU});
    tarn_idx_open(&train, context, path[0], path[1]);
    tarn_idx_open(&test, context, path[2], path[3]);
    double epochs = argc > 3 ? atof(argv[3]) : 10;
    if (!tarn_get_error(context))
        run(context,
            &(tarn_train_options){.model = mlp,
                                  .data = train,
                                  .seed = 1,
                                  .batch = 128,
                                  .steps = (int64_t)(epochs * (double)tarn_dataset_length(train) / 128),
                                  .optim = {.kind = TARN_ADAMW, .lr = 2e-3, .weight_decay = 0.01},
                                  .schedule = {.kind = TARN_COSINE, .warmup = 50},
                                  .track = &(tarn_track_options){.name = "mlp"}}, /* into mlruns */
            test, argc > 2 && !strcmp(argv[2], "loop"));
    tarn_dataset_close(test);
    tarn_dataset_close(train);
    tarn_module_destroy(mlp);
    return tarn_exit(context);
}
