// The heap under what only POSIX systems do to it: fork, stopped processes, sources of the user's own
// that are shared by fork, file systems that are full.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "objects.hpp"
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

// A forked child that does something, says so, and stays until it is killed.
class lingering_child {
 public:
  template <class F>
  explicit lingering_child(F&& f) {
    int said[2];
    if (::pipe(said) != 0) throw std::bad_alloc();
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      f();
      (void)!::write(said[1], "x", 1);
      for (;;) ::pause();
    }
    ::close(said[1]);
    char c = 0;
    (void)!::read(said[0], &c, 1);
    ::close(said[0]);
  }
  lingering_child(const lingering_child&) = delete;
  lingering_child& operator=(const lingering_child&) = delete;
  ~lingering_child() { kill(); }
  void stop() const {
    ::kill(pid_, SIGSTOP);
    int status = 0;
    ::waitpid(pid_, &status, WUNTRACED);
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    int status = 0;
    while (::waitpid(pid_, &status, 0) == pid_ && !WIFSIGNALED(status) && !WIFEXITED(status)) {
    }
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

std::size_t fill(ipcpp::heap& heap, std::size_t bytes, std::vector<void*>& blocks) {
  while (void* const p = heap.try_allocate(bytes)) blocks.push_back(p);
  return blocks.size();
}
void empty(ipcpp::heap& heap, std::vector<void*>& blocks) {
  for (void* const p : blocks) heap.deallocate(p);
  blocks.clear();
}

}  // namespace

TEST(HeapFork, AChildNeverAllocatesFromItsParentsCache) {
  object_heap own(16_MiB);
  std::vector<void*> mine;
  for (int i = 0; i < 100; ++i) mine.push_back(own.heap.allocate(64));
  auto* const theirs = static_cast<std::atomic<std::uint64_t>*>(own.heap.allocate_zeroed(1000 * 8));
  {
    const lingering_child child([&] {
      for (std::size_t i = 0; i < 1000; ++i) {
        void* const p = own.heap.allocate(64);
        std::memset(p, 0xcc, 64);
        theirs[i] = static_cast<std::uint64_t>(static_cast<std::byte*>(p) - own.place.base());
      }
    });
    for (int i = 0; i < 1000; ++i) {
      mine.push_back(own.heap.allocate(64));
      std::memset(mine.back(), 0xaa, 64);
    }
    std::vector<std::uint64_t> all;
    for (void* const p : mine)
      all.push_back(static_cast<std::uint64_t>(static_cast<std::byte*>(p) - own.place.base()));
    for (std::size_t i = 0; i < 1000; ++i) all.push_back(theirs[i]);
    std::ranges::sort(all);
    EXPECT_EQ(std::ranges::adjacent_find(all), all.end());
    for (std::size_t i = 0; i < 1000; ++i) own.heap.deallocate(own.place.base() + theirs[i]);
  }
  own.heap.recover();
  own.heap.deallocate(theirs);
  empty(own.heap, mine);
  EXPECT_EQ(own.heap.statistics().blocks_in_use, 0u);
  EXPECT_TRUE(fine(own.heap));
}

TEST(HeapFork, AChildOfManyThreadsStartsAfresh) {
  object_heap own(16_MiB);
  std::atomic<bool> over = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t)
    threads.emplace_back([&] {
      while (!over) own.heap.deallocate(own.heap.allocate(100));
    });
  for (int round = 0; round < 50; ++round) {
    const int status = test::in_forked_child([&] {
      std::vector<void*> blocks;
      for (int i = 0; i < 200; ++i) blocks.push_back(own.heap.allocate(100));
      empty(own.heap, blocks);
      return 0;
    });
    EXPECT_EQ(status, 0);
  }
  over = true;
  for (auto& t : threads) t.join();
  own.heap.recover();
  EXPECT_EQ(own.heap.statistics().blocks_in_use, 0u);
  EXPECT_TRUE(fine(own.heap));
}

TEST(HeapStop, TheCacheOfAStoppedProcessIsThereForOthers) {
  object_heap own(8_MiB);
  std::vector<void*> blocks;
  const std::size_t all = fill(own.heap, 500, blocks);
  empty(own.heap, blocks);
  own.heap.trim();
  const lingering_child child([&] {
    std::vector<void*> theirs;
    fill(own.heap, 500, theirs);
    empty(own.heap, theirs);
  });
  child.stop();
  EXPECT_EQ(fill(own.heap, 500, blocks), all);
  empty(own.heap, blocks);
  EXPECT_TRUE(fine(own.heap));
}

namespace {

// A source of the user's own: an anonymous shared mapping that children inherit.
struct inherited_source {
  explicit inherited_source(std::size_t bytes) : size(bytes) {
    window = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (window == MAP_FAILED) throw std::bad_alloc();
  }
  inherited_source(const inherited_source&) = delete;
  inherited_source& operator=(const inherited_source&) = delete;
  ~inherited_source() { ::munmap(window, size); }
  void* base() const noexcept { return window; }
  std::size_t capacity() const noexcept { return size; }
  std::size_t extend(std::size_t bytes) noexcept { return bytes; }
  bool commit(std::size_t, std::size_t) noexcept { return true; }
  std::size_t release(std::size_t, std::size_t) noexcept { return 0; }
  bool adopt(std::size_t end) noexcept { return end <= size; }
  void* window;
  std::size_t size;
};
static_assert(ipcpp::shared_memory_source<inherited_source>);

}  // namespace

