/* voice.h - what the supervisor says on stderr, which may be a terminal that is held, a pipe nobody reads, or a file on
 * a disk that stands still.
 *
 * Invariants
 *  1. Saying never waits: a thread writes.
 *  2. Lines come out whole and in their order.
 *  3. More than TARN_VOICE_LINES that wait are left out and counted, and the next line that finds room tells how many.
 *  4. Before the start and after the end lines are written at once.
 */
#ifndef TARN_SUPERVISOR_VOICE_H
#define TARN_SUPERVISOR_VOICE_H

#include <stdbool.h>
#include <stddef.h>

enum { TARN_VOICE_LINES = 1024 };

/* There is one stderr, and one voice. */
void tarn_voice_start(void);
/* "tarn run: ..." */
void tarn_voice_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A text as it is, of any length. */
void tarn_voice_write(const char *text, size_t bytes);
/* Whether all is written. */
bool tarn_voice_quiet(void);
/* False: what is left cannot be written; the thread stays as it is, and the process is to end. */
bool tarn_voice_end(void);

#endif
