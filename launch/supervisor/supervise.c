/* supervise.c - the life of a run: launches, what is decided after each, waiting between them, the end. */
#include "checkpoint/files.h"
#include "checkpoint/quarantine.h"
#include "launch/supervisor/supervisor_internal.h"
#include "runtime/base/context.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

static const double MOST_WAIT = 60;
enum { STOPPED = 75, WRONG = 2, SLICE = 100, LAST_SLICE = 10 /* milliseconds */ };

/* ---- signals and children ---------------------------------------------------------------------------------------- */

static void on_signal(tarn_supervisor *s, int number)
{
    if (number == SIGCHLD) return;
    if (s->ending) {
        s->end_asked = true;
        return;
    }
    if (s->stop_asked) {
        if (number == SIGINT && !s->kill_asked) {
            s->kill_asked = true;
            tarn_voice_say("second interrupt: killing the ranks; the last checkpoint stands");
            tarn_run_status_event(&s->status, "killed", -1, s->hub.reached, "second interrupt");
        }
        return;
    }
    s->stop_asked = true;
    s->stop_asked_at = tarn_seconds();
    snprintf(s->stop_signal, sizeof s->stop_signal, "SIG%s", sigabbrev_np(number) ? sigabbrev_np(number) : "?");
    tarn_voice_say("%s: saving a last checkpoint, then ending%s", s->stop_signal,
                   number == SIGINT ? " (once more kills the ranks)" : "");
    tarn_run_status_event(&s->status, "stop", -1, s->hub.reached, s->stop_signal);
}

void tarn_supervisor_serve(tarn_supervisor *s, int milliseconds)
{
    tarn_hub_serve(&s->hub, s->wakes, milliseconds);
    tarn_errands_collect(&s->files);
    struct signalfd_siginfo info;
    while (read(s->signals, &info, sizeof info) == (ssize_t)sizeof info) on_signal(s, (int)info.ssi_signo);
    int status;
    pid_t pid;
    while ((pid = tarn_job_reap(&s->job, &status)))
        if (pid != s->job.pid && !WIFSTOPPED(status) && !WIFCONTINUED(status))
            tarn_hosts_reaped(&s->hosts, pid, status);
}

/* Waits, serving; false when a stop was asked meanwhile. */
static bool wait_for(tarn_supervisor *s, double seconds)
{
    for (double until = tarn_seconds() + seconds; !s->stop_asked;) {
        double left = until - tarn_seconds();
        if (left <= 0) return true;
        tarn_supervisor_serve(s, left < 0.1 ? (int)(left * 1000) + 1 : SLICE);
    }
    return false;
}

static bool take_signals(tarn_supervisor *s)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGUSR1, SIGHUP, SIGCHLD};
    struct sigaction ignored = {.sa_handler = SIG_IGN}, before;
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        /* nohup: a hang-up that is ignored stays ignored */
        if (numbers[i] == SIGHUP && !sigaction(SIGHUP, NULL, &before) && before.sa_handler == SIG_IGN) continue;
        sigaddset(&set, numbers[i]);
    }
    sigaction(SIGPIPE, &ignored, NULL);
    sigaction(SIGCHLD, &(struct sigaction){.sa_handler = SIG_DFL}, NULL);
    if (sigprocmask(SIG_BLOCK, &set, NULL)) return false;
    s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    s->wakes = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event readable = {.events = EPOLLIN};
    if (s->signals < 0 || s->wakes < 0 || epoll_ctl(s->wakes, EPOLL_CTL_ADD, s->signals, &readable)) return false;
    /* What ranks leave behind becomes ours to reap, instead of init's. */
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    return true;
}

/* ---- hosts ------------------------------------------------------------------------------------------------------- */

/* What every other host does before a launch: it answers, and the folders are there, and empty. Only names with a dot
 * go: Open MPI's have one and the supervisor's lock has none, should a "host" share the file system with this one. */
