/* case_dist.c - several ranks: the reducer, the control word, agreement, abort and deadlines. Launched by test_dist.c.
 *
 *   case_dist reduce V COUNT THREADS LEADERS BUCKET_BYTES [FAILED_SHARD [FAILED_RANK]]
 *       three steps of made-up gradients; every rank compares with the naive tree sum, rank 0 prints digests
 *   case_dist control | fail SHARD_A SHARD_B | diverge | agree RANK | abort | vanish | late | absent | messages |
 *       binding THREADS
 *
 * A mismatch is reported on stderr and ends all ranks with exit code 9.
 */
#include "runtime/base/context.h"
#include "runtime/comm/comm.h"
#include "runtime/dist/control.h"
#include "runtime/dist/reducer.h"
#include "runtime/worker/worker.h"

#include <inttypes.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static tarn_context *context;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "rank %d, %s:%d: %s\n", tarn_rank(context), __FILE__, __LINE__, #condition);               \
            if (tarn_get_error(context)) fprintf(stderr, "  %s\n", tarn_get_error(context)->message);                  \
            tarn_get_comm(context)->abort(tarn_get_comm(context), 9);                                                  \
            _exit(9);                                                                                                  \
        }                                                                                                              \
    } while (0)

static uint64_t mix(uint64_t z)
{
    z += 0x9E3779B97F4A7C15ull;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
    return z ^ (z >> 31);
}

/* Values of a wide range of magnitudes, so that every order of summation has its own bits. */
static float gradient_value(int step, int shard, int64_t i)
{
    uint64_t h = mix((uint64_t)step << 56 ^ (uint64_t)shard << 40 ^ (uint64_t)i);
    uint32_t bits = ((uint32_t)(h >> 32) & 0x807fffffu) | (uint32_t)(127 - h % 25) << 23;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t digest_of(const float *values, int64_t count)
{
    uint64_t hash = 1469598103934665603ull;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        hash = (hash ^ bits) * 1099511628211ull;
    }
    return hash;
}

typedef struct reduce_case {
    int shards, failed_shard, failed_rank, step;
    int64_t count;
    tarn_reducer *reducer;
} reduce_case;

static bool is_zero(const reduce_case *c, int shard)
{
    if (shard == c->failed_shard) return true;
    if (c->failed_rank < 0) return false;
    tarn_shard_range range = tarn_shards_of_rank(c->shards, tarn_ranks(context), c->failed_rank);
    return shard >= range.begin && shard < range.end;
}

/* The definition: recursion over the tree, element by element. */
static float naive(const reduce_case *c, int begin, int end, int64_t i)
{
    if (end - begin == 1) return is_zero(c, begin) ? 0.0f : gradient_value(c->step, begin, i);
    int split = tarn_shards_split(begin, end);
    return naive(c, begin, split, i) + naive(c, split, end, i);
}

static double naive_squares(const float *values, int64_t count)
{
    double total = 0;
    for (int64_t block = 0; block < count; block += 4096) {
        double lane[16] = {0};
        for (int64_t i = block; i < count && i < block + 4096; i++)
            lane[(i - block) % 16] += (double)values[i] * (double)values[i];
        for (int width = 8; width; width /= 2)
            for (int l = 0; l < width; l++) lane[l] += lane[l + width];
        total += lane[0];
    }
    return total;
}

static void run_shards(void *argument, int leader, tarn_team *team)
{
    const reduce_case *c = argument;
    (void)team;
    tarn_shard_range plan = tarn_reducer_plan(c->reducer, leader);
    for (int shard = plan.begin; shard < plan.end; shard++) {
        float *buffer = tarn_reducer_acquire(c->reducer, shard);
        CHECK(buffer);
        if (shard == c->failed_shard) {
            tarn_reducer_release(c->reducer, shard, true);
            continue;
        }
        /* Parameters of odd sizes become ready out of order, some never: release covers those. */
        int64_t begin = 0;
        for (int64_t part = 0; begin < c->count; part++) {
            int64_t length = 1 + (int64_t)(mix((uint64_t)(shard * 977 + part)) % 20000);
            int64_t end = begin + length < c->count ? begin + length : c->count;
            for (int64_t i = begin; i < end; i++) buffer[i] = gradient_value(c->step, shard, i);
            if (part % 7 != 3) {
                int64_t middle = begin + (end - begin) / 2;
                tarn_reducer_ready(c->reducer, shard, middle, end);
                tarn_reducer_ready(c->reducer, shard, begin, middle);
            }
            if (leader == 0) tarn_reducer_poll(c->reducer);
            begin = end;
        }
        tarn_reducer_release(c->reducer, shard, false);
    }
}

