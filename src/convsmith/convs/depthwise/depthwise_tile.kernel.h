// SPDX-License-Identifier: Apache-2.0
// The register tiles of depthwise convolution: a few output columns of one row, or of two rows that
// read the same inputs, kLanes channels deep. Each sum has one accumulator, starts at zero and
// takes the taps that read the image row by row.

// Pixels of kLanes channels each.
struct DepthwiseImage {
  const float* pixels;
  std::int64_t rows, columns;
  std::int64_t row_pitch, column_pitch;  // in floats
};

// Steps [begin, end) along one axis.
struct DepthwiseSteps {
  std::int64_t begin, end;
};

// The steps t in [0, count) with 0 <= first + t * step < size.
inline DepthwiseSteps steps_inside(std::int64_t first, std::int64_t step, std::int64_t count,
                                   std::int64_t size) {
  // A division costs as much as a dozen multiply-adds of vectors.
  const auto divide = [&](std::int64_t a) { return step == 1 ? a : a / step; };
  const std::int64_t begin = first >= 0 ? 0 : divide(step - 1 - first);
  const std::int64_t end = first >= size ? 0 : divide(size - 1 - first) + 1;
  return {std::min(begin, count), std::min(end, count)};
}

// A row of outputs, and what is added to it.
struct DepthwiseRow {
  float* y;               // null: there is none
  const float* residual;  // null, or like y

  explicit operator bool() const { return y != nullptr; }
  DepthwiseRow operator+(std::int64_t floats) const {
    return {y ? y + floats : nullptr, residual ? residual + floats : nullptr};
  }
};

// The same columns of neighbouring blocks of channels, one after the other.
struct DepthwiseTile {
  DepthwiseImage image;
  std::int64_t kernel_h, kernel_w, dilation_h, dilation_w;
  std::int64_t column_stride;            // of the image, from one output of the tile to the next
  std::int64_t first_row, first_column;  // that the first tap of the first output reads
  std::int64_t lower_taps;  // rows of taps by which the lower row of outputs lags, if there is one
  DepthwiseSteps rows;      // of taps, of the upper row and then the lower one, inside the image
  Activation activation;
  std::int64_t blocks;
  const float* weights;  // [block][tap][kLanes]
  const float* bias;     // [block][kLanes], or null
  DepthwiseRow upper, lower;
  std::int64_t to_pitch;  // in floats, from one output of the tile to the next

  // What the first output reads by the first tap of a row of taps.
  const float* row(std::int64_t tap) const {
    return image.pixels + (first_row + tap * dilation_h) * image.row_pitch +
           first_column * image.column_pitch;
  }

  const float* weights_of(std::int64_t block) const {
    return weights + block * kernel_h * kernel_w * kLanes;
  }

  // Sums to y, through the activations of most networks in registers; the costlier ones take y up
  // again from the first cache, so that every tile need not carry a copy of them.
  template <int kColumns>
  [[gnu::always_inline]] void finish(Vec (&sums)[kColumns], DepthwiseRow row,
                                     std::int64_t block) const {
    const DepthwiseRow to = row + block * kLanes;
    if (bias) {
      const Vec offset = load(bias + block * kLanes);
#pragma GCC unroll 28
      for (int q = 0; q < kColumns; ++q) sums[q] += offset;
    }
    if (to.residual) {
#pragma GCC unroll 28
      for (int q = 0; q < kColumns; ++q) sums[q] += load(to.residual + q * to_pitch);
    }
    if (activation == Activation::relu) return store_all<Activation::relu>(sums, to.y);
    if (activation == Activation::relu6) return store_all<Activation::relu6>(sums, to.y);
    store_all<Activation::none>(sums, to.y);
    if (activation != Activation::none) activate_stored(to.y, kColumns, to_pitch, activation);
  }

  template <Activation kind, int kColumns>
  [[gnu::always_inline]] void store_all(const Vec (&sums)[kColumns], float* to) const {
    const std::int64_t pitch = to_pitch;  // a copy that no store can change
#pragma GCC unroll 28
    for (int q = 0; q < kColumns; ++q, to += pitch) store(to, activate<kind>(sums[q]));
  }

  // By values: a tile that somebody points at has to lie in memory.
  [[gnu::noinline]] static void activate_stored(float* to, int columns, std::int64_t pitch,
                                                Activation activation) {
    with_activation(activation, [&](auto kind) {
      for (int q = 0; q < columns; ++q, to += pitch) store(to, activate<kind()>(load(to)));
    });
  }
};

