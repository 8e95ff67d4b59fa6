/* media.c - damage to what lies on the medium: a file of the newest checkpoint is cut, zeroed, flipped, mixed up or
 * replaced by that of another step, and loaded. The one before must be found instead, or, where nothing else is left,
 * the loader must refuse.
 */
#include "tests/faults/campaign.h"
#include "tests/support.h"

#include <inttypes.h>

#define BLOCK 4096

typedef enum damage {
    CUT_AT,      /* to `at` bytes */
    ZERO_BLOCK,  /* 4 KiB of zeros */
    ZERO_TO_END, /* as a file system does with data that never reached it */
    FLIP_BIT,
    ONES_WORD,  /* a 16-bit word 0x0000 becomes 0xFFFF, which some checksums do not see */
    SWAP_BLOCK, /* with the one behind it */
    LONGER,     /* `at` bytes more */
    OTHER_STEP, /* the file of the step before under this name */
    DAMAGES
} damage;

static const char *const names[DAMAGES] = {"cut at every 4 KiB", "zeros in every 4 KiB",  "zeros to the end",
                                           "bit flips",          "0x0000 to 0xFFFF",      "swapped 4 KiB blocks",
                                           "longer files",       "a file of another step"};

typedef struct media_point {
    int file; /* of the tree */
    damage kind;
    int64_t at;
    int bit;
    bool alone; /* no older checkpoint is there */
} media_point;

typedef struct media_work {
    const fault_campaign *campaign;
    fault_tree all;
    media_point *points;
    int64_t count, capacity, seen;
} media_work;

static void add(media_work *work, media_point point)
{
    if (work->seen++ % work->campaign->stride) return;
    if (work->count == work->capacity) {
        work->capacity = work->capacity ? 2 * work->capacity : 1024;
        work->points = realloc(work->points, (size_t)work->capacity * sizeof *work->points);
    }
    work->points[work->count++] = point;
}

static bool of_step(const char *path, int64_t step)
{
    char *part = tarn_test_format("ckpt-%012" PRId64, step);
    bool there = strstr(path, part) != NULL;
    free(part);
    return there || !strcmp(path, "state.bin");
}

/* Whether a byte belongs to the arrays of the state, where damage is most like other damage: sampled in the short form.
 * Found by value: the suite knows nothing of the layout. */
static bool *data_bytes(const fault_file *file)
{
    bool *marks = calloc((size_t)file->bytes + 1, 1);
    const fault_state *state = fault_golden(1, FAULT_LAST_STEP);
    const void *arrays[] = {state->weight, state->moment, state->bytes, state->config};
    size_t sizes[] = {sizeof state->weight, sizeof state->moment, sizeof state->bytes, sizeof state->config};
    for (int k = 0; k < 4; k++) {
        /* Parts may hold a slice of an array: in pieces of 256 bytes. */
        for (size_t at = 0; at + 256 <= sizes[k]; at += 256) {
            const uint8_t *piece = (const uint8_t *)arrays[k] + at;
            const uint8_t *found = memmem(file->data, (size_t)file->bytes, piece, 256);
            if (found) memset(marks + (found - file->data), 1, 256);
        }
    }
    return marks;
}

static void list_points(media_work *work)
{
    bool long_form = work->campaign->long_form;
    for (int f = 0; f < work->all.count; f++) {
        const fault_file *file = &work->all.files[f];
        if (file->identity < 0 || !of_step(file->path, FAULT_LAST_STEP)) continue;
        bool *data = data_bytes(file);
        for (int alone = 0; alone < 2; alone++) {
            for (int64_t at = 0; at < file->bytes; at += BLOCK) {
                add(work, (media_point){f, CUT_AT, at, 0, alone});
                add(work, (media_point){f, CUT_AT, at + 1, 0, alone});
                add(work, (media_point){f, ZERO_BLOCK, at, 0, alone});
                add(work, (media_point){f, ZERO_TO_END, at, 0, alone});
                if (at + 2 * BLOCK <= file->bytes) add(work, (media_point){f, SWAP_BLOCK, at, 0, alone});
            }
            add(work, (media_point){f, CUT_AT, file->bytes - 1, 0, alone});
            add(work, (media_point){f, LONGER, 1, 0, alone});
            add(work, (media_point){f, LONGER, BLOCK, 0, alone});
            add(work, (media_point){f, OTHER_STEP, 0, 0, alone});
        }
        int64_t quiet = 0; /* zeros behind the last other byte */
        for (int64_t at = 0; at < file->bytes; at++) {
            int bit = (int)((at * 5 + (int64_t)work->campaign->seed) % 8);
            quiet = file->data[at] ? 0 : quiet + 1;
            /* Every byte of the header and of what describes the arrays; of the arrays every 16th, of the padding
             * between them every 8th. */
            bool wanted = data[at] ? at % 16 == 0 : at < BLOCK || quiet < 32 || at % 8 == 0;
            if (long_form || wanted) add(work, (media_point){f, FLIP_BIT, at, bit, at % 61 == 0});
            if (at % 2 || file->data[at] || file->data[at + 1] || at + 1 >= file->bytes) continue;
            if (long_form || at % 64 == 0) add(work, (media_point){f, ONES_WORD, at, 0, false});
        }
        if (long_form)
            for (int64_t at = 0; at < file->bytes; at++)
                for (int bit = 0; bit < 8; bit++)
                    if (!data[at]) add(work, (media_point){f, FLIP_BIT, at, bit, false});
        free(data);
    }
}

