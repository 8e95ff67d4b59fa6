/* writer.c - see writer.h. */
#include "checkpoint/writer.h"
#include "runtime/base/context.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

struct tarn_checkpoint_writer {
    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake, idle;
    void (*job)(void *argument); /* NULL: idle */
    void *argument;
    bool closing;
};

static void *work(void *user)
{
    tarn_checkpoint_writer *writer = user;
    pthread_setname_np(pthread_self(), "tarn-checkpoint");
    pthread_mutex_lock(&writer->lock);
    for (;;) {
        while (!writer->job && !writer->closing) pthread_cond_wait(&writer->wake, &writer->lock);
        if (!writer->job) break;
        pthread_mutex_unlock(&writer->lock);
        writer->job(writer->argument);
        pthread_mutex_lock(&writer->lock);
        writer->job = NULL;
        pthread_cond_broadcast(&writer->idle);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

bool tarn_checkpoint_writer_create(tarn_checkpoint_writer **out, tarn_problem *problem)
{
    *out = NULL;
    tarn_checkpoint_writer *writer = calloc(1, sizeof *writer);
    if (!writer) return tarn_problem_set(problem, ENOMEM, "out of memory");
    pthread_mutex_init(&writer->lock, NULL);
    pthread_cond_init(&writer->wake, NULL);
    pthread_cond_init(&writer->idle, NULL);
    sigset_t before;
    tarn_block_signals(&before);
    int error = pthread_create(&writer->thread, NULL, work, writer);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error) {
        pthread_cond_destroy(&writer->wake);
        pthread_cond_destroy(&writer->idle);
        pthread_mutex_destroy(&writer->lock);
        free(writer);
        return tarn_problem_set(problem, error, "cannot start the thread that writes checkpoints: %s", strerror(error));
    }
    *out = writer;
    return true;
}

void tarn_checkpoint_writer_destroy(tarn_checkpoint_writer *writer)
{
    if (!writer) return;
    pthread_mutex_lock(&writer->lock);
    writer->closing = true;
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->lock);
    pthread_join(writer->thread, NULL);
    pthread_cond_destroy(&writer->wake);
    pthread_cond_destroy(&writer->idle);
    pthread_mutex_destroy(&writer->lock);
    free(writer);
}

void tarn_checkpoint_writer_submit(tarn_checkpoint_writer *writer, void (*job)(void *argument), void *argument)
{
    pthread_mutex_lock(&writer->lock);
    writer->argument = argument;
    writer->job = job;
    pthread_cond_signal(&writer->wake);
    pthread_mutex_unlock(&writer->lock);
}

bool tarn_checkpoint_writer_busy(tarn_checkpoint_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    bool busy = writer->job != NULL;
    pthread_mutex_unlock(&writer->lock);
    return busy;
}

void tarn_checkpoint_writer_wait(tarn_checkpoint_writer *writer)
{
    pthread_mutex_lock(&writer->lock);
    while (writer->job) pthread_cond_wait(&writer->idle, &writer->lock);
    pthread_mutex_unlock(&writer->lock);
}
