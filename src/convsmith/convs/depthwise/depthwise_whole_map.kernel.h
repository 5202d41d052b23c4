// SPDX-License-Identifier: Apache-2.0
// Register tiles for kernels that cover the whole image from each of its pixels, such as 27x27 over
// 14x14: every output reads every pixel.

// One row of outputs, from pixels that have been gathered. A row of them lies in registers beside
// the sums, so that a tap's weight is loaded once for all: a fifth of a load for each multiply-add.
struct DepthwiseWholeRows {
  static constexpr int kMaxColumns = kLanes == 16 ? 14 : 6;

  template <int kColumns>
  static void run(const DepthwiseTile& tile) {
    for (std::int64_t block = 0; block < tile.blocks; ++block) {
      Vec sums[kColumns] = {};
      const Part part(tile, block);
      for (std::int64_t r = 0; r < tile.image.rows; ++r)
        add_row<kColumns>(part.pixels(r), Taps{part.weights(r)}, sums);
      tile.finish(sums, tile.upper, block);
    }
  }

  // A block of channels, and where things of it are found.
  struct Part {
    const DepthwiseTile& tile;
    const float* image;
    const float* own;  // the tap by which an output reads its own column of the image's first row
    std::int64_t row_taps = tile.kernel_w * kLanes;

    Part(const DepthwiseTile& tile, std::int64_t block)
        : tile(tile),
          image(tile.image.pixels + block * kLanes),
          own(tile.weights_of(block) - tile.first_row * tile.kernel_w * kLanes -
              tile.first_column * kLanes) {}

    const float* pixels(std::int64_t row) const { return image + row * tile.image.row_pitch; }
    const float* weights(std::int64_t row) const { return own + row * row_taps; }
  };

  // The weights of a row of taps.
  struct Taps {
    const float* own;
    Vec at(int tap) const { return load(own + tap * kLanes); }
  };

  template <int kColumns, class Weights>
  [[gnu::always_inline]] static void add_row(const float* from, const Weights& weights,
                                             Vec (&sums)[kColumns]) {
    Vec pixels[kColumns];
    for (int q = 0; q < kColumns; ++q) pixels[q] = load(from + q * kLanes);
    add_pixels<kColumns>(pixels, weights, sums);
  }

  template <int kColumns, class Weights>
  [[gnu::always_inline]] static void add_pixels(const Vec (&pixels)[kColumns],
                                                const Weights& weights, Vec (&sums)[kColumns]) {
#pragma GCC unroll 27
    for (int tap = 1 - kColumns; tap < kColumns; ++tap) {
      const Vec weight = weights.at(tap);
#pragma GCC unroll 14
      for (int q = 0; q < kColumns; ++q)
        if (q + tap >= 0 && q + tap < kColumns) sums[q] = mul_add(pixels[q + tap], weight, sums[q]);
    }
  }
};

// The same with three multiplications for four (Karatsuba). The image's rows come in two halves, x
// and below it x', as many rows apart as the upper row of outputs y and the lower one y' are; w are
// the taps by which y reads x and y' reads x'; w' those by which y reads x'; and 'w those by which
// y' reads x:
//
//   y = w x + w' x' = p + (w' - w) x'     y' = 'w x + w x' = p + ('w - w) x     p = w (x + x')
struct DepthwiseHalves {
  static constexpr int kMaxColumns = DepthwiseWholeRows::kMaxColumns;

  template <int kColumns>
  static void run(const DepthwiseTile& tile) {
    using Whole = DepthwiseWholeRows;
    const std::int64_t half = tile.image.rows / 2;
    for (std::int64_t block = 0; block < tile.blocks; ++block) {
      const Whole::Part part(tile, block);
      Vec sums[kColumns] = {}, both[kColumns];
      for (std::int64_t r = 0; r < half; ++r) {
        Vec pixels[kColumns];
        const float *const x = part.pixels(r), *const below = part.pixels(r + half);
        for (int q = 0; q < kColumns; ++q)
          pixels[q] = load(x + q * kLanes) + load(below + q * kLanes);
        Whole::add_pixels<kColumns>(pixels, Whole::Taps{part.weights(r)}, sums);
      }
      for (int q = 0; q < kColumns; ++q) both[q] = sums[q];
      for (std::int64_t r = 0; r < half; ++r)
        Whole::add_row<kColumns>(part.pixels(r + half),
                                 Difference{part.weights(r + half), part.weights(r)}, sums);
      tile.finish(sums, tile.upper, block);
      for (std::int64_t r = 0; r < half; ++r)
        Whole::add_row<kColumns>(part.pixels(r),
                                 Difference{part.weights(r - half), part.weights(r)}, both);
      tile.finish(both, tile.lower, block);
    }
  }

  struct Difference {
    const float *first, *second;
    Vec at(int tap) const { return load(first + tap * kLanes) - load(second + tap * kLanes); }
  };
};
