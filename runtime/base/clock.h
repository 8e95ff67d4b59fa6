/* clock.h - seconds as a double, as all of Tarn counts time, and the waits of the system, which want them otherwise. */
#ifndef TARN_RUNTIME_BASE_CLOCK_H
#define TARN_RUNTIME_BASE_CLOCK_H

#include <pthread.h>
#include <stdbool.h>

/* Seconds of the monotonic clock. */
double tarn_seconds(void);
/* Sleeps that long; a signal ends it early. */
void tarn_sleep(double seconds);
/* Makes a condition whose waits go by tarn_seconds: a wall clock that is set makes none of them longer. */
void tarn_condition_init(pthread_cond_t *condition);
/* Waits, lock held, for a signal until tarn_seconds is `until`; false: it is. */
bool tarn_condition_wait(pthread_cond_t *condition, pthread_mutex_t *lock, double until);

#endif
