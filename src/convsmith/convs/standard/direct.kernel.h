// SPDX-License-Identifier: Apache-2.0
// Direct convolution for inference, float32: any kernel, step, dilation, padding and groups, any
// strides of x.
//
//   y[n, o, i, j] = activation(bias[o] + residual[n, o, i, j] + sum_{r,s,c} weight[o, r, s, c]
//       * x[n, c, i*step_h + r*dilation_h - top, j*step_w + s*dilation_w - left])
//
// A matrix product (gemm.h) whose depth is (r, s, c) in ascending order: rows = output pixels, read
// in place where a tap finds their input; panels = weights. Nothing is unfolded.
//
// Taps that meet padding are left out: the outputs of a band are grouped into rectangles whose
// pixels read the image with the same taps (nine of them for a 3x3 with padding 1), and tiles do
// not cross them. So an infinite weight does no harm there, and a dilated kernel that reaches far
// beyond a small map multiplies only what it finds.
//
// A band of some 128 pixels passes over all panels, block of depth after block of depth; its inputs
// stay in the second cache. If channels of x do not lie side by side, those that the band reads are
// gathered first: the first layer of a network, whose image is contiguous.
//
// Bound by the multiply-adds, from a depth of some 100 on; below, by starting and finishing tiles.
#include "convs/standard/direct_window.kernel.h"

struct DirectConv2dArgs {
  const float* x;         // (n, groups * channels, h, w), strides below
  const float* weight;    // groups, group_pitch apart, of panels (out_channels, (r, s, c))
  const float* bias;      // (groups * out_channels), or null
  const float* residual;  // as y, or null
  float* y;               // (n, groups * out_channels, out_h, out_w), channels last
  std::int64_t n, groups, channels, out_channels;             // channels: of one group
  std::int64_t h, w, stride_n, stride_c, stride_y, stride_x;  // strides of x, in floats
  std::int64_t group_pitch;                                   // of weight, in floats
  std::int64_t kernel_h, kernel_w, out_h, out_w;
  std::int64_t step_h, step_w, top, left, dilation_h, dilation_w;
  std::int64_t activation;
  std::int64_t num_threads;
};

// A panel of this depth takes 128 KB of the second cache, from where it streams past every tile;
// sums that wait in y for the next block would cost more.
constexpr std::int64_t kDirectDepth = 8 * kDepthBlock;

inline Status check(const DirectConv2dArgs& a) {
  for (std::int64_t count : {a.n, a.h, a.w, a.stride_n, a.stride_c, a.stride_y, a.stride_x, a.out_h,
                             a.out_w, a.top, a.left, a.group_pitch})
    if (count < 0) return Status::bad_sizes;
  for (std::int64_t count : {a.groups, a.channels, a.out_channels, a.kernel_h, a.kernel_w, a.step_h,
                             a.step_w, a.dilation_h, a.dilation_w})
    if (count < 1) return Status::bad_sizes;
  if (a.activation < 0 || a.activation >= kNumActivations) return Status::bad_sizes;

  const std::int64_t float_size = sizeof(float);
  std::int64_t bytes, reach = 0, span;
  if (!product_fits(bytes, float_size, a.n, a.groups, a.out_channels, a.out_h, a.out_w) ||
      !product_fits(bytes, float_size, kBandPixels, a.groups, a.out_channels, a.kernel_h,
                    a.kernel_w, a.channels) ||
      !product_fits(bytes, float_size, a.groups, a.group_pitch) ||
      !positions_fit(a.h, a.out_h, a.step_h, a.top, a.kernel_h, a.dilation_h) ||
      !positions_fit(a.w, a.out_w, a.step_w, a.left, a.kernel_w, a.dilation_w))
    return Status::overflow;
  const std::int64_t rows = a.h + a.top + a.kernel_h * a.dilation_h + a.out_h * a.step_h;
  const std::int64_t columns = a.w + a.left + a.kernel_w * a.dilation_w + a.out_w * a.step_w;
  const std::int64_t axes[][2] = {{a.n, a.stride_n},
                                  {a.groups * a.channels, a.stride_c},
                                  {rows, a.stride_y},
                                  {columns, a.stride_x}};
  for (const auto& [size, stride] : axes)
    if (!product_fits(span, float_size, size, stride) ||
        __builtin_add_overflow(reach, span, &reach))
      return Status::overflow;
  return product_fits(bytes, float_size, kBandPixels, rows, columns, a.channels) ? Status::ok
                                                                                 : Status::overflow;
}

// Where the inputs of a band lie, their channels side by side.
struct DirectInputs {
  const float* x;
  AxisPitch rows, columns;