/* The damaged file in new memory of `room` bytes more; *bytes is its length. */
static uint8_t *damaged(const media_work *work, const media_point *point, int64_t *bytes)
{
    const fault_file *file = &work->all.files[point->file];
    int64_t at = point->at;
    uint8_t *data = calloc((size_t)file->bytes + 2 * BLOCK, 1);
    memcpy(data, file->data, (size_t)file->bytes);
    *bytes = file->bytes;
    int64_t block = file->bytes - at < BLOCK ? file->bytes - at : BLOCK;
    switch (point->kind) {
    case CUT_AT:
        *bytes = at < file->bytes ? at : file->bytes;
        break;
    case ZERO_BLOCK:
        memset(data + at, 0, (size_t)block);
        break;
    case ZERO_TO_END:
        memset(data + at, 0, (size_t)(file->bytes - at));
        break;
    case FLIP_BIT:
        data[at] ^= (uint8_t)(1 << point->bit);
        break;
    case ONES_WORD:
        data[at] = data[at + 1] = 0xff;
        break;
    case SWAP_BLOCK:
        memcpy(data + at, file->data + at + BLOCK, BLOCK);
        memcpy(data + at + BLOCK, file->data + at, BLOCK);
        break;
    case LONGER:
        *bytes += at;
        break;
    case OTHER_STEP:
        for (int k = 0; k < work->all.count; k++) {
            const fault_file *other = &work->all.files[k];
            const char *mine = strstr(file->path, "ckpt-"), *its = strstr(other->path, "ckpt-");
            if (!mine || !its || !of_step(other->path, FAULT_LAST_STEP - 1) || strcmp(mine + 17, its + 17)) continue;
            *bytes = other->bytes < file->bytes + BLOCK ? other->bytes : file->bytes + BLOCK;
            memcpy(data, other->data, (size_t)*bytes);
        }
        break;
    default:
        break;
    }
    return data;
}

static void try_point(void *user, int64_t index, int slot, fault_verdict *verdict)
{
    media_work *work = user;
    const media_point *point = &work->points[index];
    char *folder = tarn_test_format("%s/w%d", work->campaign->base, slot), *run = tarn_test_format("%s/run", folder);
    const fault_file *original = &work->all.files[point->file];
    int64_t bytes;
    uint8_t *data = damaged(work, point, &bytes);
    bool changed = bytes != original->bytes || memcmp(data, original->data, (size_t)bytes) != 0;
    fault_tree tree = {0};
    for (int i = 0; i < work->all.count; i++) {
        const fault_file *file = &work->all.files[i];
        bool older = strstr(file->path, "ckpt-") && !of_step(file->path, FAULT_LAST_STEP);
        if (strcmp(file->path, ".lock") == 0 || (point->alone && older)) continue;
        fault_tree_add(&tree, file->path, i == point->file ? data : file->data, i == point->file ? bytes : file->bytes,
                       file->identity);
    }
    mkdir(folder, 0755);
    fault_tree_put(&tree, run);
    fault_judge(&work->campaign->options, run, !point->alone && index % 16 == 0, verdict);
    /* What must be found: the damaged one is lost by nobody's fault. */
    verdict->progress.life = 1;
    verdict->progress.step = changed ? FAULT_LAST_STEP - 1 : FAULT_LAST_STEP;
    if (changed && point->alone && verdict->refused) {
        verdict->refused = false;
        verdict->progress.life = 0;
    }
    fault_tree_free(&tree, false);
    free(data);
    free(run);
    free(folder);
}

fault_tally fault_campaign_media(const fault_campaign *campaign)
{
    fault_tally sum = {0};
    media_work work = {.campaign = campaign};
    fault_tree nothing = {0};
    fault_progress *progress = fault_shared(sizeof *progress);
    char *folder = tarn_test_format("%s/w0", campaign->base), *run = tarn_test_format("%s/run", folder);
    fault_run_child(campaign, &nothing, folder, (tarn_fault_plan){0}, progress);
    work.all = fault_tree_read(run);
    list_points(&work);
    fault_verdict *verdicts = fault_pool_run(work.count, campaign->workers, try_point, &work);
    for (int kind = 0; verdicts && kind < DAMAGES; kind++) {
        fault_tally tally = {0};
        for (int64_t i = 0; i < work.count; i++) {
            const media_point *point = &work.points[i];
            if ((int)point->kind != kind) continue;
            char what[300];
            snprintf(what, sizeof what, "%s: %s at %" PRId64 " bit %d%s", names[kind], work.all.files[point->file].path,
                     point->at, point->bit, point->alone ? ", no other" : "");
            fault_count(campaign, &tally, &verdicts[i], what);
        }
        fault_print(names[kind], &tally);
        fault_add(&sum, &tally);
    }
    fault_pool_free(verdicts, work.count);
    fault_tree_free(&work.all, true);
    free(work.points);
    free(run);
    free(folder);
    return sum;
}
