#include <cstring>

#include "instruction_set.h"
#include "random_model.h"
#include "runner.h"

namespace lanner {

extern const Kernels kPlain;
extern const Bf16Kernels kPlainBf16;

namespace {

std::vector<float> answers(const RandomModel& model, const RandomBatch& batch, const Kernels& kernels,
                           const Bf16Kernels* bf16) {
  Runner runner(model.config(), Tensors(model.tensors().data(), model.tensors().size()), kernels, bf16);
  std::vector<float> output(batch.ids.size() * runner.model().output_size);
  runner.run(batch.view(), 1, output.data());
  return output;
}

// Small enough to take no time, with edges everywhere: odd widths, and tiles of all heights.
ln_config small_encoder(ln_scales scales) {
  ln_config config = RandomModel::bert(1, 72, 2, 24, 136);
  config.scales = scales;
  config.activation =
      scales == LN_SCALES_STATIC ? LN_ACTIVATION_GELU_ERF : LN_ACTIVATION_GELU_TANH;
  config.pooling = LN_POOLING_NONE;
  config.max_tokens = 40;
  config.relative_buckets = 32;
  config.relative_max_distance = 128;
  return config;
}

// What BERT does not have: norms before the parts, not centred; angles, a window, a gate.
ln_config small_rotary_encoder() {
  ln_config config = RandomModel::bert(2, 72, 4, 24, 136);
  config.activation = LN_ACTIVATION_SILU;
  config.positions = LN_POSITIONS_NONE;
  config.pooling = LN_POOLING_NONE;
  config.max_tokens = 40;
  config.key_value_heads = 2;
  config.norm = LN_NORM_RMS;
  config.norm_place = LN_PRE_NORM;
  config.gated = 1;
  config.rotary_tables = 1;
  config.rotary_pairs = 10;
  return config;
}

bool answers_as_plain(const RandomModel& model, const Kernels& kernels,
                      const Bf16Kernels* bf16 = nullptr) {
  const RandomBatch batch({1, 5, 17, 39}, model);
  const auto expected = answers(model, batch, kPlain, bf16 ? &kPlainBf16 : nullptr);
  const auto actual = answers(model, batch, kernels, bf16);
  return std::memcmp(expected.data(), actual.data(), expected.size() * sizeof(float)) == 0;
}

}  // namespace

bool self_test(const Kernels& kernels) {
  for (const ln_scales scales : {LN_SCALES_STATIC, LN_SCALES_PER_TOKEN})
    if (!answers_as_plain({small_encoder(scales), {}}, kernels)) return false;
  RandomModel::Sizes sizes;
  sizes.windows = {0.0f, 6.0f};
  return answers_as_plain({small_rotary_encoder(), sizes}, kernels);
}

bool self_test(const Kernels& kernels, const Bf16Kernels& bf16) {
  RandomModel::Sizes sizes;
  sizes.products = LN_F32;
  for (ln_config config : {small_encoder(LN_SCALES_STATIC), small_rotary_encoder()}) {
    config.bf16 = 1;
    if (!answers_as_plain({config, sizes}, kernels, &bf16)) return false;
  }
  return true;
}

}  // namespace lanner
