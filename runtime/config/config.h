/* config.h - a YAML file and key=value overrides, checked against a schema; values keep the line they came from.
 */
#ifndef TARN_RUNTIME_CONFIG_H
#define TARN_RUNTIME_CONFIG_H

#include <tarn/base.h>

typedef enum tarn_config_type {
    TARN_CONFIG_STRING,
    TARN_CONFIG_INTEGER,
    TARN_CONFIG_NUMBER,
    TARN_CONFIG_BOOLEAN,
    TARN_CONFIG_CHOICE,      /* one of `choices`, separated by | */
    TARN_CONFIG_INTEGER_LIST /* [784, 512, 10] */
} tarn_config_type;

/* One row of the schema: "model.layers". */
typedef struct tarn_config_key {
    const char *name;
    tarn_config_type type;
    const char *fallback; /* default as text; NULL = no value */
    const char *by;       /* the choice that the default depends on; fallback is then "adamw=0.001|sgd=0.01" */
    const char *choices;
    double low, high; /* inclusive range of numbers; both 0 = any */
    bool required;
    bool may_change;  /* may differ on resume */
    bool may_move;    /* a file: on resume another path, which the caller finds to hold the same */
    const char *when; /* "model.kind=gpt": the key belongs to that choice only; NULL = always */
    const char *help;
} tarn_config_key;

typedef struct tarn_config tarn_config;

/* Reads the file (NULL: overrides only) and "key=value" overrides. Errors name file:line or the override, the key, what
 * was expected, and the nearest known key. */
tarn_status tarn_config_load(tarn_config **config, tarn_context *context, const tarn_config_key *schema, int keys,
                             const char *path, int overrides, const char *const *override);
/* The same from text (a resolved configuration out of a checkpoint). */
tarn_status tarn_config_parse(tarn_config **config, tarn_context *context, const tarn_config_key *schema, int keys,
                              const char *text, const char *name);
/* The same with "key=value" overrides on top. */
tarn_status tarn_config_parse_with(tarn_config **config, tarn_context *context, const tarn_config_key *schema, int keys,
                                   const char *text, const char *name, int overrides, const char *const *override);
void tarn_config_destroy(tarn_config *config);
bool tarn_config_has(const tarn_config *config, const char *key);           /* given or with a default */
const char *tarn_config_string(const tarn_config *config, const char *key); /* NULL when it has no value */
int64_t tarn_config_integer(const tarn_config *config, const char *key);
double tarn_config_number(const tarn_config *config, const char *key);
bool tarn_config_boolean(const tarn_config *config, const char *key);
int tarn_config_integers(const tarn_config *config, const char *key, const int64_t **values);
/* The value as it stands in the resolved text; NULL when the key has none. */
const char *tarn_config_value_text(const tarn_config *config, const char *key);
/* "run.yaml:7" or "key=value on the command line" or "default". */
const char *tarn_config_where(const tarn_config *config, const char *key);
/* Fails with a message that begins with where the key was given: for checks a schema cannot make. */
tarn_status tarn_config_fail(tarn_context *context, const tarn_config *config, const char *key, const char *format, ...)
    TARN_PRINTF(4, 5);
/* The resolved configuration as YAML, every key with its value, in schema order; owned by the config. Parsing it gives
 * the same text. */
const char *tarn_config_text(const tarn_config *config);
/* Compares with the configuration a run was begun with: a key that differs and may not change is an error that names
 * it, both values and the remedy. Keys that may move pass where both have a value: what the files hold is the caller's
 * to compare. */
tarn_status tarn_config_check_resume(tarn_context *context, const tarn_config *config, const tarn_config *begun_with);

/* The nearest of words separated by |, or false when none is near. */
bool tarn_config_suggest_choice(const char *choices, const char *word, char *out, size_t size);

#endif
