/* drain.h - one thread a sink, which reads the spool from where the sink stands and hands it the events. */
#ifndef TARN_TRACK_DRAIN_H
#define TARN_TRACK_DRAIN_H

#include "track/files.h"
#include "track/sink.h"

typedef struct tarn_drain tarn_drain;

/* Receives a line for the log, from the drain's thread. */
typedef void tarn_drain_tell(void *user, tarn_log_level level, const char *line);

typedef struct tarn_drain_state {
    int64_t acknowledged; /* number of the last event the sink has taken */
    int64_t taken;        /* events handed over by this process, those refused for good included */
    int64_t lost;         /* refused for good, by this process */
    int64_t corrupt;      /* bad lines */
    bool failing;
    bool told_failing;               /* and nobody was told yet that it works again */
    char problem[TARN_SINK_PROBLEM]; /* why it takes nothing now; "" since it has taken something */
    char refusal[TARN_SINK_PROBLEM]; /* of the first event that was refused for good */
} tarn_drain_state;

/* Starts a drain of `spool`; state: the sink's folder; forget: what it acknowledged before the host was last started
 * is not to be relied on. The sink belongs to the drain from here on, also on failure (NULL, errno). Nothing is handed
 * out before tarn_drain_show. */
tarn_drain *tarn_drain_start(tarn_sink *sink, const char *spool, const char *state, bool forget, tarn_drain_tell *tell,
                             void *user);
/* Events up to `number` are durable: they may be handed out. */
void tarn_drain_show(tarn_drain *drain, int64_t number);
/* Segments were rewritten: the thread closes the one it has open, whose room is not free before. Waits for that, until
 * then at most. */
void tarn_drain_let_go(tarn_drain *drain, double until);
/* The last events, up to `number`, which never came to the spool: lines, borrowed until the drain has stopped, that are
 * handed out behind it. */
void tarn_drain_show_rest(tarn_drain *drain, const char *lines, size_t length, int64_t number);
/* Waits until the sink has taken all up to `number`; false: the time (monotonic seconds) came first. */
bool tarn_drain_wait(tarn_drain *drain, int64_t number, double until);
void tarn_drain_get(tarn_drain *drain, tarn_drain_state *state);
const char *tarn_drain_name(const tarn_drain *drain);
/* Whether the sink shows what tracking says of itself, and handing it over. */
bool tarn_drain_shows_statistics(const tarn_drain *drain);
void tarn_drain_show_statistics(tarn_drain *drain, const tarn_track_statistics *statistics);
/* Somebody waits for the sink (closing): it is tried at once, and from then on about every second; what becomes of it
 * is told by whoever waits. */
void tarn_drain_flush(tarn_drain *drain);
/* Asks the thread to end, and a write under way to return; for several drains before they are stopped. */
void tarn_drain_cancel(tarn_drain *drain);
/* Ends the thread (a write under way is cancelled), remembers how far the sink is, ends the sink. A sink whose write
 * does not return is left behind with its thread. last (may be NULL): how far it came. */
void tarn_drain_stop(tarn_drain *drain, tarn_drain_state *last);

/* How far the sink of that state folder is; 0: not begun, or (forget) not since the host was started. */
int64_t tarn_drain_acknowledged(const char *state, bool forget);

#endif
