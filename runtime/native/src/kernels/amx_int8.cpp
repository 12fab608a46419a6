// AMX: Intel's servers since Sapphire Rapids. Everything but products of bytes is AVX-512.
#include "vector_avx512.h"

#include "amx_product.h"

namespace {

constexpr std::size_t kFloatRows = 8, kFloatVectors = 2;
constexpr std::size_t kSoftmaxRows = 4;

}  // namespace

#include "kernel_table.h"

namespace lanner {
extern const Kernels kAmxInt8;
const Kernels kAmxInt8 = kTable;
}  // namespace lanner
