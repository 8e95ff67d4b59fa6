/* value.c - one value of a configuration: from YAML by type, and back to YAML.
 *
 * Invariant: value.text parses back to the same value and the same text.
 */
#include "runtime/config/config_internal.h"
#include "runtime/config/number.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const expected[] = {"a string",      "an integer", "a number",
                                       "true or false", "one of",     "a list of integers such as [784, 128, 10]"};

void tarn_config_value_clear(tarn_config_value *value)
{
    free(value->where);
    free(value->string);
    free(value->list);
    free(value->text);
    memset(value, 0, sizeof *value);
}

static tarn_status out_of_memory(tarn_context *context, const char *where)
{
    return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while reading the configuration (%s)",
                     where);
}

/* What was found instead, for messages. */
static void describe(const tarn_document_entry *entry, char *out, size_t size)
{
    if (!entry || entry->kind == TARN_DOCUMENT_SECTION)
        snprintf(out, size, "%s", entry ? "a section" : "nothing");
    else if (entry->kind == TARN_DOCUMENT_LIST)
        snprintf(out, size, "a list");
    else if (tarn_document_is_null(&entry->items[0]))
        snprintf(out, size, "nothing");
    else if (entry->items[0].plain)
        snprintf(out, size, "%.80s", entry->items[0].text);
    else
        snprintf(out, size, "the string \"%.80s\" (remove the quotes)", entry->items[0].text);
}

static tarn_status wrong_type(tarn_context *context, const tarn_config_key *key, const tarn_document_entry *entry,
                              const char *where)
{
    char found[128];
    describe(entry, found, sizeof found);
    return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s: expected %s%s%s, got %s", where, key->name,
                     expected[key->type], key->type == TARN_CONFIG_CHOICE ? " " : "",
                     key->type == TARN_CONFIG_CHOICE ? key->choices : "", found);
}

static tarn_status check_range(tarn_context *context, const tarn_config_key *key, double number, const char *where)
{
    if (key->low == 0 && key->high == 0) return TARN_OK;
    if (number >= key->low && number <= key->high) return TARN_OK;
    char low[TARN_NUMBER_TEXT], high[TARN_NUMBER_TEXT], found[TARN_NUMBER_TEXT], range[128];
    tarn_number_print(low, key->low);
    tarn_number_print(high, key->high);
    tarn_number_print(found, number);
    /* The smallest normal number stands for "anything above zero" in a schema. */
    if (key->low == DBL_MIN && isinf(key->high))
        snprintf(range, sizeof range, "a value above 0");
    else if (key->low == DBL_MIN)
        snprintf(range, sizeof range, "a value above 0 and up to %s", high);
    else if (isinf(key->high))
        snprintf(range, sizeof range, "%s or more", low);
    else if (isinf(key->low))
        snprintf(range, sizeof range, "%s or less", high);
    else
        snprintf(range, sizeof range, "a value from %s to %s", low, high);
    return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s: expected %s, got %s", where, key->name, range,
                     found);
}

static bool is_choice(const char *choices, const char *word)
{
    size_t length = strlen(word);
    for (const char *choice = choices; *choice;) {
        size_t part = strcspn(choice, "|");
        if (part == length && !strncmp(choice, word, part)) return true;
        choice += part + (choice[part] == '|');
    }
    return false;
}

static tarn_status set_choice(tarn_config_value *value, tarn_context *context, const tarn_config_key *key,
                              const char *word, const char *where)
{
    if (!is_choice(key->choices, word)) {
        char guess[64];
        bool near = tarn_config_suggest_choice(key->choices, word, guess, sizeof guess);
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s: expected one of %s, got \"%.80s\"%s%s%s",
                         where, key->name, key->choices, word, near ? "; did you mean \"" : "", near ? guess : "",
                         near ? "\"?" : "");
    }
    value->string = strdup(word);
    value->text = strdup(word);
    return TARN_OK;
}

static tarn_status set_list(tarn_config_value *value, tarn_context *context, const tarn_config_key *key,
                            const tarn_document_entry *entry, const char *where)
{
    if (entry->kind != TARN_DOCUMENT_LIST || !entry->count) return wrong_type(context, key, entry, where);
    value->list = malloc((size_t)entry->count * sizeof *value->list);
    value->text = malloc((size_t)entry->count * 22 + 3);
    if (!value->list || !value->text) return out_of_memory(context, where);
    char *to = value->text;
    for (int i = 0; i < entry->count; i++) {
        if (!entry->items[i].plain || !tarn_integer_parse(entry->items[i].text, &value->list[i]))
            return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s: expected %s; entry %d is \"%.80s\"", where,
                             key->name, expected[key->type], i + 1, entry->items[i].text);
        tarn_status status = check_range(context, key, (double)value->list[i], where);
        if (status) return status;
        to += sprintf(to, "%s%lld", i ? ", " : "[", (long long)value->list[i]);
    }
    sprintf(to, "]");
    value->count = entry->count;
    return TARN_OK;
}