  const float* at(std::int64_t i, std::int64_t r, std::int64_t j, std::int64_t s) const {
    return x + (rows.at(i, r) + columns.at(j, s));
  }
};

// A line of output pixels, along a row or a column.
struct DirectLine {
  std::int64_t i, j, count;
  bool along_row;
};

// Calls body(DirectLine) for the lines of a rectangle: the direction that makes fewer tiles.
template <class Body>
void for_lines(const Run& rows, const Run& columns, const Body& body) {
  const bool along_row = rows.size() * divide_up(columns.size(), kTileRows) <=
                         columns.size() * divide_up(rows.size(), kTileRows);
  if (along_row)
    for (std::int64_t i = rows.begin; i < rows.end; ++i)
      body(DirectLine{i, columns.begin, columns.size(), true});
  else
    for (std::int64_t j = columns.begin; j < columns.end; ++j)
      body(DirectLine{rows.begin, j, rows.size(), false});
}

// Some channels of some outputs of one image.
struct DirectBand {
  const DirectConv2dArgs& a;
  DirectInputs inputs;
  Runs rows, columns;
  Output output;        // of the image's first pixel
  const float* panels;  // of the channels
  std::int64_t num_channels;

  void multiply() const {
    const std::int64_t depth = a.kernel_h * a.kernel_w * a.channels;
    for_depth_blocks(depth, [&](const DepthBlock& block) { multiply_block(block); }, kDirectDepth);
  }

  void multiply_block(const DepthBlock& block) const {
    // Small panels pass over a tile together, so that y is written line by line.
    const std::int64_t depth = std::max<std::int64_t>(block.end - block.begin, 1);
    const std::int64_t together = kPanel * std::max<std::int64_t>(kDepthBlock / depth, 1);
    for (std::int64_t begin = 0; begin < num_channels; begin += together)
      for (const Run& rows_alike : rows)
        for (const Run& columns_alike : columns)
          multiply_rectangle(rows_alike, columns_alike, block, begin,
                             std::min(begin + together, num_channels));
  }

  // Pixels that read the image with the same taps, in the channels [begin, end).
  void multiply_rectangle(const Run& rows, const Run& columns, const DepthBlock& block,
                          std::int64_t begin, std::int64_t end) const {
    Stretch room[kDirectDepth + 1];
    const Stretches stretches = live_stretches(rows, columns, block, room);
    for_lines(rows, columns, [&](const DirectLine& line) {
      const float* first = inputs.at(line.i, rows.first_tap, line.j, columns.first_tap);
      const std::int64_t pitch = line.along_row ? inputs.columns.output : inputs.rows.output;
      Output part = output.at(line.i * a.out_w + line.j, 0);
      part.row_pitch *= line.along_row ? 1 : a.out_w;
      for_row_tiles(line.count, [&](std::int64_t at, std::int64_t count) {
        const float* pixels[kTileRows];
        for (std::int64_t r = 0; r < count; ++r) pixels[r] = first + (at + r) * pitch;
        for (std::int64_t channel = begin; channel < end; channel += kPanel)
          multiply_tile(pixels, count, panels + channel * block.depth, stretches,
                        num_channels - channel, block, part.at(at, channel));
      });
    });
  }

  // The part of the block that meets the image, as seen from a pixel's first input.
  Stretches live_stretches(const Run& rows, const Run& columns, const DepthBlock& block,
                           Stretch* room) const {
    // Taps that read neighbours in memory are one stretch.
    const bool side_by_side = inputs.columns.tap == a.channels;
    const std::int64_t taps = side_by_side ? columns.end_tap - columns.first_tap : 1;
    std::int64_t count = 0;
    for (std::int64_t r = rows.first_tap; r < rows.end_tap; ++r)
      for (std::int64_t s = columns.first_tap; s < columns.end_tap; s += taps) {
        const std::int64_t first = (r * a.kernel_w + s) * a.channels;
        const std::int64_t begin = std::max(first, block.begin);
        const std::int64_t end = std::min(first + taps * a.channels, block.end);
        const std::int64_t at =
            (r - rows.first_tap) * inputs.rows.tap + (s - columns.first_tap) * inputs.columns.tap;
        if (begin < end) room[count++] = {begin, end, at - first};
      }
    return {room, count};
  }
};

struct DirectConv2d {
  const DirectConv2dArgs& a;
  const WindowAxis rows{a.h, a.kernel_h, a.step_h, a.top, a.dilation_h};
  const WindowAxis columns{a.w, a.kernel_w, a.step_w, a.left, a.dilation_w};
  const std::int64_t depth = a.kernel_h * a.kernel_w * a.channels;
  const bool in_place = a.stride_c == 1 || a.channels == 1;

