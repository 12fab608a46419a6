#include "batch.h"

#include <algorithm>
#include <limits>

#include "error.h"

namespace lanner {

namespace {

void check_ids(const char* name, const std::int32_t* ids, std::size_t count, std::size_t rows) {
  for (std::size_t i = 0; i < count; ++i)
    if (ids[i] < 0 || static_cast<std::size_t>(ids[i]) >= rows)
      invalid_input(std::string(name) + " " + std::to_string(i) + " is " + std::to_string(ids[i]) +
                    ", and the table has " + std::to_string(rows) + " rows");
}

}  // namespace

void check(const Model& model, const ln_batch& batch) {
  if (batch.sequences == 0 && batch.tokens == 0) return;
  if (batch.ids == nullptr || batch.starts == nullptr)
    invalid_input("the batch has no ids or no starts");
  if (batch.tokens > std::size_t{std::numeric_limits<std::int32_t>::max()} ||
      batch.sequences > batch.tokens)
    invalid_input("the batch has " + std::to_string(batch.sequences) + " sequences and " +
                  std::to_string(batch.tokens) + " tokens");
  if (batch.starts[0] != 0 ||
      static_cast<std::size_t>(batch.starts[batch.sequences]) != batch.tokens)
    invalid_input("starts do not reach from 0 to the number of tokens, " +
                  std::to_string(batch.tokens));
  for (std::size_t i = 0; i < batch.sequences; ++i) {
    // Starts that fall or leap cannot overflow here: 64 bits hold every difference.
    const std::int64_t length = std::int64_t{batch.starts[i + 1]} - batch.starts[i];
    if (length < 1 || length > std::int64_t{model.config.max_tokens})
      invalid_input("sequence " + std::to_string(i) + " has " + std::to_string(length) +
                    " tokens, and must have 1 to " + std::to_string(model.config.max_tokens));
  }
  check_ids("token id", batch.ids, batch.tokens, model.words.rows());
  if (batch.type_ids && model.types.rows())
    check_ids("type id", batch.type_ids, batch.tokens, model.types.rows());
}

std::vector<Block> blocks_of(const ln_batch& batch, std::size_t tokens) {
  std::vector<Block> blocks;
  for (std::size_t first = 0; first < batch.sequences;) {
    std::size_t last = first + 1;
    const auto begin = static_cast<std::size_t>(batch.starts[first]);
    while (last < batch.sequences &&
           static_cast<std::size_t>(batch.starts[last + 1]) - begin <= tokens)
      ++last;
    blocks.push_back({&batch, first, last});
    first = last;
  }
  return blocks;
}

std::size_t longest_sequence(const ln_batch& batch) {
  std::int32_t longest = 0;
  for (std::size_t i = 0; i < batch.sequences; ++i)
    longest = std::max(longest, batch.starts[i + 1] - batch.starts[i]);
  return static_cast<std::size_t>(longest);
}

std::size_t largest_block(const std::vector<Block>& blocks) {
  std::size_t largest = 0;
  for (const Block& block : blocks) largest = std::max(largest, block.tokens());
  return largest;
}

}  // namespace lanner
