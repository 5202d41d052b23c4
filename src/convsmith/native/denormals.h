// SPDX-License-Identifier: Apache-2.0
// Numbers below the normal ones, taken for zero by the calling thread while this lives. Each of
// them costs a processor a hundred cycles and more: a layer that reads nothing else would take a
// thousand times its time.
#pragma once
#include <cstdint>
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace convsmith {

class WithoutDenormals {
 public:
  WithoutDenormals() : before_(mode()) { set_mode(before_ | kToZero); }
  ~WithoutDenormals() { set_mode(before_); }

  WithoutDenormals(const WithoutDenormals&) = delete;
  WithoutDenormals& operator=(const WithoutDenormals&) = delete;

 private:
#if defined(__x86_64__)
  using Mode = unsigned;
  static constexpr Mode kToZero = 0x8040;  // what is read and what is written
  static Mode mode() { return _mm_getcsr(); }
  static void set_mode(Mode mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
  using Mode = std::uint64_t;
  static constexpr Mode kToZero = 1u << 24;  // both
  static Mode mode() {
    Mode mode;
    asm volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
  }
  static void set_mode(Mode mode) { asm volatile("msr fpcr, %0" : : "r"(mode)); }
#else
  using Mode = int;
  static constexpr Mode kToZero = 0;
  static Mode mode() { return 0; }
  static void set_mode(Mode) {}
#endif

  const Mode before_;
};

}  // namespace convsmith
