// SPDX-License-Identifier: Apache-2.0
// A few rows of a depthwise convolution from rows of pixels that lie in a ring, all channels of a
// tile of columns after each other. Each sum starts at zero and takes the taps that read the image
// in ascending order, as depthwise.kernel.h has it.

// Rows of pixels, whole blocks of kLanes channels side by side; row r lies at place r % places.
struct RowRing {
  const float* pixels;
  std::int64_t places, row_pitch;  // in floats
  std::int64_t first_column, columns, column_pitch;

  std::int64_t offset(std::int64_t r) const { return r % places * row_pitch; }
  const float* row(std::int64_t r) const { return pixels + offset(r); }
};

struct DepthwiseFilter {
  std::int64_t kernel_h, kernel_w, stride_h, stride_w, top, left, dilation_h, dilation_w;
  std::int64_t image_h;
  std::int64_t blocks;   // of kLanes channels
  const float* weights;  // [block][tap][kLanes]
  const float* bias;     // [block][kLanes]
  Activation activation;
};

// Some columns of one output row, or of that and the next one.
struct DepthwiseRowsTile {
  const DepthwiseFilter& filter;
  const RowRing& ring;
  std::int64_t first_row;         // of the image, that the first tap reads
  std::int64_t first_column;      // of the ring
  float* to;                      // of the first row
  std::int64_t pitch, row_pitch;  // from one output to the next, and to the next row

  template <Activation activation, int kColumns>
  [[gnu::always_inline]] static void store_all(const Vec (&sums)[kColumns], Vec bias, float* to,
                                               std::int64_t pitch) {
#pragma GCC unroll 16
    for (int q = 0; q < kColumns; ++q) store(to + q * pitch, activate<activation>(sums[q] + bias));
  }

  // The costly activations are left to be done on what is stored.
  template <int kColumns>
  [[gnu::always_inline]] void finish(const Vec (&sums)[kColumns], std::int64_t block,
                                     float* row) const {
    const Vec bias = load(filter.bias + block * kLanes);
    float* const at = row + block * kLanes;
    if (filter.activation == Activation::relu)
      return store_all<Activation::relu>(sums, bias, at, pitch);
    if (filter.activation == Activation::relu6)
      return store_all<Activation::relu6>(sums, bias, at, pitch);
    store_all<Activation::none>(sums, bias, at, pitch);
  }
};

// Two rows by a 3x3 without dilation. Each vector of the image is loaded once and multiplies all
// weights that meet it; the sums and the weights live in registers.
template <int kStride>
class TwoRowsBy3x3 {
 public:
  static constexpr int kMaxColumns = kLanes == 16 ? (kStride == 1 ? 8 : 6) : (kStride == 1 ? 4 : 3);

  explicit TwoRowsBy3x3(const DepthwiseRowsTile& tile) {
    const DepthwiseSteps inside = steps_inside(tile.first_row, 1, kRows, tile.filter.image_h);
    for (std::int64_t r = inside.begin; r < inside.end; ++r)
      rows_[r] = tile.ring.row(tile.first_row + r);
    has_all_rows_ = inside.end - inside.begin == kRows;
  }

  template <int kColumns>
  void run(const DepthwiseRowsTile& tile) const {
    constexpr int kReach = (kColumns - 1) * kStride + 3;
    const DepthwiseSteps columns = steps_inside(tile.first_column, 1, kReach, tile.ring.columns);
    if (has_all_rows_ && columns.end - columns.begin == kReach)
      sum<kColumns, false>(tile, columns);
    else
      sum<kColumns, true>(tile, columns);
  }

 private:
  static constexpr int kRows = 3 + kStride;
  static constexpr bool kKeepsWeights = kLanes == 16;  // where there are registers for them

  const float* rows_[kRows] = {};  // null beyond the image
  bool has_all_rows_;

  template <int kColumns, bool kAtBorder>
  void sum(const DepthwiseRowsTile& tile, DepthwiseSteps columns) const {
    const std::int64_t step = tile.ring.column_pitch;
    const std::int64_t first = tile.first_column * step;
    for (std::int64_t block = 0; block < tile.filter.blocks; ++block) {
      Vec weights[9];
#pragma GCC unroll 9
      for (int tap = 0; tap < 9; ++tap) {
        weights[tap] = load(tile.filter.weights + (block * 9 + tap) * kLanes);
        if (kKeepsWeights) keep_in_register(weights[tap]);
      }
      Vec upper[kColumns] = {}, lower[kColumns] = {};
#pragma GCC unroll 5
      for (int r = 0; r < kRows; ++r) {
        if (kAtBorder && !rows_[r]) continue;
        const float* from = rows_[r] + first + block * kLanes;
#pragma GCC unroll 17
        for (int u = 0; u < (kColumns - 1) * kStride + 3; ++u) {
          if (kAtBorder && (u < columns.begin || u >= columns.end)) continue;
          const Vec pixel = load(from + u * step);
          if (r < 3) add_pixel(pixel, u, weights + r * 3, upper);
          if (r >= kStride) add_pixel(pixel, u, weights + (r - kStride) * 3, lower);
        }
      }
      tile.finish(upper, block, tile.to);
      tile.finish(lower, block, tile.to + tile.row_pitch);
    }
  }

