/* document.c - libyaml's events folded into a flat list. The only file that includes yaml.h. */
#include "runtime/config/document.h"
#include "runtime/config/number.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>
#include <yaml.h>

/* Deeper nesting than any file of ours has; bounds the recursion on hostile input. */
#define DEEPEST 8

typedef struct reader {
    yaml_parser_t parser;
    tarn_document *document;
    int room; /* entries allocated */
} reader;

static bool problem(reader *in, int line, const char *text)
{
    if (!in->document->failed) {
        in->document->failed = true;
        in->document->line = line;
        snprintf(in->document->problem, sizeof in->document->problem, "%s", text);
    }
    return false;
}

static bool next(reader *in, yaml_event_t *event)
{
    if (yaml_parser_parse(&in->parser, event)) return true;
    const yaml_parser_t *parser = &in->parser;
    char text[256];
    snprintf(text, sizeof text, "%s%s%s", parser->problem ? parser->problem : "not YAML", parser->context ? " " : "",
             parser->context ? parser->context : "");
    bool unread = parser->error == YAML_READER_ERROR; /* bytes that are no UTF-8: marks stand still */
    problem(in, (int)(unread ? parser->mark.line : parser->problem_mark.line) + 1, text);
    memset(event, 0, sizeof *event);
    return false;
}

static int line_of(const yaml_event_t *event)
{
    return (int)event->start_mark.line + 1;
}

static tarn_document_entry *add_entry(reader *in, const char *key, int line, tarn_document_kind kind)
{
    tarn_document *document = in->document;
    if (document->count == in->room) {
        int room = in->room ? 2 * in->room : 32;
        tarn_document_entry *grown = realloc(document->entries, (size_t)room * sizeof *grown);
        if (!grown) {
            problem(in, line, "out of memory");
            return NULL;
        }
        document->entries = grown;
        in->room = room;
    }
    tarn_document_entry *entry = &document->entries[document->count];
    *entry = (tarn_document_entry){.key = strdup(key), .line = line, .kind = kind};
    if (!entry->key) {
        problem(in, line, "out of memory");
        return NULL;
    }
    document->count++;
    return entry;
}

static bool add_item(reader *in, tarn_document_entry *entry, const yaml_event_t *event)
{
    if (event->data.scalar.anchor || event->data.scalar.tag)
        return problem(in, line_of(event), "anchors and tags (&name, !tag) are not supported here");
    if (strlen((const char *)event->data.scalar.value) != event->data.scalar.length)
        return problem(in, line_of(event), "a value holds a zero byte");
    tarn_document_scalar *grown = realloc(entry->items, (size_t)(entry->count + 1) * sizeof *grown);
    char *text = strdup((const char *)event->data.scalar.value);
    if (grown) entry->items = grown;
    if (!grown || !text) {
        free(text);
        return problem(in, line_of(event), "out of memory");
    }
    entry->items[entry->count++] = (tarn_document_scalar){text, event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE};
    return true;
}

static bool read_list(reader *in, const char *key, int line)
{
    tarn_document_entry *entry = add_entry(in, key, line, TARN_DOCUMENT_LIST);
    bool good = entry != NULL;
    for (bool more = good; more;) {
        yaml_event_t event;
        if (!next(in, &event)) return false;
        if (event.type == YAML_SCALAR_EVENT)
            more = good = add_item(in, entry, &event);
        else if (event.type == YAML_SEQUENCE_END_EVENT)
            more = false;
        else
            more = good = problem(in, line_of(&event), "a list may hold plain values only");
        yaml_event_delete(&event);
    }
    return good;
}

static bool read_mapping(reader *in, const char *prefix, int depth);

