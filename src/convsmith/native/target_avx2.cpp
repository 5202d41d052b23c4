// SPDX-License-Identifier: Apache-2.0
// AVX2 with fused multiply-add: eight lanes.
#include "target_prelude.h"

#define CONVSMITH_LANES 8

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
namespace convsmith {
namespace {
namespace avx2 {
#include "target_kernels.h"
}  // namespace avx2
}  // namespace
}  // namespace convsmith
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace convsmith {

static bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

const Target avx2_target = {"avx2", has_avx2, avx2::kKernels};

}  // namespace convsmith
