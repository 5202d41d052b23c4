// SPDX-License-Identifier: Apache-2.0
// Runs the kernel on every supported target over odd sizes. Built with sanitizers: each array is an
// allocation of its own, so a read or write beyond it stops the program.
#include <cstdio>
#include <string_view>
#include <vector>

#include "native/dispatch.h"

using namespace convsmith;

static Status call(const Kernel& kernel, std::int64_t h, std::int64_t w, std::int64_t k,
                   std::int64_t stride, std::int64_t dilation, std::int64_t pad) {
  const std::int64_t span = dilation * (k - 1) + 1;
  if (h + 2 * pad < span || w + 2 * pad < span) return Status::ok;
  const std::int64_t out_h = (h + 2 * pad - span) / stride + 1;
  const std::int64_t out_w = (w + 2 * pad - span) / stride + 1;
  const std::vector<float> x(2 * 4 * h * w, 1), kernels(2 * 2 * k * k * out_h * out_w, 1);
  std::vector<float> y(2 * 4 * out_h * out_w, -1);
  const auto address = [](const float* p) { return reinterpret_cast<std::int64_t>(p); };
  // The order of Involution2dArgs; two images, four channels, two groups, two threads.
  // clang-format off
  const std::int64_t integers[] = {
      address(x.data()), address(kernels.data()), address(y.data()),
      2, 4, h, w, 2, k, k, out_h, out_w, stride, stride, pad, pad, dilation, dilation, 2};
  // clang-format on
  const Status status = kernel.run(integers);
  for (float value : y)
    if (value < 0) return Status::bad_sizes;  // an output was not written
  return status;
}

int main() {
  int calls = 0;
  for (const Target* target : targets()) {
    if (!target->is_supported()) continue;
    const Kernel* found = target->kernels;
    while (std::string_view(found->name) != "involution2d") ++found;
    const Kernel& kernel = *found;
    for (std::int64_t w = 1; w < 40; ++w)
      for (std::int64_t k : {1, 2, 3, 7})
        for (std::int64_t stride : {1, 2, 3})
          for (std::int64_t dilation : {1, 2})
            for (std::int64_t pad : {0, 1, 3, 9}) {
              if (call(kernel, 5, w, k, stride, dilation, pad) != Status::ok) return 1;
              ++calls;
            }
  }
  std::printf("%d calls\n", calls);
}
