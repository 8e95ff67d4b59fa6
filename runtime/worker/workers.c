/* workers.c - the pool: every thread but the caller owns a mailbox; whoever leads posts tasks there and waits at a
 * gate.
 *
 * Invariants
 *  1. A mailbox has one poster at a time: the main thread, or the leader whose team the thread serves.
 *  2. A poster reuses a mailbox only after its gate told that the last task is done.
 *  3. Gates live as long as the pool, so a thread that is late in leaving one touches no freed memory.
 *  4. All signals but the one that asks for the stack are blocked in the threads of the pool.
 */
#include "runtime/worker/worker.h"
#include "runtime/base/context.h"
#include "runtime/worker/park.h"

#include <tarn/sys/comm.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* About 50 microseconds of spinning where every thread has a core of its own, next to nothing where not. */
#define TARN_SPINS_ALONE   3000
#define TARN_SPINS_CROWDED 20

/* Counts the tasks under way; the word is their number. */
typedef struct worker_gate {
    _Alignas(64) tarn_parking pending;
} worker_gate;

typedef enum task_kind { TASK_RANGE, TASK_LEADER, TASK_QUIT } task_kind;

typedef struct worker_task {
    task_kind kind;
    int member;
    union {
        tarn_team_function *range;
        void (*leader)(void *argument, int leader, tarn_team *team);
    } fn;
    void *argument;
    int64_t begin, end;
    tarn_team *team;
    worker_gate *gate;
} worker_task;

typedef struct worker_thread {
    _Alignas(64) tarn_parking posted; /* the word counts the tasks ever posted */
    worker_task task;
    pthread_t thread;
    int spins;
} worker_thread;

struct tarn_team {
    worker_gate gate;
    tarn_workers *workers;
    int size;
    int first, stride; /* member m >= 1 is the thread first + (m - 1) * stride of the pool */
};

struct tarn_workers {
    int count;
    int spins;
    atomic_bool busy;
    worker_gate gate;
    worker_thread *threads; /* count of them; [0] stands for the caller and has no mailbox */
    tarn_team *teams;       /* count of them */
};

static void run_task(const worker_task *task)
{
    switch (task->kind) {
    case TASK_RANGE:
        task->fn.range(task->argument, task->begin, task->end, task->member);
        break;
    case TASK_LEADER:
        task->fn.leader(task->argument, task->member, task->team);
        break;
    case TASK_QUIT:
        break;
    }
}

static void *worker_main(void *argument)
{
    worker_thread *self = argument;
    tarn_float_environment_enter();
    for (unsigned seen = 0;; seen++) {
        tarn_park(&self->posted, seen, self->spins);
        worker_task task = self->task;
        if (task.kind == TASK_QUIT) return NULL;
        run_task(&task);
        if (atomic_fetch_sub(&task.gate->pending.word, 1) == 1) tarn_unpark(&task.gate->pending);
    }
}

static void post(worker_thread *thread, const worker_task *task)
{
    thread->task = *task;
    atomic_fetch_add(&thread->posted.word, 1);
    tarn_unpark(&thread->posted);
}

static void gate_open(worker_gate *gate, int tasks)
{
    atomic_store_explicit(&gate->pending.word, (unsigned)tasks, memory_order_relaxed);
}

static void gate_wait(worker_gate *gate, int spins)
{
    unsigned pending;
    while ((pending = atomic_load_explicit(&gate->pending.word, memory_order_acquire)))
        tarn_park(&gate->pending, pending, spins);
}

/* Piece `member` of [0, count) cut into `members` pieces, multiples of grain but the last. */
static void cut(int64_t count, int64_t grain, int members, int member, int64_t *begin, int64_t *end)
{
    int64_t chunks = (count + grain - 1) / grain;
    *begin = chunks / members * member + chunks % members * member / members;
    *end = chunks / members * (member + 1) + chunks % members * (member + 1) / members;
    *begin = *begin * grain < count ? *begin * grain : count;
    *end = *end * grain < count ? *end * grain : count;
}

static int useful_members(int64_t count, int64_t grain, int members)
{
    int64_t chunks = (count + grain - 1) / grain;
    return chunks < members ? (int)chunks : members;
}

/* ---- life -------------------------------------------------------------------------------------------------------- */

/* Do the threads of this host outnumber its cores? Then a spinning thread takes the core of one that works. */
static bool crowded(const tarn_context *context, int threads)
{
    if (threads > tarn_allowed_cores()) return true;
    const tarn_comm *comm = context ? context->comm : NULL;
    return comm && comm->local_cores > 0 && (int64_t)comm->local_ranks * threads > comm->local_cores;
}

