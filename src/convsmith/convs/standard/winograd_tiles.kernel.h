// SPDX-License-Identifier: Apache-2.0
// Both ends of Winograd's convolution: from pixels to V, and from M to y; see winograd.kernel.h.

// F(2, 3): factors of one only, exact on small whole numbers.
using Winograd2 = WinogradTransforms<CookToom<2, 3, kZero, kOne, -kOne>>;

// F(3, 3): every factor of B and A is exact in float32, as are those of F(4, 3); half its error.
using Winograd3 = WinogradTransforms<
    CookToom<3, 3, Rational{3, 8}, Rational{-3, 8}, Rational{5, 4}, Rational{-5, 4}>>;

// F(4, 3): every factor is exact in float32, and the error is half of that of 0, 1, -1, 2, -2.
using Winograd4 = WinogradTransforms<
    CookToom<4, 3, kZero, Rational{5, 8}, Rational{-5, 8}, Rational{3, 2}, Rational{-3, 2}>>;

// Two outputs that read two pixels, both times the same: phases of a large dilation. Three products
// instead of four (F(2, 3) has four, too), factors of one only:
//
//   y0 = w1 (x0 + x1) + (w2 - w1) x1        y1 = w1 (x0 + x1) + (w0 - w1) x0
struct WinogradPairs {
  static constexpr int kOutputs = 2, kInputs = 3, kTaps = 3;  // kInputs: products
  static constexpr int kPixels = 2, kFirst = 1;
  static constexpr Matrix<3, 2> kInput{{{kOne, kZero}, {kOne, kOne}, {kZero, kOne}}};
  static constexpr Matrix<3, 3> kKernel{
      {{kOne, -kOne, kZero}, {kZero, kOne, kZero}, {kZero, -kOne, kOne}}};
  static constexpr Matrix<2, 3> kOutput{{{kZero, kOne, kOne}, {kOne, kOne, kZero}}};
  static_assert(is_a_correlation(kOutput, kKernel, kInput, kFirst));

  [[gnu::always_inline]] static void transform_input(const Vec (&d)[2], Vec (&v)[3]) {
    for_constants<3>([&]<int k>(std::integral_constant<int, k>)
                         __attribute__((always_inline)) { v[k] = combine<kInput, k>(d); });
  }
  [[gnu::always_inline]] static void transform_output(const Vec (&m)[3], Vec (&y)[2]) {
    for_constants<2>([&]<int i>(std::integral_constant<int, i>)
                         __attribute__((always_inline)) { y[i] = combine<kOutput, i>(m); });
  }

  // Whether this is so along an axis.
  static bool serve(std::int64_t size, std::int64_t outputs, std::int64_t before,
                    std::int64_t dilation) {
    return outputs <= 2 * dilation && before >= dilation && size <= 3 * dilation - before;
  }
};

struct WinogradConv2dArgs {
  const float* x;
  const float* weight;    // as winograd_pack leaves it
  const float* bias;      // (out_channels), or null
  const float* residual;  // as y, or null
  float* y;               // (n, out_h, out_w, out_channels); overlaps none of the others
  std::int64_t n, channels, out_channels, height, width;
  std::int64_t stride_n, stride_h, stride_w;  // of x, whose channels lie side by side
  std::int64_t out_h, out_w, top, left, dilation_h, dilation_w;
  std::int64_t tile;  // outputs along each side: 2, 3 or 4; 1: WinogradPairs
  std::int64_t activation;
  std::int64_t num_threads;
};

// Tiles of a block: U is read once for all of them.
constexpr std::int64_t kWinogradTiles = 64;

// Floats of V at most, 4 MB, where channels are many.
constexpr std::int64_t kWinogradInputs = 1 << 20;

inline Status check(const WinogradConv2dArgs& a) {
  for (std::int64_t count : {a.n, a.channels, a.out_channels, a.height, a.width, a.stride_n,
                             a.stride_h, a.stride_w, a.out_h, a.out_w, a.top, a.left})
    if (count < 0) return Status::bad_sizes;
  if (a.dilation_h < 1 || a.dilation_w < 1 || a.tile < 1 || a.tile > 4 || a.activation < 0 ||
      a.activation >= kNumActivations)
    return Status::bad_sizes;

  // 64 positions, of which there are 36 at most, leave room for padding and gaps.
  constexpr std::int64_t kFloat = sizeof(float), kPositions = 64;
  std::int64_t bytes, reach = 0, span;
  if (!product_fits(bytes, kFloat, a.n, a.out_h, a.out_w, a.out_channels) ||
      !product_fits(bytes, kFloat, kPositions, a.channels, a.out_channels) ||
      !product_fits(bytes, kFloat, kPositions, kWinogradTiles, a.channels) ||
      !product_fits(bytes, kFloat, kPositions, a.out_channels) ||
      !positions_fit(a.height, a.out_h, 1, a.top, 8, a.dilation_h) ||
      !positions_fit(a.width, a.out_w, 1, a.left, 8, a.dilation_w))
    return Status::overflow;
  for (const auto& [size, stride] :
       {std::pair{a.n, a.stride_n}, {a.height, a.stride_h}, {a.width, a.stride_w}})
    if (!product_fits(span, kFloat, size, stride) || __builtin_add_overflow(reach, span, &reach))
      return Status::overflow;
  return Status::ok;
}

