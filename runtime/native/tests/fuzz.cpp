// Random encoders, batches and damage, for the sanitizers: fuzz [rounds] [seed] [instruction set ...]. Whatever
// is given, the answer is finite or a status with a text; and the same by another instruction set. Only those
// named take part, or all: plain C++ takes most of the time.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "check.h"
#include "loaded.h"

using lanner::Random;
using lanner::RandomBatch;
using lanner::RandomModel;

namespace {

using Names = std::vector<std::string>;

// From 1 on. Mostly small, so that there can be many rounds.
std::uint32_t random_size(Random& random, std::uint32_t usual, std::uint32_t most) {
  return 1 + random.below(random.below(8) ? usual : most);
}

ln_config random_config(Random& random) {
  const std::uint32_t shared = 1 + random.below(2), heads = shared * (1 + random.below(2));
  ln_config c = RandomModel::bert(1 + random.below(2), random_size(random, 70, 140), heads,
                                  random_size(random, 20, 70), random_size(random, 70, 280));
  c.activation = random.below(6);
  c.max_tokens = random_size(random, 20, 160);
  c.scales = random.below(2);
  c.pooling = random.below(4);
  c.normalize = random.below(2);
  c.norm = random.below(2);
  c.norm_place = random.below(2);
  c.gated = random.below(2);
  c.positions = random.below(2);
  if (random.below(2)) c.key_value_heads = shared;
  if (random.below(3) == 0) c.layer_groups = 1;
  if (random.below(3) == 0) c.embedding_size = random_size(random, 20, 90);
  if (random.below(3) == 0) {
    c.position_offset = 2;
    c.padding_id = 1;
  }
  if (random.below(3) == 0) {
    c.relative_buckets = 32;
    c.relative_max_distance = 128;
  }
  if (c.head_size > 1 && random.below(2)) {
    c.rotary_tables = 1 + random.below(2);
    c.rotary_pairs = 1 + random.below(c.head_size / 2);
    c.rotary_neighbours = random.below(2);
  }
  return c;
}

// Nobody can see from a description that the memory is smaller than it says: a caller's arrays are
// as large as their shapes. So `memory` becomes that of a damaged tensor, larger than any damage.
void damage_model(Random& random, ln_config& config, std::vector<ln_tensor>& tensors,
                  std::vector<std::byte>& memory) {
  ln_tensor& tensor = tensors[random.below(static_cast<std::uint32_t>(tensors.size()))];
  const std::size_t values = tensor.shape[0] * (tensor.rank == 2 ? tensor.shape[1] : 1);
  memory.resize(sizeof(float) * (tensor.shape[0] + 1) * (tensor.shape[1] + 2));
  std::memcpy(memory.data(), tensor.data, values * (tensor.dtype == LN_F32 ? sizeof(float) : 1));
  tensor.data = memory.data();
  switch (random.below(5)) {
    case 0: tensor.shape[random.below(2)] += 1; break;
    case 1: tensor.dtype = random.below(4); break;
    case 2: tensor.rank = random.below(4); break;
    case 3: {
      // Any word of the description but the pointer.
      auto* words = reinterpret_cast<std::uint32_t*>(&config);
      words[random.below(offsetof(ln_config, instruction_set) / 4)] = random.below(1u << 24);
      break;
    }
    default: tensors.pop_back();
  }
}

void damage_batch(Random& random, RandomBatch& batch) {
  const auto any = [&](std::vector<std::int32_t>& values) -> std::int32_t& {
    return values[random.below(static_cast<std::uint32_t>(values.size()))];
  };
  std::int32_t& value = random.below(2)   ? any(batch.starts)
                        : random.below(2) ? any(batch.ids)
                                          : any(batch.type_ids);
  value = static_cast<std::int32_t>(random.below(1u << 24) << random.below(9)) -
          static_cast<std::int32_t>(random.below(1000));
}

bool is_named(const Names& names, const char* name) {
  return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
}

// One of those named, or of all if none of them has bf16.
const char* random_set(Random& random, bool bf16, const Names& names) {
  std::vector<const char*> sets, others;
  for (std::size_t i = 0; i < ln_instruction_set_count(); ++i) {
    ln_instruction_set set;
    ln_instruction_set_get(i, &set);
    if (bf16 ? set.bf16_passed : set.passed) (is_named(names, set.name) ? sets : others).push_back(set.name);
  }
  if (sets.empty()) sets = others;
  return sets[random.below(static_cast<std::uint32_t>(sets.size()))];
}

void round(Random& random, const Names& names) {
  RandomModel::Sizes sizes;
  sizes.vocabulary = 2 + random.below(60);
  sizes.types = random.below(3);
  sizes.products = random.below(4) ? LN_S8 : LN_F32;
  sizes.tables = random.below(2) ? LN_S8 : LN_F32;
  for (std::uint32_t i = random.below(3); i > 0; --i)
    sizes.dense.push_back(random_size(random, 30, 130));
  sizes.dense_norms = random.below(2);
  sizes.embedding_norm = random.below(3);
  sizes.biases = random.below(2);
  ln_config described = random_config(random);
  described.dense_before_pooling = random.below(static_cast<std::uint32_t>(sizes.dense.size()) + 1);
  // Products of bytes stay what they are.
  described.bf16 = random.below(sizes.products == LN_F32 ? 2 : 8) == 0;
  for (std::uint32_t i = random.below(2) ? described.layers : 0; i > 0; --i)
    sizes.windows.push_back(static_cast<float>(random.below(20)));
  const RandomModel model(described, sizes, random.below(1u << 20));
  ln_config config = model.config();
  std::vector<ln_tensor> tensors = model.tensors();
  std::vector<std::byte> memory;
  const bool damaged = random.below(4) == 0;
  if (damaged) damage_model(random, config, tensors, memory);
  Loaded loaded(config, tensors, random_set(random, described.bf16, names));
  CHECK((loaded.status == LN_OK) == loaded.error.empty(), "%d %s", loaded.status, loaded.error.c_str());
  if (loaded.status != LN_OK) return;
  Loaded other(config, tensors, random_set(random, described.bf16, names));
  for (int i = 0; i < 3; ++i) {
    std::vector<std::int32_t> lengths;
    for (std::uint32_t n = random_size(random, 3, 9); n > 0; --n)
      lengths.push_back(static_cast<std::int32_t>(1 + random.below(model.config().max_tokens)));
    RandomBatch batch(lengths, model, random.below(1u << 20));
    if (random.below(4) == 0) damage_batch(random, batch);
    const std::vector<float> a = loaded.run(batch.view(), 1 + random.below(3));
    CHECK((loaded.status == LN_OK) == loaded.error.empty(), "%s", loaded.error.c_str());
    if (loaded.status != LN_OK) continue;
    CHECK(damaged || std::all_of(a.begin(), a.end(), [](float x) { return std::isfinite(x); }),
          "an answer is not finite");
    const std::vector<float> b = other.run(batch.view(), 1 + random.below(3));
    CHECK(std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0, "instruction sets differ");
  }
}

}  // namespace

int main(int count, char** arguments) {
  const long rounds = count > 1 ? std::atol(arguments[1]) : 1000;
  Random random(count > 2 ? static_cast<std::uint32_t>(std::atol(arguments[2])) : 1);
  const Names names(arguments + std::min(count, 3), arguments + count);
  for (long i = 0; i < rounds && failures == 0; ++i) round(random, names);
  return finish("fuzz");
}
