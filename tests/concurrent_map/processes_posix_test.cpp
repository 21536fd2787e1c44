// concurrent_map by several threads and processes: exact counts, growth under way, readers while others
// are stopped, fork, and memory that a stopped reader keeps from being reused.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>
#include <sys/wait.h>
#include <unistd.h>

#include "posix_process.hpp"
#include "roles.hpp"

// clang-format off
#include "map_in_heap.hpp"  // last: it imports
// clang-format on

using namespace ipcpp::literals;

namespace {

using numbers = ipcpp::concurrent_map<std::uint64_t, std::uint64_t>;
using texts = ipcpp::concurrent_map<std::uint64_t, ipcpp::string>;

template <class F>
pid_t start(F&& body) {
  const pid_t pid = ::fork();
  if (pid != 0) return pid;
  int status = 100;
  try {
    status = body();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "child: %s\n", e.what());
  }
  ::_exit(status);
}
int end_of(pid_t pid) {
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 200 + WTERMSIG(status);
}

// Processes say by this what they are at.
struct flag {
  std::uint64_t* word;
  explicit flag(ipcpp::heap& heap)
      : word(static_cast<std::uint64_t*>(heap.allocate_zeroed(sizeof(std::uint64_t)))) {}
  void raise() { std::atomic_ref(*word).store(1); }
  void wait() {
    while (std::atomic_ref(*word).load() == 0) std::this_thread::yield();
  }
};

}  // namespace

TEST(ConcurrentMapThreads, CountTogetherExactly) {
  object_heap h(64_MiB);
  map_in<numbers> map(h.heap);
  constexpr int threads = 4;
  constexpr std::uint64_t keys = 3000;
  std::vector<std::thread> all;
  for (int t = 0; t < threads; ++t)
    all.emplace_back([&] {
      for (int round = 0; round < 5; ++round)
        for (std::uint64_t k = 0; k < keys; ++k) map->update(k, [](std::uint64_t& n) { ++n; });
    });
  for (std::thread& t : all) t.join();
  EXPECT_EQ(map->size(), keys);
  for (std::uint64_t k = 0; k < keys; ++k) ASSERT_EQ(map->find(k), 5u * threads);
}

TEST(ConcurrentMapThreads, GiveTheirRecordsBack) {
  object_heap h(8_MiB);
  map_in<numbers> map(h.heap);
  for (int i = 0; i < 600; ++i) std::thread([&] { map->insert(1u, 1u); }).join();
  EXPECT_EQ(map->size(), 1u);
}

TEST(ConcurrentMapProcesses, InsertEraseAndCountTogether) {
  object_heap h(64_MiB);
  map_in<numbers> counts(h.heap);
  map_in<texts> values(h.heap);
  constexpr unsigned processes = 3;
  std::vector<pid_t> all;
  for (unsigned p = 0; p < processes; ++p)
    all.push_back(start([&, p] {
      for (std::uint64_t k = 0; k < 4000; ++k) {
        counts->update(k, [](std::uint64_t& n) { ++n; });
        values->update(k % 50, [](ipcpp::string& s) { s += 'x'; });
        const std::uint64_t own = 1'000'000 * (p + 1) + k;
        if (!counts->insert(own, k)) return 1;
        if (k % 2 == 0 && !counts->erase(own)) return 2;
      }
      return 0;
    }));
  for (const pid_t pid : all) EXPECT_EQ(end_of(pid), 0);
  EXPECT_EQ(counts->size(), 4000u + processes * 2000u);
  for (std::uint64_t k = 0; k < 4000; ++k) ASSERT_EQ(counts->find(k), processes);
  for (std::uint64_t k = 0; k < 50; ++k) ASSERT_EQ(values->find(k)->size(), 80u * processes);
  EXPECT_TRUE(fine(h.heap));
}

TEST(ConcurrentMapProcesses, NobodyWaitsForWhoIsStoppedInsideAnUpdate) {
  object_heap h(16_MiB);
  map_in<numbers> map(h.heap);
  flag inside(h.heap);
  map->insert(1u, 10u);
  const pid_t stopped = start([&] {
    map->update(1u, [&](std::uint64_t& n) {
      n += 100;
      inside.raise();
      for (;;) ::pause();
    });
    return 0;
  });
  inside.wait();
  ::kill(stopped, SIGSTOP);
  EXPECT_EQ(map->find(1u), 10u);
  EXPECT_FALSE(map->update(1u, [](std::uint64_t& n) { ++n; }));
  EXPECT_TRUE(map->insert(2u, 2u));
  EXPECT_TRUE(map->erase(2u));
  ::kill(stopped, SIGKILL);
  EXPECT_EQ(end_of(stopped), 200 + SIGKILL);
  EXPECT_EQ(map->find(1u), 11u);
}

TEST(ConcurrentMapProcesses, AStoppedReaderKeepsOnlyWhatItMayHaveSeen) {
  object_heap h(4_MiB);
  map_in<texts> map(h.heap);
  flag inside(h.heap);
  for (std::uint64_t k = 0; k < 20; ++k) map->insert(k, std::string(1000, 'a'));
  const pid_t reader = start([&] {
    map->for_each([&](std::uint64_t, std::string_view text) {
      inside.raise();
      for (;;)
        if (text.find_first_not_of('a') != std::string_view::npos) ::_exit(7);
    });
    return 0;
  });
  inside.wait();
  ::kill(reader, SIGSTOP);
  // 40 times the heap goes through it all the same.
  for (int round = 0; round < 8000; ++round)
    ASSERT_NO_THROW(
        map->insert_or_assign(static_cast<std::uint64_t>(round % 20), std::string(1000, 'b')));
  ::kill(reader, SIGCONT);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it reads on, what it had
  ::kill(reader, SIGKILL);
  EXPECT_EQ(end_of(reader), 200 + SIGKILL);
  map->recover();
  EXPECT_EQ(map->size(), 20u);
}

TEST(ConcurrentMapProcesses, AForkedChildIsAReaderOfItsOwn) {
  object_heap h(16_MiB);
  map_in<numbers> map(h.heap);
  map->insert(1u, 1u);
  map->for_each([&](std::uint64_t, std::uint64_t) {
    // In the midst of the parent's reading.
    EXPECT_EQ(test::in_forked_child([&] {
                if (!map->insert(2u, 2u) || !map->erase(1u)) return 1;
                return map->find(2u) == 2u ? 0 : 2;
              }),
              0);
  });
  EXPECT_EQ(map->find(1u), std::nullopt);
  EXPECT_EQ(map->find(2u), 2u);
  EXPECT_LE(map->recover(), 1u);
}

TEST(ConcurrentMapProcesses, ManyDeadThreadsLeaveRoomForMore) {
  object_heap h(16_MiB);
  map_in<numbers> map(h.heap);
  for (std::uint64_t i = 0; i < 150; ++i) {
    const pid_t pid = start([&] {
      map->insert(i, i);
      ::raise(SIGKILL);
      return 0;
    });
    EXPECT_EQ(end_of(pid), 200 + SIGKILL);
  }
  EXPECT_EQ(map->size(), 150u);
}