// One axis of the outputs in tiles: those of the outputs 0, d, 2 d, ..., then of 1, d + 1, ...
struct WinogradAxis {
  std::int64_t outputs, dilation, tile;

  std::int64_t num_tiles() const {
    return long_phases() * long_tiles() + (dilation - long_phases()) * short_tiles();
  }

  std::int64_t first_output(std::int64_t index) const {
    const std::int64_t in_long = long_phases() * long_tiles();
    const bool is_long = index < in_long;
    const std::int64_t tiles = is_long ? long_tiles() : short_tiles();
    const std::int64_t rest = is_long ? index : index - in_long;
    return (is_long ? 0 : long_phases()) + rest / tiles + rest % tiles * tile * dilation;
  }

  // How many outputs the tile has that begins there.
  std::int64_t num_outputs(std::int64_t first) const {
    return std::min(tile, divide_up(outputs - first, dilation));
  }

 private:
  // The first phases may have one output more than the others.
  std::int64_t long_phases() const { return outputs % dilation; }
  std::int64_t long_tiles() const { return divide_up(outputs / dilation + 1, tile); }
  std::int64_t short_tiles() const { return divide_up(outputs / dilation, tile); }
};

// A block of tiles, and the output channels that are formed of it.
struct WinogradItem {
  std::int64_t first, count;
  std::int64_t channel, end_channel;
};

template <class Transforms>
struct WinogradTiles {
  static constexpr int kTile = Transforms::kOutputs, kSide = Transforms::kInputs;
  static constexpr int kPositions = kSide * kSide, kPixels = Transforms::kPixels;

  const WinogradConv2dArgs& a;
  const WinogradAxis rows{a.out_h, a.dilation_h, kTile}, columns{a.out_w, a.dilation_w, kTile};
  const std::int64_t image_tiles = rows.num_tiles() * columns.num_tiles();
  const std::int64_t tiles = a.n * image_tiles;
  const std::int64_t whole_channels = divide_up(a.channels, kLanes) * kLanes;  // in V
  const std::int64_t panels = divide_up(a.out_channels, kPanel);

  struct Place {
    std::int64_t image, row, column;  // of the first output
  };

  Place place(std::int64_t tile) const {
    const std::int64_t in_image = tile % image_tiles;
    return {tile / image_tiles, rows.first_output(in_image / columns.num_tiles()),
            columns.first_output(in_image % columns.num_tiles())};
  }

  // V of tiles, to v_at(row and column of the position, tile, channel). Pixels outside of the image
  // lie in `zeros`.
  template <class VAt>
  void transform_inputs(const WinogradItem& item, const float* zeros, VAt v_at) const {
    for (std::int64_t t = 0; t < item.count; ++t) {
      const Place at = place(item.first + t);
      const float* pixels[kPixels][kPixels];
      for (int i = 0; i < kPixels; ++i) {
        const std::int64_t row = at.row - a.top + (Transforms::kFirst + i) * a.dilation_h;
        for (int j = 0; j < kPixels; ++j) {
          const std::int64_t column = at.column - a.left + (Transforms::kFirst + j) * a.dilation_w;
          const bool is_inside = row >= 0 && row < a.height && column >= 0 && column < a.width;
          pixels[i][j] = is_inside
                             ? a.x + at.image * a.stride_n + row * a.stride_h + column * a.stride_w
                             : zeros;
        }
      }
      std::int64_t c = 0;
      for (; c + kLanes <= a.channels; c += kLanes) {
        // The columns that the next tile adds to these; on large maps they come from memory.
        for (int i = 0; i < kPixels; ++i)
          for (int j = kPixels - kTile; j < kPixels; ++j)
            __builtin_prefetch(pixels[i][j] + kTile * a.dilation_w * a.stride_w + c);
        transform_pixels([&](int i, int j) { return load(pixels[i][j] + c); }, t, c, v_at);
      }
      if (const std::int64_t left = a.channels - c; left > 0)
        transform_pixels([&](int i, int j) { return load_up_to(pixels[i][j] + c, left); }, t, c,
                         v_at);
    }
  }

