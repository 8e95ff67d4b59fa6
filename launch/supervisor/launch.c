/* launch.c - one launch of a run: its processes from their start until none is left, and how they ended.
 *
 * Invariants
 *  1. A rank that is lost ends the launch at once; mpirun gets a moment to say what became of it.
 *  2. Whatever ends the launch, no process of it is left on this host when the outcome is returned.
 *  3. Time in which the supervisor itself did not run (stopped, starved) counts against nobody.
 */
#include "launch/supervisor/supervisor_internal.h"
#include "launch/supervisor/watch.h"
#include "runtime/base/context.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const double LOST_GRACE = 0.5, FAILED_GRACE = 10, GONE_GRACE = 2, STACK_SECONDS = 3, SILENT_STOP = 3,
                    STATUS_SECONDS = 5, ASLEEP = 2, CLAIM_SECONDS = 1, SILENT = 2.5 /* a rank speaks once a second */;
enum { TICK = 100 }; /* milliseconds between looks when nothing happens */

typedef struct launch {
    tarn_supervisor *s;
    double started, killed_at, claim_tried, regrow_looked;
    bool stop_sent, signalled, regrow, looking;
    double stop_sent_at, collecting_until, done_at, gone_at;
    bool hung, apart;
    bool unwatched; /* no rank speaks to the supervisor, and processes live */
    int hung_rank;
    char problem[TARN_HUB_MESSAGE]; /* of the hang */
    char claim_problem[TARN_HUB_MESSAGE];
    bool claim_failed;
} launch;

/* ---- what the ranks told -------------------------------------------------------------------------------------------
 */

static void claim_status(launch *l, double now)
{
    tarn_supervisor *s = l->s;
    if (s->status.path[0] || !s->hub.directory[0] || now - l->claim_tried < CLAIM_SECONDS) return;
    l->claim_tried = now;
    char path[4352];
    snprintf(path, sizeof path, "%s/supervisor.json", s->hub.directory);
    switch (tarn_run_status_claim(&s->status, path, l->claim_problem, sizeof l->claim_problem)) {
    case TARN_STATUS_HELD:
        s->held = true;
        break;
    case TARN_STATUS_BROKEN: /* the directory may not be there yet */
        l->claim_failed = true;
        break;
    case TARN_STATUS_CLAIMED:
        l->claim_failed = false;
        tarn_supervisor_inherit(s);
        tarn_supervisor_tell(s, NULL);
        break;
    }
}

static void follow(launch *l, double now)
{
    tarn_supervisor *s = l->s;
    bool begins = !s->begun && s->hub.resumed >= 0;
    s->begun = s->begun || begins;
    claim_status(l, now);
    if (begins) tarn_supervisor_tell(s, NULL);
    bool moved = s->hub.reached > s->status.step || s->hub.saved > s->status.saved;
    if (moved && now - s->status.written > STATUS_SECONDS) tarn_supervisor_tell(s, NULL);
}

/* ---- hanging -----------------------------------------------------------------------------------------------------
 */

/* A stopped process cannot answer; one of this host can be made to, before it is killed. */
static void wake_silent_ranks(tarn_hub *hub, double now, double hang)
{
    for (int i = 0; i < hub->rank_count; i++) {
        const tarn_hub_rank *rank = &hub->rank[i];
        if (rank->connected && now - rank->heard > hang && tarn_host_is_local(rank->host) &&
            tarn_process_names(rank->pid, hub->token))
            kill(rank->pid, SIGCONT);
    }
}

static void begin_collecting(launch *l, double now, const char *what)
{
    tarn_supervisor *s = l->s;
    tarn_supervisor_say("%s: %s", what, l->problem);
    int64_t step = l->hung_rank >= 0 ? s->hub.rank[l->hung_rank].step : s->hub.reached;
    tarn_run_status_event(&s->status, what, l->hung_rank, step, l->problem);
    tarn_supervisor_tell(s, NULL);
    l->hung = true;
    wake_silent_ranks(&s->hub, now, s->request->hang);
    tarn_hub_ask_stacks(&s->hub);
    l->collecting_until = now + STACK_SECONDS;
}

static bool all_stacks(const tarn_hub *hub)
{
    for (int i = 0; i < hub->rank_count; i++)
        if (hub->rank[i].connected && !hub->rank[i].stacks_complete) return false;
    return true;
}

