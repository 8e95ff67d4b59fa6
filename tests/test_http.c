/* test_http.c - the HTTP client against a real server: methods, headers, bodies, limits, every error by its name,
 * cancelling, no cost before the first request. */
#include "runtime/http/http.h"
#include "tests/server_support.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <sys/socket.h>
#include <netinet/in.h>

static tarn_test_server server;
static tarn_http *http;

static void set_up(void)
{
    unsetenv("http_proxy");
    unsetenv("TARN_CURL");
    cr_assert(tarn_test_server_start(&server), "the server did not start");
    http = tarn_http_open();
    cr_assert(http);
}

static void tear_down(void)
{
    tarn_http_close(http);
    tarn_test_server_stop(&server);
}

TestSuite(http, .init = set_up, .fini = tear_down, .timeout = 180);

/* A request to a path of the server; headers end with NULL. */
static tarn_http_error ask(const char *method, const char *path, const char *const *headers, const char *body,
                           tarn_http_answer *answer)
{
    char *url = tarn_test_format("%s%s", server.address, path);
    tarn_http_error error = tarn_http_perform(
        http,
        &(tarn_http_request){
            .method = method, .url = url, .headers = headers, .body = body, .body_bytes = body ? strlen(body) : 0},
        answer);
    free(url);
    return error;
}

static void expect_error(const tarn_http_request *request, tarn_http_error expected, const char *words)
{
    tarn_http_answer answer;
    tarn_http_error error = tarn_http_perform(http, request, &answer);
    cr_expect_eq(error, expected, "%s gave %s (%s), not %s", request->url, tarn_http_error_name(error), answer.problem,
                 tarn_http_error_name(expected));
    cr_expect(strstr(answer.problem, words), "no \"%s\" in \"%s\"", words, answer.problem);
    cr_expect_eq(answer.code, 0);
    cr_expect_null(answer.body);
    tarn_http_answer_free(&answer);
}

Test(http, methods_headers_and_bodies_arrive)
{
    static const char *const headers[] = {"X-One: 1", "Content-Type: application/json", NULL};
    static const struct {
        const char *method, *body, *expected;
    } cases[] = {{NULL, NULL, "\"method\": \"GET\""},     {"PUT", NULL, "\"method\": \"PUT\""},
                 {"PUT", "abc", "\"body\": \"abc\""},     {"POST", "{}", "\"method\": \"POST\""},
                 {"PATCH", "p", "\"method\": \"PATCH\""}, {"DELETE", NULL, "\"method\": \"DELETE\""},
                 {"DELETE", "d", "\"body\": \"d\""},      {"GET", "q", "\"method\": \"GET\""}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tarn_http_answer answer;
        cr_assert_eq(ask(cases[i].method, "/echo", headers, cases[i].body, &answer), TARN_HTTP_OK, "%s",
                     answer.problem);
        cr_expect_eq(answer.code, 200);
        cr_expect(strstr(answer.body, cases[i].expected), "case %zu: no %s in %s", i, cases[i].expected, answer.body);
        cr_expect(strstr(answer.body, "\"x-one\": \"1\""), "%s", answer.body);
        cr_expect(strstr(answer.body, "\"content-type\": \"application/json\""), "%s", answer.body);
        cr_expect_null(strstr(answer.body, "\"expect\""), "%s", answer.body);
        tarn_http_answer_free(&answer);
    }
    tarn_http_answer answer;
    cr_assert_eq(ask("HEAD", "/echo", NULL, NULL, &answer), TARN_HTTP_OK);
    cr_expect_eq(answer.code, 200);
    cr_expect_eq(answer.bytes, 0);
    tarn_http_answer_free(&answer);
    cr_assert_eq(ask("POST", "/echo", NULL, "x", &answer), TARN_HTTP_OK);
    cr_expect_null(strstr(answer.body, "urlencoded"), "a body got a type nobody stated: %s", answer.body);
    tarn_http_answer_free(&answer);
}

Test(http, credentials_become_basic_authentication)
{
    tarn_http_answer answer;
    char *url = tarn_test_format("%s/echo", server.address);
    cr_assert_eq(tarn_http_perform(http, &(tarn_http_request){.url = url, .credentials = "user:pass"}, &answer),
                 TARN_HTTP_OK);
    cr_expect(strstr(answer.body, "Basic dXNlcjpwYXNz"), "%s", answer.body);
    tarn_http_answer_free(&answer);
    /* the next request does not inherit them */
    cr_assert_eq(tarn_http_perform(http, &(tarn_http_request){.url = url}, &answer), TARN_HTTP_OK);
    cr_expect_null(strstr(answer.body, "authorization"), "%s", answer.body);
    tarn_http_answer_free(&answer);
    free(url);
}

