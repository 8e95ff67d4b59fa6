/* control.h - the control word: what all ranks must agree on in a step, in one small all-reduce of 64-bit slots under
 * OR.
 *
 * Invariants
 *  1. A value slot is non-zero on at most one rank, flags are ORed: OR is exact for both.
 *  2. After the exchange every rank takes the same decisions.
 *  3. The exchange is announced (runtime/comm/agree.h): a rank in another call is named, and a rank that failed outside
 *     says so there.
 */
#ifndef TARN_RUNTIME_CONTROL_H
#define TARN_RUNTIME_CONTROL_H

#include "runtime/comm/agree.h"

typedef struct tarn_control tarn_control;

enum {                                    /* flags */
       TARN_CONTROL_STOP = 1u << 0,       /* a signal arrived somewhere */
       TARN_CONTROL_EXHAUSTED = 1u << 1,  /* no more data */
       TARN_CONTROL_NONFINITE = 1u << 2,  /* a loss or gradient is not finite */
       TARN_CONTROL_FAILED = 1u << 3,     /* some rank failed: its status, shard and message follow */
       TARN_CONTROL_CHECKPOINT = 1u << 4, /* somebody asks for a checkpoint */
       TARN_CONTROL_DIVERGED = 1u << 5    /* the hashes of the ranks differ (set by the exchange) */
};

/* What a rank measured in a step, in seconds. Durations, no points in time: the ranks' clocks are not compared. */
typedef struct tarn_control_times {
    float compute; /* from the step's rows being there to its last shard's end */
    float data;    /* waiting for the rows */
    float arrival; /* from the end of the exchange before to the first wait of this step */
    int rounds;    /* shards its busiest thread ran one after the other */
    /* of the step before, what came after its shards */
    float reduce; /* waiting for the rest of the reduction */
    float update, save, track;
} tarn_control_times;

/* Flags from this bit on are votes on the checkpoint that is being written (TARN_CHECKPOINT_VOTE_...). */
#define TARN_CONTROL_VOTES 24

tarn_status tarn_control_create(tarn_control **control, tarn_context *context, int shards);
void tarn_control_destroy(tarn_control *control);
/* Clears the word for a new step. */
void tarn_control_begin(tarn_control *control);
/* Begins to announce the exchange that will end this step, so that the ranks know of each other's way while they
 * compute; await ends it, before the first message of the step is waited for. Without them the exchange announces
 * itself. */
tarn_status tarn_control_announce(tarn_control *control, const char *label);
tarn_status tarn_control_await(tarn_control *control);
void tarn_control_raise(tarn_control *control, uint32_t flags);
/* This rank failed in shard (V when in none); the context's recorded error supplies status and message. */
void tarn_control_fail(tarn_control *control, int shard, tarn_status status);
void tarn_control_set_loss(tarn_control *control, int shard, double loss_sum, int64_t count);
/* A hash every rank must have equal (0 = not given): of the parameters after the last step. */
void tarn_control_set_hash(tarn_control *control, uint64_t parameters);
/* This rank's times; those of all ranks are there after the exchange (zeros of a rank that set none). */
void tarn_control_set_times(tarn_control *control, const tarn_control_times *times);
void tarn_control_times_of(const tarn_control *control, int rank, tarn_control_times *times);
/* The one all-reduce. After TARN_CONTROL_FAILED the lowest failed shard's rank broadcasts its message; every rank then
 * records the same error (tarn_error_record, tarn_error_agree) and the exchange returns that status. A hash that
 * differs is an error that names the minority rank. `label` names the stage ("step 17", "opening the data"). */
tarn_status tarn_control_exchange(tarn_control *control, const char *label);
uint32_t tarn_control_flags(const tarn_control *control);
/* Sum of the shards' losses in index order, and of their counts. */
void tarn_control_loss(const tarn_control *control, double *loss_sum, int64_t *count);
double tarn_control_seconds(const tarn_control *control, double *wait_seconds); /* of the last exchange */

/* After a stop was agreed: the reason of the lowest rank that has one, the same on every rank; told to the supervisor
 * and logged by rank 0. Collective. */
tarn_status tarn_stop_agree(tarn_context *context, char *reason, size_t size);

#endif