  template <int kColumns>
  [[gnu::always_inline]] static void add_pixel(Vec pixel, int u, const Vec* weights,
                                               Vec (&sums)[kColumns]) {
#pragma GCC unroll 8
    for (int q = 0; q < kColumns; ++q) {
      const int tap = u - q * kStride;
      if (tap >= 0 && tap < 3) sums[q] = mul_add(pixel, weights[tap], sums[q]);
    }
  }
};

// One row by any kernel. A tap's weights are loaded once for all columns.
struct OneRowByTaps {
  static constexpr int kMaxColumns = 6;

  explicit OneRowByTaps(const DepthwiseRowsTile&) {}

  template <int kColumns>
  void run(const DepthwiseRowsTile& tile) const {
    const DepthwiseFilter& f = tile.filter;
    const auto rows = steps_inside(tile.first_row, f.dilation_h, f.kernel_h, f.image_h);
    const std::int64_t last = tile.first_column + (kColumns - 1) * f.stride_w;
    const bool is_inside =
        tile.first_column >= 0 && last + (f.kernel_w - 1) * f.dilation_w < tile.ring.columns;
    for (std::int64_t block = 0; block < f.blocks; ++block) {
      Vec sums[kColumns] = {};
      for (std::int64_t r = rows.begin; r < rows.end; ++r) {
        const float* from = tile.ring.row(tile.first_row + r * f.dilation_h) + block * kLanes;
        const float* weights = f.weights + (block * f.kernel_h + r) * f.kernel_w * kLanes;
        for (std::int64_t t = 0; t < f.kernel_w; ++t) {
          const Vec weight = load(weights + t * kLanes);
          const std::int64_t first = tile.first_column + t * f.dilation_w;
#pragma GCC unroll 6
          for (int q = 0; q < kColumns; ++q) {
            const std::int64_t column = first + q * f.stride_w;
            if (is_inside || (column >= 0 && column < tile.ring.columns))
              sums[q] = mul_add(load(from + column * tile.ring.column_pitch), weight, sums[q]);
          }
        }
      }
      tile.finish(sums, block, tile.to);
    }
  }
};

// Cuts `columns` outputs into tiles of nearly equal width.
template <class Kind>
void filter_row_tiles(DepthwiseRowsTile tile, std::int64_t columns) {
  const Kind kind(tile);
  for (std::int64_t left = columns; left > 0;) {
    const std::int64_t width = divide_up(left, divide_up(left, Kind::kMaxColumns));
    with_num_rows<Kind::kMaxColumns>(
        width, [&](auto tile_columns) { kind.template run<tile_columns()>(tile); });
    tile.first_column += width * tile.filter.stride_w;
    tile.to += width * tile.pitch;
    left -= width;
  }
}

// Output rows [row, row + rows), columns [column, column + columns) to pixels of `pitch` floats.
inline void filter_rows(const DepthwiseFilter& filter, const RowRing& ring, std::int64_t row,
                        std::int64_t rows, std::int64_t column, std::int64_t columns, float* to,
                        std::int64_t pitch) {
  const auto tile_from = [&](std::int64_t i) -> DepthwiseRowsTile {
    return {filter,
            ring,
            (row + i) * filter.stride_h - filter.top,
            column * filter.stride_w - filter.left - ring.first_column,
            to + i * columns * pitch,
            pitch,
            columns * pitch};
  };
  const std::int64_t step = filter.stride_h;
  const bool is_3x3 = filter.kernel_h == 3 && filter.kernel_w == 3 && filter.dilation_h == 1 &&
                      filter.dilation_w == 1 && step == filter.stride_w && step <= 2 && rows >= 2;
  // The last pair of an odd number of rows shares one with the pair before it.
  for (std::int64_t i = 0; is_3x3 && i < rows; i += 2) {
    const auto tile = tile_from(std::min(i, rows - 2));
    step == 1 ? filter_row_tiles<TwoRowsBy3x3<1>>(tile, columns)
              : filter_row_tiles<TwoRowsBy3x3<2>>(tile, columns);
  }
  for (std::int64_t i = 0; !is_3x3 && i < rows; ++i)
    filter_row_tiles<OneRowByTaps>(tile_from(i), columns);

  if (filter.activation > Activation::relu6)
    with_activation(filter.activation, [&](auto kind) {
      for (std::int64_t at = 0; at < rows * columns * pitch; at += kLanes)
        store(to + at, activate<kind()>(load(to + at)));
    });
}
