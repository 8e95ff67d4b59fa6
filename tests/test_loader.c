/* test_loader.c - which sample stands where: epochs, slots, resuming, padding, reading ahead, errors of samples.
 */
#include "data/dataset.h"
#include "data/loader.h"
#include "tests/data_support.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

TestSuite(loader, .init = setup, .fini = teardown);

/* A dataset of n samples: input {index, -index} (f32), target = index (i64 class) or as f32. Counts its reads. */
typedef struct numbers {
    atomic_llong reads;
    int64_t broken; /* a sample that cannot be read, -1 = none */
    bool classes;
    atomic_int open_signals; /* reads off the main thread with a signal unblocked */
    pthread_t main_thread;
} numbers;

static tarn_status read_numbers(void *user, int64_t index, void *input, void *target)
{
    numbers *state = user;
    atomic_fetch_add(&state->reads, 1);
    if (!pthread_equal(pthread_self(), state->main_thread)) {
        sigset_t blocked;
        pthread_sigmask(SIG_SETMASK, NULL, &blocked);
        if (!sigismember(&blocked, SIGTERM) || !sigismember(&blocked, SIGUSR1) || !sigismember(&blocked, SIGINT))
            atomic_fetch_add(&state->open_signals, 1);
    }
    if (index == state->broken) return TARN_ERROR_IO;
    ((float *)input)[0] = (float)index;
    ((float *)input)[1] = (float)-index;
    if (state->classes)
        *(int64_t *)target = index % 4 == 3 ? -1 : index; /* a quarter does not count */
    else
        *(float *)target = (float)index;
    return TARN_OK;
}

static tarn_dataset *open_numbers(numbers *state, int64_t n, bool classes)
{
    *state = (numbers){.broken = -1, .classes = classes, .main_thread = pthread_self()};
    tarn_sample_shape shape = {.input_dtype = TARN_F32,
                               .target_dtype = classes ? TARN_I64 : TARN_F32,
                               .input_ndim = 1,
                               .input_shape = {2},
                               .classes = classes ? n : 0};
    tarn_dataset *dataset;
    cr_assert_eq(tarn_callback_open(&dataset, context, n, &shape, read_numbers, state), TARN_OK);
    return dataset;
}

static tarn_loader *open_loader(tarn_dataset *dataset, tarn_loader_options options)
{
    if (options.slots == 0) options.slots = 1;
    if (options.slot_end == 0) options.slot_end = options.slots;
    tarn_loader *loader;
    tarn_status status = tarn_loader_create(&loader, context, dataset, &options);
    cr_assert_eq(status, TARN_OK, "%s", status == TARN_OK ? "" : tarn_get_error(context)->message);
    return loader;
}

/* The samples of a step's rows, of slots begin .. end - 1, from the inputs. */
static void step_samples(tarn_loader *loader, int64_t step, int64_t begin, int64_t end, int64_t *samples)
{
    cr_assert_eq(tarn_loader_load(loader, step), TARN_OK);
    for (int64_t slot = begin; slot < end; slot++) {
        tarn_rows rows;
        tarn_loader_get(loader, slot, &rows);
        for (int64_t row = 0; row < rows.samples; row++) {
            const float *input = (const float *)rows.inputs + 2 * row;
            cr_expect_eq(input[1], -input[0]);
            *samples++ = (int64_t)input[0];
        }
    }
}

/* Each sample exactly once an epoch, whatever the batch; epochs in another order; positions agree with sample_at. */
Test(loader, epochs_visit_each_sample_once)
{
    static const int64_t sizes[][2] = {{10, 4}, {7, 3}, {16, 8}, {5, 12}, {1, 4}, {100, 7}, {64, 64}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        int64_t n = sizes[k][0], batch = sizes[k][1], epochs = 5;
        numbers state;
        tarn_dataset *dataset = open_numbers(&state, n, false);
        tarn_loader *loader = open_loader(dataset, (tarn_loader_options){.seed = 3, .batch = batch, .prefetch = k % 2});
        cr_expect_eq(tarn_loader_batches(loader), (n + batch - 1) / batch);
        int64_t steps = (epochs * n + batch - 1) / batch;
        int64_t *order = calloc((size_t)(steps * batch), sizeof *order);
        cr_assert_not_null(order);
        for (int64_t step = 0; step < steps; step++) step_samples(loader, step, 0, 1, order + step * batch);
        for (int64_t epoch = 0; epoch < epochs; epoch++) {
            bool seen[100] = {false};
            for (int64_t i = 0; i < n; i++) {
                int64_t sample = order[epoch * n + i];
                cr_assert(sample >= 0 && sample < n);
                cr_expect(!seen[sample], "sample %d twice in epoch %d", (int)sample, (int)epoch);
                seen[sample] = true;
                cr_expect_eq(sample, tarn_loader_sample_at(loader, epoch * n + i));
            }
        }
        if (n >= 10) cr_expect_neq(memcmp(order, order + n, (size_t)n * sizeof *order), 0, "the same order twice");
        free(order);
        tarn_loader_destroy(loader);
        tarn_dataset_close(dataset);
    }
}

