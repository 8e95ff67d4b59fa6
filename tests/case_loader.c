/* case_loader.c - a loader that reads ahead while its rows are used, beside another on the same dataset.
 *
 * A plain program, so that it can run under -fsanitize=thread: the rows are read without locks on purpose, load alone
 * orders them. Prints "ok" and exits 0, or says what is wrong and exits 1.
 */
#include "data/loader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

enum { SAMPLES = 97, WIDTH = 50, BATCH = 8, STEPS = 300 };

static int broken = -1; /* written while no loader is open */

static tarn_status read_sample(void *user, int64_t index, void *input, void *target)
{
    (void)user;
    if (index == broken) return TARN_ERROR_IO;
    for (int i = 0; i < WIDTH; i++) ((int32_t *)input)[i] = (int32_t)(index * WIDTH + i);
    *(int32_t *)target = (int32_t)index;
    return TARN_OK;
}

static void check_rows(const tarn_loader *loader, int64_t begin, int64_t end)
{
    for (int64_t slot = begin; slot < end; slot++) {
        tarn_rows rows;
        tarn_loader_get(loader, slot, &rows);
        CHECK(rows.samples == BATCH / 4);
        for (int64_t row = 0; row < rows.valid; row++) {
            int64_t sample = tarn_loader_sample_at(loader, rows.first + row);
            CHECK(((const int32_t *)rows.targets)[row] == sample);
            for (int i = 0; i < WIDTH; i++)
                CHECK(((const int32_t *)rows.inputs)[row * WIDTH + i] == sample * WIDTH + i);
        }
    }
}

int main(void)
{
    tarn_context *context;
    CHECK(tarn_init(&context, NULL, NULL) == TARN_OK);
    const tarn_sample_shape shape = {
        .input_dtype = TARN_I32, .target_dtype = TARN_I32, .input_ndim = 1, .input_shape = {WIDTH}, .classes = SAMPLES};
    tarn_dataset *dataset;
    CHECK(tarn_callback_open(&dataset, context, SAMPLES, &shape, read_sample, NULL) == TARN_OK);
    tarn_loader_options options = {
        .seed = 5, .batch = BATCH, .slots = 4, .slot_begin = 1, .slot_end = 4, .prefetch = true};
    tarn_loader *training, *evaluation;
    CHECK(tarn_loader_create(&training, context, dataset, &options) == TARN_OK);
    options.evaluation = true;
    CHECK(tarn_loader_create(&evaluation, context, dataset, &options) == TARN_OK);
    for (int64_t step = 0; step < STEPS; step++) {
        CHECK(tarn_loader_load(training, step % 50 == 49 ? step * 3 : step) == TARN_OK);
        int64_t batch = step % tarn_loader_batches(evaluation);
        CHECK(tarn_loader_load(evaluation, batch) == TARN_OK);
        check_rows(training, 1, 4);
        check_rows(evaluation, 1, 4);
    }
    tarn_loader_destroy(training); /* while both threads may read */
    tarn_loader_destroy(evaluation);

    broken = 40; /* read ahead by the thread, reported by load */
    CHECK(tarn_loader_create(&evaluation, context, dataset, &options) == TARN_OK);
    for (int64_t batch = 0; batch < 5; batch++) CHECK(tarn_loader_load(evaluation, batch) == TARN_OK);
    CHECK(tarn_get_error(context) == NULL);
    CHECK(tarn_loader_load(evaluation, 5) == TARN_OK); /* 40 is row 0 of batch 5, in slot 0: another rank's */
    tarn_loader_destroy(evaluation);
    options.slot_begin = 0;
    CHECK(tarn_loader_create(&evaluation, context, dataset, &options) == TARN_OK);
    CHECK(tarn_loader_load(evaluation, 4) == TARN_OK);
    CHECK(tarn_loader_load(evaluation, 5) == TARN_ERROR_IO);
    CHECK(tarn_get_error(context) != NULL && strstr(tarn_get_error(context)->message, "sample 40") != NULL);
    tarn_error_clear(context);
    CHECK(tarn_loader_load(evaluation, 6) == TARN_OK);
    check_rows(evaluation, 0, 4);
    tarn_loader_destroy(evaluation);
    tarn_dataset_close(dataset);
    CHECK(tarn_exit(context) == 0);
    puts("ok");
    return 0;
}
