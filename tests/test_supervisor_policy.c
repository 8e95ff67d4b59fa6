/* test_supervisor_policy.c - what `tarn run` decides, by itself: what follows the end of a launch (policy), who hangs
 * (watch). tests/test_supervisor.c has its other parts, tests/test_run.c the whole.
 */
#include "launch/supervisor/policy.h"
#include "launch/supervisor/watch.h"
#include "tests/support.h"

#include <criterion/criterion.h>
#include <signal.h>

/* ---- policy ------------------------------------------------------------------------------------------------------ */

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

/* ---- watch ------------------------------------------------------------------------------------------------------- */

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