/* The order of 10 samples under seed 1: as the permutation's golden values. */
Test(loader, golden_order)
{
    numbers state;
    tarn_dataset *dataset = open_numbers(&state, 10, false);
    tarn_loader *loader = open_loader(dataset, (tarn_loader_options){.seed = 1, .batch = 4});
    static const int64_t expected[20] = {2, 7, 1, 3, 4, 9, 0, 6, 5, 8, 1, 5, 3, 7, 8, 6, 0, 9, 2, 4};
    int64_t samples[20];
    for (int64_t step = 0; step < 5; step++) step_samples(loader, step, 0, 1, samples + 4 * step);
    cr_expect_eq(memcmp(samples, expected, sizeof expected), 0);
    tarn_loader_destroy(loader);
    tarn_dataset_close(dataset);
}

/* With and without the thread, from the start or from any step, forward or jumping: the same rows. */
Test(loader, any_step_from_anywhere)
{
    enum { STEPS = 20, BATCH = 6 };
    numbers state;
    tarn_dataset *dataset = open_numbers(&state, 35, false);
    tarn_loader_options options = {.seed = 9, .batch = BATCH, .slots = 3};
    int64_t expected[STEPS][BATCH], samples[BATCH];
    tarn_loader *loader = open_loader(dataset, options);
    for (int64_t step = 0; step < STEPS; step++) step_samples(loader, step, 0, 3, expected[step]);
    tarn_loader_destroy(loader);
    for (int prefetch = 0; prefetch < 2; prefetch++) {
        options.prefetch = prefetch;
        for (int64_t start = 0; start < STEPS; start++) { /* resume */
            loader = open_loader(dataset, options);
            for (int64_t step = start; step < STEPS; step++) {
                step_samples(loader, step, 0, 3, samples);
                cr_expect_eq(memcmp(samples, expected[step], sizeof samples), 0, "start %d step %d", (int)start,
                             (int)step);
            }
            tarn_loader_destroy(loader); /* while the thread reads */
        }
        loader = open_loader(dataset, options);
        for (int64_t k = 0; k < 200; k++) {
            int64_t step = k * k * 7 % STEPS;
            step_samples(loader, step, 0, 3, samples);
            cr_expect_eq(memcmp(samples, expected[step], sizeof samples), 0, "jump to %d", (int)step);
            step_samples(loader, step, 0, 3, samples); /* again: nothing changes */
            cr_expect_eq(memcmp(samples, expected[step], sizeof samples), 0);
        }
        tarn_loader_destroy(loader);
    }
    cr_expect_eq(atomic_load(&state.open_signals), 0, "the thread left signals open");
    tarn_dataset_close(dataset);
}

