/* disk.c - see disk.h. A live name space, to find out which file a call means, and a durable one, with the list of what
 * is not durable yet.
 */
#include "tests/faults/disk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#define SECTOR        512
#define MOST_SUBSETS  6 /* all selections of up to so many pending names */
#define DATA_VARIANTS 8

typedef struct buffer {
    uint8_t *data;
    int64_t bytes, capacity;
} buffer;

typedef struct entry {
    char *name;
    int inode;
} entry;

typedef struct table {
    entry *entries;
    int count, capacity;
} table;

typedef struct inode {
    bool folder;
    buffer durable;             /* a file: as of the last fsync */
    const fault_call **pending; /* a file: what was done to its data since */
    int pending_count, pending_capacity;
    table live; /* a folder */
    table settled;
} inode;

/* What was done to names: name of folder `from` no longer is `inode`, name of folder `to` is. -1: no such side.
 * exchanged: what was at `to` is at `from` now; -1: nothing. */
typedef struct change {
    int from, to, inode, exchanged;
    char *from_name, *to_name;
    bool from_synced, to_synced;
} change;

typedef struct descriptor {
    int32_t process, fd;
    int inode;
} descriptor;

/* Contents that were handed out, each once. */
typedef struct blob {
    XXH64_hash_t hash;
    uint8_t *data;
    int64_t bytes;
} blob;

struct fault_disk {
    inode *inodes;
    int count, capacity;
    change *changes;
    int change_count, change_capacity;
    descriptor *descriptors;
    int descriptor_count, descriptor_capacity;
    blob *blobs;
    int blob_count, blob_capacity;
};

#define GROW(list, count, capacity)                                                                                    \
    do                                                                                                                 \
        if ((count) == (capacity)) {                                                                                   \
            (capacity) = (capacity) ? 2 * (capacity) : 8;                                                              \
            (list) = realloc(list, (size_t)(capacity) * sizeof *(list));                                               \
            if (!(list)) abort();                                                                                      \
        }                                                                                                              \
    while (0)

/* ---- names ------------------------------------------------------------------------------------------------------- */

static int find(const table *names, const char *name)
{
    for (int i = 0; i < names->count; i++)
        if (!strcmp(names->entries[i].name, name)) return i;
    return -1;
}

static void set(table *names, const char *name, int number)
{
    int at = find(names, name);
    if (at >= 0) {
        names->entries[at].inode = number;
        return;
    }
    GROW(names->entries, names->count, names->capacity);
    names->entries[names->count++] = (entry){strdup(name), number};
}

/* Only while the name means that inode. */
static void unset(table *names, const char *name, int number)
{
    int at = find(names, name);
    if (at < 0 || names->entries[at].inode != number) return;
    free(names->entries[at].name);
    names->entries[at] = names->entries[--names->count];
}

static void free_table(table *names)
{
    for (int i = 0; i < names->count; i++) free(names->entries[i].name);
    free(names->entries);
    *names = (table){0};
}

static table copy_table(const table *names)
{
    table copy = {0};
    for (int i = 0; i < names->count; i++) set(&copy, names->entries[i].name, names->entries[i].inode);
    return copy;
}

static int new_inode(fault_disk *disk, bool folder)
{
    GROW(disk->inodes, disk->count, disk->capacity);
    disk->inodes[disk->count] = (inode){.folder = folder};
    return disk->count++;
}

/* The folder a path lies in, *name its last part (within path); -1 when there is no such folder. Folder 0 is ".". */
static int folder_of(const fault_disk *disk, const char *path, const char **name)
{
    int folder = 0;
    for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
        char part[256];
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        int at = find(&disk->inodes[folder].live, part);
        if (at < 0) return -1;
        folder = disk->inodes[folder].live.entries[at].inode;
    }
    *name = path;
    return folder;
}

static int resolve(const fault_disk *disk, const char *path)
{
    const char *name;
    if (!strcmp(path, ".")) return 0;
    int folder = folder_of(disk, path, &name);
    int at = folder < 0 ? -1 : find(&disk->inodes[folder].live, name);
    return at < 0 ? -1 : disk->inodes[folder].live.entries[at].inode;
}

static void note_change(fault_disk *disk, int from, const char *from_name, int to, const char *to_name, int number,
                        int exchanged)
{
    GROW(disk->changes, disk->change_count, disk->change_capacity);
    disk->changes[disk->change_count++] = (change){from,
                                                   to,
                                                   number,
                                                   exchanged,
                                                   from_name ? strdup(from_name) : NULL,
                                                   to_name ? strdup(to_name) : NULL,
                                                   from < 0,
                                                   to < 0 || to == from};
    if (from >= 0) unset(&disk->inodes[from].live, from_name, number);
    if (to >= 0) set(&disk->inodes[to].live, to_name, number);
    if (exchanged >= 0) set(&disk->inodes[from].live, from_name, exchanged);
}