TEST(HeapSource, TwoProcessesUseOneSourceOfTheUsersOwn) {
  inherited_source source(8_MiB);
  auto heap = ipcpp::heap::create(source, {.on_misuse = ipcpp::misuse::throws});
  std::vector<void*> blocks;
  const std::size_t all = fill(heap, 300, blocks);
  empty(heap, blocks);
  {
    lingering_child child([&] {
      auto own = ipcpp::heap::open(source);
      std::vector<void*> theirs;
      fill(own, 300, theirs);
      empty(own, theirs);
      (void)own.allocate_tracked(100);
    });
    child.kill();
  }
  EXPECT_EQ(heap.recover(), 1u);
  EXPECT_EQ(fill(heap, 300, blocks), all);
  empty(heap, blocks);
  EXPECT_TRUE(fine(heap));
}

TEST(HeapLimits, AFullFileSystemIsBadAllocAndNeverASigbus) {
  SKIP_UNLESS_ROOT("mounts a file system");
  const int status = test::in_forked_child([] {
    if (!test::enter_mount_namespace("/dev/shm")) return 77;
    if (::mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=6m") != 0) return 77;
    ::unsetenv("IPCPP_DIRECTORY");
    object_heap own(1_GiB);
    std::vector<void*> blocks;
    for (const std::size_t bytes : {200'000UL, 20'000UL, 1000UL, 100UL}) {
      while (void* const p = own.heap.try_allocate(bytes)) {
        std::memset(p, 1, bytes);
        blocks.push_back(p);
      }
    }
    const auto used = own.heap.footprint();
    empty(own.heap, blocks);
    if (own.heap.trim() == 0) return 1;
    std::vector<void*> again;
    while (void* const p = own.heap.try_allocate(50'000)) {
      std::memset(p, 2, 50'000);
      again.push_back(p);
    }
    const bool back = again.size() * 50'000 > used / 2;
    empty(own.heap, again);
    return own.heap.check() && used > 4_MiB && back ? 0 : 2;
  });
  if (status == 77) GTEST_SKIP() << "no mount namespace here";
  EXPECT_EQ(status, 0);
}

TEST(HeapMisuse, ByDefaultItEndsTheProcessWithAMessage) {
  int said[2];
  ASSERT_EQ(::pipe(said), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(said[1], 2);
    platform::mapping place =
        platform::mapping::map(platform::shared_object::create({.capacity_bytes = 1_MiB}));
    ipcpp::object_source source(place);
    auto heap = ipcpp::heap::create(source);
    void* const p = heap.allocate(100);
    heap.deallocate(p);
    heap.deallocate(p);
    ::_exit(0);
  }
  ::close(said[1]);
  std::string message(1000, '\0');
  message.resize(static_cast<std::size_t>(
      std::max<ssize_t>(0, ::read(said[0], message.data(), message.size()))));
  ::close(said[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT) << status;
  EXPECT_NE(message.find("expected a block in use, found one already free"), std::string::npos)
      << message;
}

namespace {

// Uses a heap whose own data somebody overwrote. Whatever is found is an error or bad_alloc.
void use_damaged(ipcpp::heap& heap, std::mt19937& random, std::vector<void*>& blocks) {
  const auto attempt = [](auto&& f) {
    try {
      f();
    } catch (const ipcpp::error&) {
    } catch (const std::bad_alloc&) {
    }
  };
  for (int i = 0; i < 300; ++i) {
    attempt([&] { blocks.push_back(heap.allocate(random() % (i % 9 == 0 ? 100'000 : 2000))); });
    if (random() % 2 != 0 && !blocks.empty()) {
      std::swap(blocks[random() % blocks.size()], blocks.back());
      attempt([&] { heap.deallocate(blocks.back()); });
      blocks.pop_back();
    }
    if (i % 50 == 0) {
      attempt([&] { (void)heap.check(); });
      attempt([&] { (void)heap.statistics(); });
      attempt([&] { heap.visit([](const ipcpp::block_info&) {}); });
      attempt([&] { heap.trim(); });
      attempt([&] { heap.recover(); });
    }
  }
}

}  // namespace

TEST(HeapDamage, WordsOverwrittenByABuggyPeerAreNeverFollowedOutOfTheHeap) {
  const unsigned rounds = test::prove_in_full() ? 5000 : 300;
  for (unsigned round = 0; round < rounds; ++round) {
    const int status = test::in_forked_child([&] {
      ::alarm(30);
      std::mt19937 random(round);
      object_heap own(1_MiB);
      std::vector<void*> blocks;
      use_damaged(own.heap, random, blocks);
      // Anything between the heap's fixed part and its first page: counters, lock, index, words, bits.
      auto* const first = reinterpret_cast<std::uint64_t*>(own.heap.header());
      const std::size_t words = own.heap.statistics().metadata_bytes / 8 - 16;
      const std::size_t from = 16;
      for (unsigned n = 1 + random() % 8; n != 0; --n) {
        std::uint64_t& word = first[from + random() % (words - from)];
        switch (random() % 4) {
          case 0:
            word ^= std::uint64_t{1} << random() % 64;
            break;
          case 1:
            word = 0;
            break;
          case 2:
            word = ~std::uint64_t{0};
            break;
          default:
            word = std::uint64_t{random()} << 32 | random();
        }
      }
      use_damaged(own.heap, random, blocks);
      return 0;
    });
    ASSERT_EQ(status, 0) << "round " << round;
  }
}
