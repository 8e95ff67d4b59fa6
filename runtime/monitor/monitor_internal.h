/* monitor_internal.h - the inside of the monitor, for the files of runtime/monitor alone.
 *
 *   position.c  where the threads are, in words
 *   channel.c   the connection to the supervisor
 *   stacks.c    the stacks of all threads
 *   symbols.c   names of functions
 *   monitor.c   the thread that ties them together: life, limits, ends
 */
#ifndef TARN_RUNTIME_MONITOR_INTERNAL_H
#define TARN_RUNTIME_MONITOR_INTERNAL_H

#include "runtime/base/median.h"
#include "runtime/monitor/monitor.h"

#include <pthread.h>
#include <sys/types.h>

enum { TARN_MONITOR_TEXT = 128, TARN_MONITOR_LINE = 1024, TARN_MONITOR_ADDRESSES = 16 };

/* A text that one thread writes and others read without a lock. */
typedef struct monitor_text {
    atomic_uint sequence; /* odd while it is being written */
    _Atomic uint64_t word[TARN_MONITOR_TEXT / 8];
} monitor_text;

/* What channel.c keeps. Only the monitor's thread touches it. */
typedef struct monitor_channel {
    char *addresses[TARN_MONITOR_ADDRESSES];
    int address_count, next_address;
    char port[16], token[80];
    char *storage; /* of the addresses */
    int socket;    /* -1: none */
    bool connected, closed;
    bool greeted;        /* the supervisor has said something */
    double attempt_ends; /* a connection not made by then is tried elsewhere; then the earliest next attempt */
    char in[512];
    size_t in_used;
    char *out;
    size_t out_used, out_capacity;
} monitor_channel;

typedef struct tarn_monitor {
    tarn_context *context;
    int rank, ranks;
    char host[64];
    bool supervised;
    double fixed_hang; /* TARN_HANG_SECONDS; 0: not given */
    tarn_place *main_place;

    _Atomic int64_t step;      /* -1 outside training */
    _Atomic int64_t last_step; /* the last that was none of -1 */
    monitor_text what, label;
    atomic_bool waiting;
    _Atomic double watch;        /* seconds; 0: not in training */
    _Atomic double blocking;     /* seconds the call under way may take; 0: none */
    atomic_uint blocking_number; /* of blocking calls so far */
    _Atomic double peers_worked; /* tarn_seconds() when the supervisor last said so */

    pthread_t thread;
    int wake; /* eventfd */
    pthread_mutex_t lock;
    char *queue; /* lines for the supervisor; guarded by the lock, as the rest */
    size_t queue_used, queue_capacity;
    atomic_bool ending; /* what is queued is the last: send it */
    bool drained;       /* it is sent, or cannot be */
    bool quit;
    bool claimed; /* the supervisor has answered `directory` */
    pthread_cond_t changed;

    /* The thread's own. */
    monitor_channel channel;
    double clock;     /* seconds this process has been running, see monitor.c */
    double last_word; /* of the supervisor */
    double next_report;
    uint64_t seen_progress;
    double progress_at;
    unsigned seen_blocking;
    double blocking_since;
    int64_t seen_step;
    double step_at;
    tarn_median step_seconds;
    double ending_since;
} tarn_monitor;

/* ---- position.c ---- */
void tarn_monitor_text_write(monitor_text *text, const char *string);
void tarn_monitor_text_read(const monitor_text *text, char out[TARN_MONITOR_TEXT]);
/* The sum of all threads' counters. */
uint64_t tarn_place_total(void);
/* The place of a thread, or NULL. */
const tarn_place *tarn_place_of(pid_t thread);
/* "shard 3, op matmul [gpt.c:12]"; false when the thread is in no shard and no op. */
bool tarn_place_describe(const tarn_place *place, char *out, size_t size);
/* "step 17: shard 3, op matmul [gpt.c:12]", "step 17: reducing the gradients, waiting for rank 2" */
void tarn_monitor_describe(tarn_monitor *monitor, char *out, size_t size);

/* ---- channel.c ---- */
tarn_status tarn_channel_open(monitor_channel *channel, tarn_context *context, const char *address);
void tarn_channel_close(monitor_channel *channel);
/* Appends a line (newline added, blanks for those inside). False when memory is out. */
bool tarn_channel_put(monitor_channel *channel, const char *line);
/* Connects, sends, receives; what poll should wait for. One call a turn of the thread; `now`: the monitor's clock. */
typedef enum channel_news { CHANNEL_NOTHING, CHANNEL_GONE } channel_news;
channel_news tarn_channel_work(tarn_monitor *monitor, double now);
short tarn_channel_events(const monitor_channel *channel);

/* ---- stacks.c ---- */
typedef void tarn_stack_line(void *user, const char *line);
/* Makes the handler ready. */
void tarn_stacks_prepare(void);
/* One line a frame of every thread but the calling one; a second at most for threads that do not answer. */
void tarn_stacks_collect(tarn_monitor *monitor, tarn_stack_line *line, void *user);

/* ---- symbols.c ---- */
/* "tarn_apply+0x2f (/usr/bin/tarn+0x4f2a3)": what stands in parentheses is what addr2line -e wants. is_return: the
 * address is where a call comes back to, not where the thread is. */
void tarn_symbol_describe(const void *address, bool is_return, char *out, size_t size);

/* ---- monitor.c: what the supervisor said ---- */
void tarn_monitor_heard(tarn_monitor *monitor, const char *line);

#endif
