// SPDX-License-Identifier: Apache-2.0
// How much memory a core keeps close by: what decides the order in which a product is made.
#pragma once
#include <cstdint>

namespace convsmith {

// Floats that the second cache of this processor holds; a megabyte's where the system does not say.
std::int64_t second_cache_floats();

}  // namespace convsmith
