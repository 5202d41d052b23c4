// SPDX-License-Identifier: Apache-2.0
// Depthwise convolution and the pointwise one behind it, in one pass, float32:
//
//   t[n, c, p] = depthwise_activation(sum_{r,s} depthwise[c, r, s] * x[n, c, ...] + its bias[c])
//   y[n, o, p] = activation(sum_c pointwise[o, c] * t[n, c, p] + bias[o] + residual[n, o, p])
//
// t is never a tensor: strip by strip of output pixels, the depthwise convolution writes it to
// scratch as the rows that the product of gemm.h reads, and all output channels are made of them
// while they are in the second cache. Each number of t is computed once.
//
// Bit for bit the two kernels one after the other: both sum in the same order. separable_strassen
// makes seven of the product's multiplications for eight (see strassen.h).
//
// Bound by the multiply-adds of the product; the depthwise part, by loads.
#include "convs/depthwise_separable/depthwise_rows.kernel.h"

// What the depthwise and the pointwise convolution of a chain read and write.
struct SeparableStages {
  const float* depthwise_weights;  // [block][tap][kLanes], as depthwise_pack writes them
  const float* depthwise_bias;     // (c,), or null
  const float* pointwise_weights;  // panels of gemm.h
  const float* bias;               // (out_channels,), or null
  const float* residual;           // as y, or null
  float* y;                        // (n, out_channels, out_h, out_w), channels last
  std::int64_t n, c, h, w;         // of the depthwise convolution's input
  std::int64_t kernel_h, kernel_w, out_h, out_w;
  std::int64_t stride_h, stride_w, top, left, dilation_h, dilation_w;
  std::int64_t depthwise_activation, out_channels, activation;

  std::int64_t span_h() const { return (kernel_h - 1) * dilation_h + 1; }
  std::int64_t span_w() const { return (kernel_w - 1) * dilation_w + 1; }
  std::int64_t blocks() const { return divide_up(c, kLanes); }
  std::int64_t pitch() const { return blocks() * kLanes; }  // of a pixel in scratch, in floats
};

inline Status check(const SeparableStages& a) {
  for (std::int64_t count : {a.n, a.c, a.h, a.w, a.out_h, a.out_w, a.top, a.left, a.out_channels})
    if (count < 0) return Status::bad_sizes;
  for (std::int64_t step :
       {a.kernel_h, a.kernel_w, a.stride_h, a.stride_w, a.dilation_h, a.dilation_w})
    if (step < 1) return Status::bad_sizes;
  for (std::int64_t activation : {a.depthwise_activation, a.activation})
    if (activation < 0 || activation >= kNumActivations) return Status::bad_sizes;

  // Sizes of the arrays, in bytes and rounded up to whole vectors and tiles.
  const std::int64_t float_size = sizeof(float), padded = kStripRows + kPanel;
  std::int64_t bytes;
  const bool fits =
      product_fits(bytes, float_size, padded, a.n, a.c, a.h, a.w) &&
      product_fits(bytes, float_size, padded, a.n, a.c, a.out_h, a.out_w) &&
      product_fits(bytes, float_size, padded, a.n, a.out_channels, a.out_h, a.out_w) &&
      product_fits(bytes, float_size, padded, a.c, a.kernel_h, a.kernel_w) &&
      product_fits(bytes, float_size, padded, a.c, a.out_channels) &&
      positions_fit(a.h, a.out_h, a.stride_h, a.top, a.kernel_h, a.dilation_h) &&
      positions_fit(a.w, a.out_w, a.stride_w, a.left, a.kernel_w, a.dilation_w);
  return fits ? Status::ok : Status::overflow;
}

// Inputs [begin, end) that outputs [first, first + count) read along one axis.
struct ReadRange {
  std::int64_t begin, end;

  ReadRange(std::int64_t first, std::int64_t count, std::int64_t stride, std::int64_t before,
            std::int64_t span, std::int64_t size)
      : begin(std::clamp<std::int64_t>(first * stride - before, 0, size)),
        end(std::clamp<std::int64_t>((first + count - 1) * stride - before + span, begin, size)) {}

