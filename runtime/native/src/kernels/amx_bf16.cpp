// AMX with bfloat16, which each processor with AMX for bytes has had so far.
#include "vector_avx512.h"

#include "ahead.h"
#include "amx_tiles.h"

namespace {

LN_INLINE void store_bf16(std::uint16_t* to, Floats x) {
  const __m512 least = _mm512_set1_ps(lanner::kLeastBf16);
  // "Not less" is true of what is no number.
  const __mmask16 kept = _mm512_cmp_ps_mask(_mm512_abs_ps(x.v), least, _CMP_NLT_UQ);
  const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_maskz_mov_ps(kept, x.v));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), (__m256i)rounded);
}

// 4 has rows, 6 and 7 weights.
struct Bf16Tile : Tiles {
  static void multiply(const std::uint16_t* a, std::size_t stride, std::size_t,
                       const std::uint16_t* panel, std::size_t depth, float* sums, Ahead ahead) {
    constexpr std::size_t row = 2 * lanner::kPanel;  // numbers from two depths to the next two
    clear();
    for (std::size_t k = 0; k < depth; k += 32, panel += 16 * row) {
      for (std::size_t i = 0; i < 16; ++i) ahead.four_depths();
      _tile_loadd(4, a + k, 2 * stride);
      _tile_loadd(6, panel, 2 * row);
      _tile_dpbf16ps(0, 4, 6);
      _tile_loadd(7, panel + 32, 2 * row);
      _tile_dpbf16ps(1, 4, 7);
      _tile_loadd(6, panel + 64, 2 * row);
      _tile_dpbf16ps(2, 4, 6);
      _tile_loadd(7, panel + 96, 2 * row);
      _tile_dpbf16ps(3, 4, 7);
    }
    store(sums);
  }
};

}  // namespace

#include "bf16_product.h"

namespace lanner {
extern const Bf16Kernels kAmxBf16;
const Bf16Kernels kAmxBf16 = {round_to_bf16, bf16_product};
}  // namespace lanner
