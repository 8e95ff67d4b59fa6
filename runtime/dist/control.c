/* control.c - the control word.
 *
 * Layout of the word (64-bit slots): flags; parameters, ~parameters (a bit set in both x and ~x differs between ranks);
 * V losses; V counts; four slots a rank with its times, two floats each. Rare second round, which
 * every rank enters because the ORed flags are the same: one slot a rank with who failed, or with the hashes.
 */
#include "runtime/dist/control.h"
#include "runtime/base/context.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_FLAGS, WORD_PARAMETERS, WORD_NOT_PARAMETERS, WORD_LOSSES, TIMES = 4 };

struct tarn_control {
    tarn_context *context;
    tarn_comm *comm;
    int shards, slots;
    uint64_t *word;
    pthread_mutex_t lock; /* shards report from several threads */
    int failed_shard;
    tarn_status failed_status;
    bool announced; /* the exchange of this step */
    uint32_t flags; /* after the exchange */
    double seconds, wait_seconds, announce_seconds;
};

tarn_status tarn_control_create(tarn_control **out, tarn_context *context, int shards)
{
    *out = NULL;
    tarn_control *control = calloc(1, sizeof *control);
    int slots = WORD_LOSSES + 2 * shards + TIMES * tarn_ranks(context);
    uint64_t *word = calloc((size_t)slots, sizeof *word);
    if (!control || !word) {
        free(control);
        free(word);
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for the control word of %d shards", shards);
    }
    control->context = context;
    control->comm = tarn_get_comm(context);
    control->shards = shards;
    control->slots = slots;
    control->word = word;
    pthread_mutex_init(&control->lock, NULL);
    tarn_control_begin(control);
    *out = control;
    return TARN_OK;
}

void tarn_control_destroy(tarn_control *control)
{
    if (!control) return;
    pthread_mutex_destroy(&control->lock);
    free(control->word);
    free(control);
}

void tarn_control_begin(tarn_control *control)
{
    memset(control->word, 0, sizeof *control->word * (size_t)control->slots);
    control->failed_shard = INT_MAX;
    control->failed_status = TARN_OK;
    control->announced = false;
    control->announce_seconds = 0;
    control->flags = 0;
}

tarn_status tarn_control_announce(tarn_control *control, const char *label)
{
    control->announced = true;
    double begin = tarn_seconds();
    tarn_status status = tarn_comm_announce_begin(control->comm, label);
    control->announce_seconds = tarn_seconds() - begin;
    return status;
}

tarn_status tarn_control_await(tarn_control *control)
{
    return tarn_comm_announce_end(control->comm);
}

void tarn_control_raise(tarn_control *control, uint32_t flags)
{
    pthread_mutex_lock(&control->lock);
    control->word[WORD_FLAGS] |= flags;
    pthread_mutex_unlock(&control->lock);
}

void tarn_control_fail(tarn_control *control, int shard, tarn_status status)
{
    pthread_mutex_lock(&control->lock);
    control->word[WORD_FLAGS] |= TARN_CONTROL_FAILED;
    if (shard < control->failed_shard) {
        control->failed_shard = shard;
        control->failed_status = status;
    }
    pthread_mutex_unlock(&control->lock);
}

void tarn_control_set_loss(tarn_control *control, int shard, double loss_sum, int64_t count)
{
    /* A shard's slots are its own, whatever thread runs it. */
    memcpy(&control->word[WORD_LOSSES + shard], &loss_sum, sizeof loss_sum);
    control->word[WORD_LOSSES + control->shards + shard] = (uint64_t)count;
}

void tarn_control_set_hash(tarn_control *control, uint64_t parameters)
{
    control->word[WORD_PARAMETERS] = parameters;
    control->word[WORD_NOT_PARAMETERS] = parameters ? ~parameters : 0;
}

static uint64_t pack(float high, float low)
{
    uint32_t bits[2];
    memcpy(&bits[0], &high, sizeof high);
    memcpy(&bits[1], &low, sizeof low);
    return (uint64_t)bits[0] << 32 | bits[1];
}

static void unpack(uint64_t slot, float *high, float *low)
{
    const uint32_t bits[2] = {(uint32_t)(slot >> 32), (uint32_t)slot};
    memcpy(high, &bits[0], sizeof *high);
    memcpy(low, &bits[1], sizeof *low);
}

