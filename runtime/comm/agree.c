/* agree.c - announcing collective calls, and agreement on a failure. See agree.h for the invariants. */
#include "runtime/comm/agree.h"
#include "runtime/base/context.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

enum { FLAGS, SEQUENCE, NOT_SEQUENCE, SLOTS }; /* of an announcement; a bit in both sequences differs between ranks */
enum { FAILED = 1 };
enum { LABEL_SLOTS = (int)(sizeof(((tarn_comm *)0)->announced) / sizeof(uint64_t)) };

/* What the failed rank broadcasts, of fixed size so that nobody has to know its length. */
#define MESSAGE_BYTES 2048

/* Collectives of the second rounds, in which all ranks are known to be: not announced. */
static tarn_status or_all_now(tarn_comm *comm, uint64_t *data, int count, const char *label)
{
    tarn_request request = 0;
    tarn_status status = comm->or_all(comm, data, count, &request);
    return status ? status : tarn_comm_wait(comm, &request, label);
}

static tarn_status broadcast_now(tarn_comm *comm, void *data, size_t bytes, int root, const char *label)
{
    tarn_request request = 0;
    tarn_status status = comm->broadcast(comm, data, bytes, root, &request);
    return status ? status : tarn_comm_wait(comm, &request, label);
}

/* ---- agreement on a failure ------------------------------------------------------------------------------------- */

tarn_status tarn_agree_on_failure(tarn_context *context, tarn_status status, int shard, const char *label)
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
    tarn_status result = or_all_now(comm, slots, comm->ranks, label);
    int failed = -1;
    for (int rank = 0; rank < comm->ranks; rank++)
        if (slots[rank] && (failed < 0 || (slots[rank] - 1) >> 8 < (slots[failed] - 1) >> 8)) failed = rank;
    tarn_status agreed = failed < 0 ? TARN_ERROR_INTERNAL : (tarn_status)((slots[failed] - 1) & 0xff);
    free(slots);
    if (result) return result;
    char message[MESSAGE_BYTES] = "";
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
    result = broadcast_now(comm, message, sizeof message, failed < 0 ? 0 : failed, label);
    if (result) return result;
    message[sizeof message - 1] = '\0';
    tarn_error_clear(context);
    tarn_error_record(context, agreed, failed, file, line, message);
    tarn_error_agree(context);
    return agreed;
}

/* ---- announcements ---------------------------------------------------------------------------------------------- */

