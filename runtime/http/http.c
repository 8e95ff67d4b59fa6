/* http.c - see http.h.
 *
 * One easy handle a client, driven through the multi interface: only there can another thread end a wait at once.
 */
#include "runtime/http/http.h"
#include "runtime/http/curl_library.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_CONNECT_SECONDS 5.0
#define DEFAULT_TOTAL_SECONDS   30.0
#define DEFAULT_MOST_BYTES      ((size_t)1 << 20)
#define LONGEST_POLL_MS         1000
#define SEND_BYTES              (256L << 10) /* of a file at once */

struct tarn_http {
    const tarn_curl *curl; /* NULL before the first request */
    CURL *easy;
    _Atomic(CURLM *) multi; /* tarn_http_cancel reads it */
    atomic_bool cancelled;
};

/* An answer being received. */
typedef struct receiver {
    tarn_http_answer *answer;
    size_t capacity, most;
    bool too_large, no_memory;
} receiver;

/* A file being sent. */
typedef struct sender {
    int file; /* -1: the body is in memory */
    int64_t bytes, at;
} sender;

static const struct {
    const char *name;
    tarn_status status;
} errors[TARN_HTTP_ERROR_COUNT] = {{"ok", TARN_OK},
                                   {"unavailable", TARN_ERROR_UNSUPPORTED},
                                   {"request", TARN_ERROR_ARGUMENT},
                                   {"resolve", TARN_ERROR_IO},
                                   {"connect", TARN_ERROR_IO},
                                   {"timeout", TARN_ERROR_IO},
                                   {"tls", TARN_ERROR_IO},
                                   {"transfer", TARN_ERROR_IO},
                                   {"too large", TARN_ERROR_IO},
                                   {"cancelled", TARN_STOPPED},
                                   {"memory", TARN_ERROR_MEMORY}};

const char *tarn_http_error_name(tarn_http_error error)
{
    return (unsigned)error < TARN_HTTP_ERROR_COUNT ? errors[error].name : "unknown";
}

tarn_status tarn_http_status(tarn_http_error error)
{
    return (unsigned)error < TARN_HTTP_ERROR_COUNT ? errors[error].status : TARN_ERROR_INTERNAL;
}

__attribute__((format(printf, 3, 4))) static tarn_http_error fail(tarn_http_answer *answer, tarn_http_error error,
                                                                  const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(answer->problem, sizeof answer->problem, format, arguments);
    va_end(arguments);
    free(answer->body);
    answer->body = NULL;
    answer->bytes = 0;
    answer->code = 0;
    return error;
}

tarn_http *tarn_http_open(void)
{
    return calloc(1, sizeof(tarn_http));
}

void tarn_http_close(tarn_http *http)
{
    if (!http) return;
    if (http->easy) http->curl->easy_cleanup(http->easy);
    if (http->multi) http->curl->multi_cleanup(http->multi);
    free(http);
}

void tarn_http_cancel(tarn_http *http)
{
    atomic_store(&http->cancelled, true);
    /* A client that has no handle yet sees the flag before its first wait. */
    CURLM *multi = atomic_load(&http->multi);
    if (multi) http->curl->multi_wakeup(multi);
}

void tarn_http_answer_free(tarn_http_answer *answer)
{
    free(answer->body);
    answer->body = NULL;
    answer->bytes = 0;
}

static size_t receive(char *data, size_t size, size_t count, void *user)
{
    receiver *receiver = user;
    tarn_http_answer *answer = receiver->answer;
    size_t more = size * count;
    if (more > receiver->most - answer->bytes) {
        receiver->too_large = true;
        return 0;
    }
    if (answer->bytes + more + 1 > receiver->capacity) {
        size_t capacity = 2 * (answer->bytes + more) + 256;
        char *grown = realloc(answer->body, capacity);
        if (!grown) {
            receiver->no_memory = true;
            return 0;
        }
        answer->body = grown;
        receiver->capacity = capacity;
    }
    memcpy(answer->body + answer->bytes, data, more);
    answer->bytes += more;
    answer->body[answer->bytes] = 0;
    return more;
}

