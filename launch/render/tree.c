/* tree.c - from a tree of values to text. See render.h. */
#include "launch/render/render.h"
#include "runtime/config/emit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void write_value(tarn_yaml_writer *writer, const cJSON *value)
{
    char number[32];
    if (cJSON_IsObject(value)) {
        tarn_yaml_begin_mapping(writer);
        for (const cJSON *item = value->child; item; item = item->next) {
            tarn_yaml_string(writer, item->string);
            write_value(writer, item);
        }
        tarn_yaml_end_mapping(writer);
    } else if (cJSON_IsArray(value)) {
        tarn_yaml_begin_list(writer);
        for (const cJSON *item = value->child; item; item = item->next) write_value(writer, item);
        tarn_yaml_end_list(writer);
    } else if (cJSON_IsString(value)) {
        tarn_yaml_string(writer, value->valuestring);
    } else if (cJSON_IsNumber(value)) {
        snprintf(number, sizeof number, "%.0f", value->valuedouble); /* whole numbers only stand in manifests */
        tarn_yaml_plain(writer, number);
    } else {
        tarn_yaml_plain(writer, cJSON_IsTrue(value) ? "true" : cJSON_IsFalse(value) ? "false" : "null");
    }
}

tarn_status tarn_render_yaml(tarn_context *context, const tarn_render *render, const cJSON *documents, char **text)
{
    *text = NULL;
    char *body = NULL;
    tarn_yaml_writer *writer = documents ? tarn_yaml_begin() : NULL;
    if (writer) {
        for (const cJSON *document = documents->child; document; document = document->next) {
            tarn_yaml_begin_document(writer);
            write_value(writer, document);
            tarn_yaml_end_document(writer);
        }
        body = tarn_yaml_finish(writer);
    }
    if (!body || asprintf(text, "# made by: %s\n%s", render->command_line, body) < 0) {
        *text = NULL;
        free(body);
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "out of memory while writing the manifest");
    }
    free(body);
    return TARN_OK;
}

char *tarn_render_shell_word(const char *word)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./-=:,@%+";
    size_t length = strlen(word), used = 0;
    if (length && strspn(word, plain) == length) return strdup(word);
    char *quoted = malloc(4 * length + 3);
    if (!quoted) return NULL;
    quoted[used++] = '\'';
    for (const char *at = word; *at; at++) {
        if (*at == '\'') {
            memcpy(quoted + used, "'\\''", 4);
            used += 4;
        } else {
            quoted[used++] = *at;
        }
    }
    quoted[used++] = '\'';
    quoted[used] = 0;
    return quoted;
}
