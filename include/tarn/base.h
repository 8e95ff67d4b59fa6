/* base.h - what every other header of Tarn needs: status codes, element types, the context, errors, log.
 *
 * Conventions of the whole API
 *  - Everything that is not an expression returns a tarn_status; results come through out-parameters, which stand
 * first.
 *  - `create`/`open` make an object that its caller owns and ends with `destroy`/`close`; `get` and plain names borrow.
 *  - Options are structs that may be zero: a zero field means the documented default. NULL options mean all defaults.
 *  - The library never ends the process, with two exceptions: tarn_exit, when an error of this rank alone would leave
 *    other ranks waiting, aborts the whole job; and a rank of several, or one under a supervisor, that hangs or has
 *    lost its supervisor is ended by the thread that watches it (docs/internals/watching.md), with a line on stderr.
 *    Else it prints in two cases: tarn_exit writes the first error to stderr, and the default log writes warnings and
 *    errors there (tarn_set_log, TARN_LOG).
 *  - Strings are UTF-8 and zero-terminated; sizes are in elements unless a name says bytes; times are in seconds.
 */
#ifndef TARN_BASE_H
#define TARN_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TARN_VERSION_MAJOR  0
#define TARN_VERSION_MINOR  1
#define TARN_VERSION_PATCH  0
#define TARN_VERSION_STRING "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TARN_API                         __attribute__((visibility("default")))
#define TARN_PRINTF(format_index, first) __attribute__((format(printf, format_index, first)))
#else
#define TARN_API
#define TARN_PRINTF(format_index, first)
#endif

/* Largest number of dimensions of a tensor. */
#define TARN_MAX_DIMS 6

typedef enum tarn_status {
    TARN_OK = 0,
    TARN_ERROR_ARGUMENT,    /* a value the caller passed makes no sense */
    TARN_ERROR_SHAPE,       /* shapes or element types do not fit together */
    TARN_ERROR_CONFIG,      /* the run file or a key=value is wrong */
    TARN_ERROR_MEMORY,      /* an allocation failed */
    TARN_ERROR_IO,          /* the operating system refused to read or write */
    TARN_ERROR_FORMAT,      /* a file was read and is not what it should be */
    TARN_ERROR_COMM,        /* another rank failed, is missing or disagrees */
    TARN_ERROR_NUMERIC,     /* a loss or a gradient is not finite */
    TARN_ERROR_STATE,       /* called at the wrong moment */
    TARN_ERROR_UNSUPPORTED, /* known, and not available here */
    TARN_ERROR_INTERNAL,    /* a bug of Tarn: please report it */
    TARN_STOPPED,           /* a signal asked to stop: the run is saved and can be resumed (exit code 75) */
    TARN_EXHAUSTED          /* a stream has no more samples: for the read functions of tarn_stream_open */
} tarn_status;

/* Element types. f64 exists for checks; bf16 for storage and conversion only. */
typedef enum tarn_dtype {
    TARN_F32 = 0,
    TARN_F64,
    TARN_BF16,
    TARN_I32,
    TARN_I64,
    TARN_BOOL,
    TARN_DTYPE_COUNT
} tarn_dtype;

/* Bytes of one element. */
TARN_API size_t tarn_dtype_size(tarn_dtype dtype);
/* "f32", "f64", "bf16", "i32", "i64", "bool". */
TARN_API const char *tarn_dtype_name(tarn_dtype dtype);
/* "ok", "argument", "shape", ... */
TARN_API const char *tarn_status_name(tarn_status status);

typedef struct tarn_context tarn_context;

/* The first error a context saw. Borrowed from the context; valid until tarn_exit or tarn_error_clear. */
typedef struct tarn_error {
    tarn_status status;
    int rank;            /* the rank that met it, -1 when unknown */
    const char *message; /* what, where and the remedy; one line or a few */
    const char *file;    /* source file and line of the call that failed, "" when unknown */
    int line;
} tarn_error;

/* Starts Tarn: joins the ranks when the program was launched by mpirun or srun (MPI is not touched otherwise), chooses
 * the kernels for this processor. Removes nothing from argv. *context is set even on failure, so that tarn_exit can say
 * what went wrong. argc and argv may be NULL.
 * Environment: TARN_ISA=scalar|avx2|avx512 forces the kernels, TARN_LOG=error|warn|info|debug sets what is logged. */
