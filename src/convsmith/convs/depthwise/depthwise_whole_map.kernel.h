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
        add_row(Pixels{part.pixels(r)}, Taps{part.weights(r)}, sums);
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

  // Pixels of a row that lie in memory.
  struct Pixels {
    const float* row;
    Vec operator()(int q) const { return load(row + q * kLanes); }
  };

  // sums[q] += the pixels around q by the weights that meet them; pixel(q) is loaded once.
  template <int kColumns, class Pixel, class Weights>
  [[gnu::always_inline]] static void add_row(const Pixel& pixel, const Weights& weights,
                                             Vec (&sums)[kColumns]) {
    Vec pixels[kColumns];
    for (int q = 0; q < kColumns; ++q) pixels[q] = pixel(q);
#pragma GCC unroll 27
    for (int tap = 1 - kColumns; tap < kColumns; ++tap) {
      const Vec weight = weights.at(tap);
#pragma GCC unroll 14
      for (int q = 0; q < kColumns; ++q)
        if (q + tap >= 0 && q + tap < kColumns) sums[q] = mul_add(pixels[q + tap], weight, sums[q]);
    }
  }
};

// The sums of one row of outputs with three multiplications for four (Karatsuba): of a row's halves
// x and x', w are the weights by which each half of the outputs y, y' reads the half of its own
// columns, w' those by which y reads x', and 'w those by which y' reads x:
//
//   y = w x + w' x' = p + (w' - w) x'     y' = 'w x + w x' = p + ('w - w) x     p = w (x + x')
//
// Over all rows p is one sum, and so is what is added to it.
template <int kColumns>
class DepthwiseHalvedRow {
 public:
  template <class Pixel, class Weights>
  [[gnu::always_inline]] void add(const Pixel& pixel, const Weights& weights) {
    using Whole = DepthwiseWholeRows;
    Whole::add_row([&](int q) { return pixel(q) + pixel(q + kHalf); }, weights, both_);
    Whole::add_row([&](int q) { return pixel(q + kHalf); }, Apart<Weights, kHalf>{weights}, left_);
    Whole::add_row(pixel, Apart<Weights, -kHalf>{weights}, right_);
  }

  void sums(Vec (&into)[kColumns]) const {
    for (int q = 0; q < kHalf; ++q) {
      into[q] = both_[q] + left_[q];
      into[q + kHalf] = both_[q] + right_[q];
    }
  }

 private:
  static_assert(kColumns % 2 == 0);
  static constexpr int kHalf = kColumns / 2;

  // Of two taps, so many columns apart.
  template <class Weights, int columns>
  struct Apart {
    const Weights& weights;
    Vec at(int tap) const { return weights.at(tap + columns) - weights.at(tap); }
  };

  Vec both_[kHalf] = {}, left_[kHalf] = {}, right_[kHalf] = {};
};

// The sums of one row of outputs, directly.
template <int kColumns>
class DepthwiseDirectRow {
 public:
  template <class Pixel, class Weights>
  [[gnu::always_inline]] void add(const Pixel& pixel, const Weights& weights) {
    DepthwiseWholeRows::add_row(pixel, weights, sums_);
  }

  void sums(Vec (&into)[kColumns]) const {
    for (int q = 0; q < kColumns; ++q) into[q] = sums_[q];
  }

 private:
  Vec sums_[kColumns] = {};
};

// The image's rows come in halves in the same way, and an upper and a lower row of outputs are as
// many rows apart; where the columns can be halved as well, 9 multiplications are left of 16.
struct DepthwiseHalves {
  static constexpr int kMaxColumns = DepthwiseWholeRows::kMaxColumns;

  template <int kColumns>
  static void run(const DepthwiseTile& tile) {
    using Row = std::conditional_t<kColumns % 2 == 0, DepthwiseHalvedRow<kColumns>,
                                   DepthwiseDirectRow<kColumns>>;
    using Whole = DepthwiseWholeRows;
    const std::int64_t half = tile.image.rows / 2;
    for (std::int64_t block = 0; block < tile.blocks; ++block) {
      const Whole::Part part(tile, block);
      Row both;
      for (std::int64_t r = 0; r < half; ++r) {
        const float *const x = part.pixels(r), *const below = part.pixels(r + half);
        both.add([&](int q) { return load(x + q * kLanes) + load(below + q * kLanes); },
                 Whole::Taps{part.weights(r)});
      }
      Row upper = both;
      for (std::int64_t r = 0; r < half; ++r)
        upper.add(Whole::Pixels{part.pixels(r + half)},
                  Difference{part.weights(r + half), part.weights(r)});
      Vec sums[kColumns];
      upper.sums(sums);
      tile.finish(sums, tile.upper, block);
      Row lower = both;
      for (std::int64_t r = 0; r < half; ++r)
        lower.add(Whole::Pixels{part.pixels(r)},
                  Difference{part.weights(r - half), part.weights(r)});
      lower.sums(sums);
      tile.finish(sums, tile.lower, block);
    }
  }

  struct Difference {
    const float *first, *second;
    Vec at(int tap) const { return load(first + tap * kLanes) - load(second + tap * kLanes); }
  };
};