  std::int64_t size() const { return end - begin; }
};

// How large a strip may be: pixels, and floats of its scratch with the ring of rows that it reads
// if there is one.
struct StripLimits {
  std::int64_t pixels, floats;
};

// A part of the second cache.
constexpr StripLimits kSmallStrips{kStripRows, 98304};

// Sums of panels are made once for each strip.
constexpr StripLimits kStrassenStrips{kStrassenRows, 131072};

// How the images are cut: into strips of columns, and these into strips of rows, which follow each
// other.
struct SeparableStrips {
  const SeparableStages& a;
  bool has_ring;
  std::int64_t rows, columns;  // of outputs
  std::int64_t down, across;   // strips of one image

  SeparableStrips(const SeparableStages& a, bool has_ring, std::int64_t num_threads,
                  const StripLimits& most = kSmallStrips)
      : a(a), has_ring(has_ring), columns(a.out_w) {
    rows = std::min(std::max<std::int64_t>(most.pixels / a.out_w / 2 * 2, 2), a.out_h);
    while (floats() > most.floats && rows > 2) rows = (rows - 1) / 2 * 2;
    while (floats() > most.floats && columns > most.pixels) columns = divide_up(columns, 2);
    across = divide_up(a.out_w, columns);
    // As many for each thread, and of nearly the same size.
    const std::int64_t wanted = divide_up(a.n * across * divide_up(a.out_h, rows), num_threads);
    down = divide_up(wanted * num_threads, a.n * across);
    rows = std::min(rows, divide_up(divide_up(a.out_h, down), 2) * 2);
    down = divide_up(a.out_h, rows);
  }

  std::int64_t number() const { return a.n * across * down; }
  std::int64_t ring_rows() const { return std::min(a.h, (rows - 1) * a.stride_h + a.span_h()); }
  std::int64_t ring_columns() const {
    return std::min(a.w, (columns - 1) * a.stride_w + a.span_w());
  }
  std::int64_t ring_floats() const {
    return has_ring ? ring_rows() * ring_columns() * a.pitch() : 0;
  }
  std::int64_t floats() const { return ring_floats() + (rows * columns + 1) * a.pitch(); }
};

// One strip of outputs, and what it reads.
struct SeparableStrip {
  std::int64_t n, i, rows, j, columns;
  ReadRange reads_h, reads_w;
  // Of reads_h, what no strip above it has read in this thread.
  std::int64_t first_new_row;

  SeparableStrip(const SeparableStrips& strips, std::int64_t item, bool is_first)
      : n(item / (strips.down * strips.across)),
        i(item % strips.down * strips.rows),
        rows(std::min(strips.rows, strips.a.out_h - i)),
        j(item / strips.down % strips.across * strips.columns),
        columns(std::min(strips.columns, strips.a.out_w - j)),
        reads_h(i, rows, strips.a.stride_h, strips.a.top, strips.a.span_h(), strips.a.h),
        reads_w(j, columns, strips.a.stride_w, strips.a.left, strips.a.span_w(), strips.a.w),
        first_new_row(reads_h.begin) {
    if (is_first || i == 0) return;
    const ReadRange above(0, i, strips.a.stride_h, strips.a.top, strips.a.span_h(), strips.a.h);
    first_new_row = std::max(first_new_row, above.end);
  }

  RowRing ring(const SeparableStrips& strips, const float* pixels) const {
    const std::int64_t pitch = strips.a.pitch();
    return {pixels,        strips.ring_rows(), reads_w.size() * pitch,
            reads_w.begin, reads_w.size(),     pitch};
  }
};

