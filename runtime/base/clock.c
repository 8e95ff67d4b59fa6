/* clock.c - see clock.h. */
#include "runtime/base/clock.h"

#include <time.h>

static struct timespec timespec_of(double seconds)
{
    time_t whole = (time_t)seconds;
    return (struct timespec){.tv_sec = whole, .tv_nsec = (long)((seconds - (double)whole) * 1e9)};
}

double tarn_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void tarn_sleep(double seconds)
{
    struct timespec length = timespec_of(seconds);
    nanosleep(&length, NULL);
}

void tarn_condition_init(pthread_cond_t *condition)
{
    pthread_condattr_t clock;
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &clock);
    pthread_condattr_destroy(&clock);
}

bool tarn_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, double until)
{
    struct timespec end = timespec_of(until);
    return !pthread_cond_timedwait(condition, lock, &end);
}