/* The next piece of the file. One that became shorter ends the request: the length was promised to the server. */
static size_t send_piece(char *data, size_t size, size_t count, void *user)
{
    sender *sender = user;
    int64_t left = sender->bytes - sender->at;
    size_t most = size * count;
    if (!left) return 0;
    ssize_t got;
    do got = pread(sender->file, data, left < (int64_t)most ? (size_t)left : most, sender->at);
    while (got < 0 && errno == EINTR);
    if (got <= 0) return CURL_READFUNC_ABORT;
    sender->at += got;
    return (size_t)got;
}

/* curl begins again where a kept connection turned out to be closed. */
static int send_from(void *user, curl_off_t offset, int origin)
{
    sender *sender = user;
    if (origin != SEEK_SET || offset < 0 || offset > sender->bytes) return CURL_SEEKFUNC_FAIL;
    sender->at = offset;
    return CURL_SEEKFUNC_OK;
}

static tarn_http_error open_body(const tarn_http_request *request, sender *sender, tarn_http_answer *answer)
{
    *sender = (struct sender){.file = -1};
    if (!request->body_file) return TARN_HTTP_OK;
    struct stat info = {0};
    int file = open(request->body_file, O_RDONLY | O_CLOEXEC);
    if (file < 0 || fstat(file, &info) || !S_ISREG(info.st_mode)) {
        const char *why = file < 0 ? strerror(errno) : "it is no regular file";
        if (file >= 0) close(file);
        return fail(answer, TARN_HTTP_REQUEST, "%.180s cannot be read: %s", request->body_file, why);
    }
    sender->file = file;
    sender->bytes = info.st_size;
    return TARN_HTTP_OK;
}

/* A line break in a header or in the method would begin another header of somebody else's choice. */
static bool is_one_line(const char *text)
{
    return !text[strcspn(text, "\r\n")];
}

static bool has_header(const tarn_http_request *request, const char *name)
{
    size_t length = strlen(name);
    for (const char *const *header = request->headers; header && *header; header++)
        if (!strncasecmp(*header, name, length) && (*header)[length] == ':') return true;
    return false;
}

static tarn_http_error check(const tarn_http_request *request, tarn_http_answer *answer)
{
    const char *url = request->url;
    if (!url || (strncasecmp(url, "http://", 7) && strncasecmp(url, "https://", 8)))
        return fail(answer, TARN_HTTP_REQUEST, "\"%.120s\" is no address: it must begin with http:// or https://",
                    url ? url : "");
    bool fine = is_one_line(url) && (!request->method || (*request->method && is_one_line(request->method)));
    for (const char *const *header = request->headers; header && *header; header++)
        fine = fine && is_one_line(*header) && strchr(*header, ':');
    return fine ? TARN_HTTP_OK
                : fail(answer, TARN_HTTP_REQUEST,
                       "the request to %.120s: address, method and each header are one line, headers \"Name: value\"",
                       url);
}

/* Adds one header to a list; the list is freed and NULL when memory is short. */
static bool add_header(const tarn_curl *curl, struct curl_slist **list, const char *header)
{
    struct curl_slist *grown = curl->slist_append(*list, header);
    if (grown) {
        *list = grown;
        return true;
    }
    curl->slist_free_all(*list);
    *list = NULL;
    return false;
}

static bool make_headers(const tarn_curl *curl, const tarn_http_request *request, struct curl_slist **list)
{
    *list = NULL;
    for (const char *const *header = request->headers; header && *header; header++)
        if (!add_header(curl, list, *header)) return false;
    /* Not curl's own ideas: a form's type for every body, and a round trip before a long one. */
    if (!has_header(request, "Content-Type") && !add_header(curl, list, "Content-Type:")) return false;
    return has_header(request, "Expect") || add_header(curl, list, "Expect:");
}

