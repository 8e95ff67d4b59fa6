/* disk.c - see disk.h: what calls do. A live name space, to find out which file a call means, and a durable one, with
 * the list of what is not durable yet. crash.c has what a loss of power leaves of it.
 */
#include "tests/faults/disk_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- names ------------------------------------------------------------------------------------------------------- */

int fault_table_find(const fault_table *names, const char *name)
{
    for (int i = 0; i < names->count; i++)
        if (!strcmp(names->entries[i].name, name)) return i;
    return -1;
}

static void set(fault_table *names, const char *name, int number)
{
    int at = fault_table_find(names, name);
    if (at >= 0) {
        names->entries[at].inode = number;
        return;
    }
    GROW(names->entries, names->count, names->capacity);
    names->entries[names->count++] = (fault_entry){strdup(name), number};
}

/* Only while the name means that inode. */
static void unset(fault_table *names, const char *name, int number)
{
    int at = fault_table_find(names, name);
    if (at < 0 || names->entries[at].inode != number) return;
    free(names->entries[at].name);
    names->entries[at] = names->entries[--names->count];
}

void fault_table_free(fault_table *names)
{
    for (int i = 0; i < names->count; i++) free(names->entries[i].name);
    free(names->entries);
    *names = (fault_table){0};
}

fault_table fault_table_copy(const fault_table *names)
{
    fault_table copy = {0};
    for (int i = 0; i < names->count; i++) set(&copy, names->entries[i].name, names->entries[i].inode);
    return copy;
}

static int new_inode(fault_disk *disk, bool folder)
{
    GROW(disk->inodes, disk->count, disk->capacity);
    disk->inodes[disk->count] = (fault_inode){.folder = folder};
    return disk->count++;
}

/* The folder a path lies in, *name its last part (within path); -1 when there is no such folder. Folder 0 is ".". */
static int folder_of(const fault_disk *disk, const char *path, const char **name)
{
    int folder = 0;
    for (const char *slash; (slash = strchr(path, '/')); path = slash + 1) {
        char part[256];
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        int at = fault_table_find(&disk->inodes[folder].live, part);
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
    int at = folder < 0 ? -1 : fault_table_find(&disk->inodes[folder].live, name);
    return at < 0 ? -1 : disk->inodes[folder].live.entries[at].inode;
}

static void note_change(fault_disk *disk, int from, const char *from_name, int to, const char *to_name, int number,
                        int exchanged)
{
    GROW(disk->changes, disk->change_count, disk->change_capacity);
    disk->changes[disk->change_count++] = (fault_change){from,
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

void fault_change_apply(fault_table *tables, const fault_change *done)
{
    if (done->from >= 0) unset(&tables[done->from], done->from_name, done->inode);
    if (done->to >= 0) set(&tables[done->to], done->to_name, done->inode);
    if (done->exchanged >= 0) set(&tables[done->from], done->from_name, done->exchanged);
}

static void settle_folder(fault_disk *disk, int folder)
{
    int kept = 0;
    for (int i = 0; i < disk->change_count; i++) {
        fault_change *done = &disk->changes[i];
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

void fault_buffer_resize(fault_buffer *content, int64_t bytes)
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

void fault_buffer_apply(fault_buffer *content, const fault_call *call)
{
    int64_t end = call->head.offset + call->head.length;
    if (call->head.kind == TARN_FAULT_OPEN) {
        fault_buffer_resize(content, 0);
    } else if (call->head.kind == TARN_FAULT_TRUNCATE) {
        fault_buffer_resize(content, call->head.length);
    } else {
        if (end > content->bytes) fault_buffer_resize(content, end);
        if (call->head.kind == TARN_FAULT_WRITE && call->head.length)
            memcpy(content->data + call->head.offset, call->data, (size_t)call->head.length);
    }
}

static void settle_file(fault_inode *file)
{
    for (int i = 0; i < file->pending_count; i++) fault_buffer_apply(&file->durable, file->pending[i]);
    file->pending_count = 0;
}

fault_buffer fault_buffer_copy(const fault_buffer *content)
{
    fault_buffer copy = {0};
    fault_buffer_resize(&copy, content->bytes);
    if (content->bytes) memcpy(copy.data, content->data, (size_t)content->bytes);
    return copy;
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
            fault_buffer_resize(&disk->inodes[number].durable, file->bytes);
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
        fault_table_free(&disk->inodes[i].live);
        fault_table_free(&disk->inodes[i].settled);
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
    disk->descriptors[disk->descriptor_count] = (fault_descriptor){call->head.process, call->head.fd, -1};
    return &disk->descriptors[disk->descriptor_count++].inode;
}

static void pend(fault_disk *disk, int number, const fault_call *call)
{
    fault_inode *file = &disk->inodes[number];
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
