#include "team.h"

#include <unistd.h>

#include <chrono>
#include <system_error>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace lanner {

namespace {

constexpr std::chrono::microseconds kSpin{30};

void pause() {
#if defined(__x86_64__)
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

// Returns when the value is another: after microseconds of spinning the thread sleeps.
void wait_for_change(std::atomic<unsigned>& value, unsigned old) {
  const auto until = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i) {
      if (value.load(std::memory_order_acquire) != old) return;
      pause();
    }
  } while (std::chrono::steady_clock::now() < until);
  value.wait(old, std::memory_order_acquire);
}

}  // namespace

void Barrier::wait() {
  const unsigned generation = generation_.load(std::memory_order_acquire);
  if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
    arrived_.store(0, std::memory_order_relaxed);
    generation_.store(generation + 1, std::memory_order_release);
    generation_.notify_all();
  } else {
    wait_for_change(generation_, generation);
  }
}

Team::~Team() {
  if (process_ != getpid()) {  // a fork has no helpers, only what is written of them
    for (auto& helper : helpers_) {
      helper->thread.detach();
      static_cast<void>(helper.release());
    }
    return;
  }
  stopping_ = true;
  for (auto& helper : helpers_) {
    helper->jobs.fetch_add(1, std::memory_order_release);
    helper->jobs.notify_one();
    helper->thread.join();
  }
}

std::size_t Team::hire(std::size_t count) {
  if (process_ != getpid()) {
    for (auto& helper : helpers_) {
      helper->thread.detach();
      static_cast<void>(helper.release());
    }
    helpers_.clear();
    process_ = getpid();
  }
  try {
    while (helpers_.size() < count) {
      auto helper = std::make_unique<Helper>();
      helper->rank = helpers_.size() + 1;
      helpers_.reserve(count);
      helper->thread = std::thread(&Team::serve, this, std::ref(*helper));
      helpers_.push_back(std::move(helper));
    }
  } catch (const std::system_error&) {  // no thread to be had: those that are there do the work
  }
  return std::min(count, helpers_.size());
}

void Team::serve(Helper& helper) {
  for (unsigned seen = 0;; ++seen) {
    wait_for_change(helper.jobs, seen);
    if (stopping_) return;
    (*work_)(Member(helper.rank, size_, barrier_));
    barrier_.wait();
  }
}

void Team::run(std::size_t size, const std::function<void(const Member&)>& work) {
  std::unique_lock lock(busy_, std::defer_lock);
  const std::size_t helpers = size > 1 && lock.try_lock() ? hire(size - 1) : 0;
  const Member caller(0, helpers + 1, barrier_);
  if (helpers > 0) {
    work_ = &work;
    size_ = helpers + 1;
    barrier_.resize(size_);
    for (std::size_t i = 0; i < helpers; ++i) {
      helpers_[i]->jobs.fetch_add(1, std::memory_order_release);
      helpers_[i]->jobs.notify_one();
    }
  }
  work(caller);
  caller.wait();
}

}  // namespace lanner
