/* emit.h - writing YAML: events in, text out, quoting done by libyaml. The one place that writes YAML others read. */
#ifndef TARN_RUNTIME_CONFIG_EMIT_H
#define TARN_RUNTIME_CONFIG_EMIT_H

#include <stdbool.h>

typedef struct tarn_yaml_writer tarn_yaml_writer;

/* NULL when memory ran out. Ended with tarn_yaml_finish. Between begin and end of a mapping every other value is a key;
 * values are scalars, mappings or lists. A call that fails (memory) makes finish return NULL; the ones after it do
 * nothing. */
tarn_yaml_writer *tarn_yaml_begin(void);
void tarn_yaml_begin_document(tarn_yaml_writer *writer);
void tarn_yaml_end_document(tarn_yaml_writer *writer);
void tarn_yaml_begin_mapping(tarn_yaml_writer *writer);
void tarn_yaml_end_mapping(tarn_yaml_writer *writer);
void tarn_yaml_begin_list(tarn_yaml_writer *writer);
void tarn_yaml_end_list(tarn_yaml_writer *writer);
/* A string, which every reader takes for a string: "75", "true" and "" are quoted, several lines stand as a block. */
void tarn_yaml_string(tarn_yaml_writer *writer, const char *text);
/* A number, a truth value or null, as it stands. */
void tarn_yaml_plain(tarn_yaml_writer *writer, const char *text);
/* Ends the writer; the text, freed with free(), or NULL. */
char *tarn_yaml_finish(tarn_yaml_writer *writer);

#endif
