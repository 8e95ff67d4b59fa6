/* drain.c - from the spool to a sink.
 *
 * Invariants
 *  1. A sink that cannot go on keeps only its own thread waiting: 0.5 s at first, twice as long each time, at most 60
 *     s, a quarter up or down by chance, at least what the destination asked for. While the end waits for it, it is
 *     tried at once and then about every second, whatever was asked for.
 *  2. What is acknowledged was taken: the number is written (whole, synced, renamed) after the sink's answer, at most
 *     once a second and at the end. After a crash the sink gets again what it took since.
 *  3. One line when a destination begins to fail, one when it takes events again; one for the first refusal.
 *  4. When tarn_drain_stop has returned nothing is told any more, also where the thread was left behind in a call that
 *     does not come back; should it come back after all, the thread frees the drain itself.
 */
#include "track/drain.h"
#include "track/spool.h"
#include "runtime/base/context.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH = 4096 };

/* The longest wait between two tries while somebody waits for the drain. */
#define FLUSH_SECONDS 1.0
#define STOP_SECONDS  5.0 /* that a thread is waited for */

struct tarn_drain {
    tarn_sink *sink;
    tarn_spool_reader *reader;
    tarn_path state_folder;
    tarn_drain_tell *tell;
    void *user;
    pthread_t thread;
    tarn_track_event events[BATCH]; /* the thread's, as what follows up to the lock */
    int64_t stored;                 /* the number that the file holds */
    double stored_at;
    int failures; /* in a row */
    unsigned chance;
    bool refused;
    char boot[64];
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake, moved;
    int64_t visible;
    const char *rest; /* lines in memory for the reader; NULL: none, or it has them */
    size_t rest_length;
    bool lets_go; /* of the segment that the reader has open */
    bool flushing, closing, ended;
    tarn_drain_state state;
    pthread_mutex_t telling; /* held while `tell` is called; taken before `lock` */
    bool abandoned;          /* written with both locks held: nobody waits for the thread, `user` may be gone */
};

/* ---- what is acknowledged --------------------------------------------------------------------------------------- */

/* A name of this start of the host. */
static void read_boot(char out[64])
{
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (!file || !fgets(out, 64, file)) strcpy(out, "unknown");
    if (file) fclose(file);
    out[strcspn(out, "\n")] = '\0';
}

int64_t tarn_drain_acknowledged(const char *state, bool forget)
{
    tarn_path path;
    char boot[64], now[64];
    long long number = 0;
    if (tarn_path_make(path, "%s/acknowledged", state)) return 0;
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    int count = fscanf(file, "%lld %63s", &number, boot);
    fclose(file);
    if (count < 1 || number < 0) return 0;
    read_boot(now);
    return forget && (count < 2 || strcmp(boot, now)) ? 0 : number;
}

static void store(tarn_drain *drain, int64_t number)
{
    tarn_path path, temporary;
    char text[128];
    if (number == drain->stored || tarn_path_make(path, "%s/acknowledged", drain->state_folder) ||
        tarn_path_make(temporary, "%s/.acknowledged", drain->state_folder))
        return;
    size_t length = (size_t)snprintf(text, sizeof text, "%lld %s\n", (long long)number, drain->boot);
    /* A number that stays behind is no loss: the sink gets some events again. */
    if (!tarn_file_put_synced(path, temporary, text, length)) drain->stored = number;
    drain->stored_at = tarn_seconds();
}

/* ---- the thread ------------------------------------------------------------------------------------------------- */

