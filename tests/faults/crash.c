/* crash.c - see disk.h: what may be on the disk after a loss of power. Selections of the names that are not durable,
 * with variants of the data that is not.
 */
#include "tests/faults/disk_internal.h"

#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define SECTOR        512
#define MOST_SUBSETS  6 /* all selections of up to so many pending names */
#define DATA_VARIANTS 8

/* ---- data -------------------------------------------------------------------------------------------------------- */

static uint64_t draw(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15ull);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/* One of the things a file may hold. 0: what was synced; 1: all; 2, 3: the length without the data, zeros and rubbish
 * instead; 4: half of the calls; 5, 6: sectors of 512 or 4096 bytes by chance; 7: the last write torn; others: by
 * chance. */
static fault_buffer variant(const fault_inode *file, uint64_t number, uint64_t *random)
{
    fault_buffer content = fault_buffer_copy(&file->durable), all = fault_buffer_copy(&file->durable);
    for (int i = 0; i < file->pending_count; i++) fault_buffer_apply(&all, file->pending[i]);
    int half = file->pending_count / 2;
    if (!file->pending_count) number = 0;
    int64_t sector = number == 6 ? 8 * SECTOR : SECTOR;
    switch (number) {
    case 0:
        break;
    case 1:
        for (int i = 0; i < file->pending_count; i++) fault_buffer_apply(&content, file->pending[i]);
        break;
    case 4:
        for (int i = 0; i < half; i++) fault_buffer_apply(&content, file->pending[i]);
        break;
    case 7:
        for (int i = 0; i + 1 < file->pending_count; i++) fault_buffer_apply(&content, file->pending[i]);
        if (file->pending_count) {
            fault_call torn = *file->pending[file->pending_count - 1];
            if (torn.head.kind == TARN_FAULT_WRITE) torn.head.length = torn.head.length / 2 / SECTOR * SECTOR;
            fault_buffer_apply(&content, &torn);
        }
        break;
    default: {
        int64_t length = number < 7 || !all.bytes ? all.bytes : (int64_t)(draw(random) % (uint64_t)(all.bytes + 1));
        int64_t known = content.bytes < all.bytes ? content.bytes : all.bytes;
        fault_buffer_resize(&content, all.bytes);
        for (int64_t at = 0; at < all.bytes; at += sector) {
            int64_t part = all.bytes - at < sector ? all.bytes - at : sector;
            bool same = at + part <= known && !memcmp(content.data + at, all.data + at, (size_t)part);
            uint64_t chance = number == 2 ? 2 : number == 3 ? 3 : draw(random) % 4;
            if (same || chance == 0) continue;
            if (chance == 1) memcpy(content.data + at, all.data + at, (size_t)part);
            if (chance == 2) memset(content.data + at, 0, (size_t)part);
            if (chance == 3) memset(content.data + at, 0x5b, (size_t)part);
        }
        fault_buffer_resize(&content, length);
    }
    }
    free(all.data);
    return content;
}

/* Takes the content over; the same content is kept once. */
static const uint8_t *keep(fault_disk *disk, fault_buffer content)
{
    XXH64_hash_t hash = XXH64(content.data ? content.data : (uint8_t *)"", (size_t)content.bytes, 0);
    for (int i = 0; i < disk->blob_count; i++) {
        if (disk->blobs[i].hash != hash || disk->blobs[i].bytes != content.bytes) continue;
        free(content.data);
        return disk->blobs[i].data;
    }
    GROW(disk->blobs, disk->blob_count, disk->blob_capacity);
    disk->blobs[disk->blob_count++] = (fault_blob){hash, content.data, content.bytes};
    return content.data;
}

/* ---- states of the disk ------------------------------------------------------------------------------------------ */

