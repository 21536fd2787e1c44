// Locks under death at every instruction: of taking them, free and held; of giving them up, with and
// without somebody who waits; of the timed paths, of taking over from the dead, of notifying. After each
// kill the survivors get the lock, are told of the death exactly when something may be half done, and
// whoever sleeps wakes up.
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
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "posix_process.hpp"
#include "roles.hpp"
#include "single_step.hpp"

#include "../locks/place.hpp"

import ipcpp.platform;
import ipcpp.sync;

using namespace std::chrono_literals;
using clock_type = std::chrono::steady_clock;

namespace {

struct pair {
  std::uint64_t first = 0;
  std::uint64_t second = 0;
};

// Somebody who sleeps at a lock and is stopped there.
class sleeper {
 public:
  explicit sleeper(const std::function<void()>& body) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      body();
    } catch (const ipcpp::error& e) {
      ::_exit(e.code() == ipcpp::errc::owner_died ? 0 : 2);
    } catch (...) {
      ::_exit(3);
    }
    ::_exit(0);
  }
  sleeper(const sleeper&) = delete;
  ~sleeper() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  void signal(int number) const { ::kill(pid_, number); }
  // Comes to its end, told of a death or not.
  bool ends(clock_type::duration patience) {
    const auto until = clock_type::now() + patience;
    int status = 0;
    for (;;) {
      const pid_t got = ::waitpid(pid_, &status, WNOHANG);
      if (got == pid_) {
        pid_ = -1;
        return WIFEXITED(status) && WEXITSTATUS(status) == 0;
      }
      if (clock_type::now() > until) return false;
      std::this_thread::sleep_for(500us);
    }
  }

 private:
  pid_t pid_ = -1;
};

struct stage {
  lock_place place{{.processes = 6, .handles = 12}};
  ipcpp::mutex& lock = place.make<ipcpp::mutex>(0);
  ipcpp::shared_mutex& shared = place.make<ipcpp::shared_mutex>(1);
  ipcpp::condition_variable& changed = place.make<ipcpp::condition_variable>(2);
  ipcpp::counting_semaphore<2>& permits = place.make<ipcpp::counting_semaphore<2>>(3, 2u);
  ipcpp::barrier<3>& line = place.make<ipcpp::barrier<3>>(4, 2u);
  ipcpp::once_flag& once = place.make<ipcpp::once_flag>(5);
  pair& values = place.make<pair>(6);
  std::uint64_t& value = place.make<std::uint64_t>(7, 0u);
  std::uint64_t& asleep = place.make<std::uint64_t>(8, 0u);

  void change() {
    std::atomic_ref(values.first).fetch_add(1);
    std::atomic_ref(values.second).fetch_add(1);
  }
  bool whole() const { return values.first == values.second; }

  // Somebody who died in `body`.
  static void die_in(const std::function<void()>& body) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      body();
      ::raise(SIGKILL);
    }
    ::waitpid(pid, nullptr, 0);
  }
  // Starts `body`, which counts `asleep` up and sleeps at something, and stops it there.
  std::unique_ptr<sleeper> stop_asleep(const std::function<void()>& body) {
    auto made = std::make_unique<sleeper>(body);
    while (std::atomic_ref(asleep).load() == 0) std::this_thread::sleep_for(100us);
    std::this_thread::sleep_for(15ms);  // long enough to be handed the lock
    made->signal(SIGSTOP);
    return made;
  }

  // What must hold whatever the victim was doing.
  template <class Lock>
  void expect_usable(Lock& of) {
    const auto start = clock_type::now();
    try {
      of.lock();
      EXPECT_TRUE(whole()) << "nobody told us";
      of.unlock();
    } catch (const ipcpp::error& e) {
      EXPECT_EQ(e.code(), ipcpp::errc::owner_died);
      auto held = of.lock_for_repair();
      values.second = values.first;
      held.make_consistent();
    }
    EXPECT_LT(clock_type::now() - start, 1s);
    of.lock();
    change();
    of.unlock();
  }
};

struct CrashLocks : testing::Test {
  std::optional<stage> now;
  std::unique_ptr<sleeper> waiter;

  void SetUp() override {
    if (const std::string reason = crash::why_not(); !reason.empty()) GTEST_SKIP() << reason;
  }
  crash::scene scene(std::string name, std::function<void()> operation) {
    return {.name = std::move(name),
            .prepare =
                [this] {
                  waiter.reset();
                  now.emplace();
                },
            .operation = std::move(operation),
            .while_stopped = [] {},
            .check = [this](bool) { now->expect_usable(now->lock); },
            .watched = [this] { return now->place.bytes(); }};
  }
};

}  // namespace

