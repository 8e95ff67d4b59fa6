/* web.h - a small web server: pages for GET and HEAD, made by a function. The only door to libmicrohttpd.
 *
 * libmicrohttpd is loaded when the first server is opened (dlopen): a run that serves nothing neither waits for it and
 * its TLS libraries nor needs the package.
 *
 * Invariants
 *  1. One thread of its own serves all connections and waits for none of them: a slow or silent reader costs its place
 *     until TARN_WEB_SECONDS without progress are over, and nothing else.
 *  2. There are at most TARN_WEB_CONNECTIONS, further ones wait in the kernel.
 *  3. That thread leaves signals to the main one.
 *  4. Nothing of a request but its method and path is read, and a body is refused.
 *  5. Nothing is printed.
 */
#ifndef TARN_TRACK_PROMETHEUS_WEB_H
#define TARN_TRACK_PROMETHEUS_WEB_H

#include <stddef.h>

enum { TARN_WEB_CONNECTIONS = 64, TARN_WEB_SECONDS = 20, TARN_WEB_PROBLEM = 400, TARN_WEB_ADDRESS = 80 };

typedef enum tarn_web_error {
    TARN_WEB_OK = 0,
    TARN_WEB_BUSY,          /* somebody else listens there now: it may be free later */
    TARN_WEB_ADDRESS_WRONG, /* no ADDRESS:PORT, not an address of this machine, or not allowed */
    TARN_WEB_UNAVAILABLE,   /* no libmicrohttpd */
    TARN_WEB_FAILED         /* out of memory, files or threads */
} tarn_web_error;

typedef struct tarn_web_page {
    const char *type; /* as: text/plain; a literal */
    char *data;       /* stays as it is until it is released */
    size_t bytes;
    void (*release)(void *data); /* once, after the last byte was sent or the reader left; NULL: nothing to do */
} tarn_web_page;

/* Fills in the page of a path; anything but 200 sends that status with a line of text instead (404: no such page).
 * Called by the server's thread, so soon. */
typedef int tarn_web_function(void *user, const char *path, tarn_web_page *page);

typedef struct tarn_web tarn_web;

/* Serves at "ADDRESS:PORT": an IPv4 address, an IPv6 address in brackets, localhost, or nothing for all addresses of
 * the machine; port 0 chooses a free one. Does not wait for a name server. On an error *web is NULL, and problem says
 * what is wrong with the address. */
tarn_web_error tarn_web_open(tarn_web **web, const char *listen, tarn_web_function *function, void *user,
                             char problem[TARN_WEB_PROBLEM]);
/* "127.0.0.1:9464", with the port that was chosen. */
const char *tarn_web_address(const tarn_web *web);
/* Ends all connections at once. NULL is fine. */
void tarn_web_close(tarn_web *web);

#endif
