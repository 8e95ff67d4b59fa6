/* context.c - making and ending a context; the first error; the log; stop requests. */
#include "runtime/base/context.h"
#include "runtime/backend/registry.h"
#include "runtime/comm/comm.h"
#include "runtime/monitor/monitor.h"
#include "runtime/worker/worker.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

const char *tarn_status_name(tarn_status status)
{
    static const char *const names[] = {"ok",   "argument", "shape", "config",      "memory",   "io",      "format",
                                        "comm", "numeric",  "state", "unsupported", "internal", "stopped", "exhausted"};
    return (unsigned)status < sizeof names / sizeof *names ? names[status] : "unknown";
}

int tarn_status_exit_code(tarn_status status)
{
    switch (status) {
    case TARN_OK:
        return 0;
    case TARN_STOPPED:
        return 75;
    case TARN_ERROR_ARGUMENT:
    case TARN_ERROR_SHAPE:
    case TARN_ERROR_CONFIG:
        return 2;
    default:
        return 1;
    }
}

size_t tarn_dtype_size(tarn_dtype dtype)
{
    static const size_t sizes[TARN_DTYPE_COUNT] = {4, 8, 2, 4, 8, 1};
    return (unsigned)dtype < TARN_DTYPE_COUNT ? sizes[dtype] : 0;
}

const char *tarn_dtype_name(tarn_dtype dtype)
{
    static const char *const names[TARN_DTYPE_COUNT] = {"f32", "f64", "bf16", "i32", "i64", "bool"};
    return (unsigned)dtype < TARN_DTYPE_COUNT ? names[dtype] : "unknown";
}

/* ---- errors and log ---------------------------------------------------------------------------------------------- */

tarn_status tarn_error_record(tarn_context *context, tarn_status status, int rank, const char *file, int line,
                              const char *message)
{
    if (!context || status == TARN_OK) return status;
    pthread_mutex_lock(&context->lock);
    if (!context->failed) {
        context->failed = true;
        context->agreed = false;
        snprintf(context->message, sizeof context->message, "%s", message);
        context->error = (tarn_error){status, rank, context->message, file ? file : "", line};
    }
    pthread_mutex_unlock(&context->lock);
    return status;
}

tarn_status tarn_fail(tarn_context *context, tarn_status status, const char *file, int line, const char *format, ...)
{
    char message[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments);
    va_end(arguments);
    return tarn_error_record(context, status, context ? tarn_rank(context) : -1, file, line, message);
}

const tarn_error *tarn_get_error(const tarn_context *context)
{
    return context && context->failed ? &context->error : NULL;
}

void tarn_error_clear(tarn_context *context)
{
    pthread_mutex_lock(&context->lock);
    context->failed = context->agreed = false;
    pthread_mutex_unlock(&context->lock);
}

void tarn_error_agree(tarn_context *context)
{
    pthread_mutex_lock(&context->lock);
    context->agreed = true;
    pthread_mutex_unlock(&context->lock);
}

static void log_to_stderr(void *user, tarn_log_level level, const char *line)
{
    const tarn_context *context = user;
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if (level > context->log_level) return;
    if (tarn_ranks(context) > 1)
        fprintf(stderr, "tarn[%d] %s: %s\n", tarn_rank(context), names[level], line);
    else
        fprintf(stderr, "tarn %s: %s\n", names[level], line);
}

void tarn_set_log(tarn_context *context, tarn_log_function *function, void *user)
{
    pthread_mutex_lock(&context->lock);
    context->log = function ? function : log_to_stderr;
    context->log_user = function ? user : context;
    pthread_mutex_unlock(&context->lock);
}

void tarn_log(tarn_context *context, tarn_log_level level, const char *format, ...)
{
    if (!context) return;
    char line[2048];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&context->lock);
    tarn_log_function *log = context->log;
    void *user = context->log_user;
    pthread_mutex_unlock(&context->lock);
    log(user, level, line);
    pthread_mutex_lock(&context->tee_lock);
    if (context->tee) context->tee(context->tee_user, level, line);
    pthread_mutex_unlock(&context->tee_lock);
}

