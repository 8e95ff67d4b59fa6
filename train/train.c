/* train.c - the whole loop in one call. */
#include "train/trainer.h"

tarn_status tarn_train(tarn_context *context, const tarn_train_options *options)
{
    tarn_trainer *trainer;
    tarn_status status = tarn_trainer_create(&trainer, context, options);
    if (status) return status;
    while (tarn_trainer_next(trainer)) {
        tarn_trainer_run_shards(trainer); /* what failed is in the control word of tarn_optim_step */
        tarn_optim_step(trainer);
    }
    return tarn_trainer_finish(trainer);
}
