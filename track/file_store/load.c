/* load.c - what a run in a file store holds already, for a run that goes on.
 *
 * A machine that lost power may leave a torn or empty last line, which makes MLflow's search of the whole experiment
 * fail: such lines are taken out here.
 */
#include "track/file_store/file_store.h"
#include "runtime/config/document.h"
#include "runtime/config/number.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct loading {
    tarn_file_store *store; /* NULL: only the record is filled, nothing is mended */
    const char *run;
    tarn_record *record;
    tarn_track_kind kind;
    int64_t repaired;
} loading;

static const char *const folders[] = {"metrics", "params", "tags"};

bool tarn_metric_line_split(char *line, int64_t *time_ms, const char **value, int64_t *step)
{
    char *fields[6], *rest = NULL;
    int count = 0;
    for (char *field = strtok_r(line, " \n", &rest); field && count < 6; field = strtok_r(NULL, " \n", &rest))
        fields[count++] = field;
    *step = 0;
    if (count != 2 && count != 3 && count != 5) return false;
    *value = fields[1];
    return tarn_integer_parse(fields[0], time_ms) && (count != 3 || tarn_integer_parse(fields[2], step));
}

static bool read_line(char *line, bool *finite, double *value, int64_t *step)
{
    int64_t time;
    const char *text;
    if (!tarn_metric_line_split(line, &time, &text, step)) return false;
    *finite = tarn_number_parse(text, value);
    return *finite || !strcasecmp(text, "nan") || !strcasecmp(text, "inf") || !strcasecmp(text, "-inf");
}

/* Enters the lines of a metric; good lines are moved together in `text`, *kept is their length. */
static int enter_lines(tarn_record_key *key, char *text, size_t length, size_t *kept, int64_t *bad)
{
    *kept = 0;
    *bad = 0;
    for (size_t at = 0; at < length;) {
        char *end = memchr(text + at, '\n', length - at);
        size_t size = end ? (size_t)(end - (text + at)) : length - at;
        char *line = strndup(text + at, size);
        if (!line) return -1;
        double value = 0, before;
        int64_t step;
        bool finite, good = end && read_line(line, &finite, &value, &step);
        free(line);
        /* Of two points of one step, which other programs may write, the first counts. */
        if (good && finite && tarn_record_point(key, step, value, &before) == TARN_RECORD_NO_MEMORY) return -1;
        if (good) {
            memmove(text + *kept, text + at, size + 1);
            *kept += size + 1;
        } else
            (*bad)++;
        at += size + 1;
    }
    return 0;
}

static int load_metric(loading *state, const char *path, const char *name, char *text, size_t length)
{
    tarn_record_key *key = tarn_record_add(state->record, TARN_TRACK_METRIC, name);
    struct tarn_metric_file *file = key && state->store ? tarn_file_store_metric(state->store, key->id) : NULL;
    size_t kept;
    int64_t bad;
    if (!key || (state->store && !file) || enter_lines(key, text, length, &kept, &bad)) {
        errno = ENOMEM;
        return -1;
    }
    if (!file) return 0;
    file->exists = kept > 0;
    if (kept == length && length) return 0;
    state->repaired += bad ? bad : 1;
    return kept ? tarn_file_put(path, state->store->temporary, text, kept) : unlink(path);
}

static int load_file(void *user, const char *name)
{
    loading *state = user;
    tarn_path path;
    size_t length;
    if (tarn_track_key_problem(name)) return 0; /* not a key: a stray file */
    if (tarn_path_make(path, "%s/%s/%s", state->run, folders[state->kind], name)) return -1;
    char *text = tarn_document_read_file(path, &length);
    if (!text) return -1;
    int result = 0;
    if (state->kind == TARN_TRACK_METRIC)
        result = load_metric(state, path, name, text, length);
    else {
        tarn_record_key *key = tarn_record_add(state->record, state->kind, name);
        if (key) {
            key->value = text;
            return 0;
        }
        result = -1;
    }
    free(text);
    return result;
}

static int load(loading *state)
{
    int result = 0;
    for (int kind = TARN_TRACK_METRIC; kind <= TARN_TRACK_TAG && !result; kind++) {
        tarn_path root;
        state->kind = (tarn_track_kind)kind;
        result = tarn_path_make(root, "%s/%s", state->run, folders[kind]);
        if (!result) result = tarn_files_walk(root, load_file, state);
    }
    return result;
}

int tarn_file_store_load(tarn_file_store *store, int64_t *repaired)
{
    loading state = {.store = store, .run = store->run, .record = store->held};
    int result = load(&state);
    *repaired = state.repaired;
    return result;
}

int tarn_file_store_recall(const char *root, const char *run_id, tarn_record *record)
{
    char experiment[32];
    tarn_path run;
    if (!tarn_experiment_of_run(root, run_id, experiment)) return 0;
    if (tarn_path_make(run, "%s/%s/%s", root, experiment, run_id)) return -1;
    loading state = {.run = run, .record = record};
    return load(&state) ? -1 : 1;
}
