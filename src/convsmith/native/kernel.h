// SPDX-License-Identifier: Apache-2.0
// What a kernel is to the rest of the core: a name and a function over 64-bit integers.
#pragma once
#include <cstdint>
#include <cstring>

namespace convsmith {

// convsmith/native/core.py turns each of these but `ok` into a NativeError.
enum class Status : int { ok = 0, bad_sizes = 1, overflow = 2, no_memory = 3 };

// Pointers and sizes arrive as a row of int64; each kernel's Args struct names them, in order.
struct Kernel {
  const char* name;
  int num_integers;
  Status (*run)(const std::int64_t* integers);
};

// Makes a Kernel's `run` out of `Status kernel(const Args&)`.
template <auto kernel>
struct FromIntegers;

template <class Args, Status (*kernel)(const Args&)>
struct FromIntegers<kernel> {
  static_assert(sizeof(void*) == sizeof(std::int64_t), "the core needs a 64-bit machine");
  static constexpr int num_integers = sizeof(Args) / sizeof(std::int64_t);

  static Status run(const std::int64_t* integers) {
    Args args;
    std::memcpy(&args, integers, sizeof args);
    return kernel(args);
  }
};

// The product of sizes, or false when it leaves int64.
template <class... Sizes>
[[nodiscard]] inline bool product_fits(std::int64_t& product, Sizes... sizes) {
  product = 1;
  return (!__builtin_mul_overflow(product, sizes, &product) && ...);
}

// Whether every row (or column) number that a window's loops form stays inside int64.
inline bool positions_fit(std::int64_t size, std::int64_t out, std::int64_t stride,
                          std::int64_t before, std::int64_t kernel, std::int64_t dilation) {
  std::int64_t span, reach;
  return product_fits(span, out, stride) && product_fits(reach, kernel, dilation) &&
         !__builtin_add_overflow(span, reach, &span) &&
         !__builtin_add_overflow(span, before, &span) &&
         !__builtin_add_overflow(span, stride, &span) && !__builtin_add_overflow(span, size, &span);
}

}  // namespace convsmith
