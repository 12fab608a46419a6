// What this processor, and the system that runs on it, can do.
#pragma once

namespace lanner {

struct Cpu {
  bool avx2 = false;         // with FMA
  bool avx_vnni = false;     // vpdpbusd on 256 bits, without AVX-512
  bool avx512_vnni = false;  // with the F, BW, DQ and VL extensions
  bool amx_int8 = false;     // with permission to use its registers, and AVX-512 VNNI
  bool amx_bf16 = false;     // besides that

  static Cpu detect();
};

}  // namespace lanner
