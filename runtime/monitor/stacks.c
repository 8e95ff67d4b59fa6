/* stacks.c - the stacks of all threads of this process.
 *
 * Each thread gets a real-time signal whose handler writes its own frames into the record named by the signal's value;
 * names are looked up afterwards, outside the handler, since that takes locks. All threads are asked at once and have
 * one second together; of those that do not answer (the signal is blocked in them, or they are in the kernel for good)
 * the kernel's state is shown.
 *
 * Invariants
 *  1. The handler calls backtrace alone, which was called once before, so that it loads nothing.
 *  2. A record is freed only when its thread has answered: who comes late writes into memory that is still there.
 */
#include "runtime/monitor/monitor_internal.h"
#include "runtime/base/context.h"

#include <dirent.h>
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MOST_THREADS = 256, MOST_FRAMES = 64, ANSWER_MILLISECONDS = 1000 };

typedef struct stack_record {
    pid_t thread;
    void *frames[MOST_FRAMES];
    int count;
    atomic_bool answered;
} stack_record;

static void on_signal(int number, siginfo_t *info, void *machine)
{
    (void)number, (void)machine;
    if (info->si_code != SI_QUEUE || info->si_pid != getpid()) return;
    int saved = errno;
    stack_record *record = info->si_value.sival_ptr;
    record->count = backtrace(record->frames, MOST_FRAMES);
    atomic_store_explicit(&record->answered, true, memory_order_release);
    errno = saved;
}

void tarn_stacks_prepare(void)
{
    void *frame;
    backtrace(&frame, 1);
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART}, before;
    sigemptyset(&action.sa_mask);
    /* A program that uses this signal keeps it; its threads then do not answer. */
    if (!sigaction(TARN_STACK_SIGNAL, NULL, &before) && before.sa_handler == SIG_DFL)
        sigaction(TARN_STACK_SIGNAL, &action, NULL);
}

/* The first line of /proc/self/task/THREAD/NAME, "?" when there is none. */
static void read_task(pid_t thread, const char *name, char *out, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%d/%s", (int)thread, name);
    snprintf(out, size, "?");
    FILE *file = fopen(path, "r");
    if (!file) return;
    if (!fgets(out, (int)size, file) || !*out) snprintf(out, size, "?");
    out[strcspn(out, "\n")] = '\0';
    fclose(file);
}

/* S, D, R...: after the name, which may hold anything, in parentheses. */
static char state_of(pid_t thread)
{
    char line[512];
    read_task(thread, "stat", line, sizeof line);
    const char *end = strrchr(line, ')');
    return end && end[1] ? end[2] : '?';
}

static int ask_all(stack_record **records)
{
    int count = 0;
    pid_t self = (pid_t)syscall(SYS_gettid);
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; tasks && count < MOST_THREADS && (entry = readdir(tasks));) {
        pid_t thread = (pid_t)strtol(entry->d_name, NULL, 10);
        if (thread <= 0 || thread == self) continue;
        stack_record *record = calloc(1, sizeof *record);
        if (!record) break;
        record->thread = thread;
        records[count++] = record;
    }
    if (tasks) closedir(tasks);
    bool handled = false;
    struct sigaction action;
    if (!sigaction(TARN_STACK_SIGNAL, NULL, &action))
        handled = (action.sa_flags & SA_SIGINFO) && action.sa_sigaction == on_signal;
    for (int i = 0; handled && i < count; i++) {
        siginfo_t info = {0};
        info.si_signo = TARN_STACK_SIGNAL;
        info.si_code = SI_QUEUE;
        info.si_pid = getpid();
        info.si_uid = getuid();
        info.si_value.sival_ptr = records[i];
        syscall(SYS_rt_tgsigqueueinfo, getpid(), records[i]->thread, TARN_STACK_SIGNAL, &info);
    }
    return count;
}

static void wait_for_answers(stack_record *const *records, int count)
{
    for (int waited = 0; waited < ANSWER_MILLISECONDS; waited += 5) {
        bool all = true;
        for (int i = 0; i < count && all; i++) all = atomic_load_explicit(&records[i]->answered, memory_order_acquire);
        if (all) return;
        tarn_sleep(0.005);
    }
}

static void write_record(const stack_record *record, tarn_stack_line *line, void *user)
{
    char text[TARN_MONITOR_LINE], name[64], where[320], place_text[360] = "";
    const tarn_place *place = tarn_place_of(record->thread);
    read_task(record->thread, "comm", name, sizeof name);
    if (place && tarn_place_describe(place, where, sizeof where))
        snprintf(place_text, sizeof place_text, ", %s", where);
    bool answered = atomic_load_explicit(&record->answered, memory_order_acquire);
    if (!answered && state_of(record->thread) == '?') return; /* it has ended */
    const char *main_thread = record->thread == getpid() ? ", the main thread" : "";
    snprintf(text, sizeof text, "thread %d (%s%s), state %c%s", (int)record->thread, name, main_thread,
             state_of(record->thread), place_text);
    line(user, text);
    if (!answered) {
        char channel[128];
        read_task(record->thread, "wchan", channel, sizeof channel);
        snprintf(text, sizeof text, "  did not answer; the kernel says: %s", channel);
        line(user, text);
    }
    /* The first two frames are the handler and the kernel's way into it. */
    for (int i = 2; answered && i < record->count; i++) {
        int used = snprintf(text, sizeof text, "  #%d ", i - 2);
        tarn_symbol_describe(record->frames[i], i > 2, text + used, sizeof text - (size_t)used);
        line(user, text);
    }
}

void tarn_stacks_collect(tarn_monitor *monitor, tarn_stack_line *line, void *user)
{
    stack_record *records[MOST_THREADS];
    char text[TARN_MONITOR_LINE], where[TARN_MONITOR_LINE - 160];
    tarn_monitor_describe(monitor, where, sizeof where);
    snprintf(text, sizeof text, "rank %d on host %s, process %d: %s", monitor->rank, monitor->host, (int)getpid(),
             where);
    line(user, text);
    int count = ask_all(records);
    wait_for_answers(records, count);
    for (int i = 0; i < count; i++) {
        write_record(records[i], line, user);
        if (atomic_load_explicit(&records[i]->answered, memory_order_acquire)) free(records[i]);
    }
}