static int reduce(int argc, char **argv)
{
    CHECK(argc >= 7);
    reduce_case c = {.shards = atoi(argv[2]), .count = atoll(argv[3]), .failed_shard = -1, .failed_rank = -1};
    int threads = atoi(argv[4]), leaders = atoi(argv[5]);
    if (argc > 7) c.failed_shard = atoi(argv[7]);
    if (argc > 8) c.failed_rank = atoi(argv[8]);
    CHECK(tarn_set_threads(context, threads) == TARN_OK);
    if (tarn_agree(context,
                   tarn_reducer_create(&c.reducer, context, c.shards, c.count, leaders, (size_t)atoll(argv[6])),
                   "making the reducer"))
        return 0;
    tarn_workers *workers = tarn_context_workers(context);
    CHECK(workers);
    /* The plan covers this rank's shards once, in order. */
    tarn_shard_range mine = tarn_shards_of_rank(c.shards, tarn_ranks(context), tarn_rank(context));
    int next = mine.begin;
    for (int l = 0; l < leaders; l++) {
        tarn_shard_range plan = tarn_reducer_plan(c.reducer, l);
        CHECK(plan.begin == next || plan.begin == plan.end);
        if (plan.end > plan.begin) next = plan.end;
    }
    CHECK(next == mine.end);
    for (c.step = 0; c.step < 3; c.step++) {
        float *gradient;
        double squares;
        CHECK(tarn_reducer_begin(c.reducer) == TARN_OK);
        if (c.failed_rank != tarn_rank(context)) tarn_workers_run_teams(workers, leaders, run_shards, &c);
        CHECK(tarn_reducer_finish(c.reducer, &gradient, &squares) == TARN_OK);
        CHECK(gradient);
        for (int64_t i = 0; i < c.count; i++) {
            float expected = naive(&c, 0, c.shards, i);
            CHECK(!memcmp(&expected, &gradient[i], sizeof expected));
        }
        CHECK(squares == naive_squares(gradient, c.count));
        tarn_reducer_times times;
        tarn_reducer_get_times(c.reducer, &times);
        CHECK(times.exposed_seconds >= 0 && times.exposed_seconds <= times.seconds &&
              times.wait_seconds <= times.seconds);
        CHECK((times.bytes > 0) == (tarn_ranks(context) > 1 && c.count > 0));
        if (tarn_rank(context) == 0)
            printf("step %d digest %016" PRIx64 " squares %a\n", c.step, digest_of(gradient, c.count), squares);
    }
    tarn_reducer_destroy(c.reducer);
    return 0;
}

static int control_word(void)
{
    enum { V = 11 };
    int rank = tarn_rank(context), ranks = tarn_ranks(context);
    tarn_control *control;
    CHECK(tarn_control_create(&control, context, V) == TARN_OK);
    for (int step = 0; step < 20; step++) {
        tarn_shard_range mine = tarn_shards_of_rank(V, ranks, rank);
        tarn_control_begin(control);
        for (int s = mine.begin; s < mine.end; s++) tarn_control_set_loss(control, s, -0.1 * s + step, s + 1);
        if (rank == step % ranks) tarn_control_raise(control, TARN_CONTROL_STOP);
        if (rank == ranks - 1 && step == 3) tarn_control_raise(control, TARN_CONTROL_EXHAUSTED);
        tarn_control_set_hash(control, step == 5 ? 0 : mix((uint64_t)step));
        CHECK(tarn_control_exchange(control, "a step of the test") == TARN_OK);
        CHECK(tarn_control_flags(control) == (TARN_CONTROL_STOP | (step == 3 ? TARN_CONTROL_EXHAUSTED : 0u)));
        double loss, expected = 0, wait;
        int64_t count;
        for (int s = 0; s < V; s++) expected += -0.1 * s + step;
        tarn_control_loss(control, &loss, &count);
        CHECK(loss == expected && count == V * (V + 1) / 2);
        CHECK(tarn_control_seconds(control, &wait) >= wait && wait >= 0);
    }
    tarn_control_destroy(control);
    if (rank == 0) puts("ok");
    return 0;
}

