// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution for inference, float32, any strides of the input:
//
//   y[n, o, i, j] = act(bias[o] + residual[n, o, i, j] + sum_{r,s} weight[o, r, s]
//       * x[n, o / multiplier, i*stride_h + r*dilation_h - top, j*stride_w + s*dilation_w - left])
//
// The sum starts at zero and runs over the taps that read the image, in the order of r, then s,
// whatever the target, the layout and the number of threads; the bias and the residual are added
// last. Taps that meet padding are skipped, so an infinite weight does no harm there.
//
// Vectors lie along channels. Where the channels lie side by side in memory, there is one filter
// a channel and the kernel is small, whole blocks of kLanes channels are read in place: a strip of
// columns runs through all blocks while its rows are in the first cache; so are two filters a
// channel where they are 3 wide, each channel loaded twice over. Every other case gathers
// a tile of one block into scratch first, pixel after pixel: contiguous images, the last channels,
// several filters a channel, and large kernels, whose rows would fall on few sets of the cache when
// read in place. Small kernels are bound by the second cache and memory, large ones by loads.
#include "convs/depthwise/depthwise_gather.kernel.h"
#include "convs/depthwise/depthwise_tile.kernel.h"
#include "convs/depthwise/depthwise_whole_map.kernel.h"

struct DepthwiseConv2dArgs {
  const float* x;         // (n, c, h, w), strides below
  const float* weights;   // [block][tap][kLanes], as depthwise_pack writes them
  const float* bias;      // (c * multiplier,), or null
  const float* residual;  // like y, which then lies in channels last; or null
  float* y;               // (n, c * multiplier, out_h, out_w), channels last or contiguous
  std::int64_t n, c, h, w, stride_n, stride_c, stride_y, stride_x;  // strides of x, in floats
  std::int64_t multiplier, kernel_h, kernel_w, out_h, out_w;
  std::int64_t stride_h, stride_w, top, left, dilation_h, dilation_w;
  std::int64_t channels_last;  // 1 or 0: how y lies in memory
  std::int64_t activation;
  std::int64_t num_threads;
};

// From here on taps are so many that a tile is read often enough to pay for gathering it.
constexpr std::int64_t kManyTaps = 65;

// Floats of one gathered tile: a part of the second cache.
constexpr std::int64_t kTileFloats = 16384;
constexpr std::int64_t kTileColumns = 112;
constexpr std::int64_t kDeepTileColumns = 14;  // of all blocks together

inline Status check(const DepthwiseConv2dArgs& a) {
  for (std::int64_t count : {a.n, a.c, a.h, a.w, a.out_h, a.out_w, a.top, a.left})
    if (count < 0) return Status::bad_sizes;
  for (std::int64_t step :
       {a.multiplier, a.kernel_h, a.kernel_w, a.stride_h, a.stride_w, a.dilation_h, a.dilation_w})
    if (step < 1) return Status::bad_sizes;
  if (a.residual && !a.channels_last) return Status::bad_sizes;
  if (a.activation < 0 || a.activation >= kNumActivations) return Status::bad_sizes;

  const std::int64_t float_size = sizeof(float), lanes = kLanes;
  std::int64_t bytes;
  const bool fits =
      product_fits(bytes, float_size, lanes, a.n, a.c, a.h, a.w) &&
      product_fits(bytes, float_size, lanes, a.n, a.c, a.multiplier, a.out_h, a.out_w) &&
      product_fits(bytes, float_size, lanes, a.c, a.multiplier, a.kernel_h, a.kernel_w) &&
      positions_fit(a.h, a.out_h, a.stride_h, a.top, a.kernel_h, a.dilation_h) &&
      positions_fit(a.w, a.out_w, a.stride_w, a.left, a.kernel_w, a.dilation_w);
  return fits ? Status::ok : Status::overflow;
}

// Whether every output's window covers the image, whose rows fit the tiles that rely on it.
inline bool covers_the_image(const DepthwiseConv2dArgs& a) {
  const auto covers = [](std::int64_t size, std::int64_t out, std::int64_t before,
                         std::int64_t kernel) {
    return size == out && size <= before + 1 && size <= kernel - before;
  };
  return a.stride_h == 1 && a.stride_w == 1 && a.dilation_h == 1 && a.dilation_w == 1 &&
         a.kernel_h * a.kernel_w >= kManyTaps && a.w <= DepthwiseWholeRows::kMaxColumns &&
         covers(a.h, a.out_h, a.top, a.kernel_h) && covers(a.w, a.out_w, a.left, a.kernel_w);
}

