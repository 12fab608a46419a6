// Measures each instruction set: products against the limit of its instruction, and a whole encoder by
// part. benchmark [instruction set ...]; all that passed their self-test without arguments. benchmark
// limits: only the limit of each, in GOP/s of a core. benchmark floats [...]: fp32 and bf16 alone.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>

#include "instruction_limit.h"
#include "instruction_set.h"
#include "linear.h"
#include "random_model.h"
#include "runner.h"

namespace lanner {
namespace {

constexpr std::uint32_t kLayers = 6, kHidden = 384, kHeads = 12, kHeadSize = 32, kInner = 1536;

using Clock = std::chrono::steady_clock;

double elapsed_s() { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

// Median seconds of a call, over about a third of a second.
double seconds(const std::function<void()>& call, double (&clock)() = processor_s) {
  std::vector<double> times;
  const auto end = Clock::now() + std::chrono::milliseconds(300);
  call();
  while (times.size() < 5 || Clock::now() < end) {
    const double start = clock();
    call();
    times.push_back(clock() - start);
  }
  std::nth_element(times.begin(), times.begin() + times.size() / 2, times.end());
  return times[times.size() / 2];
}

// The kernels of one layer, each by itself on the rows of a block.
class Parts {
 public:
  Parts(const Model& model, std::size_t texts, std::size_t length)
      : model_(model), rows_(texts * length), length_(length) {
    scratch_.reserve(model, rows_, length, 1);
    const FloatRows hidden = scratch_.hidden();
    Random random(1);
    for (std::size_t i = 0; i < rows_ * hidden.stride; ++i) hidden.data[i] = random.around(0, 1);
  }

  struct Product {
    const Linear& linear;
    Epilogue epilogue;
  };
  double product(const Product& p) {
    const bool inner = p.linear.depth() > kHidden || p.linear.columns() == kInner;
    const std::size_t step = inner ? std::min(rows_, kInnerRows) : rows_;
    const ByteRows bytes = scratch_.bytes(p.linear.depth());
    model_.kernels.quantize(scratch_.hidden(), step, kHidden, {true, 0, 0}, bytes);
    const FloatRows out = scratch_.wide(p.linear.columns());
    return seconds([&] {
             model_.kernels.product(bytes, step, p.linear.byte_weights(), 0, p.linear.panels(),
                                    p.linear.panel(0), p.epilogue, out);
           }) *
           static_cast<double>(rows_) / static_cast<double>(step);
  }
  double attention() {
    const std::size_t width = model_.head_width(), all = model_.query_width();
    const FloatRows heads = scratch_.wide(3 * all), context = scratch_.context(all);
    Random random(1);
    for (std::size_t i = 0; i < rows_ * heads.stride; ++i) heads.data[i] = random.around(0, 1);
    return seconds([&] {
      for (std::size_t row = 0; row < rows_; row += length_)
        for (std::size_t head = 0; head < kHeads; ++head) {
          const float* query = heads.data + row * heads.stride + head * width;
          model_.kernels.attention({query, query + all, query + 2 * all, heads.stride, length_, width,
                                    1.0f, nullptr, length_, context.data + row * context.stride + head * width,
                                    context.stride, scratch_.attention(0)});
        }
    });
  }
  double norm() {
    return seconds([&] {
      model_.kernels.norm(scratch_.hidden(), rows_, kHidden, model_.embedding_norm.view(),
                          scratch_.hidden());
    });
  }
  double quantize(std::size_t width) {
    const std::size_t rows = std::min(rows_, kInnerRows);
    return seconds([&] {
             model_.kernels.quantize(scratch_.wide(width), rows, width, {true, 0, 0},
                                     scratch_.bytes(width));
           }) *
           static_cast<double>(rows_) / static_cast<double>(rows);
  }

 private:
  const Model& model_;
  std::size_t rows_, length_;
  Scratch scratch_;
};

struct Case {
  std::size_t texts, length;
};
constexpr Case kCases[] = {{1, 14}, {64, 14}, {16, 64}, {8, 128}, {4, 256}, {1, 128}, {1, 256}};

void measure(const InstructionSet& set) {
  RandomModel::Sizes sizes;
  sizes.vocabulary = 30522;
  sizes.types = 2;
  const RandomModel random(RandomModel::bert(kLayers, kHidden, kHeads, kHeadSize, kInner), sizes);
  Runner runner(random.config(), Tensors(random.tensors().data(), random.tensors().size()),
                *set.kernels);
  const double limit = instruction_limit(set.name) / 1e9;
  constexpr double kOperations = kLayers * 2.0 * (4.0 * kHidden * kHidden + 2.0 * kHidden * kInner);
  std::printf("%s: limit of its instruction %.0f GOP/s, %.1f us a token of these products\n", set.name,
              limit, kOperations / limit / 1e3);
  std::printf("%16s %8s %8s | us a token: %5s %5s %5s %5s %5s %5s %5s | %6s %7s\n", "texts x tokens",
              "1 thread", "2", "embed", "q k v", "att", "out", "gelu", "out", "norms", "GOP/s",
              "limit");
  for (const Case c : kCases) {
    const RandomBatch batch(std::vector<std::int32_t>(c.texts, static_cast<std::int32_t>(c.length)),
                            random);
    std::vector<float> output(c.texts * kHidden);
    const double token = 1e6 / static_cast<double>(c.texts * c.length);
    double whole[2];
    for (std::size_t threads : {1, 2})
      whole[threads - 1] =
          seconds([&] { runner.run(batch.view(), threads, output.data()); },
                  threads == 1 ? processor_s : elapsed_s) *
          token;
    // Parts are measured on a block as a run has it.
    const std::size_t texts = std::max<std::size_t>(1, std::min(c.texts, 128 / c.length));
    Parts parts(runner.model(), texts, c.length);
    const double part = kLayers * 1e6 / static_cast<double>(texts * c.length);
    const LayerWeights& w = runner.model().weights.front();
    const double qkv = parts.product({w.query_key_value, {}}) * part;
    const double attention = parts.attention() * part;
    const double out = parts.product({w.attention_output, {Activation::none, Merge::add}}) * part;
    const double inner = parts.product({w.intermediate, {Activation::gelu_erf}}) * part;
    const double outer = parts.product({w.output, {Activation::none, Merge::add}}) * part;
    const double norms =
        (2 * parts.norm() + 3 * parts.quantize(kHidden) + parts.quantize(kInner)) * part;
    const double rest = whole[0] - qkv - attention - out - inner - outer - norms;
    char name[32];
    std::snprintf(name, sizeof name, "%zu x %zu", c.texts, c.length);
    std::printf("%16s %8.1f %8.1f | %11s %5.1f %5.1f %5.1f %5.1f %5.1f %5.1f %5.1f | %6.0f %6.1f%%\n",
                name, whole[0], whole[1], "", rest, qkv, attention, out, inner, outer, norms,
                kOperations / whole[0] / 1e3, 100 * kOperations / whole[0] / 1e3 / limit);
    std::fflush(stdout);
  }
}

// Whole encoders in the other precisions, of one thread.
void measure_floats(const InstructionSet& set) {
  std::printf("%s: us a token in fp32%s\n", set.name, set.bf16_passed ? ", and with products in bf16" : "");
  RandomModel::Sizes sizes;
  sizes.vocabulary = 30522;
  sizes.types = 2;
  sizes.products = sizes.tables = LN_F32;
  ln_config config = RandomModel::bert(kLayers, kHidden, kHeads, kHeadSize, kInner);
  const RandomModel random(config, sizes);
  const auto tensors = [&] { return Tensors(random.tensors().data(), random.tensors().size()); };
  Runner fp32(config, tensors(), *set.kernels);
  config.bf16 = set.bf16_passed;
  Runner bf16(config, tensors(), *set.kernels, set.bf16);
  for (const Case c : kCases) {
    const RandomBatch batch(std::vector<std::int32_t>(c.texts, static_cast<std::int32_t>(c.length)),
                            random);
    std::vector<float> output(c.texts * kHidden);
    std::printf("%12zu x %zu", c.texts, c.length);
    for (Runner* runner : {&fp32, &bf16})
      if (runner == &fp32 || set.bf16_passed)
        std::printf(" %8.1f", 1e6 / static_cast<double>(c.texts * c.length) *
                                  seconds([&] { runner->run(batch.view(), 1, output.data()); }));
    std::printf("\n");
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace lanner

int main(int count, char** arguments) {
  if (count == 2 && std::strcmp(arguments[1], "limits") == 0) {
    for (const lanner::InstructionSet& set : lanner::instruction_sets())
      if (set.passed) std::printf("%s %.1f\n", set.name, instruction_limit(set.name) / 1e9);
    return 0;
  }
  const bool floats = count > 1 && std::strcmp(arguments[1], "floats") == 0;
  const int first = floats ? 2 : 1;
  for (const lanner::InstructionSet& set : lanner::instruction_sets()) {
    bool wanted = count == first && set.passed && std::strcmp(set.name, "plain") != 0;
    for (int i = first; i < count; ++i) wanted = wanted || std::strcmp(arguments[i], set.name) == 0;
    if (!wanted) continue;
    if (!floats) lanner::measure(set);
    lanner::measure_floats(set);
  }
}
