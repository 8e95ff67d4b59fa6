/* problem.h - what is wrong with one file, where a failure is not yet an error: loading falls back to an older
 * checkpoint, listing shows it, a full disk is tried again after pruning. Only the outermost function turns it into a
 * tarn_fail.
 */
#ifndef TARN_CHECKPOINT_PROBLEM_H
#define TARN_CHECKPOINT_PROBLEM_H

#include <tarn/base.h>

typedef struct tarn_problem {
    int error_number; /* errno of the call that failed, 0 when none did */
    bool newer;       /* nothing is broken: the file is of a format that only a later Tarn reads */
    char text[512];
} tarn_problem;

/* Writes the text and errno's number, newer is false; returns false, so that a function can
 * `return tarn_problem_set(...)`. */
bool tarn_problem_set(tarn_problem *problem, int error_number, const char *format, ...) TARN_PRINTF(3, 4);

#endif
