/* test_spot.c - spot notices: what each provider's service says and how it is understood, which machines are watched,
 * runs that are told to stop and go on to the same bits, services that are broken, the warning about a grace that is
 * too short. Nothing depends on how long anything takes: a run is told once its first checkpoint is there.
 */
#include "tests/run_support.h"
#include "tests/server_support.h"
#include "train/spot/spot_internal.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>

static const char run_file[] = "seed: 3\n"
                               "model: {kind: gpt, layers: 2, heads: 2, width: 32, context: 32, dropout: 0.1}\n"
                               "data: {kind: text, path: text.txt}\n"
                               "train: {batch: 16, shards: 4, steps: 1000000, threads: 1}\n"
                               "checkpoint: {dir: ckpt, every: 50, keep: 2}\n"
                               "track: {store: null}\n";
static char *folder;
static tarn_test_server server;

static void set_up(void)
{
    static const char *const variables[] = {"TARN_SPOT", "TARN_SPOT_ENDPOINT", "TARN_SPOT_DMI", "TARN_LOG"};
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++) unsetenv(variables[i]);
    folder = tarn_test_directory();
    char *text = tarn_test_format("%s/text.txt", folder), *run = tarn_test_format("%s/run.yaml", folder);
    cr_assert(tarn_test_write_text(text, 200));
    cr_assert(tarn_test_write(run, run_file, strlen(run_file)));
    free(text);
    free(run);
    cr_assert(tarn_test_server_start(&server), "the server did not start");
}

static void tear_down(void)
{
    tarn_test_server_stop(&server);
    tarn_test_remove(folder);
    free(folder);
}

TestSuite(spot, .init = set_up, .fini = tear_down, .timeout = 600);

/* ---- the providers' words ---------------------------------------------------------------------------------------- */

/* Polls in this process, `polls` times; the last answer. */
static tarn_spot_news poll_with(tarn_spot_session *session, const tarn_spot_provider *provider, int polls)
{
    tarn_spot_news news;
    for (int i = 0; i < polls; i++) {
        news = (tarn_spot_news){.seconds = NAN};
        provider->poll(session, &news);
    }
    return news;
}

static tarn_spot_news poll(const tarn_spot_provider *provider, const char *mode)
{
    tarn_spot_session session = {.http = tarn_http_open(), .answered = true};
    snprintf(session.endpoint, sizeof session.endpoint, "%s", server.address);
    tarn_test_server_mode(&server, mode);
    tarn_spot_news news = poll_with(&session, provider, 1);
    tarn_http_close(session.http);
    return news;
}

Test(spot, every_provider_is_understood)
{
    for (int i = 0; i < TARN_SPOT_PROVIDERS; i++) {
        const tarn_spot_provider *provider = tarn_spot_providers[i];
        static const char *const broken[] = {"broken", "error", "drop"};
        tarn_spot_news news = poll(provider, "none");
        cr_expect_eq(news.kind, TARN_SPOT_QUIET, "%s: %s", provider->name, news.text);
        news = poll(provider, "notice");
        cr_expect_eq(news.kind, TARN_SPOT_NOTICE, "%s: %s", provider->name, news.text);
        cr_expect_str_eq(news.action, i == 0 ? "terminate" : "preempt");
        cr_expect(news.seconds > 0 && news.seconds <= provider->grace + 1, "%s: %g s left", provider->name,
                  news.seconds);
        for (size_t k = 0; k < sizeof broken / sizeof *broken; k++) {
            news = poll(provider, broken[k]);
            cr_expect_eq(news.kind, TARN_SPOT_FAILED, "%s, %s: kind %d", provider->name, broken[k], news.kind);
            cr_expect(strstr(news.text, server.address), "%s, %s: \"%s\" does not say who was asked", provider->name,
                      broken[k], news.text);
        }
        cr_expect_leq(provider->period, 5);
    }
    cr_expect_leq(tarn_spot_gcp.period, 2);
    cr_expect_leq(tarn_spot_azure.period, 2);
}

