// Plain C++ answers as an encoder in double precision does, for every architecture.
#include <algorithm>
#include <cmath>

#include "architectures.h"
#include "check.h"
#include "loaded.h"
#include "reference.h"

int main() {
  std::vector<Architecture> all = architectures();
  for (Architecture& architecture : bf16_architectures()) all.push_back(std::move(architecture));
  for (const Architecture& architecture : all) {
    const lanner::RandomModel model(architecture.config, architecture.sizes);
    Loaded plain(model, "plain");
    for (const std::int32_t length : {1, 9, 21, 150}) {
      const lanner::RandomBatch batch({length}, model, 3);
      const std::vector<float> actual = plain.run(batch.view());
      CHECK(plain.status == LN_OK, "%s: %s", architecture.name.c_str(), plain.error.c_str());
      const std::vector<double> expected = reference(model, batch.ids, batch.type_ids);
      CHECK(actual.size() == expected.size(), "%zu and %zu", actual.size(), expected.size());
      double products = 0, a = 0, b = 0, most = 0;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        most = std::max(most, std::abs(expected[i] - actual[i]));
        products += expected[i] * actual[i];
        a += expected[i] * expected[i];
        b += double{actual[i]} * actual[i];
      }
      // Where a byte or a bf16 is rounded the other way the next layers differ by its step.
      const double cosine = products / std::sqrt(a * b);
      const bool floats = architecture.sizes.products == LN_F32 && !architecture.config.bf16;
      most /= std::sqrt(a / static_cast<double>(expected.size()));
      CHECK(!floats || most < 2e-6, "%s, %d tokens: %.2g", architecture.name.c_str(), length, most);
      CHECK(1 - cosine < (floats ? 1e-9 : 1e-4), "%s, %d tokens: 1 - cosine %.2g",
            architecture.name.c_str(), length, 1 - cosine);
      CHECK(std::abs(std::sqrt(b / a) - 1) < (floats ? 1e-4 : 2e-2), "%s, %d tokens: length %.4f",
            architecture.name.c_str(), length, std::sqrt(b / a));
    }
  }
  return finish("reference");
}