/* Beside the status file, one file a hang; without a status file the stacks go to stderr. */
static void save_stacks(launch *l)
{
    tarn_supervisor *s = l->s;
    char path[4608] = "", time_text[32];
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(time_text, sizeof time_text, "%Y%m%dT%H%M%SZ", &parts);
    FILE *out = stderr;
    if (s->status.path[0]) {
        snprintf(path, sizeof path, "%.*s/stacks-%s-%d.txt",
                 (int)(strrchr(s->status.path, '/') ? strrchr(s->status.path, '/') - s->status.path : 0),
                 s->status.path, time_text, s->status.launches);
        if (!strchr(s->status.path, '/'))
            snprintf(path, sizeof path, "stacks-%s-%d.txt", time_text, s->status.launches);
        out = fopen(path, "we");
        if (!out) {
            tarn_supervisor_say("the stacks cannot be saved: %s: %s", path, strerror(errno));
            out = stderr;
            path[0] = 0;
        }
    }
    fprintf(out, "%s\n", l->problem);
    for (int i = 0; i < s->hub.rank_count; i++) {
        const tarn_hub_rank *rank = &s->hub.rank[i];
        fprintf(out, "\n==== rank %d, process %d on %s, step %" PRId64 ": %s\n", i, (int)rank->pid,
                rank->known ? rank->host : "?", rank->step, rank->what);
        fputs(rank->stacks       ? rank->stacks
              : !rank->known     ? "(never joined)\n"
              : !rank->connected ? "(gone)\n"
                                 : "(no answer)\n",
              out);
    }
    if (out == stderr) return;
    bool saved = !fclose(out);
    if (saved) tarn_supervisor_say("stacks of all ranks: %s", path);
    tarn_run_status_event(&s->status, "stacks", -1, s->hub.reached, path);
}

/* ---- stopping ----------------------------------------------------------------------------------------------------
 */

static void send_stop(launch *l, double now)
{
    l->stop_sent = true;
    l->stop_sent_at = now;
    tarn_hub_stop(&l->s->hub);
}

static void stop_when_asked(launch *l, double now)
{
    tarn_supervisor *s = l->s;
    if (s->stop_asked && !l->stop_sent) {
        send_stop(l, now);
        tarn_supervisor_tell(s, "stopping");
    }
    /* A program that does not speak to the supervisor: mpirun passes SIGUSR1 on, and unlike SIGTERM does not kill a
     * moment later. One that is still starting dies of it, and has nothing to lose. */
    if (l->stop_sent && !l->signalled && !tarn_hub_known(&s->hub) && now - l->stop_sent_at > SILENT_STOP) {
        l->signalled = true;
        kill(s->job.pid, SIGUSR1);
    }
}

/* ---- more hosts ----------------------------------------------------------------------------------------------------
 */

static void look_for_more(launch *l, double now)
{
    tarn_supervisor *s = l->s;
    if (!s->use_hosts || s->ranks >= s->wanted || l->stop_sent || s->request->regrow <= 0) return;
    if (!l->looking) {
        if (now - l->regrow_looked < s->request->regrow) return;
        l->regrow_looked = now;
        l->looking = tarn_supervisor_look_for_hosts(s);
        return;
    }
    if (!tarn_hosts_probed(&s->hosts, now)) return;
    l->looking = false;
    int slots = tarn_hosts_slots(&s->hosts, now);
    if (slots <= s->ranks) return;
    int more = slots < s->wanted ? slots : s->wanted;
    tarn_supervisor_say("room for %d ranks again (%d run): saving and starting with more", more, s->ranks);
    char message[64];
    snprintf(message, sizeof message, "from %d to %d ranks", s->ranks, more);
    tarn_run_status_event(&s->status, "regrow", -1, s->hub.reached, message);
    l->regrow = true;
    send_stop(l, now);
}

/* ---- the end -----------------------------------------------------------------------------------------------------
 */

static int exit_code_of(const char *status)
{
    return !strcmp(status, "argument") || !strcmp(status, "shape") || !strcmp(status, "config") ? 2 : 1;
}

/* The same files and options bring it again. */
static bool is_permanent(const char *status)
{
    return exit_code_of(status) == 2 || !strcmp(status, "format") || !strcmp(status, "unsupported");
}

/* A directory that cannot be written, a file that is not there: once may be a file system that was away. */
static bool is_told_again(tarn_supervisor *s, const tarn_hub_rank *failed)
{
    bool opening = !strcmp(failed->status, "io") && s->hub.resumed < 0;
    bool again = opening && !strcmp(s->last_failure, failed->message);
    snprintf(s->last_failure, sizeof s->last_failure, "%s", opening ? failed->message : "");
    return again;
}

/* When a host falls silent mpirun may notice first and end the ranks of the others: the silent ones, whose connections
 * still stand, are the cause, and not the first that went. */