// Which outputs share a register tile: rows i and i + row_step, columns j, j + column_step, ...
struct DepthwisePlan {
  DepthwiseTileKind tile;
  std::int64_t rows = 1, row_step = 1, column_step = 1;
  std::int64_t lower_taps = 0;

  // Of rows half an image apart.
  static DepthwisePlan of_halves(const DepthwiseConv2dArgs& a) {
    DepthwisePlan plan(tile_kind<DepthwiseHalves>());
    plan.rows = 2;
    plan.row_step = plan.lower_taps = a.h / 2;
    return plan;
  }

  explicit DepthwisePlan(DepthwiseTileKind tile) : tile(tile) {}

  explicit DepthwisePlan(const DepthwiseConv2dArgs& a) : tile(choose(a)) {
    if (tile.run == tile_kind<DepthwiseByTaps>().run ||
        tile.run == tile_kind<DepthwiseWholeRows>().run)
      return;
    column_step = a.stride_w == 1 ? a.dilation_w : 1;
    if (a.stride_h > 1 && a.dilation_h > 1) return;
    rows = 2;
    row_step = a.dilation_h;
    lower_taps = a.stride_h;
  }

  static DepthwiseTileKind choose(const DepthwiseConv2dArgs& a) {
    if (a.stride_w == 1) {
      if (a.kernel_w == 3) return tile_kind<DepthwiseSliding<3, 1>>();
      if (a.kernel_w == 5) return tile_kind<DepthwiseSliding<5, 1>>();
      if (a.kernel_w == 7) return tile_kind<DepthwiseSliding<7, 1>>();
      if (covers_the_image(a)) return tile_kind<DepthwiseWholeRows>();
      if (a.dilation_w == 1 && a.kernel_h * a.kernel_w >= kManyTaps &&
          a.w >= a.kernel_w + DepthwiseLarge::kMaxColumns)
        return tile_kind<DepthwiseLarge>();
      if (a.kernel_w > 2 * DepthwiseSlidingWide::kMaxColumns)
        return tile_kind<DepthwiseSlidingWide>();
    }
    if (a.stride_w == 2 && a.dilation_w == 1) {
      if (a.kernel_w == 3) return tile_kind<DepthwiseSliding<3, 2>>();
      if (a.kernel_w == 5) return tile_kind<DepthwiseSliding<5, 2>>();
    }
    return tile_kind<DepthwiseByTaps>();
  }

  // The tile that reads the image where it lies, or none.
  DepthwiseTileKind in_place(const DepthwiseConv2dArgs& a) const {
    if (a.stride_c != 1 || !a.channels_last || a.kernel_h * a.kernel_w >= kManyTaps) return {};
    if (a.multiplier == 1) return tile;
    if (a.multiplier != 2) return {};
    if (tile.run == tile_kind<DepthwiseSliding<3, 1>>().run)
      return tile_kind<DepthwiseSliding<3, 1, 2>>();
    if (tile.run == tile_kind<DepthwiseSliding<3, 2>>().run)
      return tile_kind<DepthwiseSliding<3, 2, 2>>();
    return {};
  }

  // Rows of outputs in groups that share their tiles; the last ones may be empty.
  std::int64_t groups(std::int64_t out_rows) const {
    return divide_up(out_rows, rows * row_step) * row_step;
  }
  std::int64_t first_row(std::int64_t group) const {
    return group / row_step * rows * row_step + group % row_step;
  }
};

struct DepthwiseConv2d {
  const DepthwiseConv2dArgs& a;
  const DepthwisePlan plan;
  const DepthwiseTileKind tile_in_place = plan.in_place(a);
  const std::int64_t filters = a.c * a.multiplier;
  const std::int64_t taps = a.kernel_h * a.kernel_w;
  const std::int64_t out_channel_stride = a.channels_last ? 1 : a.out_h * a.out_w;
  const std::int64_t out_column_stride = a.channels_last ? filters : 1;

  std::int64_t blocks_in_place() const { return tile_in_place.run ? filters / kLanes : 0; }

  // From output (i, j) of a channel on; none if the image has fewer rows.
  DepthwiseRow out(std::int64_t n, std::int64_t channel, std::int64_t i, std::int64_t j) const {
    if (i >= a.out_h) return {};
    return DepthwiseRow{a.y, a.residual} +
           (n * filters * a.out_h * a.out_w + channel * out_channel_stride +
            (i * a.out_w + j) * out_column_stride);
  }