// Any kernel, stride and dilation; one row. A tap's weights are loaded once and multiply one vector
// of the image for each column: a load and a fraction for each multiply-add. The sums take the
// registers that the weight leaves; 14 divides the maps of most networks.
struct DepthwiseByTaps {
  static constexpr int kMaxColumns = kLanes == 16 ? 28 : 14;

  template <int kColumns>
  static void run(const DepthwiseTile& tile) {
    const std::int64_t last_column = tile.first_column + (kColumns - 1) * tile.column_stride;
    const auto left =
        steps_inside(tile.first_column, tile.dilation_w, tile.kernel_w, tile.image.columns);
    const auto right =
        steps_inside(last_column, tile.dilation_w, tile.kernel_w, tile.image.columns);
    for (std::int64_t block = 0; block < tile.blocks; ++block)
      sum<kColumns>(tile, block, left, right);
  }

  // The taps [left.begin, left.end) of the first output read the image, and those of the last.
  template <int kColumns>
  [[gnu::always_inline]] static void sum(const DepthwiseTile& tile, std::int64_t block,
                                         DepthwiseSteps left, DepthwiseSteps right) {
    const std::int64_t pitch = tile.image.column_pitch;
    const std::int64_t all_end = std::max(left.begin, right.end);
    Vec sums[kColumns] = {};
    for (std::int64_t r = tile.rows.begin; r < tile.rows.end; ++r) {
      const float* weights = tile.weights_of(block) + r * tile.kernel_w * kLanes;
      const float* row = tile.row(r) + block * kLanes;
      const auto add_where_inside = [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t t = begin; t < end; ++t) {
          const Vec weight = load(weights + t * kLanes);
#pragma GCC unroll 28
          for (int q = 0; q < kColumns; ++q) {
            const std::int64_t step = t * tile.dilation_w + q * tile.column_stride;
            const std::int64_t column = tile.first_column + step;
            if (column >= 0 && column < tile.image.columns)
              sums[q] = mul_add(load(row + step * pitch), weight, sums[q]);
          }
        }
      };

      add_where_inside(right.begin, std::min(left.begin, left.end));
      for (std::int64_t t = left.begin; t < right.end; ++t) {
        const Vec weight = load(weights + t * kLanes);
        const float* from = row + t * tile.dilation_w * pitch;
#pragma GCC unroll 28
        for (int q = 0; q < kColumns; ++q)
          sums[q] = mul_add(load(from + q * tile.column_stride * pitch), weight, sums[q]);
      }
      add_where_inside(all_end, left.end);
    }
    tile.finish(sums, tile.upper, block);
  }
};

// Two rows, whose windows overlap, by an odd kernel that is known here. Each vector of the image is
// loaded once and multiplies all weights of its row that meet it, in both windows. Outputs lie one
// dilation apart, so that dilated windows overlap like others. A 3x3 keeps two rows of weights in
// registers: half a load for each multiply-add. Away from the upper and lower border its rows are
// written out, since what a loop over them costs would be a quarter of the whole.
//
// kTimes is the number of filters that read one channel, one after the other: one, or two where the
// image is read in place.
template <int kTaps, int kStride, int kTimes = 1>
struct DepthwiseSliding {
  static constexpr int kMaxColumns = kLanes == 16 ? (kTaps == 3 ? 8 : 12) : (kTaps == 3 ? 4 : 6);

  template <int kColumns>
  static void run(const DepthwiseTile& tile) {
    constexpr int kReach = (kColumns - 1) * kStride + kTaps;
    const auto inside =
        steps_inside(tile.first_column, tile.dilation_w, kReach, tile.image.columns);
    const bool has_all_columns = inside.begin == 0 && inside.end == kReach;
    const bool has_all_rows = kTaps == 3 && tile.kernel_h == kTaps && tile.lower &&
                              tile.lower_taps == kStride && tile.rows.begin == 0 &&
                              tile.rows.end == kTaps + kStride;
    for (std::int64_t block = 0; block < tile.blocks; ++block)
      if (has_all_columns && has_all_rows)
        sum<kColumns, false, true>(tile, block, inside);
      else if (has_all_columns)
        sum<kColumns, false, false>(tile, block, inside);
      else if (has_all_rows)
        sum<kColumns, true, true>(tile, block, inside);
      else
        sum<kColumns, true, false>(tile, block, inside);
  }

