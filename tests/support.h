/* support.h - what tests share: temporary folders, running commands with a deadline, launching case programs on ranks.
 *
 * The programs of tests/case_*.c lie in TARN_BINARY_DIR/tests. Outputs are strings the caller frees. Nothing here
 * asserts.
 */
#ifndef TARN_TESTS_SUPPORT_H
#define TARN_TESTS_SUPPORT_H

#include <dirent.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* Seconds after which a launched command is killed: generous, machines that build at the same time are slow. */
#define TARN_TEST_SECONDS 90

/* printf into a new string. */
__attribute__((unused, format(printf, 1, 2))) static char *tarn_test_format(const char *format, ...)
{
    va_list arguments;
    char *text = NULL;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    return length < 0 ? NULL : text;
}

/* Makes a new folder /tmp/tarn-test-XXXXXX; free the name after tarn_test_remove. NULL on failure. */
__attribute__((unused)) static char *tarn_test_directory(void)
{
    char *path = strdup("/tmp/tarn-test-XXXXXX");
    if (path && !mkdtemp(path)) {
        free(path);
        return NULL;
    }
    return path;
}

/* The same in memory where there is room (1 GiB in /dev/shm): for tests that save often and whose subject is not the
 * disk. Thousands of fsyncs make a slow disk stand still for whoever else uses it. */
__attribute__((unused)) static char *tarn_test_fast_directory(void)
{
    struct statvfs memory;
    if (statvfs("/dev/shm", &memory) || memory.f_bavail * memory.f_frsize < (1ull << 30)) return tarn_test_directory();
    char *path = strdup("/dev/shm/tarn-test-XXXXXX");
    if (path && !mkdtemp(path)) {
        free(path);
        return tarn_test_directory();
    }
    return path;
}

/* Removes a file or a folder with all that is in it. */
__attribute__((unused)) static void tarn_test_remove(const char *path)
{
    struct stat info;
    if (lstat(path, &info)) return;
    if (!S_ISDIR(info.st_mode)) {
        unlink(path);
        return;
    }
    DIR *directory = opendir(path);
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *child = tarn_test_format("%s/%s", path, entry->d_name);
        if (child) tarn_test_remove(child);
        free(child);
    }
    if (directory) closedir(directory);
    rmdir(path);
}

/* Writes bytes to a file (made anew). */
__attribute__((unused)) static bool tarn_test_write(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    bool written = file && fwrite(data, 1, bytes, file) == bytes;
    if (file && fclose(file)) written = false;
    return written;
}

/* The same to the file `name` of a folder. */
__attribute__((unused)) static bool tarn_test_write_in(const char *folder, const char *name, const void *data,
                                                       size_t size)
{
    char *path = tarn_test_format("%s/%s", folder, name);
    bool written = path && tarn_test_write(path, data, size);
    free(path);
    return written;
}

/* Reads a whole file as a string (NULL when it cannot be read); *bytes may be NULL. */
__attribute__((unused)) static char *tarn_test_read(const char *path, size_t *bytes)
{
    FILE *file = fopen(path, "rb");
    if (!file) return NULL;
    char *text = NULL;
    size_t used = 0, size = 0, got;
    do {
        if (used + 4096 > size) text = realloc(text, size = 2 * size + 8192);
        got = fread(text + used, 1, 4095, file);
        used += got;
    } while (got);
    text[used] = '\0';
    fclose(file);
    if (bytes) *bytes = used;
    return text;
}

/* Runs a shell command under `timeout`; *output (unless NULL) gets stdout and stderr together. Returns its exit code,
 * 124 or 137 when it ran too long, 128 + n when signal n ended it, -1 when it could not be started. */
__attribute__((unused)) static int tarn_test_run(const char *command, int seconds, char **output)
{
    if (output) *output = NULL;
    char *script = tarn_test_directory();
    if (!script) return -1;
    /* Through a file: no quoting of quotes. */
    char *path = tarn_test_format("%s/command", script), *log = tarn_test_format("%s/log", script);
    char *line = tarn_test_format("timeout -k 3 %d sh %s </dev/null >%s 2>&1", seconds, path, log);
    int code = -1;
    if (path && log && line && tarn_test_write(path, command, strlen(command))) {
        int status = system(line);
        code = WIFEXITED(status) ? WEXITSTATUS(status) : WIFSIGNALED(status) ? 128 + WTERMSIG(status) : -1;
        if (output) *output = tarn_test_read(log, NULL);
    }
    if (output && !*output) *output = strdup("");
    tarn_test_remove(script);
    free(path);
    free(log);
    free(line);
    free(script);
    return code;
}