Test(http, every_code_is_an_answer_and_no_redirect_is_followed)
{
    tarn_http_answer answer;
    cr_assert_eq(ask(NULL, "/status?404", NULL, NULL, &answer), TARN_HTTP_OK);
    cr_expect_eq(answer.code, 404);
    cr_expect_str_eq(answer.body, "the body");
    tarn_http_answer_free(&answer);
    cr_assert_eq(ask(NULL, "/status?503", NULL, NULL, &answer), TARN_HTTP_OK);
    cr_expect_eq(answer.code, 503);
    tarn_http_answer_free(&answer);
    cr_assert_eq(ask(NULL, "/redirect", NULL, NULL, &answer), TARN_HTTP_OK);
    cr_expect_eq(answer.code, 302);
    tarn_http_answer_free(&answer);
    cr_expect_eq(tarn_test_server_requests(&server, "/echo"), 0);
}

Test(http, a_body_is_complete_or_an_error)
{
    tarn_http_answer answer;
    cr_assert_eq(ask(NULL, "/large?1048576", NULL, NULL, &answer), TARN_HTTP_OK, "%s", answer.problem);
    cr_expect_eq(answer.bytes, 1048576);
    cr_expect_eq(answer.body[1048576], 0);
    tarn_http_answer_free(&answer);
    char *large = tarn_test_format("%s/large?1001", server.address), *cut = tarn_test_format("%s/cut", server.address);
    char *noise = tarn_test_format("%s/noise", server.address);
    expect_error(&(tarn_http_request){.url = large, .most_bytes = 1000}, TARN_HTTP_TOO_LARGE, "longer than 1000 bytes");
    expect_error(&(tarn_http_request){.url = cut}, TARN_HTTP_TRANSFER, server.address);
    expect_error(&(tarn_http_request){.url = noise}, TARN_HTTP_TRANSFER, server.address);
    free(large);
    free(cut);
    free(noise);
}

Test(http, errors_have_names)
{
    /* a port nobody listens on: bound, never listening */
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in place = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof place;
    cr_assert(!bind(listener, (struct sockaddr *)&place, length));
    cr_assert(!getsockname(listener, (struct sockaddr *)&place, &length));
    char *closed = tarn_test_format("http://127.0.0.1:%d/", ntohs(place.sin_port));
    char *slow = tarn_test_format("%s/slow", server.address);
    char *tls = tarn_test_format("https%s/", server.address + 4);
    expect_error(&(tarn_http_request){.url = closed}, TARN_HTTP_CONNECT, "onnect");
    expect_error(&(tarn_http_request){.url = slow, .total_seconds = 0.3}, TARN_HTTP_TIMEOUT, "imed out");
    expect_error(&(tarn_http_request){.url = tls}, TARN_HTTP_TLS, "https://");
    expect_error(&(tarn_http_request){.url = "http://no-such-host.invalid/"}, TARN_HTTP_RESOLVE, "no-such-host");
    expect_error(&(tarn_http_request){.url = "file:///etc/passwd"}, TARN_HTTP_REQUEST, "http:// or https://");
    expect_error(&(tarn_http_request){0}, TARN_HTTP_REQUEST, "http:// or https://");
    static const char *const smuggled[] = {"X-One: 1\r\nX-Two: 2", NULL}, *const shapeless[] = {"no colon", NULL};
    expect_error(&(tarn_http_request){.url = slow, .headers = smuggled}, TARN_HTTP_REQUEST, "one line");
    expect_error(&(tarn_http_request){.url = slow, .headers = shapeless}, TARN_HTTP_REQUEST, "one line");
    cr_expect_str_eq(tarn_http_error_name(TARN_HTTP_TIMEOUT), "timeout");
    cr_expect_eq(tarn_http_status(TARN_HTTP_UNAVAILABLE), TARN_ERROR_UNSUPPORTED);
    close(listener);
    free(closed);
    free(slow);
    free(tls);
}

Test(http, direct_requests_pass_by_the_proxy)
{
    setenv("http_proxy", "http://127.0.0.1:9", 1);
    unsetenv("no_proxy");
    unsetenv("NO_PROXY");
    char *url = tarn_test_format("%s/echo", server.address);
    expect_error(&(tarn_http_request){.url = url}, TARN_HTTP_CONNECT, "");
    tarn_http_answer answer;
    cr_assert_eq(tarn_http_perform(http, &(tarn_http_request){.url = url, .direct = true}, &answer), TARN_HTTP_OK, "%s",
                 answer.problem);
    tarn_http_answer_free(&answer);
    free(url);
}

