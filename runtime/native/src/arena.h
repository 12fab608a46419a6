// Memory for a model's weights, in huge pages where the system has them: a short text reads all
// weights once, and the processor's prefetchers stop at the end of a page.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace lanner {

class Arena {
 public:
  Arena() = default;
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Zeros, aligned to 64 bytes, that live as long as the arena.
  template <class T>
  T* take(std::size_t size) {
    return static_cast<T*>(take_bytes(size * sizeof(T)));
  }

 private:
  void* take_bytes(std::size_t size);

  struct Free {
    void operator()(std::byte* chunk) const;
  };
  std::vector<std::unique_ptr<std::byte, Free>> chunks_;
  std::byte* next_ = nullptr;
  std::size_t left_ = 0;
};

}  // namespace lanner
