/* client.c - see client.h. */
#include "track/mlflow/client.h"
#include "track/json.h"
#include "runtime/config/document.h"
#include "runtime/config/number.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_HEADERS = 6,
    MOST_ANSWER = 64 << 20, /* a run with all that it has */
    USUAL_BODY = 128 << 10,
};
#define DEFAULT_SECONDS  30.0
#define SLOWEST_UPLOAD   (128.0 * 1024) /* bytes a second; what is slower counts as stuck */
#define PUBLIC_INTERFACE "/api/2.0/mlflow/"
#define SHOWN            300 /* bytes of the server's own text in a message */

tarn_status tarn_mlflow_client_open(tarn_mlflow_client **out, const char *address, char notice[TARN_SINK_PROBLEM],
                                    char problem[TARN_SINK_PROBLEM])
{
    *out = NULL;
    *notice = *problem = '\0';
    tarn_mlflow_client *client = calloc(1, sizeof *client);
    if (client) client->http = tarn_http_open();
    if (!client || !client->http) {
        tarn_mlflow_client_close(client);
        snprintf(problem, TARN_SINK_PROBLEM, "out of memory while opening the MLflow client");
        return TARN_ERROR_MEMORY;
    }
    client->seconds = DEFAULT_SECONDS;
    if (!tarn_mlflow_read_address(client, address, problem) || !tarn_mlflow_read_environment(client, notice, problem)) {
        tarn_mlflow_client_close(client);
        return TARN_ERROR_CONFIG;
    }
    *out = client;
    return TARN_OK;
}

/* The memory of a password does not stay behind. */
static void forget(char *secret)
{
    if (secret) explicit_bzero(secret, strlen(secret));
    free(secret);
}

void tarn_mlflow_client_close(tarn_mlflow_client *client)
{
    if (!client) return;
    tarn_http_close(client->http);
    free(client->base);
    forget(client->url_login);
    forget(client->login);
    forget(client->authorization);
    free(client->workspace);
    free(client->authorities);
    free(client->certificate);
    free(client);
}

void tarn_mlflow_cancel(tarn_mlflow_client *client)
{
    tarn_http_cancel(client->http);
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

char *tarn_mlflow_escape(const char *text, const char *keep)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    char *out = malloc(3 * strlen(text) + 1), *to = out;
    if (!out) return NULL;
    for (; *text; text++)
        if (strchr(plain, *text) || strchr(keep, *text))
            *to++ = *text;
        else
            to += sprintf(to, "%%%02X", (unsigned char)*text);
    *to = '\0';
    return out;
}

/* Names are literals, so they are not copied: half of the memory calls of a request. */
static bool add(cJSON *object, const char *name, cJSON *item)
{
    if (item && cJSON_AddItemToObjectCS(object, name, item)) return true;
    cJSON_Delete(item);
    return false;
}

bool tarn_mlflow_add_text(cJSON *object, const char *name, const char *text)
{
    if (tarn_document_is_utf8(text)) return add(object, name, cJSON_CreateString(text));
    char *clean = tarn_document_clean(text);
    bool added = clean && add(object, name, cJSON_CreateString(clean));
    free(clean);
    return added;
}

bool tarn_mlflow_add_number(cJSON *object, const char *name, double value)
{
    char text[TARN_NUMBER_TEXT];
    tarn_number_print(text, value);
    return add(object, name, cJSON_CreateRaw(text));
}

bool tarn_mlflow_add_integer(cJSON *object, const char *name, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return add(object, name, cJSON_CreateRaw(text));
}

bool tarn_mlflow_add_pair(cJSON *array, const char *key, const char *value)
{
    cJSON *pair = cJSON_CreateObject();
    if (pair && tarn_mlflow_add_text(pair, "key", key) && tarn_mlflow_add_text(pair, "value", value) &&
        cJSON_AddItemToArray(array, pair))
        return true;
    cJSON_Delete(pair);
    return false;
}

