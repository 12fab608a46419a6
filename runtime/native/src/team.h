// Helper threads that take parts of a caller's work when they are there, and hold nobody up when not.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace lanner {

// A part of a job: the items [begin, end), for the thread `rank` of those that share it. `next` is the
// first item of the part that this thread is likely to take next; beyond the last item it counts on into
// the job that follows.
struct Share {
  std::size_t begin, end, next, rank;
  std::size_t size() const { return end - begin; }
};

// Helpers take parts of a job when they get to it, and the caller takes all that are left. A job is done
// when its parts are, wherever the helpers are: only a helper that was stopped within a part is waited
// for. So a helper may come late, or never, without the caller noticing.
class Team {
 public:
  class Crew;

  Team() = default;
  ~Team();
  Team(const Team&) = delete;

  // `size` threads, the caller's included. The caller is alone while another has the helpers, where
  // there are no threads to be had, and for a while after helpers were stopped by other programs.
  Crew hire(std::size_t size);

 private:
  using Clock = std::chrono::steady_clock;
  using Work = void (*)(const void* context, const Share& share);
  // Generation of the job (32 bits), its threads less one (8), parts that were taken (12), parts (12).
  using Ticket = std::uint64_t;

  void work_together(std::size_t size, std::size_t items, std::size_t parts, Work work,
                     const void* context);
  void wait_for_helpers(unsigned parts, Clock::time_point began);
  bool take(std::size_t rank);
  bool has_parts(std::size_t rank) const;
  void wake();
  void serve(std::size_t rank);
  void forget_helpers();
  std::size_t start_helpers(std::size_t count);

  std::mutex busy_;
  std::vector<std::unique_ptr<std::thread>> helpers_;
  long process_ = 0;
  // No helpers before this time, and the pause after they are late the next time.
  Clock::time_point rest_until_{};
  Clock::duration rest_{};

  // The job under way. Whoever took a part may read it: it stays until all parts are done.
  Work work_ = nullptr;
  const void* context_ = nullptr;
  std::size_t items_ = 0;
  alignas(64) std::atomic<Ticket> ticket_{0};
  std::atomic<int> caller_cpu_{-1};
  alignas(64) std::atomic<unsigned> done_{0};
  alignas(64) std::atomic<unsigned> wakes_{0};
  std::atomic<bool> asleep_{false}, stopping_{false};
};

// The threads of one run. The default one is the caller alone.
class Team::Crew {
 public:
  Crew() = default;
  Crew(Crew&&) = default;

  std::size_t size() const { return size_; }

  // Call `work` with parts of all items, on several threads at once, and return when all are done. It
  // must not throw.
  template <class F>
  void each(std::size_t items, std::size_t parts, F&& work) const {
    parts = std::min({parts, items, kMostParts});
    if (size_ == 1 || parts < 2) {
      if (items > 0) work(Share{0, items, items, 0});
      return;
    }
    team_->work_together(
        size_, items, parts,
        [](const void* context, const Share& share) {
          (*static_cast<const std::remove_reference_t<F>*>(context))(share);
        },
        &work);
  }

 private:
  friend class Team;
  static constexpr std::size_t kMostParts = 0xfff;
  Crew(Team& team, std::size_t size, std::unique_lock<std::mutex> lock)
      : team_(&team), size_(size), lock_(std::move(lock)) {}

  Team* team_ = nullptr;
  std::size_t size_ = 1;
  std::unique_lock<std::mutex> lock_;
};

}  // namespace lanner
