/* test_supervisor.c - the parts of `tarn run`, each by itself: what ranks and strangers say (hub), where there is room
 * (hosts), the status file, the workspace. What may wait: tests/test_errands.c; what it decides:
 * tests/test_supervisor_policy.c; the whole: tests/test_run.c.
 */
#include "launch/supervisor/hosts.h"
#include "launch/supervisor/hub.h"
#include "launch/supervisor/status.h"
#include "launch/supervisor/workspace.h"
#include "runtime/base/context.h"
#include "tests/support.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>

/* ---- hub --------------------------------------------------------------------------------------------------------- */

static tarn_hub hub;

static void start_hub(void)
{
    cr_assert(tarn_hub_open(&hub, false));
    cr_assert(tarn_hub_begin(&hub, 2));
}

static void end_hub(void)
{
    tarn_hub_close(&hub);
}

TestSuite(hub, .init = start_hub, .fini = end_hub, .timeout = 60);

static int dial(void)
{
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)hub.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert(!connect(file, (struct sockaddr *)&to, sizeof to));
    return file;
}

__attribute__((format(printf, 2, 3))) static void say(int file, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char line[20000];
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    cr_assert_eq(send(file, line, (size_t)length, MSG_NOSIGNAL), length);
    for (int i = 0; i < 5; i++) tarn_hub_serve(&hub, -1, 20);
}

static bool closed(int file)
{
    char byte;
    for (int i = 0; i < 100; i++) {
        ssize_t got = recv(file, &byte, 1, MSG_DONTWAIT);
        if (!got || (got < 0 && errno != EAGAIN)) return true;
        tarn_hub_serve(&hub, -1, 10);
    }
    return false;
}

static char *heard(int file)
{
    static char text[4096];
    ssize_t got = recv(file, text, sizeof text - 1, MSG_DONTWAIT);
    text[got > 0 ? got : 0] = 0;
    return text;
}

Test(hub, a_rank_tells_and_is_answered)
{
    int rank = dial();
    say(rank, "hello %s 1 1 2 4242 a-host\nat 17 100 1 0.0 step 17: waiting for rank 0\n", hub.token);
    const tarn_hub_rank *known = &hub.rank[1];
    cr_expect(known->known && known->connected && known->pid == 4242 && known->step == 17 && known->waiting);
    cr_expect_str_eq(known->host, "a-host");
    cr_expect_str_eq(known->what, "step 17: waiting for rank 0");
    cr_expect_str_eq(heard(rank), "ok\n");
    say(rank, "directory /some where\nresumed 10\nsaved 15\nfuture words of a newer rank\n");
    cr_expect_str_eq(hub.directory, "/some where");
    cr_expect(hub.directory_told && !*heard(rank), "answered when it is claimed");
    tarn_hub_claimed(&hub);
    cr_expect_str_eq(heard(rank), "claimed\n");
    cr_expect(!hub.directory_told);
    cr_expect(hub.resumed == 10 && hub.saved == 15 && hub.reached == 17);
    say(rank, "failed io the disk is gone: buy another\n");
    cr_expect(known->failed && !strcmp(known->status, "io") &&
              !strcmp(known->message, "the disk is gone: buy another"));
    tarn_hub_stop(&hub);
    cr_expect_str_eq(heard(rank), "stop\n");
    say(rank, "stopping spot aws host a-host: terminate\nstopping supervisor\nbye 75\n");
    cr_expect_str_eq(hub.stopping, "spot aws host a-host: terminate");
    close(rank);
    tarn_hub_serve(&hub, -1, 100);
    cr_expect(known->bye && known->bye_code == 75 && !known->lost && !known->connected && hub.first_lost == 0);
}

Test(hub, who_waits_hears_whether_another_rank_works)
{
    int worker = dial(), waiter = dial();
    say(worker, "hello %s 1 0 2 1 h\nat 3 100 0 0.0 computing\n", hub.token);
    say(waiter, "hello %s 1 1 2 2 h\nat 3 50 1 9.0 waiting for rank 0\n", hub.token);
    cr_expect_str_eq(heard(waiter), "ok working\n");
    hub.rank[0].moved = hub.rank[1].moved = tarn_seconds() - 10; /* nobody has done anything for a while */
    say(waiter, "at 3 50 1 19.0 waiting for rank 0\n");
    cr_expect_str_eq(heard(waiter), "ok\n");
    close(worker);
    close(waiter);
}

