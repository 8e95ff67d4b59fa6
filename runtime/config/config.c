/* config.c - a file and overrides against a schema; what was read, and where.
 *
 * Invariants
 *  1. A configuration that was handed out satisfies its schema: types, ranges, choices, required keys, conditions.
 *  2. Keys whose condition does not hold have no value, not even a default, and do not stand in the text.
 *  3. The text parses back to the same values and the same text.
 */
#include "runtime/config/config_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Row of a key, -1 when the schema has none of that name. */
static int row_of(const tarn_config_key *schema, int keys, const char *name)
{
    for (int i = 0; i < keys; i++)
        if (!strcmp(schema[i].name, name)) return i;
    return -1;
}

static bool is_section(const tarn_config *config, const char *name)
{
    size_t length = strlen(name);
    for (int i = 0; i < config->keys; i++)
        if (!strncmp(config->schema[i].name, name, length) && config->schema[i].name[length] == '.') return true;
    return false;
}

/* Does the condition of row `row` hold? True without a condition. */
static bool applies(const tarn_config *config, int row)
{
    const char *when = config->schema[row].when;
    if (!when) return true;
    size_t length = strcspn(when, "=");
    for (int i = 0; i < config->keys; i++) {
        if (strncmp(config->schema[i].name, when, length) || config->schema[i].name[length]) continue;
        const char *value = config->values[i].string;
        size_t value_length = value ? strlen(value) : 0;
        for (const char *choice = when + length; value && *choice;) {
            choice++; /* over the = or the | */
            size_t part = strcspn(choice, "|");
            if (part == value_length && !strncmp(choice, value, part)) return true;
            choice += part;
        }
        return false;
    }
    return false;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static tarn_status unknown_key(tarn_context *context, const tarn_config *config, const char *where, const char *name)
{
    char guess[1024] = "";
    tarn_config_suggest(config->schema, config->keys, name, guess, sizeof guess);
    return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: unknown key \"%.100s\"%s", where, name, guess);
}

static tarn_status check_not_seen(tarn_context *context, const tarn_document *document, int index, const char *where)
{
    for (int i = 0; i < index; i++)
        if (!strcmp(document->entries[i].key, document->entries[index].key))
            return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                             "%s: %s was given before, in line %d: keep one of them", where,
                             document->entries[index].key, document->entries[i].line);
    return TARN_OK;
}

static tarn_status apply_entry(tarn_config *config, tarn_context *context, const tarn_document *document, int index)
{
    const tarn_document_entry *entry = &document->entries[index];
    char where[512];
    snprintf(where, sizeof where, "%.480s:%d", config->name, entry->line);
    if (!*entry->key)
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: expected lines of the form \"key: value\"", where);
    tarn_status status = check_not_seen(context, document, index, where);
    if (status) return status;
    int row = row_of(config->schema, config->keys, entry->key);
    if (row >= 0) return tarn_config_value_set(&config->values[row], context, &config->schema[row], entry, where);
    if (!is_section(config, entry->key)) return unknown_key(context, config, where, entry->key);
    /* `model:` with nothing below it is an empty section. */
    if (entry->kind == TARN_DOCUMENT_SECTION ||
        (entry->kind == TARN_DOCUMENT_SCALAR && tarn_document_is_null(&entry->items[0])))
        return TARN_OK;
    return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s is a section: expected keys below it, got a value",
                     where, entry->key);
}

static tarn_status apply_text(tarn_config *config, tarn_context *context, const char *text, size_t length)
{
    tarn_document document;
    tarn_status status = TARN_OK;
    if (!tarn_document_parse(&document, text, length))
        status = tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s:%d: %s", config->name, document.line,
                           document.problem);
    /* A bare null is an empty file. */
    bool empty = document.count == 1 && !*document.entries[0].key && document.entries[0].kind == TARN_DOCUMENT_SCALAR &&
                 tarn_document_is_null(&document.entries[0].items[0]);
    for (int i = 0; i < document.count && !status && !empty; i++) status = apply_entry(config, context, &document, i);
    tarn_document_free(&document);
    return status;
}

static tarn_status apply_override(tarn_config *config, tarn_context *context, const char *override)
{
    char where[512];
    snprintf(where, sizeof where, "%.480s on the command line", override);
    const char *equals = strchr(override, '=');
    if (!equals || equals == override)
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: expected key=value, such as train.steps=100",
                         where);
    char *name = strndup(override, (size_t)(equals - override));
    if (!name) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while reading %s", where);
    int row = row_of(config->schema, config->keys, name);
    tarn_status status;
    if (row >= 0)
        status = tarn_config_value_set_text(&config->values[row], context, &config->schema[row], equals + 1, where);
    else if (is_section(config, name))
        status = tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s is a section: name a key of it, %s.KEY=value",
                           where, name, name);
    else
        status = unknown_key(context, config, where, name);
    free(name);
    return status;
}

