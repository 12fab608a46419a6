// The default rounding, and denormals as they are: another mode would change bits.
#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lanner {

class DefaultFloats {
 public:
#if defined(__x86_64__)
  DefaultFloats() : old_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~DefaultFloats() { _mm_setcsr(old_); }

 private:
  unsigned old_;
#endif
};

}  // namespace lanner
