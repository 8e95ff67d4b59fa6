/* test_monitor.c - what whoever watches a rank sees and may do: the channel to a supervisor (played by this test, see
 * hub.h), and what a rank does when the supervisor is gone, silent or wrong. tests/test_monitor_hang.c has ranks that
 * do not go on. */
#include "runtime/base/context.h"
#include "runtime/monitor/monitor_internal.h"
#include "tests/monitor_support.h"

#include <criterion/criterion.h>
#include <signal.h>

/* ---- without ranks ----------------------------------------------------------------------------------------------- */

Test(monitor, texts_are_whole_and_cut_between_characters)
{
    static monitor_text text;
    char out[TARN_MONITOR_TEXT], long_text[300];
    tarn_monitor_text_write(&text, "a label on somebody's stack");
    tarn_monitor_text_read(&text, out);
    cr_assert_str_eq(out, "a label on somebody's stack");
    tarn_monitor_text_write(&text, "short");
    tarn_monitor_text_read(&text, out);
    cr_assert_str_eq(out, "short");
    for (int i = 0; i < 148; i++) memcpy(long_text + 2 * i, "\xc3\xa4", 3); /* 127 is in the middle of an umlaut */
    tarn_monitor_text_write(&text, long_text);
    tarn_monitor_text_read(&text, out);
    cr_assert(strlen(out) == 126 && !strncmp(out, long_text, 126), "%zu", strlen(out));
}

static monitor_text shared_text;
static atomic_bool text_done;

static void *write_texts(void *argument)
{
    (void)argument;
    char text[101];
    for (int i = 0; i < 200000; i++) {
        memset(text, 'a' + i % 26, 100);
        text[20 + i % 81] = '\0';
        tarn_monitor_text_write(&shared_text, text);
    }
    atomic_store(&text_done, true);
    return NULL;
}

Test(monitor, a_text_read_while_it_is_written_is_of_one_piece)
{
    pthread_t thread;
    cr_assert(!pthread_create(&thread, NULL, write_texts, NULL));
    for (long reads = 0; !atomic_load(&text_done); reads++) {
        char out[TARN_MONITOR_TEXT];
        tarn_monitor_text_read(&shared_text, out);
        for (size_t i = 1; i < strlen(out); i++) cr_assert(out[i] == out[0], "read %ld: %s", reads, out);
    }
    pthread_join(thread, NULL);
}

static void *work_once(void *argument)
{
    tarn_monitor_progress(NULL);
    return argument;
}

Test(monitor, the_counter_survives_threads_and_their_places_are_used_again)
{
    uint64_t before = tarn_place_total();
    for (int i = 0; i < 1000; i++) {
        pthread_t thread;
        cr_assert(!pthread_create(&thread, NULL, work_once, NULL));
        pthread_join(thread, NULL);
    }
    cr_assert(tarn_place_total() == before + 1000);
    int places = 0;
    for (const tarn_place *place = tarn_place_here(); place; place = place->next) places++;
    cr_assert(places < 10, "%d places", places);
}

Test(monitor, the_first_reason_of_a_stop_stays)
{
    cr_assert(!tarn_stop_requested() && !tarn_stop_reason());
    tarn_request_stop();
    cr_assert_str_eq(tarn_stop_reason(), "the program");
    tarn_stop_because("spot aws host H: terminate\nat noon");
    cr_assert_str_eq(tarn_stop_reason(), "spot aws host H: terminate at noon");
    tarn_stop_because("supervisor");
    cr_assert_str_eq(tarn_stop_reason(), "spot aws host H: terminate at noon");
}

Test(monitor, a_single_process_has_none)
{
    tarn_context *context;
    cr_assert(!tarn_context_open(&context, NULL, NULL));
    cr_assert(!context->monitor && !tarn_monitor_supervised(context));
    tarn_monitor_enter(context, "nothing %d", 1);
    tarn_monitor_waiting(context, true, NULL);
    tarn_monitor_tell(context, "saved 1");
    cr_assert(tarn_exit(context) == 0);
}

/* ---- the channel ------------------------------------------------------------------------------------------------- */

Test(channel, an_address_that_makes_no_sense)
{
    static const char *const wrong[] = {"nonsense", "127.0.0.1:12", "127.0.0.1:x/abc", ":80/abc", "127.0.0.1:80/"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        setenv("TARN_SUPERVISOR", wrong[i], 1);
        char *output;
        int code = tarn_test_mpirun(0, "case_monitor train 4 ''", &output);
        cr_assert(code == 2 && has(output, wrong[i]) && has(output, "/TOKEN"), "%s: %d: %s", wrong[i], code, output);
        free(output);
    }
}