static int start_threads(tarn_workers *workers)
{
    sigset_t old;
    tarn_block_signals(&old);
    int error = 0, started = 1;
    for (; started < workers->count; started++) {
        worker_thread *thread = &workers->threads[started];
        thread->spins = workers->spins;
        if ((error = pthread_create(&thread->thread, NULL, worker_main, thread))) break;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    workers->count = started;
    return error;
}

tarn_status tarn_workers_create(tarn_workers **out, tarn_context *context, int threads)
{
    *out = NULL;
    if (threads < 1)
        return tarn_fail(context, TARN_ERROR_ARGUMENT, TARN_HERE, "%d threads: at least 1 is needed", threads);
    tarn_workers *workers = aligned_alloc(64, (sizeof *workers + 63) / 64 * 64);
    worker_thread *pool = aligned_alloc(64, (size_t)threads * sizeof *pool);
    tarn_team *teams = aligned_alloc(64, (size_t)threads * sizeof *teams);
    if (!workers || !pool || !teams) {
        free(workers);
        free(pool);
        free(teams);
        return tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE, "no memory for %d worker threads", threads);
    }
    memset(workers, 0, sizeof *workers);
    memset(pool, 0, (size_t)threads * sizeof *pool);
    memset(teams, 0, (size_t)threads * sizeof *teams);
    workers->count = threads;
    workers->spins = crowded(context, threads) ? TARN_SPINS_CROWDED : TARN_SPINS_ALONE;
    workers->threads = pool;
    workers->teams = teams;
    int error = start_threads(workers);
    if (error) {
        tarn_status status = tarn_fail(context, TARN_ERROR_MEMORY, TARN_HERE,
                                       "thread %d of %d could not be started: %s; ask for fewer threads",
                                       workers->count, threads, strerror(error));
        tarn_workers_destroy(workers);
        return status;
    }
    *out = workers;
    return TARN_OK;
}

void tarn_workers_destroy(tarn_workers *workers)
{
    if (!workers) return;
    for (int i = 1; i < workers->count; i++) post(&workers->threads[i], &(worker_task){.kind = TASK_QUIT});
    for (int i = 1; i < workers->count; i++) pthread_join(workers->threads[i].thread, NULL);
    free(workers->threads);
    free(workers->teams);
    free(workers);
}

int tarn_workers_count(const tarn_workers *workers)
{
    return workers ? workers->count : 1;
}

/* ---- work -------------------------------------------------------------------------------------------------------- */

/* False when the pool is at work already (a call from inside a run, or from another thread): the caller then does all
 * the members' work itself, one after the other. */
static bool take_pool(tarn_workers *workers)
{
    return workers && workers->count > 1 && !atomic_exchange_explicit(&workers->busy, true, memory_order_acquire);
}

static void give_pool_back(tarn_workers *workers)
{
    atomic_store_explicit(&workers->busy, false, memory_order_release);
}

/* Runs the pieces of [0, count) on the calling thread and on threads first, first + stride, ... of the pool. */
static void run_ranges(tarn_workers *workers, worker_gate *gate, int members, int first, int stride, int64_t count,
                       int64_t grain, tarn_team_function *fn, void *argument)
{
    gate_open(gate, members - 1);
    worker_task task = {.kind = TASK_RANGE, .fn.range = fn, .argument = argument, .gate = gate};
    for (int i = 1; i < members; i++) {
        task.member = i;
        cut(count, grain, members, i, &task.begin, &task.end);
        post(&workers->threads[first + (i - 1) * stride], &task);
    }
    int64_t begin, end;
    cut(count, grain, members, 0, &begin, &end);
    fn(argument, begin, end, 0);
    gate_wait(gate, workers->spins);
}

void tarn_workers_for(tarn_workers *workers, int64_t count, int64_t grain, tarn_team_function *fn, void *argument)
{
    if (count <= 0) return;
    if (grain < 1) grain = 1;
    unsigned saved = tarn_float_environment_enter();
    int members = useful_members(count, grain, tarn_workers_count(workers));
    if (members > 1 && take_pool(workers)) {
        run_ranges(workers, &workers->gate, members, 1, 1, count, grain, fn, argument);
        give_pool_back(workers);
    } else {
        fn(argument, 0, count, 0);
    }
    tarn_float_environment_leave(saved);
}

void tarn_workers_run_teams(tarn_workers *workers, int leaders, void (*fn)(void *argument, int leader, tarn_team *team),
                            void *argument)
{
    int count = tarn_workers_count(workers);
    if (leaders > count) leaders = count;
    unsigned saved = tarn_float_environment_enter();
    if (leaders >= 1 && take_pool(workers)) {
        /* Threads leaders, leaders + 1, ... are dealt to the teams in turn; they need no task of their own: the leaders
         * post to their mailboxes. */
        for (int leader = 0; leader < leaders; leader++) {
            tarn_team *team = &workers->teams[leader];
            int helpers = (count - leaders - leader + leaders - 1) / leaders;
            team->workers = workers;
            team->size = 1 + (helpers > 0 ? helpers : 0);
            team->first = leaders + leader;
            team->stride = leaders;
        }
        gate_open(&workers->gate, leaders - 1);
        worker_task task = {.kind = TASK_LEADER, .fn.leader = fn, .argument = argument, .gate = &workers->gate};
        for (int leader = 1; leader < leaders; leader++) {
            task.member = leader;
            task.team = &workers->teams[leader];
            post(&workers->threads[leader], &task);
        }
        fn(argument, 0, &workers->teams[0]);
        gate_wait(&workers->gate, workers->spins);
        give_pool_back(workers);
    } else {
        for (int leader = 0; leader < leaders; leader++) fn(argument, leader, NULL);
    }
    tarn_float_environment_leave(saved);
}

/* ---- teams ------------------------------------------------------------------------------------------------------- */

int tarn_team_size(const tarn_team *team)
{
    return team ? team->size : 1;
}

void tarn_team_for(tarn_team *team, int64_t count, int64_t grain, tarn_team_function *fn, void *argument)
{
    if (count <= 0) return;
    if (grain < 1) grain = 1;
    int members = useful_members(count, grain, tarn_team_size(team));
    if (members > 1)
        run_ranges(team->workers, &team->gate, members, team->first, team->stride, count, grain, fn, argument);
    else
        fn(argument, 0, count, 0);
}
