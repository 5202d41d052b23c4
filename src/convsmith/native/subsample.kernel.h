// SPDX-License-Identifier: Apache-2.0
// Pixels of an image at regular steps, between channels of zeros: the shortcut of a residual
// network that has no weights.
//
//   y[before + c, i, j] = x[c, first_h + i step_h, first_w + j step_w], zeros in other channels

struct Subsample2dArgs {
  const float* x;  // (n, c, h, w), channels last
  float* y;        // (n, before + c + after, out_h, out_w), channels last
  std::int64_t n, c, h, w;
  std::int64_t first_h, first_w, step_h, step_w, out_h, out_w;
  std::int64_t before, after;  // channels of zeros
  std::int64_t num_threads;
};

// Whether the pixels first, first + step, ... of an axis are there.
inline bool lie_inside(std::int64_t first, std::int64_t step, std::int64_t count,
                       std::int64_t size) {
  return count == 0 || (first < size && count - 1 <= (size - 1 - first) / step);
}

inline void subsample_row(const Subsample2dArgs& a, std::int64_t item) {
  const std::int64_t n = item / a.out_h, row = a.first_h + item % a.out_h * a.step_h;
  const std::int64_t channels = a.before + a.c + a.after;
  const float* from = a.x + ((n * a.h + row) * a.w + a.first_w) * a.c;
  float* to = a.y + item * a.out_w * channels;
  for (std::int64_t j = 0; j < a.out_w; ++j, to += channels) {
    const float* pixel = from + j * a.step_w * a.c;
    float* kept = to + a.before;
    for (std::int64_t c = 0; c < a.before; c += kLanes) store_up_to(to + c, zero(), a.before - c);
    for (std::int64_t c = 0; c < a.c; c += kLanes)
      store_up_to(kept + c, load_up_to(pixel + c, a.c - c), a.c - c);
    for (std::int64_t c = 0; c < a.after; c += kLanes)
      store_up_to(kept + a.c + c, zero(), a.after - c);
  }
}

inline Status subsample2d(const Subsample2dArgs& a) {
  for (std::int64_t count :
       {a.n, a.c, a.h, a.w, a.first_h, a.first_w, a.out_h, a.out_w, a.before, a.after})
    if (count < 0) return Status::bad_sizes;
  if (a.step_h < 1 || a.step_w < 1 || !lie_inside(a.first_h, a.step_h, a.out_h, a.h) ||
      !lie_inside(a.first_w, a.step_w, a.out_w, a.w))
    return Status::bad_sizes;
  std::int64_t channels, read, written;
  const std::int64_t float_size = sizeof(float);
  if (__builtin_add_overflow(a.before, a.c, &channels) ||
      __builtin_add_overflow(channels, a.after, &channels) ||
      !product_fits(read, float_size, a.n, a.c, a.h, a.w) ||
      !product_fits(written, float_size, a.n, channels, a.out_h, a.out_w))
    return Status::overflow;
  if (written == 0) return Status::ok;
  if (!a.y || (read > 0 && !a.x)) return Status::bad_sizes;  // no memory is of size zero
  parallel_for(a.n * a.out_h, a.out_w * channels, a.num_threads,
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t item = begin; item < end; ++item) subsample_row(a, item);
               });
  return Status::ok;
}
