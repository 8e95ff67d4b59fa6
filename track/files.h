/* files.h - paths and files of a record. All functions return 0, or -1 with errno. */
#ifndef TARN_TRACK_FILES_H
#define TARN_TRACK_FILES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef char tarn_path[PATH_MAX];

/* printf of a path; too long a path is ENAMETOOLONG. */
int tarn_path_make(tarn_path out, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Whether it is of no use to try again after this errno: the names do not fit the folder, or the file to copy is gone.
 */
bool tarn_file_error_is_final(int error);
/* Makes the folders that `path` lies in. */
int tarn_path_make_parents(const char *path);
/* Makes `path` a file of these bytes: readers see the old file or the whole new one. `temporary` lies on the same file
 * system and is used by this process alone. */
int tarn_file_put(const char *path, const char *temporary, const char *data, size_t length);
/* The same; afterwards the bytes are on the disk, so that the name never stands for less, whatever happens. */
int tarn_file_put_synced(const char *path, const char *temporary, const char *data, size_t length);
/* Brings the names in a folder to the disk. */
int tarn_folder_sync(const char *folder);
/* Removes a folder with all that is in it; quietly. */
void tarn_folder_remove(const char *folder);
/* Appends these bytes with one write; a write that stops halfway is taken back. */
int tarn_file_append(const char *path, const char *data, size_t length);
/* Copies an open file, from its beginning, as tarn_file_put does. */
int tarn_file_put_copy(const char *path, const char *temporary, int from);
/* Calls `visit` for each regular file below `root` with its path relative to root, in order of names; stops at -1. A
 * root that does not exist is empty. */
int tarn_files_walk(const char *root, int (*visit)(void *user, const char *name), void *user);

#endif