  template <int kColumns, bool kAtBorder, bool kAllRows>
  [[gnu::always_inline]] static void sum(const DepthwiseTile& tile, std::int64_t block,
                                         DepthwiseSteps inside) {
    const std::int64_t step = tile.dilation_w * tile.image.column_pitch;
    const std::int64_t row_step = tile.dilation_h * tile.image.row_pitch;
    Vec upper[kColumns] = {}, lower[kColumns] = {};
    const float* from = tile.row(tile.rows.begin) + block * (kLanes / kTimes);
    const float* weights = tile.weights_of(block) + tile.rows.begin * kTaps * kLanes;
    const auto add = [&](bool for_upper, bool for_lower,
                         std::int64_t lag) __attribute__((always_inline)) {
      const float* lower_weights = weights - lag * kTaps * kLanes;
      if (for_upper && for_lower)
        add_row<kColumns, kAtBorder>(from, step, inside, weights, upper, lower_weights, lower);
      else if (for_upper)
        add_row<kColumns, kAtBorder>(from, step, inside, weights, upper);
      else if (for_lower)
        add_row<kColumns, kAtBorder>(from, step, inside, lower_weights, lower);
      from += row_step;
      weights += kTaps * kLanes;
    };
    if constexpr (kAllRows) {
#pragma GCC unroll 8
      for (int r = 0; r < kTaps + kStride; ++r) add(r < kTaps, r >= kStride, kStride);
    } else {
      for (std::int64_t r = tile.rows.begin; r < tile.rows.end; ++r)
        add(r < tile.kernel_h, tile.lower && r >= tile.lower_taps, tile.lower_taps);
    }
    tile.finish(upper, tile.upper, block);
    if (kAllRows || tile.lower) tile.finish(lower, tile.lower, block);
  }

  // One row of the image into the sums of one or two rows of outputs.
  template <int kColumns, bool kAtBorder, class... WeightsAndSums>
  [[gnu::always_inline]] static void add_row(const float* from, std::int64_t step,
                                             DepthwiseSteps inside, WeightsAndSums&... pairs) {
#pragma GCC unroll 32
    for (int u = 0; u < (kColumns - 1) * kStride + kTaps; ++u) {
      if (kAtBorder && (u < inside.begin || u >= inside.end)) continue;
      const float* const pixel = from + u * step;
      add_pixel<kColumns>(kTimes == 2 ? load_twice(pixel) : load(pixel), u, pairs...);
    }
  }

  template <int kColumns, class... More>
  [[gnu::always_inline]] static void add_pixel(Vec pixel, int u, const float* weights,
                                               Vec (&sums)[kColumns], More&... more) {
#pragma GCC unroll 16
    for (int q = 0; q < kColumns; ++q) {
      const int tap = u - q * kStride;
      if (tap >= 0 && tap < kTaps) sums[q] = mul_add(pixel, load(weights + tap * kLanes), sums[q]);
    }
    if constexpr (sizeof...(More) > 0) add_pixel<kColumns>(pixel, u, more...);
  }
};

// The same for kernels of any width at stride 1; worth it where the kernel is twice as wide as the
// tile, since every pixel near the ends of a window asks whom it meets. The registers belong to the
// sums: each multiply-add takes its weight from memory, and two such loads are done in a cycle.
struct DepthwiseSlidingWide {
  static constexpr int kMaxColumns = kLanes == 16 ? 12 : 5;

  template <int kColumns>
  static void run(const DepthwiseTile& tile) {
    const std::int64_t step = tile.dilation_w * tile.image.column_pitch;
    const std::int64_t row_taps = tile.kernel_w * kLanes;
    const auto inside = steps_inside(tile.first_column, tile.dilation_w,
                                     kColumns - 1 + tile.kernel_w, tile.image.columns);
    for (std::int64_t block = 0; block < tile.blocks; ++block) {
      Vec upper[kColumns] = {}, lower[kColumns] = {};
      for (std::int64_t r = tile.rows.begin; r < tile.rows.end; ++r) {
        const float* from = tile.row(r) + block * kLanes;
        const float* weights = tile.weights_of(block) + r * row_taps;
        const float* lower_weights = weights - tile.lower_taps * row_taps;
        const bool for_upper = r < tile.kernel_h, for_lower = tile.lower && r >= tile.lower_taps;
        if (for_upper && for_lower)
          add_row<kColumns>(tile.kernel_w, from, step, inside, weights, upper, lower_weights,
                            lower);
        else if (for_upper)
          add_row<kColumns>(tile.kernel_w, from, step, inside, weights, upper);
        else if (for_lower)
          add_row<kColumns>(tile.kernel_w, from, step, inside, lower_weights, lower);
      }
      tile.finish(upper, tile.upper, block);
      if (tile.lower) tile.finish(lower, tile.lower, block);
    }
  }

