#include "instruction_limit.h"

#include <algorithm>
#include <cstring>
#include <ctime>

double processor_s() {
  std::timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

#if defined(__x86_64__)
#include <immintrin.h>

namespace {

// The best of some runs of `steps` calls, each of `operations` multiplications and additions.
template <class F>
double best(long steps, double operations, F&& run) {
  double least = 1e9;
  for (int i = 0; i < 99; ++i) {
    const double start = processor_s();
    run(steps);
    least = std::min(least, processor_s() - start);
  }
  return static_cast<double>(steps) * operations / least;
}

// Twelve independent sums hide the latency; assembly keeps the compiler from joining them.
#define LN_TWELVE(step) step(0) step(1) step(2) step(3) step(4) step(5) step(6) step(7) step(8) step(9) step(10) step(11)

void run_avx512(long steps) {
  for (long i = 0; i < steps; ++i) {
#define LN_STEP(n) "vpdpbusd %%zmm14, %%zmm15, %%zmm" #n "\n"
    asm volatile(LN_TWELVE(LN_STEP) ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                 "xmm9", "xmm10", "xmm11");
#undef LN_STEP
  }
}
void run_avx_vnni(long steps) {
  for (long i = 0; i < steps; ++i) {
#define LN_STEP(n) "%{vex%} vpdpbusd %%ymm14, %%ymm15, %%ymm" #n "\n"
    asm volatile(LN_TWELVE(LN_STEP) ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                 "xmm9", "xmm10", "xmm11");
#undef LN_STEP
  }
}
void run_avx2(long steps) {
  for (long i = 0; i < steps; ++i) {
#define LN_STEP(n) "vpmaddwd %%ymm14, %%ymm15, %%ymm13\n vpaddd %%ymm13, %%ymm" #n ", %%ymm" #n "\n"
    asm volatile(LN_TWELVE(LN_STEP) ::: "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
                 "xmm9", "xmm10", "xmm11", "xmm13");
#undef LN_STEP
  }
}
struct TileConfiguration {
  unsigned char palette = 1, start_row = 0, reserved[14] = {};
  unsigned short row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  unsigned char rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
const TileConfiguration kTiles;

void run_amx(long steps) {
  asm volatile("ldtilecfg %0" ::"m"(kTiles));
  for (long i = 0; i < steps; ++i)
    asm volatile(
        "tdpbusd %tmm7, %tmm6, %tmm0\n tdpbusd %tmm7, %tmm6, %tmm1\n"
        "tdpbusd %tmm7, %tmm6, %tmm2\n tdpbusd %tmm7, %tmm6, %tmm3\n");
  asm volatile("tilerelease");
}

}  // namespace

double instruction_limit(const char* instruction_set) {
  if (std::strcmp(instruction_set, "amx_int8") == 0)
    return best(100'000, 4 * 2.0 * 16 * 16 * 64, run_amx);
  if (std::strcmp(instruction_set, "avx512_vnni") == 0)
    return best(500'000, 12 * 2.0 * 64, run_avx512);
  if (std::strcmp(instruction_set, "avx_vnni") == 0)
    return best(500'000, 12 * 2.0 * 32, run_avx_vnni);
  if (std::strcmp(instruction_set, "avx2") == 0) return best(500'000, 12 * 2.0 * 16, run_avx2);
  return 1.0;
}

#else
double instruction_limit(const char*) { return 1.0; }
#endif