int tarn_name_minority(const uint64_t *value, int ranks, char *names, size_t size, bool *majority)
{
    int best = 0, best_count = 0, second_count = 0, first = -1, named = 0;
    for (int i = 0; i < ranks; i++) {
        int count = 0;
        for (int k = 0; k < ranks; k++) count += value[k] == value[i];
        if (value[i] && count > best_count) {
            best = i;
            best_count = count;
        }
    }
    for (int i = 0; i < ranks; i++) {
        int count = 0;
        for (int k = 0; k < ranks; k++) count += value[k] == value[i];
        if (value[i] && value[i] != value[best] && count > second_count) second_count = count;
    }
    if (majority) *majority = best_count > second_count;
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

/* The sequences differ, which every rank saw in the same announcement: all tell what they announced. Not marked as
 * agreed: where messages of a step are under way there is no regular end, and tarn_exit ends the job. */
static tarn_status report_other_way(tarn_comm *comm, const char *label)
{
    size_t row = LABEL_SLOTS;
    uint64_t *labels = calloc((size_t)comm->ranks * row, sizeof *labels);
    uint64_t *hashes = calloc((size_t)comm->ranks, sizeof *hashes);
    if (!labels || !hashes) {
        free(labels);
        free(hashes);
        return tarn_fail(comm->context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to compare the ranks at: %s", label);
    }
    memcpy(labels + (size_t)comm->rank * row, comm->announced, sizeof comm->announced);
    tarn_status status = or_all_now(comm, labels, comm->ranks * (int)row, "comparing what the ranks do");
    if (!status) {
        for (int rank = 0; rank < comm->ranks; rank++)
            hashes[rank] = XXH3_64bits(labels + (size_t)rank * row, sizeof comm->announced) | 1;
        char names[160];
        int odd = tarn_name_minority(hashes, comm->ranks, names, sizeof names, NULL), other = 0;
        while (odd >= 0 && hashes[other] == hashes[odd]) other++;
        if (odd < 0)
            status = tarn_fail(comm->context, TARN_ERROR_COMM, TARN_HERE,
                               "%s: the ranks have made other collective calls before. Every rank must make the same "
                               "calls of the library in the same order",
                               label);
        else
            status = tarn_fail(
                comm->context, TARN_ERROR_COMM, TARN_HERE,
                "rank %d took another way: it is at \"%s\", rank %d is at \"%s\" (ranks that differ: %s). Every rank "
                "must make the same calls of the library in the same order",
                odd, (const char *)(labels + (size_t)odd * row), other, (const char *)(labels + (size_t)other * row),
                names);
    }
    free(labels);
    free(hashes);
    return status;
}

static tarn_status begin(tarn_comm *comm, const char *label, bool failed)
{
    if (comm->announcing)
        return tarn_fail(comm->context, TARN_ERROR_STATE, TARN_HERE,
                         "\"%s\" was called in the middle of \"%s\", in which no other collective call has a place: "
                         "end the step first",
                         label, comm->announced);
    comm->sequence = XXH3_64bits_withSeed(label, strlen(label), comm->sequence);
    memset(comm->announced, 0, sizeof comm->announced);
    snprintf(comm->announced, sizeof comm->announced, "%s", label);
    comm->announcement[FLAGS] = failed ? FAILED : 0;
    comm->announcement[SEQUENCE] = comm->sequence;
    comm->announcement[NOT_SEQUENCE] = ~comm->sequence;
    tarn_status status = comm->or_all(comm, comm->announcement, SLOTS, &comm->announcing_request);
    comm->announcing = !status;
    comm->announced_status = status;
    return status;
}

static tarn_status end(tarn_comm *comm, tarn_status own)
{
    if (!comm->announcing) return comm->announced_status;
    tarn_status status = tarn_comm_wait(comm, &comm->announcing_request, comm->announced);
    comm->announcing = false;
    if (!status && comm->announcement[FLAGS] & FAILED) {
        comm->sequence = 0; /* some came from elsewhere: from here on all have the same calls behind them */
        status = tarn_agree_on_failure(comm->context, own, INT_MAX, comm->announced);
    } else if (!status && comm->announcement[SEQUENCE] & comm->announcement[NOT_SEQUENCE]) {
        status = report_other_way(comm, comm->announced);
    }
    comm->announced_status = status;
    return status;
}

tarn_status tarn_comm_announce_begin(tarn_comm *comm, const char *label)
{
    return comm->ranks == 1 ? TARN_OK : begin(comm, label, false);
}

tarn_status tarn_comm_announce_end(tarn_comm *comm)
{
    return comm->ranks == 1 ? TARN_OK : end(comm, TARN_OK);
}

tarn_status tarn_comm_announce_poll(tarn_comm *comm)
{
    bool done = false;
    if (!comm->announcing) return comm->announced_status;
    tarn_status status = comm->test(comm, &comm->announcing_request, &done);
    if (status || !done) return status;
    return end(comm, TARN_OK);
}

tarn_status tarn_comm_announce(tarn_comm *comm, const char *label)
{
    tarn_status status = tarn_comm_announce_begin(comm, label);
    return status ? status : tarn_comm_announce_end(comm);
}

tarn_status tarn_agree(tarn_context *context, tarn_status status, const char *label)
{
    tarn_comm *comm = tarn_get_comm(context);
    if (!comm) return status; /* tarn_init failed on this rank: tarn_exit ends the others */
    if (comm->ranks == 1) return status ? tarn_agree_on_failure(context, status, INT_MAX, label) : TARN_OK;
    tarn_status result = begin(comm, label, status != TARN_OK);
    return result ? result : end(comm, status);
}