Test(hub, a_connection_that_ends_without_bye_is_a_lost_rank)
{
    int first = dial(), second = dial();
    say(first, "hello %s 1 0 2 1 h\n", hub.token);
    say(second, "hello %s 1 1 2 2 h\n", hub.token);
    cr_expect_eq(tarn_hub_known(&hub), 2);
    close(second);
    for (int i = 0; i < 10 && !hub.rank[1].lost; i++) tarn_hub_serve(&hub, -1, 100);
    cr_expect(hub.rank[1].lost && !hub.rank[0].lost && hub.first_lost > 0 && hub.first_lost_rank == 1);
    close(first);
}

Test(hub, strangers_change_nothing)
{
    static const char *const words[] = {"GET / HTTP/1.1\r\n\r\n", "hello 00000000000000000000000000000000 1 0 2 1 h\n",
                                        "at 5 5 0 0 x\n", "\n\n\n"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        int file = dial();
        say(file, "%s", words[i]);
        cr_expect(closed(file), "%s", words[i]);
        close(file);
    }
    int wrong = dial();
    say(wrong, "hello %s 1 2 3 1 h\n", hub.token);
    cr_expect(closed(wrong), "a rank beyond the last");
    close(wrong);
    int version = dial();
    say(version, "hello %s 2 0 2 1 h\n", hub.token);
    cr_expect(closed(version), "another protocol");
    close(version);
    cr_expect_eq(tarn_hub_known(&hub), 0);
    cr_expect(hub.reached == -1 && hub.first_lost == 0);
}

Test(hub, the_token_of_an_earlier_launch_is_no_longer_good)
{
    char before[TARN_HUB_TOKEN + 1];
    strcpy(before, hub.token);
    int old = dial();
    say(old, "hello %s 1 0 2 1 h\n", before);
    cr_assert(tarn_hub_begin(&hub, 2));
    cr_expect(closed(old));
    cr_expect_str_neq(before, hub.token);
    int file = dial();
    say(file, "hello %s 1 0 2 1 h\n", before);
    cr_expect(closed(file));
    cr_expect_eq(tarn_hub_known(&hub), 0);
    close(file);
    close(old);
}

Test(hub, long_lines_are_cut_and_lines_in_pieces_are_joined)
{
    int rank = dial();
    char *longer = malloc(15001);
    memset(longer, 'x', 15000);
    longer[15000] = 0;
    say(rank, "hello %s 1 0 2 1 h\nfailed io %s\nsaved 7\n", hub.token, longer);
    cr_expect(hub.rank[0].failed && hub.rank[0].message[0] == 'x' && hub.saved == 7);
    say(rank, "sav");
    say(rank, "ed 9");
    cr_expect_eq(hub.saved, 7);
    say(rank, "\n");
    cr_expect_eq(hub.saved, 9);
    cr_expect(!hub.rank[0].lost);
    free(longer);
    close(rank);
}

Test(hub, who_says_hello_late_is_told_to_stop_and_stacks_are_collected)
{
    tarn_hub_stop(&hub);
    int rank = dial();
    say(rank, "hello %s 1 0 2 1 h\n", hub.token);
    cr_expect_str_eq(heard(rank), "stop\n");
    tarn_hub_ask_stacks(&hub);
    cr_expect_str_eq(heard(rank), "stacks\n");
    say(rank, "stack thread main\nstack   at step\n");
    cr_expect(!hub.rank[0].stacks_complete);
    say(rank, "stack .\n");
    cr_expect(hub.rank[0].stacks_complete);
    cr_expect_str_eq(hub.rank[0].stacks, "thread main\n  at step\n");
    close(rank);
}

Test(hub, many_strangers_keep_no_rank_out)
{
    int strangers[80];
    for (int i = 0; i < 80; i++) {
        strangers[i] = dial();
        tarn_hub_serve(&hub, -1, 0);
    }
    for (int i = 0; i < 80; i++) close(strangers[i]);
    for (int i = 0; i < 20; i++) tarn_hub_serve(&hub, -1, 10);
    int rank = dial();
    say(rank, "hello %s 1 0 2 1 h\n", hub.token);
    cr_expect_eq(tarn_hub_known(&hub), 1);
    close(rank);
}