Test(channel, a_run_from_hello_to_bye, .timeout = 120)
{
    cr_assert(hub_start(&hub, answer_ok));
    char *folder = tarn_test_directory(), *output;
    char *command = tarn_test_format("case_monitor train 100 %s/c", folder);
    int code = tarn_test_mpirun(2, command, &output);
    char *log = hub_log(&hub), expected[200];
    cr_assert(code == 0, "%d: %s", code, output);
    for (int rank = 0; rank < 2; rank++) {
        snprintf(expected, sizeof expected, "%d hello " HUB_TOKEN " 1 %d 2 ", rank, rank);
        cr_assert(has(log, expected), "%s", log);
        snprintf(expected, sizeof expected, "%d bye 0\n", rank);
        cr_assert(has(log, expected), "%s", log);
    }
    snprintf(expected, sizeof expected, "0 directory %s/c\n", folder);
    cr_assert(has(log, expected) && has(log, "\n0 resumed 0\n") && has(log, "\n0 saved 100\n") &&
                  !has(log, "\n1 saved"),
              "%s", log);
    cr_assert(has(log, ": in the progress function\n"), "where it is most of the time: %s", log);
    cr_assert(!has(log, "failed") && !has(log, "stopping"), "%s", log);
    tarn_test_remove(folder);
    free(command);
    free(folder);
    free(output);
    free(log);
}

/* `claimed` comes at the second report of a rank 0 that waits for it. */
static bool answer_claimed(tarn_test_hub *self, int connection, int rank, const char *line)
{
    answer_ok(self, connection, rank, line);
    if (rank == 0 && has(line, "waiting for the supervisor to claim") && ++self->state == 2)
        hub_say(connection, "claimed");
    return true;
}

