/* curl_library.c - see curl_library.h.
 *
 * Invariant: the library is never unloaded, since TLS libraries below it do not survive that.
 */
#include "runtime/http/curl_library.h"
#include "runtime/http/http.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

static tarn_curl library;
static atomic_bool available;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* The flavour over OpenSSL, which Tarn has in memory already; the one over GnuTLS speaks the same interface. */
static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

static void load(void)
{
    const char *wanted = getenv("TARN_CURL"); /* another file: for machines that keep it elsewhere */
    void *handle = NULL;
    char problem[160] = "";
    for (size_t i = 0; !handle && i < (wanted && *wanted ? 1 : sizeof names / sizeof *names); i++) {
        handle = dlopen(wanted && *wanted ? wanted : names[i], RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
        const char *text = handle ? NULL : dlerror();
        if (text && !*problem) snprintf(problem, sizeof problem, "%s", text);
    }
    if (!handle) {
        snprintf(library.problem, sizeof library.problem, "libcurl cannot be loaded (%s): install the package libcurl4",
                 problem);
        return;
    }
    const char *missing = NULL;
#define TARN_CURL_FIND(member, function)                                                                               \
    if (!(library.member = (__typeof__(library.member))dlsym(handle, #function))) missing = #function;
    TARN_CURL_FUNCTIONS(TARN_CURL_FIND)
#undef TARN_CURL_FIND
    if (missing) {
        snprintf(library.problem, sizeof library.problem,
                 "libcurl is too old: it has no %s; version 7.68 or later is needed (package libcurl4)", missing);
        return;
    }
    if (library.global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK) {
        snprintf(library.problem, sizeof library.problem, "libcurl could not be initialised (curl_global_init)");
        return;
    }
    atomic_store(&available, true);
}

const tarn_curl *tarn_curl_load(const char **problem)
{
    pthread_once(&once, load);
    *problem = library.problem;
    return atomic_load(&available) ? &library : NULL;
}

bool tarn_http_is_loaded(void)
{
    return atomic_load(&available);
}