/* ---- hosts ------------------------------------------------------------------------------------------------------- */

Test(hosts, lists_and_files_are_mpiruns)
{
    tarn_hosts hosts = {0};
    char problem[512], place[256];
    cr_assert(tarn_hosts_read_list(&hosts, "localhost:2,b:3,c,c", problem, sizeof problem));
    cr_assert_eq(hosts.count, 3);
    cr_expect(hosts.host[0].slots == 2 && hosts.host[1].slots == 3 && hosts.host[2].slots == 2);
    cr_expect(hosts.host[0].local && hosts.host[0].answers && !hosts.host[1].local && !hosts.host[1].answers);
    cr_expect_eq(tarn_hosts_slots(&hosts, 0), 2, "only who answers counts");
    hosts.host[1].answers = hosts.host[2].answers = true;
    cr_expect_eq(tarn_hosts_assign(&hosts, 6, 0, place, sizeof place), 6);
    cr_expect_str_eq(place, "localhost:2,b:3,c:1");
    cr_expect_str_eq(tarn_hosts_of_rank(&hosts, 4)->name, "b");
    hosts.host[1].rests_until = 10;
    cr_expect_eq(tarn_hosts_assign(&hosts, 6, 5, place, sizeof place), 4);
    cr_expect_str_eq(place, "localhost:2,c:2");
    char *folder = tarn_test_directory(), *path = tarn_test_format("%s/hosts", folder);
    static const char text[] = "# ours\n\nb slots=4 max_slots=8\n  c   # one\nc\n";
    tarn_test_write(path, text, strlen(text));
    cr_assert(tarn_hosts_read_file(&hosts, path, problem, sizeof problem), "%s", problem);
    cr_expect(hosts.count == 2 && hosts.host[0].slots == 4 && hosts.host[1].slots == 2);
    cr_expect(hosts.host[0].rests_until == 10 && hosts.host[1].answers, "what was known stays");
    tarn_hosts_free(&hosts);
    tarn_test_remove(folder);
    free(path);
    free(folder);
}

Test(hosts, one_host_at_a_time_is_left_out)
{
    char problem[512];
    tarn_hosts hosts = {0};
    int turn = 0;
    cr_assert(tarn_hosts_read_list(&hosts, "localhost:1,b:2,c:1", problem, sizeof problem));
    hosts.host[1].answers = hosts.host[2].answers = true;
    tarn_host *out = tarn_hosts_leave_out(&hosts, &turn, 1, 100, 10);
    cr_assert(out);
    cr_expect_str_eq(out->name, "c");
    cr_expect_eq(tarn_hosts_slots(&hosts, 50), 3);
    /* It helped until the rest was over: the same again. */
    cr_expect_eq(tarn_hosts_slots(&hosts, 111), 4);
    cr_assert_eq(tarn_hosts_leave_out(&hosts, &turn, 1, 100, 120), out);
    /* It did not help: the other one in its place. */
    out = tarn_hosts_leave_out(&hosts, &turn, 1, 100, 130);
    cr_assert(out);
    cr_expect_str_eq(out->name, "b");
    cr_expect_eq(tarn_hosts_slots(&hosts, 140), 2);
    /* All tried: from the beginning. The least number of slots, and the own host, stay. */
    out = tarn_hosts_leave_out(&hosts, &turn, 1, 100, 150);
    cr_assert(out);
    cr_expect_str_eq(out->name, "c");
    cr_expect_null(tarn_hosts_leave_out(&hosts, &turn, 3, 100, 160), "b has 2 of the 4 slots");
    cr_expect_eq(tarn_hosts_slots(&hosts, 161), 4);
    tarn_hosts_free(&hosts);
}