  // Of the blocks from this one on; the last one's may not fill a vector and are copied to `room`.
  const float* biases(std::int64_t block, float (&room)[kLanes]) const {
    const std::int64_t first = block * kLanes, left = filters - first;
    if (!a.bias || left >= kLanes) return a.bias ? a.bias + first : nullptr;
    std::fill(std::copy_n(a.bias + first, left, room), room + kLanes, 0.0f);
    return room;
  }

  // Where the lanes of a block are read.
  DepthwiseLanes lanes_of(std::int64_t n, std::int64_t block) const {
    DepthwiseLanes lanes;
    const std::int64_t first = block * kLanes;
    lanes.row_stride = a.stride_y;
    lanes.column_stride = a.stride_x;
    for (std::int64_t lane = 0; lane < kLanes; ++lane) {
      const std::int64_t channel = std::min(first + lane, filters - 1) / a.multiplier;
      lanes.from[lane] = a.x + n * a.stride_n + channel * a.stride_c;
    }
    return lanes;
  }

  // Room for the sums of a row, kLanes to a pixel, and behind it its residual in the same way.
  DepthwiseRow copy_of(DepthwiseRow row, std::int64_t columns, std::int64_t channels,
                       float* room) const {
    if (!row) return {};
    if (!row.residual) return {room, nullptr};
    DepthwiseLanes lanes{.from = {}, .row_stride = 0, .column_stride = out_column_stride};
    for (std::int64_t lane = 0; lane < kLanes; ++lane)
      lanes.from[lane] = row.residual + std::min(lane, channels - 1);
    float* const residual = room + columns * kLanes;
    lanes.gather_row(0, 0, columns, residual);
    return {room, residual};
  }

  void scatter(const float* sums, std::int64_t columns, std::int64_t lanes, float* y) const {
    scatter_row(sums, columns, lanes, y, out_channel_stride, out_column_stride);
  }

  // One group of rows, `columns` wide, for the blocks [first_block, first_block + blocks), which
  // lie side by side in the image and in the output.
  void sum_rows(DepthwiseTileKind kind, const DepthwiseImage& image, std::int64_t first_row,
                std::int64_t first_column, std::int64_t columns, std::int64_t first_block,
                std::int64_t blocks, DepthwiseRow upper, DepthwiseRow lower,
                std::int64_t pitch) const {
    float room[kLanes];
    DepthwiseTile tile{.image = image,
                       .kernel_h = a.kernel_h,
                       .kernel_w = a.kernel_w,
                       .dilation_h = a.dilation_h,
                       .dilation_w = a.dilation_w,
                       .column_stride = a.stride_w,
                       .first_row = first_row,
                       .first_column = 0,
                       .lower_taps = plan.lower_taps,
                       .rows = steps_inside(first_row, a.dilation_h,
                                            a.kernel_h + (lower ? plan.lower_taps : 0), image.rows),
                       .activation = static_cast<Activation>(a.activation),
                       .blocks = blocks,
                       .weights = a.weights + first_block * taps * kLanes,
                       .bias = biases(first_block, room),
                       .upper = {},
                       .lower = {},
                       .to_pitch = plan.column_step * pitch};
    // The phases of a dilation pass side by side, so that they find each other's pixels in the
    // first cache.
    const std::int64_t step = plan.column_step, steps = divide_up(columns, step);
    const std::int64_t whole_phases = columns - (steps - 1) * step;  // the others are one shorter
    const std::int64_t tiles = divide_up(steps, kind.max_columns);
    const std::int64_t narrow = steps / tiles, wide_tiles = steps % tiles;
    for (std::int64_t t = 0, first = 0; t < tiles; ++t) {
      const std::int64_t most = narrow + (t < wide_tiles);
      for (std::int64_t phase = 0; phase < std::min(step, columns); ++phase) {
        const std::int64_t width = std::min(most, steps - (phase >= whole_phases) - first);
        if (width == 0) continue;
        const std::int64_t j = first * step + phase;
        tile.first_column = first_column + j * a.stride_w;
        tile.upper = upper + j * pitch;
        tile.lower = lower + j * pitch;
        kind.run[width - 1](tile);
      }
      first += most;
    }
  }

  // A group of output rows of image n in the blocks [0, blocks), read where they lie.
  void group_in_place(std::int64_t n, std::int64_t group, std::int64_t blocks) const {
    const std::int64_t i = plan.first_row(group);
    if (i >= a.out_h) return;
    const DepthwiseImage image{a.x + n * a.stride_n, a.h, a.w, a.stride_y, a.stride_x};
    const DepthwiseRow lower = plan.rows == 2 ? out(n, 0, i + plan.row_step, 0) : DepthwiseRow{};
    sum_rows(tile_in_place, image, i * a.stride_h - a.top, -a.left, a.out_w, 0, blocks,
             out(n, 0, i, 0), lower, out_column_stride);
  }
};

