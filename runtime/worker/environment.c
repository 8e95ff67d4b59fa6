/* environment.c - what a thread of Tarn finds around it: the floating-point mode and the cores it may use.
 *
 * A consumer linked with -ffast-math starts with FTZ/DAZ set (crtfastmath.o); kernels must not see that, and the
 * consumer must get its own mode back.
 */
#include "runtime/worker/worker.h"

#include <fenv.h>
#include <sched.h>
#include <unistd.h>
#if defined(__x86_64__) || defined(__i386__)
#include <xmmintrin.h>
#endif

/* All exceptions masked, round to nearest, no flush to zero, denormals are numbers. */
#define TARN_MXCSR 0x1f80u

unsigned tarn_float_environment_enter(void)
{
#if defined(__x86_64__) || (defined(__i386__) && defined(__SSE__))
    unsigned saved = _mm_getcsr();
    if ((saved & ~0x3fu) != TARN_MXCSR) _mm_setcsr(TARN_MXCSR);
    return saved;
#elif defined(__aarch64__)
    unsigned long saved;
    __asm__ volatile("mrs %0, fpcr" : "=r"(saved));
    __asm__ volatile("msr fpcr, %0" : : "r"(0ul));
    return (unsigned)saved;
#else
    unsigned saved = (unsigned)fegetround();
    fesetround(FE_TONEAREST);
    return saved;
#endif
}

void tarn_float_environment_leave(unsigned saved)
{
#if defined(__x86_64__) || (defined(__i386__) && defined(__SSE__))
    /* The sticky flags raised meanwhile are not the caller's either. */
    if (_mm_getcsr() != saved) _mm_setcsr(saved);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"((unsigned long)saved));
#else
    fesetround((int)saved);
#endif
}

int tarn_allowed_cores(void)
{
#if defined(__linux__)
    cpu_set_t mask;
    if (!sched_getaffinity(0, sizeof mask, &mask)) {
        int cores = CPU_COUNT(&mask);
        if (cores > 0) return cores;
    }
#endif
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores > 0 ? (int)cores : 1;
}
