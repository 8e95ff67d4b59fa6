/* spool_line.c - one event as one line of text, and back. */
#include "track/spool.h"
#include "runtime/config/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

const char *const tarn_spool_kind_names[TARN_SPOOL_KINDS] = {
    [TARN_TRACK_METRIC] = "metric",     [TARN_TRACK_PARAM] = "param", [TARN_TRACK_TAG] = "tag",
    [TARN_TRACK_ARTIFACT] = "artifact", [TARN_TRACK_BEGIN] = "begin", [TARN_TRACK_END] = "end",
    [TARN_TRACK_INPUT] = "input",       [TARN_TRACK_MODEL] = "model", [TARN_TRACK_HISTOGRAM] = "histogram",
    [TARN_SPOOL_FLOOR] = "floor",       [TARN_SPOOL_INBOX] = "inbox",
};

static const char digits_of_sums[] = "0123456789abcdef";

/* The fields of a kind, in this order. */
enum { KEY = 1, STEP = 2, VALUE = 4, TEXT = 8, FILE_NAME = 16 };

static const unsigned char fields[TARN_SPOOL_KINDS] = {
    [TARN_TRACK_METRIC] = KEY | STEP | VALUE,
    [TARN_TRACK_PARAM] = KEY | TEXT,
    [TARN_TRACK_TAG] = KEY | TEXT,
    [TARN_TRACK_ARTIFACT] = KEY | FILE_NAME,
    [TARN_TRACK_BEGIN] = TEXT,
    [TARN_TRACK_END] = TEXT,
    [TARN_TRACK_INPUT] = KEY | TEXT,
    [TARN_TRACK_MODEL] = KEY | TEXT | FILE_NAME,
    [TARN_TRACK_HISTOGRAM] = KEY | STEP | TEXT,
    [TARN_SPOOL_FLOOR] = KEY | STEP | TEXT,
    [TARN_SPOOL_INBOX] = KEY | STEP,
};

/* ---- printing --------------------------------------------------------------------------------------------------- */

static char *escape(char *out, const char *text)
{
    *out++ = '\t';
    for (; text && *text; text++) switch (*text) {
        case '\t':
            *out++ = '\\', *out++ = 't';
            break;
        case '\n':
            *out++ = '\\', *out++ = 'n';
            break;
        case '\r':
            *out++ = '\\', *out++ = 'r';
            break;
        case '\\':
            *out++ = '\\', *out++ = '\\';
            break;
        default:
            *out++ = *text;
        }
    return out;
}

static char *print_integer(char *out, int64_t value)
{
    char digits[24];
    int count = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    if (value < 0) *out++ = '-';
    do digits[count++] = (char)('0' + rest % 10);
    while (rest /= 10);
    while (count) *out++ = digits[--count];
    return out;
}

static size_t length_of(const char *text)
{
    return text ? strlen(text) : 0;
}