static void back_off(tarn_drain *drain, const tarn_sink_report *report)
{
    double seconds = 0.5;
    for (int i = 1; i < drain->failures && seconds < 60; i++) seconds *= 2;
    if (seconds > 60) seconds = 60;
    seconds *= 0.75 + 0.5 * (double)rand_r(&drain->chance) / RAND_MAX;
    if (report->retry_after > seconds) seconds = report->retry_after < 3600 ? report->retry_after : 3600;
    pthread_mutex_lock(&drain->lock);
    bool flushing = drain->flushing;
    if (flushing && seconds > FLUSH_SECONDS) seconds = FLUSH_SECONDS;
    double until = tarn_seconds() + seconds;
    while (!drain->closing && drain->flushing == flushing && tarn_seconds() < until)
        tarn_condition_wait(&drain->wake, &drain->lock, until);
    pthread_mutex_unlock(&drain->lock);
}

static void tell(tarn_drain *drain, tarn_log_level level, const char *line)
{
    pthread_mutex_lock(&drain->telling);
    if (!drain->abandoned) drain->tell(drain->user, level, line);
    pthread_mutex_unlock(&drain->telling);
}

static void say(tarn_drain *drain, const char *format, const char *problem)
{
    char line[TARN_SINK_PROBLEM + 256];
    snprintf(line, sizeof line, format, drain->sink->name, problem);
    tell(drain, TARN_LOG_WARN, line);
}

/* Enters a sink's answer; `number`: of the last event it has now. */
static void note(tarn_drain *drain, const tarn_sink_report *report, int64_t number, bool whole)
{
    bool began = false, works = false, refused = false;
    pthread_mutex_lock(&drain->lock);
    drain->state.acknowledged = number;
    drain->state.taken += report->taken;
    drain->state.lost += report->lost;
    drain->state.corrupt = tarn_spool_corrupt(drain->reader);
    /* An old failure is not told as if it were the present one: what it took shows that it answers. */
    if (whole || report->taken) *drain->state.problem = '\0';
    if (!whole && *report->problem) memcpy(drain->state.problem, report->problem, sizeof report->problem);
    if (report->lost && *report->problem && !*drain->state.refusal)
        memcpy(drain->state.refusal, report->problem, sizeof report->problem);
    if (report->lost && !drain->refused) refused = drain->refused = true;
    if (report->taken) works = drain->state.failing, drain->state.failing = false;
    if (!whole && !drain->closing) began = !drain->state.failing && !works, drain->state.failing = true;
    if (drain->flushing) began = works = refused = false; /* the end tells of it */
    if (began || (works && whole)) drain->state.told_failing = began;
    pthread_cond_broadcast(&drain->moved);
    pthread_mutex_unlock(&drain->lock);
    if (*report->information) tell(drain, TARN_LOG_INFO, report->information);
    if (refused)
        say(drain, "%s refused a part of the record: %s; training goes on, what was refused is counted",
            report->problem);
    if (whole && !report->lost && *report->problem) say(drain, "%s: %s", report->problem);
    if (began) say(drain, "%s takes no events now: %s; training goes on, they wait in the spool", report->problem);
    if (works && whole) say(drain, "%s takes events again%s", "");
    drain->failures = whole ? 0 : report->taken ? 1 : drain->failures + 1;
}

static bool is_closing(tarn_drain *drain)
{
    pthread_mutex_lock(&drain->lock);
    bool closing = drain->closing;
    pthread_mutex_unlock(&drain->lock);
    return closing;
}

/* Hands a batch over, however often that must be tried. False: closing. */
static bool hand_over(tarn_drain *drain, int64_t count)
{
    for (int64_t done = 0; done < count;) {
        tarn_sink_report report = {0};
        drain->sink->write(drain->sink, drain->events + done, count - done, &report);
        if (report.taken < 0) report.taken = 0;
        if (report.taken > count - done) report.taken = count - done;
        done += report.taken;
        bool whole = done == count;
        int64_t number = whole  ? tarn_spool_position(drain->reader)
                         : done ? tarn_spool_number(drain->reader, done - 1)
                                : drain->state.acknowledged; /* only this thread writes it */
        note(drain, &report, number, whole);
        if (whole) break;
        if (is_closing(drain)) return false;
        store(drain, number);
        back_off(drain, &report);
        if (is_closing(drain)) return false;
    }
    return true;
}