static void set_method(const tarn_curl *curl, CURL *easy, const tarn_http_request *request, sender *sender)
{
    const char *method = request->method ? request->method : "GET";
    if (sender->file >= 0) {
        curl->easy_setopt(easy, CURLOPT_UPLOAD, 1L);
        curl->easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)sender->bytes);
        curl->easy_setopt(easy, CURLOPT_READFUNCTION, send_piece);
        curl->easy_setopt(easy, CURLOPT_READDATA, sender);
        curl->easy_setopt(easy, CURLOPT_SEEKFUNCTION, send_from);
        curl->easy_setopt(easy, CURLOPT_SEEKDATA, sender);
        curl->easy_setopt(easy, CURLOPT_UPLOAD_BUFFERSIZE, SEND_BYTES);
        if (strcmp(method, "PUT") != 0) curl->easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
        return;
    }
    bool carries = request->body || !strcmp(method, "PUT") || !strcmp(method, "POST") || !strcmp(method, "PATCH");
    if (carries) {
        curl->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)(request->body ? request->body_bytes : 0));
        curl->easy_setopt(easy, CURLOPT_POSTFIELDS, request->body ? request->body : "");
    } else if (!strcmp(method, "HEAD")) {
        curl->easy_setopt(easy, CURLOPT_NOBODY, 1L);
    }
    if (strcmp(method, carries ? "POST" : "GET") != 0 && strcmp(method, "HEAD") != 0)
        curl->easy_setopt(easy, CURLOPT_CUSTOMREQUEST, method);
}

static long milliseconds(double seconds, double fallback)
{
    double ms = (seconds > 0 ? seconds : fallback) * 1000;
    return ms < 1 ? 1 : ms > 2e9 ? 2000000000L : (long)ms;
}

static void set_trust(const tarn_curl *curl, CURL *easy, const tarn_http_request *request)
{
    struct stat info;
    if (request->authorities) {
        bool folder = !stat(request->authorities, &info) && S_ISDIR(info.st_mode);
        curl->easy_setopt(easy, folder ? CURLOPT_CAPATH : CURLOPT_CAINFO, request->authorities);
    }
    if (request->certificate) curl->easy_setopt(easy, CURLOPT_SSLCERT, request->certificate);
    if (request->insecure) {
        curl->easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, 0L);
        curl->easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, 0L);
    }
}

static void set_options(const tarn_curl *curl, CURL *easy, const tarn_http_request *request, receiver *receiver,
                        sender *sender, struct curl_slist *headers, char *detail)
{
    curl->easy_reset(easy); /* keeps the connections */
    curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, detail);
    curl->easy_setopt(easy, CURLOPT_URL, request->url);
    curl->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    curl->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(request->connect_seconds, DEFAULT_CONNECT_SECONDS));
    curl->easy_setopt(easy, CURLOPT_TIMEOUT_MS, milliseconds(request->total_seconds, DEFAULT_TOTAL_SECONDS));
    curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, receive);
    curl->easy_setopt(easy, CURLOPT_WRITEDATA, receiver);
    curl->easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl->easy_setopt(easy, CURLOPT_USERAGENT, "tarn/" TARN_VERSION_STRING);
    if (request->credentials) {
        curl->easy_setopt(easy, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
        curl->easy_setopt(easy, CURLOPT_USERPWD, request->credentials);
    }
    if (request->direct) curl->easy_setopt(easy, CURLOPT_PROXY, "");
    set_trust(curl, easy, request);
    set_method(curl, easy, request, sender);
}

static tarn_http_error error_of(CURLcode code, const receiver *receiver)
{
    switch (code) {
    case CURLE_OK:
        return TARN_HTTP_OK;
    case CURLE_URL_MALFORMAT:
        return TARN_HTTP_REQUEST;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return TARN_HTTP_RESOLVE;
    case CURLE_COULDNT_CONNECT:
        return TARN_HTTP_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        return TARN_HTTP_TIMEOUT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
        return TARN_HTTP_TLS;
    case CURLE_OUT_OF_MEMORY:
        return TARN_HTTP_MEMORY;
    case CURLE_WRITE_ERROR:
        return receiver->too_large ? TARN_HTTP_TOO_LARGE : receiver->no_memory ? TARN_HTTP_MEMORY : TARN_HTTP_TRANSFER;
    default:
        return TARN_HTTP_TRANSFER;
    }
}

