/* write.c - see write.h. */
#include "runtime/base/write.h"

#include <errno.h>
#include <unistd.h>

bool tarn_write_all(int file, const void *data, size_t bytes)
{
    for (const char *at = data; bytes;) {
        ssize_t put = write(file, at, bytes);
        if (put < 0 && errno == EINTR) continue;
        if (put == 0) errno = EIO; /* would go on for ever */
        if (put <= 0) return false;
        at += put;
        bytes -= (size_t)put;
    }
    return true;
}
