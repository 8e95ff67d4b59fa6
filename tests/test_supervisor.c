/* test_supervisor.c - the parts of `tarn run`, each by itself: what is decided after a launch (policy), who hangs
 * (watch), what ranks and strangers say (hub), where there is room (hosts), the status file. tests/test_run.c has the
 * whole.
 */
#include "launch/supervisor/hosts.h"
#include "launch/supervisor/hub.h"
#include "launch/supervisor/policy.h"
#include "launch/supervisor/status.h"
#include "launch/supervisor/watch.h"
#include "launch/supervisor/workspace.h"
#include "runtime/base/context.h"
#include "tests/support.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>

/* ---- policy ------------------------------------------------------------------------------------------------------
 */

static tarn_policy policy;

static void start_policy(void)
{
    tarn_policy_start(&policy, -1, 3, 0.25);
}

TestSuite(policy, .init = start_policy);

static tarn_decision ends(tarn_end end, int number, int64_t resumed, int64_t reached)
{
    tarn_outcome outcome = {
        .end = end, .number = number, .resumed = resumed, .reached = reached, .older_checkpoint = true};
    return tarn_policy_decide(&policy, &outcome);
}

static void expect_end(tarn_decision decision, int code, const char *word)
{
    cr_expect_eq(decision.action, TARN_END_RUN);
    cr_expect_eq(decision.exit_code, code);
    cr_expect_str_eq(decision.word, word);
}