static bool say_who_is_silent(const tarn_hub *hub, char *out, size_t size)
{
    double now = tarn_seconds();
    size_t used = 0;
    for (int i = 0; i < hub->rank_count && used < size; i++) {
        const tarn_hub_rank *rank = &hub->rank[i];
        if (!rank->connected || rank->bye || now - rank->heard < SILENT) continue;
        used += (size_t)snprintf(out + used, size - used, "%srank %d on %s (%.0f s)",
                                 used ? ", " : "; nothing heard of ", i, rank->host, now - rank->heard);
    }
    return used;
}

static void say_who_was_lost(tarn_supervisor *s, char *out, size_t size)
{
    const tarn_hub *hub = &s->hub;
    out[0] = 0;
    if (say_who_is_silent(hub, out, size)) return;
    if (hub->first_lost == 0) return;
    const tarn_hub_rank *rank = &hub->rank[hub->first_lost_rank];
    snprintf(out, size, "; the first to go was rank %d on %s at step %" PRId64 "%s%s%s", hub->first_lost_rank,
             rank->host, rank->step, *rank->what ? " (" : "", rank->what, *rank->what ? ")" : "");
}

/* Exit codes the ranks announced: *code is the first that is not 0; true when all ranks announced one, or one announced
 * a stop (mpirun ends the others at the first code that is not 0). */
static bool announced(const tarn_hub *hub, int *code)
{
    int said = 0;
    bool stopped = false;
    *code = 0;
    for (int i = 0; i < hub->rank_count; i++) {
        if (!hub->rank[i].bye) continue;
        said++;
        if (!*code) *code = hub->rank[i].bye_code;
        stopped = stopped || hub->rank[i].bye_code == 75;
    }
    if (stopped) *code = 75;
    return stopped || (said && said == hub->rank_count);
}

static const tarn_hub_rank *first_failed(const tarn_hub *hub, int *number)
{
    const tarn_hub_rank *first = NULL;
    for (int i = 0; i < hub->rank_count; i++)
        if (hub->rank[i].failed && (!first || hub->rank[i].failed_at < first->failed_at)) {
            first = &hub->rank[i];
            *number = i;
        }
    return first;
}

/* How it ended, from what is known: what ranks said goes before what mpirun says, which may have been killed. */
static void judge(launch *l, bool killed, tarn_outcome *out)
{
    tarn_supervisor *s = l->s;
    const tarn_job *job = &s->job;
    const char *launcher = job->direct ? "the program" : "mpirun";
    char lost[640];
    int code = 0, number = 0;
    say_who_was_lost(s, lost, sizeof lost);
    const tarn_hub_rank *failed = first_failed(&s->hub, &number);
    bool by_itself = !killed && WIFEXITED(job->status);
    s->blamed = l->hung ? l->hung_rank : failed ? number : s->hub.first_lost > 0 ? s->hub.first_lost_rank : -1;
    out->end = TARN_END_LOST;
    if (announced(&s->hub, &code)) {
        out->end = TARN_END_EXIT;
        out->number = code;
        snprintf(s->why, sizeof s->why, "exit code %d", code);
    } else if (l->hung) {
        out->end = TARN_END_HUNG;
        snprintf(s->why, sizeof s->why, "%s", l->problem);
    } else if (by_itself) {
        int exited = WEXITSTATUS(job->status);
        /* mpirun tells a rank's signal as the shell does. */
        bool signal = !job->direct && exited > 128 && exited < 128 + NSIG && !failed;
        out->end = signal ? TARN_END_SIGNAL : TARN_END_EXIT;
        out->number = signal ? exited - 128 : exited;
        if (signal)
            snprintf(s->why, sizeof s->why, "a rank was ended by signal %d (%s)%s", out->number, strsignal(out->number),
                     lost);
        else
            snprintf(s->why, sizeof s->why, "exit code %d%s", exited, failed ? "" : lost);
    } else if (!killed && WIFSIGNALED(job->status)) {
        out->end = job->direct ? TARN_END_SIGNAL : TARN_END_LOST;
        out->number = WTERMSIG(job->status);
        snprintf(s->why, sizeof s->why, "%s was ended by signal %d (%s)%s", launcher, out->number,
                 strsignal(out->number), job->direct ? lost : "");
    } else {
        snprintf(s->why, sizeof s->why, "killed%s", lost);
    }
    if (failed && out->end != TARN_END_HUNG && !(out->end == TARN_END_EXIT && out->number == 75)) {
        if (out->end != TARN_END_EXIT || out->number == 0 || out->number > 2)
            out->number = exit_code_of(failed->status);
        out->end = TARN_END_EXIT;
        snprintf(s->why, sizeof s->why, "rank %d on %s, step %" PRId64 ": %s (%s error, exit code %d)", number,
                 failed->host, failed->step, failed->message, failed->status, out->number);
        out->permanent = is_permanent(failed->status);
        out->told_again = is_told_again(s, failed);
        out->directory_busy = !strcmp(failed->status, "state") && strstr(failed->message, "another run is writing");
    }
}

