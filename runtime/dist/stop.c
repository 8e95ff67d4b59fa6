/* stop.c - the reason of an agreed stop, the same on every rank.
 *
 * A stop is agreed in the control word; its reason is known where the signal, the notice or the supervisor's word came
 * in. The lowest rank that has one gives it to all: a round that happens once a run.
 */
#include "runtime/base/context.h"
#include "runtime/dist/control.h"
#include "runtime/monitor/monitor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

tarn_status tarn_stop_agree(tarn_context *context, char *reason, size_t size)
{
    static const char label[] = "the reason of the stop";
    tarn_comm *comm = tarn_get_comm(context);
    const char *mine = tarn_stop_reason();
    int teller = -1;
    memset(reason, 0, size);
    uint64_t *asked = calloc((size_t)comm->ranks, sizeof *asked);
    if (!asked) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory to agree on: %s", label);
    asked[comm->rank] = mine != NULL;
    tarn_status status = tarn_comm_or_all(comm, asked, comm->ranks, label);
    for (int rank = comm->ranks - 1; rank >= 0; rank--)
        if (asked[rank]) teller = rank;
    free(asked);
    if (status) return status;
    snprintf(reason, size, "%s", mine && teller == comm->rank ? mine : "the program");
    if (teller >= 0) status = tarn_comm_broadcast(comm, reason, size, teller, label);
    reason[size - 1] = '\0';
    if (teller == comm->rank) tarn_monitor_tell(context, "stopping %s", reason);
    if (comm->rank == 0) tarn_log(context, TARN_LOG_INFO, "all ranks stop: %s", reason);
    return status;
}
