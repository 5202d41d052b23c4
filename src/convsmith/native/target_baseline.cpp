// SPDX-License-Identifier: Apache-2.0
// What every processor of this architecture has; vectors of four lanes.
#include "target_prelude.h"

#define CONVSMITH_LANES 4

namespace convsmith {
namespace {
namespace baseline {
#include "target_kernels.h"
}  // namespace baseline
}  // namespace

const Target baseline_target = {"baseline", [] { return true; }, baseline::kKernels};

}  // namespace convsmith
