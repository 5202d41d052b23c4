// SPDX-License-Identifier: Apache-2.0
// AVX-512 as every server processor with it has it: sixteen lanes.
#include "target_prelude.h"

#define CONVSMITH_LANES 16

#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
#endif
namespace convsmith {
namespace {
namespace avx512 {
#include "target_kernels.h"
}  // namespace avx512
}  // namespace
}  // namespace convsmith
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace convsmith {

static bool has_avx512() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("fma");
}

const Target avx512_target = {"avx512", has_avx512, avx512::kKernels};

}  // namespace convsmith
