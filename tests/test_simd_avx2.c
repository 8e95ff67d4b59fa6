/* test_simd_avx2.c - AVX2 vectors equal to the scalar definition bit for bit; see test_simd.c. */
#include <criterion/criterion.h>
#include "runtime/backend/cpu/reference_math.h"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#define TARN_ISA_NAME    avx2
#define TARN_ISA_IS_avx2 1
#include "simd_checks.h"
static __attribute__((noinline)) int check_all(void)
{
    return simd_check_functions() + simd_check_rows() + simd_check_lanes();
}
#pragma GCC pop_options

Test(simd_avx2, equals_scalar)
{
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) cr_skip_test("no AVX2 here");
    cr_assert_eq(check_all(), 0);
}
