// SPDX-License-Identifier: Apache-2.0
// The inverted residual block, float32: a pointwise convolution that makes many channels, a
// depthwise one over them, a pointwise one that leaves few, and what is added to it:
//
//   e[n, c, q] = expand_activation(sum_k expand[c, k] * x[n, k, q] + its bias[c])
//   y = separable(e), with the residual (see separable.kernel.h)
//
// e is many times larger than x and y. Its rows are made as the depthwise convolution asks for
// them, in a ring in the second cache that holds what one strip reads; the next strip finds its
// first rows there. Only where the work of two threads meets are rows made twice. Beyond the border
// e is zero: the taps there are left out.
//
// Bit for bit the three kernels one after the other. Bound by the multiply-adds of the products.

struct InvertedResidualArgs {
  const float* x;               // (n, in_channels, h, w); channels lie side by side
  const float* expand_weights;  // panels of gemm.h
  const float* expand_bias;     // (c,), or null
  SeparableStages stages;
  std::int64_t in_channels, stride_n, stride_y, stride_x;  // strides of x, one pixel of e apart
  std::int64_t expand_activation;
  std::int64_t num_threads;
};

struct Expansion {
  const InvertedResidualArgs& args;
  const SeparableStages& a = args.stages;

  // Rows [row, row + count) of image n, `columns` of them, to pixels that follow each other.
  void expand(std::int64_t n, std::int64_t row, std::int64_t count, const ReadRange& columns,
              float* to) const {
    const float* x =
        args.x + n * args.stride_n + row * args.stride_y + columns.begin * args.stride_x;
    const std::int64_t pixels = count * columns.size();
    std::int64_t h = 0, w = 0;
    for (std::int64_t first = 0; first < pixels; first += kStripRows) {
      const std::int64_t num_pixels = std::min(kStripRows, pixels - first);
      const float* rows[kStripRows];
      for (std::int64_t p = 0; p < num_pixels; ++p) {
        rows[p] = x + h * args.stride_y + w * args.stride_x;
        if (++w == columns.size()) {
          w = 0;
          ++h;
        }
      }
      const Output output{
          to + first * a.pitch(), a.pitch(), nullptr,
          args.expand_bias,       nullptr,   static_cast<Activation>(args.expand_activation)};
      const DirectProduct product(args.in_channels, a.c, args.expand_weights);
      product.multiply(num_pixels, [&](std::int64_t p) { return rows[p]; }, output);
    }
  }

  // What the strip reads and the ring does not hold yet, up to the ring's end and then from its
  // beginning.
  void fill(const SeparableStrip& strip, const RowRing& ring, float* memory) const {
    for (std::int64_t row = strip.first_new_row; row < strip.reads_h.end;) {
      const std::int64_t count = std::min(strip.reads_h.end - row, ring.places - row % ring.places);
      expand(strip.n, row, count, strip.reads_w, memory + ring.offset(row));
      row += count;
    }
  }
};

inline Status inverted_residual(const InvertedResidualArgs& args) {
  const SeparableStages& a = args.stages;
  if (const Status status = check(a); status != Status::ok) return status;
  if (args.in_channels < 0 || args.expand_activation < 0 ||
      args.expand_activation >= kNumActivations)
    return Status::bad_sizes;
  const std::int64_t float_size = sizeof(float), padded = kStripRows + kPanel;
  std::int64_t bytes;
  if (!product_fits(bytes, float_size, padded, args.in_channels, a.n, a.h, a.w) ||
      !product_fits(bytes, float_size, padded, args.in_channels, a.c))
    return Status::overflow;
  if (a.n * a.out_h * a.out_w * a.out_channels == 0) return Status::ok;

  const Expansion expansion{args};
  const SeparableStrips strips(a, true, args.num_threads);
  return run_separable<DirectProduct>(a, strips, args.num_threads,
                                      [&](const SeparableStrip& strip, float* memory) {
                                        const RowRing ring = strip.ring(strips, memory);
                                        expansion.fill(strip, ring, memory);
                                        return ring;
                                      });
}
