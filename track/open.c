/* open.c - the parts of a tracker: memory, what the spool holds, sinks with their drains, the writer. */
#include "track/inbox.h"
#include "track/sinks.h"
#include "track/tracker_internal.h"
#include "runtime/base/context.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void tarn_tracker_free(tarn_tracker *tracker)
{
    for (int i = 0; i < tracker->drain_count; i++) tarn_drain_stop(tracker->drains[i], NULL);
    for (int i = 0; i < tracker->line_count; i++) free(tracker->lines[i]);
    tarn_spool_close_writer(&tracker->spool);
    free(tracker->rest.data);
    for (size_t i = 0; i < tracker->rest_file_count; i++) tarn_queued_files_free(tracker->rest_files[i]);
    free(tracker->rest_files);
    tarn_inbox_destroy(tracker->inbox);
    tarn_record_destroy(tracker->record);
    tarn_queue_destroy(&tracker->queue);
    free(tracker->batch);
    free(tracker->name);
    pthread_cond_destroy(&tracker->wake);
    pthread_cond_destroy(&tracker->moved);
    pthread_mutex_destroy(&tracker->lock);
    free(tracker);
}

tarn_tracker *tarn_tracker_create(tarn_context *context)
{
    tarn_tracker *tracker = calloc(1, sizeof *tracker);
    if (!tracker) return NULL;
    tracker->context = context;
    tracker->spool.lock = tracker->spool.file = -1;
    tarn_condition_init(&tracker->wake);
    tarn_condition_init(&tracker->moved);
    pthread_mutex_init(&tracker->lock, NULL);
    tracker->record = tarn_record_create();
    tracker->batch = malloc(TARN_TRACKER_BATCH * sizeof *tracker->batch);
    if (tarn_queue_create(&tracker->queue) && tracker->record && tracker->batch) return tracker;
    tarn_tracker_free(tracker);
    return NULL;
}

tarn_status tarn_tracker_recall_spool(tarn_tracker *tracker, bool *events, char problem[TARN_SINK_PROBLEM])
{
    tarn_track_event event;
    *events = false;
    tarn_spool_reader *reader = tarn_spool_open_reader(tracker->folder, problem);
    if (!reader) return TARN_ERROR_IO;
    tarn_spool_read_all(reader);
    tarn_spool_read_whole(reader);
    bool remembered = true;
    while (remembered && tarn_spool_read(reader, &event, 1)) {
        *events = true;
        remembered = tarn_tracker_recall(tracker->record, &event);
    }
    bool failed = tarn_spool_failed(reader);
    int error = errno;
    tracker->corrupt = tarn_spool_corrupt(reader);
    tarn_spool_close_reader(reader);
    if (remembered && !failed) return TARN_OK;
    snprintf(problem, TARN_SINK_PROBLEM, "cannot read the spool %.300s: %s", tracker->folder,
             remembered ? strerror(error) : "out of memory");
    return remembered ? TARN_ERROR_IO : TARN_ERROR_MEMORY;
}

/* Opens one kind of sink and starts its drain. */
static tarn_status open_sink(tarn_tracker *tracker, const tarn_sink_row *row, bool resumed, bool named,
                             char notice[TARN_SINK_PROBLEM], char problem[TARN_SINK_PROBLEM])
{
    tarn_path state;
    tarn_sink *sink = NULL;
    if (!tarn_sink_is_asked(row, &tracker->to.options)) return TARN_OK;
    if (tarn_sink_state_folder(state, tracker->folder, row, &tracker->to.options)) {
        snprintf(problem, TARN_SINK_PROBLEM, "cannot make a folder in the spool %.300s: %s", tracker->folder,
                 strerror(errno));
        return TARN_ERROR_IO;
    }
    tarn_sink_run run = {.run_id = tracker->run_id,
                         .experiment = tracker->to.options.experiment,
                         .name = tracker->to.options.name,
                         .state = state,
                         .resumed = resumed,
                         .named = named};
    tarn_status status = row->open(&sink, &tracker->to.options, &run, notice, problem);
    if (!sink) rmdir(state); /* a sink of another kind has that destination */
    if (status || !sink) return status;
    if (tarn_sink_name_destination(state, row, &tracker->to.options)) {
        sink->destroy(sink);
        snprintf(problem, TARN_SINK_PROBLEM, "cannot write in the spool %.300s: %s", tracker->folder, strerror(errno));
        return TARN_ERROR_IO;
    }
    if (*sink->where && tracker->context) {
        tarn_log(tracker->context, TARN_LOG_INFO, "tracking: %s", sink->where);
        tarn_tracker_add_news(tracker, sink->where);
    }
    tarn_drain *drain = tarn_drain_start(sink, tracker->folder, state, row->on_this_host, tarn_tracker_tell, tracker);
    if (!drain) {
        snprintf(problem, TARN_SINK_PROBLEM, "cannot start the thread that publishes the record: %s", strerror(errno));
        return TARN_ERROR_IO;
    }
    tracker->drains[tracker->drain_count++] = drain;
    return TARN_OK;
}

void tarn_tracker_go_on_without(tarn_tracker *tracker, const char *name, const char *push, const char *problem)
{
    tracker->unopened[tracker->unopened_count++] = (struct tarn_tracker_unopened){name, push};
    tarn_log(tracker->context, TARN_LOG_WARN, "tracking: %s; training goes on, and the record is kept in the spool %s",
             problem, tracker->folder);
}

tarn_status tarn_tracker_open_sinks(tarn_tracker *tracker, bool resumed, bool tells, char problem[TARN_SINK_PROBLEM])
{
    tarn_status status = TARN_OK;
    bool named = tells && !resumed && *tracker->to.run_id;
    for (int i = 0; i < tarn_sink_row_count && !status; i++) {
        char notice[TARN_SINK_PROBLEM] = "";
        *problem = '\0';
        const tarn_sink_row *row = &tarn_sink_rows[i];
        status = open_sink(tracker, row, resumed, named, notice, problem);
        if (status && status != TARN_ERROR_MEMORY && tracker->forgiving && row->push) {
            tarn_tracker_go_on_without(tracker, tarn_sink_is_store(row) ? "the tracking store" : row->name, row->push,
                                       problem);
            status = TARN_OK;
        }
        /* Without `tells` nothing is new to a reader in that the store lacks the run; a port in use is. */
        bool told = tells || (tracker->context && row->open != tarn_file_store_sink_open);
        if (*notice && told) tarn_log(tracker->context, TARN_LOG_WARN, "tracking: %s", notice);
    }
    return status;
}

tarn_status tarn_tracker_start_writer(tarn_tracker *tracker)
{
    sigset_t before;
    tarn_block_signals(&before);
    int error = pthread_create(&tracker->writer, NULL, tarn_tracker_write, tracker);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    tracker->writing = !error;
    if (!error) return TARN_OK;
    errno = error;
    return TARN_ERROR_IO;
}

void tarn_tracker_end_writer(tarn_tracker *tracker)
{
    pthread_mutex_lock(&tracker->lock);
    tracker->closing = true;
    pthread_cond_signal(&tracker->wake);
    pthread_mutex_unlock(&tracker->lock);
    if (tracker->writing) pthread_join(tracker->writer, NULL);
    tracker->writing = false;
}