Test(hosts, what_is_no_host_is_refused_and_nothing_changes)
{
    static const char *const lists[] = {"a:x", "a:-1", ":3", "a,,b", "", "a:1,b:2z"};
    static const char *const files[] = {"a slots=x\n", "a b\n", "a slots=2 max=3\n", "a slots\n"};
    tarn_hosts hosts = {0};
    char problem[512];
    cr_assert(tarn_hosts_read_list(&hosts, "keep:2", problem, sizeof problem));
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        cr_expect(!tarn_hosts_read_list(&hosts, lists[i], problem, sizeof problem), "'%s'", lists[i]);
        cr_expect(strstr(problem, "--host"), "%s", problem);
    }
    char *folder = tarn_test_directory(), *path = tarn_test_format("%s/hosts", folder);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        tarn_test_write(path, files[i], strlen(files[i]));
        cr_expect(!tarn_hosts_read_file(&hosts, path, problem, sizeof problem), "%s", files[i]);
        cr_expect(strstr(problem, "hosts:1"), "%s", problem);
    }
    cr_expect(hosts.count == 1 && hosts.host[0].slots == 2);
    tarn_hosts_free(&hosts);
    tarn_test_remove(folder);
    free(path);
    free(folder);
}

/* ---- status file ------------------------------------------------------------------------------------------------- */

static char *status_path(const char *folder)
{
    return tarn_test_format("%s/supervisor.json", folder);
}

/* Claims and takes over what is there. */
static tarn_status_claim claim(tarn_status_file *file, tarn_run_status *status, const char *path)
{
    char *text;
    int error;
    tarn_run_status_start(status, NULL);
    tarn_status_claim result = tarn_status_file_claim(file, path, &text, &error);
    if (result == TARN_STATUS_CLAIMED) tarn_run_status_inherit(status, text);
    free(text);
    return result;
}

static void write_status(tarn_status_file *file, const tarn_run_status *status, bool durable)
{
    int error;
    char *text = tarn_run_status_print(status);
    cr_expect(tarn_status_file_replace(file, text, durable, &error), "%s", strerror(error));
    free(text);
}

Test(status, one_supervisor_has_it_and_the_next_inherits)
{
    static char *program[] = {(char *)(uintptr_t) "x", NULL};
    char *folder = tarn_test_directory(), *path = status_path(folder), problem[2048], *text;
    tarn_run_status *first = calloc(3, sizeof *first), *second = first + 1, *third = first + 2;
    tarn_status_file one = {.lock = -1}, two = {.lock = -1}, three = {.lock = -1};
    int error;
    cr_assert_eq(claim(&one, first, path), TARN_STATUS_CLAIMED);
    first->program = program;
    first->highest = 123;
    first->stalled = 2;
    snprintf(first->state, sizeof first->state, "running");
    tarn_run_status_event(first, "start", -1, -1, "2 ranks \"quoted\" \xc3\xa4");
    for (int i = 0; i < 3; i++) write_status(&one, first, false);
    cr_expect_eq(tarn_status_file_claim(&two, path, &text, &error), TARN_STATUS_HELD);
    tarn_run_status_name_holder(path, text, problem, sizeof problem);
    free(text);
    char *pid = tarn_test_format("process %d", (int)getpid());
    cr_expect(strstr(problem, pid), "%s", problem);
    tarn_status_file_close(&one); /* as its death would */
    cr_assert_eq(claim(&two, second, path), TARN_STATUS_CLAIMED);
    cr_expect(second->highest == 123 && second->inherited_stalled == 2 && second->inherited_killed);
    cr_expect_eq(second->events, 1);
    cr_expect_str_eq(second->event[0].message, "2 ranks \"quoted\" \xc3\xa4");
    snprintf(second->state, sizeof second->state, "failed");
    write_status(&two, second, true);
    tarn_status_file_close(&two);
    cr_assert_eq(claim(&three, third, path), TARN_STATUS_CLAIMED);
    cr_expect(third->highest == 123 && third->inherited_stalled == 0 && !third->inherited_killed);
    char *temporary = tarn_test_format("%s.tmp", path);
    cr_expect(access(temporary, F_OK), "no temporary file is left");
    tarn_status_file_close(&three);
    tarn_test_remove(folder);
    free(temporary);
    free(pid);
    free(first);
    free(path);
    free(folder);
}

/* In place of libc's, for this program alone. */
static int syncs;
int fsync(int file)
{
    (void)file;
    syncs++;
    return 0;
}

