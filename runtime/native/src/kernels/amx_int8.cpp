// AMX: Intel's servers since Sapphire Rapids. Everything but products of bytes is AVX-512.
#include "vector_avx512.h"

#include "ahead.h"
#include "amx_tiles.h"

namespace {

constexpr std::size_t kFloatRows = 8, kFloatVectors = 2;

// 16 x 64 sums in registers 0 to 3; 4 and 5 have rows, 6 and 7 weights. Rows beyond the last are
// multiplied too and not looked at.
struct Tile : Tiles {
  static void multiply(const std::uint8_t* a, std::size_t stride, std::size_t,
                       const std::int8_t* panel, std::size_t depth, std::int32_t* sums,
                       Ahead ahead) {
    constexpr std::size_t row = 4 * lanner::kPanel;  // bytes from four depths to the next four
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (std::size_t k = 0; k < depth; k += 64, panel += 16 * row) {
      for (std::size_t i = 0; i < 16; ++i) ahead.four_depths();
      _tile_loadd(4, a + k, stride);
      _tile_loadd(6, panel, row);
      _tile_dpbusd(0, 4, 6);
      _tile_loadd(7, panel + 64, row);
      _tile_dpbusd(1, 4, 7);
      _tile_loadd(6, panel + 128, row);
      _tile_dpbusd(2, 4, 6);
      _tile_loadd(7, panel + 192, row);
      _tile_dpbusd(3, 4, 7);
    }
    _tile_stored(0, sums, row);
    _tile_stored(1, sums + 16, row);
    _tile_stored(2, sums + 32, row);
    _tile_stored(3, sums + 48, row);
  }
};

}  // namespace

#include "product.h"

#include "kernel_table.h"

namespace lanner {
extern const Kernels kAmxInt8;
const Kernels kAmxInt8 = kTable;
}  // namespace lanner
