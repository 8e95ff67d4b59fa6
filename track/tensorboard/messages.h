/* messages.h - the events of TensorBoard that a run is made of, as records.
 *
 * Field numbers are those of tensorboard/compat/proto/{event,summary,tensor}.proto and of the plug-ins' plugin_data.
 */
#ifndef TARN_TRACK_TENSORBOARD_MESSAGES_H
#define TARN_TRACK_TENSORBOARD_MESSAGES_H

#include "runtime/protobuf/reader.h"
#include "track/boards/values.h"
#include "track/boards/records.h"

#include <cjson/cJSON.h>

typedef struct tarn_event_writer {
    tarn_protobuf out;                             /* records, one after the other */
    tarn_protobuf event, summary, value, inner[4]; /* being made */
} tarn_event_writer;

/* All append one record to writer->out; wall in seconds since 1970. A failed allocation marks writer->out. */
void tarn_event_version(tarn_event_writer *writer, double wall);
void tarn_event_scalar(tarn_event_writer *writer, double wall, int64_t step, const char *tag, float value);
void tarn_event_histogram(tarn_event_writer *writer, double wall, int64_t step, const char *tag,
                          const tarn_board_histogram *histogram);
/* Markdown. */
void tarn_event_text(tarn_event_writer *writer, double wall, int64_t step, const char *tag, const char *text);
/* The parameters (strings of a JSON object) and the name of the group for the HPARAMS page. */
void tarn_event_session_start(tarn_event_writer *writer, double wall, const cJSON *parameters, const char *group);
/* The run came to its end as it should. */
void tarn_event_session_success(tarn_event_writer *writer, double wall);
void tarn_event_writer_free(tarn_event_writer *writer);

typedef enum tarn_event_kind {
    TARN_EVENT_OTHER,
    TARN_EVENT_SCALAR,
    TARN_EVENT_HISTOGRAM,
    TARN_EVENT_TEXT,
    TARN_EVENT_SESSION_START,
    TARN_EVENT_SESSION_END
} tarn_event_kind;

/* What one record says; pointers go into it. */
typedef struct tarn_event_seen {
    tarn_event_kind kind;
    int64_t step;
    double wall;
    const char *tag; /* not ended by a zero */
    size_t tag_length;
    const char *text;
    size_t text_length;
} tarn_event_seen;

/* Of the records that these functions write, each of which has one value. False: the bytes are no event. */
bool tarn_event_parse(const unsigned char *bytes, size_t count, tarn_event_seen *seen);

#endif
