// AVX-VNNI, vpdpbusd on 256 bits: Intel's desktops and small cores since Alder Lake, AMD since Zen 5.
#include "vector_avx2.h"

#include "avx_vnni_tile.h"
#include "product.h"

namespace {
constexpr std::size_t kFloatRows = 6, kFloatVectors = 1;
constexpr std::size_t kSoftmaxRows = 1;
}  // namespace

#include "kernel_table.h"

namespace lanner {
extern const Kernels kAvxVnni;
const Kernels kAvxVnni = kTable;
}  // namespace lanner
