// SPDX-License-Identifier: Apache-2.0
// Pointwise convolution, float32: one matrix product over the channels.
//
//   y[n, o, p] = activation(sum_i weight[o, i] * x[n, i, p] + bias[o] + residual[n, o, p])
//
// p runs over the output's pixels; a convolution's stride lies in the strides of x, so that skipped
// pixels are never read. i ascends in one accumulator (see gemm.h): neither tiles, blocks, threads
// nor the layout change a bit of the sum.
//
// Two layouts of y, one product with its sides exchanged; vectors lie along what is contiguous:
//
//   channels last   rows = pixels of x, read in place      panels = weights, packed beforehand
//   contiguous      rows = weights, read in place          panels = pixels of x, packed here,
//                                                                   strip by strip, into 128 KB
//
// Bound by the multiply-adds from some 32 channels on both sides; below, by memory.
// pointwise_strassen makes seven of them for eight (see strassen.h), and rounds more.

struct PointwiseArgs {
  const float* x;
  const float* weight;    // channels last: panels of gemm.h; contiguous: (out_channels, channels)
  const float* bias;      // (out_channels), or null
  const float* residual;  // as y, or null
  float* y;               // overlaps none of the others
  std::int64_t n, channels, out_channels, depth, height, width;   // depth to width are y's
  std::int64_t stride_n, stride_c, stride_d, stride_h, stride_w;  // of x, one output pixel apart
  std::int64_t activation;
  std::int64_t num_threads;
};

inline Status check(const PointwiseArgs& a) {
  for (std::int64_t count : {a.n, a.channels, a.out_channels, a.depth, a.height, a.width,
                             a.stride_n, a.stride_c, a.stride_d, a.stride_h, a.stride_w})
    if (count < 0) return Status::bad_sizes;
  if (a.activation < 0 || a.activation >= kNumActivations) return Status::bad_sizes;

  const std::int64_t float_size = sizeof(float), padded = kStripRows + kPanel;
  std::int64_t bytes, reach = 0, span;
  if (!product_fits(bytes, float_size, a.n, a.out_channels, a.depth, a.height, a.width) ||
      !product_fits(bytes, float_size, a.out_channels, a.channels) ||
      !product_fits(bytes, padded, a.n, a.depth, a.height, a.width))
    return Status::overflow;
  const std::int64_t axes[][2] = {{a.n, a.stride_n},
                                  {a.channels, a.stride_c},
                                  {a.depth, a.stride_d},
                                  {a.height, a.stride_h},
                                  {a.width, a.stride_w}};
  for (const auto& [size, stride] : axes)
    if (!product_fits(span, float_size, size, stride) ||
        __builtin_add_overflow(reach, span, &reach))
      return Status::overflow;
  return Status::ok;
}

// Pixel after pixel of x, in the order of y: the offset of each.
class PixelWalk {
 public:
  PixelWalk(const PointwiseArgs& a, std::int64_t pixel)
      : a(a),
        w(pixel % a.width),
        h(pixel / a.width % a.height),
        d(pixel / a.width / a.height % a.depth),
        n(pixel / a.width / a.height / a.depth) {}

  std::int64_t next() {
    const std::int64_t at = n * a.stride_n + d * a.stride_d + h * a.stride_h + w * a.stride_w;
    if (++w == a.width) {
      w = 0;
      if (++h == a.height) {
        h = 0;
        if (++d == a.depth) {
          d = 0;
          ++n;
        }
      }
    }
    return at;
  }

 private:
  const PointwiseArgs& a;
  std::int64_t w, h, d, n;
};

// Channels of x lie side by side (stride_c == 1).
inline Status pointwise_channels_last(const PointwiseArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  if (a.stride_c != 1) return Status::bad_sizes;
  const std::int64_t pixels = a.n * a.depth * a.height * a.width;
  if (pixels == 0 || a.out_channels == 0) return Status::ok;

  const Output output{a.y,    a.out_channels, nullptr,
                      a.bias, a.residual,     static_cast<Activation>(a.activation)};
  const Pieces strips(pixels, kTileRows, kStripRows, a.num_threads);
  // Few pixels leave threads without a strip: the output channels are shared out, too.
  const Pieces groups(a.out_channels, kPanel, a.out_channels,
                      divide_up(a.num_threads, strips.number));
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t first = item / groups.number * strips.size;
      const std::int64_t count = std::min(strips.size, pixels - first);
      const std::int64_t channel = item % groups.number * groups.size;
      const std::int64_t num_channels = std::min(groups.size, a.out_channels - channel);
      const float* rows[kStripRows];
      PixelWalk walk(a, first);
      for (std::int64_t r = 0; r < count; ++r) rows[r] = a.x + walk.next();
      const DirectProduct product(a.channels, num_channels, a.weight + channel * a.channels);
      product.multiply(count, [&](std::int64_t r) { return rows[r]; }, output.at(first, channel));
    }
  };
  parallel_for(strips.number * groups.number, strips.size * groups.size * a.channels, a.num_threads,
               run);
  return Status::ok;
}

