// SPDX-License-Identifier: Apache-2.0
// Involution's multiply-add, float32, contiguous NCHW, with group = c / (C / groups):
//
//   y[n, c, i, j] = sum_{r,s} kernels[n, group, r*kernel_w + s, i, j]
//                             * x[n, c, i*stride_h + r*dilation_h - top,
//                                       j*stride_w + s*dilation_w - left]
//
// The sum runs over the taps that read the image, in the order of r, then s, whatever the target
// and the number of threads; the others are skipped, so a kernel value that meets only padding does
// not matter.
//
// Vectors lie along j: the kernel differs at each j, and its values for one tap are contiguous
// there. The kernels of one output row (49 taps of 56 columns: 11 KB) stay in the first cache while
// every channel of the group uses them. Bound by loads: two for each multiply-add.
//
// Edges: a column whose window leaves the image is summed alone, as is every column at a stride
// along w. The last vector inside the image is moved left to end there, and computes some columns
// again.

struct Involution2dArgs {
  const float* x;        // (n, c, h, w)
  const float* kernels;  // (n, groups, kernel_h * kernel_w, out_h, out_w)
  float* y;              // (n, c, out_h, out_w); overlaps neither
  std::int64_t n, c, h, w, groups, kernel_h, kernel_w, out_h, out_w;
  std::int64_t stride_h, stride_w, top, left, dilation_h, dilation_w;
  std::int64_t num_threads;
};

inline Status check(const Involution2dArgs& a) {
  for (std::int64_t count : {a.n, a.c, a.h, a.w, a.out_h, a.out_w, a.top, a.left})
    if (count < 0) return Status::bad_sizes;
  for (std::int64_t step :
       {a.groups, a.kernel_h, a.kernel_w, a.stride_h, a.stride_w, a.dilation_h, a.dilation_w})
    if (step < 1) return Status::bad_sizes;
  if (a.c % a.groups != 0) return Status::bad_sizes;

  const std::int64_t float_size = sizeof(float);
  std::int64_t bytes;
  const bool fits =
      product_fits(bytes, float_size, a.n, a.c, a.h, a.w) &&
      product_fits(bytes, float_size, a.n, a.c, a.out_h, a.out_w) &&
      product_fits(bytes, float_size, a.n, a.groups, a.kernel_h, a.kernel_w, a.out_h, a.out_w) &&
      positions_fit(a.h, a.out_h, a.stride_h, a.top, a.kernel_h, a.dilation_h) &&
      positions_fit(a.w, a.out_w, a.stride_w, a.left, a.kernel_w, a.dilation_w);
  return fits ? Status::ok : Status::overflow;
}

// One output row of one channel.
struct Involution2dRow {
  const Involution2dArgs& a;
  const float* x;        // the channel's image
  const float* kernels;  // its group's first tap, at this row
  std::int64_t top_row;  // that the first tap reads; may lie above the image

  // Calls add(tap, from, offset) for each tap whose row is in the image: output column j multiplies
  // tap[j] by from[j * stride_w + offset].
  template <class Add>
  void for_each_tap(Add add) const {
    for (std::int64_t r = 0; r < a.kernel_h; ++r) {
      const std::int64_t row = top_row + r * a.dilation_h;
      if (row < 0 || row >= a.h) continue;
      for (std::int64_t s = 0; s < a.kernel_w; ++s)
        add(kernels + (r * a.kernel_w + s) * a.out_h * a.out_w, x + row * a.w,
            s * a.dilation_w - a.left);
    }
  }

  float column(std::int64_t j) const {
    float sum = 0;
    for_each_tap([&](const float* tap, const float* from, std::int64_t offset) {
      const std::int64_t at = j * a.stride_w + offset;
      if (at >= 0 && at < a.w) sum += tap[j] * from[at];
    });
    return sum;
  }

  // kLanes columns from j on; every tap reads inside the image, at stride 1.
  Vec columns_inside(std::int64_t j) const {
    Vec sum = zero();
    for_each_tap([&](const float* tap, const float* from, std::int64_t offset) {
      sum = mul_add(load(tap + j), load(from + j + offset), sum);
    });
    return sum;
  }

  void run(float* y) const {
    // Columns [begin, end) read inside the image with every tap.
    const std::int64_t begin = std::min(a.left, a.out_w);
    const std::int64_t end = std::min(a.out_w, a.w + a.left - (a.kernel_w - 1) * a.dilation_w);
    const bool vectors = a.stride_w == 1 && end - begin >= kLanes;
    std::int64_t j = 0;
    if (vectors) {
      for (; j < begin; ++j) y[j] = column(j);
      for (; j + kLanes <= end; j += kLanes) store(y + j, columns_inside(j));
      if (j < end) store(y + end - kLanes, columns_inside(end - kLanes));
      j = end;
    }
    for (; j < a.out_w; ++j) y[j] = column(j);
  }
};

inline Status involution2d(const Involution2dArgs& a) {
  if (const Status status = check(a); status != Status::ok) return status;
  if (a.n * a.c * a.out_h * a.out_w == 0) return Status::ok;

  const std::int64_t channels = a.c / a.groups;  // of one group
  const std::int64_t taps = a.kernel_h * a.kernel_w;
  const auto rows = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t item = begin; item < end; ++item) {
      const std::int64_t group = item / a.out_h;  // of the whole batch
      const std::int64_t i = item % a.out_h;
      const float* kernels = a.kernels + (group * taps * a.out_h + i) * a.out_w;
      for (std::int64_t c = group * channels; c < (group + 1) * channels; ++c)
        Involution2dRow{a, a.x + c * a.h * a.w, kernels, i * a.stride_h - a.top}.run(
            a.y + (c * a.out_h + i) * a.out_w);
    }
  };
  parallel_for(a.n * a.groups * a.out_h, channels * taps * a.out_w, a.num_threads, rows);
  return Status::ok;
}
