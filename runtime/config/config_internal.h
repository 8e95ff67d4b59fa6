/* config_internal.h - what the files of this room share: a value with its place, its parsing and its printing. */
#ifndef TARN_RUNTIME_CONFIG_INTERNAL_H
#define TARN_RUNTIME_CONFIG_INTERNAL_H

#include "runtime/config/config.h"
#include "runtime/config/document.h"

/* The value of one row of the schema. */
typedef struct tarn_config_value {
    bool given;   /* by the file or an override; defaults are not */
    bool has;     /* false: null, or nothing was given and there is no default */
    char *where;  /* "run.yaml:7", "key=value on the command line"; NULL for a default */
    char *string; /* strings and choices */
    int64_t integer;
    double number;
    bool boolean;
    int64_t *list;
    int count;
    char *text; /* as YAML; parses back to the same value */
} tarn_config_value;

struct tarn_config {
    const tarn_config_key *schema; /* borrowed: tables are static */
    int keys;
    tarn_config_value *values; /* one a row */
    char *name;                /* the file, or what stands for it in messages */
    char *text;
};

/* Replaces the value by what a document says. Errors begin with `where`. */
tarn_status tarn_config_value_set(tarn_config_value *value, tarn_context *context, const tarn_config_key *key,
                                  const tarn_document_entry *entry, const char *where);
/* The same from text as it stands in an override or in the schema: strings need no quotes there. */
tarn_status tarn_config_value_set_text(tarn_config_value *value, tarn_context *context, const tarn_config_key *key,
                                       const char *text, const char *where);
void tarn_config_value_clear(tarn_config_value *value);

/* Writes ": did you mean "x"?" or the names that would be known, for an unknown name (a key, or a section when
 * `section`). */
void tarn_config_suggest(const tarn_config_key *schema, int keys, const char *name, char *out, size_t size);

#endif