  template <class LoadPixel, class VAt>
  [[gnu::always_inline]] static void transform_pixels(const LoadPixel& load_pixel, std::int64_t t,
                                                      std::int64_t c, const VAt& v_at) {
    Vec half[kSide][kPixels];
#pragma GCC unroll 8
    for (int j = 0; j < kPixels; ++j) {
      Vec in[kPixels], out[kSide];
#pragma GCC unroll 8
      for (int i = 0; i < kPixels; ++i) in[i] = load_pixel(i, j);
      Transforms::transform_input(in, out);
#pragma GCC unroll 8
      for (int i = 0; i < kSide; ++i) half[i][j] = out[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < kSide; ++i) {
      Vec out[kSide];
      Transforms::transform_input(half[i], out);
#pragma GCC unroll 8
      for (int j = 0; j < kSide; ++j) store(v_at(i, j, t, c), out[j]);
    }
  }

  // y of tiles, for output channels side by side, from m(row and column of the position, tile,
  // channel).
  template <class LoadM>
  void transform_outputs(const WinogradItem& item, LoadM load_m) const {
    const std::int64_t count = item.end_channel - item.channel;
    with_activation(static_cast<Activation>(a.activation), [&](auto activation) {
      for (std::int64_t t = 0; t < item.count; ++t) {
        const Place at = place(item.first + t);
        for (std::int64_t c = 0; c < count; c += kLanes) {
          Vec sums[kTile][kTile];
          transform_products([=](int i, int j)
                                 __attribute__((always_inline)) { return load_m(i, j, t, c); },
                             sums);
          if (c + kLanes <= count)
            finish<activation(), true>(sums, at, item.channel + c, kLanes);
          else
            finish<activation(), false>(sums, at, item.channel + c, count - c);
        }
      }
    });
  }

  template <class LoadM>
  [[gnu::noinline]] static void transform_products(const LoadM& load_m, Vec (&sums)[kTile][kTile]) {
    Vec half[kTile][kSide];
#pragma GCC unroll 8
    for (int j = 0; j < kSide; ++j) {
      Vec in[kSide], out[kTile];
#pragma GCC unroll 8
      for (int i = 0; i < kSide; ++i) in[i] = load_m(i, j);
      Transforms::transform_output(in, out);
#pragma GCC unroll 8
      for (int i = 0; i < kTile; ++i) half[i][j] = out[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < kTile; ++i) Transforms::transform_output(half[i], sums[i]);
  }

  // Sums of a tile to y, where the image has them.
  template <Activation activation, bool kIsWhole>
  [[gnu::always_inline]] void finish(const Vec (&sums)[kTile][kTile], const Place& at,
                                     std::int64_t channel, std::int64_t lanes) const {
    const auto load_lanes = [&](const float* from) __attribute__((always_inline)) {
      return kIsWhole ? load(from) : load_up_to(from, lanes);
    };
    const Vec bias = a.bias ? load_lanes(a.bias + channel) : zero();
    const std::int64_t num_rows = rows.num_outputs(at.row);
    const std::int64_t num_columns = columns.num_outputs(at.column);
    const std::int64_t column_step = a.dilation_w * a.out_channels;
    const std::int64_t row_step = a.dilation_h * a.out_w * a.out_channels;
    std::int64_t row =
        ((at.image * a.out_h + at.row) * a.out_w + at.column) * a.out_channels + channel;
    for (std::int64_t i = 0; i < num_rows; ++i, row += row_step) {
      std::int64_t pixel = row;
      for (std::int64_t j = 0; j < num_columns; ++j, pixel += column_step) {
        Vec sum = sums[i][j] + bias;
        if (a.residual) sum += load_lanes(a.residual + pixel);
        sum = activate<activation>(sum);
        __builtin_prefetch(a.y + pixel + kTile * column_step, 1);  // of the next tile
        if (kIsWhole)
          store(a.y + pixel, sum);
        else
          store_up_to(a.y + pixel, sum, lanes);
      }
    }
  }

  std::int64_t num_blocks() const {
    const std::int64_t most = std::clamp<std::int64_t>(
        kWinogradInputs / kPositions / std::max<std::int64_t>(whole_channels, 1), kTileRows,
        kWinogradTiles);
    const std::int64_t needed = divide_up(tiles, most);
    if (needed >= a.num_threads) return divide_up(needed, a.num_threads) * a.num_threads;
    // Too few for the threads: smaller blocks read U once more each, and shared output channels
    // form V once more each, which costs several times as much for each float.
    if (a.out_channels > 4 * tiles) return needed;
    return std::max(needed, std::min(a.num_threads, divide_up(tiles, kTileRows)));
  }

  // Calls body(WinogradItem, scratch) on the threads; floats(tiles of a block) says what it needs.
  template <class Floats, class Body>
  Status for_items(const Floats& floats, const Body& body) const {
    if (tiles == 0 || a.out_channels == 0) return Status::ok;
    const std::int64_t block_tiles = divide_up(tiles, num_blocks());
    const std::int64_t blocks = divide_up(tiles, block_tiles);
    const std::int64_t wanted = std::min(panels, divide_up(a.num_threads, blocks));
    const std::int64_t group = divide_up(panels, wanted) * kPanel;
    const std::int64_t groups = divide_up(a.out_channels, group);

    return parallel_for_with_scratch(
        blocks * groups, kPositions * block_tiles * a.channels * group, a.num_threads,
        floats(block_tiles), [&](std::int64_t begin, std::int64_t end, float* scratch) {
          for (std::int64_t i = begin; i < end; ++i) {
            const std::int64_t first = i / groups * block_tiles, channel = i % groups * group;
            body(WinogradItem{first, std::min(block_tiles, tiles - first), channel,
                              std::min(channel + group, a.out_channels)},
                 scratch);
          }
        });
  }
};
