// AVX-512 with VNNI: Intel since Ice Lake, AMD since Zen 4.
#include "vector_avx512.h"

#include "avx512_tile.h"
#include "product.h"

namespace {
constexpr std::size_t kFloatRows = 8, kFloatVectors = 2;
constexpr std::size_t kSoftmaxRows = 4;
}  // namespace

#include "kernel_table.h"

namespace lanner {
extern const Kernels kAvx512Vnni;
const Kernels kAvx512Vnni = kTable;
}  // namespace lanner
