#include "arena.h"

#include <algorithm>
#include <cstring>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "kernels/kernels.h"

namespace lanner {

namespace {

#if defined(__SANITIZE_ADDRESS__)
// A chunk for each, so that the sanitizer sees where one ends.
constexpr std::size_t kHugePage = 64, kChunk = 64;
#else
constexpr std::size_t kHugePage = std::size_t{2} << 20, kChunk = 2 * kHugePage;
#endif
constexpr std::align_val_t kAlignment{kHugePage};

}  // namespace

void Arena::Free::operator()(std::byte* chunk) const { ::operator delete[](chunk, kAlignment); }

void* Arena::take_bytes(std::size_t size) {
  size = round_up(size, 64);
  if (size > left_) {
    const std::size_t chunk = round_up(size, kChunk);
    chunks_.reserve(chunks_.size() + 1);
    next_ = static_cast<std::byte*>(::operator new[](chunk, kAlignment));
    chunks_.emplace_back(next_);
    left_ = chunk;
#if defined(__linux__) && !defined(__SANITIZE_ADDRESS__)
    madvise(next_, chunk, MADV_HUGEPAGE);  // without them it is only slower
#endif
  }
  void* taken = next_;
  std::memset(taken, 0, size);
  next_ += size;
  left_ -= size;
  return taken;
}

}  // namespace lanner
