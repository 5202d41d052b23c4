// SPDX-License-Identifier: Apache-2.0
// Convolution in small groups, float32, channels last; s channels go into each group and s come
// out, s being 2, 4, 8 or 16:
//
//   y[n, p, c] = activation(sum_{t, i} weight[c, i, t] x[n, p stride + t dilation - padding, g + i]
//                           + bias[c] + residual[n, p, c])           g = c - c % s,  0 <= i < s
//
// A vector's lanes are neighbouring channels c. Of each vector of the image s are made, the i-th of
// which has channel g + i in every lane: the sum is that of s depthwise convolutions, and no lane
// multiplies by a zero between groups. The made vectors of a band of rows lie in the second cache;
// columns beyond the border are zeros there, rows are left out.
//
// Bound by loads, one for each multiply-add; making a vector costs a store for some kernel_h *
// kernel_w multiply-adds.
//
// Kernels three wide read the image in place instead (grouped_sliding.kernel.h) and make the
// vectors in registers, where a vector holds several groups and is full of channels.

// Channel i of its group in every lane; lanes are the channels from a multiple of kLanes on.
template <int group, int i, int... lane>
[[gnu::always_inline]] inline Vec spread(Vec v, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(v, v, (lane / group * group + i)...);
}

#include "convs/grouped/grouped_sliding.kernel.h"

struct GroupedConv2dArgs {
  const float* x;         // (n, h, w, channels), channels side by side
  const float* weight;    // as grouped_pack leaves it
  const float* bias;      // (channels), or null
  const float* residual;  // as y, or null
  float* y;               // (n, out_h, out_w, channels); overlaps none of the others
  std::int64_t n, channels, group, h, w;
  std::int64_t stride_n, stride_y, stride_x;  // of x, in floats
  std::int64_t kernel_h, kernel_w, out_h, out_w, step_h, step_w, top, left;
  std::int64_t dilation_h, dilation_w;
  std::int64_t activation;
  std::int64_t num_threads;
};

// Floats of a band's made vectors, where its rows are not too long: 128 KB.
constexpr std::int64_t kGroupedFloats = 1 << 15;

inline Status check(const GroupedConv2dArgs& a) {
  for (std::int64_t count : {a.n, a.channels, a.h, a.w, a.stride_n, a.stride_y, a.stride_x, a.out_h,
                             a.out_w, a.top, a.left})
    if (count < 0) return Status::bad_sizes;
  for (std::int64_t step :
       {a.group, a.kernel_h, a.kernel_w, a.step_h, a.step_w, a.dilation_h, a.dilation_w})
    if (step < 1) return Status::bad_sizes;
  if (a.channels % a.group != 0 || a.activation < 0 || a.activation >= kNumActivations)
    return Status::bad_sizes;
  const std::int64_t float_size = sizeof(float), padded = 2 * kLanes;
  std::int64_t bytes, reach_h, reach_w, reach = 0, span;
  if (!product_fits(bytes, float_size, a.n, a.out_h, a.out_w, a.channels, padded) ||
      !product_fits(bytes, float_size, a.channels, a.group, a.kernel_h, a.kernel_w, padded) ||
      !positions_fit(a.h, a.out_h, a.step_h, a.top, a.kernel_h, a.dilation_h) ||
      !positions_fit(a.w, a.out_w, a.step_w, a.left, a.kernel_w, a.dilation_w))
    return Status::overflow;
  reach_h = a.out_h * a.step_h + a.kernel_h * a.dilation_h;
  reach_w = a.out_w * a.step_w + a.kernel_w * a.dilation_w;
  if (!product_fits(bytes, float_size, reach_h, reach_w, a.group, padded)) return Status::overflow;
  for (const auto& [size, stride] :
       {std::pair{a.n, a.stride_n}, {a.h, a.stride_y}, {a.w, a.stride_x}})
    if (!product_fits(span, float_size, size, stride) ||
        __builtin_add_overflow(reach, span, &reach))
      return Status::overflow;
  return Status::ok;
}

// The vectors that are made of one pixel, `pitch` floats apart; `pixel` is its first channel.
template <int group>
void spread_pixel(const float* pixel, std::int64_t channel, std::int64_t channels, float* to,
                  std::int64_t pitch) {
  if constexpr (group < kLanes) {
    const Vec v = load_up_to(pixel + channel, channels - channel);
    [&]<int... i>(std::integer_sequence<int, i...>) {
      (store(to + i * pitch, spread<group, i>(v, std::make_integer_sequence<int, kLanes>{})), ...);
    }(std::make_integer_sequence<int, group>{});
  } else {
    const float* from = pixel + channel / group * group;
    for (int i = 0; i < group; ++i) store(to + i * pitch, broadcast(from[i]));
  }
}

