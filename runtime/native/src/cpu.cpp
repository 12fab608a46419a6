#include "cpu.h"

#if defined(LN_X86)
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace lanner {

#if defined(LN_X86)

namespace {

bool bit(unsigned value, int index) { return (value >> index & 1) != 0; }

// The register states that the system saves (XCR0).
unsigned long long saved_states() {
  unsigned low, high;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return static_cast<unsigned long long>(high) << 32 | low;
}

// Linux gives a process the AMX tile registers only on request (Documentation/arch/x86/xstate.rst).
bool request_tiles() {
#if defined(__linux__)
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace

Cpu Cpu::detect() {
  Cpu cpu;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return cpu;
  const bool fma = bit(c, 12), xsave = bit(c, 27), avx = bit(c, 28);
  if (!xsave || !avx || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return cpu;
  const unsigned long long states = saved_states();
  const bool ymm = (states & 0x6) == 0x6, zmm = (states & 0xe6) == 0xe6;
  const bool tiles = (states & 0x60000) == 0x60000;
  cpu.avx2 = ymm && fma && bit(b, 5);
  const bool avx512 = bit(b, 16) && bit(b, 17) && bit(b, 30) && bit(b, 31);  // F, DQ, BW, VL
  cpu.avx512_vnni = cpu.avx2 && zmm && avx512 && bit(c, 11);
  cpu.amx_int8 = cpu.avx512_vnni && tiles && bit(d, 24) && bit(d, 25) && request_tiles();
  const bool amx_bf16 = cpu.amx_int8 && bit(d, 22);
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) {
    cpu.avx_vnni = cpu.avx2 && bit(a, 4);
    cpu.amx_bf16 = amx_bf16 && bit(a, 5);  // with AVX-512's conversions
  }
  return cpu;
}

#else

Cpu Cpu::detect() { return {}; }

#endif

}  // namespace lanner
