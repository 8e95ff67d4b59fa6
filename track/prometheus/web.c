/* web.c - see web.h. */
#include "track/prometheus/web.h"
#include "runtime/base/context.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { READER_BYTES = 16384, BACKLOG = 64 };

/* ---- the library ------------------------------------------------------------------------------------------------- */

#define FUNCTIONS(F)                                                                                                   \
    F(start_daemon, MHD_start_daemon)                                                                                  \
    F(stop_daemon, MHD_stop_daemon)                                                                                    \
    F(create_response, MHD_create_response_from_buffer_with_free_callback)                                             \
    F(destroy_response, MHD_destroy_response)                                                                          \
    F(add_header, MHD_add_response_header)                                                                             \
    F(queue_response, MHD_queue_response)

static struct {
#define MEMBER(member, function) __typeof__(function) *member;
    FUNCTIONS(MEMBER)
#undef MEMBER
    char problem[200];
} library;
static atomic_bool available;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void load(void)
{
    const char *wanted = getenv("TARN_MICROHTTPD"); /* another file: for machines that keep it elsewhere */
    /* Never unloaded: the TLS libraries below it do not survive that. */
    void *handle = dlopen(wanted && *wanted ? wanted : "libmicrohttpd.so.12", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle) {
        snprintf(library.problem, sizeof library.problem, "%s", dlerror());
        return;
    }
    const char *missing = NULL;
#define FIND(member, function)                                                                                         \
    if (!(library.member = (__typeof__(library.member))dlsym(handle, #function))) missing = #function;
    FUNCTIONS(FIND)
#undef FIND
    if (missing)
        snprintf(library.problem, sizeof library.problem, "it has no %s: too old", missing);
    else
        atomic_store(&available, true);
}

/* ---- pages ------------------------------------------------------------------------------------------------------- */

struct tarn_web {
    struct MHD_Daemon *daemon;
    tarn_web_function *function;
    void *user;
    char address[TARN_WEB_ADDRESS];
};

static void nothing(void *data)
{
    (void)data;
}

static enum MHD_Result send_page(struct MHD_Connection *connection, int code, const tarn_web_page *page)
{
    struct MHD_Response *response =
        library.create_response(page->bytes, page->data, page->release ? page->release : nothing);
    if (!response) {
        if (page->release) page->release(page->data);
        return MHD_NO; /* closes the connection */
    }
    library.add_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, page->type);
    library.add_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (code == MHD_HTTP_METHOD_NOT_ALLOWED) library.add_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    enum MHD_Result result = library.queue_response(connection, (unsigned)code, response);
    library.destroy_response(response); /* the connection holds it */
    return result;
}

static enum MHD_Result send_code(struct MHD_Connection *connection, int code)
{
    static char not_found[] = "There is no such page; the metrics are at /metrics.\n",
                not_allowed[] = "Only GET and HEAD are answered.\n", unable[] = "Out of memory.\n";
    char *text = code == MHD_HTTP_NOT_FOUND ? not_found : code == MHD_HTTP_METHOD_NOT_ALLOWED ? not_allowed : unable;
    return send_page(connection, code,
                     &(tarn_web_page){.type = "text/plain; charset=utf-8", .data = text, .bytes = strlen(text)});
}

static enum MHD_Result answer(void *user, struct MHD_Connection *connection, const char *path, const char *method,
                              const char *version, const char *body, size_t *body_bytes, void **request)
{
    const tarn_web *web = user;
    (void)version, (void)body, (void)body_bytes, (void)request;
    if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
        return send_code(connection, MHD_HTTP_METHOD_NOT_ALLOWED);
    tarn_web_page page = {.type = "text/plain; charset=utf-8"};
    int code = web->function(web->user, path, &page);
    return code == MHD_HTTP_OK ? send_page(connection, code, &page) : send_code(connection, code);
}

/* ---- the address ------------------------------------------------------------------------------------------------- */

/* Splits "ADDRESS:PORT", "[ADDRESS]:PORT" and ":PORT"; false when it is none of these. */
static bool split(const char *listen, char host[64], char port[8])
{
    const char *colon = strrchr(listen, ':');
    if (!colon) return false;
    size_t length = (size_t)(colon - listen), digits = strlen(colon + 1);
    if (digits < 1 || digits > 5 || strspn(colon + 1, "0123456789") != digits || atoi(colon + 1) > 65535) return false;
    if (length && *listen == '[') {
        if (length < 3 || listen[length - 1] != ']') return false;
        listen++;
        length -= 2;
    } else if (memchr(listen, ':', length))
        return false; /* an IPv6 address without brackets: where does it end? */
    if (length >= 64) return false;
    snprintf(host, 64, "%.*s", (int)length, listen);
    snprintf(port, 8, "%s", colon + 1);
    return true;
}

static void print_address(char out[TARN_WEB_ADDRESS], int file)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char host[64] = "?", port[8] = "?";
    if (!getsockname(file, (struct sockaddr *)&address, &length))
        getnameinfo((struct sockaddr *)&address, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    snprintf(out, TARN_WEB_ADDRESS, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
}

/* A listening socket, or -1 with *error and problem. */
static int listen_at(const char *listen_text, tarn_web_error *error, char problem[TARN_WEB_PROBLEM])
{
    char host[64], port[8];
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    *error = TARN_WEB_ADDRESS_WRONG;
    if (!split(listen_text, host, port) || getaddrinfo(!strcmp(host, "localhost") ? "127.0.0.1"
                                                       : *host                    ? host
                                                                                  : "0.0.0.0",
                                                       port, &hints, &found)) {
        snprintf(
            problem, TARN_WEB_PROBLEM,
            "\"%.100s\" is no ADDRESS:PORT: write an IPv4 address, an IPv6 address in brackets or localhost, and a "
            "port up to 65535, as 127.0.0.1:9464; 0.0.0.0:9464 serves the network, too",
            listen_text);
        return -1;
    }
    int file = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), yes = 1;
    if (file >= 0) setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (file >= 0 && !bind(file, found->ai_addr, found->ai_addrlen) && !listen(file, BACKLOG)) {
        freeaddrinfo(found);
        *error = TARN_WEB_OK;
        return file;
    }
    int number = errno;
    freeaddrinfo(found);
    if (file >= 0) close(file);
    const char *remedy = number == EADDRNOTAVAIL  ? "; it is not an address of this machine: choose 127.0.0.1, 0.0.0.0 "
                                                    "or an address that it has"
                         : number == EACCES       ? "; ports below 1024 are for root: choose a higher one"
                         : number == EAFNOSUPPORT ? "; this machine has no IPv6: write an IPv4 address"
                                                  : "";
    *error = number == EADDRINUSE ? TARN_WEB_BUSY : *remedy ? TARN_WEB_ADDRESS_WRONG : TARN_WEB_FAILED;
    snprintf(problem, TARN_WEB_PROBLEM, "cannot listen at %.100s: %s%s", listen_text, strerror(number), remedy);
    return -1;
}

/* ---- lifetime ---------------------------------------------------------------------------------------------------- */

tarn_web_error tarn_web_open(tarn_web **out, const char *listen_text, tarn_web_function *function, void *user,
                             char problem[TARN_WEB_PROBLEM])
{
    tarn_web_error error;
    *out = NULL;
    int file = listen_at(listen_text, &error, problem);
    if (file < 0) return error;
    pthread_once(&once, load);
    if (!atomic_load(&available)) {
        close(file);
        snprintf(problem, TARN_WEB_PROBLEM, "libmicrohttpd cannot be loaded (%s): install the package libmicrohttpd12",
                 library.problem);
        return TARN_WEB_UNAVAILABLE;
    }
    tarn_web *web = calloc(1, sizeof *web);
    if (web) {
        *web = (tarn_web){.function = function, .user = user};
        print_address(web->address, file);
        sigset_t before;
        tarn_block_signals(&before); /* the thread inherits it */
        web->daemon = library.start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, answer, web, MHD_OPTION_LISTEN_SOCKET, file,
            MHD_OPTION_CONNECTION_LIMIT, (unsigned)TARN_WEB_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT,
            (unsigned)TARN_WEB_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)READER_BYTES, MHD_OPTION_END);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    if (!web || !web->daemon) {
        snprintf(problem, TARN_WEB_PROBLEM, "cannot serve at %.100s: no memory, threads or files are left",
                 listen_text);
        close(file);
        free(web);
        return TARN_WEB_FAILED;
    }
    *out = web;
    return TARN_WEB_OK;
}

const char *tarn_web_address(const tarn_web *web)
{
    return web->address;
}

void tarn_web_close(tarn_web *web)
{
    if (!web) return;
    library.stop_daemon(web->daemon); /* and the socket */
    free(web);
}
