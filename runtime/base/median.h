/* median.h - the median of what was measured last: a number that a few slow steps do not move. */
#ifndef TARN_RUNTIME_BASE_MEDIAN_H
#define TARN_RUNTIME_BASE_MEDIAN_H

#include <stdint.h>

enum { TARN_MEDIAN_LAST = 15 };

/* All zeros: nothing measured yet. */
typedef struct tarn_median {
    double last[TARN_MEDIAN_LAST];
    int64_t seen;
} tarn_median;

void tarn_median_add(tarn_median *median, double value);
/* Of the last TARN_MEDIAN_LAST values; 0 before the first. */
double tarn_median_value(const tarn_median *median);

#endif
