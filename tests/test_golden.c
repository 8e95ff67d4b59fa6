/* test_golden.c - loss curves and gradients against PyTorch: tests/golden.h5, made by tests/python/make_golden.py.
 *
 * The same weights, the same batch: 50 losses within 1e-4 (relative), the gradients of step 1 within 1e-5 in relative
 * L2. The optimizer's first moment after one step is the gradient (SGD) or a known multiple of it (AdamW, clipped).
 */
#include "nn/module.h"
#include "train/trainer.h"

#include <criterion/criterion.h>
#include <hdf5.h>
#include <math.h>
#include <stdlib.h>
#include <tarn/tarn.h>

static tarn_context *context;
static hid_t file;

static void set_up(void)
{
    const char *path = getenv("TARN_TEST_GOLDEN") ? getenv("TARN_TEST_GOLDEN") : TARN_SOURCE_DIR "/tests/golden.h5";
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    cr_assert(file >= 0, "%s cannot be opened", path);
}

static void tear_down(void)
{
    H5Fclose(file);
    tarn_exit(context);
}

TestSuite(golden, .init = set_up, .fini = tear_down, .timeout = 120);

static void *read_set(const char *group, const char *name, hid_t type, size_t size, int64_t expected)
{
    char path[400];
    snprintf(path, sizeof path, "/%s/%s", group, name);
    hid_t set = H5Dopen2(file, path, H5P_DEFAULT);
    cr_assert(set >= 0, "%s is not in the golden file", path);
    hid_t space = H5Dget_space(set);
    int64_t count = H5Sget_simple_extent_npoints(space);
    cr_assert(expected < 0 || count == expected, "%s: %lld values", path, (long long)count);
    void *values = malloc((size_t)count * size);
    cr_assert(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    H5Sclose(space);
    H5Dclose(set);
    return values;
}

static void load_weights(const char *group, tarn_module *model)
{
    cr_assert_eq(tarn_module_build(model, 0), TARN_OK);
    tarn_parameter_info info;
    for (int i = 0; tarn_module_parameter_at(model, i, &info); i++) {
        char name[300];
        snprintf(name, sizeof name, "weights/%s", info.name);
        float *values = read_set(group, name, H5T_NATIVE_FLOAT, 4, info.numel);
        memcpy(info.values, values, (size_t)info.numel * sizeof *values);
        free(values);
    }
}

/* Relative L2 distance of scale * state from the golden gradients, over all parameters. */
static double gradient_error(const char *group, tarn_trainer *trainer, double scale)
{
    const char *names[4];
    float *buffers[4];
    cr_assert(tarn_optimizer_states(trainer->optimizer, names, buffers) >= 1);
    double difference = 0, norm = 0;
    tarn_parameter_info info;
    for (int i = 0; tarn_module_parameter_at(trainer->model, i, &info); i++) {
        char name[300];
        snprintf(name, sizeof name, "gradients/%s", info.name);
        float *golden = read_set(group, name, H5T_NATIVE_FLOAT, 4, info.numel);
        for (int64_t k = 0; k < info.numel; k++) {
            double d = scale * buffers[0][info.offset + k] - golden[k];
            difference += d * d;
            norm += (double)golden[k] * golden[k];
        }
        free(golden);
    }
    return sqrt(difference / norm);
}

static void run(const char *group, tarn_module *model, int64_t batch, tarn_sample_shape shape, tarn_optim_options optim)
{
    bool floats = shape.input_dtype == TARN_F32;
    int64_t per_input = shape.input_shape[0], per_target = shape.target_ndim ? shape.target_shape[0] : 1;
    void *inputs = read_set(group, "inputs", floats ? H5T_NATIVE_FLOAT : H5T_NATIVE_INT32, 4, batch * per_input);
    void *targets = read_set(group, "targets", H5T_NATIVE_INT32, 4, batch * per_target);
    double *losses = read_set(group, "losses", H5T_NATIVE_DOUBLE, 8, 50), worst = 0;
    load_weights(group, model);
    tarn_dataset *data;
    cr_assert_eq(tarn_arrays_open(&data, context, batch, &shape, inputs, targets), TARN_OK);
    tarn_trainer *trainer;
    tarn_train_options options = {
        .model = model, .data = data, .optim = optim, .steps = 50, .batch = batch, .shards = 4};
    cr_assert_eq(tarn_trainer_create(&trainer, context, &options), TARN_OK);
    for (int step = 0; tarn_trainer_next(trainer); step++) {
        cr_assert_eq(tarn_trainer_run_shards(trainer), TARN_OK);
        cr_assert_eq(tarn_optim_step(trainer), TARN_OK);
        const tarn_progress *progress = tarn_trainer_progress(trainer);
        double error = fabs(progress->loss - losses[step]) / losses[step];
        worst = error > worst ? error : worst;
        if (step) continue;
        double norm = progress->gradient_norm,
               clipped = optim.clip && norm > optim.clip ? (norm + 1e-6) / optim.clip : 1;
        double scale = optim.kind == TARN_SGD ? 1 : clipped / 0.1;
        double gradient = gradient_error(group, trainer, scale);
        fprintf(stderr, "%s: gradient of step 1: %.2e relative L2\n", group, gradient);
        cr_expect_lt(gradient, 1e-5);
    }
    fprintf(stderr, "%s: largest relative difference of 50 losses: %.2e\n", group, worst);
    cr_expect_lt(worst, 1e-4);
    cr_assert_eq(tarn_trainer_finish(trainer), TARN_OK);
    tarn_dataset_close(data);
    tarn_module_destroy(model);
    free(inputs);
    free(targets);
    free(losses);
}

Test(golden, mlp_with_momentum)
{
    tarn_module *model;
    static const int64_t sizes[] = {20, 40, 24, 5};
    cr_assert_eq(tarn_mlp_create(&model, context, &(tarn_mlp_options){.count = 4, .sizes = sizes}), TARN_OK);
    tarn_sample_shape shape = {
        .input_dtype = TARN_F32, .target_dtype = TARN_I32, .input_ndim = 1, .input_shape = {20}, .classes = 5};
    run("mlp", model, 16, shape, (tarn_optim_options){.kind = TARN_SGD, .lr = 0.05, .momentum = 0.9});
}

Test(golden, gpt_with_adamw)
{
    tarn_module *model;
    tarn_gpt_options gpt = {.layers = 2, .heads = 3, .width = 24, .context = 12, .vocabulary = 23};
    cr_assert_eq(tarn_gpt_create(&model, context, &gpt), TARN_OK);
    tarn_sample_shape shape = {.input_dtype = TARN_I32,
                               .target_dtype = TARN_I32,
                               .input_ndim = 1,
                               .input_shape = {12},
                               .target_ndim = 1,
                               .target_shape = {12},
                               .classes = 23};
    run("gpt", model, 8, shape, (tarn_optim_options){.kind = TARN_ADAMW, .lr = 1e-3, .weight_decay = 0.1, .clip = 1.0});
}