static void apply_change(table *tables, const change *done)
{
    if (done->from >= 0) unset(&tables[done->from], done->from_name, done->inode);
    if (done->to >= 0) set(&tables[done->to], done->to_name, done->inode);
    if (done->exchanged >= 0) set(&tables[done->from], done->from_name, done->exchanged);
}

static void settle_folder(fault_disk *disk, int folder)
{
    int kept = 0;
    for (int i = 0; i < disk->change_count; i++) {
        change *done = &disk->changes[i];
        if (done->from == folder) done->from_synced = true;
        if (done->to == folder) done->to_synced = true;
        if (!done->from_synced || !done->to_synced) {
            disk->changes[kept++] = *done;
            continue;
        }
        if (done->from >= 0) unset(&disk->inodes[done->from].settled, done->from_name, done->inode);
        if (done->to >= 0) set(&disk->inodes[done->to].settled, done->to_name, done->inode);
        if (done->exchanged >= 0) set(&disk->inodes[done->from].settled, done->from_name, done->exchanged);
        free(done->from_name);
        free(done->to_name);
    }
    disk->change_count = kept;
}

/* ---- data -------------------------------------------------------------------------------------------------------- */

static void resize(buffer *content, int64_t bytes)
{
    if (bytes > content->capacity) {
        content->capacity = bytes + bytes / 2;
        content->data = realloc(content->data, (size_t)content->capacity);
        if (!content->data) abort();
    }
    if (bytes > content->bytes && content->data)
        memset(content->data + content->bytes, 0, (size_t)(bytes - content->bytes));
    content->bytes = bytes;
}

/* All of it; an OPEN that truncates is in the list, too. */
static void apply_data(buffer *content, const fault_call *call)
{
    int64_t end = call->head.offset + call->head.length;
    if (call->head.kind == TARN_FAULT_OPEN) {
        resize(content, 0);
    } else if (call->head.kind == TARN_FAULT_TRUNCATE) {
        resize(content, call->head.length);
    } else {
        if (end > content->bytes) resize(content, end);
        if (call->head.kind == TARN_FAULT_WRITE && call->head.length)
            memcpy(content->data + call->head.offset, call->data, (size_t)call->head.length);
    }
}

static void settle_file(inode *file)
{
    for (int i = 0; i < file->pending_count; i++) apply_data(&file->durable, file->pending[i]);
    file->pending_count = 0;
}

static buffer copy_of(const buffer *content)
{
    buffer copy = {0};
    resize(&copy, content->bytes);
    if (content->bytes) memcpy(copy.data, content->data, (size_t)content->bytes);
    return copy;
}

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
static buffer variant(const inode *file, uint64_t number, uint64_t *random)
{
    buffer content = copy_of(&file->durable), all = copy_of(&file->durable);
    for (int i = 0; i < file->pending_count; i++) apply_data(&all, file->pending[i]);
    int half = file->pending_count / 2;
    if (!file->pending_count) number = 0;
    int64_t sector = number == 6 ? 8 * SECTOR : SECTOR;
    switch (number) {
    case 0:
        break;
    case 1:
        for (int i = 0; i < file->pending_count; i++) apply_data(&content, file->pending[i]);
        break;
    case 4:
        for (int i = 0; i < half; i++) apply_data(&content, file->pending[i]);
        break;
    case 7:
        for (int i = 0; i + 1 < file->pending_count; i++) apply_data(&content, file->pending[i]);
        if (file->pending_count) {
            fault_call torn = *file->pending[file->pending_count - 1];
            if (torn.head.kind == TARN_FAULT_WRITE) torn.head.length = torn.head.length / 2 / SECTOR * SECTOR;
            apply_data(&content, &torn);
        }
        break;
    default: {
        int64_t length = number < 7 || !all.bytes ? all.bytes : (int64_t)(draw(random) % (uint64_t)(all.bytes + 1));
        int64_t known = content.bytes < all.bytes ? content.bytes : all.bytes;
        resize(&content, all.bytes);
        for (int64_t at = 0; at < all.bytes; at += sector) {
            int64_t part = all.bytes - at < sector ? all.bytes - at : sector;
            bool same = at + part <= known && !memcmp(content.data + at, all.data + at, (size_t)part);
            uint64_t chance = number == 2 ? 2 : number == 3 ? 3 : draw(random) % 4;
            if (same || chance == 0) continue;
            if (chance == 1) memcpy(content.data + at, all.data + at, (size_t)part);
            if (chance == 2) memset(content.data + at, 0, (size_t)part);
            if (chance == 3) memset(content.data + at, 0x5b, (size_t)part);
        }
        resize(&content, length);
    }
    }
    free(all.data);
    return content;
}

