// SPDX-License-Identifier: Apache-2.0
// Kernels one behind another, as rows of integers: the number of each, how many integers it takes,
// and these.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernel.h"

namespace convsmith {

// Writes addresses into rows: (place in the rows, number of the address), so many pairs. Throws
// std::invalid_argument where there is no such place or address.
void patch(std::span<std::int64_t> rows, const std::int64_t* patches, std::size_t num_patches,
           std::span<const std::int64_t> addresses);

// How far the rows were run.
struct RowsEnd {
  Status status;      // of the last kernel that ran
  std::size_t begin;  // where its integers begin
  bool is_a_row;      // false: what lies behind it is no row of a kernel
};

RowsEnd run_rows(const std::int64_t* rows, std::size_t count);

// A hash of the bits of up to 16 floats of each array, spread evenly from its first to its last.
// Of each array its address and how many floats it has.
std::uint64_t sampled_fingerprints(const std::int64_t* addresses_and_counts,
                                   std::size_t num_arrays);

}  // namespace convsmith
