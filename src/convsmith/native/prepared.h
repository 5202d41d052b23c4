// SPDX-License-Identifier: Apache-2.0
// A call that has been made before and is made again.
#pragma once
#include <nanobind/nanobind.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace convsmith {

// Rows that are known to fit inputs of these layouts, weights in these states and so many threads.
// What a call has to find out for that, and the tensors it gives, in one stroke: by the time a
// network is called again its kernels have driven the interpreter's code and data out of the
// caches, and each step of Python in front of them comes from memory.
class Prepared {
 public:
  using Numbers = std::vector<std::int64_t>;
  using Span = std::pair<std::uintptr_t, std::size_t>;  // address and length, of 64-bit integers

  // Args:
  //   layouts, states, paths, headers: as in tensors.h.
  //   samples, fingerprint: as in rows.h.
  //   num_threads: a function, and `threads` what it has to give.
  //   rows, patches: as for run_rows in bindings.cpp.
  //   new_tensor, results: a function, and its arguments for each result.
  //   kept: whatever the addresses above belong to.
  Prepared(nanobind::bytes layouts, nanobind::bytes states, nanobind::tuple paths, Span headers,
           Span samples, std::uint64_t fingerprint, nanobind::callable num_threads, long threads,
           Span rows, Span patches, nanobind::callable new_tensor, nanobind::tuple results,
           nanobind::object kept);

  // The results; None, and nothing has been done, if not everything is as it was prepared for,
  // another thread is in here, or a kernel refuses.
  nanobind::object call(nanobind::handle owner, nanobind::tuple values);

  // Whether nobody is in here; and nobody will be from now on.
  bool retire() { return !is_taken_.exchange(true); }

 private:
  bool fits(nanobind::handle owner, const nanobind::tuple& values);

  Numbers layouts_, states_, seen_;
  nanobind::tuple paths_;
  Span headers_, samples_;
  std::uint64_t fingerprint_;
  nanobind::callable num_threads_;
  long threads_;
  Span rows_, patches_;
  nanobind::callable new_tensor_;
  nanobind::tuple results_;
  nanobind::object kept_;
  std::atomic<bool> is_taken_ = false;
};

}  // namespace convsmith
