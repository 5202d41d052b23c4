// SPDX-License-Identifier: Apache-2.0
#include "prepared.h"

#include <utility>

#include "rows.h"
#include "tensors.h"

namespace nb = nanobind;

namespace convsmith {
namespace {

Prepared::Numbers numbers(const nb::bytes& bytes) {
  const auto* first = static_cast<const std::int64_t*>(bytes.data());
  return {first, first + bytes.size() / sizeof(std::int64_t)};
}

// What the function gives for these arguments, a tuple.
nb::object called(nb::handle function, nb::handle arguments) {
  PyObject* result = PyObject_Call(function.ptr(), arguments.ptr(), nullptr);
  if (result == nullptr) nb::raise_python_error();
  return nb::steal(result);
}

}  // namespace

Prepared::Prepared(nb::bytes layouts, nb::bytes states, nb::tuple paths, Span headers, Span samples,
                   std::uint64_t fingerprint, nb::callable num_threads, long threads, Span rows,
                   Span patches, nb::callable new_tensor, nb::tuple results, nb::object kept)
    : layouts_(numbers(layouts)),
      states_(numbers(states)),
      paths_(std::move(paths)),
      headers_(headers),
      samples_(samples),
      fingerprint_(fingerprint),
      num_threads_(std::move(num_threads)),
      threads_(threads),
      rows_(rows),
      patches_(patches),
      new_tensor_(std::move(new_tensor)),
      results_(std::move(results)),
      kept_(std::move(kept)) {}

bool Prepared::fits(nb::handle owner, const nb::tuple& values) {
  fetch_headers(headers_.first, headers_.second);
  seen_.clear();
  add_layouts(values, seen_);
  if (seen_ != layouts_ || nb::cast<long>(num_threads_()) != threads_) return false;
  seen_.clear();
  add_states_at(owner, paths_, seen_);
  return seen_ == states_ &&
         sampled_fingerprints(reinterpret_cast<const std::int64_t*>(samples_.first),
                              samples_.second / 2) == fingerprint_;
}

nb::object Prepared::call(nb::handle owner, nb::tuple values) {
  if (is_taken_.exchange(true)) return nb::none();
  struct Leaving {
    std::atomic<bool>& is_taken;
    ~Leaving() { is_taken = false; }
  } leaving{is_taken_};
  if (!fits(owner, values)) return nb::none();

  nb::list results;
  for (nb::handle arguments : results_) results.append(called(new_tensor_, arguments));
  std::vector<std::int64_t> addresses;
  add_addresses(values, addresses);
  add_addresses(results, addresses);
  auto* const rows = reinterpret_cast<std::int64_t*>(rows_.first);
  patch({rows, rows_.second}, reinterpret_cast<const std::int64_t*>(patches_.first),
        patches_.second / 2, addresses);
  RowsEnd end;
  {
    nb::gil_scoped_release release;
    end = run_rows(rows, rows_.second);
  }
  if (end.status != Status::ok || !end.is_a_row) return nb::none();
  return results;
}

}  // namespace convsmith
