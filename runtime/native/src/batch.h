// Checking a batch before anything of it is read, and cutting it into blocks.
#pragma once

#include <vector>

#include "encoder.h"

namespace lanner {

// Throws where an id lies beyond its table, or the sequences do not add up.
void check(const Model& model, const ln_batch& batch);

// Blocks of whole sequences, of about `tokens` tokens each.
std::vector<Block> blocks_of(const ln_batch& batch, std::size_t tokens);

std::size_t longest_sequence(const ln_batch& batch);
std::size_t largest_block(const std::vector<Block>& blocks);

}  // namespace lanner
