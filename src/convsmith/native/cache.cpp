// SPDX-License-Identifier: Apache-2.0
#include "cache.h"

#include <unistd.h>

namespace convsmith {
namespace {

std::int64_t ask_system() {
#ifdef _SC_LEVEL2_CACHE_SIZE
  if (const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE); bytes > 0) return bytes / sizeof(float);
#endif
  return (1 << 20) / sizeof(float);
}

const std::int64_t floats = ask_system();

}  // namespace

std::int64_t second_cache_floats() { return floats; }

}  // namespace convsmith
