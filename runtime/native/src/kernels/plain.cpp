// Plain C++: the reference for all others, and what runs where none of them can.
#include "vector_plain.h"
#include "ahead.h"

namespace {

constexpr std::size_t kFloatRows = 8, kFloatVectors = 1;

struct Tile {
  static constexpr std::size_t rows = 8;
  static void begin() {}
  static void end() {}
  static void multiply(const std::uint8_t* a, std::size_t stride, std::size_t rows,
                       const std::int8_t* panel, std::size_t depth, std::int32_t* sums, Ahead) {
    for (std::size_t i = 0; i < rows; ++i) {
      std::int32_t* to = sums + i * lanner::kPanel;
      for (std::size_t j = 0; j < lanner::kPanel; ++j) to[j] = 0;
      for (std::size_t k = 0; k < depth; k += 4)
        for (std::size_t j = 0; j < lanner::kPanel; ++j)
          for (std::size_t p = 0; p < 4; ++p)
            to[j] += a[i * stride + k + p] * panel[k * lanner::kPanel + 4 * j + p];
    }
  }
};

}  // namespace

#include "product.h"

#include "kernel_table.h"

namespace lanner {
extern const Kernels kPlain;
const Kernels kPlain = kTable;
}  // namespace lanner
