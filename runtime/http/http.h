/* http.h - HTTP requests: instance metadata of clouds, REST interfaces of tracking servers. The only door to libcurl.
 *
 * libcurl is loaded and initialised at the first request (dlopen), so that programs that make none do not pay for it.
 * Nothing here needs a context or records an error: many callers go on without an answer. They tell what happened by
 * the error's name, or turn it into a tarn_fail of their own.
 *
 * Invariants
 *  1. Only http:// and https:// are spoken, and no redirect is followed: a 3xx is an answer like any other, so headers
 *     and passwords never reach a host the caller did not name.
 *  2. Every request ends: after total_seconds, or at once after tarn_http_cancel.
 *  3. A body is read completely or the request failed: a longer one than most_bytes is an error, never a cut text.
 *  4. One thread at a time uses a client, any number of clients run at once; tarn_http_cancel may come from any thread.
 *     No signal is used or caught.
 */
#ifndef TARN_RUNTIME_HTTP_H
#define TARN_RUNTIME_HTTP_H

#include <tarn/base.h>

typedef enum tarn_http_error {
    TARN_HTTP_OK = 0,      /* there is an answer, whatever its code says */
    TARN_HTTP_UNAVAILABLE, /* libcurl is not on this machine */
    TARN_HTTP_REQUEST,     /* the request makes no sense: address, method, header */
    TARN_HTTP_RESOLVE,     /* the host's name is unknown */
    TARN_HTTP_CONNECT,     /* nobody listens there, or the network is down */
    TARN_HTTP_TIMEOUT,     /* connect_seconds or total_seconds are over */
    TARN_HTTP_TLS,         /* the certificate or the encryption is not accepted */
    TARN_HTTP_TRANSFER,    /* the connection broke, or what came is not HTTP */
    TARN_HTTP_TOO_LARGE,   /* the body is longer than most_bytes */
    TARN_HTTP_CANCELLED,   /* by tarn_http_cancel */
    TARN_HTTP_MEMORY,      /* no memory */
    TARN_HTTP_ERROR_COUNT
} tarn_http_error;

/* Keeps connections between requests, so that a series of them to one server costs one handshake. */
typedef struct tarn_http tarn_http;

/* Zero means the default. Everything is borrowed during the call. */
typedef struct tarn_http_request {
    const char *method;         /* NULL = GET; PUT, POST, PATCH, DELETE, HEAD ... */
    const char *url;            /* required */
    const char *const *headers; /* "Name: value", ended by NULL; NULL = none */
    const char *credentials;    /* "user:password" for basic authentication */
    const void *body;           /* sent as it stands, with its length; state its type in a header */
    size_t body_bytes;
    const char *body_file; /* instead of body: a regular file, sent piece by piece, as long as it is at the beginning */
    double connect_seconds;  /* 0 = 5 */
    double total_seconds;    /* 0 = 30, from the start to the last byte */
    size_t most_bytes;       /* of the answer's body; 0 = 1 MiB */
    bool direct;             /* never through a proxy, whatever http_proxy says: for addresses of this machine's link */
    const char *authorities; /* file, or folder, of the certificates to trust; NULL = the system's */
    const char *certificate; /* file of our own certificate and its key (PEM), for servers that ask */
    bool insecure;           /* takes any certificate: whoever answers is believed */
} tarn_http_request;

/* What came back. Free with tarn_http_answer_free, also after an error. */
typedef struct tarn_http_answer {
    int code;   /* 200, 404 ...; 0 when there is no answer */
    char *body; /* with a zero after its end; never NULL when there is an answer */
    size_t bytes;
    double seconds;     /* that the request took */
    double retry_after; /* seconds the server asks to wait (Retry-After, also as a date); 0 = it does not */
    char location[256]; /* where a redirect leads, cut where it is longer; "" */
    char problem[256];  /* what went wrong, with the remedy where there is one; "" when nothing did */
} tarn_http_answer;

/* Costs nothing yet; NULL when memory is short. */
tarn_http *tarn_http_open(void);
/* Ends the client; no other thread may use it any more. NULL is fine. */
void tarn_http_close(tarn_http *http);
/* Sends the request and waits for the answer. */
tarn_http_error tarn_http_perform(tarn_http *http, const tarn_http_request *request, tarn_http_answer *answer);
void tarn_http_answer_free(tarn_http_answer *answer);
/* Ends the request under way within a moment, and every later one at once: for threads that are about to end. */
void tarn_http_cancel(tarn_http *http);
/* "timeout", "connect", ... */
const char *tarn_http_error_name(tarn_http_error error);
/* The status that fits an error: TARN_ERROR_UNSUPPORTED without libcurl, TARN_ERROR_ARGUMENT for a wrong request,
 * TARN_ERROR_MEMORY, TARN_STOPPED when cancelled, else TARN_ERROR_IO. */
tarn_status tarn_http_status(tarn_http_error error);
/* True once libcurl is in use in this process. */
bool tarn_http_is_loaded(void);

#endif
