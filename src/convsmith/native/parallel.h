// SPDX-License-Identifier: Apache-2.0
// The one door to threads: kernels hand over a range and a body.
#pragma once
#include <cstdint>

namespace convsmith {

using RangeBody = void (*)(const void* body, std::int64_t begin, std::int64_t end);

// Splits [0, count) into one run of items per thread. Work below a few ten thousand multiply-adds,
// calls from inside a parallel region and calls in a forked child run in the calling thread.
// Numbers below the normal ones count as zero meanwhile.
void parallel_ranges(std::int64_t count, std::int64_t macs_per_item, std::int64_t num_threads,
                     RangeBody run, const void* body) noexcept;

// body(begin, end) must be safe to call for disjoint ranges at once.
template <class Body>
void parallel_for(std::int64_t count, std::int64_t macs_per_item, std::int64_t num_threads,
                  const Body& body) {
  parallel_ranges(
      count, macs_per_item, num_threads,
      [](const void* erased, std::int64_t begin, std::int64_t end) {
        (*static_cast<const Body*>(erased))(begin, end);
      },
      &body);
}

}  // namespace convsmith