/* The value of `key`, whose event is at hand. */
static bool read_value(reader *in, const char *key, int line, const yaml_event_t *event, int depth)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT: {
        tarn_document_entry *entry = add_entry(in, key, line, TARN_DOCUMENT_SCALAR);
        return entry && add_item(in, entry, event);
    }
    case YAML_SEQUENCE_START_EVENT:
        return read_list(in, key, line);
    case YAML_MAPPING_START_EVENT:
        if (depth >= DEEPEST) return problem(in, line_of(event), "sections are nested too deeply");
        /* The top mapping is no section. */
        if (depth > 0 && !add_entry(in, key, line, TARN_DOCUMENT_SECTION)) return false;
        return read_mapping(in, key, depth + 1);
    case YAML_ALIAS_EVENT:
        return problem(in, line_of(event), "aliases (*name) are not supported here: write the value out");
    default:
        return problem(in, line_of(event), "unexpected YAML");
    }
}

static bool read_mapping(reader *in, const char *prefix, int depth)
{
    for (;;) {
        yaml_event_t event;
        if (!next(in, &event)) return false;
        if (event.type == YAML_MAPPING_END_EVENT) {
            yaml_event_delete(&event);
            return true;
        }
        int line = line_of(&event);
        char *key = NULL;
        if (event.type != YAML_SCALAR_EVENT)
            problem(in, line, "a key must be a plain word");
        else if (asprintf(&key, "%s%s%s", prefix, *prefix ? "." : "", (const char *)event.data.scalar.value) < 0) {
            key = NULL;
            problem(in, line, "out of memory");
        }
        yaml_event_delete(&event);
        if (!key) return false;
        bool good = next(in, &event);
        if (good) {
            good = read_value(in, key, line, &event, depth);
            yaml_event_delete(&event);
        }
        free(key);
        if (!good) return false;
    }
}

static bool read_stream(reader *in)
{
    bool seen = false;
    for (;;) {
        yaml_event_t event;
        if (!next(in, &event)) return false;
        yaml_event_type_t type = event.type;
        bool good = true;
        switch (type) {
        case YAML_STREAM_START_EVENT:
        case YAML_DOCUMENT_END_EVENT:
        case YAML_STREAM_END_EVENT:
            break;
        case YAML_DOCUMENT_START_EVENT:
            if (seen) good = problem(in, line_of(&event), "a second document begins (---): only one is expected");
            seen = true;
            break;
        default:
            good = read_value(in, "", line_of(&event), &event, 0);
        }
        yaml_event_delete(&event);
        if (!good) return false;
        if (type == YAML_STREAM_END_EVENT) return true;
    }
}

bool tarn_document_parse(tarn_document *document, const char *text, size_t length)
{
    memset(document, 0, sizeof *document);
    reader in = {.document = document};
    if (!yaml_parser_initialize(&in.parser)) return problem(&in, 0, "out of memory");
    yaml_parser_set_encoding(&in.parser, YAML_UTF8_ENCODING);
    /* libyaml keeps the mark of a UTF-8 byte order mark out of nobody's way but its own scanner's. */
    if (length >= 3 && !memcmp(text, "\xEF\xBB\xBF", 3)) text += 3, length -= 3;
    yaml_parser_set_input_string(&in.parser, (const unsigned char *)text, length);
    bool good = read_stream(&in);
    yaml_parser_delete(&in.parser);
    return good;
}

void tarn_document_free(tarn_document *document)
{
    for (int i = 0; i < document->count; i++) {
        for (int k = 0; k < document->entries[i].count; k++) free(document->entries[i].items[k].text);
        free(document->entries[i].items);
        free(document->entries[i].key);
    }
    free(document->entries);
    document->entries = NULL;
    document->count = 0;
}

const char *tarn_document_get(const tarn_document *document, const char *key)
{
    for (int i = 0; i < document->count; i++)
        if (document->entries[i].kind == TARN_DOCUMENT_SCALAR && !strcmp(document->entries[i].key, key))
            return document->entries[i].items[0].text;
    return NULL;
}

bool tarn_document_is_null(const tarn_document_scalar *scalar)
{
    const char *text = scalar->text;
    return scalar->plain && (!*text || !strcmp(text, "~") || !strcasecmp(text, "null"));
}