// Some columns of one output row, a vector of channels deep.
struct GroupedTile {
  const GroupedConv2dArgs& a;
  const float* made;       // of what the first tap that reads the image meets
  std::int64_t pitch;      // from a vector of channel i of the groups to that of i + 1
  std::int64_t row_pitch;  // from one row of taps to the next
  std::int64_t live_rows;  // of taps
  const float* weight;     // of the first of them
  const float* bias;       // of kLanes channels
  std::int64_t lanes;      // channels that y has here
  std::int64_t at;         // in y and residual

  // kStep: of the columns, if it is known beforehand, or 0.
  template <int kColumns, int kStep>
  void run() const {
    const std::int64_t step = (kStep ? kStep : a.step_w) * kLanes;
    Vec sums[kColumns] = {};
    const float* weights = weight;
    for (std::int64_t r = 0; r < live_rows; ++r)
      for (std::int64_t t = 0; t < a.kernel_w; ++t) {
        const float* from = made + r * row_pitch + t * a.dilation_w * kLanes;
        for (std::int64_t i = 0; i < a.group; ++i, from += pitch, weights += kLanes) {
          const Vec value = load(weights);
#pragma GCC unroll 28
          for (int q = 0; q < kColumns; ++q)
            sums[q] = mul_add(load(from + q * step), value, sums[q]);
        }
      }
    with_activation(static_cast<Activation>(a.activation), [&](auto kind) {
      for (int q = 0; q < kColumns; ++q) finish<kind()>(sums[q], at + q * a.channels);
    });
  }

  template <Activation kind>
  void finish(Vec sum, std::int64_t place) const {
    sum += load(bias);
    if (a.residual) sum += load_up_to(a.residual + place, lanes);
    store_up_to(a.y + place, activate<kind>(sum), lanes);
  }
};

template <int group>
struct GroupedConv2d {
  static constexpr int kMaxColumns = kLanes == 16 ? 28 : 14;

  const GroupedConv2dArgs& a;
  const std::int64_t columns = (a.out_w - 1) * a.step_w + (a.kernel_w - 1) * a.dilation_w + 1;
  const std::int64_t pitch = columns * kLanes, row_floats = group * pitch;
  const std::int64_t span = (a.kernel_h - 1) * a.dilation_h + 1;
  const Pieces bands{a.out_h, 1, std::max<std::int64_t>(kGroupedFloats / row_floats / a.step_h, 4),
                     1};
  const std::int64_t first_block = blocks_in_place(a);
  const std::int64_t blocks = divide_up(a.channels, kLanes) - first_block;
  const std::int64_t block_weights = a.kernel_h * a.kernel_w * group * kLanes;

  std::int64_t items() const { return a.n * blocks * bands.number; }
  std::int64_t made_rows() const { return (bands.size - 1) * a.step_h + span; }

  void run(std::int64_t item, float* made) const {
    const std::int64_t first = item % bands.number * bands.size;
    const std::int64_t block = item / bands.number % blocks + first_block;
    const std::int64_t image = item / bands.number / blocks;
    const std::int64_t end = std::min(first + bands.size, a.out_h);
    const std::int64_t begin_row = std::clamp<std::int64_t>(first * a.step_h - a.top, 0, a.h);
    std::int64_t row = begin_row;
    for (std::int64_t i = first; i < end; ++i) {
      // A row is made when it is first read: the first cache holds it then.
      for (; row < std::min(i * a.step_h - a.top + span, a.h); ++row)
        make_row(image, row, block * kLanes, made + (row - begin_row) * row_floats);
      sum_row(image, i, block, made, begin_row);
    }
  }

  void make_row(std::int64_t image, std::int64_t row, std::int64_t channel, float* to) const {
    const float* const from = a.x + image * a.stride_n + row * a.stride_y;
    for (std::int64_t j = 0; j < columns; ++j, to += kLanes) {
      const std::int64_t column = j - a.left;
      if (column >= 0 && column < a.w)
        spread_pixel<group>(from + column * a.stride_x, channel, a.channels, to, pitch);
      else
        for (int i = 0; i < group; ++i) store(to + i * pitch, zero());
    }
  }