/* However ranks share the slots, their rows make up the same batch, in the same places. */
Test(loader, slots_of_ranks_concatenate)
{
    enum { BATCH = 24, SLOTS = 12, STEPS = 6 };
    for (int evaluation = 0; evaluation < 2; evaluation++) {
        numbers state;
        tarn_dataset *dataset = open_numbers(&state, 50, true);
        tarn_loader_options options = {.seed = 4, .batch = BATCH, .slots = 1, .evaluation = evaluation};
        tarn_loader *whole = open_loader(dataset, options);
        int64_t steps = evaluation ? tarn_loader_batches(whole) : STEPS;
        for (int ranks = 1; ranks <= SLOTS; ranks++) {
            for (int64_t step = 0; step < steps; step++) {
                tarn_rows all;
                cr_assert_eq(tarn_loader_load(whole, step), TARN_OK);
                tarn_loader_get(whole, 0, &all);
                cr_expect_eq(all.first, step * BATCH);
                int64_t valid = 0, count = 0;
                for (int rank = 0; rank < ranks; rank++) {
                    options.slots = SLOTS;
                    options.slot_begin = SLOTS * rank / ranks;
                    options.slot_end = SLOTS * (rank + 1) / ranks;
                    options.prefetch = rank % 2;
                    tarn_loader *part = open_loader(dataset, options);
                    cr_assert_eq(tarn_loader_load(part, step), TARN_OK);
                    for (int64_t slot = 0; slot < SLOTS; slot++) {
                        tarn_rows rows;
                        tarn_loader_get(part, slot, &rows);
                        if (slot < options.slot_begin || slot >= options.slot_end) {
                            cr_expect_eq(rows.samples, 0, "no slot of this rank");
                            continue;
                        }
                        cr_expect_eq(rows.samples, BATCH / SLOTS);
                        cr_expect_eq(rows.first, step * BATCH + slot * (BATCH / SLOTS));
                        int64_t at = rows.first - all.first;
                        cr_expect_eq(memcmp(rows.inputs, (const float *)all.inputs + 2 * at,
                                            (size_t)rows.samples * 2 * sizeof(float)),
                                     0);
                        cr_expect_eq(memcmp(rows.targets, (const int64_t *)all.targets + at,
                                            (size_t)rows.samples * sizeof(int64_t)),
                                     0);
                        valid += rows.valid;
                        count += rows.count;
                    }
                    tarn_loader_destroy(part);
                }
                cr_expect_eq(valid, all.valid);
                cr_expect_eq(count, all.count);
            }
        }
        tarn_loader_destroy(whole);
        tarn_dataset_close(dataset);
    }
}

Test(loader, evaluation_pads_classes)
{
    numbers state;
    tarn_dataset *dataset = open_numbers(&state, 21, true);
    tarn_loader *loader =
        open_loader(dataset, (tarn_loader_options){.batch = 16, .slots = 4, .evaluation = true, .prefetch = true});
    cr_expect_eq(tarn_loader_batches(loader), 2);
    int64_t next = 0, total = 0;
    static const int64_t valid[2][4] = {{4, 4, 4, 4}, {4, 1, 0, 0}};
    for (int pass = 0; pass < 3; pass++, next = 0) /* an evaluation may be repeated */
        for (int64_t batch = 0; batch < 2; batch++) {
            cr_assert_eq(tarn_loader_load(loader, batch), TARN_OK);
            for (int64_t slot = 0; slot < 4; slot++) {
                tarn_rows rows;
                tarn_loader_get(loader, slot, &rows);
                cr_expect_eq(rows.samples, 4);
                cr_expect_eq(rows.valid, valid[batch][slot]);
                cr_expect_eq(rows.first, 16 * batch + 4 * slot);
                int64_t count = 0;
                for (int64_t row = 0; row < rows.samples; row++) {
                    const float *input = (const float *)rows.inputs + 2 * row;
                    int64_t target = ((const int64_t *)rows.targets)[row];
                    if (row < rows.valid) {
                        cr_expect_eq(input[0], (float)next);
                        cr_expect_eq(target, next % 4 == 3 ? -1 : next);
                        count += next % 4 != 3;
                        next++;
                    } else {
                        cr_expect(input[0] == 0 && input[1] == 0 && target == -1);
                    }
                }
                cr_expect_eq(rows.count, count);
                total += rows.count;
            }
        }
    cr_expect_eq(total, 3 * 16); /* 21 less 3, 7, 11, 15, 19 */
    expect_error(tarn_loader_load(loader, 2), TARN_ERROR_ARGUMENT, "batch 2", NULL);
    expect_error(tarn_loader_load(loader, -1), TARN_ERROR_ARGUMENT, "batch -1", NULL);
    cr_expect_eq(tarn_loader_sample_at(loader, 20), 20);
    cr_expect_eq(tarn_loader_sample_at(loader, 21), -1);
    tarn_loader_destroy(loader);
    tarn_dataset_close(dataset);
}

