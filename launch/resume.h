/* resume.h - what of a run file may be otherwise than when the checkpoint that is gone on with was saved. */
#ifndef TARN_LAUNCH_RESUME_H
#define TARN_LAUNCH_RESUME_H

#include "launch/run.h"

/* Fails on every rank, at the key that differs, when the run cannot go on with the newest checkpoint of its directory.
 * Collective. The first weights matter only where there is nothing to resume: then their file must be there, else
 * run->options.init_from is cleared. */
tarn_status tarn_run_check_resume(tarn_context *context, tarn_run *run, bool from_scratch);

#endif
