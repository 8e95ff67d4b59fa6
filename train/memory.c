/* memory.c - how much memory a rank will need: the tape of one shard is gone through without running a kernel, so that
 * the pool says what activations and gradients take; the buffers of gradients and what kernels need beside them are
 * added.
 */
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What this process has in use already: code, libraries, data, the parameters, the optimizer's states (filled with
 * zeros when they were made). */
static int64_t resident_bytes(void)
{
    long long pages = 0, total = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file && fscanf(file, "%lld %lld", &total, &pages) != 2) pages = 0;
    if (file) fclose(file);
    return (int64_t)pages * sysconf(_SC_PAGESIZE);
}

/* Peak of one shard's tape, by going through it dry. */
static tarn_status measure_tape(tarn_trainer *trainer, int64_t *bytes)
{
    tarn_leader leader = {.trainer = trainer,
                          .pool = tarn_pool_create(),
                          .scratch = tarn_scratch_create(),
                          .seen = trainer->leader[0].seen};
    tarn_status status = leader.pool && leader.scratch ? TARN_OK : TARN_ERROR_MEMORY;
    if (!status) status = tarn_loader_load(trainer->loader, trainer->step);
    tarn_step *step = NULL;
    tarn_batch batch;
    /* Never written but by gradient rules made of ops, and so hardly ever resident. */
    float *gradients = calloc((size_t)tarn_module_flat_count(trainer->model) + 1, sizeof *gradients);
    if (!gradients) status = TARN_ERROR_MEMORY;
    if (!status) {
        trainer->dry = true;
        status = tarn_trainer_open_slot(trainer, &leader, NULL, trainer->loader, trainer->mine.begin, 0, trainer->step,
                                        gradients, &step, &batch);
        trainer->dry = false;
    }
    if (!status) {
        tarn_backward(step, tarn_trainer_loss(trainer, step, &batch, NULL));
        status = tarn_step_close(step);
    }
    *bytes = status ? 0 : (int64_t)tarn_pool_peak_bytes(leader.pool);
    free(gradients);
    tarn_pool_destroy(leader.pool);
    tarn_scratch_destroy(leader.scratch);
    return status;
}

tarn_status tarn_trainer_memory(tarn_trainer *trainer, int64_t *bytes)
{
    int64_t tape = 0;
    tarn_status status = measure_tape(trainer, &tape);
    if (status) return status;
    int64_t flat = tarn_module_flat_count(trainer->model) * (int64_t)sizeof(float);
    /* Gradient buffers: log2(shards of a leader) + 1 live at once in each. */
    int shards = trainer->mine.end - trainer->mine.begin, each = (shards + trainer->leaders - 1) / trainer->leaders,
        depth = 1;
    for (int n = 1; n < each; n *= 2) depth++;
    /* What kernels take from scratch beside the tape: packed panels of weights, which grow with the parameters, and the
     * hidden layer of fused blocks, which grows with the rows. The shares are measured; tests/test_program.c holds the
     * whole within 15 % of the peak. */
    int64_t scratch = flat / 2 + tape * 3 / 10;
    /* The snapshot a checkpoint is written from; its pages come with the first step. */
    int64_t snapshot = 0;
    if (trainer->store && !trainer->prepared)
        snapshot = tarn_checkpoint_snapshot_bytes(trainer->store, trainer->entries, trainer->entry_count);
    *bytes = resident_bytes() + snapshot + flat * depth * trainer->leaders + (tape + scratch) * trainer->leaders;
    return TARN_OK;
}