Test(loader, evaluation_of_other_targets_has_fewer_rows)
{
    numbers state;
    tarn_dataset *dataset = open_numbers(&state, 21, false);
    tarn_loader *loader = open_loader(dataset, (tarn_loader_options){.batch = 16, .slots = 4, .evaluation = true});
    cr_assert_eq(tarn_loader_load(loader, 1), TARN_OK);
    static const int64_t expected[4] = {4, 1, 0, 0};
    for (int64_t slot = 0; slot < 4; slot++) {
        tarn_rows rows;
        tarn_loader_get(loader, slot, &rows);
        cr_expect(rows.samples == expected[slot] && rows.valid == expected[slot] && rows.count == expected[slot]);
        for (int64_t row = 0; row < rows.samples; row++)
            cr_expect_eq(((const float *)rows.targets)[row], (float)(16 + 4 * slot + row));
    }
    tarn_loader_destroy(loader);
    tarn_dataset_close(dataset);
}

/* Tokens count, and a text's validation part is read in order. */
Test(loader, text_counts_tokens)
{
    char content[200];
    for (int i = 0; i < 200; i++) content[i] = (char)('a' + i % 20);
    tarn_dataset *text;
    cr_assert_eq(tarn_text_open(&text, context, write_bytes("t", content, sizeof content),
                                &(tarn_text_options){.validation = 0.3}),
                 TARN_OK);
    tarn_loader *loader;
    tarn_loader_options options = {.batch = 4, .slots = 2, .slot_end = 2};
    expect_error(tarn_loader_create(&loader, context, text, &options), TARN_ERROR_ARGUMENT, "empty",
                 "tarn_text_set_context", NULL);
    cr_assert_eq(tarn_text_set_context(text, 8), TARN_OK);
    loader = open_loader(text, options);
    cr_expect_eq(tarn_dataset_length(text), 17);
    cr_assert_eq(tarn_loader_load(loader, 0), TARN_OK);
    tarn_rows rows;
    tarn_loader_get(loader, 1, &rows);
    cr_expect(rows.samples == 2 && rows.valid == 2 && rows.count == 16);
    expect_error(tarn_text_set_context(text, 4), TARN_ERROR_STATE, "1 loaders", NULL);
    tarn_loader_destroy(loader);

    options.evaluation = true;
    tarn_dataset *validation = tarn_dataset_validation(text);
    cr_expect_eq(tarn_dataset_length(validation), 7); /* (60 - 1) / 8 */
    loader = open_loader(validation, options);
    expect_error(tarn_text_set_context(text, 4), TARN_ERROR_STATE, NULL);
    cr_assert_eq(tarn_loader_load(loader, 1), TARN_OK);
    tarn_loader_get(loader, 1, &rows);
    cr_expect(rows.samples == 2 && rows.valid == 1 && rows.count == 8);
    cr_expect_eq(((const int32_t *)rows.inputs)[0], (140 + 6 * 8) % 20);
    cr_expect_eq(((const int32_t *)rows.inputs)[8], 0);
    cr_expect_eq(((const int32_t *)rows.targets)[7], (140 + 6 * 8 + 8) % 20);
    for (int i = 8; i < 16; i++) cr_expect_eq(((const int32_t *)rows.targets)[i], -1);
    tarn_loader_destroy(loader);
    cr_assert_eq(tarn_text_set_context(text, 4), TARN_OK);
    tarn_dataset_close(text);
}

/* A sample that cannot be read is reported by the load of its step, not before, and named; then any other step loads.
 */
