// SPDX-License-Identifier: Apache-2.0
// Memory of one thread for the length of one call, aligned to the widest vector.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace convsmith {

class Scratch {
 public:
  explicit Scratch(std::int64_t num_floats)
      : floats_(static_cast<float*>(std::aligned_alloc(64, (num_floats / 16 + 1) * 64)),
                &std::free) {}

  float* floats() const { return floats_.get(); }  // null if there was no memory

 private:
  std::unique_ptr<float, decltype(&std::free)> floats_;
};

}  // namespace convsmith
