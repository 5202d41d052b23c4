// SPDX-License-Identifier: Apache-2.0
// Winograd's convolution by a 3 x 3 kernel at stride 1, float32, channels last; dilated too.
//
//   y[n, p, o] = activation(sum_{i, r} weight[o, i, r] x[n, p + r dilation - padding, i]
//                           + bias[o] + residual[n, p, o])
//
// A tile is 4 x 4 (or 2 x 2) outputs of one phase, which lie a dilation apart, and the 6 x 6 (4 x
// 4) inputs that they read. With the matrices of winograd_transforms.kernel.h, a block of tiles is
//
//   V = B x B^T           each tile and channel          [position][tile][channel]
//   M = V U               a matrix product for each of the 36 (16) positions, see gemm.h
//   y = A M A^T           each tile and output channel   [position][tile][channel of the chunk]
//
// and its y is finished before the next block begins. 2.25 (F4: 4) times fewer multiply-adds than
// the sum above, and more rounding: see the folder's README.
//
// Bound by the multiply-adds of the product; where the weights U outgrow the cache (F4: from 400
// channels) and tiles are few, by reading U once for each block.
#include "convs/standard/winograd_transforms.kernel.h"

struct WinogradConv2dArgs {
  const float* x;
  const float* weight;    // as winograd_pack leaves it
  const float* bias;      // (out_channels), or null
  const float* residual;  // as y, or null
  float* y;               // (n, out_h, out_w, out_channels); overlaps none of the others
  std::int64_t n, channels, out_channels, height, width;
  std::int64_t stride_n, stride_h, stride_w;  // of x, whose channels lie side by side
  std::int64_t out_h, out_w, top, left, dilation_h, dilation_w;
  std::int64_t tile;  // outputs along each side: 2 or 4
  std::int64_t activation;
  std::int64_t num_threads;
};

// Tiles of a block: U is read once for all of them.
constexpr std::int64_t kWinogradTiles = 64;

// Floats of V at most, 4 MB, where channels are many.
constexpr std::int64_t kWinogradInputs = 1 << 20;

// Output channels whose M is formed before it is turned to y: it stays in the second cache.
constexpr std::int64_t kWinogradChunk = 64;
static_assert(kWinogradChunk % kPanel == 0);

// From one position of V or M to the next there is a cache line more than its tiles take: a power
// of two would put all positions of a tile into the same few places of the first cache.
constexpr std::int64_t kWinogradGap = 16;

