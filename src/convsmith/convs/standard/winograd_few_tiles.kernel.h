// SPDX-License-Identifier: Apache-2.0
// Winograd's convolution where tiles are few, as on the small maps at a network's end: F(4x4, 3x3)
// with U = G weight G^T made in registers.
//
// Four times as large as the weights, U is what such a layer would spend its time to read. Here the
// weights are read, once for each block of tiles, and each vector of U is multiplied by a few tiles
// as soon as it is made, for a row of positions, or half of it, at a time:
//
//   for a panel, a block of depth, a row i of positions, a group of tiles
//     for each channel of the block
//       h_s = sum_r G[i, r] weight[r, s]        three vectors; stored, if the row is used again
//       u_j = sum_s G[j, s] h_s                 vector after vector
//       M[i, j, tile] += V[i, j, tile] u_j      24 sums in registers (12, where they are 16)
//
// G goes without its divisors, by which M is multiplied at the end. The sums of a block of depth
// wait in M, which stays in the first cache, as do the weights of the block.
//
// A third more operations than the products alone; bound by them, and by reading the weights where
// one group holds all tiles.
#include "convs/standard/winograd.kernel.h"

// Channels of a block of depth: its weights take 9 KB for each vector of output channels.
constexpr std::int64_t kFewTilesDepth = 16;

// What comes next from memory, fetched a few lines for each channel of a block.
struct FewTilesAhead {
  const float* weights;
  std::int64_t lines;
};

template <int num_positions, int num_tiles>
struct WinogradFewTiles : WinogradTiles<Winograd4> {
  static constexpr int kTaps = Winograd4::kTaps;
  static constexpr int kParts = kSide / num_positions;  // of a row of positions
  static constexpr bool kKeepsRows = kParts > 1;
  static constexpr std::int64_t kDepth = kFewTilesDepth;

  // Floats of V and of M for a group of tiles and a part of a row: [position][tile][...]
  static constexpr std::int64_t kInputs = num_positions * num_tiles * kDepth;
  static constexpr std::int64_t kSums = num_positions * num_tiles * kLanes;

  // Where a group's V and M begin, in units of the above.
  static std::int64_t group_at(int i, int j, std::int64_t tile, std::int64_t groups) {
    return (i * kParts + j / num_positions) * groups + tile / num_tiles;
  }
  static std::int64_t in_group(int j, std::int64_t tile) {
    return j % num_positions * num_tiles + tile % num_tiles;
  }

  // Row i of G, without its divisor, times the kernel of one channel.
  template <int i>
  [[gnu::always_inline]] static void transform_taps(const float* weights, Vec (&h)[kTaps]) {
#pragma GCC unroll 8
    for (int s = 0; s < kTaps; ++s) {
      Vec column[kTaps];
#pragma GCC unroll 8
      for (int r = 0; r < kTaps; ++r) column[r] = load(weights + (r * kTaps + s) * kPanel);
      h[s] = combine<Winograd4::kPowers, i>(column);
    }
  }

  template <int i>
  [[gnu::noinline]] static void keep_row(const float* weights, std::int64_t depth, float* kept) {
    for (std::int64_t k = 0; k < depth; ++k, weights += kTaps * kTaps * kPanel) {
      Vec h[kTaps];
      transform_taps<i>(weights, h);
      for (int s = 0; s < kTaps; ++s, kept += kLanes) store(kept, h[s]);
    }
  }

  // m += V U for one group and one part of row i, over a block of depth. `from` are its weights, or
  // its kept row.
  template <int i, int part>
  [[gnu::noinline]] static void add_products(const float* from, const float* v, std::int64_t depth,
                                             bool is_first, float* m, FewTilesAhead ahead) {
    Vec sums[num_positions][num_tiles];
#pragma GCC unroll 8
    for (int j = 0; j < num_positions; ++j)
#pragma GCC unroll 8
      for (int t = 0; t < num_tiles; ++t)
        sums[j][t] = is_first ? zero() : load(m + (j * num_tiles + t) * kLanes);

    for (std::int64_t k = 0; k < depth; ++k, ++v) {
      __builtin_prefetch(v + kInputs + k * (kLine - 1));  // of the next group
      for (std::int64_t l = 0; l < ahead.lines; ++l, ahead.weights += kLine)
        __builtin_prefetch(ahead.weights, 0, 2);

      Vec h[kTaps];
      if constexpr (kKeepsRows) {
#pragma GCC unroll 8
        for (int s = 0; s < kTaps; ++s) h[s] = load(from + s * kLanes);
        from += kTaps * kLanes;
      } else {
        transform_taps<i>(from, h);
        from += kTaps * kTaps * kPanel;
      }
      Winograd4::for_kernel_rows<part * num_positions, num_positions>(
          h, [&](int position, Vec u) __attribute__((always_inline)) {
            const int j = position - part * num_positions;
#pragma GCC unroll 8
            for (int t = 0; t < num_tiles; ++t)
              sums[j][t] = mul_add(broadcast(v[(j * num_tiles + t) * kDepth]), u, sums[j][t]);
          });
    }

#pragma GCC unroll 8
    for (int j = 0; j < num_positions; ++j)
#pragma GCC unroll 8
      for (int t = 0; t < num_tiles; ++t) store(m + (j * num_tiles + t) * kLanes, sums[j][t]);
  }

