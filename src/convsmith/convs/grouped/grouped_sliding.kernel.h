// SPDX-License-Identifier: Apache-2.0
// The register tile of convolution in small groups by kernels three wide: that of depthwise
// convolution (DepthwiseSliding), but for what a vector of the image meets. For each i < kGroup a
// copy is made in registers whose lanes all have channel i of their group; it multiplies the i-th
// weights of every tap that meets it, in two rows of outputs.
//
// Bound by multiply-adds and the shuffles that make the copies, one for six of them at step one.
template <int kGroup, int kStride>
struct GroupedSliding {
  static constexpr int kTaps = 3, kMaxColumns = kLanes == 16 ? 7 : 5;

  template <int kColumns>
  static void run(const DepthwiseTile& tile) {
    constexpr int kReach = (kColumns - 1) * kStride + kTaps;
    const std::int64_t row_weights = kTaps * kGroup * kLanes;
    const std::int64_t step = tile.dilation_w * tile.image.column_pitch;
    const auto inside =
        steps_inside(tile.first_column, tile.dilation_w, kReach, tile.image.columns);
    for (std::int64_t block = 0; block < tile.blocks; ++block) {
      Vec upper[kColumns] = {}, lower[kColumns] = {};
      const float* const block_weights = tile.weights + block * tile.kernel_h * row_weights;
      for (std::int64_t r = tile.rows.begin; r < tile.rows.end; ++r) {
        const float* const from = tile.row(r) + block * kLanes;
        const float* const weights = block_weights + r * row_weights;
        const float* const lower_weights = weights - tile.lower_taps * row_weights;
        const bool for_upper = r < tile.kernel_h, for_lower = tile.lower && r >= tile.lower_taps;
        if (for_upper && for_lower)
          add_row<kColumns>(from, step, inside, weights, upper, lower_weights, lower);
        else if (for_upper)
          add_row<kColumns>(from, step, inside, weights, upper);
        else if (for_lower)
          add_row<kColumns>(from, step, inside, lower_weights, lower);
      }
      tile.finish(upper, tile.upper, block);
      if (tile.lower) tile.finish(lower, tile.lower, block);
    }
  }

  // One row of the image into the sums of one or two rows of outputs.
  template <int kColumns, class... WeightsAndSums>
  [[gnu::always_inline]] static void add_row(const float* from, std::int64_t step,
                                             DepthwiseSteps inside, WeightsAndSums&... pairs) {
#pragma GCC unroll 16
    for (int u = 0; u < (kColumns - 1) * kStride + kTaps; ++u) {
      if (u < inside.begin || u >= inside.end) continue;
      const Vec pixel = load(from + u * step);
      for_constants<kGroup>(
          [&]<int i>(std::integral_constant<int, i>) __attribute__((always_inline)) {
            const Vec copies = spread<kGroup, i>(pixel, std::make_integer_sequence<int, kLanes>{});
            add_copies<kColumns>(copies, u, i, pairs...);
          });
    }
  }

  template <int kColumns, class... More>
  [[gnu::always_inline]] static void add_copies(Vec copies, int u, int i, const float* weights,
                                                Vec (&sums)[kColumns], More&... more) {
#pragma GCC unroll 7
    for (int q = 0; q < kColumns; ++q) {
      const int tap = u - q * kStride;
      if (tap >= 0 && tap < kTaps)
        sums[q] = mul_add(copies, load(weights + (tap * kGroup + i) * kLanes), sums[q]);
    }
    if constexpr (sizeof...(More) > 0) add_copies<kColumns>(copies, u, i, more...);
  }
};