Test(status, the_disk_is_synced_only_at_the_end)
{
    char *folder = tarn_test_directory(), *path = status_path(folder);
    tarn_run_status *status = calloc(1, sizeof *status);
    tarn_status_file file = {.lock = -1};
    syncs = 0;
    cr_assert_eq(claim(&file, status, path), TARN_STATUS_CLAIMED);
    for (int i = 0; i < 5; i++) write_status(&file, status, false);
    cr_expect_eq(syncs, 0);
    write_status(&file, status, true);
    cr_expect_eq(syncs, 2, "the file and its folder");
    tarn_status_file_close(&file);
    free(status);
    tarn_test_remove(folder);
    free(path);
    free(folder);
}

Test(status, a_broken_file_is_replaced)
{
    char *folder = tarn_test_directory(), *path = status_path(folder), *text;
    static const char *const contents[] = {"", "{", "[1,2]", "{\"highest_step\": \"x\", \"events\": 3}", "null"};
    tarn_run_status *status = calloc(1, sizeof *status);
    tarn_status_file file = {.lock = -1};
    int error;
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        tarn_test_write(path, contents[i], strlen(contents[i]));
        cr_expect_eq(claim(&file, status, path), TARN_STATUS_CLAIMED, "%s", contents[i]);
        cr_expect_eq(status->highest, -1);
        write_status(&file, status, true);
        tarn_status_file_close(&file);
    }
    cr_expect_eq(tarn_status_file_claim(&file, "/nowhere/at/all.json", &text, &error), TARN_STATUS_BROKEN);
    cr_expect_eq(error, ENOENT);
    free(status);
    tarn_test_remove(folder);
    free(path);
    free(folder);
}

/* ---- workspace --------------------------------------------------------------------------------------------------- */

Test(workspace, what_a_dead_supervisor_left_goes_and_what_a_living_one_has_stays)
{
    char *folder = tarn_test_directory();
    setenv("TMPDIR", folder, 1);
    tarn_workspace living, dead, next;
    const char *what;
    cr_assert(tarn_workspace_open(&living, &what));
    cr_assert(tarn_workspace_open(&dead, &what));
    char *file = tarn_test_format("%s/ompi.x/pid/1", dead.sessions), *folders = tarn_test_format("mkdir -p %s", file);
    cr_assert_eq(system(folders), 0);
    pid_t orphan = fork();
    if (!orphan) {
        setenv("TARN_RUN", dead.name, 1);
        execlp("sleep", "sleep", "600", NULL);
        _exit(127);
    }
    while (!tarn_process_names(orphan, dead.name)) usleep(1000);
    close(dead.sessions_lock);
    close(dead.segments_lock);
    cr_assert(tarn_workspace_open(&next, &what));
    int status;
    cr_expect_eq(waitpid(orphan, &status, 0), orphan);
    cr_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    /* /dev/shm is everybody's: another supervisor may just be removing it. */
    for (int i = 0; i < 1000 && *dead.segments && !access(dead.segments, F_OK); i++) usleep(10000);
    cr_expect(access(dead.sessions, F_OK) && (!*dead.segments || access(dead.segments, F_OK)));
    cr_expect(!access(living.sessions, F_OK) && (!*living.segments || !access(living.segments, F_OK)));
    tarn_workspace_close(&living);
    tarn_workspace_close(&next);
    cr_expect(access(living.sessions, F_OK) && access(next.sessions, F_OK));
    tarn_test_remove(folder);
    free(folders);
    free(file);
    free(folder);
}

/* Supervisors that begin and end side by side: none takes the folders of one that is only just being made. */
Test(workspace, beginnings_and_ends_side_by_side_take_nothing_from_each_other, .timeout = 120)
{
    enum { PROCESSES = 4, TIMES = 150 };
    char *folder = tarn_test_directory();
    setenv("TMPDIR", folder, 1);
    pid_t child[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        child[i] = fork();
        if (child[i]) continue;
        for (int k = 0; k < TIMES; k++) {
            tarn_workspace own;
            const char *what;
            if (!tarn_workspace_open(&own, &what)) _exit(1);
            for (int look = 0; look < 3; look++) {
                if (access(own.sessions, F_OK) || (*own.segments && access(own.segments, F_OK))) _exit(2);
                sched_yield();
            }
            tarn_workspace_close(&own);
            if (!access(own.sessions, F_OK)) _exit(3);
        }
        _exit(0);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;
        cr_expect_eq(waitpid(child[i], &status, 0), child[i]);
        cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0, "ended with %d", WEXITSTATUS(status));
    }
    tarn_test_remove(folder);
    free(folder);
}
