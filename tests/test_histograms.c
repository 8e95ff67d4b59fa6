/* test_histograms.c - histograms of weights and gradients: counted right, the same whatever the threads, and without
 * any trace in what is trained. They are read back from TensorBoard's event file. */
#include "nn/module.h"
#include "track/boards/records.h"
#include "track/tensorboard/messages.h"
#include "train/trainer.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <math.h>
#include <tarn/tarn.h>

/* More weights than one block of the counting. */
enum { SAMPLES = 32, INPUTS = 700, CLASSES = 110, WEIGHTS = INPUTS * CLASSES, STEPS = 4, MOST = 80 };

static tarn_context *context;
static float inputs[SAMPLES * INPUTS];
static int32_t targets[SAMPLES];
static char *folder;

static void set_up(void)
{
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    for (int i = 0; i < SAMPLES * INPUTS; i++) inputs[i] = (float)(i * 7 % 11) / 11 - 0.3f;
    for (int i = 0; i < SAMPLES; i++) targets[i] = i % CLASSES;
    folder = tarn_test_directory();
}

static void tear_down(void)
{
    tarn_test_remove(folder);
    free(folder);
    tarn_exit(context);
}

TestSuite(histograms, .init = set_up, .fini = tear_down, .timeout = 200);

/* What a run was like at each step. */
typedef struct steps {
    tarn_module *model;
    bool at_limits; /* the first step leaves weights that lie on the ends of buckets */
    float weights[STEPS + 1][WEIGHTS + CLASSES];
    double norm[STEPS + 1];
} steps;

static tarn_status note(void *user, const tarn_progress *progress)
{
    steps *all = user;
    tarn_parameter_info info;
    float *out = all->weights[progress->step];
    all->norm[progress->step] = progress->gradient_norm;
    for (int i = 0; tarn_module_parameter_at(all->model, i, &info); i++) {
        if (all->at_limits && progress->step == 1)
            for (int64_t k = 0; k < info.numel; k++)
                info.values[k] = ldexpf(k % 3 ? 1.0f : 1.5f, (int)(k % 19) - 12) * (k % 2 ? -1.0f : 1.0f);
        memcpy(out, info.values, (size_t)info.numel * sizeof *out);
        out += info.numel;
    }
    return TARN_OK;
}

static void train(const char *boards, int64_t every, int threads, steps *all)
{
    static const tarn_sample_shape shape = {.input_dtype = TARN_F32,
                                            .target_dtype = TARN_I32,
                                            .input_ndim = 1,
                                            .input_shape = {INPUTS},
                                            .classes = CLASSES};
    tarn_dataset *data;
    char *spool = tarn_test_format("%s/spool", folder);
    cr_assert_eq(tarn_linear_create(&all->model, context, INPUTS, CLASSES, NULL), TARN_OK);
    cr_assert_eq(tarn_arrays_open(&data, context, SAMPLES, &shape, inputs, targets), TARN_OK);
    const tarn_track_options track = {
        .store = "none", .spool = spool, .tensorboard = boards, .flush_timeout = 60, .name = "run"};
    const tarn_train_options options = {.model = all->model,
                                        .data = data,
                                        .steps = STEPS,
                                        .batch = 16,
                                        .shards = 4,
                                        .threads = threads,
                                        .optim = {.lr = all->at_limits ? 1e-30 : 0.01},
                                        .histograms_every = every,
                                        .system_every = -1,
                                        .track = &track,
                                        .progress = note,
                                        .progress_user = all};
    tarn_status status = tarn_train(context, &options);
    cr_assert_eq(status, TARN_OK, "%s", status ? tarn_get_error(context)->message : "");
    tarn_dataset_close(data);
    tarn_module_destroy(all->model);
    free(spool);
}

typedef struct histogram {
    char key[64];
    int64_t step;
    double min, max, count, sum, squares, limits[MOST], counts[MOST];
    int buckets;
} histogram;

static int numbers(const tarn_protobuf_field *field, double *out)
{
    cr_assert_leq(field->count, MOST * sizeof *out);
    memcpy(out, field->bytes, field->count); /* a little-endian machine */
    return (int)(field->count / sizeof *out);
}

static void parse(tarn_protobuf_reader reader, histogram *out)
{
    double *const scalars[] = {NULL, &out->min, &out->max, &out->count, &out->sum, &out->squares};
    for (tarn_protobuf_field field; tarn_protobuf_next(&reader, &field);)
        if (field.number >= 1 && field.number <= 5)
            *scalars[field.number] = tarn_protobuf_field_double(&field);
        else if (field.number == 6)
            out->buckets = numbers(&field, out->limits);
        else if (field.number == 7)
            cr_assert_eq(numbers(&field, out->counts), out->buckets);
}

