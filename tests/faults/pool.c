/* pool.c - see pool.h. */
#include "tests/faults/pool.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOST_WORKERS 64

void *fault_shared(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

typedef struct pool {
    int64_t count;
    int workers;
    void (*job)(void *, int64_t, int, fault_verdict *);
    void *user;
    fault_verdict *verdicts;
    int64_t *current; /* shared: what each worker is at */
} pool;

static pid_t start(const pool *p, int slot, int64_t first)
{
    fflush(NULL);
    pid_t child = fork();
    if (child) return child;
    signal(SIGALRM, SIG_DFL);
    for (int64_t i = first; i < p->count; i += p->workers) {
        p->current[slot] = i;
        alarm(FAULT_JOB_SECONDS);
        p->job(p->user, i, slot, &p->verdicts[i]);
    }
    _exit(0);
}

fault_verdict *fault_pool_run(int64_t count, int workers, void (*job)(void *, int64_t, int, fault_verdict *),
                              void *user)
{
    if (workers > MOST_WORKERS) workers = MOST_WORKERS;
    pool p = {count, workers, job, user, NULL, NULL};
    p.verdicts = fault_shared((size_t)(count + 1) * sizeof *p.verdicts);
    p.current = fault_shared(MOST_WORKERS * sizeof *p.current);
    pid_t children[MOST_WORKERS];
    int running = 0;
    if (!p.verdicts || !p.current) return NULL;
    for (int slot = 0; slot < workers; slot++) {
        children[slot] = start(&p, slot, slot);
        running += children[slot] > 0;
    }
    while (running) {
        int status;
        pid_t ended = wait(&status);
        if (ended < 0) break;
        for (int slot = 0; slot < workers; slot++) {
            if (children[slot] != ended) continue;
            running--;
            if (WIFEXITED(status) && !WEXITSTATUS(status)) continue;
            /* This job killed its worker: that is its result; another worker goes on behind it. */
            int64_t at = p.current[slot];
            p.verdicts[at].signal = WIFSIGNALED(status) ? WTERMSIG(status) : 256 + WEXITSTATUS(status);
            if (at + workers >= count) continue;
            children[slot] = start(&p, slot, at + workers);
            running += children[slot] > 0;
        }
    }
    munmap(p.current, MOST_WORKERS * sizeof *p.current);
    return p.verdicts;
}

void fault_pool_free(fault_verdict *verdicts, int64_t count)
{
    if (verdicts) munmap(verdicts, (size_t)(count + 1) * sizeof *verdicts);
}
