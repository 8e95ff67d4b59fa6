/* reduce.c - Tarn's sum of gradients against MPI_Allreduce, turn by turn in one run.
 *
 *   mpirun -n P --bind-to none build/release/bench/reduce [MiB (64)] [repetitions (15)] [shards per rank (1)]
 *
 * Each turn starts at a barrier and lasts until the slowest rank is done. Tarn's side gives the same bits for every
 * number of ranks and yields the sum of squares too; MPI's side gives neither. With several shards a rank, the rank's
 * own sum of its shards is left out on both sides. Prints two JSON lines: medians in milliseconds, ratio = MPI / Tarn
 * (above 1: Tarn is faster) and what part of Tarn's time was waiting for peers; then the same reduction begun while the
 * last shard is still being computed in 64 parts: all time spent in it, and what of it came after the computation had
 * ended.
 */
#include "runtime/base/context.h"
#include "runtime/dist/reducer.h"

#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count)
{
    qsort(values, (size_t)count, sizeof *values, compare);
    return values[count / 2];
}

static double slowest(double seconds)
{
    double result = seconds;
    MPI_Allreduce(&seconds, &result, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    return result;
}

static void fill(float *values, int64_t begin, int64_t end, int shard)
{
    for (int64_t i = begin; i < end; i++) values[i] = (float)((i * 31 + shard * 17) % 1009) * 1e-3f - 0.5f;
}

/* One turn of ours. Every shard but the last is in before the clock starts; the last is in too, or, when overlapped, is
 * computed while the clock runs. */
static tarn_status turn(tarn_reducer *reducer, int64_t count, bool overlapped, double *seconds,
                        tarn_reducer_times *times)
{
    float *gradient, *buffer = NULL;
    double squares;
    tarn_status status = tarn_reducer_begin(reducer);
    if (status) return status;
    tarn_shard_range plan = tarn_reducer_plan(reducer, 0);
    int last = plan.end - 1;
    for (int shard = plan.begin; shard < plan.end; shard++) {
        buffer = tarn_reducer_acquire(reducer, shard);
        if (!buffer) return TARN_ERROR_INTERNAL;
        if (shard < last || !overlapped) fill(buffer, 0, count, shard);
        if (shard < last) tarn_reducer_release(reducer, shard, false);
    }
    MPI_Barrier(MPI_COMM_WORLD);
    double begin = MPI_Wtime();
    for (int64_t part = 0; overlapped && part < 64; part++) {
        fill(buffer, count * part / 64, count * (part + 1) / 64, last);
        tarn_reducer_ready(reducer, last, count * part / 64, count * (part + 1) / 64);
    }
    tarn_reducer_release(reducer, last, false);
    status = tarn_reducer_finish(reducer, &gradient, &squares);
    *seconds = slowest(MPI_Wtime() - begin);
    tarn_reducer_get_times(reducer, times);
    return status;
}

static tarn_status run(tarn_context *context, int64_t count, int repetitions, int shards_per_rank)
{
    int ranks = tarn_ranks(context);
    tarn_reducer *reducer;
    tarn_status status = tarn_reducer_create(&reducer, context, ranks * shards_per_rank, count, 1, 0);
    if (status) return status;
    float *theirs = malloc(sizeof *theirs * (size_t)count), *sum = malloc(sizeof *sum * (size_t)count);
    double *ours = malloc(sizeof *ours * (size_t)repetitions), *mpi = malloc(sizeof *mpi * (size_t)repetitions);
    if (!theirs || !sum || !ours || !mpi) return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory");
    double waited = 0, total = 0, exposed = 0;
    fill(theirs, 0, count, tarn_rank(context));
    /* The first turns touch the pages and set up connections. */
    for (int i = -2; i < repetitions && !status; i++) {
        double seconds = 0;
        tarn_reducer_times times = {0};
        status = turn(reducer, count, false, &seconds, &times);
        if (i >= 0) {
            ours[i] = seconds;
            waited += times.wait_seconds / seconds / repetitions;
        }
        MPI_Barrier(MPI_COMM_WORLD);
        double begin = MPI_Wtime();
        MPI_Allreduce(theirs, sum, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
        seconds = slowest(MPI_Wtime() - begin);
        if (i >= 0) mpi[i] = seconds;
        if (!status) status = turn(reducer, count, true, &seconds, &times);
        if (i >= 0) {
            total += times.seconds / repetitions;
            exposed += times.exposed_seconds / repetitions;
        }
    }
    if (!status && tarn_rank(context) == 0) {
        double a = median(ours, repetitions), b = median(mpi, repetitions);
        printf("{\"ranks\": %d, \"shards\": %d, \"mebibytes\": %.1f, \"tarn_ms\": %.2f, \"mpi_allreduce_ms\": %.2f, "
               "\"ratio\": %.2f, \"tarn_waiting\": %.2f}\n",
               ranks, ranks * shards_per_rank, (double)count * 4 / 1048576, a * 1e3, b * 1e3, b / a, waited);
        printf(
            "{\"ranks\": %d, \"overlapped_total_ms\": %.2f, \"overlapped_exposed_ms\": %.2f, \"exposed_part\": %.2f}\n",
            ranks, total * 1e3, exposed * 1e3, exposed / total);
    }
    free(theirs);
    free(sum);
    free(ours);
    free(mpi);
    tarn_reducer_destroy(reducer);
    return status;
}

int main(int argc, char **argv)
{
    tarn_context *context;
    if (tarn_init(&context, &argc, &argv) != TARN_OK) return tarn_exit(context);
    double mebibytes = argc > 1 ? atof(argv[1]) : 64;
    int repetitions = argc > 2 ? atoi(argv[2]) : 15, shards = argc > 3 ? atoi(argv[3]) : 1;
    if (tarn_ranks(context) < 2)
        tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "one rank has nothing to reduce: mpirun -n 2 %s", argv[0]);
    else if (mebibytes <= 0 || repetitions < 1 || shards < 1)
        tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "usage: %s [MiB] [repetitions] [shards per rank]", argv[0]);
    else
        run(context, (int64_t)(mebibytes * 262144), repetitions, shards);
    return tarn_exit(context);
}