static void host_command(const tarn_supervisor *s, bool last, char *out, size_t size)
{
    const tarn_workspace *w = &s->workspace;
    const char *old = s->status.earlier_workspace; /* from a file that others may write, and goes to a shell */
    int base = (int)(strlen(w->sessions) - strlen(w->name));
    size_t used = 0;
    bool is_name = !strncmp(old, "tarn-run-", 9) && !old[strspn(old, "abcdefghijklmnopqrstuvwxyz0123456789-")];
    if (is_name && strcmp(old, w->name))
        used = (size_t)snprintf(out, size, "rm -rf '%.*s%s'/*.* '/dev/shm/%s'/*.*; rmdir '%.*s%s' '/dev/shm/%s'; ",
                                base, w->sessions, old, old, base, w->sessions, old, old);
    used += (size_t)snprintf(out + used, size - used, "rm -rf '%s'/*.* '/dev/shm/%s'/*.*; ", w->sessions, w->name);
    if (last)
        snprintf(out + used, size - used, "rmdir '%s' '/dev/shm/%s'", w->sessions, w->name);
    else
        snprintf(out + used, size - used, "mkdir -p -m 700 '%s' '/dev/shm/%s'", w->sessions, w->name);
}

static bool read_hosts(tarn_supervisor *s, char *problem, size_t size)
{
    const tarn_run_request *request = s->request;
    return request->hostfile ? tarn_hosts_read_file(&s->hosts, request->hostfile, problem, size)
                             : tarn_hosts_read_list(&s->hosts, request->hosts, problem, size);
}

void tarn_supervisor_probe_hosts(tarn_supervisor *s)
{
    char command[16384];
    /* While a launch runs its folders are in use: only the answer counts. */
    if (s->job.pid && !s->job.ended)
        snprintf(command, sizeof command, "mkdir -p -m 700 '%s' '/dev/shm/%s'", s->workspace.sessions,
                 s->workspace.name);
    else
        host_command(s, false, command, sizeof command);
    tarn_hosts_probe(&s->hosts, s->request->agent, command, tarn_seconds());
}

/* Reads the host file anew and probes; false when a stop was asked meanwhile. */
static bool look_for_hosts(tarn_supervisor *s)
{
    if (s->request->hostfile && !s->reading_hosts) tarn_supervisor_read_hosts(s);
    while (s->reading_hosts)
        if (!wait_for(s, 0.02)) return false;
    tarn_supervisor_probe_hosts(s);
    while (!tarn_hosts_probed(&s->hosts, tarn_seconds()))
        if (!wait_for(s, 0.02)) return false;
    return true;
}

/* Finds places for the ranks, waiting while there are fewer than --min-ranks. False: stopped meanwhile. */
static bool find_room(tarn_supervisor *s)
{
    s->ranks = s->wanted;
    if (!s->use_hosts) return true;
    double pause = 1;
    for (bool told = false;; told = true) {
        if (!look_for_hosts(s)) return false;
        double now = tarn_seconds();
        int slots = tarn_hosts_slots(&s->hosts, now);
        if (s->stop_asked) return false;
        if (slots >= s->request->min_ranks) {
            s->ranks =
                tarn_hosts_assign(&s->hosts, slots < s->wanted ? slots : s->wanted, now, s->place, sizeof s->place);
            if (s->ranks < s->wanted)
                tarn_voice_say("room for %d of %d ranks: going on with those", s->ranks, s->wanted);
            return s->ranks > 0;
        }
        char message[128];
        snprintf(message, sizeof message, "hosts that answer have room for %d ranks, --min-ranks is %d", slots,
                 s->request->min_ranks);
        if (!told) {
            tarn_voice_say("%s: waiting", message);
            tarn_run_status_event(&s->status, "waiting", -1, -1, message);
            tarn_supervisor_tell(s, "waiting");
        }
        if (!wait_for(s, pause)) return false;
        pause = 2 * pause < MOST_WAIT ? 2 * pause : MOST_WAIT;
    }
}

/* The last folders on other hosts go; who does not answer in time keeps them. */
static void clean_hosts(tarn_supervisor *s)
{
    char command[16384];
    if (!s->use_hosts || s->workspace.sessions_lock < 0 || tarn_hosts_all_local(&s->hosts)) return;
    host_command(s, true, command, sizeof command);
    for (int i = 0; i < s->hosts.count; i++) s->hosts.host[i].rests_until = 0; /* those kept out have folders, too */
    tarn_hosts_probe(&s->hosts, s->request->agent, command, tarn_seconds());
    while (!tarn_hosts_probed(&s->hosts, tarn_seconds())) tarn_supervisor_serve(s, 20);
}

/* ---- beginning --------------------------------------------------------------------------------------------------- */