  template <int kColumns, class... WeightsAndSums>
  [[gnu::always_inline]] static void add_row(std::int64_t taps, const float* from,
                                             std::int64_t step, DepthwiseSteps inside,
                                             WeightsAndSums&... pairs) {
    // From `begin` on each pixel meets the windows of all outputs, up to `end`.
    const std::int64_t begin = std::clamp<std::int64_t>(kColumns - 1, inside.begin, inside.end);
    const std::int64_t end = std::clamp(taps, begin, std::max(begin, inside.end));
    std::int64_t u = inside.begin;
    for (; u < begin; ++u) add_pixel<kColumns, true>(u, taps, load(from + u * step), pairs...);
    for (; u < end; ++u) add_pixel<kColumns, false>(u, taps, load(from + u * step), pairs...);
    for (; u < inside.end; ++u) add_pixel<kColumns, true>(u, taps, load(from + u * step), pairs...);
  }

  template <int kColumns, bool kSome, class... More>
  [[gnu::always_inline]] static void add_pixel(std::int64_t u, std::int64_t taps, Vec pixel,
                                               const float* weights, Vec (&sums)[kColumns],
                                               More&... more) {
    const float* const from = unknown(weights);
#pragma GCC unroll 16
    for (int q = 0; q < kColumns; ++q)
      if (!kSome || (u >= q && u - q < taps))
        sums[q] = mul_add(pixel, load(from + (u - q) * kLanes), sums[q]);
    if constexpr (sizeof...(More) > 0) add_pixel<kColumns, kSome>(u, taps, pixel, more...);
  }
};

// Two rows by a large kernel without dilation, whose pixels have been gathered, a block each. A
// tap's two weights are loaded once for all columns, and each vector of the image once for both
// rows: little more than half a load for each multiply-add. The sums take the registers that these
// three leave. The image has to be a tile wider than the kernel, or few taps meet whole tiles.
struct DepthwiseLarge {
  static constexpr int kMaxColumns = kLanes == 16 ? 14 : 6;

  template <int kColumns>
  static void run(const DepthwiseTile& tile) {
    const std::int64_t row_taps = tile.kernel_w * kLanes;
    const auto inside =
        steps_inside(tile.first_column, 1, kColumns - 1 + tile.kernel_w, tile.image.columns);
    for (std::int64_t block = 0; block < tile.blocks; ++block) {
      Vec upper[kColumns] = {}, lower[kColumns] = {};
      for (std::int64_t r = tile.rows.begin; r < tile.rows.end; ++r) {
        const float* from = tile.row(r) + block * kLanes;
        const float* weights = tile.weights_of(block) + r * row_taps;
        const float* lower_weights = weights - tile.lower_taps * row_taps;
        const bool for_upper = r < tile.kernel_h, for_lower = tile.lower && r >= tile.lower_taps;
        if (for_upper && for_lower)
          add_row<kColumns>(tile.kernel_w, from, inside, weights, upper, lower_weights, lower);
        else if (for_upper)
          add_row<kColumns>(tile.kernel_w, from, inside, weights, upper);
        else if (for_lower)
          add_row<kColumns>(tile.kernel_w, from, inside, lower_weights, lower);
      }
      tile.finish(upper, tile.upper, block);
      if (tile.lower) tile.finish(lower, tile.lower, block);
    }
  }

  // Column q meets the image by a tap t where t + q lies inside.
  template <int kColumns, class... WeightsAndSums>
  [[gnu::always_inline]] static void add_row(std::int64_t taps, const float* from,
                                             DepthwiseSteps inside, WeightsAndSums&... pairs) {
    const std::int64_t first = std::max<std::int64_t>(inside.begin - (kColumns - 1), 0);
    const std::int64_t end = std::max(first, std::min(taps, inside.end));
    const std::int64_t begin = std::clamp(inside.begin, first, end);
    const std::int64_t all_end = std::clamp(inside.end - (kColumns - 1), begin, end);
    // The image is wider than the tile, so that a tap lacks columns on one side at most.
    for (std::int64_t t = first; t < begin; ++t)
      from_column(inside.begin - t, add_tap<kColumns>(t, from, pairs...));
    for (std::int64_t t = begin; t < all_end; ++t) {
      const auto add = add_tap<kColumns>(t, from, pairs...);
      add(column<0>);
      from_column(1, add);
    }
    for (std::int64_t t = all_end; t < end; ++t)
      up_to_column(inside.end - t, add_tap<kColumns>(t, from, pairs...));
  }

