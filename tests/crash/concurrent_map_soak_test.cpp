// Several processes at work on one concurrent_map, killed and stopped at random, all the time. Every
// count is accounted for, no text is ever torn, histories stay linearizable, and in the end every block
// of memory is.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "linearizability.hpp"
#include "posix_process.hpp"
#include "roles.hpp"

// clang-format off
#include "../concurrent_map/map_in_heap.hpp"  // last: it imports
// clang-format on

#include "../concurrent_map/map_history.hpp"

using namespace ipcpp::literals;

namespace {

constexpr unsigned workers = 3;
constexpr std::uint64_t counted_keys = 40;
constexpr std::uint64_t volatile_keys = 200;
constexpr unsigned text_keys = 30;

struct worker_line {
  std::uint64_t in_flight;  // key + 1; 0: none
  std::array<std::uint64_t, counted_keys> acknowledged;
  std::uint64_t complaints;
  std::uint64_t operations;
};
using worker_lines = std::array<worker_line, workers>;

pid_t start(const std::function<void()>& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      body();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "worker: %s\n", e.what());
      ::_exit(3);
    }
    ::_exit(0);
  }
  return pid;
}

void nap_us(long us) {
  const timespec t{us / 1'000'000, us % 1'000'000 * 1000};
  ::nanosleep(&t, nullptr);
}

[[noreturn]] void work(small_map& numbers, text_map& texts, worker_line& mine, unsigned seed) {
  std::mt19937 dice(seed);
  for (;;) {
    std::atomic_ref(mine.operations).fetch_add(1, std::memory_order_relaxed);
    const std::uint64_t key = dice() % counted_keys;
    const std::uint64_t other = 1000 + dice() % volatile_keys;
    const std::string text_key =
        "a key of a text, too long for a small buffer " + std::to_string(dice() % text_keys);
    const auto value = static_cast<std::uint16_t>(dice() % 5000);
    switch (dice() % 8) {
      case 0:
      case 1:
      case 2:
        std::atomic_ref(mine.in_flight).store(key + 1);
        numbers.update(key, [](std::uint64_t& n) { ++n; });
        std::atomic_ref(mine.acknowledged[key]).fetch_add(1);
        std::atomic_ref(mine.in_flight).store(0);
        break;
      case 3:
        numbers.insert(other, other);
        break;
      case 4:
        numbers.erase(other);
        break;
      case 5:
        texts.insert_or_assign(text_key, as_text(value));
        break;
      case 6:
        if (value % 4 == 0)
          texts.erase(text_key);
        else
          texts.update(text_key, [&](ipcpp::string& s) {
            if (!s.empty() && from_text(s) == 0xffff) std::atomic_ref(mine.complaints).fetch_add(1);
            s = as_text(value);
          });
        break;
      default: {
        const auto found = texts.find(text_key);
        if (found && from_text(*found) == 0xffff) std::atomic_ref(mine.complaints).fetch_add(1);
        const auto number = numbers.find(other);
        if (number && *number != other) std::atomic_ref(mine.complaints).fetch_add(1);
        if (value < 20)
          numbers.for_each([&](std::uint64_t k, std::uint64_t v) {
            if (k >= 1000 && k != v) std::atomic_ref(mine.complaints).fetch_add(1);
          });
      }
    }
  }
}

}  // namespace

