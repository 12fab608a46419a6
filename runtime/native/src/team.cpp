#include "team.h"

#include <unistd.h>

#include <system_error>

#include "default_floats.h"

#if defined(__linux__)
#include <sched.h>
#endif

namespace lanner {

namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

// Longer than most parts, and than the time between two jobs of a run.
constexpr microseconds kSpin{30};
// A helper that takes longer than this, and than the caller's own parts, was stopped. The caller then
// works alone for a while, and for longer each time that it happens again soon.
constexpr milliseconds kLate{1}, kLeastRest{10}, kMostRest{500};

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// -1 where the system does not say.
int this_cpu() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// Spins for microseconds at most, and returns whether the condition came true.
template <class F>
bool spin_until(F&& condition) {
  const auto until = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (condition()) return true;
      pause();
    }
  } while (std::chrono::steady_clock::now() < until);
  return false;
}

constexpr int kTaken = 12, kSize = 24, kGeneration = 32;
std::size_t parts_of(std::uint64_t ticket) { return ticket & 0xfff; }
std::size_t taken_of(std::uint64_t ticket) { return ticket >> kTaken & 0xfff; }
std::size_t size_of(std::uint64_t ticket) { return (ticket >> kSize & 0xff) + 1; }
bool has_part(std::uint64_t ticket, std::size_t rank) {
  return taken_of(ticket) != parts_of(ticket) && rank < size_of(ticket);
}

}  // namespace

Team::~Team() {
  if (process_ != getpid()) forget_helpers();
  stopping_ = true;
  wake();
  for (auto& helper : helpers_) helper->join();
}

// A fork has no helpers, only what is written of them.
void Team::forget_helpers() {
  for (auto& helper : helpers_) static_cast<void>(helper.release());
  helpers_.clear();
}

// Returns how many there are, `count` at most.
std::size_t Team::start_helpers(std::size_t count) {
  if (process_ != getpid()) {
    forget_helpers();
    process_ = getpid();
  }
  try {
    helpers_.reserve(count);
    while (helpers_.size() < count)
      helpers_.push_back(std::make_unique<std::thread>(&Team::serve, this, helpers_.size() + 1));
  } catch (const std::system_error&) {  // those that are there do the work
  }
  return std::min(count, helpers_.size());
}

Team::Crew Team::hire(std::size_t size) {
  if (size < 2) return {};
  std::unique_lock lock(busy_, std::try_to_lock);
  if (!lock || Clock::now() < rest_until_) return {};
  const std::size_t helpers = start_helpers(size - 1);
  if (helpers == 0) return {};
  rest_ = std::max<Clock::duration>(kLeastRest, rest_ - rest_ / 16);
  wake();
  return Crew(*this, helpers + 1, std::move(lock));
}

void Team::work_together(std::size_t size, std::size_t items, std::size_t parts, Work work,
                         const void* context) {
  const auto began = Clock::now();
  work_ = work;
  context_ = context;
  items_ = items;
  done_.store(0, std::memory_order_relaxed);
  caller_cpu_.store(this_cpu(), std::memory_order_relaxed);
  const Ticket generation =
      (ticket_.load(std::memory_order_relaxed) >> kGeneration) + 1;
  ticket_.store(generation << kGeneration | Ticket{size - 1} << kSize | parts);
  if (asleep_.load()) wake();
  while (take(0)) {
  }
  wait_for_helpers(static_cast<unsigned>(parts), began);
}

void Team::wait_for_helpers(unsigned parts, Clock::time_point began) {
  const auto is_done = [&] { return done_.load(std::memory_order_acquire) == parts; };
  if (is_done()) return;
  const auto ended = Clock::now();
  if (spin_until(is_done)) return;
  for (unsigned done; (done = done_.load(std::memory_order_acquire)) != parts;) done_.wait(done);
  const auto waited = Clock::now() - ended;
  if (waited < kLate || waited < ended - began) return;
  rest_ = std::min<Clock::duration>(2 * rest_, kMostRest);
  rest_until_ = Clock::now() + rest_;
}

// Takes a part of the job under way and does it; false where none is left.
bool Team::take(std::size_t rank) {
  Ticket seen = ticket_.load(std::memory_order_acquire);
  do {
    if (!has_part(seen, rank)) return false;
    // A ticket of an earlier job is never the same, so whoever took a part has read what is there now.
  } while (!ticket_.compare_exchange_weak(seen, seen + (Ticket{1} << kTaken), std::memory_order_acq_rel,
                                          std::memory_order_acquire));
  const std::size_t index = taken_of(seen), parts = parts_of(seen);
  work_(context_, {items_ * index / parts, items_ * (index + 1) / parts,
                   items_ * (index + size_of(seen)) / parts, rank});
  if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == parts && rank > 0) done_.notify_one();
  return true;
}

bool Team::has_parts(std::size_t rank) const { return has_part(ticket_.load(), rank); }

void Team::wake() {
  asleep_.store(false);
  wakes_.fetch_add(1);
  wakes_.notify_all();
}

void Team::serve(std::size_t rank) {
  const DefaultFloats floats;
  while (!stopping_) {
    while (take(rank)) {
    }
    const unsigned wakes = wakes_.load();
    // On the caller's own core a helper would only keep it from working, until the next run.
    const int cpu = this_cpu();
    if (cpu < 0 || cpu != caller_cpu_.load(std::memory_order_relaxed)) {
      if (spin_until([&] { return has_parts(rank) || stopping_; })) continue;
      asleep_.store(true);
    }
    if (!has_parts(rank) && !stopping_) wakes_.wait(wakes);
  }
}

}  // namespace lanner