tarn_mlflow_outcome tarn_mlflow_no_memory(tarn_mlflow_client *client)
{
    snprintf(client->problem, sizeof client->problem, "out of memory for a request to the MLflow server %.200s",
             client->base);
    return TARN_MLFLOW_WAIT;
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

/* Text of somebody else on one line of ours: no control characters, not too long, whole UTF-8 characters. */
static void quote(char out[SHOWN + 8], const char *text)
{
    size_t used = 0;
    bool blank = true;
    for (; *text && used < SHOWN; text++) {
        unsigned char byte = (unsigned char)*text;
        bool space = byte <= 32 || byte == 127;
        if (!space || !blank) out[used++] = space ? ' ' : (char)byte;
        blank = space;
    }
    if (*text) { /* not in the middle of a character */
        while (used && ((unsigned char)out[used - 1] & 0xc0) == 0x80) used--;
        if (used && ((unsigned char)out[used - 1] & 0x80)) used--;
        used += (size_t)sprintf(out + used, "...");
    }
    out[used] = '\0';
}

/* "the MLflow server URL <what>", with what it said itself, and the remedy. */
static void explain(tarn_mlflow_client *client, const char *what, const char *said, const char *remedy)
{
    char shown[SHOWN + 8];
    quote(shown, said);
    snprintf(client->problem, sizeof client->problem, "the MLflow server %.80s %s%s%s%s%s%s", client->base, what,
             *shown ? ": \"" : "", shown, *shown ? "\"" : "", *remedy ? "; " : "", remedy);
}

static tarn_mlflow_outcome no_answer(tarn_mlflow_client *client, tarn_http_error error, const tarn_http_answer *answer)
{
    client->timed_out = error == TARN_HTTP_TIMEOUT;
    client->cancelled = error == TARN_HTTP_CANCELLED;
    const char *what = "does not answer", *remedy = "";
    switch (error) {
    case TARN_HTTP_UNAVAILABLE:
    case TARN_HTTP_MEMORY:
    case TARN_HTTP_REQUEST:
        what = "cannot be asked";
        break;
    case TARN_HTTP_TLS:
        what = "is not trusted";
        remedy = "name the certificate of its authority in MLFLOW_TRACKING_SERVER_CERT_PATH";
        break;
    case TARN_HTTP_RESOLVE:
        remedy = "check the host in track.store or MLFLOW_TRACKING_URI";
        break;
    case TARN_HTTP_TOO_LARGE:
        what = "answers too much";
        break;
    default:
        break;
    }
    explain(client, what, answer->problem, remedy);
    return TARN_MLFLOW_WAIT;
}

/* 401 and 403: what the server says, and what a person does about it. */
static tarn_mlflow_outcome not_let_in(tarn_mlflow_client *client, const char *said)
{
    const char *remedy;
    if (strstr(said, "Invalid Host header"))
        remedy = "start it with --allowed-hosts and this host's name (MLFLOW_SERVER_ALLOWED_HOSTS)";
    else if (client->code == 403)
        remedy = "this user may not do that: see to its permissions";
    else if (client->url_login || client->login)
        remedy = "check MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD";
    else if (client->authorization)
        remedy = "check MLFLOW_TRACKING_TOKEN";
    else
        remedy = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN";
    char what[64];
    snprintf(what, sizeof what, "does not let us in (%d)", client->code);
    explain(client, what, said, remedy);
    return TARN_MLFLOW_WAIT;
}

/* An answer that is no success. */
static tarn_mlflow_outcome judge(tarn_mlflow_client *client, const tarn_http_answer *answer, const cJSON *json)
{
    static const struct {
        const char *error;
        tarn_mlflow_outcome outcome;
    } known[] = {{"RESOURCE_DOES_NOT_EXIST", TARN_MLFLOW_MISSING}, {"NOT_FOUND", TARN_MLFLOW_MISSING},
                 {"RESOURCE_ALREADY_EXISTS", TARN_MLFLOW_EXISTS},  {"ALREADY_EXISTS", TARN_MLFLOW_EXISTS},
                 {"ENDPOINT_NOT_FOUND", TARN_MLFLOW_ABSENT},       {"NOT_IMPLEMENTED", TARN_MLFLOW_ABSENT}};
    const char *said = *tarn_json_text(json, "message") ? tarn_json_text(json, "message") : answer->body;
    int code = answer->code;
    char what[64];
    snprintf(client->error_code, sizeof client->error_code, "%s", tarn_json_text(json, "error_code"));
    if (code == 401 || code == 403) return not_let_in(client, said);
    snprintf(what, sizeof what, "answers %d", code);
    if (code >= 300 && code < 400) {
        explain(client, what, answer->location, "give the address that it sends us to");
        return TARN_MLFLOW_WAIT;
    }
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(client->error_code, known[i].error)) {
            explain(client, what, said, "");
            return known[i].outcome;
        }
    /* 409 is a conflict with somebody else at this moment, 499 a request the server gave up. */
    bool later = code >= 500 || code == 407 || code == 408 || code == 409 || code == 425 || code == 429 || code == 499;
    if (!later && (*client->error_code || code == 413)) {
        explain(client, what, said, "");
        return TARN_MLFLOW_REFUSED;
    }
    if (later) {
        explain(client, what, said, "");
        return TARN_MLFLOW_WAIT;
    }
    explain(client, what, said, "is there an MLflow server at this address? check track.store or MLFLOW_TRACKING_URI");
    return code == 404 || code == 405 ? TARN_MLFLOW_ABSENT : TARN_MLFLOW_WAIT;
}

