/* plan.h - tarn train --dry-run: what a run would do, without doing it. */
#ifndef TARN_LAUNCH_PLAN_H
#define TARN_LAUNCH_PLAN_H

#include "launch/run.h"

/* Prints the resolved configuration, the parameter count, which rank runs which shards, and the memory of a rank. */
tarn_status tarn_plan_print(tarn_context *context, tarn_run *run);

#endif
