/* plan.c - see plan.h. */
#include "launch/plan.h"
#include "runtime/dist/shards.h"

#include <stdio.h>

tarn_status tarn_plan_print(tarn_context *context, tarn_run *run)
{
    run->options.checkpoint_directory = NULL; /* nothing is written */
    run->options.track = NULL;
    tarn_trainer *trainer;
    tarn_status status = tarn_trainer_create(&trainer, context, &run->options);
    if (status) return status;
    int64_t bytes = 0;
    status = tarn_trainer_memory(trainer, &bytes);
    if (!status && tarn_rank(context) == 0) {
        const tarn_train_options *o = &run->options;
        printf("%s\n", tarn_config_text(run->config));
        printf("# parameters: %lld\n", (long long)tarn_module_numel(run->model));
        printf("# samples: %lld for training", (long long)tarn_dataset_length(run->data));
        tarn_dataset *validation = run->test ? run->test : tarn_dataset_validation(run->data);
        if (validation) printf(", %lld for validation", (long long)tarn_dataset_length(validation));
        printf("\n# shards: %d of %lld samples each", o->shards, (long long)(o->batch / o->shards));
        if (o->accumulate > 1) printf(", in %d micro-batches", o->accumulate);
        printf("\n");
        for (int rank = 0; rank < tarn_ranks(context); rank++) {
            tarn_shard_range range = tarn_shards_of_rank(o->shards, tarn_ranks(context), rank);
            printf("#   rank %d: shards %d to %d on %d threads\n", rank, range.begin, range.end - 1,
                   tarn_threads(context));
        }
        printf("# memory of a rank: %.0f MiB\n", (double)bytes / (1 << 20));
    }
    tarn_status finished = tarn_trainer_finish(trainer);
    return status ? status : finished;
}
