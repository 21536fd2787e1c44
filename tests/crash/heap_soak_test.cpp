// Several processes at work on one heap, killed and stopped at random, all the time. In the end, and
// whenever everybody was killed, every byte is accounted for:
//
//   shelf   slots of { state, link }: a block comes in by allocate_to, goes by free_from, and carries
//           its slot's number at both ends
//           state 0 empty, filled by its own worker -> 1 full -> 2 + w claimed by worker w -> 0
//   churn   tracked blocks of each worker's own, verified as they go, freed with the process
//
// A worker that was killed has a successor with the same number, which goes on with its claims.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <new>
#include <random>
#include <span>
#include <vector>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "posix_process.hpp"
#include "roles.hpp"

// clang-format off
#include "heaps.hpp"
// clang-format on

import ipcpp;
import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;

namespace {

constexpr unsigned workers = 3;
constexpr unsigned slots_of_each = 150;
constexpr unsigned slots = workers * slots_of_each;

struct slot {
  std::uint64_t state;
  ipcpp::offset_ptr<void> link;
  std::atomic_ref<std::uint64_t> at() { return std::atomic_ref(state); }
};

struct shelf {
  std::uint64_t violations;
  std::uint64_t operations;
  slot at[slots];
};

constexpr std::uint64_t mark = 0x5ca1ab1e00000000;

// The size first: asking for it maps what others committed, where that takes a mapping.
void label(ipcpp::heap& heap, void* block, std::uint64_t number) {
  const std::size_t last = heap.usable_size(block) / 8 - 1;
  auto* const words = static_cast<std::uint64_t*>(block);
  words[0] = mark | number;
  words[last] = mark | number;
}
bool labelled(ipcpp::heap& heap, void* block, std::uint64_t number) {
  const std::size_t last = heap.usable_size(block) / 8 - 1;
  const auto* const words = static_cast<std::uint64_t*>(block);
  return words[0] == (mark | number) && words[last] == (mark | number);
}

class worker {
 public:
  worker(ipcpp::heap& heap, shelf& on, unsigned number, unsigned seed)
      : heap_(heap), shelf_(on), number_(number), random_(seed) {}

  [[noreturn]] void work() {
    for (unsigned i = 0; i < slots; ++i)
      if (shelf_.at[i].at().load(std::memory_order_acquire) == 2 + number_) empty(i);
    for (;;) {
      std::atomic_ref(shelf_.operations).fetch_add(1, std::memory_order_relaxed);
      switch (random_() % 64) {
        case 0:
          heap_.trim(random_() % 2_MiB);
          break;
        case 1:
          take_everything();
          break;
        case 2:
          heap_.recover();
          break;
        default:
          if (random_() % 2 != 0)
            fill(number_ * slots_of_each + random_() % slots_of_each);
          else if (random_() % 2 != 0)
            claim(random_() % slots);
          else
            churn();
      }
    }
  }

