// The same bits on every machine: the vectors of fixed encoders and inputs have a recorded digest, and
// each instruction set that this machine has must give it.
#include "architectures.h"
#include "check.h"
#include "loaded.h"
#include "sha256.h"

namespace {

// Made by plain C++ on an AMD EPYC (Zen 3). A change of the arithmetic changes it, and the vectors of
// every index that somebody has stored: say so in the CHANGELOG.
constexpr const char* kRecorded =
    "02f58effe5e8919e39fceff9cb4e973955a6966874ab58e48a22c9fa513a75d7";
// Made by plain C++ on an AMD EPYC (Zen 4).
constexpr const char* kRecordedRotary =
    "713800848bd1d28e5f93d22f444a5170d892bcdfa5fa841d7e00c1612b51f381";
// Made by plain C++ and by AMX on an Intel Xeon (Emerald Rapids).
constexpr const char* kRecordedBf16 =
    "cf892d71b52228b62d08eb27ed1e2ad5d8a4f0edc69f3afaa9071b0ff0b240de";

std::string digest(const char* instruction_set, const std::vector<Architecture>& encoders) {
  Sha256 sum;
  for (const Architecture& architecture : encoders) {
    const lanner::RandomModel model(architecture.config, architecture.sizes, 11);
    Loaded loaded(model, instruction_set);
    const lanner::RandomBatch batch({1, 2, 5, 14, 33, 70}, model, 5);
    const std::vector<float> vectors = loaded.run(batch.view());
    CHECK(loaded.status == LN_OK, "%s: %s", architecture.name.c_str(), loaded.error.c_str());
    sum.add(vectors.data(), vectors.size() * sizeof(float));
  }
  return sum.digits();
}

}  // namespace

int main() {
  Sha256 known;
  known.add("abc", 3);
  CHECK(known.digits() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "SHA-256 itself");
  for (std::size_t i = 0; i < ln_instruction_set_count(); ++i) {
    ln_instruction_set set;
    ln_instruction_set_get(i, &set);
    if (!set.passed) continue;
    const std::string bert = digest(set.name, bert_architectures());
    CHECK(bert == kRecorded, "%s: %s", set.name, bert.c_str());
    const std::string rotary = digest(set.name, rotary_architectures());
    CHECK(rotary == kRecordedRotary, "%s: %s", set.name, rotary.c_str());
    if (!set.bf16_passed) continue;
    const std::string bf16 = digest(set.name, bf16_architectures());
    CHECK(bf16 == kRecordedBf16, "%s: %s", set.name, bf16.c_str());
  }
  return finish("digest");
}