Test(channel, the_claim_is_waited_for_no_longer_than_told, .timeout = 180)
{
    static const struct {
        bool (*answer)(tarn_test_hub *, int, int, const char *);
        const char *seconds;
    } table[] = {{answer_claimed, "100000"}, {answer_ok, "2"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        cr_assert(hub_start(&hub, table[i].answer));
        setenv("TARN_CLAIM_SECONDS", table[i].seconds, 1);
        char *folder = tarn_test_directory(), *output;
        char *command = tarn_test_format("case_monitor train 5 %s/c", folder);
        int code = tarn_test_mpirun(2, command, &output);
        char *log = hub_log(&hub);
        cr_assert(code == 0, "%d: %s", code, output);
        char *waits = strstr(log, "waiting for the supervisor to claim"), *told = strstr(log, "\n0 directory "),
             *resumed = strstr(log, "\n0 resumed 0\n");
        cr_assert(told && waits > told && resumed > waits, "%s", log);
        tarn_test_remove(folder);
        free(command);
        free(folder);
        free(output);
        free(log);
    }
}

/* Rank 1 is told to stop at its third report. */
static bool answer_stop(tarn_test_hub *self, int connection, int rank, const char *line)
{
    answer_ok(self, connection, rank, line);
    if (rank == 1 && !strncmp(line, "at ", 3) && ++self->state == 3) hub_say(connection, "stop");
    return true;
}

Test(channel, stop_leads_to_a_checkpoint_and_75, .timeout = 120)
{
    cr_assert(hub_start(&hub, answer_stop));
    char *folder = tarn_test_directory(), *output;
    char *command = tarn_test_format("case_monitor train 1000000 %s/c", folder);
    int code = tarn_test_mpirun(2, command, &output);
    char *log = hub_log(&hub);
    cr_assert(code == 75, "%d: %s", code, output);
    cr_assert(has(log, "\n1 stopping supervisor\n") && has(log, "\n0 saved ") && has(log, "\n0 bye 75\n"), "%s", log);
    cr_assert(!has(log, "failed"), "a stop is no failure: %s", log);
    tarn_test_remove(folder);
    free(command);
    free(folder);
    free(output);
    free(log);
}

static bool answer_nothing(tarn_test_hub *self, int connection, int rank, const char *line)
{
    (void)self, (void)connection, (void)rank, (void)line;
    return true;
}

static bool hang_up_at_once(tarn_test_hub *self, int connection, int rank, const char *line)
{
    (void)self, (void)connection, (void)rank, (void)line;
    return false;
}

static bool hang_up_later(tarn_test_hub *self, int connection, int rank, const char *line)
{
    answer_ok(self, connection, rank, line);
    return self->reports < 3;
}

/* One rank, which would train for hours, ends with code 1 and says `expected`. */
static void ends_and_says(bool (*answer)(tarn_test_hub *, int, int, const char *), const char *expected)
{
    if (answer) cr_assert(hub_start(&hub, answer));
    char *folder = tarn_test_directory(), *output;
    char *command = tarn_test_format("case_monitor train 1000000 %s/c", folder);
    int code = tarn_test_mpirun(0, command, &output);
    cr_assert(code == 1 && has(output, expected) && has(output, "rank 0 on host"), "%d: %s", code, output);
    tarn_test_remove(folder);
    free(command);
    free(folder);
    free(output);
}

Test(channel, a_rank_that_lost_its_supervisor_ends, .timeout = 120)
{
    ends_and_says(hang_up_later, "the supervisor has gone");
}

Test(channel, a_rank_the_supervisor_refuses_ends, .timeout = 120)
{
    ends_and_says(hang_up_at_once, "closed the connection without a word");
}

Test(channel, a_supervisor_that_is_not_there, .timeout = 120)
{
    setenv("TARN_HANG_SECONDS", "2", 1);
    setenv("TARN_SUPERVISOR", "127.0.0.1:9/" HUB_TOKEN, 1);
    ends_and_says(NULL, "no word from the supervisor");
}

Test(channel, a_rank_beyond_a_partition_ends, .timeout = 120)
{
    setenv("TARN_HANG_SECONDS", "2", 1);
    ends_and_says(answer_nothing, "no word from the supervisor for 2 s");
}

/* Silent for the first 8 reports of a rank, of a second each, less than the limit. */
static bool answer_late(tarn_test_hub *self, int connection, int rank, const char *line)
{
    if (self->reports > 6) answer_ok(self, connection, rank, line);
    return true;
}

Test(channel, a_supervisor_that_pauses_kills_nobody, .timeout = 120)
{
    setenv("TARN_HANG_SECONDS", "30", 1);
    cr_assert(hub_start(&hub, answer_late));
    char *folder = tarn_test_directory(), *output;
    char *command = tarn_test_format("case_monitor train 400 %s/c", folder);
    int code = tarn_test_mpirun(0, command, &output);
    char *log = hub_log(&hub);
    cr_assert(code == 0 && has(log, "\n0 bye 0\n") && hub.reports > 6, "%d: %s%s", code, output, log);
    tarn_test_remove(folder);
    free(command);
    free(folder);
    free(output);
    free(log);
}

static bool stop_the_rank(tarn_test_hub *self, int connection, int rank, const char *line)
{
    int pid;
    if (sscanf(line, "hello %*s 1 %*d %*d %d", &pid) == 1) self->state = pid;
    return answer_ok(self, connection, rank, line);
}

/* Stopped for longer than the limit, and the limit is over when it wakes up: it hears first, then judges. */
static void *stop_and_go_on(void *argument)
{
    tarn_test_hub *self = argument;
    int pid = 0;
    for (int i = 0; i < 600; i++) {
        pthread_mutex_lock(&self->lock);
        pid = self->reports ? self->state : 0;
        pthread_mutex_unlock(&self->lock);
        if (pid) break;
        usleep(50000);
    }
    if (!pid) return NULL;
    kill(pid, SIGSTOP);
    sleep(8);
    kill(pid, SIGCONT);
    return NULL;
}

Test(channel, a_rank_that_was_stopped_hears_before_it_judges, .timeout = 120)
{
    setenv("TARN_HANG_SECONDS", "6", 1);
    cr_assert(hub_start(&hub, stop_the_rank));
    pthread_t thread;
    cr_assert(!pthread_create(&thread, NULL, stop_and_go_on, &hub));
    char *folder = tarn_test_directory(), *output;
    char *command = tarn_test_format("case_monitor train 200 %s/c", folder);
    int code = tarn_test_mpirun(0, command, &output);
    pthread_join(thread, NULL);
    char *log = hub_log(&hub);
    cr_assert(code == 0 && has(log, "\n0 bye 0\n"), "%d: %s%s", code, output, log);
    tarn_test_remove(folder);
    free(command);
    free(folder);
    free(output);
    free(log);
}

Test(channel, the_second_address_is_tried, .timeout = 120)
{
    cr_assert(hub_start(&hub, answer_ok));
    char text[200];
    snprintf(text, sizeof text, "no-such-host.invalid,127.0.0.2,127.0.0.1:%d/" HUB_TOKEN, hub.port);
    setenv("TARN_SUPERVISOR", text, 1);
    char *folder = tarn_test_directory(), *output;
    char *command = tarn_test_format("case_monitor train 100 %s/c", folder);
    int code = tarn_test_mpirun(0, command, &output);
    char *log = hub_log(&hub);
    cr_assert(code == 0 && has(log, "0 hello " HUB_TOKEN " 1 0 1 ") && has(log, "\n0 saved 100\n"), "%d: %s%s", code,
              output, log);
    tarn_test_remove(folder);
    free(command);
    free(folder);
    free(output);
    free(log);
}

Test(channel, the_first_error_is_told, .timeout = 120)
{
    cr_assert(hub_start(&hub, answer_ok));
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor train 5 /dev/null/c", &output);
    char *log = hub_log(&hub);
    cr_assert(code != 0 && has(log, "0 failed io ") && has(log, "/dev/null/c"), "%d: %s%s", code, output, log);
    free(output);
    free(log);
}