  // `made` begins with a row of the image.
  void sum_row(std::int64_t image, std::int64_t i, std::int64_t block, const float* made,
               std::int64_t begin_row) const {
    const std::int64_t first_row = i * a.step_h - a.top;
    const DepthwiseSteps taps = steps_inside(first_row, a.dilation_h, a.kernel_h, a.h);
    const std::int64_t channel = block * kLanes;
    float bias[kLanes];
    store(bias, a.bias ? load_up_to(a.bias + channel, a.channels - channel) : zero());
    for (std::int64_t j = 0; j < a.out_w;) {
      const std::int64_t left = a.out_w - j;
      const std::int64_t width = divide_up(left, divide_up(left, kMaxColumns));
      const GroupedTile tile{
          a,
          made + (first_row + taps.begin * a.dilation_h - begin_row) * row_floats +
              j * a.step_w * kLanes,
          pitch,
          a.dilation_h * row_floats,
          std::max<std::int64_t>(taps.end - taps.begin, 0),
          a.weight + block * block_weights + taps.begin * a.kernel_w * group * kLanes,
          bias,
          std::min(kLanes, a.channels - channel),
          ((image * a.out_h + i) * a.out_w + j) * a.channels + channel};
      with_num_rows<kMaxColumns>(width, [&](auto count) {
        if (a.step_w == 1) return tile.template run<count(), 1>();
        tile.template run<count(), 0>();
      });
      j += width;
    }
  }

  static std::int64_t blocks_in_place(const GroupedConv2dArgs& a) {
    return sliding(a).run ? a.channels / kLanes : 0;
  }

  // The tile that reads the image where it lies, or none.
  static DepthwiseTileKind sliding(const GroupedConv2dArgs& a) {
    if constexpr (group < kLanes) {
      if (a.kernel_w != GroupedSliding<group, 1>::kTaps) return {};
      if (a.step_w == 1) return tile_kind<GroupedSliding<group, 1>>();
      if (a.step_w == 2 && a.dilation_w == 1) return tile_kind<GroupedSliding<group, 2>>();
    }
    return {};
  }

  void run_in_place() const {
    const DepthwiseConv2dArgs args{.x = a.x,
                                   .weights = a.weight,
                                   .bias = a.bias,
                                   .residual = a.residual,
                                   .y = a.y,
                                   .n = a.n,
                                   .c = a.channels,
                                   .h = a.h,
                                   .w = a.w,
                                   .stride_n = a.stride_n,
                                   .stride_c = 1,
                                   .stride_y = a.stride_y,
                                   .stride_x = a.stride_x,
                                   .multiplier = 1,
                                   .kernel_h = a.kernel_h,
                                   .kernel_w = a.kernel_w,
                                   .out_h = a.out_h,
                                   .out_w = a.out_w,
                                   .stride_h = a.step_h,
                                   .stride_w = a.step_w,
                                   .top = a.top,
                                   .left = a.left,
                                   .dilation_h = a.dilation_h,
                                   .dilation_w = a.dilation_w,
                                   .channels_last = 1,
                                   .activation = a.activation,
                                   .num_threads = a.num_threads};
    in_place(DepthwiseConv2d{args, DepthwisePlan{args}, sliding(a)}, first_block);
  }

  Status run() const {
    if (first_block > 0) run_in_place();
    if (blocks == 0) return Status::ok;
    return parallel_for_with_scratch(items(), bands.size * a.out_w * block_weights, a.num_threads,
                                     made_rows() * row_floats,
                                     [&](std::int64_t begin, std::int64_t end, float* scratch) {
                                       for (std::int64_t item = begin; item < end; ++item)
                                         run(item, scratch);
                                     });
  }
};

inline Status grouped_conv2d(const GroupedConv2dArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  if (a.n * a.out_h * a.out_w * a.channels == 0) return Status::ok;
  if (a.group == 2) return GroupedConv2d<2>{a}.run();
  if (a.group == 4) return GroupedConv2d<4>{a}.run();
  if (a.group == 8) return GroupedConv2d<8>{a}.run();
  if (a.group == 16) return GroupedConv2d<16>{a}.run();
  return Status::bad_sizes;
}

// Weights as this target's grouped_conv2d reads them; zeros in the lanes beyond the last channel.
struct GroupedPackArgs {
  const float* weights;  // (channels, group, taps), contiguous
  float* packed;         // [block][tap][i][kLanes]
  std::int64_t channels, group, taps;
  std::int64_t num_threads;
};

inline Status grouped_pack(const GroupedPackArgs& a) {
  if (a.channels < 0 || a.group < 1 || a.taps < 1) return Status::bad_sizes;
  std::int64_t bytes;
  if (!product_fits(bytes, std::int64_t{sizeof(float)}, a.channels, a.group, a.taps, 2 * kLanes))
    return Status::overflow;
  for (std::int64_t c = 0; c < divide_up(a.channels, kLanes) * kLanes; ++c) {
    float* to = a.packed + c / kLanes * a.taps * a.group * kLanes + c % kLanes;
    for (std::int64_t t = 0; t < a.taps; ++t)
      for (std::int64_t i = 0; i < a.group; ++i, to += kLanes)
        *to = c < a.channels ? a.weights[(c * a.group + i) * a.taps + t] : 0;
  }
  return Status::ok;
}
