/* monitor.c - the thread that watches over a rank of several, or a supervised one: it reports to the supervisor, and
 * ends the process when nobody else would.
 *
 * Invariants
 *  1. A single process without a supervisor has no monitor: no thread, no limit.
 *  2. Limits are measured on a clock that stands still while this process does not run (stopped, or its machine
 *     asleep): a rank that is woken up first hears what was sent to it, then judges.
 *  3. The thread takes no lock that the training may hold for long; it writes to stderr itself, since the log function
 *     may be stuck where the training is.
 *  4. All signals are blocked in it.
 *  5. Of a supervised rank the supervisor judges the progress: it sees all ranks. The rank itself ends when the
 *     supervisor has gone, or is not heard any more: the others are started again without this rank's knowledge.
 */
#include "runtime/monitor/monitor_internal.h"
#include "runtime/base/context.h"
#include "runtime/base/host.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>

#define TURN_SECONDS   0.25 /* between two looks at everything */
#define REPORT_SECONDS 1.0
#define END_SECONDS    1.0 /* for the last lines */
#define HANG_DEFAULT   60.0

/* ---- leaving ---------------------------------------------------------------------------------------------------- */

/* Ends the process from the monitor's thread, with one line. */
__attribute__((noreturn, format(printf, 2, 3))) static void leave(const tarn_monitor *monitor, const char *format, ...)
{
    char text[TARN_MONITOR_LINE * 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    dprintf(STDERR_FILENO, "tarn[%d] error: rank %d on host %s: %s\n", monitor->rank, monitor->rank, monitor->host,
            text);
    _exit(1);
}

static void print_stack_line(void *user, const char *line)
{
    const tarn_monitor *monitor = user;
    dprintf(STDERR_FILENO, "tarn[%d] stack: %s\n", monitor->rank, line);
}

/* ---- what the supervisor says ----------------------------------------------------------------------------------- */

static void send_stack_line(void *user, const char *line)
{
    tarn_monitor *monitor = user;
    char text[TARN_MONITOR_LINE];
    snprintf(text, sizeof text, "stack %s", line);
    tarn_channel_put(&monitor->channel, text);
}

void tarn_monitor_heard(tarn_monitor *monitor, const char *line)
{
    monitor->last_word = monitor->clock;
    if (!strcmp(line, "ok working"))
        atomic_store(&monitor->peers_worked, tarn_seconds());
    else if (!strcmp(line, "stop"))
        tarn_stop_because("supervisor");
    else if (!strcmp(line, "claimed")) {
        pthread_mutex_lock(&monitor->lock);
        monitor->claimed = true;
        pthread_cond_broadcast(&monitor->changed);
        pthread_mutex_unlock(&monitor->lock);
    } else if (!strcmp(line, "stacks")) {
        tarn_stacks_collect(monitor, send_stack_line, monitor);
        tarn_channel_put(&monitor->channel, "stack .");
    }
}

/* ---- the turns of the thread ------------------------------------------------------------------------------------ */

static void observe(tarn_monitor *monitor)
{
    uint64_t progress = tarn_place_total();
    if (progress != monitor->seen_progress) {
        monitor->seen_progress = progress;
        monitor->progress_at = monitor->clock;
    }
    unsigned blocking = atomic_load(&monitor->blocking_number);
    if (blocking != monitor->seen_blocking) {
        monitor->seen_blocking = blocking;
        monitor->blocking_since = monitor->clock;
    }
    int64_t step = atomic_load_explicit(&monitor->step, memory_order_relaxed);
    if (step != monitor->seen_step) {
        int64_t steps = step - monitor->seen_step;
        if (monitor->seen_step >= 0 && steps > 0)
            tarn_median_add(&monitor->step_seconds, (monitor->clock - monitor->step_at) / (double)steps);
        monitor->seen_step = step;
        monitor->step_at = monitor->clock;
    }
}

static void put_position(tarn_monitor *monitor, int64_t step)
{
    char where[TARN_MONITOR_LINE], line[TARN_MONITOR_LINE + 128];
    tarn_monitor_describe(monitor, where, sizeof where);
    snprintf(line, sizeof line, "at %lld %llu %d %.1f %s", (long long)step, (unsigned long long)monitor->seen_progress,
             atomic_load(&monitor->waiting) ? 1 : 0, monitor->clock - monitor->progress_at, where);
    tarn_channel_put(&monitor->channel, line);
}

static void report(tarn_monitor *monitor)
{
    if (!monitor->channel.connected || monitor->clock < monitor->next_report) return;
    monitor->next_report = monitor->clock + REPORT_SECONDS;
    /* Reports do not pile up while the supervisor does not read. */
    if (monitor->channel.out_used > 4 * TARN_MONITOR_LINE) return;
    put_position(monitor, atomic_load_explicit(&monitor->step, memory_order_relaxed));
}

/* The supervisor counts steps that were reached: before the words that end a run it hears of the last one, which may be
 * younger than the last report. */
static bool is_last_word(const char *line)
{
    return !strncmp(line, "failed ", 7) || !strncmp(line, "bye ", 4);
}

static void take_queue(tarn_monitor *monitor)
{
    pthread_mutex_lock(&monitor->lock);
    char *lines = monitor->queue;
    size_t used = monitor->queue_used;
    monitor->queue = NULL;
    monitor->queue_used = monitor->queue_capacity = 0;
    pthread_mutex_unlock(&monitor->lock);
    for (char *line = lines; used && line < lines + used; line += strlen(line) + 1) {
        if (is_last_word(line)) put_position(monitor, atomic_load_explicit(&monitor->last_step, memory_order_relaxed));
        tarn_channel_put(&monitor->channel, line);
    }
    free(lines);
}

static void talk(tarn_monitor *monitor)
{
    monitor_channel *channel = &monitor->channel;
    take_queue(monitor);
    if (!atomic_load(&monitor->ending)) report(monitor);
    bool greeted = channel->greeted;
    if (tarn_channel_work(monitor, monitor->clock) == CHANNEL_GONE && !atomic_load(&monitor->ending))
        leave(monitor,
              greeted ? "the supervisor has gone (it closed the connection), so this rank ends: whoever starts the "
                        "supervisor again starts all ranks again, from the newest checkpoint"
                      : "the supervisor at port %s closed the connection without a word, so this rank ends: is "
                        "TARN_SUPERVISOR of another run, or of another version of Tarn?",
              channel->port);
    /* From here on the context may be gone, should this thread have been too slow to be waited for. */
    if (atomic_load(&monitor->ending)) return;
    double silent = monitor->clock - monitor->last_word, limit = tarn_monitor_hang_seconds(monitor->context);
    if (silent > limit) {
        char where[TARN_MONITOR_LINE];
        tarn_monitor_describe(monitor, where, sizeof where);
        leave(monitor,
              "no word from the supervisor for %.0f s (limit %g s): the network between them is down, or the "
              "supervisor stands still. This rank ends at: %s; the supervisor starts all ranks again",
              silent, limit, where);
    }
}

/* Without a supervisor the rank judges itself: the others would wait for it, and name only themselves. */
static void judge(tarn_monitor *monitor)
{
    double watch = atomic_load(&monitor->watch);
    if (watch <= 0 || atomic_load(&monitor->ending) || atomic_load(&monitor->waiting)) return;
    /* Before the waits of the others end, at the whole of it: who hangs names itself first. */
    double seconds = tarn_monitor_hang_seconds(monitor->context), limit = 0.8 * seconds,
           slow = 10 * tarn_median_value(&monitor->step_seconds);
    if (limit < slow) limit = slow; /* ops of a run with long steps may be long, too */
    double idle = monitor->clock - monitor->progress_at;
    if (idle <= limit) return;
    char where[TARN_MONITOR_LINE];
    tarn_monitor_describe(monitor, where, sizeof where);
    dprintf(STDERR_FILENO, "tarn[%d] error: rank %d on host %s: no progress for %.0f s at %s\n", monitor->rank,
            monitor->rank, monitor->host, idle, where);
    alarm(10); /* should the stacks hang, too */
    tarn_stacks_collect(monitor, print_stack_line, monitor);
    leave(monitor,
          "hung at %s; it ends the job, so that nobody waits for it. Work of the program's own that takes "
          "longer calls tarn_still_working, or sets health.timeout (now %g s)",
          where, seconds);
}

static void judge_blocking(tarn_monitor *monitor)
{
    double seconds = atomic_load(&monitor->blocking);
    if (seconds <= 0 || monitor->clock - monitor->blocking_since <= seconds) return;
    if (monitor->seen_blocking != atomic_load(&monitor->blocking_number)) return; /* it has just ended */
    char where[TARN_MONITOR_LINE];
    tarn_monitor_describe(monitor, where, sizeof where);
    leave(monitor,
          "gave up after %.0f s at: %s. A rank has died, hangs, or was never started; slower launches set "
          "TARN_COMM_TIMEOUT (seconds)",
          seconds, where);
}

/* True when the last line is sent, or has no way to be. */
static bool ended(tarn_monitor *monitor)
{
    pthread_mutex_lock(&monitor->lock);
    if (atomic_load(&monitor->ending) && !monitor->drained) {
        if (monitor->ending_since < 0) monitor->ending_since = monitor->clock;
        const monitor_channel *channel = &monitor->channel;
        bool sent = channel->connected && !channel->out_used && !monitor->queue_used;
        if (!monitor->supervised || sent || channel->closed || monitor->clock - monitor->ending_since > END_SECONDS) {
            monitor->drained = true;
            pthread_cond_broadcast(&monitor->changed);
        }
    }
    bool quit = monitor->quit;
    pthread_mutex_unlock(&monitor->lock);
    return quit;
}

static void *monitor_main(void *argument)
{
    tarn_monitor *monitor = argument;
    double before = tarn_seconds();
    pthread_setname_np(pthread_self(), "tarn-monitor");
    for (;;) {
        struct pollfd wait[2] = {{.fd = monitor->wake, .events = POLLIN},
                                 {.fd = monitor->channel.socket, .events = tarn_channel_events(&monitor->channel)}};
        poll(wait, wait[1].events ? 2 : 1, (int)(TURN_SECONDS * 1000));
        uint64_t count;
        if (wait[0].revents && read(monitor->wake, &count, sizeof count) < 0 && errno != EAGAIN) continue;
        double now = tarn_seconds(), passed = now - before;
        before = now;
        monitor->clock += passed < 4 * TURN_SECONDS ? passed : 4 * TURN_SECONDS;
        observe(monitor);
        if (monitor->supervised)
            talk(monitor);
        else
            judge(monitor);
        judge_blocking(monitor);
        if (ended(monitor)) return NULL;
    }
}

/* ---- telling ---------------------------------------------------------------------------------------------------- */

void tarn_monitor_tell(tarn_context *context, const char *format, ...)
{
    tarn_monitor *monitor = context ? context->monitor : NULL;
    if (!monitor || !monitor->supervised) return;
    char line[TARN_MONITOR_LINE * 2];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    size_t bytes = strlen(line) + 1;
    pthread_mutex_lock(&monitor->lock);
    if (monitor->queue_used + bytes > monitor->queue_capacity) {
        size_t capacity = 2 * (monitor->queue_used + bytes) + 256;
        char *grown = realloc(monitor->queue, capacity);
        if (grown) {
            monitor->queue = grown;
            monitor->queue_capacity = capacity;
        } else
            bytes = 0; /* a report is no reason to fail */
    }
    if (bytes) memcpy(monitor->queue + monitor->queue_used, line, bytes);
    monitor->queue_used += bytes;
    pthread_mutex_unlock(&monitor->lock);
    uint64_t one = 1;
    if (write(monitor->wake, &one, sizeof one) < 0) return; /* it looks by itself four times a second */
}

void tarn_monitor_claim(tarn_context *context, const char *directory)
{
    if (!tarn_monitor_supervised(context)) return;
    tarn_monitor *monitor = context->monitor;
    const char *limit = getenv("TARN_CLAIM_SECONDS");
    double until = tarn_seconds() + (limit ? strtod(limit, NULL) : 0);
    pthread_mutex_lock(&monitor->lock);
    monitor->claimed = false;
    pthread_mutex_unlock(&monitor->lock);
    tarn_monitor_tell(context, "directory %s", directory);
    tarn_monitor_enter(context, "waiting for the supervisor to claim the checkpoint directory");
    pthread_mutex_lock(&monitor->lock);
    while (!monitor->claimed && !tarn_stop_requested() && tarn_seconds() < until) {
        tarn_condition_wait(&monitor->changed, &monitor->lock, tarn_seconds() + TURN_SECONDS);
        tarn_monitor_progress(context);
    }
    pthread_mutex_unlock(&monitor->lock);
}

bool tarn_monitor_supervised(const tarn_context *context)
{
    return context && context->monitor && context->monitor->supervised;
}

double tarn_monitor_hang_seconds(const tarn_context *context)
{
    if (context->monitor && context->monitor->fixed_hang > 0) return context->monitor->fixed_hang;
    return context->health_timeout > 0 ? context->health_timeout : HANG_DEFAULT;
}

double tarn_monitor_peers_idle(const tarn_context *context)
{
    if (!context || !context->monitor) return INFINITY;
    return tarn_seconds() - atomic_load(&context->monitor->peers_worked);
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

static int number_of(const char *const *names)
{
    for (; *names; names++) {
        const char *value = getenv(*names);
        if (value && *value) return atoi(value);
    }
    return -1;
}

static void destroy(tarn_monitor *monitor)
{
    if (!monitor) return;
    tarn_channel_close(&monitor->channel);
    if (monitor->wake >= 0) close(monitor->wake);
    pthread_mutex_destroy(&monitor->lock);
    pthread_cond_destroy(&monitor->changed);
    free(monitor->queue);
    free(monitor);
}

static bool start_thread(tarn_monitor *monitor)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = !pthread_create(&monitor->thread, NULL, monitor_main, monitor);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

tarn_status tarn_monitor_start(tarn_context *context)
{
    static const char *const rank_names[] = {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", NULL};
    static const char *const size_names[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS", NULL};
    const char *supervisor = getenv("TARN_SUPERVISOR"), *hang = getenv("TARN_HANG_SECONDS");
    int rank = number_of(rank_names), ranks = rank < 0 ? 1 : number_of(size_names);
    bool supervised = supervisor && *supervisor;
    if (!supervised && ranks == 1) return TARN_OK;
    tarn_monitor *monitor = calloc(1, sizeof *monitor);
    if (!monitor) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the monitor");
    monitor->context = context;
    monitor->rank = rank < 0 ? 0 : rank;
    monitor->ranks = ranks < 1 ? 1 : ranks;
    monitor->supervised = supervised;
    monitor->fixed_hang = hang ? strtod(hang, NULL) : 0;
    monitor->main_place = tarn_place_here();
    monitor->step = monitor->last_step = monitor->seen_step = -1;
    monitor->peers_worked = -INFINITY;
    monitor->ending_since = -1;
    monitor->channel.socket = -1;
    tarn_host_name(monitor->host, sizeof monitor->host);
    pthread_mutex_init(&monitor->lock, NULL);
    tarn_condition_init(&monitor->changed);
    monitor->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    tarn_status status = supervised ? tarn_channel_open(&monitor->channel, context, supervisor) : TARN_OK;
    if (!status) {
        tarn_monitor_text_write(&monitor->what, "starting");
        tarn_stacks_prepare();
        context->monitor = monitor; /* before the thread, which reads it */
        if (monitor->wake < 0 || !start_thread(monitor)) {
            context->monitor = NULL;
            status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE,
                               "the thread that watches this rank could not be started: %s", strerror(errno));
        }
    }
    if (status) {
        destroy(monitor);
        return status;
    }
    /* Whoever launched a supervised rank may be killed: the supervisor starts all ranks again, and this one must not be
     * there any more. */
    if (supervised) prctl(PR_SET_PDEATHSIG, SIGKILL);
    return TARN_OK;
}

void tarn_monitor_end(tarn_context *context, int exit_code)
{
    tarn_monitor *monitor = context->monitor;
    if (!monitor) return;
    if (exit_code >= 0) tarn_monitor_tell(context, "bye %d", exit_code);
    double until = tarn_seconds() + 2 * END_SECONDS;
    struct timespec joined_until; /* pthread_timedjoin_np goes by the wall clock */
    clock_gettime(CLOCK_REALTIME, &joined_until);
    joined_until.tv_sec += 2 * (time_t)END_SECONDS;
    uint64_t one = 1;
    pthread_mutex_lock(&monitor->lock);
    atomic_store(&monitor->ending, true);
    bool woken = write(monitor->wake, &one, sizeof one) == sizeof one;
    while (woken && !monitor->drained && tarn_condition_wait(&monitor->changed, &monitor->lock, until)) continue;
    monitor->quit = true;
    pthread_mutex_unlock(&monitor->lock);
    woken = write(monitor->wake, &one, sizeof one) == sizeof one;
    /* Late only when it looks up a name or symbols: then it and its memory stay. */
    bool joined = woken && !pthread_timedjoin_np(monitor->thread, NULL, &joined_until);
    context->monitor = NULL;
    if (joined) destroy(monitor);
}