static tarn_status set_string(tarn_config_value *value, tarn_context *context, const char *text, const char *where)
{
    value->string = strdup(text);
    value->text = tarn_document_scalar_text(text);
    return value->string && value->text ? TARN_OK : out_of_memory(context, where);
}

static tarn_status set_scalar(tarn_config_value *value, tarn_context *context, const tarn_config_key *key,
                              const tarn_document_entry *entry, const char *where)
{
    if (entry->kind != TARN_DOCUMENT_SCALAR) return wrong_type(context, key, entry, where);
    const tarn_document_scalar *scalar = &entry->items[0];
    bool plain = scalar->plain && !tarn_document_is_null(scalar);
    char text[TARN_NUMBER_TEXT + 2];
    tarn_status status = TARN_OK;
    switch (key->type) {
    case TARN_CONFIG_INTEGER:
        if (!plain || !tarn_integer_parse(scalar->text, &value->integer)) return wrong_type(context, key, entry, where);
        status = check_range(context, key, (double)value->integer, where);
        value->number = (double)value->integer;
        snprintf(text, sizeof text, "%lld", (long long)value->integer);
        value->text = strdup(text);
        break;
    case TARN_CONFIG_NUMBER:
        if (!plain || !tarn_number_parse(scalar->text, &value->number)) return wrong_type(context, key, entry, where);
        status = check_range(context, key, value->number, where);
        tarn_number_print(text, value->number);
        /* YAML 1.1 readers take 1e-05 for a string: a number has a point. */
        if (!strchr(text, '.')) {
            size_t head = strcspn(text, "e");
            memmove(text + head + 2, text + head, strlen(text + head) + 1);
            memcpy(text + head, ".0", 2);
        }
        value->text = strdup(text);
        break;
    case TARN_CONFIG_BOOLEAN:
        value->boolean = plain && !strcmp(scalar->text, "true");
        if (!value->boolean && (!plain || strcmp(scalar->text, "false"))) return wrong_type(context, key, entry, where);
        value->text = strdup(value->boolean ? "true" : "false");
        break;
    case TARN_CONFIG_CHOICE:
        if (tarn_document_is_null(scalar)) return wrong_type(context, key, entry, where);
        status = set_choice(value, context, key, scalar->text, where);
        break;
    default:
        status = set_string(value, context, scalar->text, where);
    }
    return status ? status : value->text ? TARN_OK : out_of_memory(context, where);
}

tarn_status tarn_config_value_set(tarn_config_value *value, tarn_context *context, const tarn_config_key *key,
                                  const tarn_document_entry *entry, const char *where)
{
    tarn_config_value_clear(value);
    value->where = strdup(where);
    if (!value->where) return out_of_memory(context, where);
    /* `key: null` takes a string's default away; for other types there is no such thing as no value. */
    if (key->type == TARN_CONFIG_STRING && entry->kind == TARN_DOCUMENT_SCALAR &&
        tarn_document_is_null(&entry->items[0])) {
        value->given = true;
        return TARN_OK;
    }
    tarn_status status = key->type == TARN_CONFIG_INTEGER_LIST ? set_list(value, context, key, entry, where)
                                                               : set_scalar(value, context, key, entry, where);
    value->given = value->has = !status;
    return status;
}

tarn_status tarn_config_value_set_text(tarn_config_value *value, tarn_context *context, const tarn_config_key *key,
                                       const char *text, const char *where)
{
    /* Paths may hold what YAML takes for syntax (a: b, #1), so an unquoted string is taken as it stands. */
    if (key->type == TARN_CONFIG_STRING && *text != '"' && *text != '\'') {
        tarn_document_scalar scalar = {(char *)text, true};
        tarn_document_entry entry = {.key = "", .kind = TARN_DOCUMENT_SCALAR, .items = &scalar, .count = 1};
        return tarn_config_value_set(value, context, key, &entry, where);
    }
    tarn_document document;
    tarn_status status;
    if (!tarn_document_parse(&document, text, strlen(text)))
        status = tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s: expected %s%s%s: %s", where, key->name,
                           expected[key->type], key->type == TARN_CONFIG_CHOICE ? " " : "",
                           key->type == TARN_CONFIG_CHOICE ? key->choices : "", document.problem);
    else if (document.count != 1 || *document.entries[0].key) {
        tarn_document_entry section = {.kind = TARN_DOCUMENT_SECTION};
        status = wrong_type(context, key, document.count ? &section : NULL, where);
    } else
        status = tarn_config_value_set(value, context, key, &document.entries[0], where);
    tarn_document_free(&document);
    return status;
}
