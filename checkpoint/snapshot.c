/* snapshot.c - see snapshot.h. */
#include "checkpoint/snapshot.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE_BYTES ((size_t)4096)
#define HUGE_BYTES ((size_t)2 << 20)
/* Arrays begin at multiples of this, except where they continue their neighbour. */
#define ALIGNMENT ((size_t)64)

/* One copy: neighbours in memory are one piece. */
typedef struct piece {
    const uint8_t *from;
    size_t at, bytes;
} piece;

struct tarn_checkpoint_snapshot {
    uint8_t *memory;
    size_t capacity, used;
    tarn_checkpoint_content content; /* of copies */
    tarn_checkpoint_entry *entries;
    tarn_hdf5_slice *slices;
    tarn_checkpoint_text *texts;
    const void **originals; /* one an entry: where it was copied from */
    char *names, *text_memory;
    size_t text_capacity;
    piece *pieces;
    int piece_count, text_slots;
};

tarn_checkpoint_snapshot *tarn_checkpoint_snapshot_create(void)
{
    return calloc(1, sizeof(tarn_checkpoint_snapshot));
}

static void forget(tarn_checkpoint_snapshot *snapshot)
{
    free(snapshot->entries);
    free(snapshot->slices);
    free(snapshot->originals);
    free(snapshot->names);
    free(snapshot->pieces);
    snapshot->entries = NULL;
    snapshot->slices = NULL;
    snapshot->originals = NULL;
    snapshot->names = NULL;
    snapshot->pieces = NULL;
    snapshot->piece_count = 0;
    snapshot->content = (tarn_checkpoint_content){0};
}

void tarn_checkpoint_snapshot_destroy(tarn_checkpoint_snapshot *snapshot)
{
    if (!snapshot) return;
    forget(snapshot);
    if (snapshot->memory) munmap(snapshot->memory, snapshot->capacity);
    free(snapshot->texts);
    free(snapshot->text_memory);
    free(snapshot);
}

/* ---- planning ---------------------------------------------------------------------------------------------------- */

static size_t bytes_of(const tarn_checkpoint_entry *entry)
{
    return (size_t)tarn_hdf5_array_bytes(entry->dtype, entry->ndim, entry->shape);
}

/* Whether the plan serves for this content: the same arrays at the same places. */
static bool as_planned(const tarn_checkpoint_snapshot *snapshot, const tarn_checkpoint_content *content)
{
    if (!snapshot->entries || snapshot->content.entry_count != content->entry_count ||
        !snapshot->slices != !content->slices)
        return false;
    for (int i = 0; i < content->entry_count; i++) {
        const tarn_checkpoint_entry *a = &snapshot->entries[i], *b = &content->entries[i];
        if (snapshot->originals[i] != b->data || a->dtype != b->dtype || a->ndim != b->ndim ||
            a->in_digest != b->in_digest || strcmp(a->name, b->name) ||
            (a->ndim && memcmp(a->shape, b->shape, (size_t)a->ndim * sizeof *a->shape)) ||
            (content->slices && !tarn_hdf5_same_slice(&snapshot->slices[i], &content->slices[i])))
            return false;
    }
    return true;
}

static bool copy_description(tarn_checkpoint_snapshot *snapshot, const tarn_checkpoint_content *content)
{
    size_t count = (size_t)content->entry_count, bytes = 1;
    for (size_t i = 0; i < count; i++) bytes += strlen(content->entries[i].name) + 1;
    snapshot->entries = malloc((count + 1) * sizeof *snapshot->entries);
    snapshot->originals = malloc((count + 1) * sizeof *snapshot->originals);
    snapshot->pieces = malloc((count + 1) * sizeof *snapshot->pieces);
    snapshot->names = malloc(bytes);
    if (content->slices) snapshot->slices = malloc((count + 1) * sizeof *snapshot->slices);
    if (!snapshot->entries || !snapshot->originals || !snapshot->pieces || !snapshot->names ||
        (content->slices && !snapshot->slices))
        return false;
    if (count) memcpy(snapshot->entries, content->entries, count * sizeof *snapshot->entries);
    if (count && content->slices) memcpy(snapshot->slices, content->slices, count * sizeof *snapshot->slices);
    char *name = snapshot->names;
    for (size_t i = 0; i < count; i++) {
        snapshot->originals[i] = content->entries[i].data;
        snapshot->entries[i].name = strcpy(name, content->entries[i].name);
        name += strlen(name) + 1;
    }
    snapshot->content = (tarn_checkpoint_content){
        .entries = snapshot->entries, .slices = snapshot->slices, .entry_count = content->entry_count};
    return true;
}

typedef struct place {
    const uint8_t *from;
    size_t bytes;
    int entry;
} place;

static int by_address(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->from != y->from) return x->from < y->from ? -1 : 1;
    return (x->entry > y->entry) - (x->entry < y->entry);
}

