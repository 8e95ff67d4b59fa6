/* environment.c - who runs what, from which commit, when. */
#include "track/environment.h"
#include "runtime/config/document.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

const char *tarn_environment_variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

void tarn_environment_user(char *out, size_t size)
{
    const char *name = tarn_environment_variable("USER");
    if (!name) name = tarn_environment_variable("LOGNAME");
    struct passwd entry, *found = NULL;
    char buffer[4096];
    if (!name && !getpwuid_r(getuid(), &entry, buffer, sizeof buffer, &found) && found) name = found->pw_name;
    snprintf(out, size, "%s", name && *name ? name : "unknown");
}

void tarn_environment_source(char *out, size_t size)
{
    snprintf(out, size, "%s", program_invocation_name ? program_invocation_name : "");
}

/* First line of a file, without its end; false when there is none. */
static int first_line(const char *path, char *out, size_t size)
{
    char *text = tarn_document_read_file(path, NULL);
    if (!text) return 0;
    text[strcspn(text, "\r\n")] = '\0';
    int fits = snprintf(out, size, "%s", text) < (int)size;
    free(text);
    return fits && *out;
}

static int is_commit(const char *text)
{
    size_t length = strlen(text); /* 40 for SHA-1, 64 for SHA-256 */
    return (length == 40 || length == 64) && strspn(text, "0123456789abcdef") == length;
}

/* A reference that git has packed: "<commit> refs/heads/main" in a file of many lines. */
static void packed_reference(const char *common, const char *name, char out[65])
{
    char path[4300];
    snprintf(path, sizeof path, "%s/packed-refs", common);
    char *text = tarn_document_read_file(path, NULL);
    for (char *line = text; line && *line;) {
        size_t length = strcspn(line, "\n");
        char *end = line + length + (line[length] == '\n');
        line[length] = '\0';
        char *blank = strchr(line, ' ');
        if (blank && !strcmp(blank + 1, name)) {
            *blank = '\0';
            if (is_commit(line)) snprintf(out, 65, "%.64s", line);
        }
        line = end;
    }
    free(text);
}

static void commit_of(const char *git, char out[65])
{
    char path[4200], line[1024], common[4150];
    snprintf(path, sizeof path, "%s/HEAD", git);
    if (!first_line(path, line, sizeof line)) return;
    if (is_commit(line)) {
        snprintf(out, 65, "%.64s", line);
        return;
    }
    if (strncmp(line, "ref: ", 5)) return;
    /* A linked worktree keeps its references in the repository it belongs to. */
    char shared[1024];
    snprintf(path, sizeof path, "%s/commondir", git);
    if (!first_line(path, shared, sizeof shared))
        snprintf(common, sizeof common, "%.4100s", git);
    else if (shared[0] == '/')
        snprintf(common, sizeof common, "%s", shared);
    else
        snprintf(common, sizeof common, "%.3000s/%s", git, shared);
    char commit[1024], reference[5200];
    snprintf(reference, sizeof reference, "%s/%s", common, line + 5);
    if (first_line(reference, commit, sizeof commit) && is_commit(commit))
        snprintf(out, 65, "%.64s", commit);
    else
        packed_reference(common, line + 5, out);
}

void tarn_environment_commit(char out[65])
{
    char directory[4096], path[4110], line[4096];
    out[0] = '\0';
    if (!getcwd(directory, sizeof directory)) return;
    for (;;) {
        snprintf(path, sizeof path, "%s/.git", directory);
        if (!access(path, F_OK)) break;
        char *slash = strrchr(directory, '/');
        if (!slash || !directory[1]) return;
        slash[slash == directory] = '\0';
    }
    char inside[4120];
    snprintf(inside, sizeof inside, "%s/HEAD", path);
    if (!access(inside, F_OK))
        commit_of(path, out);
    else if (first_line(path, line, sizeof line) && !strncmp(line, "gitdir: ", 8)) {
        char git[8300];
        if (line[8] == '/')
            snprintf(git, sizeof git, "%s", line + 8);
        else
            snprintf(git, sizeof git, "%s/%s", directory, line + 8);
        commit_of(git, out);
    }
}

int tarn_environment_new_id(char out[33])
{
    unsigned char bytes[16];
    size_t have = 0;
    while (have < sizeof bytes) {
        ssize_t got = getrandom(bytes + have, sizeof bytes - have, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return -1;
        have += (size_t)got;
    }
    for (int i = 0; i < 16; i++) sprintf(out + 2 * i, "%02x", bytes[i]);
    return 0;
}

int64_t tarn_environment_time_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void tarn_environment_hide_logins(char *text)
{
    static const char ends[] = "@/?#'\"<> \t\r\n";
    for (char *at = text; (at = strstr(at, "://"));) {
        at += 3;
        char *end = strpbrk(at, ends);
        if (!end || *end != '@' || end == at) continue;
        /* A password may hold an @ itself: the last one before the host counts. */
        for (char *more; (more = strpbrk(end + 1, ends)) && *more == '@';) end = more;
        size_t stars = end - at < 3 ? (size_t)(end - at) : 3;
        memset(at, '*', stars);
        memmove(at + stars, end, strlen(end) + 1);
    }
}
