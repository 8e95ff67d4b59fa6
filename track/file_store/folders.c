/* folders.c - folders of a file store that appear with everything in them. */
#include "track/file_store/catalog.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int tarn_new_folder_begin(tarn_path folder, const char *run)
{
    if (tarn_path_make(folder, "%s/.tarn-folder-%ld", run, (long)getpid())) return -1;
    tarn_folder_remove(folder); /* of a process that died here and had this number */
    return mkdir(folder, 0777);
}

int tarn_new_folder_end(const tarn_path folder, const char *path)
{
    int result = tarn_path_make_parents(path);
    if (!result) result = rename(folder, path);
    if (!result) return 0;
    int error = errno;
    tarn_folder_remove(folder);
    errno = error;
    return error == EEXIST || error == ENOTEMPTY ? 1 : -1;
}
