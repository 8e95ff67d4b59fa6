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

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

static const double LOST_GRACE = 0.5, FAILED_GRACE = 10, GONE_GRACE = 2, STACK_SECONDS = 3, SILENT_STOP = 3,
                    STATUS_SECONDS = 5, PROBE_SECONDS = 30, ASLEEP = 2, CLAIM_SECONDS = 1, LAST_CLAIM = 10;
enum { TICK = 100 }; /* milliseconds between looks when nothing happens */

typedef struct launch {
    tarn_supervisor *s;
    double started, killed_at, claim_tried, regrow_looked;
    bool stop_sent, signalled, regrow, reading, probing;
    double stop_sent_at, collecting_until, done_at, gone_at;
    bool hung, apart;
    bool told_resumed;
    bool unwatched; /* no rank speaks to the supervisor, and processes live */
    int hung_rank;
    char problem[TARN_HUB_MESSAGE]; /* of the hang */
} launch;

/* ---- what the ranks told ----------------------------------------------------------------------------------------- */

/* The status file in the directory that rank 0 told, which waits for the answer before it takes the directory: so the
 * first of two jobs is the one that trains. */
static void claim_status(launch *l, double now)
{
    tarn_supervisor *s = l->s;
    if (s->hub.directory_told && (s->status.path[0] || s->claim_known)) tarn_hub_claimed(&s->hub);
    if (s->status.path[0] || s->claiming || !s->hub.directory[0] || now - l->claim_tried < CLAIM_SECONDS) return;
    l->claim_tried = now;
    char path[4352];
    snprintf(path, sizeof path, "%s/supervisor.json", s->hub.directory);
    tarn_supervisor_claim(s, path);
}

static void follow(launch *l, double now)
{
    tarn_supervisor *s = l->s;
    bool begins = !s->begun && s->hub.resumed >= 0;
    s->begun = s->begun || begins;
    claim_status(l, now);
    if (begins) tarn_supervisor_tell(s, NULL);
    if (s->policy.restarted && !l->told_resumed && s->hub.resumed >= 0) {
        l->told_resumed = true;
        if (s->hub.resumed > 0)
            tarn_voice_say("goes on from step %" PRId64, s->hub.resumed);
        else
            tarn_voice_say("begins anew: there is no checkpoint");
    }
    bool moved = s->hub.reached > s->status.step || s->hub.saved > s->status.saved;
    if (moved && now - s->status.written > STATUS_SECONDS) tarn_supervisor_tell(s, NULL);
}

/* The last words of a launch may have named the directory. */
static void finish_claim(launch *l)
{
    tarn_supervisor *s = l->s;
    follow(l, tarn_seconds() + CLAIM_SECONDS);
    for (double until = tarn_seconds() + LAST_CLAIM; s->claiming && !s->stop_asked && tarn_seconds() < until;)
        tarn_supervisor_serve(s, TICK);
}

/* ---- hanging ----------------------------------------------------------------------------------------------------- */

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
    tarn_voice_say("%s: %s", what, l->problem);
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
    char path[4608], time_text[32], *text = NULL;
    size_t bytes = 0;
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(time_text, sizeof time_text, "%Y%m%dT%H%M%SZ", &parts);
    const char *slash = strrchr(s->status.path, '/');
    snprintf(path, sizeof path, "%.*sstacks-%s-%d.txt", slash ? (int)(slash + 1 - s->status.path) : 0, s->status.path,
             time_text, s->status.launches);
    FILE *out = open_memstream(&text, &bytes);
    if (!out) return;
    fprintf(out, "%s\n", l->problem);
    for (int i = 0; i < s->hub.rank_count; i++) {
        const tarn_hub_rank *rank = &s->hub.rank[i];
        char step[TARN_STEP_TEXT];
        fprintf(out, "\n==== rank %d, process %d on %s, %s: %s\n", i, (int)rank->pid, rank->known ? rank->host : "?",
                tarn_supervisor_step(rank->step, step), rank->what);
        fputs(rank->stacks       ? rank->stacks
              : !rank->known     ? "(never joined)\n"
              : !rank->connected ? "(gone)\n"
                                 : "(no answer)\n",
              out);
    }
    if (fclose(out)) {
        free(text);
        return;
    }
    tarn_supervisor_keep_stacks(s, s->status.path[0] ? path : NULL, text, bytes);
    if (s->status.path[0]) tarn_run_status_event(&s->status, "stacks", -1, s->hub.reached, path);
}

/* ---- stopping ---------------------------------------------------------------------------------------------------- */

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

/* ---- more hosts -------------------------------------------------------------------------------------------------- */

