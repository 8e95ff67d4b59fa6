/* curl_library.h - libcurl's functions, found at the first use. For the files of runtime/http/ alone. */
#ifndef TARN_RUNTIME_HTTP_CURL_LIBRARY_H
#define TARN_RUNTIME_HTTP_CURL_LIBRARY_H

/* The calls go through pointers: curl's type-checking macros do not apply and only cost compile time. */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <stdbool.h>

/* name in this table, type taken from curl's own declaration */
#define TARN_CURL_FUNCTIONS(F)                                                                                         \
    F(global_init, curl_global_init)                                                                                   \
    F(version_info, curl_version_info)                                                                                 \
    F(easy_init, curl_easy_init)                                                                                       \
    F(easy_setopt, curl_easy_setopt)                                                                                   \
    F(easy_getinfo, curl_easy_getinfo)                                                                                 \
    F(easy_reset, curl_easy_reset)                                                                                     \
    F(easy_cleanup, curl_easy_cleanup)                                                                                 \
    F(easy_strerror, curl_easy_strerror)                                                                               \
    F(slist_append, curl_slist_append)                                                                                 \
    F(slist_free_all, curl_slist_free_all)                                                                             \
    F(multi_init, curl_multi_init)                                                                                     \
    F(multi_cleanup, curl_multi_cleanup)                                                                               \
    F(multi_add_handle, curl_multi_add_handle)                                                                         \
    F(multi_remove_handle, curl_multi_remove_handle)                                                                   \
    F(multi_perform, curl_multi_perform)                                                                               \
    F(multi_poll, curl_multi_poll)                                                                                     \
    F(multi_wakeup, curl_multi_wakeup)                                                                                 \
    F(multi_info_read, curl_multi_info_read)

typedef struct tarn_curl {
#define TARN_CURL_MEMBER(member, function) __typeof__(function) *member;
    TARN_CURL_FUNCTIONS(TARN_CURL_MEMBER)
#undef TARN_CURL_MEMBER
    char problem[256]; /* why it is not available */
} tarn_curl;

/* Loads the library once for the process; NULL when that failed, *problem then says why and what to install. Any
 * thread. */
const tarn_curl *tarn_curl_load(const char **problem);

#endif
