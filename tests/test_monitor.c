/* test_monitor.c - what whoever watches a rank sees and may do: the channel to a supervisor (played by this test, see
 * hub.h), what a rank does when the supervisor is gone, silent or wrong, stacks, the watch of a run without supervisor,
 * and deadlines of waits that MPI makes. */
#include "runtime/base/context.h"
#include "runtime/monitor/monitor_internal.h"
#include "tests/hub.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <time.h>

static bool has(const char *text, const char *part)
{
    return text && strstr(text, part);
}

static tarn_test_hub hub;

static bool answer_ok(tarn_test_hub *self, int connection, int rank, const char *line)
{
    (void)self, (void)rank;
    if (!strncmp(line, "at ", 3)) hub_say(connection, "ok");
    return true;
}

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

/* ---- hangs ------------------------------------------------------------------------------------------------------- */

/* Asks a rank that stands still without waiting for its stacks, and hangs up when they are here. */
static bool answer_stacks(tarn_test_hub *self, int connection, int rank, const char *line)
{
    long long step;
    unsigned long long progress;
    int waits;
    double seconds;
    answer_ok(self, connection, rank, line);
    if (!self->state && sscanf(line, "at %lld %llu %d %lf", &step, &progress, &waits, &seconds) == 4 && !waits &&
        step >= 0 && seconds > 1) {
        self->state = 1;
        hub_say(connection, "stacks");
    }
    return strcmp(line, "stack .");
}

Test(hang, the_supervisor_sees_where_and_gets_the_stacks, .timeout = 120)
{
    cr_assert(hub_start(&hub, answer_stacks));
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor hang 1 3", &output);
    char *log = hub_log(&hub);
    cr_assert(code != 0, "%s", output);
    cr_assert(has(log, "step 3: shard 1, after op linear [case_monitor.c:"), "%s", log);
    cr_assert(has(log, "\n1 stack rank 1 on host ") && has(log, "\n1 stack ."), "%s", log);
    cr_assert(has(log, "case_monitor_stuck_here+0x") && has(log, "the main thread"), "%s", log);
    cr_assert(has(log, "waiting for rank 1"), "rank 0 knows for whom: %s", log);
    free(output);
    free(log);
}

/* Without a supervisor the rank that hangs names itself, and nobody waits any longer. */
Test(hang, a_rank_without_supervisor_ends_the_job, .timeout = 120)
{
    setenv("TARN_TEST_HEALTH", "3", 1);
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor hang 1 3", &output);
    cr_assert(code == 1, "%d: %s", code, output);
    cr_assert(has(output, "rank 1 on host ") && has(output, "no progress for 3 s at step 3: shard 1, after op linear"),
              "%s", output);
    cr_assert(has(output, "stack: ") && has(output, "case_monitor_stuck_here+0x"), "%s", output);
    const char *hung = strstr(output, "no progress"), *waited = strstr(output, "rank 0 waited");
    cr_assert(!waited || hung < waited, "the one that hangs is named first: %s", output);
    free(output);
}

Test(hang, who_says_that_it_works_is_left_alone, .timeout = 120)
{
    setenv("TARN_TEST_HEALTH", "4", 1);
    setenv("TARN_COMM_TIMEOUT", "60", 1); /* the other rank waits */
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor slow 1 3 7", &output);
    cr_assert(code == 0, "%d: %s", code, output);
    free(output);
}

Test(hang, waits_follow_the_limit_of_the_run, .timeout = 120)
{
    setenv("TARN_TEST_HEALTH", "3", 1);
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor slow 1 3 40", &output);
    cr_assert(code == 1 && has(output, "rank 0 waited 3 s for rank 1 at: "), "%d: %s", code, output);
    free(output);
}

Test(hang, a_rank_that_never_comes, .timeout = 120)
{
    setenv("TARN_COMM_TIMEOUT", "3", 1);
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor late 60", &output);
    cr_assert(code == 1 && has(output, "rank 0 on host ") && has(output, "MPI_Init"), "%d: %s", code, output);
    free(output);
}

Test(hang, a_rank_that_never_leaves, .timeout = 120)
{
    setenv("TARN_COMM_TIMEOUT", "3", 1);
    char *output;
    int code = tarn_test_mpirun(2, "case_monitor linger 60", &output);
    cr_assert(code == 1 && has(output, "rank 0 on host ") && has(output, "MPI_Finalize"), "%d: %s", code, output);
    free(output);
}