// The inputs [begin, end) that outputs [first, first + count) read along one axis.
struct DepthwiseReach {
  std::int64_t begin, end;

  DepthwiseReach(std::int64_t first, std::int64_t count, std::int64_t stride, std::int64_t before,
                 std::int64_t span, std::int64_t size)
      : begin(std::clamp<std::int64_t>(first * stride - before, 0, size)),
        end(std::clamp<std::int64_t>((first + count - 1) * stride - before + span, begin, size)) {}

  std::int64_t size() const { return end - begin; }
};

// Tiles of one block of channels, or of all of them where the image and the output have them side
// by side, gathered before they are summed.
struct DepthwiseTiles {
  const DepthwiseConv2d& conv;
  const DepthwiseConv2dArgs& a = conv.a;
  const std::int64_t first_block = conv.blocks_in_place();
  const std::int64_t blocks = divide_up(conv.filters, kLanes) - first_block;
  const std::int64_t depth = blocks_of_a_tile();
  const std::int64_t pixel = depth * kLanes;  // floats
  const std::int64_t span_h = (a.kernel_h - 1) * a.dilation_h + 1;
  const std::int64_t span_w = (a.kernel_w - 1) * a.dilation_w + 1;
  const std::int64_t tile_w = std::min(a.out_w, depth > 1 ? kDeepTileColumns : kTileColumns);
  const std::int64_t gathered_w = std::min(a.w, (tile_w - 1) * a.stride_w + span_w);
  const std::int64_t tile_h = rows_of_a_tile();
  const std::int64_t gathered_h = std::min(a.h, (tile_h - 1) * a.stride_h + span_h);
  const std::int64_t tiles_h = divide_up(a.out_h, tile_h);
  const std::int64_t tiles_w = divide_up(a.out_w, tile_w);

  std::int64_t count() const { return a.n * (blocks / depth) * tiles_h * tiles_w; }
  std::int64_t macs() const { return tile_h * tile_w * conv.taps * pixel; }
  std::int64_t scratch_floats() const { return (gathered_h * gathered_w + 4 * tile_w) * pixel; }

  std::int64_t blocks_of_a_tile() const {
    const bool together = a.multiplier > 1 && a.stride_c == 1 && a.channels_last &&
                          conv.taps < kManyTaps && conv.filters % kLanes == 0;
    return together ? blocks : 1;
  }

  // As many as fit, but enough that rows read by two tiles are the smaller part.
  std::int64_t rows_of_a_tile() const {
    const std::int64_t fit = kTileFloats / (std::max<std::int64_t>(gathered_w, 1) * pixel);
    const std::int64_t wanted = std::max(fit - span_h, 2 * span_h);
    return std::min(a.out_h, wanted / a.stride_h + 1);
  }

  void run(std::int64_t item, float* scratch) const {
    const std::int64_t j = item % tiles_w * tile_w;
    const std::int64_t i = item / tiles_w % tiles_h * tile_h;
    const std::int64_t block = item / (tiles_w * tiles_h) % (blocks / depth) * depth + first_block;
    const std::int64_t n = item / (tiles_w * tiles_h * (blocks / depth));
    const std::int64_t out_rows = std::min(tile_h, a.out_h - i);
    const std::int64_t out_columns = std::min(tile_w, a.out_w - j);
    const DepthwiseReach rows(i, out_rows, a.stride_h, a.top, span_h, a.h);
    const DepthwiseReach columns(j, out_columns, a.stride_w, a.left, span_w, a.w);

    const DepthwiseLanes lanes = conv.lanes_of(n, block);
    const std::int64_t pitch = columns.size() * pixel;
    for (std::int64_t row = rows.begin; row < rows.end; ++row)
      gather(lanes, n, row, columns, scratch + (row - rows.begin) * pitch);

    const DepthwiseImage image{scratch, rows.size(), columns.size(), pitch, pixel};
    const std::int64_t channels = std::min(kLanes, conv.filters - block * kLanes);  // of a block
    float* const copies = scratch + gathered_h * gathered_w * pixel;
    const bool in_place = a.channels_last && channels == kLanes;
    for (std::int64_t group = 0; group < conv.plan.groups(out_rows); ++group) {
      const std::int64_t upper = conv.plan.first_row(group), lower = upper + conv.plan.row_step;
      if (upper >= out_rows) continue;
      const bool has_lower = conv.plan.rows == 2 && lower < out_rows;
      const DepthwiseRow to_upper = conv.out(n, block * kLanes, i + upper, j);
      const DepthwiseRow to_lower =
          has_lower ? conv.out(n, block * kLanes, i + lower, j) : DepthwiseRow{};
      const auto sum = [&](DepthwiseRow upper_sums, DepthwiseRow lower_sums,
                           std::int64_t sums_pitch) {
        conv.sum_rows(conv.plan.tile, image, (i + upper) * a.stride_h - a.top - rows.begin,
                      j * a.stride_w - a.left - columns.begin, out_columns, block, depth,
                      upper_sums, lower_sums, sums_pitch);
      };
      if (in_place) {
        sum(to_upper, to_lower, conv.out_column_stride);
        continue;
      }
      const DepthwiseRow upper_copy = conv.copy_of(to_upper, out_columns, channels, copies);
      const DepthwiseRow lower_copy =
          conv.copy_of(to_lower, out_columns, channels, copies + 2 * tile_w * kLanes);
      sum(upper_copy, lower_copy, kLanes);
      conv.scatter(upper_copy.y, out_columns, channels, to_upper.y);
      if (has_lower) conv.scatter(lower_copy.y, out_columns, channels, to_lower.y);
    }
  }