Test(http, a_file_is_sent_piece_by_piece)
{
    enum { BYTES = 3 << 20 };
    char *folder = tarn_test_directory(), *path = tarn_test_format("%s/file", folder), *data = malloc(BYTES);
    char *url = tarn_test_format("%s/echo", server.address), *gone = tarn_test_format("%s/gone", folder);
    for (int i = 0; i < BYTES; i++) data[i] = (char)('a' + i % 23);
    cr_assert(tarn_test_write(path, data, BYTES));
    static const char *const methods[] = {"PUT", "POST"};
    for (int i = 0; i < 2; i++) {
        tarn_http_answer answer;
        tarn_http_error error = tarn_http_perform(
            http, &(tarn_http_request){.method = methods[i], .url = url, .body_file = path, .most_bytes = 2 * BYTES},
            &answer);
        cr_assert_eq(error, TARN_HTTP_OK, "%s", answer.problem);
        cr_expect(memmem(answer.body, answer.bytes, data, BYTES), "the file did not arrive as it is");
        cr_expect(strstr(answer.body, methods[i]) && strstr(answer.body, "\"content-length\": \"3145728\""));
        cr_expect_null(strstr(answer.body, "\"expect\""));
        tarn_http_answer_free(&answer);
    }
    cr_assert(tarn_test_write(path, data, 0)); /* nothing is a file, too */
    tarn_http_answer answer;
    cr_assert_eq(tarn_http_perform(http, &(tarn_http_request){.method = "PUT", .url = url, .body_file = path}, &answer),
                 TARN_HTTP_OK);
    cr_expect(strstr(answer.body, "\"content-length\": \"0\""), "%s", answer.body);
    tarn_http_answer_free(&answer);
    expect_error(&(tarn_http_request){.method = "PUT", .url = url, .body_file = gone}, TARN_HTTP_REQUEST,
                 "No such file");
    expect_error(&(tarn_http_request){.method = "PUT", .url = url, .body_file = folder}, TARN_HTTP_REQUEST,
                 "no regular file");
    tarn_test_remove(folder);
    free(folder);
    free(path);
    free(data);
    free(url);
    free(gone);
}

Test(http, retry_after_and_redirects_are_told)
{
    tarn_http_answer answer;
    cr_assert_eq(ask(NULL, "/later?17", NULL, NULL, &answer), TARN_HTTP_OK);
    cr_expect_eq(answer.retry_after, 17);
    tarn_http_answer_free(&answer);
    cr_assert_eq(ask(NULL, "/later?Fri,%2031%20Dec%209999%2023:59:59%20GMT", NULL, NULL, &answer), TARN_HTTP_OK);
    cr_expect_gt(answer.retry_after, 1e9);
    tarn_http_answer_free(&answer);
    cr_assert_eq(ask(NULL, "/redirect", NULL, NULL, &answer), TARN_HTTP_OK);
    cr_expect(strstr(answer.location, "/echo"), "%s", answer.location);
    cr_expect_eq(answer.retry_after, 0);
    tarn_http_answer_free(&answer);
}

static void *ask_slow(void *result)
{
    tarn_http_answer answer;
    *(tarn_http_error *)result = ask(NULL, "/slow", NULL, NULL, &answer);
    tarn_http_answer_free(&answer);
    return NULL;
}

/* The request would take 30 s at least, the whole test suite waits for less. */
Test(http, cancelling_ends_the_wait)
{
    pthread_t thread;
    tarn_http_error result = TARN_HTTP_OK;
    cr_assert(!pthread_create(&thread, NULL, ask_slow, &result));
    tarn_test_pause(0.2);
    tarn_http_cancel(http);
    pthread_join(thread, NULL);
    cr_expect_eq(result, TARN_HTTP_CANCELLED);
    tarn_http_answer answer;
    cr_expect_eq(ask(NULL, "/echo", NULL, NULL, &answer), TARN_HTTP_CANCELLED);
    tarn_http_answer_free(&answer);
}

enum { CLIENTS = 8, ROUNDS = 20 };

static void *many_requests(void *user)
{
    int *failures = user;
    tarn_http *own = tarn_http_open();
    char *url = tarn_test_format("%s/echo", server.address);
    for (int i = 0; i < ROUNDS; i++) {
        tarn_http_answer answer;
        if (tarn_http_perform(own, &(tarn_http_request){.url = url}, &answer) || answer.code != 200) ++*failures;
        tarn_http_answer_free(&answer);
    }
    free(url);
    tarn_http_close(own);
    return NULL;
}

Test(http, clients_run_at_once)
{
    pthread_t threads[CLIENTS];
    int failures[CLIENTS] = {0};
    for (int i = 0; i < CLIENTS; i++) cr_assert(!pthread_create(&threads[i], NULL, many_requests, &failures[i]));
    for (int i = 0; i < CLIENTS; i++) {
        pthread_join(threads[i], NULL);
        cr_expect_eq(failures[i], 0);
    }
    cr_expect_eq(tarn_test_server_requests(&server, "/echo"), CLIENTS * ROUNDS);
}

Test(http, nothing_is_loaded_before_the_first_request)
{
    cr_expect_not(tarn_http_is_loaded());
    tarn_http_answer answer;
    cr_assert_eq(ask(NULL, "/echo", NULL, NULL, &answer), TARN_HTTP_OK);
    tarn_http_answer_free(&answer);
    cr_expect(tarn_http_is_loaded());
}

Test(http, without_libcurl_the_package_is_named)
{
    setenv("TARN_CURL", "/nowhere/libcurl.so.4", 1);
    char *url = tarn_test_format("%s/echo", server.address);
    expect_error(&(tarn_http_request){.url = url}, TARN_HTTP_UNAVAILABLE, "package libcurl4");
    free(url);
}
