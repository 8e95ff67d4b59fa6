/* login.c - who we are to an MLflow server: the address, mlflow's environment variables, ~/.mlflow/credentials.
 *
 * Precedence as in mlflow 3: a login in the address goes over one of the environment, that over the file (name and
 * password each by themselves), and a token counts only where no login is complete.
 */
#include "track/mlflow/client.h"
#include "runtime/config/document.h"
#include "runtime/config/number.h"
#include "track/environment.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define NO_MEMORY "out of memory while opening the MLflow client"

static bool is_true(const char *name)
{
    const char *value = tarn_environment_variable(name);
    return value && (!strcasecmp(value, "true") || !strcmp(value, "1"));
}

static bool has_control(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 32 || *text == 127) return true;
    return false;
}

/* `length` bytes with %XX decoded; a wrong escape stays as it stands, as in Python's unquote. */
static char *decoded(const char *text, size_t length)
{
    char *out = malloc(length + 1), *to = out;
    if (!out) return NULL;
    for (size_t i = 0; i < length; i++) {
        bool escape = text[i] == '%' && i + 2 < length && isxdigit((unsigned char)text[i + 1]) &&
                      isxdigit((unsigned char)text[i + 2]);
        if (escape) {
            *to++ = (char)strtoul((char[]){text[i + 1], text[i + 2], 0}, NULL, 16);
            i += 2;
        } else
            *to++ = text[i];
    }
    *to = '\0';
    return out;
}

static char *login_of(const char *user, const char *password)
{
    char *login = NULL;
    return asprintf(&login, "%s:%s", user, password) < 0 ? NULL : login;
}

static bool refuse(char problem[TARN_SINK_PROBLEM], const char *why)
{
    snprintf(problem, TARN_SINK_PROBLEM,
             "the address of the MLflow server %s: give it as http://HOST:PORT or https://HOST, with track.store or "
             "MLFLOW_TRACKING_URI",
             why);
    return false;
}

