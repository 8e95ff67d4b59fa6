/* disk_internal.h - what a simulated disk consists of: shared by disk.c, which does calls to it, and crash.c, which
 * takes its power away. */
#ifndef TARN_TESTS_FAULTS_DISK_INTERNAL_H
#define TARN_TESTS_FAULTS_DISK_INTERNAL_H

#include "tests/faults/disk.h"

#include <stdlib.h>

typedef struct fault_buffer {
    uint8_t *data;
    int64_t bytes, capacity;
} fault_buffer;

typedef struct fault_entry {
    char *name;
    int inode;
} fault_entry;

typedef struct fault_table {
    fault_entry *entries;
    int count, capacity;
} fault_table;

typedef struct fault_inode {
    bool folder;
    fault_buffer durable;       /* a file: as of the last fsync */
    const fault_call **pending; /* a file: what was done to its data since */
    int pending_count, pending_capacity;
    fault_table live; /* a folder */
    fault_table settled;
} fault_inode;

/* What was done to names: name of folder `from` no longer is `inode`, name of folder `to` is. -1: no such side.
 * exchanged: what was at `to` is at `from` now; -1: nothing. */
typedef struct fault_change {
    int from, to, inode, exchanged;
    char *from_name, *to_name;
    bool from_synced, to_synced;
} fault_change;

typedef struct fault_descriptor {
    int32_t process, fd;
    int inode;
} fault_descriptor;

/* Contents that were handed out, each once. */
typedef struct fault_blob {
    uint64_t hash; /* XXH64 */
    uint8_t *data;
    int64_t bytes;
} fault_blob;

struct fault_disk {
    fault_inode *inodes;
    int count, capacity;
    fault_change *changes;
    int change_count, change_capacity;
    fault_descriptor *descriptors;
    int descriptor_count, descriptor_capacity;
    fault_blob *blobs;
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

/* Names. */
int fault_table_find(const fault_table *names, const char *name);
fault_table fault_table_copy(const fault_table *names);
void fault_table_free(fault_table *names);
/* Does what was done to names to a copy of the folders. */
void fault_change_apply(fault_table *tables, const fault_change *done);

/* Data. */
void fault_buffer_resize(fault_buffer *content, int64_t bytes);
/* All of a call; an OPEN that truncates is one, too. */
void fault_buffer_apply(fault_buffer *content, const fault_call *call);
fault_buffer fault_buffer_copy(const fault_buffer *content);

#endif
