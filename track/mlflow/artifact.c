/* artifact.c - files to where an MLflow server keeps artifacts: through the server, or into a folder that both see.
 *
 * Invariant: a file appears whole: the server writes what came whole, a folder gets it by rename.
 */
#include "track/mlflow/mlflow_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define ARTIFACT_INTERFACE "/api/2.0/mlflow-artifacts/artifacts/"
#define IN_A_PATH          "/:@!$&'()*+,;="

/* What is the case of one upload. */
typedef struct target {
    tarn_mlflow_client *client;
    char *url;   /* of the root, without a slash at its end; NULL: it is a folder */
    char *local; /* that folder */
    bool own;    /* the url is on our server's host */
    const char *under, *folder;
    tarn_mlflow_replace *replace;
    void *user;
    tarn_mlflow_outcome outcome;
} target;

__attribute__((format(printf, 2, 3))) static tarn_mlflow_outcome refuse(tarn_mlflow_client *client, const char *format,
                                                                        ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(client->problem, sizeof client->problem, format, arguments);
    va_end(arguments);
    *client->error_code = '\0';
    client->code = 0;
    return TARN_MLFLOW_REFUSED;
}

/* ---- the root ---------------------------------------------------------------------------------------------------- */

/* mlflow-artifacts:/PATH, mlflow-artifacts://HOST[:PORT]/PATH */
static tarn_mlflow_outcome served_root(target *target, const char *rest)
{
    const char *base = target->client->base, *host = strstr(base, "://") + 3;
    int host_length = (int)strcspn(host, "/"), named_length = 0;
    const char *named = NULL;
    if (!strncmp(rest, "//", 2)) {
        named = rest + 2;
        named_length = (int)strcspn(named, "/");
        rest = named + named_length;
    }
    target->own = !named_length || (named_length == host_length && !strncasecmp(named, host, (size_t)host_length));
    char *path = tarn_mlflow_escape(rest + strspn(rest, "/"), IN_A_PATH "%");
    /* The server's own prefix, as of a proxy, stays in front, on another host as well: so does mlflow. */
    if (!path ||
        asprintf(&target->url, "%.*s%.*s%s" ARTIFACT_INTERFACE "%s", (int)(host - base), base,
                 named_length ? named_length : host_length, named_length ? named : host, host + host_length, path) < 0)
        target->url = NULL;
    free(path);
    return target->url ? TARN_MLFLOW_OK : tarn_mlflow_no_memory(target->client);
}

static tarn_mlflow_outcome read_root(target *target, const char *root)
{
    tarn_mlflow_client *client = target->client;
    size_t scheme = strcspn(root, ":/");
    bool named = scheme && root[scheme] == ':';
    if (named && scheme == 16 && !strncasecmp(root, "mlflow-artifacts", scheme)) return served_root(target, root + 17);
    if (named && (!strncasecmp(root, "http:", 5) || !strncasecmp(root, "https:", 6))) {
        size_t length = strlen(client->base);
        target->own = !strncmp(root, client->base, length) && (root[length] == '/' || !root[length]);
        target->url = tarn_mlflow_escape(root, IN_A_PATH "%");
        return target->url ? TARN_MLFLOW_OK : tarn_mlflow_no_memory(client);
    }
    const char *path = root;
    if (named && !strncasecmp(root, "file", 4) && scheme == 4) {
        path = root + 5;
        if (!strncmp(path, "//", 2)) path = strchr(path + 2, '/') ? strchr(path + 2, '/') : "";
    } else if (named)
        return refuse(
            client,
            "the MLflow server %.80s keeps artifacts at %.150s, where only it can write for us: start it with "
            "--artifacts-destination and that place, and let it serve them (experiments made before keep "
            "theirs)",
            client->base, root);
    if (path[0] != '/')
        return refuse(client,
                      "the MLflow server %.80s keeps artifacts in \"%.150s\", a path that means something else here: "
                      "start it with --artifacts-destination, and let it serve them",
                      client->base, root);
    target->local = strdup(path);
    return target->local ? TARN_MLFLOW_OK : tarn_mlflow_no_memory(client);
}

