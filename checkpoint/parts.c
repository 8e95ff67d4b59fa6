/* parts.c - see parts.h. */
#include "checkpoint/parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int64_t tarn_checkpoint_state_bytes(const tarn_checkpoint_entry *entries, int entry_count)
{
    int64_t total = 0;
    for (int i = 0; i < entry_count; i++) {
        if ((unsigned)entries[i].dtype >= TARN_DTYPE_COUNT || entries[i].ndim < 0 || entries[i].ndim > TARN_MAX_DIMS)
            return -1;
        int64_t bytes = tarn_hdf5_array_bytes(entries[i].dtype, entries[i].ndim, entries[i].shape);
        if (bytes < 0 || __builtin_add_overflow(total, bytes, &total)) return -1;
    }
    return total;
}

int tarn_checkpoint_part_count(int64_t bytes, int wanted)
{
    int64_t parts = wanted;
    if (!wanted) parts = bytes <= TARN_CHECKPOINT_ONE_FILE ? 1 : (bytes - 1) / TARN_CHECKPOINT_PART + 1;
    return parts < 1 ? 1 : parts > TARN_CHECKPOINT_MOST_PARTS ? TARN_CHECKPOINT_MOST_PARTS : (int)parts;
}

/* The element of an array of `count` elements, which begins at byte `at` of the whole, on which the cut at byte `cut`
 * falls: elements before it belong to the part before. */
static int64_t element_at(int64_t cut, int64_t at, int64_t count, int64_t size)
{
    if (cut <= at) return 0;
    int64_t element = (cut - at - 1) / size + 1; /* a cut within an element is moved behind it */
    return element < count ? element : count;
}

static void add_stretch(tarn_checkpoint_part *part, const tarn_checkpoint_entry *entry, int64_t begin, int64_t end,
                        int64_t count, int64_t size)
{
    int i = part->content.entry_count++;
    part->entries[i] = *entry;
    part->slices[i] = (tarn_hdf5_slice){0};
    if (end - begin == count) return;
    part->slices[i] = (tarn_hdf5_slice){.is_slice = true, .begin = begin, .ndim = entry->ndim};
    if (entry->ndim) memcpy(part->slices[i].shape, entry->shape, (size_t)entry->ndim * sizeof *entry->shape);
    memset(part->entries[i].shape, 0, sizeof part->entries[i].shape);
    part->entries[i].ndim = 1;
    part->entries[i].shape[0] = end - begin;
    if (entry->data) part->entries[i].data = (uint8_t *)entry->data + begin * size;
}

bool tarn_checkpoint_cut(tarn_checkpoint_part *part, const tarn_checkpoint_content *whole, int index, int parts,
                         tarn_problem *problem)
{
    int64_t total = tarn_checkpoint_state_bytes(whole->entries, whole->entry_count);
    *part = (tarn_checkpoint_part){0};
    if (total < 0) return tarn_problem_set(problem, 0, "an array is of no known type or shape");
    part->entries = malloc(((size_t)whole->entry_count + 1) * sizeof *part->entries);
    part->slices = malloc(((size_t)whole->entry_count + 1) * sizeof *part->slices);
    if (!part->entries || !part->slices) {
        tarn_checkpoint_part_free(part);
        return tarn_problem_set(problem, ENOMEM, "out of memory");
    }
    part->content = (tarn_checkpoint_content){.step = whole->step, .entries = part->entries, .slices = part->slices};
    if (!index) {
        part->content.texts = whole->texts;
        part->content.text_count = whole->text_count;
    }
    int64_t each = total / parts, rest = total % parts, at = 0;
    int64_t from = each * index + (index < rest ? index : rest);
    int64_t to = each * (index + 1) + (index + 1 < rest ? index + 1 : rest);
    for (int i = 0; i < whole->entry_count; i++) {
        const tarn_checkpoint_entry *entry = &whole->entries[i];
        int64_t bytes = tarn_hdf5_array_bytes(entry->dtype, entry->ndim, entry->shape);
        int64_t size = (int64_t)tarn_dtype_size(entry->dtype), count = bytes / size;
        int64_t begin = element_at(from, at, count, size), end = element_at(to, at, count, size);
        if (index == parts - 1) end = count;
        if (count ? begin < end : !index) add_stretch(part, entry, begin, end, count, size);
        at += bytes;
    }
    return true;
}

void tarn_checkpoint_part_free(tarn_checkpoint_part *part)
{
    free(part->entries);
    free(part->slices);
    *part = (tarn_checkpoint_part){0};
}
