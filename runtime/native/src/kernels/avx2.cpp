// AVX2 and FMA without VNNI: Intel since Haswell, AMD since Zen.
#include "vector_avx2.h"

#include "widened_product.h"

namespace {
constexpr std::size_t kFloatRows = 6, kFloatVectors = 1;
constexpr std::size_t kSoftmaxRows = 1;
}  // namespace

#include "kernel_table.h"

namespace lanner {
extern const Kernels kAvx2;
const Kernels kAvx2 = kTable;
}  // namespace lanner
