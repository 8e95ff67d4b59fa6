/* judge.c - how a launch ended, in a sentence and for the policy, from what the ranks said and what became of the
 * launcher. What ranks said goes first: the launcher may have been killed, or only repeat it.
 */
#include "launch/supervisor/supervisor_internal.h"
#include "runtime/base/context.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static const double SILENT = 2.5; /* seconds; a rank speaks once a second */

const char *tarn_supervisor_step(int64_t step, char out[TARN_STEP_TEXT])
{
    if (step < 0)
        snprintf(out, TARN_STEP_TEXT, "before the first step");
    else
        snprintf(out, TARN_STEP_TEXT, "step %" PRId64, step);
    return out;
}

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
static bool is_told_again(tarn_supervisor *s, const char *status, const char *message)
{
    bool opening = !strcmp(status, "io") && s->hub.resumed < 0;
    bool again = opening && !strcmp(s->last_failure, message);
    snprintf(s->last_failure, sizeof s->last_failure, "%s", opening ? message : "");
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
    char step[TARN_STEP_TEXT];
    snprintf(out, size, "; the first to go was rank %d on %s, last heard %s%s%s%s%s", hub->first_lost_rank, rank->host,
             rank->step < 0 ? "" : "at ", tarn_supervisor_step(rank->step, step), *rank->what ? " (" : "", rank->what,
             *rank->what ? ")" : "");
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

const tarn_hub_rank *tarn_hub_first_failed(const tarn_hub *hub, int *number)
{
    const tarn_hub_rank *first = NULL;
    for (int i = 0; i < hub->rank_count; i++)
        if (hub->rank[i].failed && (!first || hub->rank[i].failed_at < first->failed_at)) {
            first = &hub->rank[i];
            *number = i;
        }
    return first;
}

/* Ranks that agree on another's error tell it as "rank 0: ...": then it is that rank's, and the name is not said twice.
 */
static const char *own_words(const tarn_hub *hub, const char *message, const tarn_hub_rank **rank, int *number)
{
    int of, length = 0;
    if (sscanf(message, "rank %d: %n", &of, &length) != 1 || !length || of < 0 || of >= hub->rank_count) return message;
    *number = of;
    *rank = &hub->rank[of];
    return message + length;
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
        tarn_voice_say("host %s is being taken away: going on without it", host->name);
        tarn_run_status_event(&s->status, "host", i, s->hub.reached, s->hub.stopping);
    }
}

/* How it ended, from what is known: what ranks said goes before what mpirun says, which may have been killed. */
void tarn_supervisor_judge(tarn_supervisor *s, bool killed, const char *hang, int hung_rank, tarn_outcome *out)
{
    const tarn_job *job = &s->job;
    const char *launcher = job->direct ? "the program" : "mpirun";
    char lost[640];
    int code = 0, number = 0;
    say_who_was_lost(s, lost, sizeof lost);
    const tarn_hub_rank *failed = tarn_hub_first_failed(&s->hub, &number);
    bool by_itself = !killed && WIFEXITED(job->status);
    s->blamed = hang ? hung_rank : failed ? number : s->hub.first_lost > 0 ? s->hub.first_lost_rank : -1;
    out->end = TARN_END_LOST;
    if (announced(&s->hub, &code)) {
        out->end = TARN_END_EXIT;
        out->number = code;
        snprintf(s->why, sizeof s->why, "exit code %d", code);
    } else if (hang) {
        out->end = TARN_END_HUNG;
        snprintf(s->why, sizeof s->why, "%s", hang);
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
        const tarn_hub_rank *of = failed;
        const char *message = own_words(&s->hub, failed->message, &of, &number);
        char step[TARN_STEP_TEXT];
        s->blamed = number;
        snprintf(s->why, sizeof s->why, "rank %d on %s, %s: %s (%s error, exit code %d)", number,
                 of->known ? of->host : failed->host, tarn_supervisor_step(of->step, step), message, failed->status,
                 out->number);
        out->permanent = is_permanent(failed->status);
        out->told_again = is_told_again(s, failed->status, message);
        out->directory_busy = !strcmp(failed->status, "state") && strstr(failed->message, "another run is writing");
    }
    read_spot_notice(s, tarn_seconds(), out);
}