/* Takes the content over; the same content is kept once. */
static const uint8_t *keep(fault_disk *disk, buffer content)
{
    XXH64_hash_t hash = XXH64(content.data ? content.data : (uint8_t *)"", (size_t)content.bytes, 0);
    for (int i = 0; i < disk->blob_count; i++) {
        if (disk->blobs[i].hash != hash || disk->blobs[i].bytes != content.bytes) continue;
        free(content.data);
        return disk->blobs[i].data;
    }
    GROW(disk->blobs, disk->blob_count, disk->blob_capacity);
    disk->blobs[disk->blob_count++] = (blob){hash, content.data, content.bytes};
    return content.data;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

fault_disk *fault_disk_create(const fault_tree *before)
{
    fault_disk *disk = calloc(1, sizeof *disk);
    if (!disk) return NULL;
    new_inode(disk, true);
    if (!before->count) return disk;
    int run = new_inode(disk, true), *numbers = calloc((size_t)before->count, sizeof *numbers);
    set(&disk->inodes[0].live, "run", run);
    set(&disk->inodes[0].settled, "run", run);
    for (int i = 0; i < before->count; i++) {
        const fault_file *file = &before->files[i];
        char path[600];
        const char *name;
        snprintf(path, sizeof path, "run/%s", file->path);
        int first = -1;
        for (int k = 0; k < i && first < 0 && file->identity >= 0; k++)
            if (before->files[k].identity == file->identity) first = numbers[k];
        int number = numbers[i] = first >= 0 ? first : new_inode(disk, file->identity < 0);
        if (first < 0 && file->identity >= 0) {
            resize(&disk->inodes[number].durable, file->bytes);
            if (file->bytes) memcpy(disk->inodes[number].durable.data, file->data, (size_t)file->bytes);
        }
        int folder = folder_of(disk, path, &name);
        set(&disk->inodes[folder].live, name, number);
        set(&disk->inodes[folder].settled, name, number);
    }
    free(numbers);
    return disk;
}

void fault_disk_destroy(fault_disk *disk)
{
    if (!disk) return;
    for (int i = 0; i < disk->count; i++) {
        free(disk->inodes[i].durable.data);
        free(disk->inodes[i].pending);
        free_table(&disk->inodes[i].live);
        free_table(&disk->inodes[i].settled);
    }
    for (int i = 0; i < disk->change_count; i++) {
        free(disk->changes[i].from_name);
        free(disk->changes[i].to_name);
    }
    for (int i = 0; i < disk->blob_count; i++) free(disk->blobs[i].data);
    free(disk->inodes);
    free(disk->changes);
    free(disk->descriptors);
    free(disk->blobs);
    free(disk);
}

static int *descriptor_of(fault_disk *disk, const fault_call *call)
{
    for (int i = 0; i < disk->descriptor_count; i++)
        if (disk->descriptors[i].process == call->head.process && disk->descriptors[i].fd == call->head.fd)
            return &disk->descriptors[i].inode;
    GROW(disk->descriptors, disk->descriptor_count, disk->descriptor_capacity);
    disk->descriptors[disk->descriptor_count] = (descriptor){call->head.process, call->head.fd, -1};
    return &disk->descriptors[disk->descriptor_count++].inode;
}

static void pend(fault_disk *disk, int number, const fault_call *call)
{
    inode *file = &disk->inodes[number];
    GROW(file->pending, file->pending_count, file->pending_capacity);
    file->pending[file->pending_count++] = call;
}

static bool apply_name(fault_disk *disk, const fault_call *call)
{
    const char *name = NULL, *other = NULL;
    int folder = folder_of(disk, call->path, &name), number = resolve(disk, call->path);
    switch (call->head.kind) {
    case TARN_FAULT_MKDIR:
        if (!strcmp(call->path, ".")) return true; /* the folder that is watched */
        if (folder < 0) return false;
        note_change(disk, -1, NULL, folder, name, new_inode(disk, true), -1);
        return true;
    case TARN_FAULT_UNLINK:
    case TARN_FAULT_RMDIR:
        if (number < 0) return false;
        note_change(disk, folder, name, -1, NULL, number, -1);
        return true;
    default: {
        int target = folder_of(disk, call->other, &other);
        if (number < 0 || target < 0) return false;
        bool renames = call->head.kind == TARN_FAULT_RENAME;
        /* Between two names of one file a rename does nothing. */
        if (renames && resolve(disk, call->other) == number) return true;
        bool exchanges = renames && (call->head.flags >> 8) & RENAME_EXCHANGE;
        note_change(disk, renames ? folder : -1, renames ? name : NULL, target, other, number,
                    exchanges ? resolve(disk, call->other) : -1);
        return true;
    }
    }
}

static bool apply_open(fault_disk *disk, const fault_call *call)
{
    const char *name;
    int folder = folder_of(disk, call->path, &name);
    if (folder < 0) return false;
    if (call->head.flags & TARN_FAULT_CREATED) note_change(disk, -1, NULL, folder, name, new_inode(disk, false), -1);
    int number = resolve(disk, call->path);
    if (number < 0) return false;
    if (call->head.flags & TARN_FAULT_TRUNCATED) pend(disk, number, call);
    *descriptor_of(disk, call) = number;
    return true;
}

bool fault_disk_apply(fault_disk *disk, const fault_call *call)
{
    if (call->head.flags & TARN_FAULT_NO_EFFECT) return true;
    bool done = true;
    int number = call->head.fd < 0 ? -1 : *descriptor_of(disk, call);
    switch ((tarn_fault_kind)call->head.kind) {
    case TARN_FAULT_OPEN:
        done = apply_open(disk, call);
        break;
    case TARN_FAULT_ALLOCATE:
    case TARN_FAULT_WRITE:
    case TARN_FAULT_TRUNCATE:
        done = number >= 0;
        if (done) pend(disk, number, call);
        break;
    case TARN_FAULT_SYNC:
        done = number >= 0;
        if (done && disk->inodes[number].folder) settle_folder(disk, number);
        if (done && !disk->inodes[number].folder) settle_file(&disk->inodes[number]);
        break;
    case TARN_FAULT_CLOSE:
        *descriptor_of(disk, call) = -1;
        break;
    case TARN_FAULT_RENAME:
    case TARN_FAULT_LINK:
    case TARN_FAULT_UNLINK:
    case TARN_FAULT_MKDIR:
    case TARN_FAULT_RMDIR:
        done = apply_name(disk, call);
        break;
    default:
        break;
    }
    if (!done)
        fprintf(stderr, "faults: %s %s does not fit the simulated disk\n",
                tarn_fault_kind_name((tarn_fault_kind)call->head.kind), call->path);
    return done;
}

/* ---- after the loss of power ------------------------------------------------------------------------------------- */

/* Adds what lies below a folder of the tables; contents[i] are those of the files. */
static void walk(fault_tree *tree, const table *tables, const fault_disk *disk, int folder, const char *prefix,
                 const blob *contents)
{
    for (int i = 0; i < tables[folder].count; i++) {
        const entry *item = &tables[folder].entries[i];
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
static bool any_pending(const table *tables, const fault_disk *disk)
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
    table *tables = calloc((size_t)disk->count, sizeof *tables);
    blob *contents = calloc((size_t)disk->count, sizeof *contents);
    for (int f = 0; f < disk->count; f++) tables[f] = copy_table(&disk->inodes[f].settled);
    for (int i = 0; i < disk->change_count; i++)
        if (chosen[i]) apply_change(tables, &disk->changes[i]);
    int variants = any_pending(tables, disk) ? DATA_VARIANTS + at->most / 32 : 1;
    int run = find(&tables[0], "run");
    for (int v = 0; v < variants && at->taken < at->most; v++) {
        for (int f = 0; f < disk->count; f++) {
            if (disk->inodes[f].folder) continue;
            /* Several files: not all of them alike. */
            uint64_t number = v == 0 ? 0 : v == 1 ? 1 : (uint64_t)(v + f);
            if (v > 1 && v < DATA_VARIANTS) number = 2 + (uint64_t)(v - 2 + f) % (DATA_VARIANTS - 2);
            buffer content = variant(&disk->inodes[f], number, &at->random);
            int64_t bytes = content.bytes;
            contents[f] = (blob){0, (uint8_t *)keep(disk, content), bytes};
        }
        fault_tree tree = {0};
        if (run >= 0) walk(&tree, tables, disk, tables[0].entries[run].inode, "", contents);
        at->take(at->user, &tree);
        at->taken++;
        fault_tree_free(&tree, false);
    }
    for (int f = 0; f < disk->count; f++) free_table(&tables[f]);
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
