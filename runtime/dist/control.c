/* control.c - the control word, and agreement on a failure.
 *
 * Layout of the word (64-bit slots): flags; sequence, ~sequence, parameters, ~parameters (a bit set in both x and ~x
 * differs between ranks); V losses; V counts. Rare second round, which every rank enters because the ORed flags are the
 * same: one slot a rank with who failed, or with the hashes.
 */
#include "runtime/dist/control.h"
#include "runtime/base/context.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORD_FLAGS, WORD_SEQUENCE, WORD_NOT_SEQUENCE, WORD_PARAMETERS, WORD_NOT_PARAMETERS, WORD_LOSSES };

/* What the failed rank broadcasts, of fixed size so that nobody has to know its length. */
#define TARN_CONTROL_MESSAGE 2048

struct tarn_control {
    tarn_context *context;
    tarn_comm *comm;
    int shards, slots;
    uint64_t *word;
    pthread_mutex_t lock; /* shards report from several threads */
    int failed_shard;
    tarn_status failed_status;
    uint32_t flags; /* after the exchange */
    double seconds, wait_seconds;
};

tarn_status tarn_control_create(tarn_control **out, tarn_context *context, int shards)
{
    *out = NULL;
    tarn_control *control = calloc(1, sizeof *control);
    int slots = WORD_LOSSES + 2 * shards;
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
    control->flags = 0;
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

void tarn_control_set_hashes(tarn_control *control, uint64_t sequence, uint64_t parameters)
{
    control->word[WORD_SEQUENCE] = sequence;
    control->word[WORD_NOT_SEQUENCE] = sequence ? ~sequence : 0;
    control->word[WORD_PARAMETERS] = parameters;
    control->word[WORD_NOT_PARAMETERS] = parameters ? ~parameters : 0;
}

/* ---- agreement on a failure
 * ------------------------------------------------------------------------------------------ */

/* Second round after some rank failed. Every rank passes its status (TARN_OK: not failed) and shard; all record the
 * error of the lowest shard, of the lowest rank among equals, and return its status. */
static tarn_status agree_on_failure(tarn_context *context, tarn_status status, int shard, const char *label)
{
    tarn_comm *comm = tarn_get_comm(context);
    if (comm->ranks == 1) {
        const tarn_error *error = tarn_get_error(context);
        if (!error) tarn_fail(context, status, "", 0, "%s: failed (%s)", label, tarn_status_name(status));
        tarn_error_agree(context);
        return status;
    }
    uint64_t *slots = calloc((size_t)comm->ranks, sizeof *slots);
    if (!slots)
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to agree on a failure at: %s", label);
    if (status) slots[comm->rank] = ((uint64_t)(uint32_t)shard << 8 | (uint64_t)status) + 1;
    tarn_status result = tarn_comm_or_all(comm, slots, comm->ranks, label);
    int failed = -1;
    for (int rank = 0; rank < comm->ranks; rank++)
        if (slots[rank] && (failed < 0 || (slots[rank] - 1) >> 8 < (slots[failed] - 1) >> 8)) failed = rank;
    tarn_status agreed = failed < 0 ? TARN_ERROR_INTERNAL : (tarn_status)((slots[failed] - 1) & 0xff);
    free(slots);
    if (result) return result;
    char message[TARN_CONTROL_MESSAGE] = "";
    const char *file = "";
    int line = 0;
    if (comm->rank == failed) {
        const tarn_error *error = tarn_get_error(context);
        char prefix[32];
        snprintf(prefix, sizeof prefix, "rank %d: ", failed);
        const char *what = error ? error->message : tarn_status_name(agreed);
        if (!strncmp(what, prefix, strlen(prefix))) prefix[0] = '\0';
        snprintf(message, sizeof message, "%s%s", prefix, what);
        if (error) {
            file = error->file;
            line = error->line;
        }
    }
    result = tarn_comm_broadcast(comm, message, sizeof message, failed, label);
    if (result) return result;
    message[sizeof message - 1] = '\0';
    tarn_error_clear(context);
    tarn_error_record(context, agreed, failed, file, line, message);
    tarn_error_agree(context);
    return agreed;
}

tarn_status tarn_agree(tarn_context *context, tarn_status status, const char *label)
{
    if (!tarn_get_comm(context)) return status; /* tarn_init failed on this rank: tarn_exit ends the others */
    uint64_t flags = status ? TARN_CONTROL_FAILED : 0;
    tarn_status result = tarn_comm_or_all(tarn_get_comm(context), &flags, 1, label);
    if (result) return result;
    return flags ? agree_on_failure(context, status, INT_MAX, label) : TARN_OK;
}

/* ---- the exchange
 * ---------------------------------------------------------------------------------------------------- */

static bool differs(const uint64_t *word, int slot)
{
    return (word[slot] & word[slot + 1]) != 0;
}

/* Names the ranks whose value is not the most frequent one (the lowest rank's, among equally frequent ones). */
static int name_minority(const uint64_t *value, int ranks, char *names, size_t size)
{
    int best = 0, best_count = 0, first = -1, named = 0;
    for (int i = 0; i < ranks; i++) {
        int count = 0;
        for (int k = 0; k < ranks; k++) count += value[k] == value[i];
        if (value[i] && count > best_count) {
            best = i;
            best_count = count;
        }
    }
    size_t used = 0;
    names[0] = '\0';
    for (int i = 0; i < ranks; i++) {
        if (!value[i] || value[i] == value[best]) continue;
        if (first < 0) first = i;
        if (named++ < 8 && used + 16 < size)
            used += (size_t)snprintf(names + used, size - used, "%s%d", used ? ", " : "", i);
    }
    if (named > 8) snprintf(names + used, size - used, " and %d more", named - 8);
    return first;
}

static tarn_status report_divergence(tarn_control *control, uint64_t sequence, uint64_t parameters, const char *label)
{
    tarn_comm *comm = control->comm;
    int ranks = comm->ranks;
    uint64_t *all = calloc(2 * (size_t)ranks, sizeof *all);
    if (!all)
        return tarn_fail(control->context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to compare ranks at: %s", label);
    all[comm->rank] = sequence;
    all[ranks + comm->rank] = parameters;
    tarn_status status = tarn_comm_or_all(comm, all, 2 * ranks, label);
    if (!status) {
        char names[160], message[TARN_CONTROL_MESSAGE];
        bool in_sequence = differs(control->word, WORD_SEQUENCE);
        int first = name_minority(in_sequence ? all : all + ranks, ranks, names, sizeof names);
        if (in_sequence)
            snprintf(
                message, sizeof message,
                "rank %d: %s: its collective calls differ from those of the other ranks (ranks that differ: %s). Every "
                "rank must make the same calls of the library in the same order",
                first, label, names);
        else
            snprintf(
                message, sizeof message,
                "rank %d: %s: its parameters differ from those of the other ranks (ranks that differ: %s). The machine "
                "or "
                "a kernel computed wrongly, or the program changed parameters on one rank alone; resume from the last "
                "checkpoint",
                first, label, names);
        status = tarn_error_record(control->context, TARN_ERROR_COMM, first, __FILE__, __LINE__, message);
        tarn_error_agree(control->context);
    }
    free(all);
    return status;
}

tarn_status tarn_control_exchange(tarn_control *control, const char *label)
{
    double begin = tarn_seconds();
    uint64_t sequence = control->word[WORD_SEQUENCE], parameters = control->word[WORD_PARAMETERS];
    tarn_request request = 0;
    tarn_status status = control->comm->or_all(control->comm, control->word, control->slots, &request);
    double started = tarn_seconds();
    if (!status) status = tarn_comm_wait(control->comm, &request, label);
    control->seconds = control->wait_seconds = 0;
    if (!status) {
        double waited = tarn_seconds();
        control->flags = (uint32_t)control->word[WORD_FLAGS];
        control->wait_seconds = waited - started;
        if (control->flags & TARN_CONTROL_FAILED) {
            /* A rank that failed may have skipped calls: its hashes mean nothing. */
            status = agree_on_failure(control->context, control->failed_status, control->failed_shard, label);
        } else if (differs(control->word, WORD_SEQUENCE) || differs(control->word, WORD_PARAMETERS)) {
            control->flags |= TARN_CONTROL_DIVERGED;
            status = report_divergence(control, sequence, parameters, label);
        }
    }
    control->seconds = tarn_seconds() - begin;
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