bool tarn_mlflow_read_address(tarn_mlflow_client *client, const char *address, char problem[TARN_SINK_PROBLEM])
{
    /* The address is in no message: it may hold a password. */
    if (strncasecmp(address, "http://", 7) && strncasecmp(address, "https://", 8))
        return refuse(problem, "does not begin with http:// or https://");
    if (has_control(address) || strchr(address, ' '))
        return refuse(problem, "has a blank or a control character in it");
    const char *host = strstr(address, "://") + 3;
    size_t authority = strcspn(host, "/?#"), length = strlen(host);
    if (host[strcspn(host, "?#")]) return refuse(problem, "has a ? or # in it (write %23 for a # in a password)");
    const char *at = memrchr(host, '@', authority);
    if (at) {
        size_t user = (size_t)(at - host);
        const char *colon = memchr(host, ':', user);
        char *name = decoded(host, colon ? (size_t)(colon - host) : user);
        char *password = decoded(colon ? colon + 1 : at, colon ? (size_t)(at - colon - 1) : 0);
        if (name && password) client->url_login = login_of(name, password);
        free(name);
        free(password);
        if (!client->url_login) return snprintf(problem, TARN_SINK_PROBLEM, NO_MEMORY), false;
        length -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    while (length && host[length - 1] == '/') length--;
    if (!length || *host == '/' || *host == ':') return refuse(problem, "names no host");
    if (asprintf(&client->base, "%s%.*s", strncasecmp(address, "https", 5) ? "http://" : "https://", (int)length,
                 host) < 0) {
        client->base = NULL;
        return snprintf(problem, TARN_SINK_PROBLEM, NO_MEMORY), false;
    }
    return true;
}

/* ---- ~/.mlflow/credentials -------------------------------------------------------------------------------------- */

static char *trimmed(char *text)
{
    while (isspace((unsigned char)*text)) text++;
    size_t length = strlen(text);
    while (length && isspace((unsigned char)text[length - 1])) text[--length] = '\0';
    return text;
}

/* Python's configparser writes %% for a percent sign. */
static char *value_of(const char *text)
{
    char *out = strdup(text), *to = out;
    if (!out) return NULL;
    for (const char *from = text; *from; from++) {
        if (from[0] == '%' && from[1] == '%') from++;
        *to++ = *from;
    }
    *to = '\0';
    return out;
}

/* Reads user and password of the section [mlflow]; what is not there stays NULL. */
static void read_file(char **user, char **password)
{
    char path[4200], buffer[4096];
    struct passwd entry, *found = NULL;
    const char *home = tarn_environment_variable("HOME");
    if (!home && !getpwuid_r(getuid(), &entry, buffer, sizeof buffer, &found) && found) home = found->pw_dir;
    if (!home || snprintf(path, sizeof path, "%s/.mlflow/credentials", home) >= (int)sizeof path) return;
    char *text = tarn_document_read_file(path, NULL);
    bool inside = false;
    for (char *line = text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        char *content = trimmed(line);
        size_t separator = strcspn(content, "=:");
        if (*content == '[')
            inside = !strcmp(content, "[mlflow]");
        else if (inside && *content != '#' && *content != ';' && content[separator]) {
            content[separator] = '\0';
            const char *name = trimmed(content);
            char **where = !strcasecmp(name, "mlflow_tracking_username")   ? user
                           : !strcasecmp(name, "mlflow_tracking_password") ? password
                                                                           : NULL;
            if (where && !*where) *where = value_of(trimmed(content + separator + 1));
        }
    }
    free(text);
}

/* ---- environment ------------------------------------------------------------------------------------------------ */

static bool read_login(tarn_mlflow_client *client, char problem[TARN_SINK_PROBLEM])
{
    char *file_user = NULL, *file_password = NULL;
    read_file(&file_user, &file_password);
    const char *user = tarn_environment_variable("MLFLOW_TRACKING_USERNAME"),
               *password = tarn_environment_variable("MLFLOW_TRACKING_PASSWORD");
    const char *token = tarn_environment_variable("MLFLOW_TRACKING_TOKEN");
    if (!user && file_user && *file_user) user = file_user;
    if (!password && file_password && *file_password) password = file_password;
    bool fine = true;
    if (user && password)
        fine = (client->login = login_of(user, password)) != NULL;
    else if (token && has_control(token)) {
        snprintf(problem, TARN_SINK_PROBLEM,
                 "MLFLOW_TRACKING_TOKEN has a control character in it, such as a line break at its end: set it to the "
                 "token alone");
        fine = false;
    } else if (token && asprintf(&client->authorization, "Authorization: Bearer %s", token) < 0) {
        client->authorization = NULL;
        fine = false;
    }
    free(file_user);
    free(file_password);
    if (!fine && !*problem) snprintf(problem, TARN_SINK_PROBLEM, NO_MEMORY);
    return fine;
}

static bool read_trust(tarn_mlflow_client *client, char problem[TARN_SINK_PROBLEM])
{
    static const char *const bundles[] = {"MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"};
    const char *name = NULL, *path = NULL, *own = tarn_environment_variable("MLFLOW_TRACKING_CLIENT_CERT_PATH");
    client->insecure = is_true("MLFLOW_TRACKING_INSECURE_TLS");
    /* The last two are what the HTTP library of Python goes by where mlflow itself has no wish. */
    for (size_t i = 0; !path && i < (client->insecure ? 1 : sizeof bundles / sizeof *bundles); i++)
        path = tarn_environment_variable(name = bundles[i]);
    if (client->insecure && path) {
        snprintf(problem, TARN_SINK_PROBLEM,
                 "MLFLOW_TRACKING_INSECURE_TLS and MLFLOW_TRACKING_SERVER_CERT_PATH are both set, and only one of them "
                 "may be: unset the first one to have the server's certificate checked");
        return false;
    }
    if (path && access(path, R_OK)) {
        snprintf(problem, TARN_SINK_PROBLEM, "%s names %.200s, which cannot be read: %s", name, path, strerror(errno));
        return false;
    }
    if (own && access(own, R_OK)) {
        snprintf(problem, TARN_SINK_PROBLEM, "MLFLOW_TRACKING_CLIENT_CERT_PATH names %.200s, which cannot be read: %s",
                 own, strerror(errno));
        return false;
    }
    if ((path && !(client->authorities = strdup(path))) || (own && !(client->certificate = strdup(own))))
        return snprintf(problem, TARN_SINK_PROBLEM, NO_MEMORY), false;
    return true;
}

bool tarn_mlflow_read_environment(tarn_mlflow_client *client, char notice[TARN_SINK_PROBLEM],
                                  char problem[TARN_SINK_PROBLEM])
{
    if (!read_login(client, problem) || !read_trust(client, problem)) return false;
    const char *workspace = tarn_environment_variable("MLFLOW_WORKSPACE"),
               *seconds = tarn_environment_variable("MLFLOW_HTTP_REQUEST_TIMEOUT");
    if (workspace && !has_control(workspace) && asprintf(&client->workspace, "X-MLFLOW-WORKSPACE: %s", workspace) < 0) {
        client->workspace = NULL;
        return snprintf(problem, TARN_SINK_PROBLEM, NO_MEMORY), false;
    }
    double number;
    if (seconds && tarn_number_parse(seconds, &number) && number > 0) client->seconds = number;
    const char *other = is_true("MLFLOW_TRACKING_AWS_SIGV4")                ? "MLFLOW_TRACKING_AWS_SIGV4"
                        : tarn_environment_variable("MLFLOW_TRACKING_AUTH") ? "MLFLOW_TRACKING_AUTH"
                                                                            : NULL;
    if (other)
        snprintf(notice, TARN_SINK_PROBLEM,
                 "%s is set, a way to sign requests that needs a plugin of mlflow and is not known here: requests go "
                 "out without it",
                 other);
    return true;
}
