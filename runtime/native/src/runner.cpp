#include "runner.h"

#include <algorithm>
#include <atomic>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lanner {

namespace {

// Activations of this many tokens, and a panel of weights, stay in a core's own cache, and weights
// are read seldom enough.
constexpr std::size_t kBlockTokens = 128;

// The default rounding, and denormals as they are: a caller's other mode would change bits.
class DefaultFloats {
 public:
#if defined(__x86_64__)
  DefaultFloats() : old_(_mm_getcsr()) { _mm_setcsr(0x1f80); }
  ~DefaultFloats() { _mm_setcsr(old_); }

 private:
  unsigned old_;
#endif
};

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

// All threads on one block after the other: a part of each product's columns each.
void Runner::run_together(const ln_batch& batch, std::size_t threads, float* output) {
  const std::vector<Block> blocks = blocks_of(batch, kBlockTokens);
  Lease scratch(*this);
  scratch->reserve(model_, largest_block(blocks), longest_sequence(batch), threads);
  team_.run(threads, [&](const Member& member) {
    const DefaultFloats floats;
    for (const Block& block : blocks) {
      encode(model_, block, *scratch, member, output);
      member.wait();
    }
  });
}

// Each thread on blocks of its own.
void Runner::run_apart(const std::vector<Block>& blocks, std::size_t longest, std::size_t threads,
                       float* output) {
  threads = std::min(threads, blocks.size());
  std::vector<std::unique_ptr<Lease>> scratch;
  for (std::size_t i = 0; i < threads; ++i) {
    scratch.push_back(std::make_unique<Lease>(*this));
    (*scratch.back())->reserve(model_, largest_block(blocks), longest, 1);
  }
  std::atomic<std::size_t> next{0};
  team_.run(threads, [&](const Member& member) {
    const DefaultFloats floats;
    for (std::size_t i = next++; i < blocks.size(); i = next++)
      encode(model_, blocks[i], **scratch[member.rank()], Member(), output);
  });
}

}  // namespace lanner