/* Adds what lies below a folder of the tables; contents[i] are those of the files. */
static void walk(fault_tree *tree, const fault_table *tables, const fault_disk *disk, int folder, const char *prefix,
                 const fault_blob *contents)
{
    for (int i = 0; i < tables[folder].count; i++) {
        const fault_entry *item = &tables[folder].entries[i];
        char path[600];
        snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] ? "/" : "", item->name);
        if (disk->inodes[item->inode].folder) {
            fault_tree_add(tree, path, NULL, 0, -1);
            walk(tree, tables, disk, item->inode, path, contents);
        } else {
            fault_tree_add(tree, path, contents[item->inode].data, contents[item->inode].bytes, item->inode);
        }
    }
}

typedef struct crash {
    fault_disk *disk;
    uint64_t random;
    int taken, most;
    void (*take)(void *user, const fault_tree *tree);
    void *user;
} crash;

/* Whether a file that is not synced can be seen in these tables. */
static bool any_pending(const fault_table *tables, const fault_disk *disk)
{
    for (int f = 0; f < disk->count; f++)
        for (int i = 0; i < tables[f].count; i++)
            if (disk->inodes[tables[f].entries[i].inode].pending_count) return true;
    return false;
}

/* All states of the data for one selection of the names. */
static void take_names(crash *at, const bool *chosen)
{
    fault_disk *disk = at->disk;
    fault_table *tables = calloc((size_t)disk->count, sizeof *tables);
    fault_blob *contents = calloc((size_t)disk->count, sizeof *contents);
    for (int f = 0; f < disk->count; f++) tables[f] = fault_table_copy(&disk->inodes[f].settled);
    for (int i = 0; i < disk->change_count; i++)
        if (chosen[i]) fault_change_apply(tables, &disk->changes[i]);
    int variants = any_pending(tables, disk) ? DATA_VARIANTS + at->most / 32 : 1;
    int run = fault_table_find(&tables[0], "run");
    for (int v = 0; v < variants && at->taken < at->most; v++) {
        for (int f = 0; f < disk->count; f++) {
            if (disk->inodes[f].folder) continue;
            /* Several files: not all of them alike. */
            uint64_t number = v == 0 ? 0 : v == 1 ? 1 : (uint64_t)(v + f);
            if (v > 1 && v < DATA_VARIANTS) number = 2 + (uint64_t)(v - 2 + f) % (DATA_VARIANTS - 2);
            fault_buffer content = variant(&disk->inodes[f], number, &at->random);
            int64_t bytes = content.bytes;
            contents[f] = (fault_blob){0, (uint8_t *)keep(disk, content), bytes};
        }
        fault_tree tree = {0};
        if (run >= 0) walk(&tree, tables, disk, tables[0].entries[run].inode, "", contents);
        at->take(at->user, &tree);
        at->taken++;
        fault_tree_free(&tree, false);
    }
    for (int f = 0; f < disk->count; f++) fault_table_free(&tables[f]);
    free(tables);
    free(contents);
}

void fault_disk_crash(fault_disk *disk, uint64_t seed, int most, void (*take)(void *user, const fault_tree *tree),
                      void *user)
{
    crash at = {disk, seed, 0, most, take, user};
    int count = disk->change_count;
    bool *chosen = calloc((size_t)count + 1, sizeof *chosen);
    /* A journal that was cut off. */
    for (int length = 0; length <= count; length++) {
        for (int i = 0; i < count; i++) chosen[i] = i < length;
        take_names(&at, chosen);
    }
    if (count <= MOST_SUBSETS) {
        for (uint64_t mask = 0; mask < 1ull << count; mask++) {
            for (int i = 0; i < count; i++) chosen[i] = mask >> i & 1;
            take_names(&at, chosen);
        }
    } else {
        for (int k = 0; k < 2 * count; k++) { /* one alone; all but one */
            for (int i = 0; i < count; i++) chosen[i] = (i == k / 2) == !(k % 2);
            take_names(&at, chosen);
        }
        while (at.taken < at.most) {
            uint64_t mask = draw(&at.random);
            for (int i = 0; i < count; i++) chosen[i] = mask >> (i % 64) & 1;
            take_names(&at, chosen);
        }
    }
    free(chosen);
}
