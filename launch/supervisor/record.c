/* record.c - what the supervisor keeps in files while ranks live: the claim of the status file and its new texts, the
 * stacks of a hang. The thread of errands reads and writes; the supervisor's own never waits for a disk.
 *
 * Invariants
 *  1. One text of the status file is under way at a time, and the one after it is made when that is done: however slow
 *     the disk, the latest state wins and nothing piles up.
 *  2. tarn_supervisor.status_file belongs to the thread of errands as long as an errand is open.
 *  3. The claim of another supervisor ends a launch only before it trains: later the checkpoint directory's own lock,
 *     which rank 0 holds, says whose it is.
 */
#include "launch/supervisor/supervisor_internal.h"
#include "runtime/base/context.h"
#include "runtime/base/write.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Takes over what a supervisor before left in the status file just claimed. */
static void inherit(tarn_supervisor *s)
{
    const tarn_run_status *status = &s->status;
    if (status->highest > s->policy.highest) s->policy.highest = status->highest;
    if (!status->inherited_killed) return;
    s->policy.restarted = true;
    s->policy.stalled += status->inherited_stalled;
    s->policy.restarts += status->inherited_restarts;
    s->begun = s->begun || status->inherited_begun;
}

/* ---- new texts of the status file -------------------------------------------------------------------------------- */

typedef struct replacement {
    tarn_errand errand;
    tarn_supervisor *s;
    char *text;
    bool durable, written;
    int error;
} replacement;

static void replace(tarn_errand *errand)
{
    replacement *r = (replacement *)errand;
    r->written = tarn_status_file_replace(&r->s->status_file, r->text, r->durable, &r->error);
}

static void replaced(tarn_errand *errand)
{
    replacement *r = (replacement *)errand;
    tarn_supervisor *s = r->s;
    s->writing = false;
    if (!r->written && !s->status.complained) {
        s->status.complained = true;
        tarn_voice_say("the status file %s cannot be written: %s; the run goes on without it", s->status.path,
                       strerror(r->error));
    }
    free(r->text);
    free(r);
    if (s->write_again) tarn_supervisor_write_status(s, false);
}

void tarn_supervisor_write_status(tarn_supervisor *s, bool durable)
{
    if (!s->status.path[0]) return;
    s->status.written = tarn_seconds();
    s->write_again = s->writing && !durable;
    if (s->write_again) return;
    replacement *r = malloc(sizeof *r);
    char *text = r ? tarn_run_status_print(&s->status) : NULL;
    if (!text) { /* the next one says more */
        free(r);
        return;
    }
    *r = (replacement){.errand = {.work = replace, .done = replaced}, .s = s, .text = text, .durable = durable};
    s->writing = true;
    tarn_errands_give(&s->files, &r->errand);
}

void tarn_supervisor_tell(tarn_supervisor *s, const char *state)
{
    tarn_run_status *status = &s->status;
    if (state) snprintf(status->state, sizeof status->state, "%s", state);
    if (s->hub.reached > status->step) status->step = s->hub.reached;
    if (s->hub.saved > status->saved) status->saved = s->hub.saved;
    status->highest = s->policy.highest > s->hub.reached ? s->policy.highest : s->hub.reached;
    status->begun = s->begun;
    status->restarts = s->policy.restarts;
    status->stalled = s->policy.stalled;
    status->wanted_ranks = s->wanted;
    snprintf(status->hosts, sizeof status->hosts, "%.*s", (int)sizeof status->hosts - 1, s->place);
    snprintf(status->workspace, sizeof status->workspace, "%s", s->workspace.name);
    tarn_supervisor_write_status(s, false);
}

/* ---- the claim --------------------------------------------------------------------------------------------------- */

typedef struct claim {
    tarn_errand errand;
    tarn_supervisor *s;
    char path[4352];
    tarn_status_claim result;
    char *text;
    int error;
} claim;

static void take(tarn_errand *errand)
{
    claim *c = (claim *)errand;
    c->result = tarn_status_file_claim(&c->s->status_file, c->path, &c->text, &c->error);
}