Test(spot, a_slow_service_is_a_failure_and_the_next_poll_works)
{
    tarn_spot_session session = {.http = tarn_http_open()};
    snprintf(session.endpoint, sizeof session.endpoint, "%s", server.address);
    tarn_test_server_mode(&server, "slow");
    tarn_spot_news news = poll_with(&session, &tarn_spot_gcp, 1);
    cr_expect_eq(news.kind, TARN_SPOT_FAILED);
    cr_expect(strstr(news.text, "timeout"), "%s", news.text);
    tarn_test_server_mode(&server, "notice");
    news = poll_with(&session, &tarn_spot_gcp, 1);
    cr_expect_eq(news.kind, TARN_SPOT_NOTICE, "%s", news.text);
    tarn_http_close(session.http);
}

Test(spot, aws_tokens_are_kept_and_replaced_when_refused)
{
    tarn_spot_session session = {.http = tarn_http_open()};
    snprintf(session.endpoint, sizeof session.endpoint, "%s", server.address);
    tarn_spot_news news = poll_with(&session, &tarn_spot_aws, 3);
    cr_expect_eq(news.kind, TARN_SPOT_QUIET, "%s", news.text);
    cr_expect_eq(tarn_test_server_requests(&server, "PUT /latest/api/token 200"), 1, "one token for three polls");
    tarn_test_server_mode(&server, "expire");
    news = poll_with(&session, &tarn_spot_aws, 2);
    cr_expect_eq(news.kind, TARN_SPOT_QUIET, "%s", news.text);
    cr_expect_eq(tarn_test_server_requests(&server, " 401"), 1);
    cr_expect_eq(tarn_test_server_requests(&server, "PUT /latest/api/token 200"), 2);
    session.token_expires = 0; /* its time is over: no request is wasted on it */
    poll_with(&session, &tarn_spot_aws, 1);
    cr_expect_eq(tarn_test_server_requests(&server, "PUT /latest/api/token 200"), 3);
    cr_expect_eq(tarn_test_server_requests(&server, " 401"), 1);
    tarn_http_close(session.http);
}

Test(spot, advice_and_events_of_others_stop_nothing)
{
    tarn_spot_news news = poll(&tarn_spot_aws, "rebalance");
    cr_expect_eq(news.kind, TARN_SPOT_ADVICE);
    cr_expect(strstr(news.text, "rebalance"), "%s", news.text);
    news = poll(&tarn_spot_azure, "rebalance");
    cr_expect_eq(news.kind, TARN_SPOT_ADVICE);
    cr_expect(strstr(news.text, "Reboot"), "%s", news.text);
    news = poll(&tarn_spot_azure, "other");
    cr_expect_eq(news.kind, TARN_SPOT_QUIET, "%s", news.text);
}

Test(spot, moments_are_read)
{
    time_t soon = time(NULL) + 100;
    struct tm moment;
    char text[64];
    gmtime_r(&soon, &moment);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &moment);
    double left = tarn_spot_seconds_until(text);
    cr_expect(left > 90 && left <= 100, "%s: %g", text, left);
    strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &moment);
    left = tarn_spot_seconds_until(text);
    cr_expect(left > 90 && left <= 100, "%s: %g", text, left);
    static const char *const nothing[] = {"",
                                          "soon",
                                          "2017-09-18",
                                          "Mon, 18 Foo 2017 08:22:00 GMT",
                                          "Mon, 18 anF 2017 08:22:00 GMT",
                                          "2017-13-18T08:22:00Z"};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        cr_expect(isnan(tarn_spot_seconds_until(nothing[i])), "%s", nothing[i]);
}

static void write_dmi(const char *name, const char *text)
{
    char *path = tarn_test_format("%s/%s", folder, name);
    cr_assert(tarn_test_write(path, text, strlen(text)));
    free(path);
}