  // m += V U for one vector of output channels and a block of depth; `ahead` moves on.
  void multiply(const float* weights, const float* v, std::int64_t depth, bool is_first,
                std::int64_t groups, float* kept, float* m, FewTilesAhead& ahead) const {
    for_constants<kSide>([&]<int i>(std::integral_constant<int, i>) {
      if constexpr (kKeepsRows) keep_row<i>(weights, depth, kept);
      for_constants<kParts>([&]<int part>(std::integral_constant<int, part>) {
        for (std::int64_t g = 0; g < groups; ++g, v += kInputs, m += kSums) {
          // One function for all rows that are kept.
          add_products<kKeepsRows ? 0 : i, part>(kKeepsRows ? kept : weights, v, depth, is_first, m,
                                                 ahead);
          ahead.weights += ahead.lines * depth * kLine;
        }
      });
    });
  }

  std::int64_t groups_of(std::int64_t tiles) const { return divide_up(tiles, num_tiles); }
  std::int64_t input_floats(std::int64_t tiles) const {
    return divide_up(a.channels, kDepth) * kSide * kParts * groups_of(tiles) * kInputs;
  }
  std::int64_t product_floats(std::int64_t tiles) const {
    return kSide * kParts * groups_of(tiles) * kSums;
  }

  void run_item(const WinogradItem& item, float* scratch) const {
    const std::int64_t groups = groups_of(item.count);
    const std::int64_t v_floats = input_floats(item.count), m_floats = product_floats(item.count);
    float* const zeros = scratch;
    float* const kept = zeros + whole_channels;
    float* const v = kept + kTaps * kLanes * kDepth;
    float* const m = v + v_floats;
    std::fill_n(zeros, whole_channels, 0.0f);
    if (item.count % num_tiles != 0) std::fill_n(v, v_floats, 0.0f);
    const std::int64_t block_floats = kSide * kParts * groups * kInputs;
    transform_inputs(item, zeros,
                     [v, block_floats, groups](int i, int j, std::int64_t t, std::int64_t c)
                         __attribute__((always_inline)) {
                           return v + c / kDepth * block_floats +
                                  group_at(i, j, t, groups) * kInputs + in_group(j, t) * kDepth +
                                  c % kDepth;
                         });

    constexpr std::int64_t kWeights = kTaps * kTaps * kPanel;  // of a panel and channel
    constexpr std::int64_t kVectors = kPanel / kLanes;
    for (std::int64_t channel = item.channel; channel < item.end_channel; channel += kPanel) {
      const float* const panel = a.weight + channel * a.channels * kTaps * kTaps;
      for (std::int64_t c = 0; c < a.channels; c += kDepth) {
        const std::int64_t depth = std::min(kDepth, a.channels - c);
        const float* const weights = panel + c * kWeights;
        FewTilesAhead ahead{weights + depth * kWeights,
                            divide_up(kWeights / kLine, kVectors * kSide * kParts * groups)};
        for (std::int64_t vector = 0; vector < kVectors; ++vector)
          multiply(weights + vector * kLanes, v + c / kDepth * block_floats, depth, c == 0, groups,
                   kept, m + vector * m_floats, ahead);
      }
      for (std::int64_t vector = 0; vector < kVectors; ++vector) {
        const std::int64_t first = channel + vector * kLanes;
        if (first >= item.end_channel) break;
        transform_outputs(
            {item.first, item.count, first, std::min(first + kLanes, item.end_channel)},
            [from = m + vector * m_floats, groups](int i, int j, std::int64_t t, std::int64_t)
                __attribute__((always_inline)) {
                  return load(from + group_at(i, j, t, groups) * kSums + in_group(j, t) * kLanes) *
                         (Winograd4::divisor(i) * Winograd4::divisor(j));
                });
      }
    }
  }

  Status run() const {
    return for_items(
        [&](std::int64_t tiles) {
          return whole_channels + kTaps * kLanes * kDepth + input_floats(tiles) +
                 kPanel / kLanes * product_floats(tiles);
        },
        [&](const WinogradItem& item, float* scratch) { run_item(item, scratch); });
  }
};

// The same convolution; its weights are panels of (channel, tap), its tiles 4 x 4.
inline Status winograd_few_tiles(const WinogradConv2dArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  if (a.tile != Winograd4::kOutputs) return Status::bad_sizes;
  if constexpr (kLanes == 16) {
    const WinogradFewTiles<6, 4> whole_rows{{a}};
    return whole_rows.tiles <= 4 ? whole_rows.run() : WinogradFewTiles<3, 8>{{a}}.run();
  } else {
    return WinogradFewTiles<3, 4>{{a}}.run();
  }
}
