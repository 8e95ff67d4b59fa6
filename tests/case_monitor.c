/* case_monitor.c - small trainings that hang, are slow or go on until they are stopped, for test_monitor and
 * test_monitor_hang.
 *
 *   case_monitor train STEPS DIRECTORY     slow steps (about 20 ms), checkpoints in DIRECTORY
 *   case_monitor hang RANK STEP            that rank hangs in the loss function of its first shard
 *   case_monitor slow RANK STEP SECONDS    likewise, but works on and says so (tarn_still_working)
 *   case_monitor late SECONDS              rank 1 comes so late to tarn_init
 *   case_monitor linger SECONDS            rank 1 stays so long after the training
 *
 * TARN_TEST_HEALTH: health_timeout in seconds. Every process prints "pid N" first.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tarn/tarn.h>
#include <time.h>
#include <unistd.h>

static tarn_context *context;
static int hang_rank = -1, seconds_of_work;
static long hang_step = -1;
static bool works_on;
static long step_now;

static void pause_milliseconds(long milliseconds)
{
    nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000}, NULL);
}

/* Its name is looked for in the stacks. */
__attribute__((noinline)) static void case_monitor_stuck_here(void)
{
    for (volatile bool stuck = true; stuck;) pause_milliseconds(50);
}

static void work_on(void)
{
    for (int i = 0; i < 20 * seconds_of_work; i++) {
        pause_milliseconds(50);
        tarn_still_working(context);
    }
}

static tarn_tensor *loss(tarn_step *step, const tarn_batch *batch, void *model)
{
    (void)step;
    tarn_tensor *output = tarn_forward(step, model, batch->inputs);
    if (tarn_rank(context) == hang_rank && step_now == hang_step && batch->first % 8 == 4 * hang_rank) {
        if (works_on)
            work_on();
        else
            case_monitor_stuck_here();
    }
    return tarn_mse(output, batch->targets);
}

static tarn_status read_sample(void *user, int64_t index, void *input, void *target)
{
    (void)user;
    float *in = input, *out = target;
    for (int i = 0; i < 4; i++) in[i] = (float)((index * 7 + i) % 11) * 0.1f;
    out[0] = in[0] - in[3];
    return TARN_OK;
}

static tarn_status show(void *user, const tarn_progress *progress)
{
    (void)user;
    step_now = progress->step;
    pause_milliseconds(20);
    return TARN_OK;
}

static tarn_status train(int64_t steps, const char *directory)
{
    static const int64_t sizes[] = {4, 8, 1};
    tarn_mlp_options mlp = {.sizes = sizes, .count = 3};
    tarn_sample_shape shape = {.input_dtype = TARN_F32,
                               .target_dtype = TARN_F32,
                               .input_ndim = 1,
                               .target_ndim = 1,
                               .input_shape = {4},
                               .target_shape = {1}};
    tarn_module *model = NULL;
    tarn_dataset *data = NULL;
    tarn_status status = tarn_mlp_create(&model, context, &mlp);
    if (!status) status = tarn_callback_open(&data, context, 64, &shape, read_sample, NULL);
    const char *health = getenv("TARN_TEST_HEALTH");
    tarn_train_options options = {.model = model,
                                  .loss = loss,
                                  .data = data,
                                  .steps = steps,
                                  .batch = 8,
                                  .shards = 2,
                                  .threads = 1,
                                  .checkpoint_directory = directory,
                                  .health_timeout = health ? strtod(health, NULL) : 0,
                                  .progress = show};
    if (!status) status = tarn_train(context, &options);
    tarn_dataset_close(data);
    tarn_module_destroy(model);
    return status;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    bool second = rank && atoi(rank) == 1;
    printf("pid %d\n", (int)getpid());
    fflush(stdout);
    if (!strcmp(what, "late") && argc > 2 && second) pause_milliseconds(1000 * atol(argv[2]));
    if (tarn_init(&context, &argc, &argv) || tarn_handle_signals(context)) return tarn_exit(context);
    int64_t steps = 8;
    const char *directory = NULL;
    if (!strcmp(what, "train") && argc > 3) {
        steps = atol(argv[2]);
        directory = argv[3];
    }
    if ((!strcmp(what, "hang") || !strcmp(what, "slow")) && argc > 3) {
        hang_rank = atoi(argv[2]);
        hang_step = atol(argv[3]);
        works_on = what[0] == 's';
        seconds_of_work = argc > 4 ? atoi(argv[4]) : 0;
    }
    train(steps, directory);
    if (!strcmp(what, "linger")) setenv("TARN_COMM_TIMEOUT", "3", 1); /* for leaving, not for joining */
    if (!strcmp(what, "linger") && argc > 2 && second) pause_milliseconds(1000 * atol(argv[2]));
    return tarn_exit(context);
}
