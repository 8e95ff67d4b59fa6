/* client.h - requests to an MLflow server: address, passwords and certificates as mlflow takes them, answers by
 * meaning.
 *
 * Invariants
 *  1. A password or a token is in no message, and goes to no other host than the one the address names, or that the
 *     server names for its artifacts (there without what stood in the address), as mlflow does.
 *  2. Only what the server itself says in its JSON refuses a request for good (TARN_MLFLOW_REFUSED, _MISSING, _EXISTS).
 *     Anything else that is no success (no answer, an answer of a proxy, of a server that is starting, of something
 *     that is no MLflow) means: later again.
 *  3. One thread at a time uses a client; tarn_mlflow_cancel may come from any thread.
 */
#ifndef TARN_TRACK_MLFLOW_CLIENT_H
#define TARN_TRACK_MLFLOW_CLIENT_H

#include "runtime/http/http.h"
#include "track/sink.h"

#include <cjson/cJSON.h>

typedef enum tarn_mlflow_outcome {
    TARN_MLFLOW_OK,
    TARN_MLFLOW_WAIT,    /* not now: try again */
    TARN_MLFLOW_REFUSED, /* the server will not take it, ever */
    TARN_MLFLOW_MISSING, /* RESOURCE_DOES_NOT_EXIST: what the request is about is not there */
    TARN_MLFLOW_EXISTS,  /* RESOURCE_ALREADY_EXISTS */
    TARN_MLFLOW_ABSENT   /* the server does not know such a request: an older MLflow, or none at all */
} tarn_mlflow_outcome;

typedef struct tarn_mlflow_client {
    tarn_http *http;
    char *base;          /* http(s)://HOST[:PORT][/PREFIX], without user and password, without a slash at its end */
    char *url_login;     /* "user:password" of the address; NULL */
    char *login;         /* the same of the environment or of ~/.mlflow/credentials */
    char *authorization; /* a header: the token; NULL */
    char *workspace;     /* a header; NULL */
    char *authorities, *certificate;
    bool insecure;
    double seconds; /* that a request may take */
    /* of the last request */
    char problem[TARN_SINK_PROBLEM]; /* what went wrong and the remedy; "" */
    char error_code[48];             /* MLflow's: INVALID_PARAMETER_VALUE ...; "" */
    int code;                        /* HTTP's; 0: no answer */
    double retry_after;
    bool timed_out, cancelled;
} tarn_mlflow_client;

/* Reads address and environment; asks no server. TARN_ERROR_CONFIG: problem says what is wrong with them. notice: a
 * setting that cannot be honoured, or "". */
tarn_status tarn_mlflow_client_open(tarn_mlflow_client **client, const char *address, char notice[TARN_SINK_PROBLEM],
                                    char problem[TARN_SINK_PROBLEM]);
void tarn_mlflow_client_close(tarn_mlflow_client *client);
void tarn_mlflow_cancel(tarn_mlflow_client *client);

/* One request to BASE/api/2.0/mlflow/<path>; path with its query, escaped. body: JSON or NULL, borrowed. *answer (may
 * be NULL): the JSON object that came with TARN_MLFLOW_OK, to be deleted; NULL otherwise. */
tarn_mlflow_outcome tarn_mlflow_ask(tarn_mlflow_client *client, const char *method, const char *path, const cJSON *body,
                                    cJSON **answer);
/* PUT of a file, or of `bytes` of memory (file NULL), to a URL; own: the host of our address. */
tarn_mlflow_outcome tarn_mlflow_put(tarn_mlflow_client *client, const char *url, bool own, const char *file,
                                    const void *data, size_t bytes);

/* `text` with all but unreserved characters, and those in `keep`, as %XX; to be freed. NULL: no memory. */
char *tarn_mlflow_escape(const char *text, const char *keep);
/* Adds to an object; name: a literal, which is not copied. Bytes of a text that are no UTF-8 become ?. False: no
 * memory. */
bool tarn_mlflow_add_text(cJSON *object, const char *name, const char *text);
/* A number with all its digits, as cJSON's own printing does not keep the last one. */
bool tarn_mlflow_add_number(cJSON *object, const char *name, double value);
bool tarn_mlflow_add_integer(cJSON *object, const char *name, int64_t value);
/* Appends one to an array: {"key": key, "value": value}. False: no memory. */
bool tarn_mlflow_add_pair(cJSON *array, const char *key, const char *value);
/* Writes the client's problem; for callers without one: no memory. Returns TARN_MLFLOW_WAIT. */
tarn_mlflow_outcome tarn_mlflow_no_memory(tarn_mlflow_client *client);

/* login.c: what an address and the environment say. False: problem says why. */
bool tarn_mlflow_read_address(tarn_mlflow_client *client, const char *address, char problem[TARN_SINK_PROBLEM]);
bool tarn_mlflow_read_environment(tarn_mlflow_client *client, char notice[TARN_SINK_PROBLEM],
                                  char problem[TARN_SINK_PROBLEM]);

#endif
