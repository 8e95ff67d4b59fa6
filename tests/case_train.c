/* case_train.c - small trainings as a plain program: for ThreadSanitizer and for several ranks.
 *
 *   case_train tsan       4 threads, 3 shards of 2 micro-batches, dropout, evaluation: prints the digest
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tarn/tarn.h>

static int32_t ids[64 * 9];

static tarn_status read_sample(void *user, int64_t index, void *input, void *target)
{
    (void)user;
    memcpy(input, ids + index * 9, 8 * sizeof *ids);
    memcpy(target, ids + index * 9 + 1, 8 * sizeof *ids);
    return TARN_OK;
}

static int train(tarn_context *context, int threads, char digest[65])
{
    tarn_module *gpt;
    tarn_dataset *data;
    tarn_sample_shape shape = {.input_dtype = TARN_I32,
                               .target_dtype = TARN_I32,
                               .input_ndim = 1,
                               .target_ndim = 1,
                               .input_shape = {8},
                               .target_shape = {8},
                               .classes = 11};
    tarn_gpt_options options = {.layers = 1, .heads = 2, .width = 16, .context = 8, .vocabulary = 11, .dropout = 0.1};
    if (tarn_gpt_create(&gpt, context, &options) || tarn_callback_open(&data, context, 64, &shape, read_sample, NULL) ||
        tarn_dataset_split(data, 0.25))
        return 1;
    tarn_trainer *trainer;
    tarn_train_options train = {.model = gpt,
                                .data = data,
                                .steps = 6,
                                .batch = 12,
                                .shards = 3,
                                .accumulate = 2,
                                .threads = threads,
                                .eval_every = 3,
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

int main(int argc, char **argv)
{
    tarn_context *context;
    uint32_t state = 1;
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        ids[i] = (int32_t)((state = state * 1664525u + 1013904223u) >> 16) % 11;
    if (argc < 2 || strcmp(argv[1], "tsan")) return 2;
    tarn_init(&context, &argc, &argv);
    char digests[3][65] = {"", "", ""};
    static const int threads[3] = {1, 2, 4};
    for (int i = 0; i < 3; i++)
        if (train(context, threads[i], digests[i])) break;
    printf("digest %s\n", digests[0]);
    bool same = *digests[2] && !strcmp(digests[0], digests[1]) && !strcmp(digests[0], digests[2]);
    if (!same) fprintf(stderr, "digests differ: %s %s %s\n", digests[0], digests[1], digests[2]);
    int code = tarn_exit(context);
    return code ? code : !same;
}
