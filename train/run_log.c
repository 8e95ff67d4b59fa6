/* run_log.c - see run_log.h. */
#include "train/run_log.h"
#include "runtime/base/context.h"
#include "runtime/base/write.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/stat.h>
#include <unistd.h>

static const double STEP_SECONDS = 10;

struct tarn_run_log {
    tarn_context *context;
    int file;
    atomic_int error; /* errno of the write after which it was given up; 0: none */
    bool complained;
    int64_t before; /* bytes of the file when it was opened */
    _Atomic int64_t written;
    double told; /* when a step was last told of */
    char path[PATH_MAX];
};

/* "2026-11-25T03:24:30.123Z info: ..." in one write. */
static void append(tarn_run_log *log, const char *level, const char *text)
{
    char line[2200], day[32];
    struct timespec now;
    struct tm parts;
    if (atomic_load(&log->error)) return;
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &parts));
    int length = snprintf(line, sizeof line, "%s.%03ldZ %s: %s\n", day, now.tv_nsec / 1000000, level, text);
    if (length >= (int)sizeof line) length = (int)sizeof line - 1;
    if (tarn_write_all(log->file, line, (size_t)length))
        atomic_fetch_add(&log->written, length);
    else
        atomic_store(&log->error, errno ? errno : EIO); /* told at the next step: this may be called by the log */
}

static void hear(void *user, tarn_log_level level, const char *text)
{
    static const char *const names[] = {"error", "warning", "info"};
    if (level <= TARN_LOG_INFO) append(user, names[level], text);
}

tarn_run_log *tarn_run_log_open(tarn_context *context, const char *path)
{
    tarn_run_log *log = calloc(1, sizeof *log);
    int file = log && strlen(path) < PATH_MAX ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
    if (file < 0) {
        tarn_log(context, TARN_LOG_WARN, "tracking: no log among the artifacts: %s: %s", path,
                 log ? strerror(errno) : "no memory");
        free(log);
        return NULL;
    }
    struct stat info;
    log->before = fstat(file, &info) ? 0 : info.st_size;
    log->context = context;
    log->file = file;
    strcpy(log->path, path);
    tarn_context_tee(context, hear, log);
    return log;
}

void tarn_run_log_line(tarn_run_log *log, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    if (!log) return;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    append(log, "run", text);
}

void tarn_run_log_step(tarn_run_log *log, const tarn_progress *progress)
{
    if (!log) return;
    int error = atomic_load(&log->error);
    if (error && !log->complained)
        tarn_log(log->context, TARN_LOG_WARN, "tracking: the log among the artifacts ends here: writing to %s: %s",
                 log->path, strerror(error));
    log->complained = error != 0;
    double now = tarn_seconds();
    bool evaluated = isfinite(progress->validation_loss), last = progress->step == progress->steps;
    if (!evaluated && !last && log->told > 0 && now - log->told < STEP_SECONDS) return;
    log->told = now;
    char validation[96] = "";
    if (evaluated) snprintf(validation, sizeof validation, ", validation loss %.6g", progress->validation_loss);
    if (evaluated && isfinite(progress->validation_accuracy))
        snprintf(validation + strlen(validation), sizeof validation - strlen(validation), ", accuracy %.4g",
                 progress->validation_accuracy);
    tarn_run_log_line(log, "step %lld of %lld: loss %.6g, gradient norm %.4g, lr %.4g, %.3g s a step%s",
                      (long long)progress->step, (long long)progress->steps, progress->loss, progress->gradient_norm,
                      progress->lr, progress->step_seconds, validation);
}

int64_t tarn_run_log_written(tarn_run_log *log)
{
    return log ? atomic_load(&log->written) : 0;
}

bool tarn_run_log_has_doubled(tarn_run_log *log, int64_t written)
{
    return !written || log->before + tarn_run_log_written(log) >= 2 * (log->before + written);
}

const char *tarn_run_log_path(const tarn_run_log *log)
{
    return log->path;
}

void tarn_run_log_close(tarn_run_log *log)
{
    if (!log) return;
    tarn_context_tee(log->context, NULL, NULL);
    close(log->file);
    free(log);
}