Test(policy, how_a_launch_can_end)
{
    static const struct {
        const char *name;
        tarn_outcome outcome;
        tarn_action action;
        int code;
        const char *word;
    } table[] = {
        {"finished", {.end = TARN_END_EXIT, .number = 0, .reached = 9}, TARN_END_RUN, 0, "finished"},
        {"finished in spite of a stop",
         {.end = TARN_END_EXIT, .number = 0, .reached = 9, .stop_asked = true},
         TARN_END_RUN,
         0,
         "finished"},
        {"stopped",
         {.end = TARN_END_EXIT, .number = 75, .reached = 9, .stop_asked = true},
         TARN_END_RUN,
         75,
         "stopped"},
        {"a stop that ended in a kill",
         {.end = TARN_END_LOST, .reached = 9, .stop_asked = true},
         TARN_END_RUN,
         75,
         "stopped"},
        {"this host is taken away",
         {.end = TARN_END_EXIT, .number = 75, .reached = 9, .own_host_leaves = true},
         TARN_END_RUN,
         75,
         "stopped"},
        {"wrong before the first step",
         {.end = TARN_END_EXIT, .number = 2, .resumed = -1, .reached = -1},
         TARN_END_RUN,
         2,
         "refused"},
        {"wrong at the first step after a resume",
         {.end = TARN_END_EXIT, .number = 2, .resumed = 50, .reached = 50},
         TARN_END_RUN,
         2,
         "refused"},
        {"wrong, later", {.end = TARN_END_EXIT, .number = 2, .resumed = 0, .reached = 9}, TARN_RESTART, 0, "failed"},
        {"preempted", {.end = TARN_END_EXIT, .number = 75, .reached = 9}, TARN_RESTART, 0, "preempted"},
        {"to grow",
         {.end = TARN_END_EXIT, .number = 75, .reached = 9, .regrow_asked = true},
         TARN_RESTART,
         0,
         "regrow"},
        {"error", {.end = TARN_END_EXIT, .number = 1, .reached = 9}, TARN_RESTART, 0, "failed"},
        {"killed", {.end = TARN_END_SIGNAL, .number = SIGKILL, .reached = 9}, TARN_RESTART, 0, "failed"},
        {"hung", {.end = TARN_END_HUNG, .reached = 9}, TARN_RESTART, 0, "failed"},
        {"lost", {.end = TARN_END_LOST, .reached = 9}, TARN_RESTART, 0, "failed"},
        {"directory busy",
         {.end = TARN_END_EXIT, .number = 1, .reached = -1, .directory_busy = true},
         TARN_RESTART,
         0,
         "busy"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        start_policy();
        tarn_decision decision = tarn_policy_decide(&policy, &table[i].outcome);
        cr_expect_eq(decision.action, table[i].action, "%s", table[i].name);
        cr_expect_str_eq(decision.word, table[i].word, "%s", table[i].name);
        if (decision.action == TARN_END_RUN) cr_expect_eq(decision.exit_code, table[i].code, "%s", table[i].name);
    }
}

Test(policy, back_off_doubles_without_progress_and_is_forgotten_with_it)
{
    policy.max_stalled = 0;
    double expected = 0.25;
    ends(TARN_END_SIGNAL, SIGKILL, 0, 10);
    for (int i = 0; i < 12; i++) {
        tarn_decision decision = ends(TARN_END_SIGNAL, SIGKILL, 0, 10);
        expected = expected < 30 ? 2 * expected : 60;
        if (i == 11) cr_expect_eq(decision.delay, 60);
        cr_expect_eq(decision.action, TARN_RESTART);
        cr_expect_leq(decision.delay, 60);
        cr_expect_leq(decision.delay, expected);
    }
    cr_expect_eq(ends(TARN_END_SIGNAL, SIGKILL, 0, 11).delay, 0.25, "progress");
    cr_expect_eq(ends(TARN_END_SIGNAL, SIGKILL, 0, 11).delay, 0.5);
}

Test(policy, three_stalled_restarts_end_the_run)
{
    cr_expect_eq(ends(TARN_END_HUNG, 0, 0, 17).action, TARN_RESTART, "the first launch got to 17");
    cr_expect_eq(ends(TARN_END_HUNG, 0, 0, 17).action, TARN_RESTART, "1");
    cr_expect_eq(ends(TARN_END_HUNG, 0, 0, 12).action, TARN_RESTART, "2");
    expect_end(ends(TARN_END_HUNG, 0, 0, 17), 1, "stalled");
}

Test(policy, a_step_beyond_the_highest_forgets_stalled_restarts)
{
    ends(TARN_END_HUNG, 0, 0, 17);
    for (int i = 0; i < 10; i++) {
        cr_expect_eq(ends(TARN_END_HUNG, 0, 0, 17 + i).action, TARN_RESTART);
        cr_expect_eq(ends(TARN_END_HUNG, 0, 0, 17 + i).action, TARN_RESTART);
        cr_expect_eq(ends(TARN_END_HUNG, 0, 0, 18 + i).action, TARN_RESTART);
    }
    cr_expect_eq(policy.stalled, 0);
}

Test(policy, a_program_that_never_begins_is_given_up_too)
{
    for (int i = 0; i < 3; i++) cr_expect_eq(ends(TARN_END_EXIT, 1, -1, -1).action, TARN_RESTART, "%d", i);
    expect_end(ends(TARN_END_EXIT, 1, -1, -1), 1, "stalled");
}

Test(policy, what_the_same_files_bring_again_is_not_tried_again_before_any_step)
{
    tarn_outcome broken = {.end = TARN_END_EXIT, .number = 1, .resumed = -1, .reached = -1, .permanent = true};
    expect_end(tarn_policy_decide(&policy, &broken), 1, "permanent");
    start_policy();
    tarn_outcome closed = {.end = TARN_END_EXIT, .number = 1, .resumed = -1, .reached = -1};
    cr_expect_eq(tarn_policy_decide(&policy, &closed).action, TARN_RESTART, "once may be chance");
    closed.told_again = true;
    expect_end(tarn_policy_decide(&policy, &closed), 1, "permanent");
    start_policy();
    cr_expect_eq(ends(TARN_END_SIGNAL, SIGKILL, 0, 10).action, TARN_RESTART);
    cr_expect_eq(tarn_policy_decide(&policy, &broken).action, TARN_RESTART, "the run has worked before");
    cr_expect_eq(tarn_policy_decide(&policy, &closed).action, TARN_RESTART);
}

Test(policy, zero_stalled_never_ends)
{
    policy.max_stalled = 0;
    for (int i = 0; i < 100; i++) cr_expect_eq(ends(TARN_END_SIGNAL, SIGKILL, 0, 5).action, TARN_RESTART);
}

Test(policy, restarts_are_counted_and_limited)
{
    policy.max_restarts = 2;
    cr_expect_eq(ends(TARN_END_EXIT, 1, 0, 10).action, TARN_RESTART);
    cr_expect_eq(ends(TARN_END_EXIT, 75, 0, 15).action, TARN_RESTART, "a pre-emption is no failure");
    expect_end(ends(TARN_END_EXIT, 1, 0, 30), 1, "restarts");
    start_policy();
    policy.max_restarts = 0;
    expect_end(ends(TARN_END_EXIT, 1, 0, 10), 1, "restarts");
}

Test(policy, preemption_with_progress_starts_at_once)
{
    cr_expect_eq(ends(TARN_END_EXIT, 75, 0, 10).delay, 0);
    cr_expect_eq(ends(TARN_END_EXIT, 75, 10, 20).delay, 0);
    cr_expect_gt(ends(TARN_END_EXIT, 75, 20, 20).delay, 0, "without progress: not at full speed for ever");
    ends(TARN_END_EXIT, 75, 20, 20);
    expect_end(ends(TARN_END_EXIT, 75, 20, 20), 1, "stalled");
}

Test(policy, a_busy_directory_is_waited_for_and_not_for_ever)
{
    tarn_outcome busy = {.end = TARN_END_EXIT, .number = 1, .resumed = -1, .reached = -1, .directory_busy = true};
    static const double pauses[] = {1, 2, 4, 4};
    busy.ended = 1000;
    for (size_t i = 0; i < sizeof pauses / sizeof *pauses; i++) {
        tarn_decision decision = tarn_policy_decide(&policy, &busy);
        cr_expect_str_eq(decision.word, "busy");
        cr_expect_eq(decision.delay, pauses[i]);
        busy.ended += 7; /* the clock counts, not the pauses alone */
    }
    tarn_decision last = tarn_policy_decide(&policy, &busy);
    cr_expect(!strcmp(last.word, "busy") && last.delay == 2, "%s %g", last.word, last.delay);
    busy.ended = 1030;
    expect_end(tarn_policy_decide(&policy, &busy), 2, "held");
    cr_expect_eq(policy.stalled, 0, "waiting counted for nothing");
    cr_expect_eq(ends(TARN_END_SIGNAL, SIGKILL, 0, 10).action, TARN_RESTART);
    busy.ended = 2000;
    cr_expect_str_eq(tarn_policy_decide(&policy, &busy).word, "busy", "a new row has its own time");
}

Test(policy, a_checkpoint_is_put_aside_after_three_failures_of_the_program_from_it)
{
    static const struct {
        tarn_end end;
        int number;
        bool aside;
    } table[] = {{TARN_END_EXIT, 1, true},          {TARN_END_SIGNAL, SIGSEGV, true},  {TARN_END_SIGNAL, SIGABRT, true},
                 {TARN_END_SIGNAL, SIGFPE, true},   {TARN_END_SIGNAL, SIGBUS, true},   {TARN_END_SIGNAL, SIGILL, true},
                 {TARN_END_SIGNAL, SIGKILL, false}, {TARN_END_SIGNAL, SIGTERM, false}, {TARN_END_HUNG, 0, false},
                 {TARN_END_LOST, 0, false},         {TARN_END_EXIT, 75, false}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        start_policy();
        policy.max_stalled = 0;
        ends(TARN_END_SIGNAL, SIGKILL, 0, 120);
        ends(table[i].end, table[i].number, 100, 101);
        ends(table[i].end, table[i].number, 100, 100);
        tarn_decision third = ends(table[i].end, table[i].number, 100, 101);
        cr_expect_eq(third.action, table[i].aside ? TARN_QUARANTINE_AND_RESTART : TARN_RESTART, "case %zu", i);
    }
}

Test(policy, what_interrupts_the_row_or_makes_a_step_saves_the_checkpoint)
{
    policy.max_stalled = 0;
    ends(TARN_END_EXIT, 1, 100, 101);
    ends(TARN_END_EXIT, 1, 100, 101);
    ends(TARN_END_SIGNAL, SIGKILL, 100, 101);
    cr_expect_eq(ends(TARN_END_EXIT, 1, 100, 101).action, TARN_RESTART, "a kill between");
    ends(TARN_END_EXIT, 1, 100, 101);
    cr_expect_eq(ends(TARN_END_EXIT, 1, 100, 105).action, TARN_RESTART, "steps made");
    cr_expect_eq(ends(TARN_END_EXIT, 1, 100, 101).action, TARN_RESTART);
    cr_expect_eq(ends(TARN_END_EXIT, 1, 0, 0).action, TARN_RESTART, "no checkpoint at all");
    start_policy();
    policy.max_stalled = 0;
    for (int i = 0; i < 9; i++) {
        tarn_outcome only = {.end = TARN_END_EXIT, .number = 1, .resumed = 100, .reached = 100};
        cr_expect_eq(tarn_policy_decide(&policy, &only).action, TARN_RESTART, "the only checkpoint");
    }
}

Test(policy, putting_aside_ends)
{
    int aside = 0, launches = 0;
    int64_t from = 100;
    tarn_decision decision;
    policy.max_stalled = 20; /* time enough to put the same one aside again */
    ends(TARN_END_EXIT, 1, 90, 101);
    /* A program that fails at step 101 whatever it resumes from, and writes 100 again when it resumes from 90. */
    do {
        decision = ends(TARN_END_EXIT, 1, from, 101);
        aside += decision.action == TARN_QUARANTINE_AND_RESTART;
        from = decision.action == TARN_QUARANTINE_AND_RESTART ? 90 : 100;
    } while (decision.action != TARN_END_RUN && ++launches < 100);
    expect_end(decision, 1, "stalled");
    cr_expect_eq(aside, 1);
    cr_expect_lt(launches, 30);
}

/* ---- watch -------------------------------------------------------------------------------------------------------
 */

static tarn_hub_rank watched[3];

static void start_watch(void)
{
    for (int i = 0; i < 3; i++) {
        watched[i] = (tarn_hub_rank){.known = true, .connected = true, .step = 17, .heard = 1000, .moved = 1000};
        snprintf(watched[i].host, sizeof watched[i].host, "node%d", i);
        snprintf(watched[i].what, sizeof watched[i].what, "shard %d, op matmul", i);
    }
}

TestSuite(watch, .init = start_watch);

static tarn_watch_verdict look(double now, int *rank, char message[512])
{
    tarn_watch_limits limits = {.hang = 60, .start = 300, .step_seconds = 2, .started = 900};
    return tarn_watch(watched, 3, &limits, now, rank, message, 512);
}

Test(watch, each_way_to_hang_names_rank_host_step_and_what)
{
    int rank;
    char message[512];
    cr_expect_eq(look(1059, &rank, message), TARN_WATCH_FINE);
    watched[0].heard = watched[2].heard = watched[0].moved = watched[2].moved = 1060;
    cr_expect_eq(look(1061, &rank, message), TARN_WATCH_SILENT);
    cr_expect_eq(rank, 1);
    cr_expect(
        strstr(message, "rank 1 on node1: nothing heard of it for 61 s, last heard at step 17 (shard 1, op matmul") &&
            !strstr(message, "rank 0"),
        "%s", message);
    watched[1].heard = 1060;
    cr_expect_eq(look(1061, &rank, message), TARN_WATCH_STUCK);
    cr_expect_eq(rank, 1);
    watched[1].waiting = true;
    cr_expect_eq(look(1061, &rank, message), TARN_WATCH_FINE, "who waits is not to blame");
    for (int i = 0; i < 3; i++) {
        watched[i].waiting = true;
        watched[i].heard = 1100;
        watched[i].moved = 1000;
    }
    cr_expect_eq(look(1101, &rank, message), TARN_WATCH_DEADLOCK);
    cr_expect(strstr(message, "rank 0") && strstr(message, "rank 1") && strstr(message, "rank 2"), "%s", message);
    watched[2].waiting = false;
    cr_expect_eq(look(1101, &rank, message), TARN_WATCH_STUCK, "two wait for the third");
    cr_expect_eq(rank, 2);
}

Test(watch, slow_steps_are_no_hang)
{
    int rank;
    char message[512];
    tarn_watch_limits limits = {.hang = 60, .step_seconds = 20, .started = 900};
    for (int i = 0; i < 3; i++) watched[i].heard = 1150;
    cr_expect_eq(tarn_watch(watched, 3, &limits, 1150, &rank, message, sizeof message), TARN_WATCH_FINE);
    for (int i = 0; i < 3; i++) watched[i].heard = 1201;
    cr_expect_eq(tarn_watch(watched, 3, &limits, 1201, &rank, message, sizeof message), TARN_WATCH_STUCK);
    limits.hang = 0;
    cr_expect_eq(tarn_watch(watched, 3, &limits, 9999, &rank, message, sizeof message), TARN_WATCH_FINE, "off");
}

Test(watch, ranks_that_do_not_join_are_named)
{
    int rank;
    char message[512];
    watched[1].known = watched[1].connected = false;
    for (int i = 0; i < 3; i++) watched[i].heard = watched[i].moved = 1201;
    cr_expect_eq(look(1199, &rank, message), TARN_WATCH_FINE);
    cr_expect_eq(look(1201, &rank, message), TARN_WATCH_MISSING);
    cr_expect_eq(rank, 1);
    cr_expect(strstr(message, "2 of 3 ranks") && strstr(message, "rank 1"), "%s", message);
}

Test(watch, who_has_left_hangs_no_more)
{
    int rank;
    char message[512];
    watched[0].bye = true;
    watched[1].connected = false;
    watched[2].heard = watched[2].moved = 5000;
    cr_expect_eq(look(5001, &rank, message), TARN_WATCH_FINE);
}

/* ---- hub ---------------------------------------------------------------------------------------------------------
 */

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

/* ---- hosts -------------------------------------------------------------------------------------------------------
 */

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

/* ---- status file ---------------------------------------------------------------------------------------------------
 */

Test(status, one_supervisor_has_it_and_the_next_inherits)
{
    static char *program[] = {(char *)(uintptr_t) "x", NULL};
    char *folder = tarn_test_directory(), *path = tarn_test_format("%s/supervisor.json", folder), problem[2048];
    tarn_run_status *first = calloc(3, sizeof *first), *second = first + 1, *third = first + 2;
    tarn_run_status_start(first, program);
    cr_assert_eq(tarn_run_status_claim(first, path, problem, sizeof problem), TARN_STATUS_CLAIMED, "%s", problem);
    first->highest = 123;
    first->stalled = 2;
    snprintf(first->state, sizeof first->state, "running");
    tarn_run_status_event(first, "start", -1, -1, "2 ranks \"quoted\" \xc3\xa4");
    for (int i = 0; i < 3; i++) tarn_run_status_write(first);
    tarn_run_status_start(second, program);
    cr_expect_eq(tarn_run_status_claim(second, path, problem, sizeof problem), TARN_STATUS_HELD);
    char *pid = tarn_test_format("process %d", (int)getpid());
    cr_expect(strstr(problem, pid), "%s", problem);
    close(first->lock); /* as its death would */
    cr_assert_eq(tarn_run_status_claim(second, path, problem, sizeof problem), TARN_STATUS_CLAIMED, "%s", problem);
    cr_expect(second->highest == 123 && second->inherited_stalled == 2 && second->inherited_killed);
    cr_expect_eq(second->events, 1);
    cr_expect_str_eq(second->event[0].message, "2 ranks \"quoted\" \xc3\xa4");
    snprintf(second->state, sizeof second->state, "failed");
    tarn_run_status_end(second);
    tarn_run_status_start(third, program);
    cr_assert_eq(tarn_run_status_claim(third, path, problem, sizeof problem), TARN_STATUS_CLAIMED);
    cr_expect(third->highest == 123 && third->inherited_stalled == 0 && !third->inherited_killed);
    char *temporary = tarn_test_format("%s.tmp", path);
    cr_expect(access(temporary, F_OK), "no temporary file is left");
    tarn_run_status_end(third);
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

Test(status, the_disk_is_waited_for_only_at_the_end)
{
    char *folder = tarn_test_directory(), *path = tarn_test_format("%s/supervisor.json", folder), problem[2048];
    tarn_run_status *status = calloc(1, sizeof *status);
    tarn_run_status_start(status, NULL);
    syncs = 0;
    cr_assert_eq(tarn_run_status_claim(status, path, problem, sizeof problem), TARN_STATUS_CLAIMED, "%s", problem);
    for (int i = 0; i < 5; i++) {
        tarn_run_status_event(status, "start", -1, -1, "");
        tarn_run_status_write(status);
    }
    cr_expect_eq(syncs, 0, "while ranks live nothing in the supervisor waits for a disk");
    tarn_run_status_end(status);
    cr_expect_eq(syncs, 2, "the file and its folder");
    free(status);
    tarn_test_remove(folder);
    free(path);
    free(folder);
}

Test(status, a_broken_file_is_replaced)
{
    char *folder = tarn_test_directory(), *path = tarn_test_format("%s/supervisor.json", folder), problem[2048];
    static const char *const contents[] = {"", "{", "[1,2]", "{\"highest_step\": \"x\", \"events\": 3}", "null"};
    tarn_run_status *status = calloc(1, sizeof *status);
    for (size_t i = 0; i < sizeof contents / sizeof *contents; i++) {
        tarn_test_write(path, contents[i], strlen(contents[i]));
        tarn_run_status_start(status, NULL);
        cr_expect_eq(tarn_run_status_claim(status, path, problem, sizeof problem), TARN_STATUS_CLAIMED, "%s",
                     contents[i]);
        cr_expect_eq(status->highest, -1);
        tarn_run_status_end(status);
    }
    tarn_run_status_start(status, NULL);
    cr_expect_eq(tarn_run_status_claim(status, "/nowhere/at/all.json", problem, sizeof problem), TARN_STATUS_BROKEN);
    cr_expect(strstr(problem, "/nowhere/at/all.json"), "%s", problem);
    free(status);
    tarn_test_remove(folder);
    free(path);
    free(folder);
}

/* ---- workspace -----------------------------------------------------------------------------------------------------
 */

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