  // What adds the products of a tap to the sums of a column.
  template <int kColumns>
  [[gnu::always_inline]] static auto add_tap(std::int64_t t, const float* from,
                                             const float* weights, Vec (&sums)[kColumns]) {
    return [&sums, pixels = unknown(from + t * kLanes), weight = load(weights + t * kLanes)](auto q)
               __attribute__((always_inline)) {
                 if constexpr (q() < kColumns)
                   sums[q()] = mul_add(load(pixels + q() * kLanes), weight, sums[q()]);
               };
  }

  template <int kColumns>
  [[gnu::always_inline]] static auto add_tap(std::int64_t t, const float* from,
                                             const float* weights, Vec (&sums)[kColumns],
                                             const float* lower_weights,
                                             Vec (&lower_sums)[kColumns]) {
    return [&sums, &lower_sums, pixels = unknown(from + t * kLanes),
            weight = load(weights + t * kLanes), lower = load(lower_weights + t * kLanes)](auto q)
               __attribute__((always_inline)) {
                 if constexpr (q() < kColumns) {
                   const Vec pixel = load(pixels + q() * kLanes);
                   sums[q()] = mul_add(pixel, weight, sums[q()]);
                   lower_sums[q()] = mul_add(pixel, lower, lower_sums[q()]);
                 }
               };
  }

  template <int q>
  static constexpr std::integral_constant<int, q> column{};

  // Calls add for the columns from one on, or up to one: a single jump, where to ask for each would
  // take longer than its products.
  template <class Add>
  [[gnu::always_inline]] static void from_column(std::int64_t first, const Add& add) {
    switch (first) {
      case 1:
        add(column<1>);
        [[fallthrough]];
      case 2:
        add(column<2>);
        [[fallthrough]];
      case 3:
        add(column<3>);
        [[fallthrough]];
      case 4:
        add(column<4>);
        [[fallthrough]];
      case 5:
        add(column<5>);
        [[fallthrough]];
      case 6:
        add(column<6>);
        [[fallthrough]];
      case 7:
        add(column<7>);
        [[fallthrough]];
      case 8:
        add(column<8>);
        [[fallthrough]];
      case 9:
        add(column<9>);
        [[fallthrough]];
      case 10:
        add(column<10>);
        [[fallthrough]];
      case 11:
        add(column<11>);
        [[fallthrough]];
      case 12:
        add(column<12>);
        [[fallthrough]];
      case 13:
        add(column<13>);
    }
  }

  template <class Add>
  [[gnu::always_inline]] static void up_to_column(std::int64_t end, const Add& add) {
    switch (end) {
      case 13:
        add(column<12>);
        [[fallthrough]];
      case 12:
        add(column<11>);
        [[fallthrough]];
      case 11:
        add(column<10>);
        [[fallthrough]];
      case 10:
        add(column<9>);
        [[fallthrough]];
      case 9:
        add(column<8>);
        [[fallthrough]];
      case 8:
        add(column<7>);
        [[fallthrough]];
      case 7:
        add(column<6>);
        [[fallthrough]];
      case 6:
        add(column<5>);
        [[fallthrough]];
      case 5:
        add(column<4>);
        [[fallthrough]];
      case 4:
        add(column<3>);
        [[fallthrough]];
      case 3:
        add(column<2>);
        [[fallthrough]];
      case 2:
        add(column<1>);
        [[fallthrough]];
      case 1:
        add(column<0>);
    }
  }
};

// A kind of tile with its width chosen as the program runs.
struct DepthwiseTileKind {
  std::int64_t max_columns = 0;
  void (*const* run)(const DepthwiseTile&) = nullptr;  // for 1 column, 2 columns, ...
};

template <class Kind, class = std::make_integer_sequence<int, Kind::kMaxColumns>>
struct DepthwiseTileTable;

template <class Kind, int... columns>
struct DepthwiseTileTable<Kind, std::integer_sequence<int, columns...>> {
  static constexpr void (*run[])(const DepthwiseTile&) = {&Kind::template run<columns + 1>...};
};

template <class Kind>
DepthwiseTileKind tile_kind() {
  return {Kind::kMaxColumns, DepthwiseTileTable<Kind>::run};
}
