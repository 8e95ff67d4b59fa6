/* policy.c - see policy.h. */
#include "launch/supervisor/policy.h"

#include <signal.h>

static const double MOST_BACKOFF = 60, BUSY_PAUSE = 1, MOST_BUSY_PAUSE = 4;
const double tarn_policy_busy_limit = 30;
enum { QUARANTINE_AFTER = 3, STOPPED = 75, WRONG = 2 };

void tarn_policy_start(tarn_policy *policy, int max_restarts, int max_stalled, double first_backoff)
{
    *policy = (tarn_policy){.max_restarts = max_restarts,
                            .max_stalled = max_stalled,
                            .first_backoff = first_backoff,
                            .highest = -1,
                            .busy_since = -1,
                            .failed_from = -1,
                            .put_aside = -1,
                            .put_aside_highest = -1};
}

static bool program_is_to_blame(const tarn_outcome *outcome)
{
    if (outcome->end == TARN_END_EXIT) return outcome->number != 0 && outcome->number != STOPPED;
    if (outcome->end != TARN_END_SIGNAL) return false;
    switch (outcome->number) {
    case SIGSEGV:
    case SIGABRT:
    case SIGFPE:
    case SIGBUS:
    case SIGILL:
        return true;
    default:
        return false;
    }
}

/* The step under way counts from 0 or from 1: one past the checkpoint is still the first after it. */
static bool made_a_step(const tarn_outcome *outcome)
{
    return outcome->reached > outcome->resumed + 1;
}

static bool to_be_put_aside(tarn_policy *policy, const tarn_outcome *outcome)
{
    if (!program_is_to_blame(outcome) || outcome->resumed <= 0 || made_a_step(outcome)) {
        policy->failed_from = -1;
        policy->failures_from = 0;
        return false;
    }
    policy->failures_from = policy->failed_from == outcome->resumed ? policy->failures_from + 1 : 1;
    policy->failed_from = outcome->resumed;
    if (policy->failures_from < QUARANTINE_AFTER || !outcome->older_checkpoint) return false;
    bool again = policy->put_aside >= 0 && policy->highest <= policy->put_aside_highest;
    return !again || outcome->resumed < policy->put_aside;
}

static tarn_decision end(int code, const char *word)
{
    return (tarn_decision){.action = TARN_END_RUN, .exit_code = code, .word = word};
}

/* 1, 2, 4, 4... seconds between the tries, and none after the limit. */
static tarn_decision wait_for_directory(tarn_policy *policy, double now)
{
    bool first = policy->busy_since < 0;
    if (first) policy->busy_since = now;
    double left = policy->busy_since + tarn_policy_busy_limit - now;
    if (left <= 0) return end(WRONG, "held");
    policy->busy_pause = first ? BUSY_PAUSE : 2 * policy->busy_pause;
    if (policy->busy_pause > MOST_BUSY_PAUSE) policy->busy_pause = MOST_BUSY_PAUSE;
    return (tarn_decision){
        .action = TARN_RESTART, .delay = policy->busy_pause < left ? policy->busy_pause : left, .word = "busy"};
}

tarn_decision tarn_policy_decide(tarn_policy *policy, const tarn_outcome *outcome)
{
    bool was_restart = policy->restarted, exited = outcome->end == TARN_END_EXIT;
    bool progress = outcome->reached > policy->highest;
    if (progress) policy->highest = outcome->reached;
    policy->restarted = true;
    if (exited && outcome->number == 0) return end(0, "finished");
    policy->worked = policy->worked || made_a_step(outcome);
    bool refused = exited && outcome->number == WRONG && !made_a_step(outcome);
    if (refused) return end(WRONG, "refused");
    if (outcome->stop_asked || outcome->own_host_leaves) return end(STOPPED, "stopped");
    if (outcome->regrow_asked) return (tarn_decision){.action = TARN_RESTART, .progress = progress, .word = "regrow"};

    if (outcome->directory_busy) return wait_for_directory(policy, outcome->ended);
    policy->busy_since = -1;

    if (!policy->worked && (outcome->permanent || outcome->told_again)) return end(1, "permanent");

    bool preempted = exited && outcome->number == STOPPED;
    tarn_decision decision = {.action = TARN_RESTART,
                              .failure = !preempted,
                              .progress = progress,
                              .word = preempted ? "preempted" : "failed"};
    if (progress) {
        policy->stalled = 0;
        policy->backoff = 0;
    } else if (was_restart) {
        policy->stalled++;
    }
    if (!preempted || !progress) {
        policy->backoff = policy->backoff > 0 ? 2 * policy->backoff : policy->first_backoff;
        if (policy->backoff > MOST_BACKOFF) policy->backoff = MOST_BACKOFF;
        decision.delay = policy->backoff;
    }
    bool aside = to_be_put_aside(policy, outcome);
    if (!preempted && policy->max_restarts >= 0 && policy->restarts >= policy->max_restarts) return end(1, "restarts");
    if (aside) {
        decision.action = TARN_QUARANTINE_AND_RESTART;
        policy->put_aside = outcome->resumed;
        policy->put_aside_highest = policy->highest;
        policy->failed_from = -1;
        policy->failures_from = policy->stalled = 0;
    } else if (policy->max_stalled > 0 && policy->stalled >= policy->max_stalled) {
        return end(1, "stalled");
    }
    policy->restarts++;
    return decision;
}
