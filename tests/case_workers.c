/* case_workers.c - the thread pool: every member runs once, every index is covered once, teams serve their leaders.
 *
 * A plain program, so that it can run under -fsanitize=thread: all results are written without atomics on purpose, the
 * pool alone orders them. Prints "ok" and exits 0, or says what is wrong and exits 1.
 */
#include "runtime/worker/worker.h"

#include <signal.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

#define COUNT 5000

typedef struct board {
    int ran[64];
    int value[COUNT];
    unsigned environment[64];
    int blocked[64];
    tarn_workers *workers;
} board;

static void member(void *argument, int index, tarn_team *team)
{
    (void)team;
    board *b = argument;
    b->ran[index]++;
#if defined(__x86_64__)
    b->environment[index] = _mm_getcsr() & ~0x3fu;
#else
    b->environment[index] = 0x1f80;
#endif
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    b->blocked[index] = sigismember(&mask, SIGTERM) && sigismember(&mask, SIGUSR1);
}

static void range(void *argument, int64_t begin, int64_t end, int index)
{
    board *b = argument;
    b->ran[index]++;
    for (int64_t i = begin; i < end; i++) b->value[i]++;
}

static void check_run(int threads)
{
    tarn_workers *workers;
    CHECK(tarn_workers_create(&workers, NULL, threads) == TARN_OK);
    CHECK(tarn_workers_count(workers) == threads);
    for (int round = 0; round < 200; round++)
        for (int members = 1; members <= threads + 1; members++) {
            board b = {0};
            int expected = members < threads ? members : threads;
            tarn_workers_run_teams(workers, members, member, &b);
            for (int i = 0; i < 64; i++) CHECK(b.ran[i] == (i < expected));
            for (int i = 0; i < expected; i++) CHECK(b.environment[i] == 0x1f80 && (i == 0 || b.blocked[i]));
        }
    tarn_workers_destroy(workers);
}

static void check_for(int threads)
{
    tarn_workers *workers;
    CHECK(tarn_workers_create(&workers, NULL, threads) == TARN_OK);
    static const int64_t counts[] = {0, 1, 2, 7, 64, 65, 1000, COUNT};
    static const int64_t grains[] = {0, 1, 3, 64, 4096, 10000};
    for (int c = 0; c < 8; c++)
        for (int g = 0; g < 6; g++) {
            board *b = calloc(1, sizeof *b);
            CHECK(b);
            tarn_workers_for(workers, counts[c], grains[g], range, b);
            for (int64_t i = 0; i < COUNT; i++) CHECK(b->value[i] == (i < counts[c]));
            free(b);
        }
    tarn_workers_destroy(workers);
}

typedef struct lesson {
    int leaders, threads;
    board *board; /* one a leader */
    int sizes[16];
    int finished[16];
} lesson;

static void lead(void *argument, int leader, tarn_team *team)
{
    lesson *l = argument;
    board *b = &l->board[leader];
    l->sizes[leader] = tarn_team_size(team);
    /* Uneven work, so that leaders end at different times. */
    int rounds = 50 * (leader + 1);
    for (int round = 1; round <= rounds; round++) {
        tarn_team_for(team, COUNT, 16, range, b);
        /* The helpers' writes are visible after the call. */
        for (int i = 0; i < COUNT; i += 499) CHECK(b->value[i] == round);
    }
    CHECK(b->value[COUNT - 1] == rounds);
    l->finished[leader] = rounds;
}

static void check_teams(int threads, int leaders)
{
    tarn_workers *workers;
    CHECK(tarn_workers_create(&workers, NULL, threads) == TARN_OK);
    int expected = leaders < threads ? leaders : threads;
    for (int round = 0; round < 3; round++) {
        lesson l = {.leaders = leaders, .threads = threads, .board = calloc((size_t)leaders, sizeof(board))};
        CHECK(l.board);
        tarn_workers_run_teams(workers, leaders, lead, &l);
        int total = 0;
        for (int i = 0; i < leaders; i++) {
            CHECK(l.finished[i] == (i < expected ? 50 * (i + 1) : 0));
            if (i < expected) total += l.sizes[i];
        }
        CHECK(total == threads);
        free(l.board);
    }
    tarn_workers_destroy(workers);
}

static void nested(void *argument, int index, tarn_team *team)
{
    (void)team;
    board *b = argument;
    if (index == 0) tarn_workers_for(b->workers, 100, 1, range, b);
}

static void check_small_print(void)
{
    board *b = calloc(1, sizeof *b);
    tarn_workers *workers;
    CHECK(b);
    /* No team and no pool: the calling thread does it all. */
    tarn_team_for(NULL, 10, 1, range, b);
    CHECK(b->ran[0] == 1 && b->value[9] == 1 && b->value[10] == 0 && tarn_team_size(NULL) == 1);
    tarn_workers_for(NULL, 10, 1, range, b);
    CHECK(b->value[9] == 2);
    tarn_workers_destroy(NULL);
    CHECK(tarn_workers_create(&workers, NULL, 0) == TARN_ERROR_ARGUMENT && !workers);
    /* A run inside a run does not deadlock. */
    CHECK(tarn_workers_create(&workers, NULL, 3) == TARN_OK);
    memset(b, 0, sizeof *b);
    b->workers = workers;
    tarn_workers_run_teams(workers, 3, nested, b);
    CHECK(b->value[99] == 1);
#if defined(__x86_64__)
    /* The caller's own floating-point mode (as -ffast-math sets it) comes back; members do not see it. */
    _mm_setcsr(0x9fc0);
    memset(b, 0, sizeof *b);
    tarn_workers_run_teams(workers, 3, member, b);
    CHECK(_mm_getcsr() == 0x9fc0);
    for (int i = 0; i < 3; i++) CHECK(b->environment[i] == 0x1f80);
    _mm_setcsr(0x1f80);
#endif
    tarn_workers_destroy(workers);
    CHECK(tarn_allowed_cores() >= 1);
    free(b);
}

int main(void)
{
    for (int threads = 1; threads <= 5; threads++) {
        check_run(threads);
        check_for(threads);
        for (int leaders = 1; leaders <= threads + 1; leaders++) check_teams(threads, leaders);
    }
    check_small_print();
    puts("ok");
    return 0;
}