/* ---- orphans ----------------------------------------------------------------------------------------------------- */

static int pids_of(const char *path, pid_t pids[2])
{
    char *text = tarn_test_read(path, NULL);
    int found = 0;
    for (const char *at = text; at && found < 2 && (at = strstr(at, "pid ")); at += 4)
        pids[found++] = (pid_t)atol(at + 4);
    free(text);
    return found;
}

/* Gone, or dead and not yet buried by whoever inherited it. */
static bool is_gone(pid_t pid)
{
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (!file) return true;
    int fields = fscanf(file, "%*d (%*[^)]) %c", &state);
    fclose(file);
    return fields == 1 && (state == 'Z' || state == 'X');
}

/* MPI ends ranks that lost their mpirun, too, unless they hang: this one has a launcher without MPI. */
Test(orphans, a_killed_launcher_leaves_no_rank, .timeout = 120)
{
    cr_assert(hub_start(&hub, answer_ok));
    char *folder = tarn_test_directory();
    char *log = tarn_test_format("%s/log", folder), *checkpoints = tarn_test_format("%s/c", folder);
    pid_t launcher = fork();
    if (!launcher) {
        int out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(out, 1);
        dup2(out, 2);
        if (!fork()) {
            execl(TARN_BINARY_DIR "/tests/case_monitor", "case_monitor", "train", "1000000", checkpoints, (char *)NULL);
            _exit(127);
        }
        pause();
        _exit(0);
    }
    pid_t pids[2] = {0};
    for (int i = 0; i < 600; i++) {
        char *heard = hub_log(&hub);
        bool training = has(heard, "0 at ") && has(heard, "step ");
        free(heard);
        if (training && pids_of(log, pids) == 1) break;
        usleep(100000);
    }
    cr_assert(pids[0] > 0 && !is_gone(pids[0]));
    kill(launcher, SIGKILL);
    waitpid(launcher, NULL, 0);
    bool gone = false;
    for (int i = 0; i < 100 && !gone; i++) {
        gone = is_gone(pids[0]);
        usleep(100000);
    }
    if (!gone) kill(pids[0], SIGKILL);
    cr_assert(gone, "rank %d outlives its launcher", (int)pids[0]);
    tarn_test_remove(folder);
    free(log);
    free(checkpoints);
    free(folder);
}

Test(orphans, a_killed_mpirun_leaves_no_rank, .timeout = 120)
{
    cr_assert(hub_start(&hub, answer_ok));
    char *folder = tarn_test_directory();
    char *log = tarn_test_format("%s/log", folder), *checkpoints = tarn_test_format("%s/c", folder);
    tarn_test_mpi mpi; /* what a killed mpirun leaves behind lies there */
    tarn_test_mpi_begin(&mpi);
    pid_t mpirun = fork();
    if (!mpirun) {
        int out = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(out, 1);
        dup2(out, 2);
        execlp("mpirun", "mpirun", "--oversubscribe", "--bind-to", "none", "-n", "2",
               TARN_BINARY_DIR "/tests/case_monitor", "train", "1000000", checkpoints, (char *)NULL);
        _exit(127);
    }
    pid_t pids[2] = {0};
    for (int i = 0; i < 600; i++) {
        char *heard = hub_log(&hub);
        bool training = has(heard, "0 at ") && has(heard, "1 at ") && has(heard, "step ");
        free(heard);
        if (training && pids_of(log, pids) == 2) break;
        usleep(100000);
    }
    cr_assert(pids[0] > 0 && pids[1] > 0 && !is_gone(pids[0]) && !is_gone(pids[1]));
    kill(mpirun, SIGKILL);
    waitpid(mpirun, NULL, 0);
    bool gone = false;
    for (int i = 0; i < 100 && !gone; i++) {
        gone = is_gone(pids[0]) && is_gone(pids[1]);
        usleep(100000);
    }
    for (int i = 0; i < 2; i++)
        if (!is_gone(pids[i])) kill(pids[i], SIGKILL);
    cr_assert(gone, "ranks %d and %d outlive their mpirun", (int)pids[0], (int)pids[1]);
    tarn_test_mpi_end(&mpi);
    tarn_test_remove(folder);
    free(log);
    free(checkpoints);
    free(folder);
}