/* Ranks 1 and last fail in shards of their own; all return the error of the lower shard and can finalise. */
static int control_fail(int shard_one, int shard_last)
{
    int rank = tarn_rank(context), ranks = tarn_ranks(context);
    tarn_control *control;
    CHECK(tarn_control_create(&control, context, 8) == TARN_OK);
    tarn_control_begin(control);
    tarn_control_set_hash(control, 7 + (uint64_t)rank);
    int mine = rank == ranks - 1 ? shard_last : rank == 1 ? shard_one : -1;
    if (mine >= 0) {
        tarn_fail(context, TARN_ERROR_NUMERIC, TARN_HERE, "shard %d went wrong", mine);
        tarn_control_fail(control, mine, TARN_ERROR_NUMERIC);
    }
    CHECK(tarn_control_exchange(control, "step 1") == TARN_ERROR_NUMERIC);
    CHECK(tarn_control_flags(control) & TARN_CONTROL_FAILED);
    const tarn_error *error = tarn_get_error(context);
    CHECK(error && error->status == TARN_ERROR_NUMERIC && context->agreed);
    printf("heard: %s\n", error->message);
    tarn_control_destroy(control);
    return 0;
}

static int control_diverge(void)
{
    int rank = tarn_rank(context);
    tarn_control *control;
    CHECK(tarn_control_create(&control, context, 4) == TARN_OK);
    tarn_control_begin(control);
    tarn_control_set_hash(control, rank == 2 ? 0xbad : 0x900d);
    CHECK(tarn_control_exchange(control, "step 17") == TARN_ERROR_COMM);
    CHECK(tarn_control_flags(control) & TARN_CONTROL_DIVERGED);
    CHECK(context->agreed && tarn_get_error(context)->rank == 2);
    tarn_control_destroy(control);
    return 0;
}

static int agree(int failing)
{
    CHECK(tarn_agree(context, TARN_OK, "nothing") == TARN_OK);
    tarn_status status = TARN_OK;
    if (tarn_rank(context) == failing)
        status = tarn_fail(context, TARN_ERROR_CONFIG, TARN_HERE, "line 3: unknown key 'wdith'");
    CHECK(tarn_agree(context, status, "reading the run file") == TARN_ERROR_CONFIG);
    CHECK(context->agreed && tarn_get_error(context)->status == TARN_ERROR_CONFIG);
    return 0;
}

/* From here on: joining takes as long as it takes on a busy machine. */
static void set_deadline(const char *seconds)
{
    tarn_comm_barrier(tarn_get_comm(context), "all have joined");
    setenv("TARN_COMM_TIMEOUT", seconds, 1);
}

/* The last rank never comes to the barrier: the others give up after the deadline and say so. */
static int vanish(void)
{
    set_deadline("3");
    if (tarn_rank(context) == tarn_ranks(context) - 1) {
        sleep(60);
        return 0;
    }
    CHECK(tarn_comm_barrier(tarn_get_comm(context), "the barrier of the test") == TARN_ERROR_COMM);
    return 0;
}

/* The last rank never reduces: finish gives up after the deadline. */
static int late(void)
{
    tarn_reducer *reducer;
    float *gradient;
    double squares;
    CHECK(tarn_reducer_create(&reducer, context, 4, 50000, 1, 0) == TARN_OK);
    set_deadline("3");
    CHECK(tarn_reducer_begin(reducer) == TARN_OK);
    if (tarn_rank(context) == tarn_ranks(context) - 1) {
        sleep(60);
        return 0;
    }
    CHECK(tarn_reducer_finish(reducer, &gradient, &squares) == TARN_ERROR_COMM && !gradient);
    CHECK(tarn_reducer_begin(reducer) == TARN_ERROR_COMM);
    return 0;
}