bool tarn_spool_print(tarn_spool_text *text, const tarn_track_event *event, int64_t number)
{
    unsigned has = fields[event->kind];
    size_t most = 160;
    if (has & KEY) most += 2 * length_of(event->key);
    if (has & TEXT) most += 2 * length_of(event->text);
    if (has & FILE_NAME) most += 2 * length_of(event->file);
    if (text->used + most > text->room) {
        size_t room = text->used + most + text->room / 2 + 65536;
        char *grown = realloc(text->data, room);
        if (!grown) return false;
        text->data = grown;
        text->room = room;
    }
    char *line = text->data + text->used, *out = print_integer(line + 9, number);
    *out++ = '\t';
    out = print_integer(out, event->time_ms);
    out = escape(out, tarn_spool_kind_names[event->kind]);
    if (has & KEY) out = escape(out, event->key);
    if (has & STEP) {
        *out++ = '\t';
        out = print_integer(out, event->step);
    }
    if (has & VALUE) {
        *out++ = '\t';
        /* Whole numbers are frequent, and the same text either way. */
        if (fabs(event->value) < 1e15 && event->value == (double)(int64_t)event->value &&
            (event->value != 0 || !signbit(event->value)))
            out = print_integer(out, (int64_t)event->value);
        else
            out += tarn_number_print(out, event->value);
    }
    if (has & TEXT) out = escape(out, event->text);
    if (has & FILE_NAME) out = escape(out, event->file);
    unsigned long sum = crc32(0, (const unsigned char *)line + 9, (unsigned)(out - line - 9));
    for (int i = 0; i < 8; i++) line[i] = digits_of_sums[sum >> (28 - 4 * i) & 15];
    line[8] = '\t';
    *out++ = '\n';
    text->used = (size_t)(out - text->data);
    return true;
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* Ends the field at `*at` with a zero and moves behind it; NULL: there is none. */
static char *take(char **at)
{
    char *field = *at;
    if (!field) return NULL;
    char *tab = strchr(field, '\t');
    if (tab) *tab = '\0';
    *at = tab ? tab + 1 : NULL;
    return field;
}

static char *take_text(char **at)
{
    char *field = take(at), *out = field ? strchr(field, '\\') : NULL;
    if (!out) return field;
    for (const char *in = out; *in; in++) {
        if (*in != '\\') {
            *out++ = *in;
            continue;
        }
        in++;
        if (*in == 't')
            *out++ = '\t';
        else if (*in == 'n')
            *out++ = '\n';
        else if (*in == 'r')
            *out++ = '\r';
        else if (*in == '\\')
            *out++ = '\\';
        else
            return NULL;
    }
    *out = '\0';
    return field;
}

static bool take_integer(char **at, int64_t *value)
{
    const char *field = take(at);
    return field && tarn_integer_parse(field, value);
}

static bool sum_is_right(const char *line, size_t length)
{
    if (length < 10 || line[8] != '\t') return false;
    unsigned long sum = 0;
    for (int i = 0; i < 8; i++) {
        char c = line[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        sum = sum << 4 | (unsigned long)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return sum == crc32(0, (const unsigned char *)line + 9, (unsigned)(length - 9));
}

bool tarn_spool_peek(const char *line, size_t length, int64_t *number)
{
    if (!sum_is_right(line, length)) return false;
    *number = 0;
    for (size_t i = 9; i < length && line[i] >= '0' && line[i] <= '9' && *number < INT64_MAX / 10 - 1; i++)
        *number = 10 * *number + (line[i] - '0');
    return *number > 0;
}

/* A path below something: not absolute, and with no way out. */
static bool is_below(const char *path)
{
    if (!*path || *path == '/') return false;
    for (const char *part = path; part; part = strchr(part, '/')) {
        part += *part == '/';
        if (!strncmp(part, "..", 2) && (part[2] == '/' || !part[2])) return false;
    }
    return true;
}

/* Keys become names of files in stores, and files are read from the spool. */
static bool stays_inside(const tarn_track_event *event)
{
    if (event->key && event->kind != TARN_TRACK_INPUT && !is_below(event->key)) return false;
    return !event->file || (!strncmp(event->file, "files/", 6) && is_below(event->file));
}

bool tarn_spool_parse(char *line, size_t length, tarn_track_event *event, int64_t *number)
{
    if (!sum_is_right(line, length)) return false;
    line[length] = '\0';
    char *at = line + 9;
    *event = (tarn_track_event){.id = -1};
    if (!take_integer(&at, number) || *number < 1 || !take_integer(&at, &event->time_ms)) return false;
    const char *name = take(&at);
    int kind = 0;
    while (kind < TARN_SPOOL_KINDS && name && strcmp(name, tarn_spool_kind_names[kind])) kind++;
    if (!name || kind == TARN_SPOOL_KINDS) return false;
    event->kind = (tarn_track_kind)kind;
    unsigned has = fields[kind];
    if (has & KEY && !(event->key = take_text(&at))) return false;
    if (has & STEP && !take_integer(&at, &event->step)) return false;
    if (has & VALUE) {
        const char *value = take(&at);
        if (!value || !tarn_number_parse(value, &event->value)) return false;
    }
    if (has & TEXT && !(event->text = take_text(&at))) return false;
    if (has & FILE_NAME && !(event->file = take_text(&at))) return false;
    return !at && stays_inside(event);
}
