/* position.c - where the threads of this process are.
 *
 * Every thread that does Tarn's work has a place: a cache line that it alone writes, with relaxed stores, since nothing
 * is concluded from it but a message. Places are never freed: a thread that ends leaves its place to the next new one,
 * and the counters in it go on, so their sum never falls.
 */
#include "runtime/monitor/monitor_internal.h"
#include "runtime/base/context.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

_Thread_local tarn_place *tarn_place_of_thread;

static _Atomic(tarn_place *) places;
static tarn_place shared_place = {.shard = -1}; /* of threads for which there is no memory */
static pthread_key_t leave_key;
static pthread_once_t leave_once = PTHREAD_ONCE_INIT;

static void leave(void *argument)
{
    tarn_place *place = argument;
    atomic_store(&place->op, NULL);
    atomic_store(&place->last, NULL);
    atomic_store(&place->file, NULL);
    atomic_store(&place->shard, -1);
    atomic_store(&place->thread, 0);
}

static void make_key(void)
{
    pthread_key_create(&leave_key, leave);
}

tarn_place *tarn_place_take(void)
{
    int self = (int)syscall(SYS_gettid);
    pthread_once(&leave_once, make_key);
    tarn_place *place = atomic_load(&places);
    for (; place; place = place->next) {
        int nobody = 0;
        if (atomic_compare_exchange_strong(&place->thread, &nobody, self)) break;
    }
    if (!place) {
        place = aligned_alloc(_Alignof(tarn_place), sizeof *place);
        if (!place) return &shared_place;
        memset(place, 0, sizeof *place);
        atomic_init(&place->shard, -1);
        atomic_init(&place->thread, self);
        place->next = atomic_load(&places);
        while (!atomic_compare_exchange_weak(&places, &place->next, place)) {
        }
    }
    pthread_setspecific(leave_key, place);
    tarn_place_of_thread = place;
    return place;
}

uint64_t tarn_place_total(void)
{
    uint64_t total = atomic_load_explicit(&shared_place.progress, memory_order_relaxed);
    for (tarn_place *place = atomic_load(&places); place; place = place->next)
        total += atomic_load_explicit(&place->progress, memory_order_relaxed);
    return total;
}

const tarn_place *tarn_place_of(pid_t thread)
{
    for (tarn_place *place = atomic_load(&places); place; place = place->next)
        if (atomic_load(&place->thread) == thread) return place;
    return NULL;
}

void tarn_place_enter_shard(int shard)
{
    tarn_place *place = tarn_place_here();
    atomic_store_explicit(&place->last, NULL, memory_order_relaxed);
    atomic_store_explicit(&place->backward, false, memory_order_relaxed);
    atomic_store_explicit(&place->shard, shard, memory_order_relaxed);
    tarn_place_work(place);
}

void tarn_place_enter_backward(void)
{
    tarn_place *place = tarn_place_here();
    atomic_store_explicit(&place->last, NULL, memory_order_relaxed);
    atomic_store_explicit(&place->backward, true, memory_order_relaxed);
    tarn_place_work(place);
}

bool tarn_place_describe(const tarn_place *place, char *out, size_t size)
{
    const char *op = atomic_load_explicit(&place->op, memory_order_relaxed);
    const char *last = atomic_load_explicit(&place->last, memory_order_relaxed);
    const char *file = atomic_load_explicit(&place->file, memory_order_relaxed);
    int shard = atomic_load_explicit(&place->shard, memory_order_relaxed);
    bool backward = atomic_load_explicit(&place->backward, memory_order_relaxed) && shard >= 0;
    if (shard < 0 && !op) return false;
    char head[32] = "", where[160] = "", doing[128];
    if (shard >= 0) snprintf(head, sizeof head, "shard %d, ", shard);
    /* Backward goes through the ops of the whole tape: the last call explains nothing. */
    if (file && !backward) {
        const char *slash = strrchr(file, '/');
        snprintf(where, sizeof where, " [%s:%d]", slash ? slash + 1 : file,
                 atomic_load_explicit(&place->line, memory_order_relaxed));
    }
    const char *of = backward ? "backward of " : "";
    if (op)
        snprintf(doing, sizeof doing, "%sop %s", of, op);
    else if (last)
        snprintf(doing, sizeof doing, "after %sop %s", of, last);
    else
        snprintf(doing, sizeof doing, "%s", backward ? "backward" : "in the loss function");
    snprintf(out, size, "%s%s%s", head, doing, where);
    return true;
}

/* ---- texts ------------------------------------------------------------------------------------------------------ */

/* A sequence lock without fences: words are stored with release after the odd number and before the even one, and
 * loaded with acquire between two looks at the number, so equal even numbers mean that no word is of another text. */
