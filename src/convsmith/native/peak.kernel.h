// SPDX-License-Identifier: Apache-2.0
// The most multiply-adds that this target can do: nothing but them, in registers. For `make bench`.

struct MultiplyAddPeakArgs {
  std::int64_t rounds;  // of kPeakChains vectors
  float* sink;          // one float, so that the sums are needed
  std::int64_t num_threads;
};

// Independent sums: enough to hide the latency of each, few enough for 16 registers.
constexpr int kPeakChains = 12;

inline Status multiply_add_peak(const MultiplyAddPeakArgs& a) {
  Vec sums[kPeakChains];
  for (int i = 0; i < kPeakChains; ++i) sums[i] = broadcast(static_cast<float>(i));
  const Vec factor = broadcast(*a.sink), term = broadcast(*a.sink + 1);
  for (std::int64_t round = 0; round < a.rounds; ++round)
#pragma GCC unroll 12
    for (int i = 0; i < kPeakChains; ++i) sums[i] = mul_add(sums[i], factor, term);
  Vec all = zero();
  for (const Vec& sum : sums) all += sum;
  *a.sink = all[0];
  return Status::ok;
}
