/* desync.c - when the parameters of the ranks differ: which tensor, and which ranks.
 *
 * The control word carries one hash: of a step's update (optim/optimizer.c), or, before a checkpoint, of everything the
 * ranks hold now. When the ranks' hashes differ, all of them know it from the same exchange and enter one more round
 * here: each tensor's hash of each rank, values first, then the moments.
 */
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* The tensors in the order they are compared: values of each parameter, then its moments. */
typedef struct tensors {
    const char *states[4];
    float *buffers[4];
    int state_count, parameters;
} tensors;

static int tensor_count(const tensors *all)
{
    return all->parameters * (1 + all->state_count);
}

/* Where tensor `index` lies; NULL for the moments of a frozen parameter, which has none. */
static const float *tensor_at(const tarn_trainer *trainer, const tensors *all, int index, tarn_parameter_info *info)
{
    tarn_module_parameter_at(trainer->model, index % all->parameters, info);
    int state = index / all->parameters - 1;
    if (state < 0) return info->values;
    return info->frozen ? NULL : all->buffers[state] + info->offset;
}

static void name_it(const tarn_trainer *trainer, const tensors *all, int index, char *out, size_t size)
{
    tarn_parameter_info info;
    tensor_at(trainer, all, index, &info);
    int state = index / all->parameters - 1;
    if (state < 0)
        snprintf(out, size, "parameter %s", info.name);
    else
        snprintf(out, size, "moment %s of parameter %s", all->states[state], info.name);
}

/* Says what was found: the first tensor that differs, how many more do, and the ranks. */
static void report(tarn_trainer *trainer, const tensors *all, const uint64_t *hashes, const char *label)
{
    int ranks = tarn_ranks(trainer->context), count = tensor_count(all), first = -1, more = 0, odd = 0;
    char names[160] = "", tensor[400] = "", message[1600], who[400], others[48] = "";
    bool majority = true;
    for (int i = 0; i < count; i++) {
        bool same = true;
        for (int rank = 1; rank < ranks; rank++) same = same && hashes[rank * count + i] == hashes[i];
        if (same) continue;
        if (first >= 0) {
            more++;
            continue;
        }
        first = i;
        uint64_t *column = calloc((size_t)ranks, sizeof *column);
        for (int rank = 0; column && rank < ranks; rank++) column[rank] = hashes[rank * count + i];
        if (column) odd = tarn_name_minority(column, ranks, names, sizeof names, &majority);
        free(column);
        name_it(trainer, all, i, tensor, sizeof tensor);
    }
    if (more) snprintf(others, sizeof others, " (and %d more)", more);
    if (first < 0)
        snprintf(who, sizeof who, "no tensor differs any more: a hash itself was computed wrongly");
    else if (majority)
        snprintf(who, sizeof who, "%s%s differs on rank%s %s from that of the others", tensor, others,
                 strchr(names, ',') ? "s" : "", names);
    else if (ranks == 2)
        snprintf(who, sizeof who,
                 "%s%s differs between rank 0 and rank 1; with two ranks there is no majority to say which is wrong",
                 tensor, others);
    else
        snprintf(who, sizeof who, "%s%s differs between the ranks; rank 0 and rank%s %s have no majority", tensor,
                 others, strchr(names, ',') ? "s" : "", names);
    snprintf(
        message, sizeof message,
        "%s: the ranks are not the same any more after step %lld: %s. A machine computed or kept a number wrongly, "
        "or the program changed it on one rank alone; nothing was saved since, start again to go on from the last "
        "checkpoint",
        label, (long long)trainer->step, who);
    tarn_error_clear(trainer->context);
    tarn_error_record(trainer->context, TARN_ERROR_COMM, odd, __FILE__, __LINE__, message);
    tarn_error_agree(trainer->context);
}

typedef struct hash_job {
    const tarn_trainer *trainer;
    const tensors *all;
    uint64_t *hashes; /* [tensor_count], 0: no memory of its own */
} hash_job;

static void hash_tensors(void *argument, int64_t begin, int64_t end, int member)
{
    const hash_job *job = argument;
    (void)member;
    for (int64_t i = begin; i < end; i++) {
        tarn_parameter_info info;
        const float *values = tensor_at(job->trainer, job->all, (int)i, &info);
        uint64_t hash = values ? XXH3_64bits(values, (size_t)info.numel * sizeof *values) : 1;
        job->hashes[i] = hash ? hash : 1;
    }
}

static tensors describe(tarn_trainer *trainer)
{
    tensors all = {.parameters = tarn_module_parameter_count(trainer->model)};
    all.state_count = tarn_optimizer_states(trainer->optimizer, all.states, all.buffers);
    return all;
}

uint64_t tarn_trainer_hash_state(tarn_trainer *trainer)
{
    const tensors all = describe(trainer);
    int count = tensor_count(&all);
    uint64_t *hashes = calloc((size_t)count + 1, sizeof *hashes), hash = 0; /* 0: not given, the ranks go on without */
    if (!hashes) return 0;
    hash_job job = {trainer, &all, hashes};
    tarn_workers_for(trainer->workers, count, 1, hash_tensors, &job);
    hash = XXH3_64bits(hashes, (size_t)count * sizeof *hashes);
    free(hashes);
    return hash ? hash : 1;
}

tarn_status tarn_trainer_name_tensor(tarn_trainer *trainer, const char *label)
{
    const tensors all = describe(trainer);
    int ranks = tarn_ranks(trainer->context), count = tensor_count(&all);
    uint64_t *hashes = calloc((size_t)ranks * (size_t)count, sizeof *hashes);
    tarn_status status = TARN_OK;
    /* Without memory for it the hashes' own message stays; the ranks agree, so that none waits. */
    uint64_t missing = hashes == NULL;
    status = tarn_comm_or_all(tarn_get_comm(trainer->context), &missing, 1, "naming the tensor that differs");
    if (!status && !missing) {
        hash_job job = {trainer, &all, hashes + tarn_rank(trainer->context) * count};
        hash_tensors(&job, 0, count, 0);
        status =
            tarn_comm_or_all(tarn_get_comm(trainer->context), hashes, ranks * count, "naming the tensor that differs");
        if (!status) report(trainer, &all, hashes, label);
    }
    free(hashes);
    return status ? status : TARN_ERROR_COMM;
}
