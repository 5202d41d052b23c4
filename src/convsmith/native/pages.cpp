// SPDX-License-Identifier: Apache-2.0
#include "pages.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace convsmith {

void ask_for_huge_pages(std::uintptr_t address, std::size_t bytes) noexcept {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr std::uintptr_t kHuge = std::uintptr_t{2} << 20;
  const std::uintptr_t begin = (address + kHuge - 1) / kHuge * kHuge;
  const std::uintptr_t end = (address + bytes) / kHuge * kHuge;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace convsmith
