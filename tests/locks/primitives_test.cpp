// Everything but the mutex, with the threads of one process, in a shared place and in private memory.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "objects.hpp"

#include "place.hpp"

import ipcpp.platform;
import ipcpp.sync;

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

namespace {

struct Locks : testing::TestWithParam<bool> {
  // The object lives until the test ends; a shared one is never destroyed.
  template <class T, class... Args>
  T& make(Args&&... args) {
    if (!GetParam()) return place.make<T>(next++, std::forward<Args>(args)...);
    auto made = std::make_shared<T>(std::forward<Args>(args)...);
    kept.push_back(made);
    return *made;
  }
  lock_place place;
  std::size_t next = 0;
  std::vector<std::shared_ptr<void>> kept;
};

template <class F>
void in_threads(int n, F&& f) {
  std::vector<std::thread> threads;
  for (int i = 0; i < n; ++i) threads.emplace_back([&f, i] { f(i); });
  for (std::thread& t : threads) t.join();
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(, Locks, testing::Bool(),
                         [](const auto& info) { return info.param ? "Private" : "Shared"; });

// ---- recursive_mutex ----

TEST_P(Locks, ARecursiveMutexIsHeldUntilItIsUnlockedAsOftenAsItWasLocked) {
  auto& lock = make<ipcpp::recursive_mutex>();
  lock.lock();
  EXPECT_TRUE(lock.try_lock());
  EXPECT_TRUE(lock.try_lock_for(1ms));
  const auto other_can = [&] {
    bool could = false;
    std::thread([&] {
      could = lock.try_lock();
      if (could) lock.unlock();
    }).join();
    return could;
  };
  lock.unlock();
  lock.unlock();
  EXPECT_FALSE(other_can());
  std::thread([&] { EXPECT_ERROR(lock.unlock(), not_owner); }).join();
  lock.unlock();
  EXPECT_TRUE(other_can());
  EXPECT_ERROR(lock.unlock(), not_owner);
}

TEST_P(Locks, ARecursiveMutexTellsOfItsOwnersDeath) {
  auto& lock = make<ipcpp::recursive_mutex>();
  std::thread([&] {
    lock.lock();
    lock.lock();
  }).join();
  EXPECT_ERROR(lock.lock(), owner_died);
  {
    auto held = lock.lock_for_repair();
    held.make_consistent();
  }
  lock.lock();
  lock.unlock();
  std::thread([&] {
    EXPECT_TRUE(lock.try_lock());
    lock.unlock();
  }).join();
}

// ---- shared_mutex ----

TEST_P(Locks, ReadersShareAndWritersDoNot) {
  auto& lock = make<ipcpp::shared_mutex>();
  lock.lock_shared();
  std::thread([&] {
    EXPECT_TRUE(lock.try_lock_shared());
    EXPECT_FALSE(lock.try_lock());
    lock.unlock_shared();
    EXPECT_FALSE(lock.try_lock());
    EXPECT_FALSE(lock.try_lock_for(20ms));
    EXPECT_TRUE(lock.try_lock_shared()) << "a writer that gave up is in nobody's way";
    lock.unlock_shared();
  }).join();
  EXPECT_ERROR(lock.lock(), would_deadlock);
  lock.unlock_shared();
  EXPECT_ERROR(lock.unlock_shared(), not_owner);
  lock.lock();
  std::thread([&] {
    EXPECT_FALSE(lock.try_lock_shared());
    EXPECT_FALSE(lock.try_lock_shared_for(20ms));
    EXPECT_ERROR(lock.unlock(), not_owner);
  }).join();
  EXPECT_ERROR(lock.lock_shared(), would_deadlock);
  lock.unlock();
  std::shared_lock<ipcpp::shared_mutex> held(lock);
}

TEST_P(Locks, AThreadMayHoldTenSharedLocksInAPlace) {
  std::vector<ipcpp::shared_mutex*> locks;
  for (int i = 0; i < 11; ++i) locks.push_back(&make<ipcpp::shared_mutex>());
  for (int i = 0; i < 10; ++i) locks[static_cast<std::size_t>(i)]->lock_shared();
  EXPECT_ERROR(locks[10]->lock_shared(), limit_reached);
  for (int i = 0; i < 10; ++i) locks[static_cast<std::size_t>(i)]->unlock_shared();
  for (ipcpp::shared_mutex* lock : locks) {
    EXPECT_TRUE(lock->try_lock());
    lock->unlock();
  }
}

TEST_P(Locks, ReadersSeeWhatWritersWroteAndNeverHalfOfIt) {
  auto& lock = make<ipcpp::shared_mutex>();
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  std::atomic<std::uint64_t> read{0};
  in_threads(4, [&](int i) {
    for (int round = 0; round < 4000; ++round) {
      if (i < 2) {
        const std::lock_guard held(lock);
        ++first;
        ++second;
      } else {
        const std::shared_lock held(lock);
        EXPECT_EQ(first, second);
        ++read;
      }
    }
  });
  EXPECT_EQ(first, 8000u);
  EXPECT_EQ(read, 8000u);
}

TEST_P(Locks, AWriterIsNotStarvedByReadersNorAReaderByWriters) {
  auto& lock = make<ipcpp::shared_mutex>();
  std::atomic<bool> stop{false};
  std::atomic<int> running{0};
  const auto spend = [](auto time) {
    for (const auto until = clock_type::now() + time; clock_type::now() < until;) {
    }
  };
  std::vector<std::thread> readers;
  for (int i = 0; i < 2; ++i)
    readers.emplace_back([&] {
      ++running;
      while (!stop) {
        const std::shared_lock held(lock);
        spend(300us);
      }
    });
  while (running < 2) std::this_thread::yield();
  auto start = clock_type::now();
  for (int i = 0; i < 10; ++i) {
    const std::lock_guard held(lock);
  }
  EXPECT_LT(clock_type::now() - start, 3s);
  stop = true;
  for (std::thread& t : readers) t.join();
  stop = false;
  std::thread writer([&] {
    ++running;
    while (!stop) {
      const std::lock_guard held(lock);
      spend(300us);
    }
  });
  while (running < 3) std::this_thread::yield();
  start = clock_type::now();
  for (int i = 0; i < 10; ++i) {
    const std::shared_lock held(lock);
  }
  EXPECT_LT(clock_type::now() - start, 3s);
  stop = true;
  writer.join();
}

TEST_P(Locks, AThreadThatEndsReadingIsInNobodysWayAndOneThatEndsWritingIsTold) {
  auto& lock = make<ipcpp::shared_mutex>();
  std::thread([&] { lock.lock_shared(); }).join();
  EXPECT_TRUE(lock.try_lock());
  lock.unlock();
  std::thread([&] { lock.lock(); }).join();
  EXPECT_ERROR(lock.lock_shared(), owner_died);
  EXPECT_ERROR(lock.lock(), owner_died);
  EXPECT_ERROR((void)lock.try_lock_shared(), owner_died);
  {
    auto held = lock.lock_for_repair();
    EXPECT_TRUE(held.owner_died());
    held.make_consistent();
  }
  const std::shared_lock held(lock);
}

// ---- condition_variable ----

TEST_P(Locks, AConditionIsWaitedForWithTheLockLetGo) {
  auto& lock = make<ipcpp::mutex>();
  auto& changed = make<ipcpp::condition_variable>();
  int turn = 0;
  in_threads(3, [&](int me) {
    for (int round = 0; round < 300; ++round) {
      std::unique_lock held(lock);
      changed.wait(held, [&] { return turn % 3 == me; });
      ++turn;
      changed.notify_all();
    }
  });
  EXPECT_EQ(turn, 900);
}

TEST_P(Locks, NotifyOneReachesSomebodyWhoWaits) {
  auto& lock = make<ipcpp::mutex>();
  auto& changed = make<ipcpp::condition_variable>();
  int tokens = 0;
  int taken = 0;
  std::thread giver([&] {
    for (int i = 0; i < 600; ++i) {
      {
        const std::lock_guard held(lock);
        ++tokens;
      }
      changed.notify_one();
    }
  });
  in_threads(3, [&](int) {
    for (int i = 0; i < 200; ++i) {
      std::unique_lock held(lock);
      changed.wait(held, [&] { return tokens > 0; });
      --tokens;
      ++taken;
    }
  });
  giver.join();
  EXPECT_EQ(taken, 600);
}

TEST_P(Locks, AConditionHasDeadlinesAndSaysWhenTheLocksOwnerDied) {
  auto& lock = make<ipcpp::mutex>();
  auto& changed = make<ipcpp::condition_variable>();
  std::unique_lock held(lock);
  const auto start = clock_type::now();
  EXPECT_FALSE(changed.wait_for(held, 80ms, [] { return false; }));
  EXPECT_GE(clock_type::now() - start, 80ms);
  EXPECT_TRUE(held.owns_lock());
  EXPECT_TRUE(changed.wait_until(held, clock_type::now() + 1h, [] { return true; }));
  EXPECT_EQ(changed.wait_for(held, 0ms), std::cv_status::timeout);
  std::thread dies([&] { lock.lock(); });
  EXPECT_ERROR(changed.wait(held, [] { return false; }), owner_died);
  EXPECT_FALSE(held.owns_lock());
  dies.join();
}

// ---- semaphore ----

TEST_P(Locks, ASemaphoreLetsSoManyIn) {
  auto& permits = make<ipcpp::counting_semaphore<8>>(3u);
  std::atomic<int> inside{0};
  std::atomic<int> most{0};
  in_threads(6, [&](int) {
    for (int i = 0; i < 500; ++i) {
      permits.acquire();
      const int now = ++inside;
      for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
      }
      --inside;
      permits.release();
    }
  });
  EXPECT_LE(most, 3);
  EXPECT_TRUE(permits.try_acquire());
  EXPECT_TRUE(permits.try_acquire());
  EXPECT_TRUE(permits.try_acquire_for(1ms));
  EXPECT_FALSE(permits.try_acquire());
  EXPECT_FALSE(permits.try_acquire_for(20ms));
  permits.release(3);
  permits.release(5);  // more than there were, up to the maximum
  EXPECT_ERROR(permits.release(), limit_reached);
}

TEST_P(Locks, ABinarySemaphoreIsASignalToo) {
  auto& there = make<ipcpp::binary_semaphore>(0u, ipcpp::permit_kind::consumed);
  auto& back = make<ipcpp::binary_semaphore>(0u);
  std::thread other([&] {
    for (int i = 0; i < 300; ++i) {
      there.acquire();
      back.release();
    }
  });
  for (int i = 0; i < 300; ++i) {
    there.release();
    back.acquire();
  }
  other.join();
  EXPECT_FALSE(there.try_acquire());
  EXPECT_FALSE(back.try_acquire());
}

// ---- latch, barrier, once ----

TEST_P(Locks, ALatchOpensWhenAllIsDone) {
  auto& done = make<ipcpp::latch>(5u);
  int sum = 0;
  std::thread waiter([&] {
    done.wait();
    EXPECT_EQ(sum, 10);
  });
  EXPECT_FALSE(done.wait_for(10ms));
  for (int i = 0; i < 4; ++i) {
    sum += i;
    done.count_down();
  }
  EXPECT_FALSE(done.try_wait());
  sum += 4;
  EXPECT_ERROR(done.count_down(2), invalid_argument);
  done.arrive_and_wait();
  waiter.join();
  EXPECT_TRUE(done.try_wait());
}

TEST_P(Locks, ABarrierHoldsEachBackUntilAllHaveArrived) {
  auto& line = make<ipcpp::barrier<8>>(3u);
  std::atomic<int> arrived{0};
  in_threads(3, [&](int) {
    for (int phase = 1; phase <= 200; ++phase) {
      ++arrived;
      line.arrive_and_wait();
      EXPECT_GE(arrived, 3 * phase);
    }
    line.arrive_and_drop();
  });
}

TEST_P(Locks, ABarrierDoesNotWaitForMembersThatEndedOrDropped) {
  auto& line = make<ipcpp::barrier<8>>(3u);
  auto& ended = make<ipcpp::latch>(1u);
  std::thread dropper([&] {
    line.arrive_and_wait();
    line.arrive_and_drop();
  });
  std::thread ender([&] {
    line.arrive_and_wait();
    ended.count_down();
  });
  line.arrive_and_wait();
  EXPECT_ERROR(([&] {
                 auto token = line.arrive();
                 (void)line.arrive();
                 (void)token;
               }()),
               invalid_argument);
  dropper.join();
  ender.join();
  const auto start = clock_type::now();
  EXPECT_TRUE(line.wait_for(1, 10s));
  EXPECT_LT(clock_type::now() - start, 500ms);
  for (int i = 0; i < 10; ++i) line.arrive_and_wait();  // alone by now
}

TEST_P(Locks, SomethingIsDoneOnceAndAgainOnlyAfterAnException) {
  auto& flag = make<ipcpp::once_flag>();
  std::atomic<int> done{0};
  EXPECT_THROW(ipcpp::call_once(flag, [] { throw std::runtime_error("x"); }), std::runtime_error);
  EXPECT_FALSE(flag.done());
  in_threads(4, [&](int) { ipcpp::call_once(flag, [&](int n) { done += n; }, 1); });
  EXPECT_EQ(done, 1);
  EXPECT_TRUE(flag.done());
}

// ---- waiting ----

TEST_P(Locks, WaitingEndsWithANotificationWithoutOneAndAtTheDeadline) {
  auto& point = make<ipcpp::detail::waiting_point>();
  std::atomic<int> value{0};
  EXPECT_FALSE(ipcpp::detail::wait(point, clock_type::now() + 20ms, [&] { return value == 1; }));
  std::thread notifier([&] {
    value = 1;
    ipcpp::detail::notify_one(point);
  });
  EXPECT_TRUE(
      ipcpp::detail::wait(point, clock_type::time_point::max(), [&] { return value == 1; }));
  notifier.join();
  std::thread silent([&] { value = 2; });  // as if killed before it notified
  const auto start = clock_type::now();
  EXPECT_TRUE(
      ipcpp::detail::wait(point, clock_type::time_point::max(), [&] { return value == 2; }));
  EXPECT_LT(clock_type::now() - start, 100ms);
  silent.join();
}

TEST_P(Locks, ManyWaitAtManyPointsAndEachIsWoken) {
  // More sleepers than marks, several points, each wake-up exactly one.
  constexpr int sleepers = 48;
  auto& point = make<ipcpp::detail::waiting_point>();
  auto& other = make<ipcpp::detail::waiting_point>();
  std::atomic<int> permits{0};
  std::atomic<int> woken{0};
  const auto take = [&] {
    for (int seen = permits; seen > 0;)
      if (permits.compare_exchange_weak(seen, seen - 1)) return true;
    return false;
  };
  std::thread giver([&] {
    for (int i = 0; i < sleepers; ++i) {
      ++permits;
      ipcpp::detail::notify_one(i % 2 == 0 ? point : other);
      std::this_thread::sleep_for(200us);
    }
  });
  in_threads(sleepers, [&](int i) {
    EXPECT_TRUE(
        ipcpp::detail::wait(i % 2 == 0 ? point : other, clock_type::time_point::max(), take));
    ++woken;
  });
  giver.join();
  EXPECT_EQ(woken, sleepers);
}

TEST_P(Locks, OneThreadWaitsAtSeveralPoints) {
  auto& point = make<ipcpp::detail::waiting_point>();
  auto& other = make<ipcpp::detail::waiting_point>();
  std::atomic<int> value{0};
  std::thread waiter([&] {
    ipcpp::detail::waiting now(point);
    now.also_at(other);
    for (int wanted = 1; wanted <= 20; ++wanted)
      for (;;) {
        now.arm();
        if (value >= wanted) break;
        now.park(clock_type::time_point::max());
      }
  });
  for (int i = 1; i <= 20; ++i) {
    value = i;
    ipcpp::detail::notify_one(i % 2 == 0 ? point : other);
    std::this_thread::sleep_for(1ms);
  }
  waiter.join();
}