static void look_for_more(launch *l, double now)
{
    tarn_supervisor *s = l->s;
    if (!s->use_hosts || s->ranks >= s->wanted || l->stop_sent || s->request->regrow <= 0) return;
    if (!l->reading && !l->probing) {
        if (now - l->regrow_looked < s->request->regrow) return;
        l->regrow_looked = now;
        l->reading = true;
        if (s->request->hostfile && !s->reading_hosts) tarn_supervisor_read_hosts(s);
    }
    if (l->reading) {
        if (s->reading_hosts) return;
        l->reading = false;
        l->probing = !s->request->hostfile || s->hosts_are_read;
        if (l->probing) tarn_supervisor_probe_hosts(s);
        return;
    }
    if (!tarn_hosts_probed(&s->hosts, now)) return;
    l->probing = false;
    int slots = tarn_hosts_slots(&s->hosts, now);
    if (slots <= s->ranks) return;
    int more = slots < s->wanted ? slots : s->wanted;
    tarn_voice_say("room for %d ranks again (%d run): saving and starting with more", more, s->ranks);
    char message[64];
    snprintf(message, sizeof message, "from %d to %d ranks", s->ranks, more);
    tarn_run_status_event(&s->status, "regrow", -1, s->hub.reached, message);
    l->regrow = true;
    send_stop(l, now);
}

/* ---- one launch -------------------------------------------------------------------------------------------------- */

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
 * by its exit code alone. One that has spoken in an earlier launch hangs; so does a launcher for other hosts of
 * which no process is seen on this one. Who speaks after all gives the others as much time again. */
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
    if (s->job.remote && tarn_signal_named(s->hub.token, 0) < 2) return false;
    l->unwatched = true;
    if (s->told_unwatched) return true;
    s->told_unwatched = true;
    char message[256];
    snprintf(message, sizeof message,
             "no rank speaks to the supervisor within %.0f s of the start: it is watched only by its exit code", limit);
    tarn_voice_say("%s", message);
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
        tarn_voice_say("no end %.0f s after the stop: killing the ranks; the last checkpoint stands",
                       s->request->grace);
        tarn_run_status_event(&s->status, "killed", -1, hub->reached, "no end within the grace after a stop");
        return true;
    }
    if (hub->first_lost > 0 && now - hub->first_lost > LOST_GRACE) return true;
    int number;
    const tarn_hub_rank *failed = tarn_hub_first_failed(hub, &number);
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
                                .step_seconds = tarn_median_value(&hub->step_seconds),
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

static int start_job(tarn_supervisor *s, char *const *instead)
{
    char address[2048];
    tarn_hub_address(&s->hub, address, sizeof address);
    bool remote = s->use_hosts ? !tarn_hosts_all_local(&s->hosts) : s->hub.every_interface;
    tarn_job_setup setup = {.ranks = s->ranks,
                            .hosts = s->use_hosts ? s->place : NULL,
                            .address = address,
                            .launch = s->status.launches,
                            .remote = remote,
                            .restarted = s->begun,
                            .reason = *s->restarted_for ? s->restarted_for : NULL,
                            .instead = instead};
    return tarn_job_start(&s->job, s->request, &setup, &s->workspace);
}

static bool start(launch *l)
{
    tarn_supervisor *s = l->s;
    if (!tarn_hub_begin(&s->hub, s->ranks)) {
        snprintf(s->why, sizeof s->why, "no memory for %d ranks", s->ranks);
        return false;
    }
    int error = start_job(s, NULL);
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
    s->claim_known = false;
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
    finish_claim(&l);
    if (s->held) {
        snprintf(s->why, sizeof s->why, "%s", s->claim_problem);
        return outcome;
    }
    if (s->claim_problem[0] && !s->status.path[0] && !s->status.complained) {
        tarn_voice_say("there is no status file: %s", s->claim_problem);
        s->status.complained = true;
    }
    tarn_supervisor_judge(s, killed, l.hung ? l.problem : NULL, l.hung_rank, &outcome);
    outcome.stop_asked = s->stop_asked;
    outcome.regrow_asked = l.regrow;
    outcome.apart = l.apart;
    outcome.resumed = s->hub.resumed;
    outcome.reached = s->hub.reached;
    outcome.ended = tarn_seconds();
    tarn_workspace_sweep(&s->workspace);
    return outcome;
}

bool tarn_supervisor_launcher_fails(tarn_supervisor *s)
{
    static char *nothing[] = {"true", NULL};
    if (s->job.direct || s->job.remote || s->spoken || !s->job.ended || !WIFEXITED(s->job.status) ||
        !WEXITSTATUS(s->job.status) || start_job(s, nothing))
        return false;
    double until = tarn_seconds() + PROBE_SECONDS;
    while (!s->job.ended && !s->stop_asked && tarn_seconds() < until) tarn_supervisor_serve(s, TICK);
    bool fails = s->job.ended && WIFEXITED(s->job.status) && WEXITSTATUS(s->job.status);
    tarn_job_kill(&s->job, s->hub.token);
    tarn_workspace_sweep(&s->workspace);
    return fails;
}
