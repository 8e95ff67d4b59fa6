/* fault_io.h - a layer between a program and the file system that counts, fails and records its calls.
 *
 * A shared library that stands before libc, either linked into a program (tarn_fault_begin) or preloaded into any other
 * (environment, see fault_io.c). Only calls on paths below one directory count: those that change something there
 * (open for writing, fallocate, write, ftruncate, fsync, close, rename, link, unlink, mkdir, rmdir), the open of a
 * directory, and on request reads. Not seen: calls inside libc itself, such as fopen and fwrite.
 */
#ifndef TARN_TESTS_FAULT_IO_H
#define TARN_TESTS_FAULT_IO_H

#include <stdbool.h>
#include <stdint.h>

typedef enum tarn_fault_mode {
    TARN_FAULT_NONE,
    TARN_FAULT_KILL,      /* SIGKILL to itself instead of the call */
    TARN_FAULT_TORN_KILL, /* half of a write, then SIGKILL; other calls: as KILL */
    TARN_FAULT_ERROR,     /* the call fails with plan.error */
    TARN_FAULT_SHORT      /* a write does half of its bytes; other calls go through */
} tarn_fault_mode;

typedef struct tarn_fault_plan {
    const char *directory; /* absolute, without symbolic links; copied */
    int64_t at;            /* the call to hit, from 1; 0: none */
    tarn_fault_mode mode;
    int error;         /* errno of ERROR */
    bool persistent;   /* all calls from `at` on */
    bool reads;        /* open for reading and read count, too */
    bool no_file_sync; /* fsync of files does nothing (a weakened writer) */
    bool no_directory_sync;
    const char *trace; /* a file, outside the directory, that receives every call that counts; or NULL */
    char *hit;         /* receives "kind name length" of the call that was hit (128 bytes), or NULL */
} tarn_fault_plan;

/* What happened: one record per call, followed by path (path_bytes), other path (other_bytes), data (data_bytes), all
 * without terminating zeros. Paths are relative to the directory, "." is itself. */
typedef enum tarn_fault_kind {
    TARN_FAULT_OPEN, /* flags: TARN_FAULT_CREATED, TARN_FAULT_TRUNCATED */
    TARN_FAULT_ALLOCATE,
    TARN_FAULT_WRITE,
    TARN_FAULT_TRUNCATE, /* fd, or -1 and path */
    TARN_FAULT_SYNC,
    TARN_FAULT_CLOSE,
    TARN_FAULT_RENAME,
    TARN_FAULT_LINK,
    TARN_FAULT_UNLINK,
    TARN_FAULT_MKDIR,
    TARN_FAULT_RMDIR,
    TARN_FAULT_READ,
    TARN_FAULT_NOTE /* path: the text of tarn_fault_note */
} tarn_fault_kind;

#define TARN_FAULT_CREATED   1u
#define TARN_FAULT_TRUNCATED 2u
#define TARN_FAULT_NO_EFFECT 4u /* it failed, or was a sync that a weakened writer leaves out */

typedef struct tarn_fault_record {
    uint32_t kind, flags;
    int32_t process, fd;
    int64_t number; /* as counted by tarn_fault_begin's plan; that of the call before, for a note */
    int64_t offset, length;
    uint32_t path_bytes, other_bytes;
    int64_t data_bytes;
} tarn_fault_record;

#define TARN_FAULT_EXPORT __attribute__((visibility("default")))

/* Starts counting from 0 by this plan, in place of an earlier one. Not while other threads use the directory. */
TARN_FAULT_EXPORT void tarn_fault_begin(const tarn_fault_plan *plan);
/* Calls pass through uncounted from here on. */
TARN_FAULT_EXPORT void tarn_fault_end(void);
/* Calls counted since tarn_fault_begin. */
TARN_FAULT_EXPORT int64_t tarn_fault_count(void);
/* Puts a note into the trace, in order with the calls. */
TARN_FAULT_EXPORT void tarn_fault_note(const char *text);
TARN_FAULT_EXPORT const char *tarn_fault_kind_name(tarn_fault_kind kind);

#endif