/* ---- one file ---------------------------------------------------------------------------------------------------- */

static tarn_mlflow_outcome write_local(const target *target, const char *name, const char *file, const char *data)
{
    tarn_mlflow_client *client = target->client;
    tarn_path path, temporary;
    int result = -1, from = -1;
    const char *slash = *target->under && *name ? "/" : "";
    if (!tarn_path_make(path, "%s/%s%s%s", target->local, target->under, slash, name) &&
        !tarn_path_make(temporary, "%s.tarn-new", path) && !tarn_path_make_parents(path)) {
        if (data)
            result = tarn_file_put(path, temporary, data, strlen(data));
        else if ((from = open(file, O_RDONLY | O_CLOEXEC)) >= 0)
            result = tarn_file_put_copy(path, temporary, from);
    }
    int error = errno;
    if (from >= 0) close(from);
    if (!result) return TARN_MLFLOW_OK;
    refuse(
        client,
        "%.160s cannot be written: %s; the MLflow server %.80s keeps artifacts in a folder of its own host: start it "
        "with --artifacts-destination to have it serve them",
        path, strerror(error), client->base);
    return error == ENOSPC || error == EDQUOT || error == EIO ? TARN_MLFLOW_WAIT : TARN_MLFLOW_REFUSED;
}

static tarn_mlflow_outcome put(const target *target, const char *name, const char *file, const char *data, size_t bytes)
{
    tarn_path inside;
    const char *slash = *target->under && *name ? "/" : "";
    if (tarn_path_make(inside, "%s%s%s", target->under, slash, name))
        return refuse(target->client, "the path of artifact %.200s is too long", name);
    char *escaped = tarn_mlflow_escape(inside, IN_A_PATH), *url = NULL;
    if (!escaped || asprintf(&url, "%s/%s", target->url, escaped) < 0) url = NULL;
    tarn_mlflow_outcome outcome =
        url ? tarn_mlflow_put(target->client, url, target->own, data ? NULL : file, data, data ? strlen(data) : bytes)
            : tarn_mlflow_no_memory(target->client);
    free(escaped);
    free(url);
    return outcome;
}

/* name: below `under`; "" where `under` is the file's own name. */
static tarn_mlflow_outcome upload_file(const target *target, const char *name, const char *file)
{
    struct stat info;
    if (access(file, R_OK) || stat(file, &info))
        return refuse(target->client, "%.300s cannot be read: %s", file, strerror(errno));
    char *data = target->replace ? target->replace(target->user, name, file) : NULL;
    tarn_mlflow_outcome outcome =
        target->url ? put(target, name, file, data, (size_t)info.st_size) : write_local(target, name, file, data);
    free(data);
    return outcome;
}

static int visit(void *user, const char *name)
{
    target *target = user;
    tarn_path file;
    if (tarn_path_make(file, "%s/%s", target->folder, name))
        target->outcome = refuse(target->client, "the path of artifact %.200s is too long", name);
    else
        target->outcome = upload_file(target, name, file);
    return target->outcome ? -1 : 0;
}

tarn_mlflow_outcome tarn_mlflow_upload(tarn_mlflow_client *client, const char *root, const char *under,
                                       const char *file, tarn_mlflow_replace *replace, void *user)
{
    target target = {.client = client, .under = under, .folder = file, .replace = replace, .user = user};
    tarn_mlflow_outcome outcome = read_root(&target, root);
    struct stat info;
    if (!outcome && stat(file, &info))
        outcome = refuse(client, "%.300s cannot be read: %s", file, strerror(errno));
    else if (!outcome && S_ISDIR(info.st_mode)) {
        if (tarn_files_walk(file, visit, &target))
            outcome = target.outcome ? target.outcome
                                     : refuse(client, "the folder %.300s cannot be read: %s", file, strerror(errno));
    } else if (!outcome)
        outcome = upload_file(&target, "", file);
    free(target.url);
    free(target.local);
    return outcome;
}