void tarn_context_tee(tarn_context *context, tarn_log_function *function, void *user)
{
    pthread_mutex_lock(&context->tee_lock);
    context->tee = function;
    context->tee_user = user;
    pthread_mutex_unlock(&context->tee_lock);
}

/* ---- stop requests ----------------------------------------------------------------------------------------------- */

/* The first reason stays. Written once by whoever takes the state from NONE to WRITING, which may be a signal handler:
 * lock-free, and a handler that comes in between leaves the reason to the one it interrupted. */
enum { REASON_NONE, REASON_WRITING, REASON_THERE };
static atomic_int stop_requested, reason_state;
static char stop_reason[160];

void tarn_stop_because(const char *reason)
{
    int none = REASON_NONE;
    if (reason && *reason && atomic_compare_exchange_strong(&reason_state, &none, REASON_WRITING)) {
        size_t i = 0;
        for (; reason[i] && i < sizeof stop_reason - 1; i++) stop_reason[i] = reason[i] == '\n' ? ' ' : reason[i];
        stop_reason[i] = '\0';
        atomic_store(&reason_state, REASON_THERE);
    }
    atomic_store(&stop_requested, 1);
}

void tarn_request_stop(void)
{
    atomic_store(&stop_requested, 1);
}

bool tarn_stop_requested(void)
{
    return atomic_load(&stop_requested) != 0;
}

const char *tarn_stop_reason(void)
{
    if (!tarn_stop_requested()) return NULL;
    return atomic_load(&reason_state) == REASON_THERE ? stop_reason : "the program";
}

static void on_signal(int number)
{
    char reason[] = "signal   ";
    size_t end = 7;
    if (number >= 10) reason[end++] = (char)('0' + number / 10 % 10);
    reason[end++] = (char)('0' + number % 10);
    reason[end] = '\0';
    tarn_stop_because(reason);
}

void tarn_block_signals(sigset_t *before)
{
    sigset_t most;
    sigfillset(&most);
    sigdelset(&most, TARN_STACK_SIGNAL);
    pthread_sigmask(SIG_SETMASK, &most, before);
}

tarn_status tarn_handle_signals(tarn_context *context)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (sigaction(signals[i], &action, NULL))
            return tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "sigaction(%d): %s", signals[i], strerror(errno));
    return TARN_OK;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

tarn_isa tarn_isa_best(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq"))
        return TARN_ISA_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return TARN_ISA_AVX2;
#endif
    return TARN_ISA_SCALAR;
}

static const char *const isa_names[TARN_ISA_COUNT] = {"scalar", "avx2", "avx512"};

static tarn_status choose_isa(tarn_context *context)
{
    context->isa = tarn_isa_best();
    const char *wanted = getenv("TARN_ISA");
    if (!wanted || !*wanted) return TARN_OK;
    for (int isa = 0; isa < TARN_ISA_COUNT; isa++) {
        if (strcmp(wanted, isa_names[isa])) continue;
        if (isa > (int)context->isa)
            return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE,
                             "TARN_ISA=%s: this processor has no %s; the best it has is %s", wanted, wanted,
                             isa_names[context->isa]);
        context->isa = (tarn_isa)isa;
        return TARN_OK;
    }
    return tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "TARN_ISA=%s: expected scalar, avx2 or avx512", wanted);
}

const char *tarn_isa_name(const tarn_context *context)
{
    return isa_names[context->isa];
}

static void choose_log_level(tarn_context *context)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const char *wanted = getenv("TARN_LOG");
    for (int level = 0; wanted && level < 4; level++)
        if (!strcasecmp(wanted, names[level])) context->log_level = (tarn_log_level)level;
}

