/* queue.c - the queue of events: an array with a moving begin. */
#include "track/queue.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool tarn_queue_create(tarn_queue *queue)
{
    *queue = (tarn_queue){.room = 2 * TARN_QUEUE_MOST};
    /* Address space; memory comes with use. */
    queue->events = malloc(queue->room * sizeof *queue->events);
    return queue->events;
}

void tarn_queued_files_free(tarn_queued_files *files)
{
    if (!files) return;
    for (int i = 0; i < files->count; i++) {
        free(files->list[i].name);
        free(files->list[i].path);
        if (files->list[i].file >= 0) close(files->list[i].file);
    }
    free(files->list);
    free(files);
}

void tarn_queued_event_free(tarn_queued_event *event)
{
    free(event->own);
    free(event->text);
    free(event->stored);
    tarn_queued_files_free(event->files);
}

void tarn_queue_destroy(tarn_queue *queue)
{
    for (size_t i = 0; i < queue->count; i++) tarn_queued_event_free(&queue->events[queue->first + i]);
    free(queue->events);
    queue->events = NULL;
}

/* Drops the oldest metrics, at most `most`; what stays moves to the begin of the array. */
static size_t drop_metrics(tarn_queue *queue, size_t most)
{
    size_t kept = 0, dropped = 0;
    for (size_t i = 0; i < queue->count; i++) {
        tarn_queued_event *event = &queue->events[queue->first + i];
        if (dropped < most && event->kind == TARN_TRACK_METRIC) {
            tarn_queued_event_free(event);
            dropped++;
        } else
            queue->events[kept++] = *event;
    }
    queue->first = 0;
    queue->count = kept;
    queue->dropped += (int64_t)dropped;
    return dropped;
}

static bool refuse(tarn_queue *queue, const tarn_queued_event *event)
{
    tarn_queued_event copy = *event;
    tarn_queued_event_free(&copy);
    queue->dropped++;
    return false;
}

bool tarn_queue_put(tarn_queue *queue, const tarn_queued_event *event)
{
    if (queue->count >= TARN_QUEUE_MOST && !drop_metrics(queue, TARN_QUEUE_MOST / 8) &&
        event->kind == TARN_TRACK_METRIC)
        return refuse(queue, event);
    if (queue->first + queue->count == queue->room) {
        /* Half of the array is free, unless what may not be dropped fills it. */
        if (queue->first >= queue->room / 4) {
            memmove(queue->events, queue->events + queue->first, queue->count * sizeof *queue->events);
            queue->first = 0;
        } else {
            size_t room = queue->room + queue->room / 2;
            tarn_queued_event *grown = realloc(queue->events, room * sizeof *grown);
            if (!grown) return refuse(queue, event);
            queue->events = grown;
            queue->room = room;
        }
    }
    queue->events[queue->first + queue->count++] = *event;
    queue->added++;
    return true;
}

size_t tarn_queue_take(tarn_queue *queue, tarn_queued_event *out, size_t most)
{
    size_t count = queue->count < most ? queue->count : most;
    memcpy(out, queue->events + queue->first, count * sizeof *out);
    queue->first += count;
    queue->count -= count;
    if (!queue->count) queue->first = 0;
    return count;
}