 private:
  std::size_t size() {
    const unsigned kind = random_() % 32;
    return kind == 0 ? 40'000 + random_() % 60'000 : kind < 4 ? random_() % 9000 : random_() % 500;
  }
  void violation(const char* what, std::uint64_t number) {
    std::printf("worker %u: %s, slot %llu\n", number_, what,
                static_cast<unsigned long long>(number));
    std::fflush(stdout);
    std::atomic_ref(shelf_.violations).fetch_add(1, std::memory_order_relaxed);
  }
  void fill(unsigned i) {
    slot& at = shelf_.at[i];
    if (at.at().load(std::memory_order_acquire) != 0) return;
    try {
      if (!at.link) heap_.allocate_to(at.link, size() + 16);
      label(heap_, at.link.get(), i);  // a predecessor may have died before it did
      at.at().store(1, std::memory_order_release);
    } catch (const std::bad_alloc&) {
    }
  }
  void claim(unsigned i) {
    std::uint64_t full = 1;
    if (shelf_.at[i].at().compare_exchange_strong(full, 2 + number_)) empty(i);
  }
  void empty(unsigned i) {
    slot& at = shelf_.at[i];
    if (void* const block = at.link.get()) {
      if (!labelled(heap_, block, i)) violation("a block on the shelf is another's", i);
      heap_.free_from(at.link);
    }
    at.at().store(0, std::memory_order_release);
  }
  void churn() {
    if (own_.size() > 60 || (random_() % 3 == 0 && !own_.empty())) {
      const std::size_t i = random_() % own_.size();
      if (!labelled(heap_, own_[i], 1000 + number_)) violation("a block is not its owner's", i);
      heap_.deallocate(own_[i]);
      own_[i] = own_.back();
      own_.pop_back();
      return;
    }
    try {
      void* const block = heap_.allocate_tracked(size() + 16);
      label(heap_, block, 1000 + number_);
      own_.push_back(block);
    } catch (const std::bad_alloc&) {
    }
  }
  void take_everything() {
    std::vector<void*> blocks;
    try {
      for (;;) blocks.push_back(heap_.allocate_tracked(30'000));
    } catch (const std::bad_alloc&) {
    }
    for (void* const block : blocks) heap_.deallocate(block);
  }

  ipcpp::heap& heap_;
  shelf& shelf_;
  unsigned number_;
  std::mt19937 random_;
  std::vector<void*> own_;
};

class soak {
 public:
  soak() : own_(4_MiB) {
    shelf_ = new (own_.heap.allocate(sizeof(shelf))) shelf{};
    offset_ = static_cast<std::size_t>(reinterpret_cast<std::byte*>(shelf_) - own_.place.base());
  }

  void start(unsigned number) {
    const unsigned seed = static_cast<unsigned>(random_());
    const pid_t pid = ::fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      try {
        // A mapping of its own, elsewhere.
        platform::mapping place = platform::mapping::map(own_.place.object().again());
        ipcpp::object_source source(place);
        ipcpp::heap heap = ipcpp::heap::open(source, ipcpp::misuse::aborts);
        worker(heap, *reinterpret_cast<shelf*>(place.base() + offset_), number, seed).work();
      } catch (const std::exception& e) {
        std::printf("worker %u: %s\n", number, e.what());
        std::fflush(stdout);
      }
      ::_exit(1);
    }
    pids_[number] = pid;
  }

  // Its exit must be the signal's doing.
  void kill(unsigned number) {
    ::kill(pids_[number], SIGKILL);
    int status = 0;
    while (::waitpid(pids_[number], &status, 0) < 0 && errno == EINTR) {
    }
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        << "worker " << number << " ended by itself, status " << status;
  }

  void run(std::size_t kills) {
    for (unsigned w = 0; w < workers; ++w) start(w);
    for (std::size_t n = 0; n < kills && !testing::Test::HasFailure(); ++n) {
      const unsigned w = random_() % workers;
      pause(random_() % 700);
      const bool stop = random_() % 4 == 0;
      const unsigned other = (w + 1) % workers;
      if (stop) ::kill(pids_[other], SIGSTOP);
      kill(w);
      start(w);
      if (stop) {
        pause(random_() % 700);
        ::kill(pids_[other], SIGCONT);
      }
      if ((n + 1) % 250 == 0) {
        for (unsigned i = 0; i < workers; ++i) kill(i);
        account();
        for (unsigned i = 0; i < workers; ++i) start(i);
      }
      if ((n + 1) % 2500 == 0) {
        std::printf("%zu kills\n", n + 1);
        std::fflush(stdout);
      }
    }
    for (unsigned w = 0; w < workers; ++w) kill(w);
    account();
    for (slot& at : shelf_->at) own_.heap.free_from(at.link);
    EXPECT_EQ(own_.heap.statistics().blocks_in_use, 1u);
    EXPECT_EQ(shelf_->violations, 0u);
    std::printf("%zu kills, %llu operations, %llu violations\n", kills,
                static_cast<unsigned long long>(shelf_->operations),
                static_cast<unsigned long long>(shelf_->violations));
  }

 private:
  static void pause(unsigned microseconds) {
    timespec left{0, static_cast<long>(microseconds) * 1000};
    ::nanosleep(&left, nullptr);
  }

  // Nobody lives but this process: what is in use is what the shelf holds.
  void account() {
    own_.heap.recover();
    EXPECT_TRUE(fine(own_.heap));
    std::size_t held = 1;
    for (unsigned i = 0; i < slots; ++i) {
      slot& at = shelf_->at[i];
      if (!at.link) continue;
      ++held;
      if (at.state == 1) {
        EXPECT_TRUE(labelled(own_.heap, at.link.get(), i)) << "slot " << i;
      }
    }
    EXPECT_EQ(own_.heap.statistics().blocks_in_use, held);
  }

  object_heap own_;
  shelf* shelf_;
  std::size_t offset_;
  std::mt19937 random_{20261123};
  pid_t pids_[workers]{};
};

}  // namespace

TEST(CrashHeapSoak, NothingIsLostOrGivenOutTwiceWhoeverIsKilledOrStopped) {
  if (test::sanitized) GTEST_SKIP() << "sanitized processes are slow to fork";
  soak().run(test::prove_in_full() ? 10'000 : 1'000);
}