Test(spot, machines_are_told_by_their_firmware)
{
    static const struct {
        const char *file, *text, *provider;
    } cases[] = {{"sys_vendor", "Amazon EC2\n", "aws"},
                 {"bios_version", "4.11.amazon\n", "aws"},
                 {"product_name", "Google Compute Engine\n", "gcp"},
                 {"product_name", "Google\n", "gcp"},
                 {"chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77\n", "azure"},
                 {"sys_vendor", "Microsoft Corporation\n", NULL},
                 {"sys_vendor", "Google\n", NULL},
                 {"product_name", "Googly\n", NULL},
                 {"sys_vendor", "", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_dmi(cases[i].file, cases[i].text);
        const tarn_spot_provider *provider = tarn_spot_detect(folder);
        cr_expect_str_eq(provider ? provider->name : "none", cases[i].provider ? cases[i].provider : "none", "%s of %s",
                         cases[i].file, cases[i].text);
        char *path = tarn_test_format("%s/%s", folder, cases[i].file);
        unlink(path);
        free(path);
    }
    cr_expect_null(tarn_spot_detect("/nowhere"));
}

/* ---- the budget -------------------------------------------------------------------------------------------------- */

static int warnings;
static void count_warnings(void *user, tarn_log_level level, const char *line)
{
    (void)user;
    warnings += level == TARN_LOG_WARN && strstr(line, "a notice leaves");
}

Test(spot, the_budget_warns_once_when_step_and_two_saves_do_not_fit)
{
    tarn_context *context;
    cr_assert_eq(tarn_init(&context, NULL, NULL), TARN_OK);
    tarn_set_log(context, count_warnings, NULL);
    tarn_spot spot = {.context = context, .keeps_budget = true, .grace = 10, .save_seconds = -1};
    tarn_spot_step_done(&spot, 100, 0); /* warming up, and nothing is known about saves */
    tarn_spot_budget_start(&spot, 2);
    for (int i = 0; i < 10; i++) tarn_spot_step_done(&spot, 1.9, 0); /* 1.9 + 2 * 2 <= 0.6 * 10 */
    cr_expect_eq(warnings, 0);
    tarn_spot_step_done(&spot, 2.1, 0);
    cr_expect_eq(warnings, 1);
    tarn_spot_step_done(&spot, 5, 50);
    cr_expect_eq(warnings, 1);
    /* a real checkpoint that takes longer than the probe said, and one that is faster than it said */
    tarn_spot slow = {.context = context, .keeps_budget = true, .grace = 10, .save_seconds = 1};
    tarn_spot_step_done(&slow, 1, 3.1);
    cr_expect_eq(warnings, 2);
    tarn_spot fast = {.context = context, .keeps_budget = true, .grace = 10, .save_seconds = 3};
    for (int i = 0; i < 10; i++) tarn_spot_step_done(&fast, 1, 0.5);
    cr_expect_eq(warnings, 2);
    /* the probe alone */
    tarn_spot probed = {.context = context, .keeps_budget = true, .grace = 10};
    tarn_spot_budget_start(&probed, 3.1);
    cr_expect_eq(warnings, 3);
    tarn_spot elsewhere = {.context = context, .grace = 10, .save_seconds = 100};
    tarn_spot_step_done(&elsewhere, 100, 100);
    cr_expect_eq(warnings, 3);
    tarn_exit(context);
}

/* ---- whole runs -------------------------------------------------------------------------------------------------- */

/* Runs tarn, expects the exit code, returns the output. */
static char *tarn(const char *environment, int ranks, int expected, const char *arguments)
{
    char *output;
    int code = tarn_test_tarn(folder, environment, ranks, arguments, &output);
    cr_assert_eq(code, expected, "tarn %s (%s, ranks %d): exit code %d instead of %d: %s", arguments, environment,
                 ranks, code, expected, output);
    return output;
}

/* The same in the background; end with collect. */
static pid_t launch(const char *environment, int ranks, const char *arguments)
{
    pid_t pid = fork();
    if (pid) return pid;
    char *output, *path = tarn_test_format("%s/output", folder);
    int code = tarn_test_tarn(folder, environment, ranks, arguments, &output);
    tarn_test_write(path, output, strlen(output));
    _exit(code < 0 ? 99 : code);
}

static char *collect(pid_t pid, int expected)
{
    int status = 0;
    waitpid(pid, &status, 0);
    char *path = tarn_test_format("%s/output", folder), *output = tarn_test_read(path, NULL);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == expected, "exit code %d instead of %d: %s",
              WEXITSTATUS(status), expected, output);
    free(path);
    return output;
}

/* The step of the newest checkpoint in a directory of the test's folder, -1 without one. */
static long long newest(const char *directory)
{
    char *path = tarn_test_format("%s/%s", folder, directory);
    DIR *opened = opendir(path);
    long long best = -1;
    for (struct dirent *entry; opened && (entry = readdir(opened));)
        if (!strncmp(entry->d_name, "ckpt-", 5) && atoll(entry->d_name + 5) > best) best = atoll(entry->d_name + 5);
    if (opened) closedir(opened);
    free(path);
    return best;
}