  // Bands are as wide as the output, where it is narrow enough, and as high as that leaves.
  const Pieces band_columns{a.out_w, 1, kBandPixels, 1};
  const Pieces band_rows{a.out_h, 1, std::max<std::int64_t>(kBandPixels / band_columns.size, 1), 1};
  const std::int64_t bands = a.n * a.groups * band_rows.number * band_columns.number;
  // Few bands leave threads idle: the output channels are shared out, and the weights with them.
  const Pieces parts{a.out_channels, kPanel, a.out_channels,
                     bands < 8 * a.num_threads ? a.num_threads : 1};

  std::int64_t items() const { return bands * parts.number; }
  std::int64_t macs_of_an_item() const {
    return band_rows.size * band_columns.size * parts.size * depth;
  }
  std::int64_t scratch_floats() const {
    if (in_place) return 0;
    return GatheredAxis(rows, 0, band_rows.size).size() *
           GatheredAxis(columns, 0, band_columns.size).size() * a.channels;
  }

  void run(std::int64_t item, float* scratch) const {
    const std::int64_t j = item % band_columns.number * band_columns.size;
    item /= band_columns.number;
    const std::int64_t i = item % band_rows.number * band_rows.size;
    item /= band_rows.number;
    const std::int64_t group = item % a.groups;
    item /= a.groups;
    const std::int64_t n = item % a.n, part = item / a.n;

    const std::int64_t end_i = std::min(i + band_rows.size, a.out_h);
    const std::int64_t end_j = std::min(j + band_columns.size, a.out_w);
    const float* image = a.x + n * a.stride_n + group * a.channels * a.stride_c;
    const DirectInputs inputs =
        in_place ? inputs_in_place(image) : gather(image, i, end_i - i, j, end_j - j, scratch);
    const std::int64_t first_channel = part * parts.size;
    const Output output{a.y,        a.groups * a.out_channels,
                        nullptr,    a.bias,
                        a.residual, static_cast<Activation>(a.activation)};
    DirectBand{a,
               inputs,
               Runs(rows, i, end_i),
               Runs(columns, j, end_j),
               output.at(n * a.out_h * a.out_w, group * a.out_channels + first_channel),
               a.weight + group * a.group_pitch + first_channel * depth,
               std::min(parts.size, a.out_channels - first_channel)}
        .multiply();
  }

  DirectInputs inputs_in_place(const float* image) const {
    return {image,
            {-a.top * a.stride_y, a.step_h * a.stride_y, a.dilation_h * a.stride_y},
            {-a.left * a.stride_x, a.step_w * a.stride_x, a.dilation_w * a.stride_x}};
  }

  // The inputs of outputs [i, i + num_rows) x [j, j + num_columns) as [row][column][channel].
  DirectInputs gather(const float* image, std::int64_t i, std::int64_t num_rows, std::int64_t j,
                      std::int64_t num_columns, float* to) const {
    const GatheredAxis table_rows(rows, i, num_rows), table_columns(columns, j, num_columns);
    const std::int64_t row_pitch = table_columns.size() * a.channels;
    table_rows.for_stretches([&](std::int64_t r, std::int64_t y, std::int64_t rows) {
      table_columns.for_stretches([&](std::int64_t s, std::int64_t x, std::int64_t columns) {
        for (std::int64_t row = 0; row < rows; ++row)
          gather_pixels(image + (y + row) * a.stride_y + x * a.stride_x, columns,
                        to + (r + row) * row_pitch + s * a.channels);
      });
    });
    return {to, table_rows.pitch(row_pitch), table_columns.pitch(a.channels)};
  }

  void gather_pixels(const float* from, std::int64_t count, float* to) const {
    std::int64_t done = 0;
    if (a.channels == 3 && a.stride_x == 1)  // the colours of an image
      for (; done + kLanes <= count; done += kLanes)
        interleave(load(from + done), load(from + a.stride_c + done),
                   load(from + 2 * a.stride_c + done), to + 3 * done);
    for (std::int64_t c = 0; c < a.channels; ++c)
      for (std::int64_t s = done; s < count; ++s)
        to[s * a.channels + c] = from[c * a.stride_c + s * a.stride_x];
  }
};

inline Status direct_conv2d(const DirectConv2dArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  if (a.n * a.out_h * a.out_w == 0) return Status::ok;

  const DirectConv2d conv{a};
  return parallel_for_with_scratch(conv.items(), conv.macs_of_an_item(), a.num_threads,
                                   conv.scratch_floats(),
                                   [&](std::int64_t begin, std::int64_t end, float* scratch) {
                                     for (std::int64_t item = begin; item < end; ++item)
                                       conv.run(item, scratch);
                                   });
}