/* Gives every entry its place in the snapshot and joins neighbours. */
static bool lay_out(tarn_checkpoint_snapshot *snapshot)
{
    int count = snapshot->content.entry_count, places = 0;
    place *order = malloc(((size_t)count + 1) * sizeof *order);
    if (!order) return false;
    for (int i = 0; i < count; i++)
        if (bytes_of(&snapshot->entries[i]))
            order[places++] = (place){snapshot->originals[i], bytes_of(&snapshot->entries[i]), i};
    if (places) qsort(order, (size_t)places, sizeof *order, by_address);
    size_t at = 0;
    for (int i = 0; i < places; i++) {
        piece *last = snapshot->piece_count ? &snapshot->pieces[snapshot->piece_count - 1] : NULL;
        if (last && last->from + last->bytes == order[i].from) {
            last->bytes += order[i].bytes;
        } else {
            at = (at + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
            snapshot->pieces[snapshot->piece_count++] = (piece){order[i].from, at, order[i].bytes};
        }
        snapshot->entries[order[i].entry].data = (void *)at; /* an offset until the memory is there */
        at += order[i].bytes;
    }
    free(order);
    snapshot->used = at;
    return true;
}

static bool provide(tarn_checkpoint_snapshot *snapshot, bool *fresh, tarn_problem *problem)
{
    if (snapshot->memory && snapshot->used <= snapshot->capacity) return true;
    if (snapshot->memory) munmap(snapshot->memory, snapshot->capacity);
    snapshot->memory = NULL;
    snapshot->capacity = (snapshot->used / HUGE_BYTES + 1) * HUGE_BYTES;
    void *memory = mmap(NULL, snapshot->capacity, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return tarn_problem_set(problem, errno,
                                "no memory for a copy of the state (%zu MiB): %s; give the rank that much more, or "
                                "train without checkpoints",
                                snapshot->capacity >> 20, strerror(errno));
    madvise(memory, snapshot->capacity, MADV_HUGEPAGE); /* fewer faults and translations; only a wish */
    snapshot->memory = memory;
    if (fresh) *fresh = true;
    return true;
}

bool tarn_checkpoint_snapshot_plan(tarn_checkpoint_snapshot *snapshot, const tarn_checkpoint_content *content,
                                   bool *fresh, tarn_problem *problem)
{
    if (fresh) *fresh = false;
    if (as_planned(snapshot, content)) return true;
    forget(snapshot);
    if (!copy_description(snapshot, content) || !lay_out(snapshot)) {
        forget(snapshot);
        return tarn_problem_set(problem, ENOMEM, "out of memory");
    }
    if (!provide(snapshot, fresh, problem)) {
        forget(snapshot);
        return false;
    }
    for (int i = 0; i < content->entry_count; i++)
        if (bytes_of(&snapshot->entries[i]))
            snapshot->entries[i].data = snapshot->memory + (size_t)snapshot->entries[i].data;
    return true;
}

void tarn_checkpoint_snapshot_touch(tarn_checkpoint_snapshot *snapshot)
{
    /* Volatile: a store that nobody reads would be dropped. */
    for (size_t at = 0; at < snapshot->capacity; at += PAGE_BYTES) ((volatile uint8_t *)snapshot->memory)[at] = 0;
}

/* ---- copying ----------------------------------------------------------------------------------------------------- */

/* Bytes [begin, end) of the snapshot. */
static void copy_range(void *argument, int64_t begin, int64_t end, int member)
{
    (void)member;
    const tarn_checkpoint_snapshot *snapshot = argument;
    int low = 0, high = snapshot->piece_count;
    while (low < high) { /* the first piece that ends behind begin */
        int middle = (low + high) / 2;
        if (snapshot->pieces[middle].at + snapshot->pieces[middle].bytes <= (size_t)begin)
            low = middle + 1;
        else
            high = middle;
    }
    for (int i = low; i < snapshot->piece_count && snapshot->pieces[i].at < (size_t)end; i++) {
        const piece *one = &snapshot->pieces[i];
        size_t from = one->at > (size_t)begin ? one->at : (size_t)begin, to = one->at + one->bytes;
        if (to > (size_t)end) to = (size_t)end;
        memcpy(snapshot->memory + from, one->from + (from - one->at), to - from);
    }
}

static bool copy_texts(tarn_checkpoint_snapshot *snapshot, const tarn_checkpoint_content *content)
{
    size_t bytes = 1;
    for (int i = 0; i < content->text_count; i++)
        bytes += strlen(content->texts[i].name) + strlen(content->texts[i].value) + 2;
    if (bytes > snapshot->text_capacity) {
        free(snapshot->text_memory);
        snapshot->text_capacity = 0;
        snapshot->text_memory = malloc(2 * bytes);
        if (!snapshot->text_memory) return false;
        snapshot->text_capacity = 2 * bytes;
    }
    if (content->text_count > snapshot->text_slots) {
        tarn_checkpoint_text *grown = realloc(snapshot->texts, (size_t)content->text_count * sizeof *snapshot->texts);
        if (!grown) return false;
        snapshot->texts = grown;
        snapshot->text_slots = content->text_count;
    }
    char *at = snapshot->text_memory;
    for (int i = 0; i < content->text_count; i++) {
        snapshot->texts[i].name = strcpy(at, content->texts[i].name);
        at += strlen(at) + 1;
        snapshot->texts[i].value = strcpy(at, content->texts[i].value);
        at += strlen(at) + 1;
    }
    snapshot->content.texts = snapshot->texts;
    snapshot->content.text_count = content->text_count;
    return true;
}

bool tarn_checkpoint_snapshot_take(tarn_checkpoint_snapshot *snapshot, const tarn_checkpoint_content *content,
                                   tarn_workers *workers, tarn_problem *problem)
{
    if (!tarn_checkpoint_snapshot_plan(snapshot, content, NULL, problem)) return false;
    if (!copy_texts(snapshot, content)) return tarn_problem_set(problem, ENOMEM, "out of memory");
    snapshot->content.step = content->step;
    if (workers && snapshot->used)
        tarn_workers_for(workers, (int64_t)snapshot->used, (int64_t)HUGE_BYTES, copy_range, snapshot);
    else if (snapshot->used)
        copy_range(snapshot, 0, (int64_t)snapshot->used, 0);
    return true;
}

const tarn_checkpoint_content *tarn_checkpoint_snapshot_content(const tarn_checkpoint_snapshot *snapshot)
{
    return &snapshot->content;
}
