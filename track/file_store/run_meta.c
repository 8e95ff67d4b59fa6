/* run_meta.c - meta.yaml of a run: written whole and renamed into place; later only its status, end and name change.
 *
 * Fields that other programs may have added are kept: the file is changed line by line, not rewritten from a model of
 * it.
 */
#include "track/file_store/file_store.h"
#include "runtime/base/text.h"
#include "track/environment.h"
#include "runtime/config/document.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int put_meta(const tarn_file_store *store, const char *text, size_t length)
{
    tarn_path path;
    if (tarn_path_make(path, "%s/meta.yaml", store->run)) return -1;
    return tarn_file_put(path, store->temporary, text, length);
}

int tarn_run_meta_create(const tarn_file_store *store, const char *experiment, const char *run, const char *name,
                         int64_t start_ms)
{
    tarn_path artifacts;
    char user[256], *text = NULL;
    if (tarn_path_make(artifacts, "%s/artifacts", store->run)) return -1;
    tarn_environment_user(user, sizeof user);
    char *quoted_artifacts = tarn_document_quote(artifacts), *quoted_name = tarn_document_quote(name),
         *quoted_user = tarn_document_quote(user);
    int length = !quoted_artifacts || !quoted_name || !quoted_user
                     ? -1
                     : asprintf(&text,
                                "artifact_uri: %s\nend_time: null\nentry_point_name: ''\nexperiment_id: '%s'\n"
                                "lifecycle_stage: active\nrun_id: '%s'\nrun_name: %s\nsource_name: ''\nsource_type: 4\n"
                                "source_version: ''\nstart_time: %lld\nstatus: %d\ntags: []\nuser_id: %s\n",
                                quoted_artifacts, experiment, run, quoted_name, (long long)start_ms, TARN_RUN_RUNNING,
                                quoted_user);
    int result = -1;
    if (length < 0)
        errno = ENOMEM;
    else
        result = put_meta(store, text, (size_t)length);
    int error = errno;
    if (length >= 0) free(text);
    free(quoted_artifacts);
    free(quoted_name);
    free(quoted_user);
    errno = error;
    return result;
}

/* Whether a line says that the run started later than `ms`, or (made) at another time. */
static bool starts_otherwise(const char *line, int64_t ms, bool made)
{
    static const char key[] = "start_time:";
    if (!tarn_text_begins(line, key) || ms < 0) return false;
    long long start = strtoll(line + sizeof key - 1, NULL, 10);
    return made ? start != ms : start > ms;
}

int tarn_run_meta_change(const tarn_file_store *store, int status, int64_t start_ms, int64_t end_ms, const char *name)
{
    tarn_path path;
    if (tarn_path_make(path, "%s/meta.yaml", store->run)) return -1;
    char *text = tarn_document_read_file(path, NULL), *changed = NULL,
         *quoted = name ? tarn_document_quote(name) : NULL;
    size_t size = 0;
    FILE *out = text && (!name || quoted) ? open_memstream(&changed, &size) : NULL;
    int result = -1, error = errno;
    if (out) {
        bool skipping = false;
        for (const char *line = text; *line;) {
            size_t length = strcspn(line, "\n");
            bool more = line[0] == ' '; /* a long value goes on in the next line */
            if (!more && starts_otherwise(line, start_ms, store->made)) {
                fprintf(out, "start_time: %lld\n", (long long)start_ms);
                skipping = true;
            } else if (!more)
                skipping = tarn_text_begins(line, "status:") || tarn_text_begins(line, "end_time:") ||
                           (name && tarn_text_begins(line, "run_name:"));
            if (!skipping && length) fprintf(out, "%.*s\n", (int)length, line);
            line += length + (line[length] == '\n');
        }
        fprintf(out, "status: %d\n", status);
        if (end_ms < 0)
            fprintf(out, "end_time: null\n");
        else
            fprintf(out, "end_time: %lld\n", (long long)end_ms);
        if (quoted) fprintf(out, "run_name: %s\n", quoted);
        result = fclose(out) ? -1 : put_meta(store, changed, size);
        error = errno;
    }
    free(changed);
    free(quoted);
    free(text);
    errno = error;
    return result;
}
