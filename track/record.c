/* record.c - the record in memory: a search tree of keys (libc's), a sorted array of points for each metric. */
#include "track/record.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

struct tarn_record {
    void *tree;
    tarn_record_key *keys;
    int metrics;
};

static int compare(const void *a, const void *b)
{
    const tarn_record_key *x = a, *y = b;
    if (x->kind != y->kind) return x->kind < y->kind ? -1 : 1;
    return strcmp(x->name, y->name);
}

tarn_record *tarn_record_create(void)
{
    return calloc(1, sizeof(tarn_record));
}

static void keep(void *node)
{
    (void)node; /* keys are freed through their list */
}

void tarn_record_destroy(tarn_record *record)
{
    if (!record) return;
    tdestroy(record->tree, keep);
    for (tarn_record_key *key = record->keys, *next; key; key = next) {
        next = key->next;
        free(key->name);
        free(key->value);
        free(key->points);
        free(key);
    }
    free(record);
}

tarn_record_key *tarn_record_find(tarn_record *record, tarn_track_kind kind, const char *name)
{
    tarn_record_key wanted = {.kind = kind, .name = (char *)name};
    void *node = tfind(&wanted, &record->tree, compare);
    return node ? *(tarn_record_key **)node : NULL;
}

tarn_record_key *tarn_record_add(tarn_record *record, tarn_track_kind kind, const char *name)
{
    tarn_record_key *key = calloc(1, sizeof *key);
    if (!key) return NULL;
    key->kind = kind;
    key->floor = INT64_MIN;
    key->name = strdup(name);
    if (!key->name || !tsearch(key, &record->tree, compare)) {
        free(key->name);
        free(key);
        return NULL;
    }
    if (kind == TARN_TRACK_METRIC) key->id = record->metrics++;
    key->next = record->keys;
    return record->keys = key;
}

tarn_record_key *tarn_record_keys(tarn_record *record)
{
    return record->keys;
}

const tarn_record_key *tarn_record_conflict(tarn_record *record, tarn_track_kind kind, const char *name)
{
    size_t length = strlen(name);
    for (const tarn_record_key *key = record->keys; key; key = key->next) {
        if (key->kind != kind) continue;
        size_t other = strlen(key->name), shorter = other < length ? other : length;
        if (other == length || strncmp(key->name, name, shorter)) continue;
        if ((other < length ? name : key->name)[shorter] == '/') return key;
    }
    return NULL;
}

/* Where `step` is or would be, counted from the first point. */
static size_t place(const tarn_record_key *key, int64_t step)
{
    const struct tarn_record_point *points = key->points + key->first;
    if (!key->count || points[key->count - 1].step < step) return key->count; /* nearly always */
    size_t low = 0, high = key->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (points[middle].step < step)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Makes room for one more point behind the last one. The array is a window that moves up: what falls out of it at its
 * begin goes below the floor, and the window moves back once in as many points. */
static bool make_room(tarn_record_key *key)
{
    if (key->count == TARN_RECORD_POINTS) {
        int64_t oldest = key->points[key->first].step;
        key->first++;
        key->count--;
        if (oldest > key->floor) key->floor = oldest;
    }
    if (key->first + key->count < key->room) return true;
    if (key->first && key->first >= key->count) {
        memmove(key->points, key->points + key->first, key->count * sizeof *key->points);
        key->first = 0;
        return true;
    }
    size_t room = key->room ? key->room + key->room / 2 : 64;
    void *grown = realloc(key->points, room * sizeof *key->points);
    if (!grown) return false;
    key->points = grown;
    key->room = room;
    return true;
}

tarn_record_answer tarn_record_point(tarn_record_key *key, int64_t step, double value, double *before)
{
    size_t at = place(key, step);
    if (at < key->count && key->points[key->first + at].step == step) {
        *before = key->points[key->first + at].value;
        return memcmp(before, &value, sizeof value) ? TARN_RECORD_DIFFERENT : TARN_RECORD_SAME;
    }
    if (step <= key->floor) {
        *before = value;
        return TARN_RECORD_SAME;
    }
    if (!make_room(key)) return TARN_RECORD_NO_MEMORY;
    at = place(key, step);                          /* the first point may be gone */
    if (step <= key->floor) return TARN_RECORD_NEW; /* it is the one that is forgotten at once */
    struct tarn_record_point *points = key->points + key->first;
    memmove(points + at + 1, points + at, (key->count - at) * sizeof *points);
    points[at].step = step;
    points[at].value = value;
    key->count++;
    return TARN_RECORD_NEW;
}

bool tarn_record_holds(const tarn_record_key *key, int64_t step)
{
    size_t at = place(key, step);
    return step <= key->floor || (at < key->count && key->points[key->first + at].step == step);
}

void tarn_record_forget(tarn_record_key *key, int64_t step)
{
    size_t at = place(key, step);
    struct tarn_record_point *points = key->points + key->first;
    if (at >= key->count || points[at].step != step) return;
    memmove(points + at, points + at + 1, (key->count - at - 1) * sizeof *points);
    key->count--;
}

void tarn_record_set_floor(tarn_record_key *key, int64_t step)
{
    if (step > key->floor) key->floor = step;
}

int64_t tarn_record_next_step(const tarn_record_key *key)
{
    int64_t last = key->count ? key->points[key->first + key->count - 1].step : INT64_MIN;
    if (key->floor > last) last = key->floor;
    return last == INT64_MIN ? 0 : last == INT64_MAX ? last : last + 1;
}

bool tarn_record_set_value(tarn_record_key *key, const char *value)
{
    char *copy = strdup(value);
    if (!copy) return false;
    free(key->value);
    key->value = copy;
    return true;
}

const char *tarn_track_key_problem(const char *name)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./: ";
    if (!name || !*name) return "it is empty";
    if (strlen(name) > 250) return "it is longer than 250 bytes";
    if (name[strspn(name, allowed)]) return "only letters, digits, _ - . / : and blanks are allowed";
    if (name[0] == '/') return "it begins with /";
    if (!strncmp(name, "..", 2)) return "it begins with ..";
    for (const char *part = name; part; part = strchr(part, '/')) {
        part += *part == '/';
        size_t length = strcspn(part, "/");
        if (!length) return "a part between / is empty";
        if (length == 1 && part[0] == '.') return "a part of it is .";
        if (length == 2 && part[0] == '.' && part[1] == '.') return "a part of it is ..";
    }
    return NULL;
}
