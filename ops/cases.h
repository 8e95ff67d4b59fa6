/* ops/cases.h - for cases.c files: the table of an op's cases, walked by tests/test_ops.c. */
#ifndef TARN_OPS_CASES_H
#define TARN_OPS_CASES_H

#include <tarn/ops.h>
#include <tarn/sys/op.h>

#define TARN_CASES(op, ...)                                                                                            \
    const tarn_op_case tarn_##op##_cases[] = {__VA_ARGS__};                                                            \
    const int tarn_##op##_case_count = (int)(sizeof tarn_##op##_cases / sizeof tarn_##op##_cases[0]);

#endif
