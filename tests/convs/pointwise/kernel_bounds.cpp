// SPDX-License-Identifier: Apache-2.0
// Runs the kernels on every supported target over odd sizes, on small integers, and compares with
// the sum of the definition. Built with sanitizers: each array is an allocation of its own, so a
// read or write beyond it stops the program.
#include <cstdio>
#include <string_view>
#include <vector>

#include "native/dispatch.h"

using namespace convsmith;

static const Kernel& kernel_named(const Target& target, std::string_view name) {
  const Kernel* kernel = target.kernels;
  while (name != kernel->name) ++kernel;
  return *kernel;
}

static std::int64_t address(const void* p) { return reinterpret_cast<std::int64_t>(p); }

static std::vector<float> small_integers(std::int64_t count, std::int64_t seed) {
  std::vector<float> values(count);
  for (std::int64_t i = 0; i < count; ++i) values[i] = (i * 7 + seed * 3 + i / 5) % 17 - 8;
  return values;
}

struct Case {
  std::int64_t n, channels, out_channels, height, width;
  bool channels_last;
};

static bool is_right(const Target& target, const Case& c) {
  const std::int64_t pixels = c.height * c.width;
  const auto x = small_integers(c.n * c.channels * pixels, 1);
  const auto weight = small_integers(c.out_channels * c.channels, 2);
  const auto bias = small_integers(c.out_channels, 3);
  const auto residual = small_integers(c.n * c.out_channels * pixels, 4);
  std::vector<float> panels((c.out_channels + 31) / 32 * 32 * c.channels);
  std::vector<float> y(residual.size(), 0.5f);  // no sum of integers

  const std::int64_t pack[] = {
      address(weight.data()), address(panels.data()), c.out_channels, c.channels, c.channels, 1, 2};
  if (kernel_named(target, "pack_panels").run(pack) != Status::ok) return false;
  const std::int64_t stride_c = c.channels_last ? 1 : pixels;
  const std::int64_t stride_w = c.channels_last ? c.channels : 1;
  // The order of PointwiseArgs; ReLU, two threads.
  const std::int64_t integers[] = {address(x.data()),
                                   address(c.channels_last ? panels.data() : weight.data()),
                                   address(bias.data()),
                                   address(residual.data()),
                                   address(y.data()),
                                   c.n,
                                   c.channels,
                                   c.out_channels,
                                   1,
                                   c.height,
                                   c.width,
                                   c.channels * pixels,
                                   stride_c,
                                   0,
                                   c.width * stride_w,
                                   stride_w,
                                   1,
                                   2};
  const auto name = c.channels_last ? "pointwise_channels_last" : "pointwise_contiguous";
  if (kernel_named(target, name).run(integers) != Status::ok) return false;

  const std::int64_t step_c = c.channels_last ? 1 : pixels;
  const std::int64_t step_p = c.channels_last ? c.out_channels : 1;
  for (std::int64_t image = 0; image < c.n; ++image)
    for (std::int64_t p = 0; p < pixels; ++p)
      for (std::int64_t o = 0; o < c.out_channels; ++o) {
        const std::int64_t at = image * c.out_channels * pixels + o * step_c + p * step_p;
        float sum = bias[o] + residual[at];
        for (std::int64_t i = 0; i < c.channels; ++i)
          sum += weight[o * c.channels + i] *
                 x[image * c.channels * pixels + i * stride_c + p * stride_w];
        if (y[at] != (sum < 0 ? 0 : sum)) return false;
      }
  return true;
}

int main() {
  int calls = 0;
  for (const Target* target : targets()) {
    if (!target->is_supported()) continue;
    for (std::int64_t channels : {0, 1, 3, 16, 33, 130, 600})
      for (std::int64_t out_channels : {1, 3, 7, 8, 15, 16, 17, 31, 32, 33, 67})
        for (std::int64_t width : {1, 2, 5, 8, 13, 31})
          for (bool channels_last : {false, true}) {
            const Case c{2, channels, out_channels, 3, width, channels_last};
            if (!is_right(*target, c)) {
              std::printf("%s: %ld %ld %ld %d\n", target->name, long(channels), long(out_channels),
                          long(width), channels_last);
              return 1;
            }
            ++calls;
          }
    std::printf("%s ", target->name);
  }
  std::printf("%d calls\n", calls);
}
