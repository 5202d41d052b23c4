// SPDX-License-Identifier: Apache-2.0
// Large pages of memory: a walk over many small ones waits for the processor to find each.
#pragma once
#include <cstddef>
#include <cstdint>

namespace convsmith {

// Asks the system to hold these bytes in pages of 2 MB once they are written for the first time.
// What it does is its own affair: nothing but time depends on it.
void ask_for_huge_pages(std::uintptr_t address, std::size_t bytes) noexcept;

}  // namespace convsmith