static int refuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int refuse(const char *format, ...)
{
    char line[8192];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    tarn_voice_say("%s", line);
    return WRONG;
}

static int prepare(tarn_supervisor *s)
{
    const tarn_run_request *request = s->request;
    char problem[8192];
    s->use_hosts = request->hosts || request->hostfile;
    if (s->use_hosts && !read_hosts(s, problem, sizeof problem)) return refuse("%s", problem);
    int slots = 0;
    for (int i = 0; i < s->hosts.count; i++) slots += s->hosts.host[i].slots;
    if (s->use_hosts && !slots)
        return refuse("the hosts have no slots: %s", request->hosts ? request->hosts : request->hostfile);
    s->wanted = request->ranks ? request->ranks : s->use_hosts ? slots : 1;
    if (request->min_ranks > s->wanted)
        return refuse("--min-ranks %d is more than the %d ranks to run", request->min_ranks, s->wanted);
    bool remote = s->use_hosts && !tarn_hosts_all_local(&s->hosts);
    if (!remote && !tarn_program_exists(request->program[0]))
        return refuse("there is no program %s that can be started: give its path, or see PATH", request->program[0]);
    char launcher[4096];
    snprintf(launcher, sizeof launcher, "%.*s", (int)strcspn(request->mpirun, " \t"), request->mpirun);
    if ((s->wanted > 1 || s->use_hosts) && !tarn_program_exists(launcher))
        return refuse("there is no %s: install Open MPI (openmpi-bin), or name it with --mpirun", launcher);
    if (request->status) {
        tarn_supervisor_claim(s, request->status);
        while (s->claiming) tarn_supervisor_serve(s, SLICE);
        if (s->held) return refuse("%s", s->claim_problem);
        if (!s->status.path[0])
            return refuse("--status %s: name a file in a directory that exists and that you may write to",
                          s->claim_problem);
    }
    const char *what;
    if (!tarn_workspace_open(&s->workspace, &what))
        return refuse("no folder can be made in %s: %s", what, strerror(errno));
    /* Batch systems give mpirun hosts of their own. */
    const char *nodes = getenv("SLURM_JOB_NUM_NODES");
    bool many = remote || (nodes && atoi(nodes) > 1) || getenv("PBS_NODEFILE") || getenv("LSB_HOSTS");
    if (!tarn_hub_open(&s->hub, many)) return refuse("no port can be opened for the ranks: %s", strerror(errno));
    return 0;
}

/* ---- after a launch ---------------------------------------------------------------------------------------------- */

static bool has_older_checkpoint(const tarn_supervisor *s, int64_t than)
{
    int64_t *steps;
    int count;
    bool older = false;
    tarn_problem problem;
    if (!s->hub.directory[0] || !tarn_checkpoint_scan(&steps, &count, s->hub.directory, &problem)) return false;
    for (int i = 0; i < count; i++) older = older || steps[i] < than;
    free(steps);
    return older;
}

static void put_aside(tarn_supervisor *s, int64_t step)
{
    tarn_problem problem;
    char message[1024];
    if (tarn_checkpoint_quarantine(s->hub.directory, step, &problem))
        snprintf(message, sizeof message,
                 "3 failures in a row from the checkpoint of step %" PRId64 " without a step: it is put aside "
                 "(quarantined-*) and the run goes on from the one before",
                 step);
    else
        snprintf(message, sizeof message,
                 "the checkpoint of step %" PRId64 " stays, though the run keeps failing from "
                 "it: %s",
                 step, problem.text);
    tarn_voice_say("%s", message);
    tarn_run_status_event(&s->status, "quarantine", -1, step, message);
}

/* Hosts that answer the supervisor may not reach each other (a route, a firewall, a switch): ranks then wait for each
 * other, again after the restart. A part of the hosts that works is better than none; trying the whole again costs a
 * tenth of the time at most. */
static void leave_one_out(tarn_supervisor *s, const tarn_outcome *outcome)
{
    if (!s->use_hosts || !outcome->apart || !s->policy.stalled || s->request->hang <= 0) return;
    int least = s->request->min_ranks > 1 ? s->request->min_ranks : 1;
    double seconds = 20 * s->request->hang;
    const tarn_host *host = tarn_hosts_leave_out(&s->hosts, &s->left_out, least, seconds, tarn_seconds());
    if (!host) return;
    char message[512];
    snprintf(
        message, sizeof message,
        "the ranks wait for each other on hosts that all answer: do these reach each other? Trying %.0f s without %s",
        seconds, host->name);
    tarn_voice_say("%s", message);
    tarn_run_status_event(&s->status, "host", -1, s->hub.reached, message);
}

