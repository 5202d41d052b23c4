// SPDX-License-Identifier: Apache-2.0
#include "dispatch.h"

namespace convsmith {
namespace {

constexpr const Target* kTargets[] = {
#if defined(__x86_64__)
    &avx512_target,
    &avx2_target,
#elif defined(__aarch64__)
    &neon_target,
#endif
    &baseline_target,
};

constexpr std::size_t kNumKernels = 0
#define CONVSMITH_KERNEL(name) +1
#include "kernels.def"
#undef CONVSMITH_KERNEL
    ;

const Target* current = &baseline_target;

}  // namespace

std::span<const Target* const> targets() { return kTargets; }
std::span<const Kernel> kernels() { return {current->kernels, kNumKernels}; }
const Target& current_target() { return *current; }
void use_target(const Target& target) { current = &target; }

}  // namespace convsmith
