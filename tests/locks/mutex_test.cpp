// The mutex in one process: threads, deadlines, misuse, private memory, fairness.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "objects.hpp"

#include "place.hpp"

import ipcpp.sync;

using namespace std::chrono_literals;
using namespace ipcpp::literals;
using clock_type = std::chrono::steady_clock;

namespace {

// The same tests with the mutex in a shared place and in private memory.
struct Mutex : testing::TestWithParam<bool> {
  Mutex() {
    if (!GetParam()) lock_ = &place.emplace().make<ipcpp::mutex>(0);
  }
  ipcpp::mutex& lock() { return GetParam() ? private_ : *lock_; }

  std::optional<lock_place> place;
  ipcpp::mutex private_;
  ipcpp::mutex* lock_ = nullptr;
};

}  // namespace

INSTANTIATE_TEST_SUITE_P(, Mutex, testing::Bool(),
                         [](const auto& info) { return info.param ? "Private" : "Shared"; });

TEST_P(Mutex, IsHeldByOneThreadAtATime) {
  constexpr int rounds = 20000;
  std::uint64_t first = 0;
  std::uint64_t second = 0;  // equal whenever nobody holds the lock
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&] {
      for (int i = 0; i < rounds; ++i) {
        const std::lock_guard held(lock());
        EXPECT_EQ(first, second);
        ++first;
        ++second;
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(first, 4u * rounds);
}

TEST_P(Mutex, TryLockFailsWhileAnotherThreadHoldsIt) {
  const std::lock_guard held(lock());
  std::thread([&] {
    EXPECT_FALSE(lock().try_lock());
    EXPECT_FALSE(lock().try_lock_for(10ms));
    EXPECT_FALSE(lock().try_lock_until(std::chrono::system_clock::now() + 10ms));
    EXPECT_FALSE(lock().try_lock_for(-1h));
  }).join();
  EXPECT_FALSE(lock().try_lock());
}

TEST_P(Mutex, ATimedLockGivesUpAtItsDeadlineAndSucceedsBeforeIt) {
  lock().lock();
  std::thread waiter([&] {
    const auto start = clock_type::now();
    EXPECT_FALSE(lock().try_lock_for(120ms));
    EXPECT_GE(clock_type::now() - start, 120ms);
    EXPECT_TRUE(lock().try_lock_for(10min));
    lock().unlock();
  });
  std::this_thread::sleep_for(200ms);
  lock().unlock();
  waiter.join();
}

TEST_P(Mutex, MisuseIsAnError) {
  EXPECT_ERROR(lock().unlock(), not_owner);
  EXPECT_ERROR(lock().make_consistent(), not_owner);
  lock().lock();
  EXPECT_ERROR(lock().lock(), would_deadlock);
  std::thread([&] { EXPECT_ERROR(lock().unlock(), not_owner); }).join();
  lock().unlock();
  EXPECT_ERROR(lock().unlock(), not_owner);
}

TEST_P(Mutex, AThreadThatEndsWithItHasDiedAsItsOwner) {
  std::thread([&] { lock().lock(); }).join();
  const auto start = clock_type::now();
  EXPECT_ERROR(lock().lock(), owner_died);
  EXPECT_LT(clock_type::now() - start, 100ms);
  EXPECT_ERROR((void)lock().try_lock(), owner_died);
  EXPECT_ERROR((void)lock().try_lock_for(1s), owner_died);
  {
    auto held = lock().lock_for_repair();
    EXPECT_TRUE(held.owner_died());
  }
  EXPECT_ERROR(lock().lock(), owner_died);  // nobody said it is whole again
  {
    auto held = lock().lock_for_repair();
    held.make_consistent();
    EXPECT_FALSE(held.owner_died());
  }
  const std::lock_guard held(lock());
}

TEST_P(Mutex, AllWhoWaitAreToldOfTheOwnersDeath) {
  std::atomic<int> told{0};
  std::atomic<bool> holds{false};
  std::atomic<bool> end{false};
  std::thread owner([&] {
    lock().lock();
    holds = true;
    while (!end) std::this_thread::yield();
  });
  while (!holds) std::this_thread::yield();
  std::vector<std::thread> waiters;
  for (int i = 0; i < 4; ++i)
    waiters.emplace_back([&] {
      EXPECT_ERROR(lock().lock(), owner_died);
      ++told;
    });
  std::this_thread::sleep_for(30ms);
  EXPECT_EQ(told, 0);
  const auto start = clock_type::now();
  end = true;
  owner.join();
  for (std::thread& w : waiters) w.join();
  EXPECT_LT(clock_type::now() - start, 250ms);
}

TEST_P(Mutex, NobodyStarvesAlthoughOneThreadTakesItAgainAndAgain) {
  std::atomic<bool> stop{false};
  std::thread greedy([&] {
    while (!stop) {
      const std::lock_guard held(lock());
      const auto until = clock_type::now() + 100us;
      while (clock_type::now() < until) {
      }
    }
  });
  clock_type::duration longest{0};
  while (lock().try_lock()) {  // until the greedy one is at it
    lock().unlock();
    std::this_thread::yield();
  }
  for (int i = 0; i < 50; ++i) {
    const auto start = clock_type::now();
    lock().lock();
    longest = std::max(longest, clock_type::now() - start);
    lock().unlock();
  }
  stop = true;
  greedy.join();
  EXPECT_LT(longest, 200ms);
}
