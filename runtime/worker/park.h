/* park.h - waiting for a word in memory to change: a short spin, then sleep in the kernel.
 *
 * Invariant: a sleeper raises its flag before it looks at the word for the last time, a waker changes the word before
 * it looks at the flag (both sequentially consistent), so no wake-up is lost and nobody pays a system call when no one
 * sleeps.
 */
#ifndef TARN_RUNTIME_PARK_H
#define TARN_RUNTIME_PARK_H

#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

typedef struct tarn_parking {
    atomic_uint word;
    atomic_uint asleep;
} tarn_parking;

static inline void tarn_cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Waits until the word is no longer `old`; returns its new value. */
static inline unsigned tarn_park(tarn_parking *parking, unsigned old, int spins)
{
    unsigned now = atomic_load_explicit(&parking->word, memory_order_acquire);
    for (int i = 0; now == old && i < spins; i++) {
        tarn_cpu_relax();
        now = atomic_load_explicit(&parking->word, memory_order_acquire);
    }
    while (now == old) {
#if defined(__linux__)
        atomic_store(&parking->asleep, 1);
        if (atomic_load(&parking->word) == old)
            syscall(SYS_futex, &parking->word, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
        atomic_store(&parking->asleep, 0);
#else
        sched_yield();
#endif
        now = atomic_load_explicit(&parking->word, memory_order_acquire);
    }
    return now;
}

/* Wakes the sleeper, if there is one; the word has been changed (sequentially consistent) before. */
static inline void tarn_unpark(tarn_parking *parking)
{
#if defined(__linux__)
    if (atomic_load(&parking->asleep)) syscall(SYS_futex, &parking->word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
#else
    (void)parking;
#endif
}

#endif