/* Drives the transfer to its end; *cancelled when another thread ended it. */
static CURLcode drive(tarn_http *http, bool *cancelled)
{
    const tarn_curl *curl = http->curl;
    CURLM *multi = http->multi;
    if (curl->multi_add_handle(multi, http->easy)) return CURLE_OUT_OF_MEMORY;
    CURLcode code = CURLE_OK;
    int running = 1, left;
    while (running && !(*cancelled = atomic_load(&http->cancelled))) {
        CURLMcode driven = curl->multi_perform(multi, &running);
        if (!driven && running) driven = curl->multi_poll(multi, NULL, 0, LONGEST_POLL_MS, NULL);
        if (driven) {
            code = driven == CURLM_OUT_OF_MEMORY ? CURLE_OUT_OF_MEMORY : CURLE_RECV_ERROR;
            break;
        }
    }
    for (CURLMsg *message; (message = curl->multi_info_read(multi, &left));)
        if (message->msg == CURLMSG_DONE) code = message->data.result;
    curl->multi_remove_handle(multi, http->easy);
    return code;
}

static void ask_about(tarn_http *http, tarn_http_answer *answer, long *code)
{
    const tarn_curl *curl = http->curl;
    curl_off_t after = 0;
    char *location = NULL;
    curl->easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, code);
    curl->easy_getinfo(http->easy, CURLINFO_TOTAL_TIME, &answer->seconds);
    curl->easy_getinfo(http->easy, CURLINFO_RETRY_AFTER, &after);
    curl->easy_getinfo(http->easy, CURLINFO_REDIRECT_URL, &location);
    answer->retry_after = after > 0 ? (double)after : 0;
    snprintf(answer->location, sizeof answer->location, "%s", location ? location : "");
}

static tarn_http_error make_handles(tarn_http *http, tarn_http_answer *answer)
{
    if (http->easy) return TARN_HTTP_OK;
    const char *problem;
    http->curl = tarn_curl_load(&problem);
    if (!http->curl) return fail(answer, TARN_HTTP_UNAVAILABLE, "%s", problem);
    if (!http->multi) atomic_store(&http->multi, http->curl->multi_init());
    if (http->multi) http->easy = http->curl->easy_init();
    return http->easy ? TARN_HTTP_OK : fail(answer, TARN_HTTP_MEMORY, "no memory for an HTTP client");
}

tarn_http_error tarn_http_perform(tarn_http *http, const tarn_http_request *request, tarn_http_answer *answer)
{
    *answer = (tarn_http_answer){0};
    tarn_http_error error = check(request, answer);
    if (!error) error = make_handles(http, answer);
    if (error) return error;
    const tarn_curl *curl = http->curl;
    receiver receiver = {.answer = answer, .most = request->most_bytes ? request->most_bytes : DEFAULT_MOST_BYTES};
    sender sender;
    if ((error = open_body(request, &sender, answer)) != TARN_HTTP_OK) return error;
    struct curl_slist *headers;
    if (!make_headers(curl, request, &headers)) {
        if (sender.file >= 0) close(sender.file);
        return fail(answer, TARN_HTTP_MEMORY, "no memory for the headers of a request to %.150s", request->url);
    }
    char detail[CURL_ERROR_SIZE] = "";
    set_options(curl, http->easy, request, &receiver, &sender, headers, detail);
    bool cancelled = false;
    CURLcode code = drive(http, &cancelled);
    long answered = 0;
    ask_about(http, answer, &answered);
    curl->easy_setopt(http->easy, CURLOPT_ERRORBUFFER, NULL); /* it ends with this call */
    curl->slist_free_all(headers);
    if (sender.file >= 0) close(sender.file);
    if (cancelled) return fail(answer, TARN_HTTP_CANCELLED, "the request to %.200s was cancelled", request->url);
    error = error_of(code, &receiver);
    if (error == TARN_HTTP_TOO_LARGE)
        return fail(answer, error, "%.150s: the answer is longer than %zu bytes", request->url, receiver.most);
    if (error) return fail(answer, error, "%.120s: %.120s", request->url, *detail ? detail : curl->easy_strerror(code));
    if (!answer->body && !(answer->body = calloc(1, 1)))
        return fail(answer, TARN_HTTP_MEMORY, "no memory for an answer of %.150s", request->url);
    answer->code = (int)answered;
    return TARN_HTTP_OK;
}