static void held(tarn_supervisor *s, const claim *c)
{
    tarn_run_status_name_holder(c->path, c->text, s->claim_problem, sizeof s->claim_problem);
    if (s->hub.resumed < 0) {
        s->held = true;
        return;
    }
    s->claim_known = true;
    if (s->told_held) return;
    s->told_held = true;
    tarn_voice_say("%s; this run trains there and goes on, without a status file until that one ends",
                   s->claim_problem);
}

static void taken(tarn_errand *errand)
{
    claim *c = (claim *)errand;
    tarn_supervisor *s = c->s;
    s->claiming = false;
    switch (c->result) {
    case TARN_STATUS_HELD:
        held(s, c);
        break;
    case TARN_STATUS_BROKEN: /* the directory may not be there yet, or on another host */
        snprintf(s->claim_problem, sizeof s->claim_problem, "%.1900s: %s", c->path, strerror(c->error));
        s->claim_known = true;
        break;
    case TARN_STATUS_CLAIMED:
        snprintf(s->status.path, sizeof s->status.path, "%.*s", (int)sizeof s->status.path - 1, c->path);
        s->claim_problem[0] = 0;
        tarn_run_status_inherit(&s->status, c->text);
        inherit(s);
        if (s->job.pid) tarn_supervisor_tell(s, NULL);
        break;
    }
    free(c->text);
    free(c);
}

void tarn_supervisor_claim(tarn_supervisor *s, const char *path)
{
    if (s->claiming || s->status.path[0]) return;
    claim *c = malloc(sizeof *c);
    if (!c) return;
    *c = (claim){.errand = {.work = take, .done = taken}, .s = s};
    snprintf(c->path, sizeof c->path, "%s", path);
    s->claiming = true;
    tarn_errands_give(&s->files, &c->errand);
}

/* ---- other files ------------------------------------------------------------------------------------------------- */

typedef struct keeping {
    tarn_errand errand;
    char path[4608];
    char *text;
    size_t bytes;
} keeping;

/* Where it cannot be saved it goes to stderr. */
static void keep(tarn_errand *errand)
{
    keeping *k = (keeping *)errand;
    int file = open(k->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644), error = errno;
    bool saved = file >= 0 && tarn_write_all(file, k->text, k->bytes);
    if (file >= 0 && !saved) error = errno;
    if (file >= 0) close(file);
    if (saved) {
        tarn_voice_say("stacks of all ranks: %s", k->path);
    } else {
        tarn_voice_say("the stacks cannot be saved: %s: %s", k->path, strerror(error));
        tarn_voice_write(k->text, k->bytes);
    }
    free(k->text);
}

void tarn_supervisor_keep_stacks(tarn_supervisor *s, const char *path, char *text, size_t bytes)
{
    keeping *k = path ? malloc(sizeof *k) : NULL;
    if (!k) {
        tarn_voice_write(text, bytes);
        free(text);
        return;
    }
    *k = (keeping){.errand = {.work = keep}, .text = text, .bytes = bytes};
    snprintf(k->path, sizeof k->path, "%s", path);
    tarn_errands_give(&s->files, &k->errand);
}

typedef struct reading {
    tarn_errand errand;
    tarn_supervisor *s;
    tarn_hosts hosts;
    bool good;
    char problem[4608];
} reading;

static void read_hosts(tarn_errand *errand)
{
    reading *r = (reading *)errand;
    r->good = tarn_hosts_read_file(&r->hosts, r->s->request->hostfile, r->problem, sizeof r->problem);
}

static void hosts_read(tarn_errand *errand)
{
    reading *r = (reading *)errand;
    r->s->reading_hosts = false;
    if (r->good)
        tarn_hosts_replace(&r->s->hosts, &r->hosts);
    else
        tarn_voice_say("%s; going on with the hosts read before", r->problem);
    r->s->hosts_are_read = r->good;
    free(r);
}

void tarn_supervisor_read_hosts(tarn_supervisor *s)
{
    reading *r = malloc(sizeof *r);
    s->reading_hosts = r != NULL;
    s->hosts_are_read = false;
    if (!r) return;
    *r = (reading){.errand = {.work = read_hosts, .done = hosts_read}, .s = s};
    tarn_errands_give(&s->files, &r->errand);
}
