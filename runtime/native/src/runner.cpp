#include "runner.h"

#include <algorithm>

#include "default_floats.h"

namespace lanner {

namespace {

// Activations of this many tokens, and a panel of weights, stay in a core's own cache, and weights
// are read seldom enough.
constexpr std::size_t kBlockTokens = 128;

}  // namespace

// Scratch of this run, given back at its end.
class Runner::Lease {
 public:
  explicit Lease(Runner& runner) : runner_(runner) {
    const std::lock_guard lock(runner.mutex_);
    if (runner.idle_.empty()) {
      // Giving it back must not allocate.
      runner.idle_.reserve(++runner.leases_);
      scratch_ = std::make_unique<Scratch>();
    } else {
      scratch_ = std::move(runner.idle_.back());
      runner.idle_.pop_back();
    }
  }
  ~Lease() {
    const std::lock_guard lock(runner_.mutex_);
    runner_.idle_.push_back(std::move(scratch_));
  }
  Lease(const Lease&) = delete;
  Scratch* operator->() const { return scratch_.get(); }
  const Scratch& operator*() const { return *scratch_; }

 private:
  Runner& runner_;
  std::unique_ptr<Scratch> scratch_;
};

void Runner::run(const ln_batch& batch, std::size_t threads, float* output) {
  check(model_, batch);
  if (batch.sequences == 0) return;
  if (threads > 1 && (batch.tokens <= kBlockTokens || batch.sequences < threads))
    return run_together(batch, threads, output);
  // Several blocks a thread, so that they end at about the same time.
  const std::size_t target =
      threads > 1 ? std::min(kBlockTokens, batch.tokens / (2 * threads)) : kBlockTokens;
  run_apart(blocks_of(batch, target), longest_sequence(batch), threads, output);
}

// All threads on one block after the other: each takes columns of the products, heads and rows.
void Runner::run_together(const ln_batch& batch, std::size_t threads, float* output) {
  const std::vector<Block> blocks = blocks_of(batch, kBlockTokens);
  Lease scratch(*this);
  const Team::Crew crew = team_.hire(threads);
  scratch->reserve(model_, largest_block(blocks), longest_sequence(batch), crew.size());
  const DefaultFloats floats;
  for (const Block& block : blocks) encode(model_, block, *scratch, crew, output);
}

// Each thread on blocks of its own.
void Runner::run_apart(const std::vector<Block>& blocks, std::size_t longest, std::size_t threads,
                       float* output) {
  const Team::Crew crew = team_.hire(std::min(threads, blocks.size()));
  std::vector<std::unique_ptr<Lease>> scratch;
  for (std::size_t i = 0; i < crew.size(); ++i) {
    scratch.push_back(std::make_unique<Lease>(*this));
    (*scratch.back())->reserve(model_, largest_block(blocks), longest, 1);
  }
  const DefaultFloats floats;
  crew.each(blocks.size(), blocks.size(), [&](const Share& share) {
    for (std::size_t i = share.begin; i < share.end; ++i)
      encode(model_, blocks[i], **scratch[share.rank], Team::Crew(), output);
  });
}

}  // namespace lanner