/* ---- what the schema asks of the whole --------------------------------------------------------------------------- */

/* The default of a row as it is for this configuration, freed by the caller; NULL (recorded) without memory. */
static char *default_of(const tarn_config *config, tarn_context *context, const tarn_config_key *key)
{
    const char *begin = key->fallback;
    size_t length = strlen(begin);
    const char *choice = key->by ? tarn_config_string(config, key->by) : NULL;
    for (const char *at = choice ? begin : NULL; at; at = strchr(at, '|')) {
        at += *at == '|';
        size_t name = strcspn(at, "=");
        if (name != strlen(choice) || strncmp(at, choice, name)) continue;
        begin = at + name + 1;
        length = strcspn(begin, "|");
        break;
    }
    char *text = strndup(begin, length);
    if (!text) tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while reading %s", config->name);
    return text;
}

static tarn_status fill_defaults(tarn_config *config, tarn_context *context)
{
    /* Conditions and defaults look at keys that have neither condition nor such a default themselves: those first. */
    for (int dependent = 0; dependent < 2; dependent++) {
        for (int i = 0; i < config->keys; i++) {
            const tarn_config_key *key = &config->schema[i];
            tarn_config_value *value = &config->values[i];
            if (value->given || !key->fallback || (key->when || key->by) != dependent || !applies(config, i)) continue;
            char *text = default_of(config, context, key);
            if (!text) return TARN_ERROR_MEMORY;
            tarn_status status = tarn_config_value_set_text(value, context, key, text, "default");
            free(text);
            if (status) return status;
            free(value->where);
            value->where = NULL;
            value->given = false;
        }
    }
    return TARN_OK;
}

static tarn_status check_conditions(const tarn_config *config, tarn_context *context)
{
    for (int i = 0; i < config->keys; i++) {
        const tarn_config_key *key = &config->schema[i];
        if (!config->values[i].given || applies(config, i)) continue;
        char condition[128];
        snprintf(condition, sizeof condition, "%.*s", (int)strcspn(key->when, "="), key->when);
        const char *now = tarn_config_string(config, condition);
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s belongs to %s, but %s is %s (%s): remove it",
                         config->values[i].where, key->name, key->when, condition, now ? now : "not given",
                         tarn_config_where(config, condition));
    }
    return TARN_OK;
}

static tarn_status check_required(const tarn_config *config, tarn_context *context)
{
    for (int i = 0; i < config->keys; i++) {
        const tarn_config_key *key = &config->schema[i];
        if (!key->required || config->values[i].has || !applies(config, i)) continue;
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: the required key %s is missing%s%s%s%s%s (%s)",
                         config->name, key->name, key->when ? ", which " : "", key->when ? key->when : "",
                         key->when ? " needs" : "", key->type == TARN_CONFIG_CHOICE ? ": one of " : "",
                         key->type == TARN_CONFIG_CHOICE ? key->choices : "", key->help ? key->help : "");
    }
    return TARN_OK;
}

/* ---- text -------------------------------------------------------------------------------------------------------- */

static size_t section_length(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? (size_t)(dot - name) : 0;
}

/* Rows of one section stand together in a schema (a test of the schema holds it to that). */
static tarn_status make_text(tarn_config *config, tarn_context *context)
{
    size_t size;
    FILE *out = open_memstream(&config->text, &size);
    if (!out) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while writing the configuration");
    const char *before = "";
    size_t before_length = 0;
    for (int i = 0; i < config->keys; i++) {
        const tarn_config_value *value = &config->values[i];
        const char *name = config->schema[i].name;
        size_t length = section_length(name);
        /* null stands where it takes a default away; else a key without a value is left out. */
        if (!value->has && !(value->given && config->schema[i].fallback)) continue;
        if (length && (length != before_length || strncmp(before, name, length)))
            fprintf(out, "%.*s:\n", (int)length, name);
        before = name;
        before_length = length;
        if (length)
            fprintf(out, "  %s: %s\n", name + length + 1, value->has ? value->text : "null");
        else
            fprintf(out, "%s: %s\n", name, value->has ? value->text : "null");
    }
    if (fclose(out) || !config->text)
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while writing the configuration");
    return TARN_OK;
}

/* ---- the public face --------------------------------------------------------------------------------------------- */

static tarn_status create(tarn_config **out, tarn_context *context, const tarn_config_key *schema, int keys,
                          const char *name)
{
    *out = NULL;
    tarn_config *config = calloc(1, sizeof *config);
    if (config) {
        config->schema = schema;
        config->keys = keys;
        config->values = calloc((size_t)(keys > 0 ? keys : 1), sizeof *config->values);
        config->name = strdup(name);
    }
    if (!config || !config->values || !config->name) {
        tarn_config_destroy(config);
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while reading %s", name);
    }
    *out = config;
    return TARN_OK;
}