static void read_spot_notice(tarn_supervisor *s, double now, tarn_outcome *out)
{
    const char *at = strncmp(s->hub.stopping, "spot ", 5) ? NULL : strstr(s->hub.stopping, " host ");
    if (!at) return;
    at += strlen(" host ");
    char name[256];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(at, ": "), at);
    if (!s->job.remote || tarn_host_is_local(name)) {
        out->own_host_leaves = true;
        return;
    }
    for (int i = 0; i < s->hub.rank_count; i++) {
        tarn_host *host = strcmp(s->hub.rank[i].host, name) ? NULL : tarn_hosts_of_rank(&s->hosts, i);
        if (!host || host->rests_until > now) continue;
        host->rests_until = now + TARN_HOST_REST_SECONDS;
        tarn_supervisor_say("host %s is being taken away: going on without it", host->name);
        tarn_run_status_event(&s->status, "host", i, s->hub.reached, s->hub.stopping);
    }
}

/* ---- one launch ----------------------------------------------------------------------------------------------------
 */

static bool all_said_bye(const tarn_hub *hub)
{
    for (int i = 0; i < hub->rank_count; i++)
        if (!hub->rank[i].bye) return false;
    return hub->rank_count > 0;
}

/* All ranks said bye. Their processes may still have something to do, which is the program's matter for as long as a
 * start may take; a launcher without ranks has nothing (it waits for children of theirs that hold their output). */
static bool must_end(launch *l, double now)
{
    tarn_supervisor *s = l->s;
    bool there = s->job.remote;
    for (int i = 0; i < s->hub.rank_count && !there; i++) there = tarn_process_names(s->hub.rank[i].pid, s->hub.token);
    if (there) l->gone_at = 0;
    if (!there && l->gone_at == 0) l->gone_at = now;
    if (l->done_at == 0) l->done_at = now;
    if (!there) return now - l->gone_at > GONE_GRACE;
    return s->request->start_limit > 0 && now - l->done_at > s->request->start_limit;
}

/* A program without Tarn: nobody joins until the start limit, and its processes are there. It is told once, and watched
 * by its exit code alone. One that has spoken in an earlier launch hangs; so does a launcher of which no process is
 * seen on this host. Who speaks after all gives the others as much time again. */
static bool nobody_speaks(launch *l, double now)
{
    tarn_supervisor *s = l->s;
    bool spoke = tarn_hub_known(&s->hub) > 0;
    if (spoke && l->unwatched) {
        l->unwatched = false;
        l->started = now;
    }
    s->spoken = s->spoken || spoke;
    double limit = s->request->start_limit;
    if (spoke || l->unwatched || s->spoken || limit <= 0 || now - l->started <= limit) return l->unwatched;
    if (tarn_signal_named(s->hub.token, 0) < (s->job.direct ? 1 : 2)) return false;
    l->unwatched = true;
    if (s->told_unwatched) return true;
    s->told_unwatched = true;
    char message[256];
    snprintf(message, sizeof message,
             "no rank speaks to the supervisor within %.0f s of the start: it is watched only by its exit code", limit);
    tarn_supervisor_say("%s", message);
    tarn_run_status_event(&s->status, "unwatched", -1, -1, message);
    return true;
}

/* Time to kill the launch, and says why where nobody else has. */
static bool must_die(launch *l, double now)
{
    tarn_supervisor *s = l->s;
    const tarn_hub *hub = &s->hub;
    const double hang = s->request->hang;
    if (s->held || s->kill_asked) return true;
    if (l->stop_sent && now - l->stop_sent_at > s->request->grace) {
        tarn_supervisor_say("no end %.0f s after the stop: killing the ranks; the last checkpoint stands",
                            s->request->grace);
        tarn_run_status_event(&s->status, "killed", -1, hub->reached, "no end within the grace after a stop");
        return true;
    }
    if (hub->first_lost > 0 && now - hub->first_lost > LOST_GRACE) return true;
    int number;
    const tarn_hub_rank *failed = first_failed(hub, &number);
    if (failed && now - failed->failed_at > FAILED_GRACE) return true;
    if (all_said_bye(hub)) return must_end(l, now);
    if (l->hung) {
        if (now < l->collecting_until && !all_stacks(hub)) return false;
        save_stacks(l);
        return true;
    }
    if (hang > 0 && s->job.stopped_since > 0 && now - s->job.stopped_since > hang) {
        l->hung_rank = -1;
        snprintf(l->problem, sizeof l->problem, "%s (process %d) has been stopped for %.0f s",
                 s->job.direct ? "the program" : "mpirun", (int)s->job.pid, now - s->job.stopped_since);
        begin_collecting(l, now, "hang");
        return false;
    }
    if (nobody_speaks(l, now)) return false;
    tarn_watch_limits limits = {.hang = hang,
                                .start = s->request->start_limit,
                                .step_seconds = tarn_hub_step_seconds(hub),
                                .started = l->started};
    tarn_watch_verdict verdict =
        tarn_watch(hub->rank, hub->rank_count, &limits, now, &l->hung_rank, l->problem, sizeof l->problem);
    l->apart = verdict == TARN_WATCH_DEADLOCK || verdict == TARN_WATCH_MISSING;
    if (verdict) begin_collecting(l, now, "hang");
    return false;
}

