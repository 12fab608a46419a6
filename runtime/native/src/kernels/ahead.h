// Weights on their way into the cache while others are multiplied.
#pragma once

#include "kernels.h"

namespace {

// The next panel, part by part: a short text reads all weights for three tiles of rows, and would wait
// for the memory without this.
struct Ahead {
  const std::int8_t* at;
  std::size_t step;  // bytes of each four depths; 0: nothing is left to bring

  LN_INLINE Ahead of_tile(const std::int8_t* next, std::size_t depth, std::size_t tile,
                          std::size_t tiles) {
    const std::size_t step = tiles < 4 ? 128 : 64, parts = 4 * lanner::kPanel / step;
    return {next + (tile < parts ? tile * depth / 4 * step : 0), tile < parts ? step : 0};
  }
  inline __attribute__((always_inline)) void four_depths() {
    __builtin_prefetch(at, 0, 2);
    __builtin_prefetch(at + 64, 0, 2);
    at += step;
  }
};

}  // namespace