/* Every operation of the vtable once. */
static int messages(void)
{
    tarn_comm *comm = tarn_get_comm(context);
    int rank = comm->rank, ranks = comm->ranks;
    enum { N = 100000 };
    uint64_t *out = malloc(sizeof *out * N), *in = malloc(sizeof *in * N);
    int64_t *offset = malloc(sizeof *offset * (size_t)(ranks + 1));
    CHECK(out && in && offset);
    CHECK(comm->local_rank == rank && comm->local_ranks == ranks); /* tests run on one host */
    CHECK(comm->local_cores >= tarn_allowed_cores());
    CHECK(tarn_threads(context) >= 1 && tarn_threads(context) <= tarn_allowed_cores());
    CHECK(tarn_threads(context) == 1 || tarn_threads(context) * ranks <= comm->local_cores);
    for (int i = 0; i < N; i++) out[i] = mix((uint64_t)(rank * N + i));
    if (ranks > 1) {
        tarn_request sent, received;
        int to = (rank + 1) % ranks, from = (rank + ranks - 1) % ranks;
        CHECK(!comm->receive(comm, in, sizeof *in * N, from, 5, &received));
        CHECK(!comm->send(comm, out, sizeof *out * N, to, 5, &sent));
        CHECK(!tarn_comm_wait(comm, &received, "receiving") && !tarn_comm_wait(comm, &sent, "sending") && !received);
        for (int i = 0; i < N; i++) CHECK(in[i] == mix((uint64_t)(from * N + i)));
    }
    for (int i = 0; i < N; i++) in[i] = 0;
    in[rank] = 1000 + (uint64_t)rank;
    CHECK(!tarn_comm_or_all(comm, in, N, "or"));
    for (int i = 0; i < N; i++) CHECK(in[i] == (i < ranks ? 1000 + (uint64_t)i : 0));
    /* Uneven parts, that of rank 0 empty when there are several. */
    for (int r = 0; r <= ranks; r++)
        offset[r] = r == ranks ? N * 8 : r <= 1 && ranks > 1 ? 0 : (int64_t)N * 8 / ranks * r + r;
    offset[0] = 0;
    uint8_t *bytes = (uint8_t *)in;
    memset(bytes, 0xff, N * 8);
    for (int64_t i = offset[rank]; i < offset[rank + 1]; i++) bytes[i] = (uint8_t)mix((uint64_t)i);
    tarn_request gathered;
    CHECK(!comm->gather_all(comm, bytes, offset, &gathered) && !tarn_comm_wait(comm, &gathered, "gathering"));
    for (int64_t i = 0; i < N * 8; i++) CHECK(bytes[i] == (uint8_t)mix((uint64_t)i));
    for (int root = 0; root < ranks; root++) {
        uint64_t value = rank == root ? mix((uint64_t)root) : 0;
        CHECK(!tarn_comm_broadcast(comm, &value, sizeof value, root, "broadcast") && value == mix((uint64_t)root));
    }
    CHECK(!tarn_comm_barrier(comm, "the end"));
    if (rank == 0) puts("ok");
    free(out);
    free(in);
    free(offset);
    return 0;
}

int main(int argc, char **argv)
{
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (argc > 1 && !strcmp(argv[1], "absent") && rank && atoi(rank) == 1) {
        /* A rank that MPI knows but that never joins. */
        MPI_Init(&argc, &argv);
        sleep(60);
        return 0;
    }
    if (tarn_init(&context, &argc, &argv) != TARN_OK) return tarn_exit(context);
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "reduce"))
        reduce(argc, argv);
    else if (!strcmp(name, "control"))
        control_word();
    else if (!strcmp(name, "fail") && argc > 3)
        control_fail(atoi(argv[2]), atoi(argv[3]));
    else if (!strcmp(name, "diverge"))
        control_diverge();
    else if (!strcmp(name, "agree") && argc > 2)
        agree(atoi(argv[2]));
    else if (!strcmp(name, "vanish"))
        vanish();
    else if (!strcmp(name, "late"))
        late();
    else if (!strcmp(name, "messages"))
        messages();
    else if (!strcmp(name, "binding") && argc > 2)
        tarn_comm_check_binding(context, atoi(argv[2]));
    else if (!strcmp(name, "abort")) {
        /* An error of one rank alone: it leaves at once, nobody waits for it for ever. */
        if (tarn_rank(context) == 1)
            tarn_fail(context, TARN_ERROR_IO, TARN_HERE, "the disk of one rank is gone");
        else
            tarn_comm_barrier(tarn_get_comm(context), "a barrier rank 1 never reaches");
    } else {
        fprintf(stderr, "case_dist: no case '%s'\n", name);
        return 3;
    }
    fflush(stdout);
    return tarn_exit(context);
}
