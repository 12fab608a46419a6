#include <cstring>

#include "instruction_set.h"
#include "random_model.h"
#include "runner.h"

namespace lanner {

extern const Kernels kPlain;

namespace {

std::vector<float> answers(const RandomModel& model, const RandomBatch& batch,
                           const Kernels& kernels) {
  Runner runner(model.config(), Tensors(model.tensors().data(), model.tensors().size()), kernels);
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

}  // namespace

bool self_test(const Kernels& kernels) {
  for (const ln_scales scales : {LN_SCALES_STATIC, LN_SCALES_PER_TOKEN}) {
    const RandomModel model(small_encoder(scales), {});
    const RandomBatch batch({1, 5, 17, 39}, model);
    const auto expected = answers(model, batch, kPlain), actual = answers(model, batch, kernels);
    if (std::memcmp(expected.data(), actual.data(), expected.size() * sizeof(float)) != 0)
      return false;
  }
  return true;
}

}  // namespace lanner
