// SPDX-License-Identifier: Apache-2.0
#include "parallel.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>

#include "denormals.h"

namespace convsmith {
namespace {

// About ten microseconds of one core: waking a second thread costs that much.
constexpr std::int64_t kSmallMacs = 32768;

// A forked child inherits libgomp's record of a pool whose threads do not exist there, and would
// wait for them for ever.
bool is_forked_child = false;
const int fork_hook = pthread_atfork(nullptr, nullptr, [] { is_forked_child = true; });

bool is_small(std::int64_t count, std::int64_t macs_per_item) {
  std::int64_t macs;
  return !__builtin_mul_overflow(count, macs_per_item, &macs) && macs < kSmallMacs;
}

}  // namespace

void parallel_ranges(std::int64_t count, std::int64_t macs_per_item, std::int64_t num_threads,
                     RangeBody run, const void* body) noexcept {
  const int threads = static_cast<int>(std::min<std::int64_t>({num_threads, count, 1024}));
  if (threads <= 1 || is_small(count, macs_per_item) || is_forked_child || fork_hook != 0 ||
      omp_in_parallel()) {
    const WithoutDenormals mode;
    run(body, 0, count);
    return;
  }
#pragma omp parallel num_threads(threads)
  {
    const WithoutDenormals mode;
    const std::int64_t team = omp_get_num_threads();
    const std::int64_t me = omp_get_thread_num();
    const std::int64_t share = count / team, rest = count % team;
    const std::int64_t begin = me * share + std::min(me, rest);
    run(body, begin, begin + share + (me < rest ? 1 : 0));
  }
}

}  // namespace convsmith
