/* inputs.c - datasets in a file store, and the runs they are inputs of; see catalog.h. */
#include "track/file_store/catalog.h"
#include "runtime/base/md5.h"
#include "runtime/config/document.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A member as text: of an object its JSON. NULL when it is missing; freed by the caller. */
static char *member_text(const cJSON *object, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    if (cJSON_IsString(item)) return strdup(item->valuestring);
    return item && !cJSON_IsNull(item) ? cJSON_PrintUnformatted(item) : NULL;
}

/* "key: "text"", or "key: null". */
static void print_member(FILE *out, const char *key, const char *text)
{
    char *quoted = text ? tarn_document_quote(text) : NULL;
    fprintf(out, "%s: %s\n", key, quoted ? quoted : "null");
    free(quoted);
}

/* A folder at `path` with this meta.yaml, unless there is one. */
static int put_folder(const char *run, const char *path, const char *meta, size_t length)
{
    tarn_path folder, file, temporary;
    if (!access(path, F_OK)) return 0;
    if (tarn_new_folder_begin(folder, run)) return -1;
    if (tarn_path_make(file, "%s/meta.yaml", folder) || tarn_path_make(temporary, "%s/.new", folder) ||
        tarn_file_put(file, temporary, meta, length)) {
        int error = errno;
        tarn_folder_remove(folder);
        errno = error;
        return -1;
    }
    return tarn_new_folder_end(folder, path) < 0 ? -1 : 0;
}

static int put_dataset(const char *run, const char *path, const char *name, const char *digest, const cJSON *about)
{
    static const char *const optional[] = {"profile", "schema"};
    char *meta = NULL;
    size_t length = 0;
    FILE *out = open_memstream(&meta, &length);
    if (!out) return -1;
    print_member(out, "digest", digest);
    print_member(out, "name", name);
    for (int i = 0; i < 2; i++) {
        char *text = member_text(about, optional[i]);
        print_member(out, optional[i], text);
        free(text);
    }
    char *source = member_text(about, "source"), *type = member_text(about, "source_type");
    print_member(out, "source", source ? source : "");
    print_member(out, "source_type", type ? type : "local");
    free(source);
    free(type);
    int result = fclose(out) ? -1 : put_folder(run, path, meta, length);
    free(meta);
    return result;
}

static int put_input(const char *run, const char *path, const char *dataset, const char *context)
{
    char *quoted = context ? tarn_document_quote(context) : NULL, *meta = NULL;
    int length = context && !quoted
                     ? -1
                     : asprintf(&meta,
                                "destination_id: '%s'\ndestination_type: RUN\nsource_id: '%s'\n"
                                "source_type: DATASET\ntags:%s%s\n",
                                dataset, dataset, quoted ? "\n  mlflow.data.context: " : " {}", quoted ? quoted : "");
    int result = -1;
    if (length >= 0) {
        result = put_folder(run, path, meta, (size_t)length);
        free(meta);
    } else
        errno = ENOMEM;
    free(quoted);
    return result;
}

int tarn_file_store_input(const char *run, const tarn_track_event *event, char problem[TARN_SINK_PROBLEM])
{
    tarn_path experiment, name, path;
    char dataset[33], input[33];
    if (tarn_path_make(experiment, "%s", run) || tarn_path_make(name, "%s", run)) return -1;
    const char *folder = dirname(experiment), *run_id = basename(name);
    cJSON *about = event->text ? cJSON_Parse(event->text) : NULL;
    char *digest = about ? member_text(about, "digest") : NULL, *context = about ? member_text(about, "context") : NULL;
    int result = -1;
    *problem = '\0';
    errno = EILSEQ;
    if (!about)
        snprintf(problem, TARN_SINK_PROBLEM, "dataset \"%.100s\": its description is no JSON", event->key);
    else if (!tarn_md5_text(event->key, digest ? digest : "", dataset) || !tarn_md5_text(dataset, run_id, input))
        snprintf(problem, TARN_SINK_PROBLEM,
                 "dataset \"%.100s\": OpenSSL refuses MD5 (FIPS mode), by which MLflow names datasets", event->key);
    else {
        result = tarn_path_make(path, "%s/datasets/%s", folder, dataset);
        if (!result) result = put_dataset(run, path, event->key, digest ? digest : "", about);
        /* Second: an input whose dataset is missing would be left out by MLflow, with a warning. */
        if (!result) result = tarn_path_make(path, "%s/inputs/%s", run, input);
        if (!result) result = put_input(run, path, dataset, context);
        if (result)
            snprintf(problem, TARN_SINK_PROBLEM, "dataset \"%.100s\" of run %.300s: %s", event->key, run,
                     strerror(errno));
    }
    int error = errno;
    free(digest);
    free(context);
    cJSON_Delete(about);
    errno = error;
    return result;
}
