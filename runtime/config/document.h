/* document.h - a YAML text as a flat list of entries with dotted keys, in the order of the text.
 *
 * What is needed of YAML and no more: mappings in mappings, scalars, lists of scalars. Anchors, aliases, tags, several
 * documents and lists of lists are refused with a message.
 */
#ifndef TARN_RUNTIME_CONFIG_DOCUMENT_H
#define TARN_RUNTIME_CONFIG_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>

typedef enum tarn_document_kind { TARN_DOCUMENT_SCALAR, TARN_DOCUMENT_LIST, TARN_DOCUMENT_SECTION } tarn_document_kind;

typedef struct tarn_document_scalar {
    char *text;
    bool plain; /* not quoted: may mean a number, a truth value, null */
} tarn_document_scalar;

typedef struct tarn_document_entry {
    char *key; /* "model.layers"; "" for a value that stands alone */
    int line;  /* 1-based, of the key */
    tarn_document_kind kind;
    tarn_document_scalar *items; /* one for a scalar, `count` for a list */
    int count;
} tarn_document_entry;

typedef struct tarn_document {
    tarn_document_entry *entries;
    int count;
    bool failed;
    int line; /* of the problem; 0 = unknown */
    char problem[256];
} tarn_document;

/* Reads `length` bytes. False: failed, line and problem say why. tarn_document_free in either case. */
bool tarn_document_parse(tarn_document *document, const char *text, size_t length);
void tarn_document_free(tarn_document *document);
/* The text of a scalar entry; NULL when there is none of that key. */
const char *tarn_document_get(const tarn_document *document, const char *key);
/* True for a plain scalar that YAML reads as null. */
bool tarn_document_is_null(const tarn_document_scalar *scalar);
bool tarn_document_is_utf8(const char *text);
/* A copy in which bytes that are no UTF-8 have become ?, to be freed; NULL when memory ran out. */
char *tarn_document_clean(const char *text);
/* `text` as a YAML scalar in double quotes, to be freed; NULL when memory ran out. */
char *tarn_document_quote(const char *text);
/* The same without quotes where every YAML reader takes the bare word for a string. */
char *tarn_document_scalar_text(const char *text);
/* A whole file as a string, to be freed; *length may be NULL. NULL: errno says why. */
char *tarn_document_read_file(const char *path, size_t *length);

#endif