/* Folders of Open MPI for one launch. Launches side by side would else share /tmp/ompi.HOST.UID, where one that ends
 * takes away what another is just making, and a launch that is killed leaves its shared memory in /dev/shm for good. */
typedef struct tarn_test_mpi {
    char sessions[32], segments[32]; /* "": none */
} tarn_test_mpi;

__attribute__((unused)) static void tarn_test_mpi_set(const char *name4, const char *name5, const char *folder)
{
    if (folder)
        setenv(name4, folder, 1), setenv(name5, folder, 1);
    else
        unsetenv(name4), unsetenv(name5);
}

/* Makes the folders and sets them, with what mpirun needs here, in the environment; not around `tarn run`, which makes
 * its own unless the environment names some. */
__attribute__((unused)) static void tarn_test_mpi_begin(tarn_test_mpi *mpi)
{
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
    setenv("OMPI_MCA_mpi_yield_when_idle", "1", 1);
    setenv("ASAN_OPTIONS", "detect_leaks=0", 1); /* MPI keeps memory until the end */
    strcpy(mpi->sessions, "/tmp/tarn-test-XXXXXX");
    strcpy(mpi->segments, "/dev/shm/tarn-test-XXXXXX");
    if (!mkdtemp(mpi->sessions)) mpi->sessions[0] = '\0';
    if (!mkdtemp(mpi->segments)) mpi->segments[0] = '\0'; /* no /dev/shm: they go to the session folder */
    if (mpi->sessions[0]) tarn_test_mpi_set("OMPI_MCA_orte_tmpdir_base", "PRTE_MCA_prte_tmpdir_base", mpi->sessions);
    if (mpi->segments[0])
        tarn_test_mpi_set("OMPI_MCA_btl_vader_backing_directory", "OMPI_MCA_btl_sm_backing_directory", mpi->segments);
}

__attribute__((unused)) static void tarn_test_mpi_end(const tarn_test_mpi *mpi)
{
    tarn_test_mpi_set("OMPI_MCA_orte_tmpdir_base", "PRTE_MCA_prte_tmpdir_base", NULL);
    tarn_test_mpi_set("OMPI_MCA_btl_vader_backing_directory", "OMPI_MCA_btl_sm_backing_directory", NULL);
    if (mpi->sessions[0]) tarn_test_remove(mpi->sessions);
    if (mpi->segments[0]) tarn_test_remove(mpi->segments);
}

/* tarn_test_run of a command that calls mpirun. */
__attribute__((unused)) static int tarn_test_run_mpi(const char *command, int seconds, char **output)
{
    tarn_test_mpi mpi;
    tarn_test_mpi_begin(&mpi);
    int code = tarn_test_run(command, seconds, output);
    tarn_test_mpi_end(&mpi);
    return code;
}

#ifdef TARN_BINARY_DIR
/* Runs "case_name arguments" of this build on `ranks` ranks, or without mpirun when ranks is 0; a command that begins
 * with / is taken as it stands. Environment: setenv before. Returns as tarn_test_run. */
__attribute__((unused)) static int tarn_test_mpirun(int ranks, const char *command, char **output)
{
    const char *folder = command[0] == '/' ? "" : TARN_BINARY_DIR "/tests/";
    char *line = ranks > 0 ? tarn_test_format("exec mpirun --oversubscribe --bind-to none --timeout %d -n %d %s%s",
                                              TARN_TEST_SECONDS - 5, ranks, folder, command)
                           : tarn_test_format("exec %s%s", folder, command);
    if (output) *output = NULL;
    int code = !line ? -1 : (ranks > 0 ? tarn_test_run_mpi : tarn_test_run)(line, TARN_TEST_SECONDS, output);
    free(line);
    return code;
}
#endif

#endif
