// Threads that share jobs do each item once, and helpers that are late hold nobody up for long.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "check.h"
#include "team.h"

using lanner::Share;
using lanner::Team;
using std::chrono::milliseconds;

namespace {

// Each item is counted by the thread that has it, without a lock.
void count_items(const Team::Crew& crew, std::size_t items, std::size_t parts) {
  std::vector<int> counts(items);
  crew.each(items, parts, [&](const Share& share) {
    CHECK(share.rank < crew.size(), "rank %zu of %zu", share.rank, crew.size());
    CHECK(share.next >= share.end || share.next > share.begin, "next is %zu", share.next);
    for (std::size_t i = share.begin; i < share.end; ++i) ++counts[i];
  });
  for (std::size_t i = 0; i < items; ++i)
    CHECK(counts[i] == 1, "item %zu of %zu was done %d times", i, items, counts[i]);
}

void test_each_item_once() {
  Team team;
  for (std::size_t size = 1; size < 5; ++size)
    for (const std::size_t items : {0, 1, 2, 3, 18, 1000, 10000})
      for (const std::size_t parts : {1, 2, 8, 5000})
        for (int round = 0; round < 20; ++round) count_items(team.hire(size), items, parts);
  // Jobs of a run, one right after the other.
  const Team::Crew crew = team.hire(2);
  for (int job = 0; job < 20000; ++job) count_items(crew, 8, 8);
}

void test_callers_at_once() {
  Team team;
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i)
    callers.emplace_back([&] {
      for (int round = 0; round < 2000; ++round) count_items(team.hire(3), 6, 6);
    });
  for (std::thread& caller : callers) caller.join();
}

// True if a helper took one of two parts, for which it needs longer than the caller waits gladly.
bool is_helped_late(Team& team) {
  std::atomic<bool> helped{false};
  team.hire(2).each(2, 2, [&](const Share& share) {
    if (share.rank > 0) {
      helped = true;
      std::this_thread::sleep_for(milliseconds(5));
    } else {
      for (int i = 0; i < 20 && !helped; ++i) std::this_thread::yield();
    }
  });
  return helped;
}

// The caller waits for a helper that was stopped within a part, and then works alone for a while.
void test_late_helpers() {
  Team team;
  bool was_alone = false;
  for (int round = 0; round < 1000 && !was_alone; ++round)
    was_alone = is_helped_late(team) && team.hire(2).size() == 1;
  CHECK(was_alone, "the caller was never alone");
  std::this_thread::sleep_for(milliseconds(600));
  CHECK(team.hire(2).size() == 2, "the helper that was late does not come back");
}

void test_fork() {
  Team team;
  count_items(team.hire(2), 100, 8);
  const pid_t child = fork();
  if (child == 0) {
    const Team::Crew crew = team.hire(2);
    if (crew.size() == 2) count_items(crew, 100, 8);
    _exit(crew.size() == 2 && failures == 0 ? 0 : 1);
  }
  int status = 1;
  waitpid(child, &status, 0);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child of a fork ended with %d", status);
  count_items(team.hire(2), 100, 8);
}

}  // namespace

int main() {
  test_each_item_once();
  test_callers_at_once();
  test_late_helpers();
  test_fork();
  return finish("team");
}
