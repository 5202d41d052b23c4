// SPDX-License-Identifier: Apache-2.0
// The targets of this build and the one in use.
#pragma once
#include <span>

#include "target.h"

namespace convsmith {

std::span<const Target* const> targets();  // best first
std::span<const Kernel> kernels();         // of the target in use
const Target& current_target();
void use_target(const Target& target);  // once, while the module loads

}  // namespace convsmith