inline Status check(const WinogradConv2dArgs& a) {
  for (std::int64_t count : {a.n, a.channels, a.out_channels, a.height, a.width, a.stride_n,
                             a.stride_h, a.stride_w, a.out_h, a.out_w, a.top, a.left})
    if (count < 0) return Status::bad_sizes;
  if (a.dilation_h < 1 || a.dilation_w < 1 || (a.tile != 2 && a.tile != 4) || a.activation < 0 ||
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

// A run of items; `pitch` is the floats of one position.
struct WinogradRange {
  std::int64_t first, count, pitch;
};

template <class Transforms>
struct WinogradConv2d {
  static constexpr int kTile = Transforms::kOutputs, kSide = Transforms::kInputs;
  static constexpr int kPositions = kSide * kSide;

  const WinogradConv2dArgs& a;
  const WinogradAxis rows{a.out_h, a.dilation_h, kTile}, columns{a.out_w, a.dilation_w, kTile};
  const std::int64_t image_tiles = rows.num_tiles() * columns.num_tiles();
  const std::int64_t tiles = a.n * image_tiles;
  const std::int64_t tile_pitch = divide_up(a.channels, kLanes) * kLanes;  // in V
  const std::int64_t panels = divide_up(a.out_channels, kPanel);
  const bool comes_from_memory = !are_kept(kPositions * panels * kPanel * a.channels);  // U

  struct Place {
    std::int64_t image, row, column;  // of the first output
  };

  Place place(std::int64_t tile) const {
    const std::int64_t in_image = tile % image_tiles;
    return {tile / image_tiles, rows.first_output(in_image / columns.num_tiles()),
            columns.first_output(in_image % columns.num_tiles())};
  }

  std::int64_t input_floats(std::int64_t tiles) const { return tiles * tile_pitch + kWinogradGap; }
  static std::int64_t product_floats(std::int64_t tiles) {
    return tiles * kWinogradChunk + kWinogradGap;
  }

  // V of a block. Pixels outside of the image lie in `zeros`.
  void transform_inputs(const WinogradRange& block, const float* zeros, float* v) const {
    for (std::int64_t t = 0; t < block.count; ++t, v += tile_pitch) {
      const Place at = place(block.first + t);
      const float* pixels[kSide][kSide];
      for (int i = 0; i < kSide; ++i) {
        const std::int64_t row = at.row - a.top + i * a.dilation_h;
        for (int j = 0; j < kSide; ++j) {
          const std::int64_t column = at.column - a.left + j * a.dilation_w;
          const bool is_inside = row >= 0 && row < a.height && column >= 0 && column < a.width;
          pixels[i][j] = is_inside
                             ? a.x + at.image * a.stride_n + row * a.stride_h + column * a.stride_w
                             : zeros;
        }
      }
      std::int64_t c = 0;
      for (; c + kLanes <= a.channels; c += kLanes) {
        // The columns that the next tile adds to these; on large maps they come from memory.
        for (int i = 0; i < kSide; ++i)
          for (int j = kSide - kTile; j < kSide; ++j)
            __builtin_prefetch(pixels[i][j] + kTile * a.dilation_w * a.stride_w + c);
        transform_pixels([&](int i, int j) { return load(pixels[i][j] + c); }, v + c, block.pitch);
      }
      if (const std::int64_t left = a.channels - c; left > 0)
        transform_pixels([&](int i, int j) { return load_up_to(pixels[i][j] + c, left); }, v + c,
                         block.pitch);
    }
  }

  template <class LoadPixel>
  [[gnu::always_inline]] static void transform_pixels(const LoadPixel& load_pixel, float* v,
                                                      std::int64_t pitch) {
    Vec half[kSide][kSide];
#pragma GCC unroll 8
    for (int j = 0; j < kSide; ++j) {
      Vec in[kSide], out[kSide];
#pragma GCC unroll 8
      for (int i = 0; i < kSide; ++i) in[i] = load_pixel(i, j);
      Transforms::transform_input(in, out);
#pragma GCC unroll 8
      for (int i = 0; i < kSide; ++i) half[i][j] = out[i];
    }
#pragma GCC unroll 8
    for (int i = 0; i < kSide; ++i) {
      Vec out[kSide];
      Transforms::transform_input(half[i], out);
#pragma GCC unroll 8
      for (int j = 0; j < kSide; ++j) store(v + (i * kSide + j) * pitch, out[j]);
    }
  }

  // M of a block and a chunk: one product for each position, panel after panel, as U lies.
  void multiply(const WinogradRange& block, const float* v, const WinogradRange& chunk,
                float* m) const {
    for (std::int64_t p = 0; p < kPositions; ++p, v += block.pitch, m += chunk.pitch)
      for (std::int64_t c = 0; c < chunk.count; c += kPanel) {
        const float* panel = panel_at(p, chunk.first + c);
        const Output output{m + c, kWinogradChunk, nullptr, nullptr, nullptr, Activation::none};
        for_depth_blocks(a.channels, [&](const DepthBlock& depth) {
          const float* upcoming = nullptr;
          if (comes_from_memory)
            upcoming = depth.is_last() ? panel_after(p, c, chunk) : panel + depth.end * kPanel;
          multiply_block(
              block.count, [&](std::int64_t t) { return v + t * tile_pitch + depth.begin; }, kPanel,
              panel + depth.begin * kPanel, 0, depth, output, upcoming);
        });
      }
  }

  const float* panel_at(std::int64_t position, std::int64_t channel) const {
    return a.weight + (position * panels + channel / kPanel) * a.channels * kPanel;
  }

  // Null behind the last one of a chunk.
  const float* panel_after(std::int64_t position, std::int64_t c,
                           const WinogradRange& chunk) const {
    if (c + kPanel < chunk.count) return panel_at(position, chunk.first + c + kPanel);
    return position + 1 < kPositions ? panel_at(position + 1, chunk.first) : nullptr;
  }

  void transform_outputs(const WinogradRange& block, const WinogradRange& chunk,
                         const float* m) const {
    with_activation(static_cast<Activation>(a.activation), [&](auto activation) {
      for (std::int64_t t = 0; t < block.count; ++t) {
        const Place at = place(block.first + t);
        for (std::int64_t c = 0; c < chunk.count; c += kLanes) {
          Vec sums[kTile][kTile];
          transform_products(m + t * kWinogradChunk + c, chunk.pitch, sums);
          if (c + kLanes <= chunk.count)
            finish<activation(), true>(sums, at, chunk.first + c, kLanes);
          else
            finish<activation(), false>(sums, at, chunk.first + c, chunk.count - c);
        }
      }
    });
  }

  [[gnu::noinline]] static void transform_products(const float* m, std::int64_t pitch,
                                                   Vec (&sums)[kTile][kTile]) {
    Vec half[kTile][kSide];
#pragma GCC unroll 8
    for (int j = 0; j < kSide; ++j) {
      Vec in[kSide], out[kTile];
#pragma GCC unroll 8
      for (int i = 0; i < kSide; ++i) in[i] = load(m + (i * kSide + j) * pitch);
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

  // A block of tiles, through to y, for some of the output channels.
  void run_block(std::int64_t first, std::int64_t count, std::int64_t channel,
                 std::int64_t end_channel, float* scratch) const {
    const WinogradRange block{first, count, input_floats(count)};
    float* const zeros = scratch;
    float* const v = zeros + tile_pitch;
    float* const m = v + kPositions * block.pitch;
    std::fill_n(zeros, tile_pitch, 0.0f);
    transform_inputs(block, zeros, v);
    for (; channel < end_channel; channel += kWinogradChunk) {
      const WinogradRange chunk{channel, std::min(kWinogradChunk, end_channel - channel),
                                product_floats(count)};
      multiply(block, v, chunk, m);
      transform_outputs(block, chunk, m);
    }
  }

  std::int64_t num_blocks() const {
    const std::int64_t most = std::clamp<std::int64_t>(
        kWinogradInputs / kPositions / std::max<std::int64_t>(tile_pitch, 1), kTileRows,
        kWinogradTiles);
    const std::int64_t needed = divide_up(tiles, most);
    if (needed >= a.num_threads) return divide_up(needed, a.num_threads) * a.num_threads;
    // Too few for the threads: smaller blocks read U once more each, and shared output channels
    // form V once more each, which costs several times as much for each float.
    if (a.out_channels > 4 * tiles) return needed;
    return std::max(needed, std::min(a.num_threads, divide_up(tiles, kTileRows)));
  }

  Status run() const {
    if (tiles == 0 || a.out_channels == 0) return Status::ok;
    const std::int64_t block_tiles = divide_up(tiles, num_blocks());
    const std::int64_t blocks = divide_up(tiles, block_tiles);
    const std::int64_t wanted = std::min(panels, divide_up(a.num_threads, blocks));
    const std::int64_t group = divide_up(panels, wanted) * kPanel;
    const std::int64_t groups = divide_up(a.out_channels, group);

    std::atomic<bool> have_memory = true;
    parallel_for(blocks * groups, kPositions * block_tiles * a.channels * group, a.num_threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   const Scratch scratch(tile_pitch + kPositions * (input_floats(block_tiles) +
                                                                    product_floats(block_tiles)));
                   if (!scratch.floats()) {
                     have_memory = false;
                     return;
                   }
                   for (std::int64_t item = begin; item < end; ++item) {
                     const std::int64_t first = item / groups * block_tiles;
                     const std::int64_t channel = item % groups * group;
                     run_block(first, std::min(block_tiles, tiles - first), channel,
                               std::min(channel + group, a.out_channels), scratch.floats());
                   }
                 });
    return have_memory ? Status::ok : Status::no_memory;
  }
};

inline Status winograd_conv2d(const WinogradConv2dArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  return a.tile == 2 ? WinogradConv2d<Winograd2>{a}.run() : WinogradConv2d<Winograd4>{a}.run();
}

// Weights as this target's winograd_conv2d reads them: U = G weight G^T in double, rounded once.
struct WinogradPackArgs {
  const float* weight;  // (out_channels, channels, 3, 3), contiguous
  float* packed;        // [position][panel][channel][kPanel], zeros beyond the last output channel
  std::int64_t out_channels, channels;
  std::int64_t tile;
  std::int64_t num_threads;
};

template <class Transforms>
Status pack_winograd(const WinogradPackArgs& a) {
  constexpr int kSide = Transforms::kInputs, kTaps = Transforms::kTaps;
  const std::int64_t panels = divide_up(a.out_channels, kPanel);
  std::int64_t bytes;
  if (!product_fits(bytes, std::int64_t{kSide * kSide * sizeof(float)}, panels, a.channels, kPanel))
    return Status::overflow;
  const auto pack = [&](std::int64_t begin, std::int64_t end) {
    double g[kSide][kTaps];
    for (int i = 0; i < kSide; ++i)
      for (int t = 0; t < kTaps; ++t) g[i][t] = static_cast<double>(Transforms::kKernel.at[i][t]);
    for (std::int64_t panel = begin; panel < end; ++panel)
      for (std::int64_t at = 0; at < a.channels * kPanel; ++at) {
        const std::int64_t c = at / kPanel, o = panel * kPanel + at % kPanel;
        const float* taps = a.weight + (o * a.channels + c) * kTaps * kTaps;
        double half[kSide][kTaps] = {};
        if (o < a.out_channels)
          for (int i = 0; i < kSide; ++i)
            for (int t = 0; t < kTaps * kTaps; ++t) half[i][t % kTaps] += g[i][t / kTaps] * taps[t];
        for (int p = 0; p < kSide * kSide; ++p) {
          double sum = 0;
          for (int t = 0; t < kTaps; ++t) sum += half[p / kSide][t] * g[p % kSide][t];
          a.packed[(p * panels + panel) * a.channels * kPanel + at] = static_cast<float>(sum);
        }
      }
  };
  parallel_for(panels, a.channels * kPanel * kSide * kSide * kTaps, a.num_threads, pack);
  return Status::ok;
}

inline Status winograd_pack(const WinogradPackArgs& a) {
  if (a.out_channels < 0 || a.channels < 0) return Status::bad_sizes;
  if (a.tile == 2) return pack_winograd<Winograd2>(a);
  if (a.tile == 4) return pack_winograd<Winograd4>(a);
  return Status::bad_sizes;
}
