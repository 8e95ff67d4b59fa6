/* log_model.h - the model of a run that has ended goes to its record: track.model, track.register. */
#ifndef TARN_LAUNCH_LOG_MODEL_H
#define TARN_LAUNCH_LOG_MODEL_H

#include "launch/run.h"

/* After the last step, before tarn_trainer_finish; does nothing but on rank 0 of a run that came to its end and asks
 * for it. A model that cannot be exported or logged is a warning: the run's weights are in its checkpoint all the same.
 */
void tarn_run_log_model(tarn_context *context, const tarn_run *run, tarn_trainer *trainer);

enum { TARN_MODEL_NAME = 201 };
/* The name of a logged model: MLflow's have fewer characters than those of runs. wanted NULL or "": "model". */
void tarn_logged_model_name(const char *wanted, char out[TARN_MODEL_NAME]);

#endif
