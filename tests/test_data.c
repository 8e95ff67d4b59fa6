/* test_data.c - idx files, arrays, callbacks, the validation part, and bad input to each.
 */
#include "data/dataset.h"
#include "tests/data_support.h"

#include <zlib.h>

TestSuite(data, .init = setup, .fini = teardown);

/* ---- idx ------------------------------------------------------------------------------------------------- */

enum { IMAGES = 50, ROWS = 3, COLUMNS = 4, PIXELS = ROWS * COLUMNS };

static uint8_t images[16 + IMAGES * PIXELS], labels[8 + IMAGES];

static void put_number(uint8_t *at, uint32_t value)
{
    for (int i = 0; i < 4; i++) at[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* 50 images of 3 x 4 pixels, labels 0 to 6. */
static void make_idx(void)
{
    put_number(images, 0x00000803);
    put_number(images + 4, IMAGES);
    put_number(images + 8, ROWS);
    put_number(images + 12, COLUMNS);
    for (int i = 0; i < IMAGES * PIXELS; i++) images[16 + i] = (uint8_t)(i * 37);
    put_number(labels, 0x00000801);
    put_number(labels + 4, IMAGES);
    for (int i = 0; i < IMAGES; i++) labels[8 + i] = (uint8_t)(i * 3 % 7);
}

static const char *write_gzip(const char *name, const void *bytes, size_t size)
{
    const char *path = in_folder(name);
    gzFile file = gzopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(gzwrite(file, bytes, (unsigned)size), (int)size);
    cr_assert_eq(gzclose(file), Z_OK);
    return path;
}

Test(data, idx_plain_and_gzipped)
{
    make_idx();
    const char *paths[2][2] = {{write_bytes("i", images, sizeof images), write_bytes("l", labels, sizeof labels)},
                               {write_gzip("i.gz", images, sizeof images), write_gzip("l.gz", labels, sizeof labels)}};
    char digest[TARN_DIGEST_TEXT_BYTES] = "";
    for (int k = 0; k < 2; k++) {
        tarn_dataset *dataset;
        cr_assert_eq(tarn_idx_open(&dataset, context, paths[k][0], paths[k][1]), TARN_OK);
        tarn_sample_shape shape;
        tarn_dataset_shape(dataset, &shape);
        cr_expect_eq(tarn_dataset_length(dataset), IMAGES);
        cr_expect(shape.input_dtype == TARN_F32 && shape.input_ndim == 1 && shape.input_shape[0] == PIXELS);
        cr_expect(shape.target_dtype == TARN_I32 && shape.target_ndim == 0 && shape.classes == 7);
        for (int i = 0; i < IMAGES; i++) {
            float input[PIXELS];
            int32_t target;
            cr_assert_eq(tarn_dataset_read(dataset, i, input, &target), TARN_OK);
            cr_expect_eq(target, i * 3 % 7);
            for (int p = 0; p < PIXELS; p++)
                cr_expect_eq(input[p], (float)images[16 + i * PIXELS + p] / 255.0f, "image %d pixel %d", i, p);
        }
        cr_expect_eq(strncmp(tarn_dataset_digest(dataset), "sha256:", 7), 0);
        cr_expect_eq(strlen(tarn_dataset_digest(dataset)), 71);
        if (k == 1) cr_expect_str_eq(tarn_dataset_digest(dataset), digest, "packing does not matter");
        strcpy(digest, tarn_dataset_digest(dataset));
        tarn_dataset_close(dataset);
    }
}

Test(data, idx_validation_part)
{
    make_idx();
    tarn_dataset *dataset;
    cr_assert_eq(tarn_idx_open(&dataset, context, write_bytes("i", images, sizeof images),
                               write_bytes("l", labels, sizeof labels)),
                 TARN_OK);
    cr_expect_null(tarn_dataset_validation(dataset));
    cr_assert_eq(tarn_dataset_split(dataset, 0), TARN_OK);
    cr_expect_null(tarn_dataset_validation(dataset));
    expect_error(tarn_dataset_split(dataset, 1), TARN_ERROR_ARGUMENT, "share of 1", NULL);
    expect_error(tarn_dataset_split(dataset, 0.995), TARN_ERROR_ARGUMENT, "50 samples", NULL);
    cr_assert_eq(tarn_dataset_split(dataset, 0.21), TARN_OK);
    tarn_dataset *validation = tarn_dataset_validation(dataset);
    cr_assert_not_null(validation);
    cr_expect_eq(tarn_dataset_length(dataset), 39);
    cr_expect_eq(tarn_dataset_length(validation), 11);
    for (int i = 0; i < 11; i++) {
        float input[PIXELS];
        int32_t target;
        cr_assert_eq(tarn_dataset_read(validation, i, input, &target), TARN_OK);
        cr_expect_eq(target, (39 + i) * 3 % 7);
        cr_expect_eq(input[5], (float)images[16 + (39 + i) * PIXELS + 5] / 255.0f);
    }
    float input[PIXELS];
    int32_t target;
    expect_error(tarn_dataset_read(dataset, 39, input, &target), TARN_ERROR_ARGUMENT, "39", NULL);
    expect_error(tarn_dataset_split(dataset, 0.1), TARN_ERROR_STATE, "split already", NULL);
    expect_error(tarn_text_set_context(dataset, 8), TARN_ERROR_ARGUMENT, "idx", NULL);
    tarn_dataset_close(dataset);
}

/* Opens images of these bytes with good labels and expects an error with four words. */
static void expect_bad_images(const void *bytes, size_t size, tarn_status status, const char *a, const char *b,
                              const char *c)
{
    tarn_dataset *dataset;
    const char *good = write_bytes("labels", labels, sizeof labels);
    expect_error(tarn_idx_open(&dataset, context, write_bytes("images", bytes, size), good), status, "images", a, b, c,
                 NULL);
    cr_expect_null(dataset);
    if (size > 0) /* the same, packed */
        expect_error(tarn_idx_open(&dataset, context, write_gzip("images.gz", bytes, size), good), status, "images.gz",
                     a, b, c, NULL);
}

Test(data, idx_bad_contents)
{
    make_idx();
    uint8_t bytes[sizeof images + 3];
    memcpy(bytes, images, sizeof images);
    expect_bad_images(bytes, 0, TARN_ERROR_FORMAT, "empty", "expected 4", "found 0");
    expect_bad_images(bytes, 3, TARN_ERROR_FORMAT, "truncated", "expected 4", "found 3");
    expect_bad_images(bytes, 9, TARN_ERROR_FORMAT, "truncated", "expected 16", "found 9");
    expect_bad_images(bytes, 16, TARN_ERROR_FORMAT, "truncated", "expected 616", "found 16");
    expect_bad_images(bytes, sizeof images - 1, TARN_ERROR_FORMAT, "truncated", "expected 616", "found 615");
    expect_bad_images(bytes, sizeof images + 3, TARN_ERROR_FORMAT, "follows", "expected 616", "found 619");
    put_number(bytes + 4, 0xffffffffu); /* 51 GB claimed: not allocated */
    expect_bad_images(bytes, sizeof images, TARN_ERROR_FORMAT, "truncated", "expected 51539607556", "found 616");
    put_number(bytes + 8, 0xffffffffu);
    put_number(bytes + 12, 0xffffffffu);
    expect_bad_images(bytes, sizeof images, TARN_ERROR_FORMAT, "larger", "header", "dimensions");
    put_number(bytes + 4, 0);
    expect_bad_images(bytes, 16, TARN_ERROR_FORMAT, "no samples", "dimension 0", "is 0");
    bytes[2] = 0x0d; /* floats */
    expect_bad_images(bytes, sizeof images, TARN_ERROR_UNSUPPORTED, "0x0d", "0x08", "bytes");
    expect_bad_images("hello world", 11, TARN_ERROR_FORMAT, "no IDX file", "68 65 6c 6c", "00 00 08 03");
}

Test(data, idx_bad_files)
{
    make_idx();
    tarn_dataset *dataset;
    const char *good = write_bytes("i", images, sizeof images), *marks = write_bytes("l", labels, sizeof labels);
    expect_error(tarn_idx_open(&dataset, context, in_folder("none"), marks), TARN_ERROR_IO, "none", "No such file",
                 NULL);
    expect_error(tarn_idx_open(&dataset, context, good, in_folder("none")), TARN_ERROR_IO, "none", NULL);
    expect_error(tarn_idx_open(&dataset, context, good, NULL), TARN_ERROR_ARGUMENT, "labels", NULL);
    expect_error(tarn_idx_open(&dataset, context, folder, marks), TARN_ERROR_IO, folder, "directory", NULL);
    expect_error(tarn_idx_open(&dataset, context, marks, good), TARN_ERROR_FORMAT, "exchanged", NULL);
    put_number(labels + 4, IMAGES - 1);
    expect_error(tarn_idx_open(&dataset, context, good, write_bytes("few", labels, sizeof labels - 1)),
                 TARN_ERROR_FORMAT, "50 images", "49 labels", "few", NULL);
}

/* A packed file cut anywhere, or with a flipped bit anywhere, is an error that names it. */
Test(data, idx_damaged_gzip)
{
    make_idx();
    tarn_dataset *dataset;
    const char *marks = write_bytes("l", labels, sizeof labels);
    size_t size = 0;
    char *packed = tarn_test_read(write_gzip("whole.gz", images, sizeof images), &size);
    cr_assert_not_null(packed);
    for (size_t cut = 0; cut < size; cut++)
        expect_error(tarn_idx_open(&dataset, context, write_bytes("cut.gz", packed, cut), marks), TARN_ERROR_FORMAT,
                     "cut.gz", NULL);
    for (size_t at = 10; at < size; at++) { /* after the header, whose flags and times may vary */
        packed[at] = (char)(packed[at] ^ 0x10);
        expect_error(tarn_idx_open(&dataset, context, write_bytes("bad.gz", packed, size), marks), TARN_ERROR_FORMAT,
                     "bad.gz", NULL);
        packed[at] = (char)(packed[at] ^ 0x10);
    }
    free(packed);
}

/* Larger than zlib's buffers: the pixels come through whole before the end of the packed file is seen to be wrong. */
Test(data, idx_damaged_end_of_large_gzip)
{
    enum { SIZE = 3000000 };
    make_idx();
    uint8_t *bytes = malloc(16 + SIZE);
    cr_assert_not_null(bytes);
    put_number(bytes, 0x00000803);
    put_number(bytes + 4, IMAGES);
    put_number(bytes + 8, SIZE / IMAGES);
    put_number(bytes + 12, 1);
    for (uint32_t i = 0; i < SIZE; i++) bytes[16 + i] = (uint8_t)(i * i >> 7);
    size_t size = 0;
    char *packed = tarn_test_read(write_gzip("whole.gz", bytes, 16 + SIZE), &size);
    cr_assert_not_null(packed);
    const char *marks = write_bytes("l", labels, sizeof labels);
    tarn_dataset *dataset;
    cr_assert_eq(tarn_idx_open(&dataset, context, in_folder("whole.gz"), marks), TARN_OK);
    tarn_dataset_close(dataset);
    for (size_t less = 1; less <= 8; less++)
        expect_error(tarn_idx_open(&dataset, context, write_bytes("cut.gz", packed, size - less), marks),
                     TARN_ERROR_FORMAT, "cut.gz", NULL);
    packed[size - 8] ^= 1; /* CRC */
    expect_error(tarn_idx_open(&dataset, context, write_bytes("bad.gz", packed, size), marks), TARN_ERROR_FORMAT,
                 "bad.gz", "damaged", NULL);
    free(packed);
    free(bytes);
}

Test(data, idx_fashion_mnist)
{
    const char *pictures = "/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz";
    if (access(pictures, R_OK) != 0) cr_skip_test("%s is missing: apt-get install dataset-fashion-mnist", pictures);
    tarn_dataset *dataset;
    cr_assert_eq(
        tarn_idx_open(&dataset, context, pictures, "/usr/share/datasets/fashion-mnist/t10k-labels-idx1-ubyte.gz"),
        TARN_OK);
    tarn_sample_shape shape;
    tarn_dataset_shape(dataset, &shape);
    cr_expect_eq(tarn_dataset_length(dataset), 10000);
    cr_expect_eq(shape.input_shape[0], 784);
    cr_expect_eq(shape.classes, 10);
    int64_t of_class[10] = {0};
    for (int64_t i = 0; i < 10000; i++) {
        float input[784];
        int32_t target;
        cr_assert_eq(tarn_dataset_read(dataset, i, input, &target), TARN_OK);
        of_class[target]++;
    }
    for (int i = 0; i < 10; i++) cr_expect_eq(of_class[i], 1000);
    tarn_dataset_close(dataset);
}

/* ---- arrays and callbacks -------------------------------------------------------------------------------- */

static const tarn_sample_shape pair_shape = {.input_dtype = TARN_F32,
                                             .target_dtype = TARN_I64,
                                             .input_ndim = 2,
                                             .target_ndim = 1,
                                             .input_shape = {2, 3},
                                             .target_shape = {2},
                                             .classes = 5};

Test(data, arrays)
{
    float inputs[4][6];
    int64_t targets[4][2];
    for (int i = 0; i < 24; i++) inputs[i / 6][i % 6] = (float)i;
    for (int i = 0; i < 8; i++) targets[i / 2][i % 2] = i % 6 - 1;
    tarn_dataset *dataset;
    cr_assert_eq(tarn_arrays_open(&dataset, context, 4, &pair_shape, inputs, targets), TARN_OK);
    cr_assert_eq(tarn_dataset_split(dataset, 0.25), TARN_OK);
    cr_expect_eq(tarn_dataset_length(dataset), 3);
    float input[6];
    int64_t target[2];
    cr_assert_eq(tarn_dataset_read(dataset, 2, input, target), TARN_OK);
    cr_expect(memcmp(input, inputs[2], sizeof input) == 0 && memcmp(target, targets[2], sizeof target) == 0);
    cr_assert_eq(tarn_dataset_read(tarn_dataset_validation(dataset), 0, input, target), TARN_OK);
    cr_expect(memcmp(input, inputs[3], sizeof input) == 0 && memcmp(target, targets[3], sizeof target) == 0);
    char digest[TARN_DIGEST_TEXT_BYTES];
    strcpy(digest, tarn_dataset_digest(dataset));
    tarn_dataset_close(dataset);

    targets[3][1] = 4;
    cr_assert_eq(tarn_arrays_open(&dataset, context, 4, &pair_shape, inputs, targets), TARN_OK);
    cr_expect_str_neq(tarn_dataset_digest(dataset), digest);
    tarn_dataset_close(dataset);

    targets[2][1] = 5;
    expect_error(tarn_arrays_open(&dataset, context, 4, &pair_shape, inputs, targets), TARN_ERROR_FORMAT, "sample 2",
                 "target 5", "[0, 5)", NULL);
    expect_error(tarn_arrays_open(&dataset, context, 0, &pair_shape, inputs, targets), TARN_ERROR_ARGUMENT,
                 "no samples", NULL);
    expect_error(tarn_arrays_open(&dataset, context, 4, &pair_shape, NULL, targets), TARN_ERROR_ARGUMENT,
                 "inputs is NULL", NULL);
    tarn_sample_shape bad = pair_shape;
    bad.input_shape[1] = 0;
    expect_error(tarn_arrays_open(&dataset, context, 4, &bad, inputs, targets), TARN_ERROR_SHAPE, "input", NULL);
    bad = pair_shape;
    bad.target_ndim = TARN_MAX_DIMS;
    expect_error(tarn_arrays_open(&dataset, context, 4, &bad, inputs, targets), TARN_ERROR_SHAPE, "target", NULL);
    bad = pair_shape;
    bad.target_dtype = TARN_F32;
    expect_error(tarn_arrays_open(&dataset, context, 4, &bad, inputs, targets), TARN_ERROR_SHAPE, "classes", "f32",
                 NULL);
}

static tarn_status read_numbers(void *user, int64_t index, void *input, void *target)
{
    if (index == *(const int64_t *)user) return TARN_ERROR_IO;
    for (int i = 0; i < 6; i++) ((float *)input)[i] = (float)(index * 10 + i);
    ((int64_t *)target)[0] = index % 5;
    ((int64_t *)target)[1] = index == 8 ? 77 : -1;
    return TARN_OK;
}

Test(data, callback)
{
    int64_t broken = 7;
    tarn_dataset *dataset;
    cr_assert_eq(tarn_callback_open(&dataset, context, 10, &pair_shape, read_numbers, &broken), TARN_OK);
    cr_expect_str_eq(tarn_dataset_digest(dataset), "");
    float input[6];
    int64_t target[2];
    cr_assert_eq(tarn_dataset_read(dataset, 6, input, target), TARN_OK);
    cr_expect(input[5] == 65 && target[0] == 1 && target[1] == -1);
    expect_error(tarn_dataset_read(dataset, 7, input, target), TARN_ERROR_IO, "sample 7", "io", NULL);
    expect_error(tarn_dataset_read(dataset, 8, input, target), TARN_ERROR_FORMAT, "sample 8", "target 77", NULL);
    cr_assert_eq(tarn_dataset_split(dataset, 0.5), TARN_OK);
    expect_error(tarn_dataset_read(tarn_dataset_validation(dataset), 2, input, target), TARN_ERROR_IO, "sample 7",
                 NULL);
    tarn_dataset_close(dataset);
    tarn_dataset_close(NULL);
    expect_error(tarn_callback_open(&dataset, context, 10, &pair_shape, NULL, NULL), TARN_ERROR_ARGUMENT, "read", NULL);
}