TEST(CrashConcurrentMapSoak, NothingIsLostWhoeverIsKilled) {
  object_heap h(64_MiB);
  const std::size_t before = h.heap.statistics().blocks_in_use;
  auto numbers = std::make_unique<map_in<small_map>>(h.heap);
  auto texts = std::make_unique<map_in<text_map>>(h.heap);
  void* const memory = h.heap.allocate_zeroed(sizeof(worker_lines));
  auto& lines = *new (memory) worker_lines{};
  std::array<std::uint64_t, counted_keys> uncertain{};

  std::mt19937 dice(std::random_device{}());
  std::array<pid_t, workers> pids{};
  const auto employ = [&](unsigned w) {
    const unsigned seed = dice();
    pids[w] = start([&, w, seed] { work(**numbers, **texts, lines[w], seed); });
  };
  for (unsigned w = 0; w < workers; ++w) employ(w);
  const unsigned kills = test::prove_in_full() ? 10'000 : test::sanitized ? 60 : 300;
  for (unsigned k = 0; k < kills; ++k) {
    const unsigned w = dice() % workers;
    if (dice() % 4 == 0) {  // stopped for a while; the others go on
      const unsigned sleeper = dice() % workers;
      ::kill(pids[sleeper], SIGSTOP);
      nap_us(static_cast<long>(dice() % 2000));
      ::kill(pids[sleeper], SIGCONT);
    }
    nap_us(static_cast<long>(dice() % 3000));
    ::kill(pids[w], SIGKILL);
    int status = 0;
    while (::waitpid(pids[w], &status, 0) < 0 && errno == EINTR) {
    }
    ASSERT_TRUE(WIFSIGNALED(status)) << "worker " << w << " ended by itself, status " << status;
    if (lines[w].in_flight != 0) ++uncertain[lines[w].in_flight - 1];
    lines[w].in_flight = 0;
    employ(w);
  }
  for (const pid_t pid : pids) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
  }
  std::uint64_t operations = 0;
  for (const worker_line& line : lines) {
    if (line.in_flight != 0) ++uncertain[line.in_flight - 1];
    EXPECT_EQ(line.complaints, 0u);
    operations += line.operations;
  }
  std::uint64_t doubtful = 0;
  for (std::uint64_t key = 0; key < counted_keys; ++key) {
    std::uint64_t sure = 0;
    for (const worker_line& line : lines) sure += line.acknowledged[key];
    const std::uint64_t count = (*numbers)->find(key).value_or(0);
    EXPECT_GE(count, sure) << "key " << key;
    EXPECT_LE(count, sure + uncertain[key]) << "key " << key;
    doubtful += uncertain[key];
  }
  h.heap.recover();
  (*numbers)->recover();
  (*texts)->recover();
  std::size_t entries = 0;
  (*numbers)->for_each([&](std::uint64_t k, std::uint64_t v) {
    ++entries;
    EXPECT_EQ((*numbers)->find(k), std::optional(v));
  });
  EXPECT_EQ((*numbers)->size(), entries);
  std::size_t text_entries = 0;
  (*texts)->for_each([&](std::string_view, std::string_view) { ++text_entries; });
  EXPECT_EQ((*texts)->size(), text_entries);
  // Each entry is a block, or three with texts; the rest are the maps, their records and directories.
  const std::size_t in_use = h.heap.statistics().blocks_in_use - before;
  EXPECT_LE(in_use, entries + 3 * text_entries + 1 + 2 * (1 + 2 + 6));
  EXPECT_TRUE(fine(h.heap));
  numbers.reset();
  texts.reset();
  h.heap.deallocate(memory);
  EXPECT_EQ(h.heap.statistics().blocks_in_use, before);
  std::printf("%u kills, %llu operations, %llu updates were in flight\n", kills,
              static_cast<unsigned long long>(operations),
              static_cast<unsigned long long>(doubtful));
}

TEST(CrashConcurrentMapSoak, HistoriesOfProcessesThatAreKilledAreLinearizable) {
  object_heap h(32_MiB);
  void* const memory = h.heap.allocate(sizeof(history_log));
  std::mt19937 dice(std::random_device{}());
  const int rounds = test::prove_in_full() ? 5000 : 150;
  std::size_t cut_off = 0;
  for (int round = 0; round < rounds; ++round) {
    map_in<small_map> numbers(h.heap);
    map_in<text_map> texts(h.heap);
    auto& log = *new (memory) history_log{};
    std::atomic_ref<std::uint64_t> clock(log.clock);
    std::array<pid_t, history_log::players> pids{};
    for (unsigned p = 0; p < history_log::players; ++p) {
      const unsigned seed = dice();
      pids[p] = start([&, p, seed] {
        (void)(*numbers).contains(5u);  // attached before it begins
        (void)(*texts).contains("5");
        play(round % 2 == 0, *numbers, *texts, log, p, seed);
      });
    }
    // One of them is killed in the midst of it.
    const std::uint64_t when = dice() % (history_log::players * history_log::calls * 2);
    for (int looks = 0; clock.load() < when && looks < 200'000; ++looks) {
    }
    ::kill(pids[0], SIGKILL);
    for (const pid_t pid : pids) {
      int status = 0;
      while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
      }
      ASSERT_TRUE(pid == pids[0] || status == 0);
    }
    // What is there in the end is read as well.
    for (const auto& e : log.by[0]) cut_off += e.began != 0 && e.ended == 0;
    ASSERT_TRUE(is_linearizable(log)) << "round " << round << "\n" << describe(log);
  }
  h.heap.deallocate(memory);
  std::printf("%d histories, %zu with a call that was cut off\n", rounds, cut_off);
}