/* Length of the UTF-8 character at `text`; 0 when it is none. */
static int character(const unsigned char *text)
{
    int length = text[0] < 0x80                      ? 1
                 : text[0] >= 0xC2 && text[0] < 0xE0 ? 2
                 : (text[0] & 0xF0) == 0xE0          ? 3
                 : text[0] >= 0xF0 && text[0] < 0xF5 ? 4
                                                     : 0;
    for (int i = 1; i < length; i++)
        if ((text[i] & 0xC0) != 0x80) return 0;
    /* Overlong forms, surrogates, and what lies above U+10FFFF. */
    if ((text[0] == 0xE0 && text[1] < 0xA0) || (text[0] == 0xED && text[1] > 0x9F) ||
        (text[0] == 0xF0 && text[1] < 0x90) || (text[0] == 0xF4 && text[1] > 0x8F))
        return 0;
    return length;
}

bool tarn_document_is_utf8(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at;) {
        int length = character(at);
        if (!length) return false;
        at += length;
    }
    return true;
}

char *tarn_document_clean(const char *text)
{
    char *copy = strdup(text);
    for (unsigned char *at = (unsigned char *)copy; at && *at;) {
        int length = character(at);
        if (!length) *at = '?';
        at += length ? length : 1;
    }
    return copy;
}

/* Writes the valid character at *from, which ends up at its last byte; what YAML takes for a line break or does not
 * allow bare is escaped. */
static int quote_character(char *to, const unsigned char **from)
{
    const unsigned char *at = *from;
    int length = character(at);
    *from += length - 1;
    if (length == 2 && at[0] == 0xC2 && at[1] < 0xA0) return sprintf(to, "\\x%02X", at[1]);
    if (length == 3) {
        int code = (at[0] & 0xF) << 12 | (at[1] & 0x3F) << 6 | (at[2] & 0x3F);
        if (code == 0x2028 || code == 0x2029 || code == 0xFEFF || code >= 0xFFFE) return sprintf(to, "\\u%04X", code);
    }
    memcpy(to, at, (size_t)length);
    return length;
}

char *tarn_document_quote(const char *text)
{
    char *out = malloc(6 * strlen(text) + 3), *to = out;
    if (!out) return NULL;
    *to++ = '"';
    for (const unsigned char *from = (const unsigned char *)text; *from; from++) {
        if (*from == '"' || *from == '\\')
            to += sprintf(to, "\\%c", *from);
        else if (*from == '\n')
            to += sprintf(to, "\\n");
        else if (*from == '\t')
            to += sprintf(to, "\\t");
        else if (*from < 0x20 || *from == 0x7F || (*from >= 0x80 && !character(from)))
            to += sprintf(to, "\\x%02X", *from);
        else
            to += quote_character(to, &from);
    }
    *to++ = '"';
    *to = '\0';
    return out;
}

char *tarn_document_scalar_text(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char *const words[] = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"};
    size_t length = strlen(text);
    bool bare = length && (strchr(letters, text[0]) || text[0] == '/' || text[0] == '_');
    for (size_t i = 0; i < length && bare; i++) bare = strchr(letters, text[i]) || strchr("0123456789_./-", text[i]);
    for (size_t i = 0; i < sizeof words / sizeof *words && bare; i++) bare = strcasecmp(text, words[i]) != 0;
    return bare ? strdup(text) : tarn_document_quote(text);
}

char *tarn_document_read_file(const char *path, size_t *length)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return NULL;
    struct stat info;
    char *text = NULL;
    size_t used = 0, room = 0;
    int error = fstat(file, &info) ? errno : S_ISDIR(info.st_mode) ? EISDIR : 0;
    while (!error) {
        if (used + 1 >= room) {
            room = room ? 2 * room : (size_t)(info.st_size > 0 ? info.st_size : 0) + 4096;
            char *grown = realloc(text, room);
            if (!grown) {
                error = ENOMEM;
                break;
            }
            text = grown;
        }
        ssize_t got = read(file, text + used, room - used - 1);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) error = errno;
        if (got <= 0) break;
        used += (size_t)got;
    }
    close(file);
    if (error) {
        free(text);
        errno = error;
        return NULL;
    }
    text[used] = '\0';
    if (length) *length = used;
    return text;
}
