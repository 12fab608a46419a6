// Descriptions, tensors and batches that cannot be run are refused, in one sentence.
#include <algorithm>

#include "check.h"
#include "loaded.h"

using lanner::RandomBatch;
using lanner::RandomModel;

namespace {

template <class F>
void expect_model_error(const std::string& message, F&& damage) {
  const RandomModel random(RandomModel::bert(1, 64, 2, 32, 128), {});
  ln_config config = random.config();
  std::vector<ln_tensor> tensors = random.tensors();
  damage(config, tensors);
  const Loaded loaded(config, tensors);
  CHECK(loaded.status == LN_INVALID_MODEL, "status %d", loaded.status);
  CHECK(loaded.error == message, "\"%s\"", loaded.error.c_str());
}

template <class F>
void expect_input_error(const std::string& message, F&& damage) {
  RandomModel::Sizes sizes;
  sizes.types = 2;
  const RandomModel random(RandomModel::bert(1, 64, 2, 32, 128), sizes);
  Loaded loaded(random);
  RandomBatch batch({3, 5}, random);
  ln_batch view = batch.view();
  damage(batch, view);
  loaded.run(view);
  CHECK(loaded.status == LN_INVALID_INPUT, "status %d", loaded.status);
  CHECK(loaded.error == message, "\"%s\"", loaded.error.c_str());
}

ln_tensor& tensor(std::vector<ln_tensor>& tensors, const std::string& name) {
  for (ln_tensor& t : tensors)
    if (name == t.name) return t;
  std::abort();
}

void test_models() {
  expect_model_error("the description is of version 9, and this library reads 3",
                     [](ln_config& c, auto&) { c.version = 9; });
  expect_model_error("heads is 0, and must be 1 to 1024", [](ln_config& c, auto&) { c.heads = 0; });
  expect_model_error("unknown activation 77", [](ln_config& c, auto&) { c.activation = 77; });
  expect_model_error("layer.0.norm.weight is missing", [](ln_config&, auto& tensors) {
    tensor(tensors, "layer.0.norm.weight").name = "embeddings.norm.bias2";
  });
  expect_model_error("embeddings.extra is unknown, or not used by this model",
                     [](ln_config&, auto& tensors) {
                       tensors.push_back(tensors.front());
                       tensors.back().name = "embeddings.extra";
                     });
  expect_model_error("layer.0.output.bias is given twice", [](ln_config&, auto& tensors) {
    tensors.push_back(tensor(tensors, "layer.0.output.bias"));
  });
  expect_model_error("layer.0.intermediate.weight is [64, 128], and [64, 129] is needed",
                     [](ln_config& c, auto&) { c.intermediate_size = 129; });
  expect_model_error("layer.0.output.weight has an extent of 9223372036854775808",
                     [](ln_config&, auto& tensors) {
                       tensor(tensors, "layer.0.output.weight").shape[0] = std::uint64_t{1} << 63;
                     });
  expect_model_error("layer.0.output.scales has a value that is not finite",
                     [](ln_config&, auto& tensors) {
                       static float values[64];
                       values[63] = 1e38f * 10.0f;
                       tensor(tensors, "layer.0.output.scales").data = values;
                     });
  expect_model_error("max_tokens is 513, and embeddings.position.weight has rows for 512 less "
                     "position_offset",
                     [](ln_config& c, auto&) { c.max_tokens = 513; });
  expect_model_error("layer.0.attention.input is missing",
                     [](ln_config& c, auto&) { c.scales = LN_SCALES_STATIC; });
}

template <class F>
void expect_rotary_error(const std::string& message, F&& damage) {
  expect_model_error(message, [&](ln_config& config, auto& tensors) {
    static float angles[512 * 16], numbers[1];
    config.positions = LN_POSITIONS_NONE;
    config.rotary_tables = 1;
    config.rotary_pairs = 16;
    tensors.erase(std::find_if(tensors.begin(), tensors.end(), [](const ln_tensor& t) {
      return std::string(t.name) == "embeddings.position.weight";
    }));
    tensor(tensors, "embeddings.position.scales") = {"rotary.0.cosine", LN_F32, 2, {512, 16}, angles};
    tensors.push_back({"rotary.0.sine", LN_F32, 2, {512, 16}, angles});
    tensors.push_back({"attention.windows", LN_F32, 1, {1, 0}, numbers});
    numbers[0] = 0.0f;
    damage(config, tensors, numbers[0]);
  });
}

void test_rotary_models() {
  expect_rotary_error("max_tokens is 513, and rotary.0.cosine has rows for 512",
                      [](ln_config& c, auto&, float&) { c.max_tokens = 513; });
  expect_rotary_error("rotary_pairs is 17, and must be 1 to 16",
                      [](ln_config& c, auto&, float&) { c.rotary_pairs = 17; });
  expect_rotary_error("attention.windows has a value that is not a whole number below 131072",
                      [](ln_config&, auto&, float& window) { window = 2.5f; });
  expect_rotary_error("max_tokens is 512, and rotary.0.sine has rows for 511",
                      [](ln_config&, auto& tensors, float&) {
                        tensor(tensors, "rotary.0.sine").shape[0] = 511;
                      });
  expect_model_error("key_value_heads is 3, and must be 1 to 2",
                     [](ln_config& c, auto&) { c.key_value_heads = 3; });
  expect_model_error("layer.0.up.weight is missing", [](ln_config& c, auto&) { c.gated = 1; });
  expect_model_error("final.norm.weight is missing",
                     [](ln_config& c, auto&) { c.norm_place = LN_PRE_NORM; });
}

void test_instruction_sets() {
  const RandomModel random(RandomModel::bert(1, 64, 2, 32, 128), {});
  const Loaded loaded(random, "sse9");
  CHECK(loaded.status == LN_NOT_AVAILABLE, "status %d", loaded.status);
  CHECK(loaded.error == "unknown instruction set sse9: there are amx_int8, avx512_vnni, avx_vnni, "
                        "avx2, plain",
        "\"%s\"", loaded.error.c_str());
}

void test_bf16() {
  RandomModel::Sizes sizes;
  sizes.products = LN_F32;
  ln_config config = RandomModel::bert(1, 64, 2, 32, 128);
  config.bf16 = 1;
  const RandomModel random(config, sizes);
  std::vector<ln_tensor> tensors = random.tensors();
  const Loaded avx2(random, "avx2");
  CHECK(avx2.status == LN_NOT_AVAILABLE, "status %d", avx2.status);
  // Which of the two depends on the processor.
  CHECK(avx2.error == "instruction set avx2 has no kernels for bf16" ||
            avx2.error == "instruction set avx2 is not supported by this processor or system",
        "\"%s\"", avx2.error.c_str());
  ln_instruction_set fastest;
  ln_instruction_set_get(0, &fastest);
  const Loaded taken(random);
  CHECK((taken.status == LN_OK) == (fastest.bf16_passed != 0), "%s", taken.error.c_str());
  if (!fastest.bf16_supported)
    CHECK(taken.error == "this processor does not multiply bf16: that needs AMX (Intel's servers since "
                         "Sapphire Rapids)",
          "\"%s\"", taken.error.c_str());
  std::vector<float> weights(64 * 64, 3.4e38f);  // finite, and rounded up to infinity
  tensor(tensors, "layer.0.attention.key.weight").data = weights.data();
  const Loaded beyond(config, tensors, "plain");
  CHECK(beyond.status == LN_INVALID_MODEL, "status %d", beyond.status);
  CHECK(beyond.error == "layer.0.attention.key.weight has a value beyond the range of bf16", "\"%s\"",
        beyond.error.c_str());
  config.bf16 = 2;
  const Loaded unknown(config, random.tensors(), "plain");
  CHECK(unknown.error == "bf16 is 2, and must be 0 to 1", "\"%s\"", unknown.error.c_str());
}

void test_inputs() {
  expect_input_error("token id 7 is 50, and the table has 50 rows",
                     [](RandomBatch& batch, ln_batch&) { batch.ids[7] = 50; });
  expect_input_error("token id 0 is -1, and the table has 50 rows",
                     [](RandomBatch& batch, ln_batch&) { batch.ids[0] = -1; });
  expect_input_error("type id 2 is 2, and the table has 2 rows",
                     [](RandomBatch& batch, ln_batch&) { batch.type_ids[2] = 2; });
  expect_input_error("sequence 0 has 0 tokens, and must have 1 to 512",
                     [](RandomBatch& batch, ln_batch&) { batch.starts[1] = 0; });
  expect_input_error("sequence 1 has -2 tokens, and must have 1 to 512",
                     [](RandomBatch& batch, ln_batch&) { batch.starts[1] = 10; });
  expect_input_error("starts do not reach from 0 to the number of tokens, 8",
                     [](RandomBatch& batch, ln_batch&) { batch.starts[2] = 9; });
  expect_input_error("starts do not reach from 0 to the number of tokens, 8",
                     [](RandomBatch& batch, ln_batch&) { batch.starts[0] = -1; });
  expect_input_error("the batch has no ids or no starts",
                     [](RandomBatch&, ln_batch& view) { view.ids = nullptr; });
}

void test_room() {
  const RandomModel random(RandomModel::bert(1, 64, 2, 32, 128), {});
  Loaded loaded(random);
  const RandomBatch batch({3, 5}, random);
  const ln_batch view = batch.view();
  float output[128];
  char error[200];
  const ln_status status = ln_run(loaded.get(), &view, 1, output, 127, error, sizeof error);
  CHECK(status == LN_INVALID_INPUT, "status %d", status);
  CHECK(std::string(error) == "the output has room for 127 floats, and 2 rows of 64 are needed",
        "\"%s\"", error);
  char little[8];  // a text is cut, and closed
  ln_run(loaded.get(), &view, 1, output, 127, little, sizeof little);
  CHECK(std::string(little) == "the out", "\"%s\"", little);
  const std::int32_t none = 0;
  const ln_batch empty = {nullptr, nullptr, &none, 0, 0};
  CHECK(ln_run(loaded.get(), &empty, 1, nullptr, 0, nullptr, 0) == LN_OK, "no sequences");
}

}  // namespace

int main() {
  test_models();
  test_rotary_models();
  test_instruction_sets();
  test_bf16();
  test_inputs();
  test_room();
  return finish("errors");
}