// rows_of(strip, ring) returns the rows that the strip reads, where they lie or written to the
// ring. Product is that of gemm.h or strassen.h.
template <class Product, class RowsOf>
Status run_separable(const SeparableStages& a, const SeparableStrips& strips,
                     std::int64_t num_threads, const RowsOf& rows_of) {
  const Output output{a.y,    a.out_channels, nullptr,
                      a.bias, a.residual,     static_cast<Activation>(a.activation)};
  const std::int64_t most_pixels = strips.rows * strips.columns;
  const auto run = [&](std::int64_t begin, std::int64_t end, float* scratch) {
    float* const bias = scratch;  // of whole blocks
    float* const mixed_from = bias + a.pitch();
    float* const ring = mixed_from + most_pixels * a.pitch();
    const Product product(a.c, a.out_channels, a.pointwise_weights, scratch + strips.floats());
    // Pixels of scratch by all output channels.
    const auto mix_channels = [&](const float* pixels, std::int64_t count, const Output& to) {
      product.multiply(count, [&](std::int64_t p) { return pixels + p * a.pitch(); }, to);
    };
    std::fill(bias, bias + a.pitch(), 0.0f);
    if (a.depthwise_bias) std::copy_n(a.depthwise_bias, a.c, bias);
    // Lanes beyond the last channel, which nobody writes.
    if (a.c < a.pitch()) std::fill(ring, ring + strips.ring_floats(), 0.0f);
    const DepthwiseFilter filter{a.kernel_h,
                                 a.kernel_w,
                                 a.stride_h,
                                 a.stride_w,
                                 a.top,
                                 a.left,
                                 a.dilation_h,
                                 a.dilation_w,
                                 a.h,
                                 a.blocks(),
                                 a.depthwise_weights,
                                 bias,
                                 static_cast<Activation>(a.depthwise_activation)};
    for (std::int64_t item = begin; item < end; ++item) {
      const SeparableStrip s(strips, item, item == begin);
      filter_rows(filter, rows_of(s, ring), s.i, s.rows, s.j, s.columns, mixed_from, a.pitch());
      const std::int64_t pixel = (s.n * a.out_h + s.i) * a.out_w + s.j;
      if (s.columns == a.out_w) {
        mix_channels(mixed_from, s.rows * s.columns, output.at(pixel, 0));
        continue;
      }
      for (std::int64_t r = 0; r < s.rows; ++r)
        mix_channels(mixed_from + r * s.columns * a.pitch(), s.columns,
                     output.at(pixel + r * a.out_w, 0));
    }
  };
  return parallel_for_with_scratch(
      strips.number(), most_pixels * a.c * (a.kernel_h * a.kernel_w + a.out_channels), num_threads,
      strips.floats() + Product::floats(a.c, a.out_channels, most_pixels), run);
}

struct SeparableArgs {
  const float* x;  // (n, c, h, w); channels lie side by side
  SeparableStages stages;
  std::int64_t stride_n, stride_y, stride_x;  // of x, in floats
  std::int64_t num_threads;
};

template <class Product>
Status separable_by(const SeparableArgs& args, const StripLimits& most) {
  const SeparableStages& a = args.stages;
  if (const Status status = check(a); status != Status::ok) return status;
  if (a.n * a.out_h * a.out_w * a.out_channels == 0) return Status::ok;

  // Whole blocks of channels are read in place; others are copied first.
  const bool has_ring = a.c % kLanes != 0;
  const SeparableStrips strips(a, has_ring, args.num_threads, most);
  if (!has_ring)
    return run_separable<Product>(
        a, strips, args.num_threads, [&](const SeparableStrip& strip, float*) -> RowRing {
          return {args.x + strip.n * args.stride_n, a.h, args.stride_y, 0, a.w, args.stride_x};
        });
  return run_separable<Product>(
      a, strips, args.num_threads, [&](const SeparableStrip& strip, float* memory) {
        const RowRing ring = strip.ring(strips, memory);
        for (std::int64_t row = strip.first_new_row; row < strip.reads_h.end; ++row)
          for (std::int64_t column = 0; column < ring.columns; ++column)
            std::copy_n(args.x + strip.n * args.stride_n + row * args.stride_y +
                            (ring.first_column + column) * args.stride_x,
                        a.c, memory + ring.offset(row) + column * ring.column_pitch);
        return ring;
      });
}

inline Status separable(const SeparableArgs& args) {
  return separable_by<DirectProduct>(args, kSmallStrips);
}
inline Status separable_strassen(const SeparableArgs& args) {
  return separable_by<StrassenProduct>(args, kStrassenStrips);
}