/* The supervisor was not run for a while: nobody else is to blame for what did not arrive meanwhile. */
static void forgive(launch *l, double seconds, double now)
{
    for (int i = 0; i < l->s->hub.rank_count; i++) l->s->hub.rank[i].heard = l->s->hub.rank[i].moved = now;
    l->started += seconds;
    if (l->s->job.stopped_since > 0) l->s->job.stopped_since += seconds;
}

static bool start(launch *l)
{
    tarn_supervisor *s = l->s;
    char address[2048];
    if (!tarn_hub_begin(&s->hub, s->ranks)) {
        snprintf(s->why, sizeof s->why, "no memory for %d ranks", s->ranks);
        return false;
    }
    tarn_hub_address(&s->hub, address, sizeof address);
    bool remote = s->use_hosts ? !tarn_hosts_all_local(&s->hosts) : s->hub.every_interface;
    tarn_job_setup setup = {.ranks = s->ranks,
                            .hosts = s->use_hosts ? s->place : NULL,
                            .address = address,
                            .launch = s->status.launches,
                            .remote = remote,
                            .restarted = s->begun};
    int error = tarn_job_start(&s->job, s->request, &setup, &s->workspace);
    if (error)
        snprintf(s->why, sizeof s->why, "%s cannot be started: %s",
                 s->ranks == 1 && !s->use_hosts ? s->request->program[0] : s->request->mpirun, strerror(error));
    return !error;
}

tarn_outcome tarn_supervisor_launch(tarn_supervisor *s)
{
    launch l = {.s = s, .started = tarn_seconds(), .hung_rank = -1};
    l.regrow_looked = l.started;
    tarn_outcome outcome = {.end = TARN_END_LOST, .resumed = -1, .reached = -1};
    s->status.launches++;
    s->status.ranks = s->ranks;
    s->why[0] = 0;
    s->blamed = -1;
    if (!start(&l)) return outcome;
    char message[64];
    snprintf(message, sizeof message, "%d rank%s", s->ranks, s->ranks == 1 ? "" : "s");
    tarn_run_status_event(&s->status, "start", -1, -1, message);
    tarn_supervisor_tell(s, s->stop_asked ? "stopping" : "running");
    bool killed = false;
    double before = l.started;
    while (!s->job.ended && !killed) {
        tarn_supervisor_serve(s, TICK);
        double now = tarn_seconds();
        if (now - before > ASLEEP) forgive(&l, now - before, now);
        before = now;
        follow(&l, now);
        stop_when_asked(&l, now);
        look_for_more(&l, now);
        if (!s->job.ended) killed = must_die(&l, now);
    }
    tarn_job_kill(&s->job, s->hub.token); /* also what a launcher that ended by itself left behind */
    tarn_hub_serve(&s->hub, -1, 0);       /* the last words */
    follow(&l, tarn_seconds() + CLAIM_SECONDS);
    if (s->held) {
        snprintf(s->why, sizeof s->why, "%s", l.claim_problem);
        return outcome;
    }
    if (l.claim_failed && !s->status.path[0] && !s->status.complained) {
        tarn_supervisor_say("there is no status file: %s", l.claim_problem);
        s->status.complained = true;
    }
    judge(&l, killed, &outcome);
    outcome.stop_asked = s->stop_asked;
    outcome.regrow_asked = l.regrow;
    outcome.apart = l.apart;
    outcome.resumed = s->hub.resumed;
    outcome.reached = s->hub.reached;
    outcome.ended = tarn_seconds();
    read_spot_notice(s, tarn_seconds(), &outcome);
    tarn_workspace_sweep(&s->workspace);
    return outcome;
}
