// SPDX-License-Identifier: Apache-2.0
// Winograd's convolution by a 3 x 3 kernel at stride 1, float32, channels last; dilated too.
//
//   y[n, p, o] = activation(sum_{i, r} weight[o, i, r] x[n, p + r dilation - padding, i]
//                           + bias[o] + residual[n, p, o])
//
// A tile is 4 x 4 (3 x 3, 2 x 2) outputs of one phase, which lie a dilation apart, and the 6 x 6 (5
// x 5, 4 x 4) inputs that they read. With the matrices of native/winograd_transforms.h, a block of
// tiles is
//
//   V = B x B^T           each tile and channel          [position][tile][channel]
//   M = V U               a matrix product for each of the 36 (25, 16) positions, see gemm.h
//   y = A M A^T           each tile and output channel   [position][tile][channel of the chunk]
//
// and its y is finished before the next block begins. 2.25 (F3: 3.24, F4: 4) times fewer
// multiply-adds than the sum above, and more rounding: see the folder's README.
//
// Bound by the multiply-adds of the product; where the weights U outgrow the cache (F4: from 400
// channels) and tiles are few, by reading U once for each block.
#include "convs/standard/winograd_tiles.kernel.h"

// Output channels whose M is formed before it is turned to y: it stays in the second cache.
constexpr std::int64_t kWinogradChunk = 64;
static_assert(kWinogradChunk % kPanel == 0);

// From one position of V or M to the next there is a cache line more than its tiles take: a power
// of two would put all positions of a tile into the same few places of the first cache.
constexpr std::int64_t kWinogradGap = 16;

// A run of items; `pitch` is the floats of one position.
struct WinogradRange {
  std::int64_t first, count, pitch;
};

template <class Transforms>
struct WinogradConv2d : WinogradTiles<Transforms> {
  using Tiles = WinogradTiles<Transforms>;
  using Tiles::a, Tiles::kPositions, Tiles::kSide, Tiles::panels, Tiles::whole_channels;

  const bool comes_from_memory = !are_kept(kPositions * panels * kPanel * a.channels);  // U

  std::int64_t input_floats(std::int64_t tiles) const {
    return tiles * whole_channels + kWinogradGap;
  }
  static std::int64_t product_floats(std::int64_t tiles) {
    return tiles * kWinogradChunk + kWinogradGap;
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
              block.count, [&](std::int64_t t) { return v + t * whole_channels + depth.begin; },
              kPanel, panel + depth.begin * kPanel, 0, depth, output, upcoming);
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

  // A block of tiles, through to y, for some of the output channels.
  void run_item(const WinogradItem& item, float* scratch) const {
    const WinogradRange block{item.first, item.count, input_floats(item.count)};
    float* const zeros = scratch;
    float* const v = zeros + whole_channels;
    float* const m = v + kPositions * block.pitch;
    std::fill_n(zeros, whole_channels, 0.0f);
    // What lambdas hold they hold by value: stores to V might change what is behind a reference.
    Tiles::transform_inputs(item, zeros,
                            [v, pitch = block.pitch, tile_pitch = whole_channels](
                                int i, int j, std::int64_t t, std::int64_t c)
                                __attribute__((always_inline)) {
                                  return v + (i * kSide + j) * pitch + t * tile_pitch + c;
                                });
    for (std::int64_t c = item.channel; c < item.end_channel; c += kWinogradChunk) {
      const WinogradRange chunk{c, std::min(kWinogradChunk, item.end_channel - c),
                                product_floats(item.count)};
      multiply(block, v, chunk, m);
      Tiles::transform_outputs(
          {item.first, item.count, c, c + chunk.count},
          [m, pitch = chunk.pitch](int i, int j, std::int64_t t, std::int64_t from)
              __attribute__((always_inline)) {
                return load(m + (i * kSide + j) * pitch + t * kWinogradChunk + from);
              });
    }
  }

  Status run() const {
    return Tiles::for_items(
        [&](std::int64_t tiles) {
          return whole_channels + kPositions * (input_floats(tiles) + product_floats(tiles));
        },
        [&](const WinogradItem& item, float* scratch) { run_item(item, scratch); });
  }
};

// Calls body(transforms) for tiles of so many outputs a side; 1 says pairs.
template <class Body>
Status with_winograd(std::int64_t tile, const Body& body) {
  if (tile == 1) return body(WinogradPairs{});
  if (tile == Winograd2::kOutputs) return body(Winograd2{});
  if (tile == Winograd3::kOutputs) return body(Winograd3{});
  return tile == Winograd4::kOutputs ? body(Winograd4{}) : Status::bad_sizes;
}

inline Status winograd_conv2d(const WinogradConv2dArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  if (a.tile == 1 && !(WinogradPairs::serve(a.height, a.out_h, a.top, a.dilation_h) &&
                       WinogradPairs::serve(a.width, a.out_w, a.left, a.dilation_w)))
    return Status::bad_sizes;
  return with_winograd(
      a.tile, [&](auto transforms) { return WinogradConv2d<decltype(transforms)>{{a}}.run(); });
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
  return with_winograd(a.tile,
                       [&](auto transforms) { return pack_winograd<decltype(transforms)>(a); });
}
