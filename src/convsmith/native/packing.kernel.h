// SPDX-License-Identifier: Apache-2.0
// Weights as the panels of gemm.h, and the fingerprint by which a packed copy knows its original.

struct PackPanelsArgs {
  const float* weight;  // (columns, depth)
  float* panels;        // (columns / kPanel rounded up, depth, kPanel), the rest filled with zeros
  std::int64_t columns, depth, column_stride, depth_stride;
  std::int64_t num_threads;
};

inline Status pack_panels(const PackPanelsArgs& a) {
  if (a.columns < 0 || a.depth < 0) return Status::bad_sizes;
  const std::int64_t num_panels = divide_up(a.columns, kPanel);
  std::int64_t floats;
  if (!product_fits(floats, num_panels, a.depth, kPanel, std::int64_t{sizeof(float)}))
    return Status::overflow;

  const auto panels = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t panel = begin; panel < end; ++panel) {
      const std::int64_t count = std::min(kPanel, a.columns - panel * kPanel);
      const float* from = a.weight + panel * kPanel * a.column_stride;
      float* to = a.panels + panel * a.depth * kPanel;
      for (std::int64_t k = 0; k < a.depth; ++k, to += kPanel)
        for (std::int64_t c = 0; c < kPanel; ++c)
          to[c] = c < count ? from[c * a.column_stride + k * a.depth_stride] : 0;
    }
  };
  parallel_for(num_panels, a.depth * kPanel, a.num_threads, panels);
  return Status::ok;
}

struct FingerprintArgs {
  const float* values;
  std::int64_t count;
  std::uint64_t* result;
  std::int64_t num_threads;
};

// A hash of the bits of `count` floats and their order: in each lane h <- 31 h + bits, so that one
// changed value always changes it. Eight chains hide the latency; a third of a cycle for a vector.
inline Status fingerprint(const FingerprintArgs& a) {
  if (a.count < 0) return Status::bad_sizes;
  typedef std::uint32_t Ints __attribute__((vector_size(sizeof(Vec))));
  constexpr int kChains = 8;
  constexpr std::int64_t kStep = kChains * kLanes;
  Ints hash[kChains] = {};
  const auto take = [&](const float* from) {
    for (int i = 0; i < kChains; ++i) {
      const Vec v = load(from + i * kLanes);
      hash[i] = (hash[i] << 5) - hash[i] + reinterpret_cast<Ints>(v);
    }
  };
  std::int64_t at = 0;
  for (; at + kStep <= a.count; at += kStep) take(a.values + at);
  float rest[kStep] = {};
  if (at < a.count) std::memcpy(rest, a.values + at, (a.count - at) * sizeof(float));
  take(rest);

  std::uint64_t all = static_cast<std::uint64_t>(a.count);
  for (const Ints& chain : hash)
    for (std::int64_t i = 0; i < kLanes; ++i) all = (all ^ chain[i]) * 0x9E3779B97F4A7C15u;
  *a.result = all;
  return Status::ok;
}
