// Locks between real processes: owners, readers, holders, members and waiters that are killed or
// stopped, children that fork, and everybody at once.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objects.hpp"
#include "posix_process.hpp"
#include "roles.hpp"

#include "place.hpp"

import ipcpp.platform;
import ipcpp.sync;

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

namespace {

// A child that runs `body` and then waits to be killed; the constructor returns when it is so far.
class process {
 public:
  explicit process(const std::function<void()>& body, bool wait_for_it = true) {
    int pipe[2];
    if (::pipe(pipe) != 0) throw std::runtime_error("pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      body();
      (void)!::write(pipe[1], "x", 1);
      for (;;) ::pause();
    }
    ::close(pipe[1]);
    char x = 0;
    if (wait_for_it && ::read(pipe[0], &x, 1) != 1) ADD_FAILURE() << "the child did not get there";
    ::close(pipe[0]);
  }
  process(process&& other) noexcept : pid_(std::exchange(other.pid_, -1)) {}
  process& operator=(process&& other) noexcept {
    std::swap(pid_, other.pid_);
    return *this;
  }
  ~process() { end(); }
  void signal(int number) const { ::kill(pid_, number); }
  void end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

struct LocksProcesses : testing::Test {
  lock_place place;
};

template <class F>
clock_type::duration time_of(F&& f) {
  const auto start = clock_type::now();
  f();
  return clock_type::now() - start;
}

}  // namespace

TEST_F(LocksProcesses, TheOwnersDeathPassesTheMutexOnAtOnce) {
  auto& lock = place.make<ipcpp::mutex>(0);
  process owner([&] { lock.lock(); });
  EXPECT_FALSE(lock.try_lock_for(120ms)) << "alive";
  owner.end();
  EXPECT_LT(time_of([&] { EXPECT_ERROR(lock.lock(), owner_died); }), 100ms);
  auto held = lock.lock_for_repair();
  held.make_consistent();
}

TEST_F(LocksProcesses, WhoeverSleepsNoticesTheDeathWithin100ms) {
  auto& lock = place.make<ipcpp::mutex>(0);
  std::optional<process> owner(std::in_place, [&] { lock.lock(); });
  std::atomic<bool> killed{false};
  clock_type::time_point at;
  std::thread killer([&] {
    std::this_thread::sleep_for(130ms);
    at = clock_type::now();
    killed = true;
    owner->end();
  });
  EXPECT_ERROR(lock.lock(), owner_died);
  EXPECT_TRUE(killed);
  killer.join();
  EXPECT_LT(clock_type::now() - at, 100ms + 50ms);  // and what a busy machine adds
}

TEST_F(LocksProcesses, AStoppedOwnerIsNotRobbed) {
  auto& lock = place.make<ipcpp::mutex>(0);
  process owner([&] { lock.lock(); });
  owner.signal(SIGSTOP);
  EXPECT_FALSE(lock.try_lock_for(200ms));
  owner.signal(SIGCONT);
  EXPECT_FALSE(lock.try_lock_for(20ms));
  owner.end();
  EXPECT_ERROR(lock.lock(), owner_died);
}

TEST_F(LocksProcesses, AProcessThatExitsWhileItHoldsHasDiedAsOwner) {
  auto& lock = place.make<ipcpp::mutex>(0);
  EXPECT_EQ(test::in_forked_child([&] {
              std::thread([&] {
                lock.lock();
                for (;;) ::pause();
              }).detach();
              while (lock.try_lock()) lock.unlock();
              return 0;
            }),
            0);
  EXPECT_ERROR(lock.lock(), owner_died);
}

TEST_F(LocksProcesses, AForkedChildDoesNotHoldWhatItsParentHolds) {
  auto& lock = place.make<ipcpp::mutex>(0);
  auto& shared = place.make<ipcpp::shared_mutex>(1);
  ipcpp::mutex of_one_process;
  lock.lock();
  shared.lock_shared();
  of_one_process.lock();
  EXPECT_EQ(test::in_forked_child([&] {
              EXPECT_ERROR(lock.unlock(), not_owner);
              EXPECT_ERROR(shared.unlock_shared(), not_owner);
              if (lock.try_lock() || lock.try_lock_for(60ms) || shared.try_lock()) return 1;
              EXPECT_ERROR(of_one_process.lock(), owner_died);
              return testing::Test::HasFailure() ? 2 : 0;
            }),
            0);
  lock.unlock();
  shared.unlock_shared();
  of_one_process.unlock();
}

TEST_F(LocksProcesses, DeadReadersDoNotBlockWriters) {
  auto& lock = place.make<ipcpp::shared_mutex>(0);
  {
    process one([&] { lock.lock_shared(); });
    process two([&] { lock.lock_shared(); });
    EXPECT_FALSE(lock.try_lock_for(60ms));
    one.end();
    EXPECT_FALSE(lock.try_lock_for(60ms));
    two.signal(SIGSTOP);
    EXPECT_FALSE(lock.try_lock_for(60ms)) << "a stopped reader reads";
  }
  EXPECT_LT(time_of([&] { lock.lock(); }), 100ms);
  lock.unlock();
}

TEST_F(LocksProcesses, APermitOfTheDeadComesBack) {
  auto& permits = place.make<ipcpp::counting_semaphore<4>>(0, 2u);
  auto& messages = place.make<ipcpp::counting_semaphore<4>>(1, 2u, ipcpp::permit_kind::consumed);
  process holder([&] {
    permits.acquire();
    permits.acquire();
    messages.acquire();
    messages.acquire();
  });
  EXPECT_FALSE(permits.try_acquire_for(120ms));
  holder.end();
  EXPECT_LT(time_of([&] { permits.acquire(); }), 100ms);
  permits.acquire();
  EXPECT_FALSE(permits.try_acquire_for(60ms));
  EXPECT_FALSE(messages.try_acquire_for(60ms)) << "used up is used up";
}

TEST_F(LocksProcesses, ADeadWaiterDoesNotSwallowAWakeUp) {
  auto& lock = place.make<ipcpp::mutex>(0);
  auto& changed = place.make<ipcpp::condition_variable>(1);
  auto& value = place.make<std::atomic<int>>(2, 0);
  auto& asleep = place.make<std::atomic<int>>(3, 0);
  const auto wait = [&] {
    std::unique_lock held(lock);
    ++asleep;
    changed.wait(held, [&] { return value != 0; });
  };
  process first(wait, false);  // the oldest: it would be chosen
  while (asleep < 1) std::this_thread::yield();
  {
    const std::lock_guard held(lock);
  }
  process second(wait, false);
  std::thread waiter(wait);
  while (asleep < 3) std::this_thread::yield();
  first.end();
  clock_type::duration took{0};
  {
    const std::lock_guard held(lock);
    value = 1;
  }
  changed.notify_one();
  took = time_of([&] { waiter.join(); });
  EXPECT_LT(took, 150ms);
}

TEST_F(LocksProcesses, ABarrierGoesOnWithoutItsDead) {
  auto& line = place.make<ipcpp::barrier<4>>(0, 3u);
  process dies([&] { line.arrive_and_wait(); }, false);
  process stays(
      [&] {
        for (int i = 0; i < 3; ++i) line.arrive_and_wait();
      },
      false);
  line.arrive_and_wait();
  dies.end();
  EXPECT_LT(time_of([&] { line.arrive_and_wait(); }), 500ms);
  line.arrive_and_wait();
}

TEST_F(LocksProcesses, WhatSomebodyDiedDoingOnceIsDoneAgain) {
  auto& flag = place.make<ipcpp::once_flag>(0);
  process dies(
      [&] {
        ipcpp::call_once(flag, [] {
          for (;;) ::pause();
        });
      },
      false);
  std::this_thread::sleep_for(20ms);
  dies.end();
  int done = 0;
  ipcpp::call_once(flag, [&] { ++done; });
  ipcpp::call_once(flag, [&] { ++done; });
  EXPECT_EQ(done, 1);
}

TEST_F(LocksProcesses, AHandedOverLockIsNotLostWithItsHeir) {
  // The oldest waiter is stopped, so the lock is handed to somebody who cannot take it, and is killed.
  auto& lock = place.make<ipcpp::mutex>(0);
  auto& asleep = place.make<std::atomic<int>>(1, 0);
  lock.lock();
  process heir(
      [&] {
        ++asleep;
        lock.lock();
      },
      false);
  while (asleep < 1) std::this_thread::yield();
  std::this_thread::sleep_for(20ms);
  heir.signal(SIGSTOP);
  lock.unlock();
  EXPECT_LT(time_of([&] { lock.lock(); }), 250ms) << "passed over, though it lives";
  lock.unlock();
  heir.end();
  EXPECT_LT(time_of([&] { lock.lock(); }), 250ms) << "and it never held it";
  lock.unlock();
}

namespace {

struct account {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
  std::uint64_t rounds = 0;
};

// Processes add to both counters under the lock; some are killed, some stopped. Whoever finds a death
// mends the counters. Nobody must ever see them differ with the lock held and consistent.
template <class Lock, class Work>
void soak(lock_place& place, Lock&, account& sums, Work work) {
  const auto until = clock_type::now() + (test::prove_in_full() ? 60s : 3s);
  auto& wrong = place.make<std::atomic<int>>(5, 0);
  std::mt19937 random(7);
  std::vector<process> workers;
  const auto start = [&] {
    return process(
        [&] {
          for (;;) work(sums, wrong);
        },
        false);
  };
  for (int i = 0; i < 4; ++i) workers.push_back(start());
  std::uint64_t before = 0;
  int deaths = 0;
  while (clock_type::now() < until) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 8000));
    const std::size_t who = random() % workers.size();
    if (random() % 4 == 0) {
      workers[who].signal(SIGSTOP);
      std::this_thread::sleep_for(std::chrono::milliseconds(random() % 20));
      workers[who].signal(SIGCONT);
    } else {
      workers[who].end();
      workers.erase(workers.begin() + static_cast<std::ptrdiff_t>(who));
      workers.push_back(start());
      ++deaths;
    }
  }
  // Nobody hangs: rounds go on without any more deaths.
  for (const process& p : workers) p.signal(SIGCONT);
  before = std::atomic_ref(sums.rounds).load();
  const auto patience = clock_type::now() + 5s;
  while (std::atomic_ref(sums.rounds).load() < before + 100 && clock_type::now() < patience)
    std::this_thread::sleep_for(1ms);
  EXPECT_GE(std::atomic_ref(sums.rounds).load(), before + 100) << "after " << deaths << " deaths";
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(deaths, 20);
}

