/* md5.h - MD5 of short texts, over OpenSSL: for names that other programs make with it (MLflow's ids of datasets),
 * never as a protection. */
#ifndef TARN_RUNTIME_MD5_H
#define TARN_RUNTIME_MD5_H

#include <stdbool.h>

/* Of `first` followed by `second`, as 32 lower-case digits and a zero. False where the library refuses MD5 (FIPS). */
bool tarn_md5_text(const char *first, const char *second, char out[33]);

#endif
