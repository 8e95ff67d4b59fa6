/* stall_io.c - a file system that stands still, for one program: preloaded, calls that make, rename, remove or sync
 * files whose path begins so wait as long as a file exists, as they do on a disk that does not answer. All other calls,
 * and all other programs, go on.
 *
 *   TARN_STALL_PREFIX  absolute: paths that begin with it
 *   TARN_STALL_WHILE      the file
 *   TARN_STALL_WORD       the first argument of the program that is meant ("run"): ranks and mpirun inherit the preload
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define REAL(name, type, ...)                                                                                          \
    static type (*real)(__VA_ARGS__);                                                                                  \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)

static char prefix[4096], file[4096];
static bool meant;

__attribute__((constructor)) static void begin(void)
{
    const char *where = getenv("TARN_STALL_PREFIX"), *until = getenv("TARN_STALL_WHILE"),
               *word = getenv("TARN_STALL_WORD");
    char line[4096] = "";
    FILE *own = fopen("/proc/self/cmdline", "re");
    size_t got = own ? fread(line, 1, sizeof line - 1, own) : 0, first = strlen(line) + 1;
    if (own) fclose(own);
    meant = where && until && word && first < got && !strcmp(line + first, word);
    if (!meant) return;
    snprintf(prefix, sizeof prefix, "%s", where);
    snprintf(file, sizeof file, "%s", until);
}

static void wait_while_still(const char *path)
{
    if (!meant || strncmp(path, prefix, strlen(prefix))) return;
    while (!access(file, F_OK)) nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

EXPORT int open(const char *path, int flags, ...)
{
    REAL("open", int, const char *, int, ...);
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (flags & O_CREAT) wait_while_still(path);
    return real(path, flags, mode);
}

EXPORT int rename(const char *from, const char *to)
{
    REAL("rename", int, const char *, const char *);
    wait_while_still(from);
    return real(from, to);
}

EXPORT int unlink(const char *path)
{
    REAL("unlink", int, const char *);
    wait_while_still(path);
    return real(path);
}

EXPORT int fsync(int descriptor)
{
    REAL("fsync", int, int);
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    path[length > 0 ? length : 0] = '\0';
    wait_while_still(path);
    return real(descriptor);
}
