/* spot_internal.h - what spot.c and budget.c share. */
#ifndef TARN_TRAIN_SPOT_INTERNAL_H
#define TARN_TRAIN_SPOT_INTERNAL_H

#include "train/spot/provider.h"
#include "train/spot/spot.h"

#include <pthread.h>
#include <stdatomic.h>

struct tarn_spot {
    tarn_context *context;

    /* The watcher; provider is NULL on a rank that only keeps the budget. */
    const tarn_spot_provider *provider;
    tarn_spot_session session;
    pthread_t thread;
    bool running;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool ending; /* under the lock */
    char host[256];

    /* The budget: main thread of rank 0 only. */
    bool keeps_budget, warned;
    double grace;        /* the shortest of all watched hosts */
    double save_seconds; /* of one checkpoint; negative: unknown */
    double step_seconds; /* the longest step, the first few apart */
    int64_t steps;
};

/* Seconds one checkpoint of the trainer's state takes, from writing (part of) the state once to the checkpoint
 * directory as a checkpoint is written. Negative after a warning when that failed. Rank 0. */
double tarn_spot_probe(tarn_trainer *trainer);
/* What the probe said; warns when two checkpoints alone do not fit into the grace. */
void tarn_spot_budget_start(tarn_spot *spot, double save_seconds);

#endif