  void gather(const DepthwiseLanes& lanes, std::int64_t n, std::int64_t row,
              const DepthwiseReach& columns, float* pixels) const {
    if (depth == 1) {
      lanes.gather_row(row, columns.begin, columns.size(), pixels);
      return;
    }
    const float* const from = a.x + n * a.stride_n + row * a.stride_y;
    for (std::int64_t j = columns.begin; j < columns.end; ++j, pixels += pixel)
      repeat_channels(from + j * a.stride_x, a.c, a.multiplier, pixels);
  }
};

inline void in_place(const DepthwiseConv2d& conv, std::int64_t blocks) {
  const auto& a = conv.a;
  const std::int64_t groups = conv.plan.groups(a.out_h);
  parallel_for(a.n * groups, conv.plan.rows * blocks * kLanes * conv.taps * a.out_w, a.num_threads,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t item = begin; item < end; ++item)
                   conv.group_in_place(item / groups, item % groups, blocks);
               });
}

inline Status run_depthwise(const DepthwiseConv2dArgs& a, const DepthwisePlan& plan) {
  const DepthwiseConv2d conv{a, plan};
  if (a.n * conv.filters * a.out_h * a.out_w == 0) return Status::ok;

  const std::int64_t blocks = conv.blocks_in_place();
  if (blocks > 0) in_place(conv, blocks);
  if (blocks * kLanes == conv.filters) return Status::ok;

  const DepthwiseTiles tiles{conv};
  return parallel_for_with_scratch(tiles.count(), tiles.macs(), a.num_threads,
                                   tiles.scratch_floats(),
                                   [&](std::int64_t begin, std::int64_t end, float* scratch) {
                                     for (std::int64_t item = begin; item < end; ++item)
                                       tiles.run(item, scratch);
                                   });
}

inline Status depthwise_conv2d(const DepthwiseConv2dArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  return run_depthwise(a, DepthwisePlan(a));
}

// Kernels that cover the image, by DepthwiseHalves where it has an even number of rows and fits.
inline Status depthwise_halves(const DepthwiseConv2dArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  const bool is_halved = covers_the_image(a) && a.h % 2 == 0;
  return run_depthwise(a, is_halved ? DepthwisePlan::of_halves(a) : DepthwisePlan(a));
}

// Weights in the order that this target's depthwise_conv2d reads them; zeros in the lanes beyond
// the last filter.
struct DepthwisePackArgs {
  const float* weights;  // (filters, taps), contiguous
  float* packed;         // [block][tap][kLanes]
  std::int64_t filters, taps;
  std::int64_t num_threads;
};

inline Status depthwise_pack(const DepthwisePackArgs& a) {
  if (a.filters < 0 || a.taps < 1) return Status::bad_sizes;
  std::int64_t bytes;
  if (!product_fits(bytes, std::int64_t{sizeof(float)}, a.filters, a.taps, kLanes))
    return Status::overflow;
  for (std::int64_t o = 0; o < divide_up(a.filters, kLanes) * kLanes; ++o) {
    float* const to = a.packed + o / kLanes * a.taps * kLanes + o % kLanes;
    for (std::int64_t t = 0; t < a.taps; ++t)
      to[t * kLanes] = o < a.filters ? a.weights[o * a.taps + t] : 0;
  }
  return Status::ok;
}
