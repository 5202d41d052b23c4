// SPDX-License-Identifier: Apache-2.0
// Memory of one thread for the length of one call, aligned to the widest vector.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <utility>

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

}  // namespace convsmith