void mend(account& sums) {
  std::atomic_ref(sums.second).store(std::atomic_ref(sums.first).load());
}
void change(account& sums, std::atomic<int>& wrong) {
  if (std::atomic_ref(sums.first).load() != std::atomic_ref(sums.second).load()) ++wrong;
  std::atomic_ref(sums.first).fetch_add(1);
  std::atomic_ref(sums.second).fetch_add(1);
  std::atomic_ref(sums.rounds).fetch_add(1);
}

}  // namespace

TEST_F(LocksProcesses, AMutexHoldsUnderKillsAndStops) {
  auto& lock = place.make<ipcpp::mutex>(0);
  auto& sums = place.make<account>(1);
  soak(place, lock, sums, [&](account& s, std::atomic<int>& wrong) {
    try {
      if (s.rounds % 3 == 0) {
        if (!lock.try_lock_for(std::chrono::milliseconds(s.rounds % 5))) return;
      } else {
        lock.lock();
      }
      change(s, wrong);
      lock.unlock();
    } catch (const ipcpp::error&) {
      auto held = lock.lock_for_repair();
      if (held.owner_died()) mend(s);
      held.make_consistent();
    }
  });
}

TEST_F(LocksProcesses, ASharedMutexHoldsUnderKillsAndStops) {
  auto& lock = place.make<ipcpp::shared_mutex>(0);
  auto& sums = place.make<account>(1);
  soak(place, lock, sums, [&](account& s, std::atomic<int>& wrong) {
    try {
      if (s.rounds % 4 != 0) {
        const std::shared_lock held(lock);
        if (std::atomic_ref(s.first).load() != std::atomic_ref(s.second).load()) ++wrong;
        std::atomic_ref(s.rounds).fetch_add(1);
      } else {
        const std::lock_guard held(lock);
        change(s, wrong);
      }
    } catch (const ipcpp::error&) {
      auto held = lock.lock_for_repair();
      if (held.owner_died()) mend(s);
      held.make_consistent();
    }
  });
}

TEST_F(LocksProcesses, ConditionsAndSemaphoresGoOnUnderKillsAndStops) {
  auto& lock = place.make<ipcpp::mutex>(0);
  auto& changed = place.make<ipcpp::condition_variable>(2);
  auto& permits = place.make<ipcpp::counting_semaphore<2>>(3, 2u);
  auto& sums = place.make<account>(1);
  soak(place, lock, sums, [&](account& s, std::atomic<int>& wrong) {
    try {
      permits.acquire();
      std::unique_lock held(lock);
      const std::uint64_t seen = s.rounds;
      (void)changed.wait_for(held, 2ms, [&] { return s.rounds != seen; });
      change(s, wrong);
      held.unlock();
      changed.notify_one();
      permits.release();
    } catch (const ipcpp::error&) {
      auto held = lock.lock_for_repair();
      if (held.owner_died()) mend(s);
      held.make_consistent();
      permits.release();
    }
  });
}