Test(loader, errors_surface_where_they_belong)
{
    for (int prefetch = 0; prefetch < 2; prefetch++) {
        numbers state;
        tarn_dataset *dataset = open_numbers(&state, 40, false);
        tarn_loader *loader = open_loader(dataset, (tarn_loader_options){.seed = 2, .batch = 4, .prefetch = prefetch});
        state.broken = tarn_loader_sample_at(loader, 9); /* step 2 */
        char sample[32];
        snprintf(sample, sizeof sample, "sample %d:", (int)state.broken);
        cr_assert_eq(tarn_loader_load(loader, 0), TARN_OK);
        cr_assert_eq(tarn_loader_load(loader, 1), TARN_OK);
        for (int i = 0; i < 200 && prefetch && atomic_load(&state.reads) < 10; i++) usleep(10000); /* read ahead */
        cr_expect_null(tarn_get_error(context));
        int64_t before[4], after[4];
        step_samples(loader, 1, 0, 1, before);
        expect_error(tarn_loader_load(loader, 2), TARN_ERROR_IO, sample, "step 2", NULL);
        step_samples(loader, 1, 0, 1, after); /* still there */
        cr_expect_eq(memcmp(before, after, sizeof before), 0);
        expect_error(tarn_loader_load(loader, 2), TARN_ERROR_IO, sample, NULL);
        int64_t broken = state.broken;
        state.broken = -1;
        cr_assert_eq(tarn_loader_load(loader, 2), TARN_OK, "tried anew");
        cr_assert_eq(tarn_loader_load(loader, 5), TARN_OK);
        tarn_loader_destroy(loader); /* ends the thread, which reads state.broken */
        state.broken = broken;
        loader = open_loader(dataset, (tarn_loader_options){.seed = 2, .batch = 4, .prefetch = prefetch});
        expect_error(tarn_loader_load(loader, 2), TARN_ERROR_IO, sample, NULL);
        cr_assert_eq(tarn_loader_load(loader, 3), TARN_OK);
        tarn_loader_destroy(loader);
        tarn_dataset_close(dataset);
    }
}

/* The thread really reads ahead: step 1 is there without another load. */
Test(loader, reads_ahead)
{
    numbers state;
    tarn_dataset *dataset = open_numbers(&state, 40, false);
    tarn_loader *loader = open_loader(dataset, (tarn_loader_options){.batch = 4, .prefetch = true});
    cr_assert_eq(tarn_loader_load(loader, 0), TARN_OK);
    for (int i = 0; i < 1000 && atomic_load(&state.reads) < 8; i++) usleep(10000);
    cr_expect_eq(atomic_load(&state.reads), 8);
    cr_assert_eq(tarn_loader_load(loader, 1), TARN_OK);
    tarn_loader_destroy(loader);
    tarn_loader_destroy(NULL);
    tarn_dataset_close(dataset);
}

Test(loader, bad_options)
{
    numbers state;
    tarn_dataset *dataset = open_numbers(&state, 40, false);
    tarn_loader *loader;
    tarn_loader_options options = {.batch = 30, .slots = 8, .slot_end = 8};
    expect_error(tarn_loader_create(&loader, context, dataset, &options), TARN_ERROR_CONFIG, "30", "8 parts", "24",
                 "32", NULL);
    cr_expect_null(loader);
    options = (tarn_loader_options){.batch = 3, .slots = 8, .slot_end = 8};
    expect_error(tarn_loader_create(&loader, context, dataset, &options), TARN_ERROR_CONFIG, "a batch of 8 or 16",
                 NULL);
    options = (tarn_loader_options){.batch = 8, .slots = 8, .slot_end = 9};
    expect_error(tarn_loader_create(&loader, context, dataset, &options), TARN_ERROR_ARGUMENT, "0 to 9", NULL);
    options = (tarn_loader_options){.batch = 8, .slots = 8, .slot_begin = 3, .slot_end = 2};
    expect_error(tarn_loader_create(&loader, context, dataset, &options), TARN_ERROR_ARGUMENT, "3 to 2", NULL);
    options = (tarn_loader_options){.batch = 0, .slots = 8};
    expect_error(tarn_loader_create(&loader, context, dataset, &options), TARN_ERROR_ARGUMENT, "at least 1", NULL);
    options = (tarn_loader_options){.batch = INT64_MAX - 7, .slots = 8, .slot_end = 8};
    expect_error(tarn_loader_create(&loader, context, dataset, &options), TARN_ERROR_MEMORY, "smaller batch", NULL);
    options = (tarn_loader_options){.batch = 8, .slots = 8, .slot_begin = 4, .slot_end = 4}; /* a rank without work */
    cr_assert_eq(tarn_loader_create(&loader, context, dataset, &options), TARN_OK);
    cr_expect_eq(tarn_loader_load(loader, 5), TARN_OK);
    tarn_loader_destroy(loader);
    tarn_dataset_close(dataset);
}

/* The program that the tsan preset runs; here for its checks. */
Test(loader, case_program)
{
    char *output = NULL;
    cr_expect_eq(tarn_test_run(TARN_BINARY_DIR "/tests/case_loader", 60, &output), 0, "%s", output);
    free(output);
}
