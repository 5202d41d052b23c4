// SPDX-License-Identifier: Apache-2.0
// Memory of one thread for the length of one call, aligned to the widest vector.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

#include "kernel.h"
#include "parallel.h"

namespace convsmith {

class Scratch {
 public:
  explicit Scratch(std::int64_t num_floats)
      : block_(kept().num_floats >= num_floats ? std::exchange(kept(), {}) : Block(num_floats)) {}

  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  ~Scratch() {
    if (block_.num_floats > kept().num_floats && block_.num_floats <= kMostKept)
      kept() = std::move(block_);
  }

  float* floats() const { return block_.floats.get(); }  // null if there was no memory

 private:
  struct Block {
    std::unique_ptr<float, decltype(&std::free)> floats{nullptr, &std::free};
    std::int64_t num_floats = 0;

    Block() = default;
    explicit Block(std::int64_t count)
        : floats(static_cast<float*>(std::aligned_alloc(64, (count / 16 + 1) * 64)), &std::free),
          num_floats(floats ? count : 0) {}
  };

  // A thread keeps its largest block for the next call, up to 16 MB: memory fresh from the system
  // costs a page fault every 4 KB, which can take as long as the kernel that fills it.
  static constexpr std::int64_t kMostKept = 4 << 20;

  static Block& kept() {
    thread_local Block block;
    return block;
  }

  Block block_;
};

// parallel_for, with so many floats for each thread: body(begin, end, floats).
template <class Body>
Status parallel_for_with_scratch(std::int64_t count, std::int64_t macs_per_item,
                                 std::int64_t num_threads, std::int64_t num_floats,
                                 const Body& body) {
  std::atomic<bool> have_memory = true;
  parallel_for(count, macs_per_item, num_threads, [&](std::int64_t begin, std::int64_t end) {
    const Scratch scratch(num_floats);
    if (scratch.floats() || num_floats == 0)
      body(begin, end, scratch.floats());
    else
      have_memory = false;
  });
  return have_memory ? Status::ok : Status::no_memory;
}

}  // namespace convsmith
