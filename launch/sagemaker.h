/* sagemaker.h - tarn train inside a SageMaker training job: hyper-parameters are key=value, checkpoints go where
 * SageMaker keeps them, and a failure is told where it looks for one.
 */
#ifndef TARN_LAUNCH_SAGEMAKER_H
#define TARN_LAUNCH_SAGEMAKER_H

#include <tarn/base.h>

/* True in a training job: TRAINING_JOB_NAME or SM_TRAINING_ENV is set there. */
bool tarn_sagemaker_detected(void);
/* The overrides of ROOT/input/config/hyperparameters.json, ROOT being TARN_SAGEMAKER_ROOT or /opt/ml: "a-b.c": "3"
 * becomes a.b.c=3; names that begin with sagemaker_ are SageMaker's own. checkpoint.dir and track.store, when not
 * given, lie in ROOT/checkpoints. *overrides: `count` strings in one allocation each, ended with tarn_sagemaker_free. A
 * file that is missing is no error: there are no hyper-parameters then. */
tarn_status tarn_sagemaker_overrides(tarn_context *context, char ***overrides, int *count);
void tarn_sagemaker_free(char **overrides, int count);
/* Writes the first error, if there is one, to ROOT/output/failure, whose first 1024 bytes SageMaker shows as the
 * reason. */
void tarn_sagemaker_tell_failure(const tarn_context *context);

#endif
