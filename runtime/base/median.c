/* median.c - see median.h. */
#include "runtime/base/median.h"

void tarn_median_add(tarn_median *median, double value)
{
    median->last[median->seen++ % TARN_MEDIAN_LAST] = value;
}

double tarn_median_value(const tarn_median *median)
{
    double sorted[TARN_MEDIAN_LAST];
    int count = median->seen < TARN_MEDIAN_LAST ? (int)median->seen : TARN_MEDIAN_LAST;
    for (int i = 0; i < count; i++) {
        int k = i;
        for (; k > 0 && sorted[k - 1] > median->last[i]; k--) sorted[k] = sorted[k - 1];
        sorted[k] = median->last[i];
    }
    return count ? sorted[count / 2] : 0;
}
