// Threads that run one function together, and meet at barriers.
#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace lanner {

// Waits for others by spinning for microseconds, and then asleep.
class Barrier {
 public:
  // Only while nobody is on the way to it; who leaves it may still be looking at the generation.
  void resize(std::size_t size) { size_ = static_cast<unsigned>(size); }
  void wait();

 private:
  unsigned size_ = 1;
  std::atomic<unsigned> arrived_{0};
  std::atomic<unsigned> generation_{0};
};

// What one thread of a team knows: its rank, its part of some work, and where all meet.
class Member {
 public:
  Member() = default;  // a team of one
  Member(std::size_t rank, std::size_t size, Barrier& barrier)
      : rank_(rank), size_(size), barrier_(&barrier) {}
  std::size_t rank() const { return rank_; }
  std::size_t size() const { return size_; }

  struct Range {
    std::size_t begin, end;
    std::size_t size() const { return end - begin; }
  };
  Range share(std::size_t items) const {
    return {items * rank_ / size_, items * (rank_ + 1) / size_};
  }
  void wait() const {
    if (size_ > 1) barrier_->wait();
  }

 private:
  std::size_t rank_ = 0, size_ = 1;
  Barrier* barrier_ = nullptr;
};

// Helper threads of a model. They start when they are needed first, and sleep when idle.
class Team {
 public:
  Team() = default;
  ~Team();

  // Run `work` on `size` threads, the caller's included, and return when all are done. While another
  // caller has the helpers, the caller works alone: `work` sees how many there are. It must not throw.
  void run(std::size_t size, const std::function<void(const Member&)>& work);

 private:
  struct Helper {
    std::thread thread;
    alignas(64) std::atomic<unsigned> jobs{0};
    std::size_t rank = 0;
  };
  void serve(Helper& helper);
  std::size_t hire(std::size_t helpers);

  std::mutex busy_;
  std::vector<std::unique_ptr<Helper>> helpers_;
  long process_ = 0;
  // The job under way; written before a helper's counter is raised.
  const std::function<void(const Member&)>* work_ = nullptr;
  std::size_t size_ = 0;
  Barrier barrier_;
  std::atomic<bool> stopping_{false};
};

}  // namespace lanner