static uint64_t *times_of(const tarn_control *control, int rank)
{
    return &control->word[WORD_LOSSES + 2 * control->shards + TIMES * rank];
}

void tarn_control_set_times(tarn_control *control, const tarn_control_times *times)
{
    uint64_t *slot = times_of(control, control->comm->rank);
    slot[0] = pack(times->compute, times->data);
    slot[1] = pack(times->arrival, (float)times->rounds);
    slot[2] = pack(times->reduce, times->update);
    slot[3] = pack(times->save, times->track);
}

void tarn_control_times_of(const tarn_control *control, int rank, tarn_control_times *times)
{
    const uint64_t *slot = times_of(control, rank);
    float rounds;
    unpack(slot[0], &times->compute, &times->data);
    unpack(slot[1], &times->arrival, &rounds);
    unpack(slot[2], &times->reduce, &times->update);
    unpack(slot[3], &times->save, &times->track);
    times->rounds = (int)rounds;
}

/* ---- the exchange ------------------------------------------------------------------------------------------------ */

static bool differs(const uint64_t *word, int slot)
{
    return (word[slot] & word[slot + 1]) != 0;
}

static tarn_status report_divergence(tarn_control *control, uint64_t parameters, const char *label)
{
    tarn_comm *comm = control->comm;
    uint64_t *all = calloc((size_t)comm->ranks, sizeof *all);
    if (!all)
        return tarn_fail(control->context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to compare ranks at: %s", label);
    all[comm->rank] = parameters;
    tarn_status status = tarn_comm_or_all(comm, all, comm->ranks, label);
    if (!status) {
        char names[160], message[512];
        int first = tarn_name_minority(all, comm->ranks, names, sizeof names, NULL);
        snprintf(message, sizeof message,
                 "rank %d: %s: its parameters differ from those of the other ranks (ranks that differ: %s). The "
                 "machine or a kernel computed wrongly, or the program changed parameters on one rank alone; resume "
                 "from the last checkpoint",
                 first, label, names);
        status = tarn_error_record(control->context, TARN_ERROR_COMM, first, __FILE__, __LINE__, message);
        tarn_error_agree(control->context);
    }
    free(all);
    return status;
}

tarn_status tarn_control_exchange(tarn_control *control, const char *label)
{
    double begin = tarn_seconds(), announced = begin;
    uint64_t parameters = control->word[WORD_PARAMETERS];
    tarn_request request = 0;
    tarn_status status = TARN_OK;
    control->seconds = control->wait_seconds = 0;
    if (!control->announced && control->comm->ranks > 1) {
        /* A rank that failed comes with its failure in the word: everybody is in this very exchange. */
        status = tarn_comm_announce(control->comm, label);
        announced = tarn_seconds();
    }
    if (!status) status = control->comm->or_all(control->comm, control->word, control->slots, &request);
    double started = tarn_seconds();
    if (!status) status = tarn_comm_wait(control->comm, &request, label);
    if (!status) {
        double waited = tarn_seconds();
        control->flags = (uint32_t)control->word[WORD_FLAGS];
        control->wait_seconds = waited - started + (announced - begin);
        if (control->flags & TARN_CONTROL_FAILED) {
            /* A rank that failed may have skipped an update: its hash means nothing. */
            status = tarn_agree_on_failure(control->context, control->failed_status, control->failed_shard, label);
        } else if (differs(control->word, WORD_PARAMETERS)) {
            control->flags |= TARN_CONTROL_DIVERGED;
            status = report_divergence(control, parameters, label);
        }
    }
    control->seconds = tarn_seconds() - begin + control->announce_seconds;
    return status;
}

uint32_t tarn_control_flags(const tarn_control *control)
{
    return control->flags;
}

void tarn_control_loss(const tarn_control *control, double *loss_sum, int64_t *count)
{
    *loss_sum = 0;
    *count = 0;
    for (int shard = 0; shard < control->shards; shard++) {
        double loss;
        memcpy(&loss, &control->word[WORD_LOSSES + shard], sizeof loss);
        *loss_sum += loss;
        *count += (int64_t)control->word[WORD_LOSSES + control->shards + shard];
    }
}

double tarn_control_seconds(const tarn_control *control, double *wait_seconds)
{
    if (wait_seconds) *wait_seconds = control->wait_seconds;
    return control->seconds;
}
