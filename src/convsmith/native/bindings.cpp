// SPDX-License-Identifier: Apache-2.0
// The border to Python: integers in, a status out. Tensors never cross it to be computed with.
#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <omp.h>

#include <array>
#include <string_view>
#include <vector>

#include "dispatch.h"
#include "pages.h"
#include "prepared.h"
#include "rows.h"
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

// Patches the rows with the addresses of tensors and runs them. Returns the status of the last
// kernel that ran, and where its integers begin.
nb::tuple patch_and_run_rows(std::uintptr_t address, std::size_t count, std::uintptr_t patches,
                             std::size_t num_patched, nb::sequence tensors) {
  auto* const rows = reinterpret_cast<std::int64_t*>(address);
  std::vector<std::int64_t> addresses;
  add_addresses(tensors, addresses);
  patch({rows, count}, reinterpret_cast<const std::int64_t*>(patches), num_patched / 2, addresses);
  RowsEnd end;
  {
    nb::gil_scoped_release release;
    end = run_rows(rows, count);
  }
  if (!end.is_a_row) throw nb::value_error("no row of a kernel");
  return nb::make_tuple(static_cast<int>(end.status), end.begin);
}

// Whether each function, called with these arguments, gives the very object beside it.
bool answer(const nb::tuple& questions, nb::handle arguments) {
  for (nb::handle question : questions) {
    const auto pair = nb::borrow<nb::tuple>(question);
    PyObject* said = PyObject_Call(nb::handle(pair[0]).ptr(), arguments.ptr(), nullptr);
    if (said == nullptr) nb::raise_python_error();
    if (!nb::steal(said).is(nb::handle(pair[1]))) return false;
  }
  return true;
}

// Whether that holds of the questions about nothing, and of those about each of the values, which
// are of these types and of no subtype.
bool all_answer(nb::tuple about_nothing, nb::tuple about_each, nb::tuple types, nb::tuple values) {
  if (!answer(about_nothing, nb::make_tuple())) return false;
  for (nb::handle value : values) {
    const nb::handle type = value.type();
    bool is_of_a_type = false;
    for (nb::handle known : types) is_of_a_type = is_of_a_type || type.is(known);
    if (!is_of_a_type || !answer(about_each, nb::make_tuple(value))) return false;
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
  m.def("run_rows", &patch_and_run_rows);
  m.def("sampled_fingerprints", [](std::uintptr_t addresses_and_counts, std::size_t num_arrays) {
    return sampled_fingerprints(reinterpret_cast<const std::int64_t*>(addresses_and_counts),
                                num_arrays);
  });
  nb::class_<Prepared>(m, "Prepared")
      .def(nb::init<nb::bytes, nb::bytes, nb::tuple, Prepared::Span, Prepared::Span, std::uint64_t,
                    nb::callable, long, Prepared::Span, Prepared::Span, nb::callable, nb::tuple,
                    nb::object>())
      .def("__call__", &Prepared::call)
      .def("retire", &Prepared::retire);
  m.def("all_answer", &all_answer);
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
