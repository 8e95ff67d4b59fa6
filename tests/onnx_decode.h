/* onnx_decode.h - reads an ONNX file back, by the field numbers of onnx.proto, into text that a test compares: an
 * independent look at the bytes for machines without Python. */
#ifndef TARN_TESTS_ONNX_DECODE_H
#define TARN_TESTS_ONNX_DECODE_H

#include "tests/support.h"

#include <inttypes.h>

typedef struct tarn_test_field {
    int number, type;
    uint64_t value; /* of a varint, or of 4 or 8 bytes */
    const unsigned char *bytes;
    size_t length;
} tarn_test_field;

static bool tarn_test_varint(const unsigned char **at, const unsigned char *end, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; *at < end && shift < 64; shift += 7) {
        unsigned char byte = *(*at)++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

/* The next field of a message; false at its end, or where it is broken (*at is then not at the end). */
static bool tarn_test_next(const unsigned char **at, const unsigned char *end, tarn_test_field *field)
{
    const unsigned char *start = *at, *p = start;
    uint64_t tag, length;
    if (p >= end || !tarn_test_varint(&p, end, &tag)) return false;
    *field = (tarn_test_field){.number = (int)(tag >> 3), .type = (int)(tag & 7)};
    if (field->type == 0 && tarn_test_varint(&p, end, &field->value)) {
        *at = p;
        return true;
    }
    length = field->type == 5 ? 4 : 8;
    if (field->type == 2 && !tarn_test_varint(&p, end, &length)) return false;
    if ((field->type != 2 && field->type != 5 && field->type != 1) || (uint64_t)(end - p) < length) return false;
    field->bytes = p;
    field->length = (size_t)length;
    if (field->type != 2) memcpy(&field->value, p, (size_t)length);
    *at = p + length;
    return true;
}

#define TARN_TEST_FIELDS(of, field)                                                                                    \
    for (const unsigned char *at_ = (of)->bytes, *end_ = at_ + (of)->length; tarn_test_next(&at_, end_, &(field));)

static void tarn_test_text(FILE *out, const tarn_test_field *field)
{
    fprintf(out, "%.*s", (int)field->length, (const char *)field->bytes);
}

static void tarn_test_attribute(FILE *out, const tarn_test_field *attribute)
{
    tarn_test_field f;
    TARN_TEST_FIELDS(attribute, f)
    {
        if (f.number == 1) fputc(' ', out), tarn_test_text(out, &f);
        float number;
        uint32_t bits = (uint32_t)f.value;
        memcpy(&number, &bits, sizeof number);
        if (f.number == 2) fprintf(out, "=%g", (double)number);
        if (f.number == 3 || f.number == 8) fprintf(out, "=%" PRId64, (int64_t)f.value);
    }
}

static void tarn_test_node(FILE *out, const tarn_test_field *node)
{
    tarn_test_field f;
    TARN_TEST_FIELDS(node, f) if (f.number == 2) tarn_test_text(out, &f);
    fputs(" =", out);
    TARN_TEST_FIELDS(node, f) if (f.number == 4) fputc(' ', out), tarn_test_text(out, &f);
    TARN_TEST_FIELDS(node, f) if (f.number == 1) fputs(" %", out), tarn_test_text(out, &f);
    TARN_TEST_FIELDS(node, f) if (f.number == 5) tarn_test_attribute(out, &f);
    fputc('\n', out);
}

static void tarn_test_tensor(FILE *out, const tarn_test_field *tensor)
{
    tarn_test_field f;
    TARN_TEST_FIELDS(tensor, f) if (f.number == 8) tarn_test_text(out, &f);
    fputc(':', out);
    TARN_TEST_FIELDS(tensor, f)
    {
        if (f.number == 1) fprintf(out, " %" PRIu64, f.value);
        if (f.number == 2) fprintf(out, " type %" PRIu64, f.value);
        if (f.number == 9) fprintf(out, ", %zu bytes", f.length);
    }
    fputc('\n', out);
}

/* "batch 6" */
static void tarn_test_value_info(FILE *out, const tarn_test_field *info)
{
    tarn_test_field a, b, c, d, e, f;
    TARN_TEST_FIELDS(info, a)
    {
        if (a.number == 1) tarn_test_text(out, &a);
        if (a.number != 2) continue;
        TARN_TEST_FIELDS(&a, b) TARN_TEST_FIELDS(&b, c)
        {
            if (c.number == 1) fprintf(out, " type %" PRIu64, c.value);
            if (c.number != 2) continue;
            TARN_TEST_FIELDS(&c, d) TARN_TEST_FIELDS(&d, e)
            {
                f = e;
                fputc(' ', out);
                if (f.number == 1) fprintf(out, "%" PRIu64, f.value);
                if (f.number == 2) tarn_test_text(out, &f);
            }
        }
    }
    fputc('\n', out);
}

/* The model as text, to be freed. Metadata as "key=value" lines when asked for. */
__attribute__((unused)) static char *tarn_test_onnx_text(const char *path, bool metadata)
{
    size_t bytes, length;
    char *data = tarn_test_read(path, &bytes), *text = NULL;
    FILE *out = open_memstream(&text, &length);
    if (!data || !out) return NULL;
    tarn_test_field model = {.bytes = (const unsigned char *)data, .length = bytes}, field, part, inner;
    TARN_TEST_FIELDS(&model, field)
    {
        if (field.number == 1) fprintf(out, "ir %" PRIu64 "\n", field.value);
        if (field.number == 8) {
            TARN_TEST_FIELDS(&field, part) if (part.number == 2) fprintf(out, "opset %" PRIu64 "\n", part.value);
        }
        if (field.number == 14 && metadata) {
            TARN_TEST_FIELDS(&field, part)
            {
                tarn_test_text(out, &part);
                fputc(part.number == 1 ? '=' : '\n', out);
            }
        }
        if (field.number != 7) continue;
        TARN_TEST_FIELDS(&field, part)
        {
            inner = part;
            if (inner.number == 1) tarn_test_node(out, &inner);
            if (inner.number == 5) tarn_test_tensor(out, &inner);
            if (inner.number == 11 || inner.number == 12) tarn_test_value_info(out, &inner);
        }
    }
    fclose(out);
    free(data);
    return text;
}

#endif