void tarn_monitor_text_write(monitor_text *text, const char *string)
{
    uint64_t words[TARN_MONITOR_TEXT / 8] = {0};
    size_t length = strlen(string);
    if (length > TARN_MONITOR_TEXT - 1) {
        length = TARN_MONITOR_TEXT - 1;
        while (length && ((unsigned char)string[length] & 0xc0) == 0x80) length--; /* between characters */
    }
    memcpy(words, string, length);
    unsigned sequence = atomic_load_explicit(&text->sequence, memory_order_relaxed);
    atomic_store_explicit(&text->sequence, sequence + 1, memory_order_relaxed);
    for (size_t i = 0; i <= length / 8; i++) atomic_store_explicit(&text->word[i], words[i], memory_order_release);
    atomic_store_explicit(&text->sequence, sequence + 2, memory_order_release);
}

void tarn_monitor_text_read(const monitor_text *text, char out[TARN_MONITOR_TEXT])
{
    /* A writer that is always faster, or stopped in the middle, costs the message its words and nothing else. */
    for (int attempt = 0; attempt < 1000; attempt++) {
        if (attempt > 100) sched_yield();
        uint64_t words[TARN_MONITOR_TEXT / 8];
        unsigned before = atomic_load_explicit(&text->sequence, memory_order_acquire);
        for (size_t i = 0; i < TARN_MONITOR_TEXT / 8; i++)
            words[i] = atomic_load_explicit(&text->word[i], memory_order_acquire);
        unsigned after = atomic_load_explicit(&text->sequence, memory_order_relaxed);
        memcpy(out, words, TARN_MONITOR_TEXT);
        out[TARN_MONITOR_TEXT - 1] = '\0';
        if (before == after && before % 2 == 0) return;
    }
    out[0] = '\0';
}

/* ---- the process ------------------------------------------------------------------------------------------------ */

void tarn_monitor_progress(tarn_context *context)
{
    (void)context; /* counters belong to threads; the context is there for programs and for what may come */
    tarn_place_work(tarn_place_here());
}

void tarn_still_working(tarn_context *context)
{
    tarn_monitor_progress(context);
}

void tarn_monitor_step(tarn_context *context, int64_t step)
{
    if (!context || !context->monitor) return;
    atomic_store_explicit(&context->monitor->step, step, memory_order_relaxed);
    if (step >= 0) atomic_store_explicit(&context->monitor->last_step, step, memory_order_relaxed);
    tarn_monitor_progress(context);
}

void tarn_monitor_enter(tarn_context *context, const char *format, ...)
{
    if (!context || !context->monitor) return;
    char what[TARN_MONITOR_TEXT];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof what, format, arguments);
    va_end(arguments);
    tarn_monitor_text_write(&context->monitor->what, what);
    tarn_monitor_progress(context);
}

void tarn_monitor_waiting(tarn_context *context, bool waits, const char *label)
{
    if (!context || !context->monitor) return;
    if (waits) tarn_monitor_text_write(&context->monitor->label, label ? label : "the other ranks");
    atomic_store(&context->monitor->waiting, waits);
    tarn_monitor_progress(context);
}

void tarn_monitor_blocking(tarn_context *context, double seconds, const char *label)
{
    if (!context || !context->monitor) return;
    tarn_monitor_waiting(context, label != NULL, label);
    atomic_store(&context->monitor->blocking, seconds);
    atomic_fetch_add(&context->monitor->blocking_number, 1);
}

void tarn_monitor_watch(tarn_context *context, double seconds)
{
    if (!context) return;
    if (seconds > 0) context->health_timeout = seconds;
    if (!context->monitor) return;
    atomic_store(&context->monitor->watch, seconds);
    if (seconds <= 0) {
        tarn_monitor_step(context, -1);
        tarn_monitor_enter(context, "after training");
    }
}

void tarn_monitor_describe(tarn_monitor *monitor, char *out, size_t size)
{
    enum { MOST_SHARDS = 4 };
    int64_t step = atomic_load_explicit(&monitor->step, memory_order_relaxed);
    size_t used = 0;
    out[0] = '\0';
    if (step >= 0) used = (size_t)snprintf(out, size, "step %lld: ", (long long)step);
    int shards = 0;
    for (tarn_place *place = atomic_load(&places); place && used < size; place = place->next) {
        char words[320];
        if (atomic_load_explicit(&place->shard, memory_order_relaxed) < 0) continue;
        if (!tarn_place_describe(place, words, sizeof words)) continue;
        if (shards++ < MOST_SHARDS)
            used += (size_t)snprintf(out + used, size - used, "%s%s", shards > 1 ? "; " : "", words);
    }
    if (shards > MOST_SHARDS && used < size)
        used += (size_t)snprintf(out + used, size - used, "; and %d more shards", shards - MOST_SHARDS);
    if (!shards && used < size) {
        char what[TARN_MONITOR_TEXT], op[320];
        tarn_monitor_text_read(&monitor->what, what);
        used += (size_t)snprintf(out + used, size - used, "%s", what);
        if (used < size && tarn_place_describe(monitor->main_place, op, sizeof op))
            used += (size_t)snprintf(out + used, size - used, ", %s", op);
    }
    if (used < size && atomic_load(&monitor->waiting)) {
        char label[TARN_MONITOR_TEXT];
        tarn_monitor_text_read(&monitor->label, label);
        snprintf(out + used, size - used, ", waiting for %s", label);
    }
}