TARN_API tarn_status tarn_init(tarn_context **context, int *argc, char ***argv);

/* Ends Tarn and returns the exit code for main: 0, 75 (stopped on request, resumable), 2 (what the user wrote is
 * wrong), 1 (any other failure). Prints the first error of any rank to stderr. An error all ranks agreed on finalises
 * everywhere; an error of this rank alone leaves the process at once with a non-zero code, since finalising would wait
 * for the others for ever. The context is gone afterwards. NULL is fine: returns 1. */
TARN_API int tarn_exit(tarn_context *context);

/* This process's number among the ranks, 0 to tarn_ranks - 1, and how many there are; 0 and 1 without a launcher, and
 * when tarn_init failed before the ranks were joined. Constant from tarn_init to tarn_exit. */
TARN_API int tarn_rank(const tarn_context *context);
TARN_API int tarn_ranks(const tarn_context *context);

/* Sets the worker threads of this rank, the calling one included: 1 to 1024. 0 leaves what is set; nothing set means
 * the default: its share of the cores of its host, at most those it is allowed to use, and one at least. No number
 * changes any bit of a result. Another number ends the threads that run, so call it outside steps and before
 * tarn_trainer_create. TARN_ERROR_ARGUMENT outside the range. tarn_threads tells the number in force. */
TARN_API tarn_status tarn_set_threads(tarn_context *context, int threads);
TARN_API int tarn_threads(const tarn_context *context);

/* The instruction set of the kernels in use: "scalar", "avx2" or "avx512". */
TARN_API const char *tarn_isa_name(const tarn_context *context);

/* Records an error (the first one stays) and returns its status. For code that extends Tarn and for programs that want
 * tarn_exit to report their own failures. file and line: pass TARN_HERE. */
#define TARN_HERE __FILE__, __LINE__
TARN_API tarn_status tarn_fail(tarn_context *context, tarn_status status, const char *file, int line,
                               const char *format, ...) TARN_PRINTF(5, 6);
/* The first error, or NULL. */
TARN_API const tarn_error *tarn_get_error(const tarn_context *context);
/* Forgets the recorded error, so that the context can go on. */
TARN_API void tarn_error_clear(tarn_context *context);

typedef enum tarn_log_level { TARN_LOG_ERROR, TARN_LOG_WARN, TARN_LOG_INFO, TARN_LOG_DEBUG } tarn_log_level;
/* Receives every log line of this rank, whatever its level; `line` has no newline at its end and is valid during the
 * call. May be called by several threads at once. */
typedef void tarn_log_function(void *user, tarn_log_level level, const char *line);
/* Sets where log lines go; user is borrowed until the function is replaced. NULL brings the default back: lines up to
 * the level of the environment's TARN_LOG (warn when it says nothing) go to stderr as "tarn warning: ...", with the
 * rank where there are several. */
TARN_API void tarn_set_log(tarn_context *context, tarn_log_function *function, void *user);
/* Logs a line, formatted as by printf and cut after 2047 bytes. A log line is no error: tarn_fail records those.
 * Thread-safe. A NULL context does nothing. */
TARN_API void tarn_log(tarn_context *context, tarn_log_level level, const char *format, ...) TARN_PRINTF(3, 4);

/* Asks the run to stop after the step under way: async-signal-safe. tarn_stop_requested tells whether anybody did.
 * tarn_handle_signals makes SIGINT, SIGTERM and SIGUSR1 do that. */
TARN_API void tarn_request_stop(void);
/* The same with a reason ("signal 15", "spot aws host H: terminate at T"), which the log, the supervisor and the run's
 * last message name; copied, at most 159 bytes, the first one of this process stays. Async-signal-safe. */
TARN_API void tarn_stop_because(const char *reason);
/* The reason, "the program" when tarn_request_stop gave none, NULL when nobody asked. Lives as long as the process. */
TARN_API const char *tarn_stop_reason(void);
TARN_API bool tarn_stop_requested(void);
TARN_API tarn_status tarn_handle_signals(tarn_context *context);

/* Says that the program works: a rank that shows no progress for most of health.timeout seconds (default 60) while it
 * trains counts as hung and is ended, with all others. What Tarn does itself shows; call this now and then, from any
 * thread, in work of one's own between steps or in a loss function that takes longer. Costs nanoseconds. */
TARN_API void tarn_still_working(tarn_context *context);

#ifdef __cplusplus
}
#endif
#endif