// Channels last, too. Strips are of one image each: what is wrong in one stays out of the others.
inline Status pointwise_strassen(const PointwiseArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  if (a.stride_c != 1) return Status::bad_sizes;
  const std::int64_t pixels = a.depth * a.height * a.width;  // of one image
  if (a.n * pixels == 0 || a.out_channels == 0) return Status::ok;

  const Output output{a.y,    a.out_channels, nullptr,
                      a.bias, a.residual,     static_cast<Activation>(a.activation)};
  // As many strips for each thread. Where they are fewer, the output channels are shared out, too,
  // before strips are made shorter: the sums of panels must not be made for too few pixels.
  const std::int64_t least_strips = a.n * divide_up(pixels, kStrassenRows);
  const std::int64_t most_groups = std::max<std::int64_t>(a.out_channels / (2 * kPanel), 1);
  const std::int64_t wanted = least_strips < a.num_threads
                                  ? divide_up(a.num_threads, most_groups)
                                  : divide_up(least_strips, a.num_threads) * a.num_threads;
  const Pieces strips(pixels, 2 * kTileRows, kStrassenRows, divide_up(wanted, a.n));
  const std::int64_t num_strips = a.n * strips.number;
  const Pieces groups(a.out_channels, 2 * kPanel, a.out_channels,
                      divide_up(a.num_threads, num_strips));
  const auto run = [&](std::int64_t begin, std::int64_t end, float* scratch) {
    for (std::int64_t item = begin; item < end;) {
      const std::int64_t channel = item / num_strips * groups.size;
      const StrassenProduct product(a.channels, std::min(groups.size, a.out_channels - channel),
                                    a.weight + channel * a.channels, scratch);
      const std::int64_t group_end = std::min((item / num_strips + 1) * num_strips, end);
      for (; item < group_end; ++item) {
        const std::int64_t image = item % num_strips / strips.number;
        const std::int64_t first = item % strips.number * strips.size;
        const std::int64_t count = std::min(strips.size, pixels - first);
        const float* rows[kStrassenRows];
        PixelWalk walk(a, image * pixels + first);
        for (std::int64_t r = 0; r < count; ++r) rows[r] = a.x + walk.next();
        product.multiply(
            count, [&](std::int64_t r) { return rows[r]; },
            output.at(image * pixels + first, channel));
      }
    }
  };
  return parallel_for_with_scratch(
      num_strips * groups.number, strips.size * groups.size * a.channels, a.num_threads,
      StrassenProduct::floats(a.channels, groups.size, strips.size), run);
}

// Pixels that are packed together: eight panels of kDepthBlock, 128 KB.
constexpr std::int64_t kStripPixels = 8 * kPanel;

// A strip of pixels of one image.
struct PixelStrip {
  const float* x;  // the image
  std::int64_t count;
  std::int64_t offsets[kStripPixels];
  bool side_by_side = true;

  PixelStrip(const PointwiseArgs& a, std::int64_t image, std::int64_t first, std::int64_t count)
      : x(a.x + image * a.stride_n), count(count) {
    PixelWalk walk(a, first);
    for (std::int64_t i = 0; i < count; ++i) {
      offsets[i] = walk.next();
      side_by_side = side_by_side && offsets[i] == offsets[0] + i;
    }
  }

  // Channels of the block as panels of kDepthBlock * kPanel; the last one is filled with zeros.
  void pack(const DepthBlock& block, std::int64_t stride_c, float* panels) const {
    for (std::int64_t k = block.begin; k < block.end; ++k) {
      const float* channel = x + k * stride_c;
      float* to = panels + (k - block.begin) * kPanel;
      std::int64_t i = 0;
      for (; i < count; i += kPanel, to += kDepthBlock * kPanel) {
        const std::int64_t left = std::min(kPanel, count - i);
        if (side_by_side && left == kPanel) {
          store(to, load(channel + offsets[i]));
          store(to + kLanes, load(channel + offsets[i] + kLanes));
        } else {
          for (std::int64_t j = 0; j < kPanel; ++j) to[j] = j < left ? channel[offsets[i + j]] : 0;
        }
      }
    }
  }
};

// y is contiguous; x has any strides.
inline Status pointwise_contiguous(const PointwiseArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  const std::int64_t pixels = a.depth * a.height * a.width;  // of one image
  if (a.n * pixels == 0 || a.out_channels == 0) return Status::ok;

  // Its rows are the channels of all images, which share one bias.
  const Output output{a.y,     pixels,     nullptr,
                      nullptr, a.residual, static_cast<Activation>(a.activation)};
  const Pieces strips(pixels, kPanel, kStripPixels, divide_up(a.num_threads, a.n));
  const Pieces groups(a.out_channels, kTileRows, a.out_channels,
                      divide_up(a.num_threads, a.n * strips.number));
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    alignas(64) float panels[kStripPixels * kDepthBlock];
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t channel = item % groups.number * groups.size;
      const std::int64_t num_channels = std::min(groups.size, a.out_channels - channel);
      const std::int64_t image = item / groups.number / strips.number;
      const std::int64_t first = item / groups.number % strips.number * strips.size;
      const PixelStrip strip(a, image, first, std::min(strips.size, pixels - first));
      Output part = output.at(image * a.out_channels + channel, first);
      part.row_bias = a.bias ? a.bias + channel : nullptr;
      for_depth_blocks(
          a.channels,
          [&](const DepthBlock& block) {
            strip.pack(block, a.stride_c, panels);
            const float* weight = a.weight + channel * a.channels + block.begin;
            multiply_block(
                num_channels, [&](std::int64_t r) { return weight + r * a.channels; }, strip.count,
                panels, kDepthBlock * kPanel, block, part);
          },
          kDepthBlock);
    }
  };
  parallel_for(a.n * strips.number * groups.number, strips.size * groups.size * a.channels,
               a.num_threads, run);
  return Status::ok;
}