/* The histograms of the event file, in their order. */
static int read_histograms(const char *boards, histogram *out, int most)
{
    char *command = tarn_test_format("ls '%s'/run/*tfevents*", boards), *path;
    cr_assert_eq(tarn_test_run(command, 20, &path), 0, "%s", path);
    path[strcspn(path, "\n")] = '\0';
    tarn_board_file file;
    cr_assert_eq(tarn_board_file_open(&file, path), 0);
    int64_t offset = 0;
    const unsigned char *bytes;
    size_t size;
    int count = 0;
    while (tarn_event_read(&file, &offset, &bytes, &size) > 0) {
        tarn_event_seen seen;
        cr_assert(tarn_event_parse(bytes, size, &seen));
        if (seen.kind != TARN_EVENT_HISTOGRAM) continue;
        cr_assert_lt(count, most);
        histogram *one = &out[count++];
        *one = (histogram){.step = seen.step};
        snprintf(one->key, sizeof one->key, "%.*s", (int)seen.tag_length, seen.tag);
        /* event.summary.value.histo */
        tarn_protobuf_reader event = {.at = bytes, .end = bytes + size};
        for (tarn_protobuf_field a, b, c; tarn_protobuf_next(&event, &a);) {
            if (a.number != 5) continue;
            tarn_protobuf_reader summary = tarn_protobuf_inner(&a);
            cr_assert(tarn_protobuf_next(&summary, &b));
            tarn_protobuf_reader value = tarn_protobuf_inner(&b);
            while (tarn_protobuf_next(&value, &c))
                if (c.number == 5) parse(tarn_protobuf_inner(&c), one);
        }
    }
    tarn_board_file_close(&file);
    free(command);
    free(path);
    return count;
}

static void check_counts(const histogram *one, const float *values, int64_t count)
{
    double sum = 0, least = INFINITY, most = -INFINITY;
    int64_t counted[MOST] = {0};
    for (int64_t i = 0; i < count; i++) {
        int bucket = 0;
        while (bucket < one->buckets && (double)values[i] > one->limits[bucket]) bucket++;
        cr_assert_lt(bucket, one->buckets, "%g lies above the last bucket", (double)values[i]);
        counted[bucket]++;
        sum += (double)values[i];
        least = fmin(least, (double)values[i]);
        most = fmax(most, (double)values[i]);
    }
    for (int i = 0; i < one->buckets; i++) {
        cr_assert_eq((int64_t)one->counts[i], counted[i], "%s, bucket %d up to %g: %g, not %lld", one->key, i,
                     one->limits[i], one->counts[i], (long long)counted[i]);
        if (i) cr_assert_gt(one->limits[i], one->limits[i - 1]);
    }
    cr_assert_eq((int64_t)one->count, count);
    cr_assert(one->min == least && one->max == most);
    cr_assert_lt(fabs(one->sum - sum), 1e-9 * (double)count);
    cr_assert_geq(one->buckets, count > 1000 ? 10 : 1); /* it says something */
}

Test(histograms, every_value_is_counted_in_its_bucket)
{
    char *boards = tarn_test_format("%s/boards", folder);
    steps *all = calloc(1, sizeof *all);
    histogram *found = calloc(16, sizeof *found);
    train(boards, 2, 2, all);
    cr_assert_eq(read_histograms(boards, found, 16),
                 8); /* weights and gradients of weight and bias, at steps 2 and 4 */
    double squares[STEPS + 1] = {0};
    for (int i = 0; i < 8; i++) {
        const histogram *one = &found[i];
        cr_assert_eq(one->step, i < 4 ? 2 : 4);
        if (!strcmp(one->key, "weights/weight"))
            check_counts(one, all->weights[one->step], WEIGHTS);
        else if (!strcmp(one->key, "weights/bias"))
            check_counts(one, all->weights[one->step] + WEIGHTS, CLASSES);
        else {
            cr_assert(!strcmp(one->key, "gradients/weight") || !strcmp(one->key, "gradients/bias"), "%s", one->key);
            squares[one->step] += one->squares;
            double counts = 0;
            for (int k = 0; k < one->buckets; k++) counts += one->counts[k];
            cr_assert_eq(counts, one->count);
        }
    }
    for (int step = 2; step <= STEPS; step += 2)
        cr_assert_lt(fabs(sqrt(squares[step]) / all->norm[step] - 1), 1e-5, "the gradient is not that of the norm");
    free(all);
    free(found);
    free(boards);
}

Test(histograms, the_upper_end_of_a_bucket_belongs_to_it)
{
    char *boards = tarn_test_format("%s/boards", folder);
    steps *all = calloc(1, sizeof *all);
    histogram *found = calloc(16, sizeof *found);
    all->at_limits = true;
    train(boards, 2, 2, all);
    int checked = 0, count = read_histograms(boards, found, 16);
    for (int i = 0; i < count; i++)
        if (!strcmp(found[i].key, "weights/weight")) {
            check_counts(&found[i], all->weights[found[i].step], WEIGHTS);
            checked++;
        }
    cr_assert_eq(checked, 2);
    free(all);
    free(found);
    free(boards);
}

Test(histograms, they_leave_the_bits_alone_and_do_not_depend_on_threads)
{
    char *one = tarn_test_format("%s/one", folder), *three = tarn_test_format("%s/three", folder),
         *none = tarn_test_format("%s/none", folder);
    steps *with = calloc(1, sizeof *with), *more = calloc(1, sizeof *more), *without = calloc(1, sizeof *without);
    histogram *first = calloc(32, sizeof *first), *second = calloc(32, sizeof *second);
    train(one, 1, 1, with);
    train(three, 1, 3, more);
    train(none, 0, 1, without);
    cr_assert(!memcmp(with->weights, without->weights, sizeof with->weights));
    cr_assert(!memcmp(with->weights, more->weights, sizeof with->weights));
    cr_assert_eq(read_histograms(one, first, 32), 16);
    cr_assert_eq(read_histograms(three, second, 32), 16);
    cr_assert(!memcmp(first, second, 16 * sizeof *first));
    cr_assert_eq(read_histograms(none, second, 32), 0);
    free(one);
    free(three);
    free(none);
    free(with);
    free(more);
    free(without);
    free(first);
    free(second);
}