static void destroy(tarn_drain *drain)
{
    drain->sink->destroy(drain->sink);
    tarn_spool_close_reader(drain->reader);
    pthread_cond_destroy(&drain->wake);
    pthread_cond_destroy(&drain->moved);
    pthread_mutex_destroy(&drain->lock);
    pthread_mutex_destroy(&drain->telling);
    free(drain);
}

static void *drain_spool(void *user)
{
    tarn_drain *drain = user;
    int64_t most = drain->sink->most > 0 && drain->sink->most < BATCH ? drain->sink->most : BATCH;
    pthread_mutex_lock(&drain->lock);
    while (!drain->closing) {
        if (drain->lets_go) { /* the segment that is open is another file now: its room is free when this one is closed
                               */
            pthread_mutex_unlock(&drain->lock);
            tarn_spool_seek(drain->reader, tarn_spool_position(drain->reader));
            pthread_mutex_lock(&drain->lock);
            drain->lets_go = false;
            pthread_cond_broadcast(&drain->moved);
            continue;
        }
        if (drain->visible <= drain->state.acknowledged) {
            int64_t number = drain->state.acknowledged;
            double due = drain->stored_at + 1;
            if (number == drain->stored)
                pthread_cond_wait(&drain->wake, &drain->lock);
            else if (tarn_seconds() < due)
                tarn_condition_wait(&drain->wake, &drain->lock, due);
            else {
                pthread_mutex_unlock(&drain->lock);
                store(drain, number);
                pthread_mutex_lock(&drain->lock);
            }
            continue;
        }
        if (drain->rest) tarn_spool_set_rest(drain->reader, drain->rest, drain->rest_length);
        drain->rest = NULL;
        tarn_spool_limit(drain->reader, drain->visible);
        int64_t visible = drain->visible;
        pthread_mutex_unlock(&drain->lock);
        int64_t count = tarn_spool_read(drain->reader, drain->events, most);
        bool goes_on = !count || hand_over(drain, count);
        if (!count && tarn_spool_failed(drain->reader))
            back_off(drain, &(tarn_sink_report){0});
        else if (!count) /* what is left below the limit are lines of the spool itself, or bad ones */
            note(drain, &(tarn_sink_report){0}, visible, true);
        if (goes_on && tarn_seconds() > drain->stored_at + 1) store(drain, drain->state.acknowledged);
        pthread_mutex_lock(&drain->lock);
        if (!goes_on) break;
    }
    int64_t number = drain->state.acknowledged;
    pthread_mutex_unlock(&drain->lock);
    store(drain, number);
    pthread_mutex_lock(&drain->lock);
    drain->ended = true;
    bool abandoned = drain->abandoned;
    pthread_cond_broadcast(&drain->moved);
    pthread_mutex_unlock(&drain->lock);
    if (abandoned) destroy(drain);
    return NULL;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

tarn_drain *tarn_drain_start(tarn_sink *sink, const char *spool, const char *state, bool forget, tarn_drain_tell *tell,
                             void *user)
{
    char problem[TARN_SINK_PROBLEM];
    tarn_drain *drain = calloc(1, sizeof *drain);
    if (!drain) {
        sink->destroy(sink);
        errno = ENOMEM;
        return NULL;
    }
    drain->sink = sink;
    drain->tell = tell;
    drain->user = user;
    drain->chance = (unsigned)getpid() ^ (unsigned)(uintptr_t)drain;
    read_boot(drain->boot);
    tarn_condition_init(&drain->wake);
    tarn_condition_init(&drain->moved);
    pthread_mutex_init(&drain->lock, NULL);
    pthread_mutex_init(&drain->telling, NULL);
    drain->reader = tarn_spool_open_reader(spool, problem);
    int error = errno;
    if (drain->reader && !tarn_path_make(drain->state_folder, "%s", state)) {
        drain->state.acknowledged = drain->stored = tarn_drain_acknowledged(state, forget);
        tarn_spool_seek(drain->reader, drain->stored);
        sigset_t before;
        tarn_block_signals(&before);
        error = pthread_create(&drain->thread, NULL, drain_spool, drain);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (!error) return drain;
    }
    destroy(drain);
    errno = error;
    return NULL;
}

void tarn_drain_show(tarn_drain *drain, int64_t number)
{
    pthread_mutex_lock(&drain->lock);
    if (number > drain->visible) {
        drain->visible = number;
        pthread_cond_signal(&drain->wake);
    }
    pthread_mutex_unlock(&drain->lock);
}

void tarn_drain_show_rest(tarn_drain *drain, const char *lines, size_t length, int64_t number)
{
    pthread_mutex_lock(&drain->lock);
    drain->rest = lines;
    drain->rest_length = length;
    pthread_mutex_unlock(&drain->lock);
    tarn_drain_show(drain, number);
}

void tarn_drain_let_go(tarn_drain *drain, double until)
{
    pthread_mutex_lock(&drain->lock);
    drain->lets_go = true;
    pthread_cond_signal(&drain->wake);
    while (drain->lets_go && !drain->ended && tarn_seconds() < until)
        tarn_condition_wait(&drain->moved, &drain->lock, until);
    pthread_mutex_unlock(&drain->lock);
}

bool tarn_drain_wait(tarn_drain *drain, int64_t number, double until)
{
    pthread_mutex_lock(&drain->lock);
    while (drain->state.acknowledged < number && !drain->ended && tarn_seconds() < until)
        tarn_condition_wait(&drain->moved, &drain->lock, until);
    bool reached = drain->state.acknowledged >= number;
    pthread_mutex_unlock(&drain->lock);
    return reached;
}

void tarn_drain_get(tarn_drain *drain, tarn_drain_state *state)
{
    pthread_mutex_lock(&drain->lock);
    *state = drain->state;
    pthread_mutex_unlock(&drain->lock);
}

const char *tarn_drain_name(const tarn_drain *drain)
{
    return drain->sink->name;
}

bool tarn_drain_shows_statistics(const tarn_drain *drain)
{
    return drain->sink->statistics != NULL;
}

void tarn_drain_show_statistics(tarn_drain *drain, const tarn_track_statistics *statistics)
{
    if (drain->sink->statistics) drain->sink->statistics(drain->sink, statistics);
}

void tarn_drain_flush(tarn_drain *drain)
{
    pthread_mutex_lock(&drain->lock);
    drain->flushing = true;
    pthread_cond_signal(&drain->wake);
    pthread_mutex_unlock(&drain->lock);
}

void tarn_drain_cancel(tarn_drain *drain)
{
    pthread_mutex_lock(&drain->lock);
    drain->closing = true;
    pthread_cond_signal(&drain->wake);
    pthread_mutex_unlock(&drain->lock);
    if (drain->sink->cancel) drain->sink->cancel(drain->sink);
}

void tarn_drain_stop(tarn_drain *drain, tarn_drain_state *last)
{
    tarn_drain_cancel(drain);
    double until = tarn_seconds() + STOP_SECONDS;
    pthread_mutex_lock(&drain->lock);
    while (!drain->ended && tarn_condition_wait(&drain->moved, &drain->lock, until)) continue;
    bool ended = drain->ended;
    if (last) *last = drain->state;
    pthread_mutex_unlock(&drain->lock);
    if (!ended) {
        pthread_mutex_lock(&drain->telling);
        pthread_mutex_lock(&drain->lock);
        ended = drain->ended;
        /* In a call of the operating system that does not come back (a dead network disk): nothing can be freed. */
        drain->abandoned = !ended;
        pthread_mutex_unlock(&drain->telling);
        if (!ended) pthread_detach(drain->thread);
        pthread_mutex_unlock(&drain->lock);
        if (!ended) return;
    }
    pthread_join(drain->thread, NULL);
    destroy(drain);
}
