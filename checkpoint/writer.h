/* writer.h - the thread that makes checkpoints durable under the steps that follow: one job at a time, in order.
 *
 * Invariants
 *  1. All signals are blocked in it: they are for the thread that trains.
 *  2. What a job uses belongs to it from submit until busy is false; the handing over in both directions is ordered by
 *     the writer's lock.
 *  3. It never logs: what it has to say is left for the thread that asks.
 */
#ifndef TARN_CHECKPOINT_WRITER_H
#define TARN_CHECKPOINT_WRITER_H

#include "checkpoint/problem.h"

typedef struct tarn_checkpoint_writer tarn_checkpoint_writer;

bool tarn_checkpoint_writer_create(tarn_checkpoint_writer **writer, tarn_problem *problem);
/* Waits for the job under way, then ends the thread. NULL is fine. */
void tarn_checkpoint_writer_destroy(tarn_checkpoint_writer *writer);
/* The writer must not be busy. */
void tarn_checkpoint_writer_submit(tarn_checkpoint_writer *writer, void (*job)(void *argument), void *argument);
bool tarn_checkpoint_writer_busy(tarn_checkpoint_writer *writer);
void tarn_checkpoint_writer_wait(tarn_checkpoint_writer *writer);

#endif