static tarn_mlflow_outcome understand(tarn_mlflow_client *client, const tarn_http_answer *answer, cJSON **out)
{
    cJSON *json = cJSON_ParseWithLength(answer->body, answer->bytes);
    bool object = cJSON_IsObject(json);
    tarn_mlflow_outcome outcome = TARN_MLFLOW_OK;
    client->code = answer->code;
    client->retry_after = answer->retry_after;
    if (answer->code < 200 || answer->code >= 300)
        outcome = judge(client, answer, object ? json : NULL);
    else if (!object && (out || answer->body[strspn(answer->body, " \t\r\n")])) {
        /* The page of a proxy that wants a login first, say: nothing was recorded. */
        explain(client, "answers with something that is no MLflow", answer->body,
                "check track.store or MLFLOW_TRACKING_URI, and proxies in between");
        outcome = TARN_MLFLOW_WAIT;
    }
    if (outcome || !out)
        cJSON_Delete(json);
    else
        *out = json;
    return outcome;
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

static tarn_mlflow_outcome perform(tarn_mlflow_client *client, const tarn_http_request *wanted, const char *type,
                                   bool own, cJSON **out)
{
    const char *headers[MOST_HEADERS] = {0};
    tarn_http_request request = *wanted;
    int count = 0;
    if (type) headers[count++] = type;
    if (client->workspace) headers[count++] = client->workspace;
    request.credentials = own && client->url_login ? client->url_login : client->login;
    if (!request.credentials && client->authorization) headers[count++] = client->authorization;
    request.headers = headers;
    request.authorities = client->authorities;
    request.certificate = client->certificate;
    request.insecure = client->insecure;
    request.most_bytes = MOST_ANSWER;
    *client->problem = *client->error_code = '\0';
    client->code = 0;
    client->retry_after = 0;
    client->timed_out = client->cancelled = false;
    tarn_http_answer answer;
    tarn_http_error error = tarn_http_perform(client->http, &request, &answer);
    tarn_mlflow_outcome outcome = error ? no_answer(client, error, &answer) : understand(client, &answer, out);
    tarn_http_answer_free(&answer);
    return outcome;
}

/* A request as tarn_mlflow_ask makes it, its body text already. */
static tarn_mlflow_outcome send_text(tarn_mlflow_client *client, const char *method, const char *path, const char *text,
                                     cJSON **answer)
{
    char *url = NULL;
    if (answer) *answer = NULL;
    if (asprintf(&url, "%s" PUBLIC_INTERFACE "%s", client->base, path) < 0) return tarn_mlflow_no_memory(client);
    tarn_http_request request = {.method = method,
                                 .url = url,
                                 .body = text,
                                 .body_bytes = text ? strlen(text) : 0,
                                 .total_seconds = client->seconds};
    tarn_mlflow_outcome outcome =
        perform(client, &request, text ? "Content-Type: application/json" : NULL, true, answer);
    free(url);
    return outcome;
}

tarn_mlflow_outcome tarn_mlflow_ask(tarn_mlflow_client *client, const char *method, const char *path, const cJSON *body,
                                    cJSON **answer)
{
    if (answer) *answer = NULL;
    /* As much as a full batch takes: growing would copy it again and again. */
    char *text = body ? cJSON_PrintBuffered(body, USUAL_BODY, 0) : NULL;
    if (body && !text) return tarn_mlflow_no_memory(client);
    tarn_mlflow_outcome outcome = send_text(client, method, path, text, answer);
    cJSON_free(text);
    return outcome;
}

tarn_mlflow_outcome tarn_mlflow_put(tarn_mlflow_client *client, const char *url, bool own, const char *file,
                                    const void *data, size_t bytes)
{
    tarn_http_request request = {.method = "PUT",
                                 .url = url,
                                 .body = data,
                                 .body_file = file,
                                 .body_bytes = bytes,
                                 .total_seconds = client->seconds + (double)bytes / SLOWEST_UPLOAD};
    return perform(client, &request, "Content-Type: application/octet-stream", own, NULL);
}