TEST_F(CrashLocks, KilledAtEveryInstructionOfLockingAndUnlocking) {
  auto s = scene("lock, change, unlock", [this] {
    now->lock.lock();
    now->change();
    now->lock.unlock();
  });
  s.while_stopped = [this] {
    if (!now->lock.try_lock()) return;  // stopped is alive: whoever holds it keeps it
    EXPECT_TRUE(now->whole());
    now->lock.unlock();
  };
  const crash::report r = crash::kill_everywhere(s);
  EXPECT_GE(r.events, 6u);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfUnlockingWhileSomebodySleeps) {
  auto s = scene("lock, change, hand over", [this] {
    now->lock.lock();
    now->change();
    now->lock.unlock();
  });
  s.prepare = [this] {
    waiter.reset();
    now.emplace();
    now->lock.lock();
    waiter = now->stop_asleep([this] {
      std::atomic_ref(now->asleep).store(1);
      const std::lock_guard held(now->lock);
      if (!now->whole()) ::_exit(1);
      now->change();
    });
    // Free again, without the waiter's being told: that is left to the victim.
    std::atomic_ref(now->place.get<std::uint64_t>(0)).store(0);
  };
  s.check = [this](bool) {
    waiter->signal(SIGCONT);
    EXPECT_TRUE(waiter->ends(1s)) << "it sleeps for ever";
    now->expect_usable(now->lock);
  };
  const crash::report r = crash::kill_everywhere(s);
  EXPECT_GE(r.events, 8u);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfWaitingForALockInVain) {
  auto s =
      scene("try_lock_for while another holds it", [this] { (void)now->lock.try_lock_for(2ms); });
  s.prepare = [this] {
    now.emplace();
    now->lock.lock();
  };
  s.while_stopped = [this] {
    now->lock.unlock();
    now->lock.lock();
  };
  s.check = [this](bool) {
    now->lock.unlock();  // hands over to nobody dead
    now->expect_usable(now->lock);
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfTakingOverFromTheDead) {
  auto s = scene("owner_died, repair", [this] {
    try {
      now->lock.lock();
      ::_exit(3);
    } catch (const ipcpp::error&) {
    }
    auto held = now->lock.lock_for_repair();
    now->values.second = now->values.first;
    held.make_consistent();
  });
  s.prepare = [this] {
    now.emplace();
    stage::die_in([this] {
      now->lock.lock();
      now->values.first = 7;
    });
  };
  const crash::report r = crash::kill_everywhere(s);
  EXPECT_GE(r.events, 8u);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfTakingTheMutexAfterAnHeirDied) {
  // The lock was handed to somebody who died before saying yes.
  auto s = scene("lock handed to somebody dead", [this] {
    now->lock.lock();
    now->change();
    now->lock.unlock();
  });
  s.prepare = [this] {
    now.emplace();
    now->lock.lock();
    auto heir = now->stop_asleep([this] {
      std::atomic_ref(now->asleep).store(1);
      now->lock.lock();
    });
    now->lock.unlock();
    heir.reset();
  };
  s.check = [this](bool finished) {
    if (finished) {
      EXPECT_FALSE(now->lock.owner_died());
    }
    now->expect_usable(now->lock);
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfReading) {
  auto s = scene("lock_shared, unlock_shared", [this] {
    now->shared.lock_shared();
    if (!now->whole()) ::_exit(3);
    now->shared.unlock_shared();
  });
  s.while_stopped = [this] {
    if (!now->shared.try_lock_shared()) return;
    now->shared.unlock_shared();
  };
  s.check = [this](bool) {
    now->expect_usable(now->shared);
    EXPECT_FALSE(now->shared.owner_died()) << "a reader's death is no writer's";
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfReadingWhileAWriterWaits) {
  // A stopped writer stands at the gate: readers go through it one by one.
  auto s = scene("lock_shared at the gate", [this] { (void)now->shared.try_lock_shared_for(2ms); });
  s.prepare = [this] {
    waiter.reset();
    now.emplace();
    now->shared.lock_shared();
    waiter = now->stop_asleep([this] {
      std::atomic_ref(now->asleep).store(1);
      const std::lock_guard held(now->shared);
      now->change();
    });
  };
  s.check = [this](bool) {
    now->shared.unlock_shared();
    waiter->signal(SIGCONT);
    EXPECT_TRUE(waiter->ends(1s));
    now->expect_usable(now->shared);
    EXPECT_FALSE(now->shared.owner_died());
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfWritingAfterAReaderDied) {
  auto s = scene("lock with a dead reader inside", [this] {
    now->shared.lock();
    now->change();
    now->shared.unlock();
  });
  s.prepare = [this] {
    now.emplace();
    stage::die_in([this] { now->shared.lock_shared(); });
    // A living reader has come and gone: its mark stands for nobody.
    now->shared.lock_shared();
    now->shared.unlock_shared();
  };
  s.check = [this](bool) { now->expect_usable(now->shared); };
  crash::kill_everywhere(s);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfWritingWhileSomebodyReads) {
  auto s =
      scene("try_lock_for while somebody reads", [this] { (void)now->shared.try_lock_for(2ms); });
  s.prepare = [this] {
    now.emplace();
    now->shared.lock_shared();
  };
  s.check = [this](bool) {
    // Whoever died at the gate with a mark off: the next writer must still see that we read.
    std::thread([this] {
      EXPECT_FALSE(now->shared.try_lock_for(10ms)) << "somebody reads";
    }).join();
    now->shared.unlock_shared();
    now->expect_usable(now->shared);
    EXPECT_FALSE(now->shared.owner_died()) << "nothing was touched at the gate";
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfNotifying) {
  for (const bool all : {false, true}) {
    auto s = scene(all ? "notify_all" : "notify_one", [this, all] {
      std::atomic_ref(now->value).store(1);
      all ? now->changed.notify_all() : now->changed.notify_one();
    });
    s.prepare = [this] {
      waiter.reset();
      now.emplace();
      waiter = now->stop_asleep([this] {
        std::unique_lock held(now->lock);
        std::atomic_ref(now->asleep).store(1);
        now->changed.wait(held, [&] { return std::atomic_ref(now->value).load() != 0; });
      });
    };
    s.check = [this](bool) {
      waiter->signal(SIGCONT);
      std::atomic_ref(now->value).store(1);  // also if it died before it said so
      EXPECT_TRUE(waiter->ends(1s)) << "it sleeps for ever";
      now->expect_usable(now->lock);
    };
    crash::kill_everywhere(s);
  }
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfWaitingForACondition) {
  auto s = scene("wait_for", [this] {
    std::unique_lock held(now->lock);
    (void)now->changed.wait_for(held, 1ms, [] { return false; });
  });
  s.check = [this](bool) {
    now->changed.notify_one();
    now->changed.notify_all();
    now->expect_usable(now->lock);
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfTakingAndGivingAPermit) {
  auto s = scene("acquire, acquire, release, release", [this] {
    now->permits.acquire();
    now->permits.acquire();
    now->permits.release();
    now->permits.release();
  });
  s.check = [this](bool) {
    EXPECT_TRUE(now->permits.try_acquire_for(200ms));
    EXPECT_TRUE(now->permits.try_acquire_for(200ms));
    EXPECT_FALSE(now->permits.try_acquire_for(2ms)) << "one too many";
    now->permits.release(2);
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfArrivingAtABarrier) {
  auto s = scene("arrive", [this] { (void)now->line.arrive(); });
  s.prepare = [this] {
    now.emplace();
    (void)now->line.arrive();
  };
  s.check = [this](bool finished) {
    if (now->line.wait_for(0, 200ms)) return;
    EXPECT_FALSE(finished);
    // It died before it was a member: somebody comes in its stead.
    std::thread([this] { (void)now->line.arrive(); }).join();
    EXPECT_TRUE(now->line.wait_for(0, 200ms));
  };
  crash::kill_everywhere(s);
}

TEST_F(CrashLocks, KilledAtEveryInstructionOfDoingSomethingOnce) {
  auto s = scene("call_once", [this] {
    ipcpp::call_once(now->once, [this] { now->values.first = now->values.second = 1; });
  });
  s.check = [this](bool) {
    ipcpp::call_once(now->once, [this] { now->values.first = now->values.second = 1; });
    EXPECT_EQ(now->values.first, 1u);
    EXPECT_EQ(now->values.second, 1u);
  };
  crash::kill_everywhere(s);
}
