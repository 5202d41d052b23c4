// SPDX-License-Identifier: Apache-2.0
#include "rows.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "dispatch.h"

namespace convsmith {

void patch(std::span<std::int64_t> rows, const std::int64_t* patches, std::size_t num_patches,
           std::span<const std::int64_t> addresses) {
  for (std::size_t i = 0; i < num_patches; ++i, patches += 2) {
    const auto place = static_cast<std::size_t>(patches[0]);
    const auto which = static_cast<std::size_t>(patches[1]);
    if (place >= rows.size() || which >= addresses.size())
      throw std::invalid_argument("no place of a patch");
    rows[place] = addresses[which];
  }
}

RowsEnd run_rows(const std::int64_t* rows, std::size_t count) {
  RowsEnd end{Status::ok, 0, true};
  std::size_t at = 0;
  while (at + 2 <= count && end.status == Status::ok) {
    const auto index = static_cast<std::size_t>(rows[at]);
    const auto num_integers = static_cast<std::size_t>(rows[at + 1]);
    end.begin = at + 2;
    if (index >= kernels().size() || num_integers > count - end.begin ||
        rows[at + 1] != kernels()[index].num_integers)
      break;
    end.status = kernels()[index].run(rows + end.begin);
    at = end.begin + num_integers;
  }
  end.is_a_row = end.status != Status::ok || at == count;
  return end;
}

std::uint64_t sampled_fingerprints(const std::int64_t* addresses_and_counts,
                                   std::size_t num_arrays) {
  constexpr std::int64_t kSamples = 16;
  const std::int64_t* array = addresses_and_counts;
  std::uint64_t all = num_arrays;
  for (std::size_t a = 0; a < num_arrays; ++a, array += 2) {
    const float* values = reinterpret_cast<const float*>(array[0]);
    const std::int64_t count = array[1], samples = std::min(count, kSamples);
    for (std::int64_t i = 0; i < samples; ++i) {
      const std::int64_t at = samples < kSamples ? i : (count - 1) / (kSamples - 1) * i;
      std::uint32_t bits;
      std::memcpy(&bits, values + at, sizeof bits);
      all = (all ^ bits) * 0x9E3779B97F4A7C15u;
    }
  }
  return all;
}

}  // namespace convsmith