/* Ends the run with a reason. */
static int finish(tarn_supervisor *s, int code, const char *state, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static int finish(tarn_supervisor *s, int code, const char *state, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(s->status.reason, sizeof s->status.reason, format, arguments);
    va_end(arguments);
    if (code) tarn_voice_say("%s", s->status.reason);
    s->status.exit_code = code;
    tarn_run_status_event(&s->status, state, -1, s->hub.reached, s->status.reason);
    tarn_supervisor_tell(s, state);
    return code;
}

static int finish_held(tarn_supervisor *s)
{
    return finish(s, WRONG, "failed", "waited %.0f s for the checkpoint directory: %s",
                  tarn_seconds() - s->policy.busy_since, s->why);
}

/* Another run holds the directory: usually ranks of a killed supervisor, which die within moments. Tried again when its
 * lock is free, so that nothing is started in vain; where locks of other hosts cannot be seen, after the pause. False:
 * stopped, or it is held to the end of the limit. */
static bool wait_for_directory(tarn_supervisor *s, double pause)
{
    if (!wait_for(s, pause)) return false;
    while (tarn_seconds() - s->policy.busy_since < tarn_policy_busy_limit) {
        int lock = s->hub.directory[0] ? tarn_checkpoint_try_lock(s->hub.directory) : -1;
        bool held = lock < 0 && errno == EWOULDBLOCK && s->hub.directory[0];
        tarn_checkpoint_unlock(lock);
        if (!held) return true;
        if (!wait_for(s, 0.25)) return false;
    }
    return false;
}

static int end_run(tarn_supervisor *s, const tarn_decision *decision, const tarn_outcome *outcome)
{
    const char *word = decision->word;
    if (!strcmp(word, "finished")) return finish(s, 0, "finished", "the program finished");
    if (!strcmp(word, "refused"))
        return finish(s, WRONG, "failed", "not started again, since what was written is wrong: %s", s->why);
    if (!strcmp(word, "permanent"))
        return finish(s, 1, "failed", "gave up: starting again would bring the same: %s", s->why);
    if (!strcmp(word, "held")) return finish_held(s);
    if (!strcmp(word, "stopped")) {
        bool saved = outcome->end == TARN_END_EXIT && outcome->number == STOPPED;
        const char *cause = s->stop_asked ? s->stop_signal : s->hub.stopping;
        return finish(s, STOPPED, "stopped", "stopped (%s)%s%s; start again with the same command to go on", cause,
                      saved ? "" : ", not in order: ", saved ? "" : s->why);
    }
    if (!strcmp(word, "stalled") && s->policy.highest < 0)
        return finish(s, 1, "failed", "gave up: %d restart%s in a row and never a first step; the last one: %s",
                      s->policy.stalled, s->policy.stalled == 1 ? "" : "s", s->why);
    if (!strcmp(word, "stalled"))
        return finish(s, 1, "failed",
                      "gave up: %d restart%s in a row without a step beyond %" PRId64 ", the highest ever reached; the "
                      "last one: %s",
                      s->policy.stalled, s->policy.stalled == 1 ? "" : "s", s->policy.highest, s->why);
    return finish(s, 1, "failed", "gave up after %d restart%s (--max-restarts): %s", s->policy.restarts,
                  s->policy.restarts == 1 ? "" : "s", s->why);
}

static int run(tarn_supervisor *s)
{
    for (;;) {
        if (!find_room(s)) return finish(s, STOPPED, "stopped", "stopped (%s) before a launch", s->stop_signal);
        bool first = !s->policy.restarted;
        tarn_outcome outcome = tarn_supervisor_launch(s);
        if (s->held) return refuse("%s", s->why);
        if (outcome.end == TARN_END_LOST && !s->job.pid) return finish(s, WRONG, "failed", "%s", s->why);
        if (first && !outcome.stop_asked && tarn_supervisor_launcher_fails(s))
            return finish(
                s, WRONG, "failed",
                "%s started no process (%s), not even one that does nothing: its own message is above; see to "
                "--mpi-option, --mpirun and -n",
                s->request->mpirun, s->why);
        /* A run begun anew where an earlier one had ended has steps of its own to reach. */
        if (first && outcome.resumed == 0 && s->status.inherited && !s->status.inherited_killed) s->policy.highest = -1;
        if (outcome.resumed > 0) outcome.older_checkpoint = has_older_checkpoint(s, outcome.resumed);
        tarn_decision decision = tarn_policy_decide(&s->policy, &outcome);
        if (decision.action == TARN_END_RUN) return end_run(s, &decision, &outcome);
        const char *reason =
            s->hub.stopping[0] && outcome.end == TARN_END_EXIT && outcome.number == STOPPED ? s->hub.stopping : s->why;
        snprintf(s->restarted_for, sizeof s->restarted_for, "%s: %.400s", decision.word, reason);
        bool busy = !strcmp(decision.word, "busy");
        bool told = busy && s->policy.busy_since < outcome.ended; /* one line for the whole wait */
        if (!told) tarn_run_status_event(&s->status, decision.word, s->blamed, outcome.reached, reason);
        if (decision.action == TARN_QUARANTINE_AND_RESTART) put_aside(s, outcome.resumed);
        if (busy && !told)
            tarn_voice_say("busy: %s; waiting for it, %.0f s at most", reason, tarn_policy_busy_limit);
        else if (busy)
            ;
        else if (decision.delay >= 1)
            tarn_voice_say("%s: %s; starting again in %.0f s", decision.word, reason, decision.delay);
        else
            tarn_voice_say("%s: %s; starting again", decision.word, reason);
        leave_one_out(s, &outcome);
        tarn_supervisor_tell(s, "restarting");
        bool waited = busy ? wait_for_directory(s, decision.delay) : wait_for(s, decision.delay);
        if (!waited && !s->stop_asked) return finish_held(s);
        if (!waited)
            return finish(s, STOPPED, "stopped",
                          "stopped (%s) between two launches; start again with the same command "
                          "to go on",
                          s->stop_signal);
    }
}

/* What killed ranks were writing is of no use; while another run writes there it is that run's matter. */
static void remove_temporaries(const tarn_supervisor *s)
{
    int lock = s->hub.directory[0] ? tarn_checkpoint_try_lock(s->hub.directory) : -1;
    if (lock < 0) return;
    tarn_checkpoint_remove_temporaries(s->hub.directory);
    tarn_checkpoint_unlock(lock);
}

/* Waits until all is written, or one more signal says not to. */
static void wait_for_files(tarn_supervisor *s)
{
    s->ending = true;
    while (!s->end_asked && (tarn_errands_open(&s->files) || !tarn_voice_quiet())) tarn_supervisor_serve(s, LAST_SLICE);
    tarn_errands_collect(&s->files);
}

int tarn_supervise(const tarn_run_request *request)
{
    fflush(NULL);
    tarn_supervisor *s = calloc(1, sizeof *s);
    if (!s || !take_signals(s)) {
        fprintf(stderr, "tarn run: %s\n", strerror(errno));
        free(s);
        return 1;
    }
    tarn_voice_start();
    tarn_errands_start(&s->files, "tarn-files");
    if (s->files.wake >= 0) epoll_ctl(s->wakes, EPOLL_CTL_ADD, s->files.wake, &(struct epoll_event){.events = EPOLLIN});
    s->request = request;
    s->hub.listener = s->status_file.lock = -1;
    s->workspace.sessions_lock = s->workspace.segments_lock = -1;
    s->hub.reached = s->hub.saved = -1;
    tarn_policy_start(&s->policy, request->max_restarts, request->max_stalled, request->backoff);
    tarn_run_status_start(&s->status, request->program);
    int code = prepare(s);
    if (!code) code = run(s);
    remove_temporaries(s);
    clean_hosts(s);
    tarn_workspace_close(&s->workspace);
    wait_for_files(s);
    tarn_supervisor_write_status(s, true);
    wait_for_files(s);
    tarn_hub_close(&s->hub);
    tarn_hosts_free(&s->hosts);
    close(s->signals);
    bool quiet = tarn_voice_end();
    if (!tarn_errands_end(&s->files) || !quiet)
        return code; /* a thread still waits for the disk: it keeps what it has */
    tarn_status_file_close(&s->status_file);
    close(s->wakes);
    free(s);
    return code;
}
