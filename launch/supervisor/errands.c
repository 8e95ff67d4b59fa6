/* errands.c - see errands.h. */
#include "launch/supervisor/errands.h"

#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void append(tarn_errand **first, tarn_errand **last, tarn_errand *errand)
{
    errand->next = NULL;
    if (*first)
        (*last)->next = errand;
    else
        *first = errand;
    *last = errand;
}

/* Does one, and passes it on. Called without the lock. */
static void run(tarn_errands *errands, tarn_errand *errand)
{
    void (*done)(tarn_errand *) = errand->done;
    errand->work(errand);
    if (!done) free(errand);
    pthread_mutex_lock(&errands->lock);
    if (done) append(&errands->finished, &errands->last_finished, errand);
    errands->open--;
    pthread_mutex_unlock(&errands->lock);
    uint64_t one = 1;
    if (errands->wake >= 0) (void)!write(errands->wake, &one, sizeof one);
}

static void *errands_main(void *argument)
{
    tarn_errands *errands = argument;
    pthread_mutex_lock(&errands->lock);
    for (;;) {
        while (!errands->first && !errands->quit) pthread_cond_wait(&errands->changed, &errands->lock);
        tarn_errand *errand = errands->first;
        if (!errand) break;
        errands->first = errand->next;
        pthread_mutex_unlock(&errands->lock);
        run(errands, errand);
        pthread_mutex_lock(&errands->lock);
    }
    pthread_mutex_unlock(&errands->lock);
    return NULL;
}

void tarn_errands_start(tarn_errands *errands, const char *name)
{
    *errands = (tarn_errands){.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    pthread_mutex_init(&errands->lock, NULL);
    pthread_cond_init(&errands->changed, NULL);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    errands->started = !pthread_create(&errands->thread, NULL, errands_main, errands);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (errands->started) pthread_setname_np(errands->thread, name);
}

void tarn_errands_give(tarn_errands *errands, tarn_errand *errand)
{
    pthread_mutex_lock(&errands->lock);
    errands->open++;
    if (errands->started) append(&errands->first, &errands->last, errand);
    pthread_cond_signal(&errands->changed);
    pthread_mutex_unlock(&errands->lock);
    if (!errands->started) run(errands, errand);
}

void tarn_errands_collect(tarn_errands *errands)
{
    uint64_t count;
    if (errands->wake >= 0) (void)!read(errands->wake, &count, sizeof count);
    pthread_mutex_lock(&errands->lock);
    tarn_errand *finished = errands->finished;
    errands->finished = errands->last_finished = NULL;
    pthread_mutex_unlock(&errands->lock);
    while (finished) {
        tarn_errand *next = finished->next;
        finished->done(finished);
        finished = next;
    }
}

int tarn_errands_open(tarn_errands *errands)
{
    pthread_mutex_lock(&errands->lock);
    int open = errands->open;
    pthread_mutex_unlock(&errands->lock);
    return open;
}

bool tarn_errands_end(tarn_errands *errands)
{
    if (tarn_errands_open(errands)) return false;
    tarn_errands_collect(errands);
    pthread_mutex_lock(&errands->lock);
    errands->quit = true;
    pthread_cond_signal(&errands->changed);
    pthread_mutex_unlock(&errands->lock);
    if (errands->started) pthread_join(errands->thread, NULL);
    if (errands->wake >= 0) close(errands->wake);
    pthread_mutex_destroy(&errands->lock);
    pthread_cond_destroy(&errands->changed);
    return true;
}
