// SPDX-License-Identifier: Apache-2.0
// The border to Python: integers in, a status out. Tensors never cross it to be computed with.
#include <nanobind/nanobind.h>
#include <omp.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <vector>

#include "dispatch.h"
#include "pages.h"
#include "tensors.h"

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

// Writes addresses of tensors into rows of integers: (place in the rows, number of the tensor).
void patch(std::int64_t* rows, std::size_t count, const std::int64_t* patches,
           std::size_t num_patches, nb::sequence tensors) {
  const std::vector<std::int64_t> addresses = addresses_of(tensors);
  for (std::size_t i = 0; i < num_patches; ++i, patches += 2) {
    const auto place = static_cast<std::size_t>(patches[0]);
    const auto which = static_cast<std::size_t>(patches[1]);
    if (place >= count || which >= addresses.size()) throw nb::value_error("no place of a patch");
    rows[place] = addresses[which];
  }
}

// Kernels one behind another: the number of each, how many integers it takes, and these. Returns
// the status of the last one that ran, and where its integers begin.
nb::tuple run_rows(std::uintptr_t address, std::size_t count, std::uintptr_t patches,
                   std::size_t num_patched, nb::sequence tensors) {
  patch(reinterpret_cast<std::int64_t*>(address), count,
        reinterpret_cast<const std::int64_t*>(patches), num_patched / 2, tensors);
  const std::int64_t* const rows = reinterpret_cast<const std::int64_t*>(address);
  Status status = Status::ok;
  std::size_t at = 0, begin = 0;
  {
    nb::gil_scoped_release release;
    while (at + 2 <= count && status == Status::ok) {
      const auto index = static_cast<std::size_t>(rows[at]);
      const auto num_integers = static_cast<std::size_t>(rows[at + 1]);
      begin = at + 2;
      if (index >= kernels().size() || num_integers > count - begin ||
          rows[at + 1] != kernels()[index].num_integers)
        break;
      status = kernels()[index].run(rows + begin);
      at = begin + num_integers;
    }
  }
  if (status == Status::ok && at != count) throw nb::value_error("no row of a kernel");
  return nb::make_tuple(static_cast<int>(status), begin);
}

// A hash of the bits of up to 16 floats of each array, spread evenly from its first to its last.
std::uint64_t sampled_fingerprints(std::uintptr_t addresses_and_counts, std::size_t num_arrays) {
  constexpr std::int64_t kSamples = 16;
  const std::int64_t* array = reinterpret_cast<const std::int64_t*>(addresses_and_counts);
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

// Whether each function, called with these arguments, gives the very object beside it.
bool answers(nb::tuple questions, nb::tuple arguments) {
  for (nb::handle question : questions) {
    const auto pair = nb::borrow<nb::tuple>(question);
    PyObject* said = PyObject_Call(nb::handle(pair[0]).ptr(), arguments.ptr(), nullptr);
    if (said == nullptr) nb::raise_python_error();
    if (!nb::steal(said).is(nb::handle(pair[1]))) return false;
  }
  return true;
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
  m.def("run_rows", &run_rows);
  m.def("sampled_fingerprints", &sampled_fingerprints);
  m.def("answers", &answers);
  m.def("use_dlpack_table", &use_dlpack_table);
  m.def("layouts", &layouts);
  m.def("states", &states);
  m.def("states_at", &states_at);
  m.def("look_up", &look_up);
  m.def("ask_for_huge_pages", &ask_for_huge_pages);
  m.def("target_names", &target_names, nb::arg("only_supported"));
  m.def("kernel_names", &kernel_names);
  m.def("use_target", [](const char* name) { use_target_named(name); });
  m.def("target_in_use", [] { return current_target().name; });
  m.def("openmp_max_threads", [] { return omp_get_max_threads(); });
}
