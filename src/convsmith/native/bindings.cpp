// SPDX-License-Identifier: Apache-2.0
// The border to Python: integers in, a status out. Tensors never cross it.
#include <nanobind/nanobind.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "dispatch.h"

namespace nb = nanobind;
using namespace convsmith;

namespace {

constexpr std::size_t kMaxIntegers = 64;

int run(std::size_t index, nb::tuple integers) {
  if (index >= kernels().size()) throw nb::index_error("no such kernel");
  const Kernel& kernel = kernels()[index];
  std::array<std::int64_t, kMaxIntegers> values;
  if (integers.size() != static_cast<std::size_t>(kernel.num_integers) ||
      integers.size() > kMaxIntegers)
    throw nb::value_error("wrong number of integers for this kernel");
  for (std::size_t i = 0; i < integers.size(); ++i) values[i] = nb::cast<std::int64_t>(integers[i]);
  nb::gil_scoped_release release;
  return static_cast<int>(kernel.run(values.data()));
}

// A hash of the bits of up to 16 floats, spread evenly over `count` of them from first to last.
std::uint64_t sampled_fingerprint(std::uintptr_t address, std::int64_t count) {
  constexpr std::int64_t kSamples = 16;
  const float* values = reinterpret_cast<const float*>(address);
  const std::int64_t samples = std::min(count, kSamples);
  std::uint64_t all = static_cast<std::uint64_t>(count);
  for (std::int64_t i = 0; i < samples; ++i) {
    const std::int64_t at = samples < kSamples ? i : (count - 1) / (kSamples - 1) * i;
    std::uint32_t bits;
    std::memcpy(&bits, values + at, sizeof bits);
    all = (all ^ bits) * 0x9E3779B97F4A7C15u;
  }
  return all;
}

nb::list target_names(bool only_supported) {
  nb::list names;
  for (const Target* target : targets())
    if (!only_supported || target->is_supported()) names.append(target->name);
  return names;
}

nb::list kernel_names() {
  nb::list names;
  for (const Kernel& kernel : kernels()) names.append(kernel.name);
  return names;
}

void use_target_named(std::string_view name) {
  for (const Target* target : targets())
    if (name == target->name && target->is_supported()) return use_target(*target);
  throw nb::value_error("not a target of this machine");
}

}  // namespace

NB_MODULE(_core, m) {
  m.def("run", &run);
  m.def("sampled_fingerprint", &sampled_fingerprint);
  m.def("target_names", &target_names, nb::arg("only_supported"));
  m.def("kernel_names", &kernel_names);
  m.def("use_target", [](const char* name) { use_target_named(name); });
  m.def("target_in_use", [] { return current_target().name; });
  m.def("openmp_max_threads", [] { return omp_get_max_threads(); });
}
