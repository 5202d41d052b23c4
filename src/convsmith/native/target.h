// SPDX-License-Identifier: Apache-2.0
// One target = one instruction set = one table of the same kernels.
#pragma once
#include "kernel.h"

namespace convsmith {

struct Target {
  const char* name;
  bool (*is_supported)();  // by this processor and its operating system
  const Kernel* kernels;   // in the order of kernels.def
};

extern const Target baseline_target;
#if defined(__x86_64__)
extern const Target avx2_target;
extern const Target avx512_target;
#elif defined(__aarch64__)
extern const Target neon_target;
#endif

}  // namespace convsmith