static void wait_for_checkpoint(pid_t pid)
{
    while (newest("ckpt") < 0) {
        cr_assert_eq(kill(pid, 0), 0);
        cr_assert_eq(waitpid(pid, NULL, WNOHANG), 0, "the run ended before its first checkpoint");
        tarn_test_pause(0.05);
    }
}

static int count(const char *text, const char *word)
{
    int found = 0;
    for (; (text = strstr(text, word)); text += strlen(word)) found++;
    return found;
}

/* The run in ckpt stopped early. It goes on for a few steps, and so far an undisturbed one comes to the same digest. */
static void expect_the_same_bits(int ranks)
{
    long long stopped = newest("ckpt");
    cr_assert(stopped > 0 && stopped < 1000000);
    char *more = tarn_test_format("train run.yaml spot=off train.steps=%lld --quiet", stopped + 10);
    char *whole = tarn_test_format("train run.yaml spot=off train.steps=%lld checkpoint.every=0 "
                                   "checkpoint.dir=whole --quiet",
                                   stopped + 10);
    char *output = tarn("", ranks, 0, more);
    char *resumed = tarn_test_format("resumed at step %lld", stopped);
    cr_expect(strstr(output, resumed), "no \"%s\" in %s", resumed, output);
    free(output);
    free(tarn("", 0, 0, whole));
    char *one = tarn_test_digest(folder, "ckpt"), *two = tarn_test_digest(folder, "whole");
    cr_expect(*one);
    cr_expect_str_eq(one, two);
    free(one);
    free(two);
    free(resumed);
    free(more);
    free(whole);
}

static void notice_stops_a_run(const char *provider, int ranks, const char *words)
{
    char host[256] = "";
    gethostname(host, sizeof host - 1);
    char *arguments = tarn_test_format("train run.yaml spot=%s spot_endpoint=%s/ --quiet", provider, server.address);
    pid_t pid = launch("", ranks, arguments);
    wait_for_checkpoint(pid);
    tarn_test_server_mode(&server, "notice");
    char *output = collect(pid, 75);
    char *expected = tarn_test_format("warning: spot %s host %s: %s", provider, host, words);
    cr_expect_eq(count(output, expected), 1, "not one \"%s\" in %s", expected, output);
    cr_expect(strstr(output, "s from now"), "%s", output);
    cr_expect(strstr(output, "stopped on request (spot "), "the reason is not told: %s", output);
    free(output);
    free(expected);
    free(arguments);
    expect_the_same_bits(ranks);
}

Test(spot, a_notice_of_aws_saves_and_stops)
{
    notice_stops_a_run("aws", 0, "terminate at 2");
}

Test(spot, a_notice_of_gcp_saves_and_stops)
{
    notice_stops_a_run("gcp", 0, "preempt");
}

Test(spot, a_notice_of_azure_saves_and_stops)
{
    notice_stops_a_run("azure", 0, "preempt at ");
}

Test(spot, one_rank_of_a_host_watches_and_all_save_the_same_step)
{
    notice_stops_a_run("aws", 2, "terminate at 2");
    cr_expect_eq(tarn_test_server_requests(&server, "PUT /latest/api/token"), 1, "more than one rank asked");
}

/* The failures come first; the polling that went on finds the notice. */
Test(spot, a_service_that_fails_is_named_once_and_asked_again)
{
    tarn_test_server_mode(&server, "error");
    char *environment = tarn_test_format("TARN_SPOT=gcp TARN_SPOT_ENDPOINT=%s", server.address);
    pid_t pid = launch(environment, 0, "train run.yaml spot=off --quiet");
    while (tarn_test_server_requests(&server, "preempted 500") < 2) tarn_test_pause(0.05);
    tarn_test_server_mode(&server, "broken");
    while (tarn_test_server_requests(&server, "preempted 200") < 1) tarn_test_pause(0.05);
    wait_for_checkpoint(pid);
    tarn_test_server_mode(&server, "notice");
    char *output = collect(pid, 75);
    cr_expect_eq(count(output, "the metadata service"), 1, "%s", output);
    cr_expect(strstr(output, "answered 500"), "%s", output);
    free(output);
    free(environment);
}

