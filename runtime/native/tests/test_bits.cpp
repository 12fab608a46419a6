// Each instruction set gives the bits of plain C++, and a sequence gets the same bits in every batch,
// on every number of threads.
#include <cstring>

#include "architectures.h"
#include "check.h"
#include "loaded.h"

using lanner::RandomBatch;
using lanner::RandomModel;

namespace {

struct Sets {
  std::vector<const char*> all, bf16;
};

Sets passed_sets() {
  Sets names;
  for (std::size_t i = 0; i < ln_instruction_set_count(); ++i) {
    ln_instruction_set set;
    ln_instruction_set_get(i, &set);
    CHECK(!set.supported || set.passed, "%s failed its self-test", set.name);
    CHECK(!set.bf16_supported || set.bf16_passed, "%s failed its self-test with bf16", set.name);
    std::printf("%s: %s%s\n", set.name, set.passed ? "tested" : "not on this machine",
                set.bf16_passed ? ", with bf16 too" : "");
    if (set.passed) names.all.push_back(set.name);
    if (set.bf16_passed) names.bf16.push_back(set.name);
  }
  return names;
}

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

// Batches of every kind: one token, heights of all tiles, lengths around the lanes, several blocks.
std::vector<std::vector<std::int32_t>> batches() {
  std::vector<std::vector<std::int32_t>> all = {{1}, {14}, {64}, {150}, {1, 1, 1}, {15, 16, 17},
                                                {31, 1, 33, 7}, {90, 80, 70, 60}};
  for (std::int32_t length = 2; length < 8; ++length) all.push_back({length});
  all.push_back(std::vector<std::int32_t>(40, 5));
  return all;
}

void test_sets(const Architecture& architecture, const std::vector<const char*>& sets,
               const std::vector<std::vector<std::int32_t>>& lengths_of_batches = batches()) {
  const RandomModel model(architecture.config, architecture.sizes);
  Loaded plain(model, "plain");
  CHECK(plain.status == LN_OK, "%s: %s", architecture.name.c_str(), plain.error.c_str());
  std::vector<RandomBatch> inputs;
  std::vector<std::vector<float>> expected;
  for (const auto& lengths : lengths_of_batches) {
    inputs.emplace_back(lengths, model, static_cast<std::uint32_t>(inputs.size()));
    expected.push_back(plain.run(inputs.back().view()));
    CHECK(plain.status == LN_OK, "%s: %s", architecture.name.c_str(), plain.error.c_str());
    for (const float value : expected.back()) CHECK(value - value == 0, "not finite");
  }
  for (const char* set : sets) {
    Loaded other(model, set);
    // Plain C++ is slow, and has run already.
    const bool is_plain = std::strcmp(set, "plain") == 0;
    for (std::uint32_t threads = is_plain ? 3 : 1; threads <= 3; ++threads)
      for (std::size_t i = 0; i < inputs.size(); ++i)
        CHECK(same(other.run(inputs[i].view(), threads), expected[i]), "%s, %s, batch %zu, %u threads",
              architecture.name.c_str(), set, i, threads);
  }
}

// Sequences alone and in random batches.
void test_batches(const Architecture& architecture, const char* set) {
  const RandomModel model(architecture.config, architecture.sizes);
  Loaded loaded(model, set);
  lanner::Random random(7);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::int32_t> lengths;
    for (std::uint32_t i = random.below(12) + 1; i > 0; --i)
      lengths.push_back(static_cast<std::int32_t>(random.below(60) + 1));
    const RandomBatch batch(lengths, model, random.below(1000));
    const std::vector<float> together = loaded.run(batch.view(), 1 + random.below(3));
    const std::size_t width = ln_output_size(loaded.get());
    for (std::size_t i = 0; i < lengths.size(); ++i) {
      const std::int32_t starts[2] = {0, lengths[i]};
      const ln_batch one = {batch.ids.data() + batch.starts[i], batch.type_ids.data() + batch.starts[i],
                            starts, static_cast<std::size_t>(lengths[i]), 1};
      const std::vector<float> alone = loaded.run(one);
      const std::size_t row = model.config().pooling == LN_POOLING_NONE
                                  ? static_cast<std::size_t>(batch.starts[i])
                                  : i;
      CHECK(std::memcmp(alone.data(), together.data() + row * width, alone.size() * sizeof(float)) == 0,
            "%s, sequence %zu of round %d", architecture.name.c_str(), i, round);
    }
  }
}

}  // namespace

int main() {
  const Sets sets = passed_sets();
  for (const Architecture& architecture : architectures()) {
    test_sets(architecture, sets.all);
    test_batches(architecture, sets.all.front());
  }
  // AMX adds deep products up in parts, of some rows at a time.
  test_sets({"BERT with deep products", RandomModel::bert(1, 528, 1, 16, 64), {60, 2, {}, LN_S8, LN_S8}},
            sets.all, {{150}, {3, 17}});
  for (const Architecture& architecture : bf16_architectures()) {
    test_sets(architecture, sets.bf16);
    test_batches(architecture, sets.bf16.front());
  }
  return finish("bits");
}