static tarn_status finish(tarn_config **out, tarn_context *context, tarn_config *config, tarn_status status)
{
    if (!status) status = fill_defaults(config, context);
    if (!status) status = check_conditions(config, context);
    if (!status) status = check_required(config, context);
    if (!status) status = make_text(config, context);
    if (status) tarn_config_destroy(config);
    *out = status ? NULL : config;
    return status;
}

tarn_status tarn_config_load(tarn_config **out, tarn_context *context, const tarn_config_key *schema, int keys,
                             const char *path, int overrides, const char *const *override)
{
    tarn_config *config;
    *out = NULL;
    tarn_status status = create(&config, context, schema, keys, path ? path : "command line");
    if (status) return status;
    if (path) {
        size_t length;
        char *text = tarn_document_read_file(path, &length);
        if (!text)
            status = tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: cannot read the run file: %s", path,
                               strerror(errno));
        else
            status = apply_text(config, context, text, length);
        free(text);
    }
    for (int i = 0; i < overrides && !status; i++) status = apply_override(config, context, override[i]);
    return finish(out, context, config, status);
}

tarn_status tarn_config_parse(tarn_config **out, tarn_context *context, const tarn_config_key *schema, int keys,
                              const char *text, const char *name)
{
    return tarn_config_parse_with(out, context, schema, keys, text, name, 0, NULL);
}

tarn_status tarn_config_parse_with(tarn_config **out, tarn_context *context, const tarn_config_key *schema, int keys,
                                   const char *text, const char *name, int overrides, const char *const *override)
{
    tarn_config *config;
    *out = NULL;
    tarn_status status = create(&config, context, schema, keys, name);
    if (status) return status;
    status = apply_text(config, context, text, strlen(text));
    for (int i = 0; i < overrides && !status; i++) status = apply_override(config, context, override[i]);
    return finish(out, context, config, status);
}

void tarn_config_destroy(tarn_config *config)
{
    if (!config) return;
    for (int i = 0; config->values && i < config->keys; i++) tarn_config_value_clear(&config->values[i]);
    free(config->values);
    free(config->name);
    free(config->text);
    free(config);
}

static const tarn_config_value *value_of(const tarn_config *config, const char *key)
{
    static const tarn_config_value none;
    int row = row_of(config->schema, config->keys, key);
    return row < 0 ? &none : &config->values[row];
}

bool tarn_config_has(const tarn_config *config, const char *key)
{
    return value_of(config, key)->has;
}

const char *tarn_config_string(const tarn_config *config, const char *key)
{
    return value_of(config, key)->string;
}

int64_t tarn_config_integer(const tarn_config *config, const char *key)
{
    return value_of(config, key)->integer;
}

double tarn_config_number(const tarn_config *config, const char *key)
{
    return value_of(config, key)->number;
}

bool tarn_config_boolean(const tarn_config *config, const char *key)
{
    return value_of(config, key)->boolean;
}

int tarn_config_integers(const tarn_config *config, const char *key, const int64_t **values)
{
    const tarn_config_value *value = value_of(config, key);
    *values = value->list;
    return value->count;
}

const char *tarn_config_where(const tarn_config *config, const char *key)
{
    const char *where = value_of(config, key)->where;
    return where ? where : "default";
}

tarn_status tarn_config_fail(tarn_context *context, const tarn_config *config, const char *key, const char *format, ...)
{
    char message[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    const tarn_config_value *value = value_of(config, key);
    if (!value->given && value->has)
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s is %s by default: %s", config->name, key,
                         value->text, message);
    if (!value->given)
        return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s: %s", config->name, key, message);
    return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "%s: %s: %s", value->where, key, message);
}

const char *tarn_config_value_text(const tarn_config *config, const char *key)
{
    const tarn_config_value *value = value_of(config, key);
    return value->has ? value->text : NULL;
}

const char *tarn_config_text(const tarn_config *config)
{
    return config->text;
}

tarn_status tarn_config_check_resume(tarn_context *context, const tarn_config *config, const tarn_config *begun_with)
{
    for (int i = 0; i < config->keys; i++) {
        const tarn_config_key *key = &config->schema[i];
        const tarn_config_value *now = &config->values[i], *then = value_of(begun_with, key->name);
        const char *now_text = now->has ? now->text : "not given", *then_text = then->has ? then->text : "not given";
        if (key->may_change || (key->may_move && now->has && then->has)) continue;
        if (now->has == then->has && !strcmp(now_text, then_text)) continue;
        return tarn_config_fail(
            context, config, key->name,
            "is %s now, but the run in the checkpoint was begun with %s, and this key may not change when a "
            "run is resumed: set it back, or begin anew with --from-scratch or another checkpoint.dir",
            now_text, then_text);
    }
    return TARN_OK;
}
