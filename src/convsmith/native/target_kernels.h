// SPDX-License-Identifier: Apache-2.0
// Included once by each target, inside its namespace and its region: no include guard.
#include "vec.h"
#include "epilogue.h"
#include "gemm.h"
#include "strassen.h"
#include "winograd_transforms.h"

#define CONVSMITH_KERNEL_HEADERS
#include "kernels.def"
#undef CONVSMITH_KERNEL_HEADERS

constexpr Kernel kKernels[] = {
#define CONVSMITH_KERNEL(name) \
  {#name, FromIntegers<&name>::num_integers, &FromIntegers<&name>::run},
#include "kernels.def"
#undef CONVSMITH_KERNEL
};