Test(spot, a_run_without_notice_comes_to_its_end)
{
    char *arguments =
        tarn_test_format("train run.yaml train.steps=60 spot=aws spot_endpoint=%s --quiet", server.address);
    char *output = tarn("", 2, 0, arguments);
    cr_expect_null(strstr(output, "warning: spot"), "%s", output);
    free(output);
    free(arguments);
    free(tarn("", 0, 0, "train run.yaml train.steps=60 spot=off checkpoint.dir=whole --quiet"));
    char *one = tarn_test_digest(folder, "ckpt"), *two = tarn_test_digest(folder, "whole");
    cr_expect(*one);
    cr_expect_str_eq(one, two);
    free(one);
    free(two);
}

/* Azure's first request may take 150 s: the end of the run does not wait for it. (The run is killed after 240 s at the
 * latest, with another exit code; 60 s leave slow machines enough.) */
Test(spot, the_end_does_not_wait_for_a_slow_service)
{
    tarn_test_server_mode(&server, "slow");
    char *arguments =
        tarn_test_format("train run.yaml train.steps=60 spot=azure spot_endpoint=%s --quiet", server.address);
    char *output;
    char *line = tarn_test_format("cd %s && exec timeout -k 1 60 " TARN_PROGRAM " %s", folder, arguments);
    cr_expect_eq(tarn_test_run(line, 90, &output), 0, "%s", output);
    free(output);
    free(line);
    free(arguments);
}

Test(spot, nobody_there_is_no_reason_to_stop)
{
    free(tarn("", 0, 0, "train run.yaml train.steps=60 spot=aws spot_endpoint=http://127.0.0.1:9 --quiet"));
}

Test(spot, auto_watches_on_the_providers_machines_only)
{
    char *environment =
        tarn_test_format("TARN_LOG=info TARN_SPOT_ENDPOINT=%s TARN_SPOT_DMI=%s", server.address, folder);
    char *output = tarn(environment, 0, 0, "train run.yaml train.steps=3 --quiet");
    cr_expect_null(strstr(output, "spot"), "%s", output);
    cr_expect_eq(tarn_test_server_requests(&server, "/"), 0);
    free(output);
    write_dmi("product_name", "Google Compute Engine\n");
    tarn_test_server_mode(&server, "notice");
    output = tarn(environment, 0, 75, "train run.yaml --quiet");
    cr_expect(strstr(output, "watching"), "%s", output);
    cr_expect_gt(tarn_test_server_requests(&server, "/computeMetadata/v1/instance/preempted 200"), 0);
    free(output);
    /* nothing could be saved: nothing is watched */
    output = tarn(environment, 0, 0, "train run.yaml train.steps=3 checkpoint.dir=null --quiet");
    cr_expect_null(strstr(output, "watching"), "%s", output);
    free(output);
    free(environment);
}

Test(spot, a_grace_too_short_is_told_at_the_start)
{
    char *arguments = tarn_test_format("train run.yaml train.steps=2 spot=aws spot_endpoint=%s spot_grace=0.00001 "
                                       "--quiet",
                                       server.address);
    char *output = tarn("", 0, 0, arguments);
    cr_expect_eq(count(output, "a notice leaves 1e-05 s"), 1, "%s", output);
    cr_expect(strstr(output, "checkpoint.parts") && strstr(output, "spot_grace"), "%s", output);
    free(output);
    free(arguments);
    char *probe = tarn_test_format("%s/ckpt/.tmp-spot-probe", folder);
    cr_expect(access(probe, F_OK));
    free(probe);
    output = tarn("", 0, 0, "train run.yaml train.steps=3 spot=off spot_grace=0.00001 --quiet");
    cr_expect_null(strstr(output, "a notice leaves"), "%s", output);
    free(output);
}

Test(spot, what_makes_no_sense_is_refused)
{
    static const struct {
        const char *environment, *arguments, *words;
    } cases[] = {{"", "spot=amazon", "spot"},
                 {"TARN_SPOT=amazon", "", "TARN_SPOT) is \"amazon\": expected auto, aws, gcp, azure or off"},
                 {"", "spot_endpoint=ftp://x", "must begin with http:// or https://"},
                 {"TARN_SPOT_ENDPOINT=169.254.169.254", "", "TARN_SPOT_ENDPOINT"},
                 {"", "spot_grace=-1", "spot_grace"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *arguments = tarn_test_format("train run.yaml train.steps=2 --quiet %s", cases[i].arguments);
        char *output = tarn(cases[i].environment, 0, 2, arguments);
        cr_expect(strstr(output, cases[i].words), "case %zu: no \"%s\" in %s", i, cases[i].words, output);
        free(output);
        free(arguments);
    }
}
