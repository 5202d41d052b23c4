// SPDX-License-Identifier: Apache-2.0
// What lies between the convolutions of a network and multiplies nothing: pooling, addition,
// concatenation. All channels last; bound by memory.

struct Pool2dArgs {
  const float* x;                                         // (n, c, h, w); channels lie side by side
  float* y;                                               // (n, c, out_h, out_w), channels last
  std::int64_t n, c, h, w, stride_n, stride_y, stride_x;  // strides of x, in floats
  std::int64_t kernel_h, kernel_w, stride_h, stride_w, top, left, dilation_h, dilation_w;
  std::int64_t out_h, out_w;
  std::int64_t kind;  // a PoolKind
  std::int64_t num_threads;
};

// The greatest number of a window, the mean of those inside of the image, or the mean of all with
// zeros in the padding, which is as wide after the image as before it. The order of POOLINGS in
// convsmith/native/chains/passes.py.
enum class PoolKind : std::int64_t { greatest, mean_inside, mean_with_padding };

// Taps of a window along one axis: those inside of the image, and how many an average divides by.
struct PoolTaps {
  std::int64_t first, begin, end, count;

  PoolTaps(std::int64_t first, std::int64_t kernel, std::int64_t dilation, std::int64_t before,
           std::int64_t size, bool counts_padding)
      : first(first),
        begin(first < 0 ? divide_up(-first, dilation) : 0),
        end(std::clamp<std::int64_t>(divide_up(size - first, dilation), begin, kernel)),
        count(counts_padding ? std::min(first + kernel, size + before) - first : end - begin) {}
};

template <bool is_greatest>
struct Pooling {
  const Pool2dArgs& a;

  // A NaN stays, whichever of the two it is.
  static Vec join(Vec sofar, Vec value) {
    if constexpr (!is_greatest) return sofar + value;
    const Vec larger = greater(sofar, value);
    return sofar == sofar ? larger : sofar;
  }

  // Vectors of channels beside each other: a tap's cache lines are then read in one go.
  template <int kVectors>
  void window(const float* image, const PoolTaps& down, const PoolTaps& across, std::int64_t c,
              std::int64_t left, float* y) const {
    constexpr float kLowest = -std::numeric_limits<float>::infinity();
    Vec joined[kVectors];
    for (Vec& v : joined) v = is_greatest ? broadcast(kLowest) : zero();
    for (std::int64_t i = down.begin; i < down.end; ++i) {
      const float* row = image + (down.first + i * a.dilation_h) * a.stride_y + c;
      for (std::int64_t j = across.begin; j < across.end; ++j) {
        const float* from = row + (across.first + j * a.dilation_w) * a.stride_x;
        for (int v = 0; v < kVectors; ++v)
          joined[v] =
              join(joined[v], kVectors > 1 ? load(from + v * kLanes) : load_up_to(from, left));
      }
    }
    const float count = static_cast<float>(down.count * across.count);
    for (int v = 0; v < kVectors; ++v) {
      const Vec result = is_greatest ? joined[v] : joined[v] / count;
      kVectors > 1 ? store(y + c + v * kLanes, result) : store_up_to(y + c, result, left);
    }
  }

  void row(std::int64_t item) const {
    constexpr int kMany = 4;
    const bool pads = static_cast<PoolKind>(a.kind) == PoolKind::mean_with_padding;
    const std::int64_t n = item / a.out_h, i = item % a.out_h;
    const PoolTaps down(i * a.stride_h - a.top, a.kernel_h, a.dilation_h, a.top, a.h, pads);
    float* y = a.y + item * a.out_w * a.c;
    for (std::int64_t j = 0; j < a.out_w; ++j, y += a.c) {
      const PoolTaps across(j * a.stride_w - a.left, a.kernel_w, a.dilation_w, a.left, a.w, pads);
      const float* image = a.x + n * a.stride_n;
      std::int64_t c = 0;
      for (; c + kMany * kLanes <= a.c; c += kMany * kLanes)
        window<kMany>(image, down, across, c, kMany * kLanes, y);
      for (; c < a.c; c += kLanes) window<1>(image, down, across, c, a.c - c, y);
    }
  }
};

inline Status pool2d(const Pool2dArgs& a) {
  for (std::int64_t count : {a.n, a.c, a.h, a.w, a.out_h, a.out_w, a.top, a.left})
    if (count < 0) return Status::bad_sizes;
  for (std::int64_t step :
       {a.kernel_h, a.kernel_w, a.stride_h, a.stride_w, a.dilation_h, a.dilation_w})
    if (step < 1) return Status::bad_sizes;
  if (a.kind < 0 || a.kind > 2) return Status::bad_sizes;
  std::int64_t bytes;
  const std::int64_t float_size = sizeof(float);
  if (!product_fits(bytes, float_size, a.n, a.c, a.h, a.w) ||
      !product_fits(bytes, float_size, a.n, a.c, a.out_h, a.out_w) ||
      !positions_fit(a.h, a.out_h, a.stride_h, a.top, a.kernel_h, a.dilation_h) ||
      !positions_fit(a.w, a.out_w, a.stride_w, a.left, a.kernel_w, a.dilation_w))
    return Status::overflow;
  const auto rows = [&](const auto& pooling) {
    parallel_for(a.n * a.out_h, a.out_w * a.c * a.kernel_h * a.kernel_w, a.num_threads,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t item = begin; item < end; ++item) pooling.row(item);
                 });
  };
  if (static_cast<PoolKind>(a.kind) == PoolKind::greatest)
    rows(Pooling<true>{a});
  else
    rows(Pooling<false>{a});
  return Status::ok;
}

struct AddArgs {
  const float* a;
  const float* b;
  float* y;  // activation(a + b)
  std::int64_t count, activation;
  std::int64_t num_threads;
};

inline Status add(const AddArgs& args) {
  if (args.count < 0 || args.activation < 0 || args.activation >= kNumActivations)
    return Status::bad_sizes;
  const std::int64_t blocks = divide_up(args.count, kLanes);
  with_activation(static_cast<Activation>(args.activation), [&](auto kind) {
    parallel_for(blocks, kLanes, args.num_threads, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t block = begin; block < end; ++block) {
        const std::int64_t at = block * kLanes, left = args.count - at;
        const Vec sum = load_up_to(args.a + at, left) + load_up_to(args.b + at, left);
        store_up_to(args.y + at, activate<kind()>(sum), left);
      }
    });
  });
  return Status::ok;
}

struct CopyChannelsArgs {
  const float* x;
  float* y;
  std::int64_t pixels, channels, x_pitch, y_pitch;  // from one pixel to the next, in floats
  std::int64_t y_first;                             // channel of y
  std::int64_t num_threads;
};

// Channels of every pixel to a place among more of them: one part of a concatenation.
inline Status copy_channels(const CopyChannelsArgs& a) {
  if (a.pixels < 0 || a.channels < 0 || a.y_first < 0) return Status::bad_sizes;
  parallel_for(a.pixels, a.channels, a.num_threads, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p) {
      const float* from = a.x + p * a.x_pitch;
      float* to = a.y + p * a.y_pitch + a.y_first;
      for (std::int64_t c = 0; c < a.channels; c += kLanes)
        store_up_to(to + c, load_up_to(from + c, a.channels - c), a.channels - c);
    }
  });
  return Status::ok;
}
