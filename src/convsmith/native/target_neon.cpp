// SPDX-License-Identifier: Apache-2.0
// Every 64-bit Arm processor has NEON, so no region is opened: four lanes.
#include "target_prelude.h"

#define CONVSMITH_LANES 4

namespace convsmith {
namespace {
namespace neon {
#include "target_kernels.h"
}  // namespace neon
}  // namespace

const Target neon_target = {"neon", [] { return true; }, neon::kKernels};

}  // namespace convsmith
