/* watch.c - see watch.h. */
#include "launch/supervisor/watch.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

enum { NAMED = 16 }; /* ranks a message names before it says "and N more" */

typedef struct sentence {
    char *text;
    size_t size, used;
    int named;
} sentence;

__attribute__((format(printf, 2, 3))) static void add(sentence *s, const char *format, ...)
{
    if (s->used >= s->size) return;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(s->text + s->used, s->size - s->used, format, arguments);
    va_end(arguments);
    if (length > 0) s->used += (size_t)length;
}

/* Where a rank that is silent is now nobody knows. */
static void name_silent(sentence *s, const tarn_hub_rank *rank, int number, double seconds)
{
    if (s->named++ >= NAMED) return;
    add(s, "%srank %d on %s: nothing heard of it for %.0f s, last heard ", s->named > 1 ? "; " : "", number, rank->host,
        seconds);
    if (rank->step >= 0)
        add(s, "at step %" PRId64, rank->step);
    else
        add(s, "before the first step");
    if (*rank->what) add(s, " (%s)", rank->what);
}

static void name_rank(sentence *s, const tarn_hub_rank *rank, int number, double seconds, const char *trouble)
{
    if (s->named++ >= NAMED) return;
    add(s, "%srank %d on %s", s->named > 1 ? "; " : "", number, rank->host);
    if (rank->step >= 0) add(s, ", step %" PRId64, rank->step);
    add(s, ": %s for %.0f s%s%s%s", trouble, seconds, *rank->what ? " (" : "", rank->what, *rank->what ? ")" : "");
}

static void end_sentence(const sentence *s)
{
    sentence copy = *s;
    if (s->named > NAMED) add(&copy, "; and %d more", s->named - NAMED);
}

static bool there(const tarn_hub_rank *rank)
{
    return rank->connected && !rank->bye;
}

static tarn_watch_verdict missing(const tarn_hub_rank *ranks, int count, double seconds, int *first, sentence *s)
{
    int known = 0;
    for (int i = 0; i < count; i++) known += ranks[i].known;
    if (known == count) return TARN_WATCH_FINE;
    if (!known)
        add(s, "no rank has joined within %.0f s of the start", seconds);
    else
        add(s, "%d of %d ranks joined within %.0f s of the start; missing: rank", known, count, seconds);
    *first = -1;
    for (int i = 0; i < count; i++) {
        if (ranks[i].known) continue;
        if (*first < 0) *first = i;
        if (known && s->named++ < NAMED) add(s, " %d", i);
    }
    end_sentence(s);
    return TARN_WATCH_MISSING;
}

tarn_watch_verdict tarn_watch(const tarn_hub_rank *ranks, int count, const tarn_watch_limits *limits, double now,
                              int *rank, char *message, size_t size)
{
    sentence s = {.text = message, .size = size};
    message[0] = 0;
    *rank = -1;
    int present = 0, waiting = 0, known = 0;
    double limit = limits->hang > 10 * limits->step_seconds ? limits->hang : 10 * limits->step_seconds;
    for (int i = 0; i < count; i++) known += ranks[i].known;
    if (limits->start > 0 && known < count && now - limits->started > limits->start)
        return missing(ranks, count, now - limits->started, rank, &s);
    if (limits->hang <= 0) return TARN_WATCH_FINE;

    for (int i = 0; i < count; i++) {
        if (!there(&ranks[i])) continue;
        present++;
        if (now - ranks[i].heard <= limits->hang) continue;
        if (*rank < 0) *rank = i;
        name_silent(&s, &ranks[i], i, now - ranks[i].heard);
    }
    end_sentence(&s);
    if (*rank >= 0) return TARN_WATCH_SILENT;

    for (int i = 0; i < count; i++) {
        if (!there(&ranks[i]) || now - ranks[i].moved <= limit) continue;
        if (ranks[i].waiting) {
            waiting++;
            continue;
        }
        if (*rank < 0) *rank = i;
        name_rank(&s, &ranks[i], i, now - ranks[i].moved, "no work done");
    }
    end_sentence(&s);
    if (*rank >= 0) return TARN_WATCH_STUCK;

    /* Ranks that have not joined yet are what the others wait for: that is the start limit's matter. */
    if (!present || waiting < present || known < count) return TARN_WATCH_FINE;
    for (int i = 0; i < count; i++) {
        if (!there(&ranks[i])) continue;
        if (*rank < 0) *rank = i;
        name_rank(&s, &ranks[i], i, now - ranks[i].moved, "waiting for others");
    }
    end_sentence(&s);
    return TARN_WATCH_DEADLOCK;
}
