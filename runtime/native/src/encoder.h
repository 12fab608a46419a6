// One block of packed sequences through a model.
#pragma once

#include "lanner_native.h"
#include "model.h"
#include "scratch.h"
#include "team.h"

namespace lanner {

// Sequences [first, last) of a batch that was checked.
struct Block {
  const ln_batch* batch;
  std::size_t first, last;

  std::size_t begin() const { return static_cast<std::size_t>(batch->starts[first]); }
  std::size_t tokens() const { return static_cast<std::size_t>(batch->starts[last]) - begin(); }
  std::size_t sequences() const { return last - first; }
};

// Compute the output rows of a block.
void encode(const Model& model, const Block& block, const Scratch& scratch, const Team::Crew& crew,
            float* output);

}  // namespace lanner