tarn_status tarn_context_open(tarn_context **out, int *argc, char ***argv)
{
    *out = NULL;
    tarn_context *context = calloc(1, sizeof *context);
    if (!context) return TARN_ERROR_MEMORY;
    pthread_mutex_init(&context->lock, NULL);
    pthread_mutex_init(&context->tee_lock, NULL);
    context->start_seconds = tarn_seconds();
    context->log_level = TARN_LOG_WARN;
    context->log = log_to_stderr;
    context->log_user = context;
    choose_log_level(context);
    *out = context;
    tarn_status status = tarn_registry_create(&context->registry, context);
    if (!status) status = choose_isa(context);
    /* Joined even when something failed before, so that the other ranks learn of it at the first agreement. */
    tarn_status watched = tarn_monitor_start(context);
    tarn_status joined = tarn_comm_open(&context->comm, context, argc, argv);
    tarn_monitor_enter(context, "before training");
    return status ? status : watched ? watched : joined;
}

int tarn_rank(const tarn_context *context)
{
    return context->comm ? context->comm->rank : 0;
}

int tarn_ranks(const tarn_context *context)
{
    return context->comm ? context->comm->ranks : 1;
}

tarn_comm *tarn_get_comm(tarn_context *context)
{
    return context->comm;
}

/* This rank's share of the cores that the ranks of its host have together, but never more than its own mask allows:
 * bound ranks use all the cores they are bound to, unbound ones do not crowd each other out. */
static int default_threads(const tarn_context *context)
{
    const tarn_comm *comm = context->comm;
    int threads = tarn_allowed_cores();
    if (comm && comm->local_ranks > 1 && comm->local_cores / comm->local_ranks < threads)
        threads = comm->local_cores / comm->local_ranks;
    return threads > 0 ? threads : 1;
}

int tarn_threads(const tarn_context *context)
{
    return context->threads ? context->threads : default_threads(context);
}

tarn_status tarn_set_threads(tarn_context *context, int threads)
{
    if (threads < 0 || threads > 1024)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%d threads: expected 0 (choose) to 1024", threads);
    if (context->workers && threads && tarn_workers_count(context->workers) != threads) {
        tarn_workers_destroy(context->workers);
        context->workers = NULL;
    }
    if (threads) context->threads = threads;
    return TARN_OK;
}

tarn_workers *tarn_context_workers(tarn_context *context)
{
    if (!context->workers) tarn_workers_create(&context->workers, context, tarn_threads(context));
    return context->workers;
}

static void print_error(const tarn_context *context)
{
    const tarn_error *error = &context->error;
    /* An error all ranks agreed on is printed once. */
    if (context->agreed && tarn_rank(context) != 0) return;
    fprintf(stderr, "tarn: %s", error->message);
    if (error->file && *error->file && context->log_level >= TARN_LOG_INFO)
        fprintf(stderr, " [%s:%d]", error->file, error->line);
    if (error->rank >= 0 && tarn_ranks(context) > 1 && !context->agreed) fprintf(stderr, " (rank %d)", error->rank);
    fputc('\n', stderr);
    fflush(stderr);
}

int tarn_exit(tarn_context *context)
{
    if (!context) return 1;
    int code = context->failed ? tarn_status_exit_code(context->error.status) : 0;
    bool stopped = context->failed && context->error.status == TARN_STOPPED;
    if (context->failed && !stopped) {
        print_error(context);
        tarn_monitor_tell(context, "failed %s %s", tarn_status_name(context->error.status), context->message);
    }
    if (context->failed && !context->agreed && !stopped && tarn_ranks(context) > 1) {
        /* The others wait in a collective this rank will never join: regular finalisation would hang. */
        fflush(NULL);
        tarn_monitor_end(context, -1);
        context->comm->abort(context->comm, code);
        _exit(code);
    }
    tarn_monitor_enter(context, "leaving the ranks");
    tarn_workers_destroy(context->workers);
    if (context->comm) context->comm->destroy(context->comm);
    tarn_monitor_end(context, code);
    tarn_registry_destroy(context->registry);
    pthread_mutex_destroy(&context->lock);
    pthread_mutex_destroy(&context->tee_lock);
    free(context);
    return code;
}
