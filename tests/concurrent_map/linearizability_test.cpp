// Small concurrent histories of a concurrent_map are linearizable: of threads, of processes, and of
// processes that are killed. And the checker refuses histories that are not.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "linearizability.hpp"
#include "roles.hpp"

// clang-format off
#include "map_in_heap.hpp"  // last: it imports
// clang-format on

#include "map_history.hpp"

using namespace ipcpp::literals;

TEST(Linearizability, TheCheckerTellsHistoriesApart) {
  using test::never_ended;
  const auto possible = [](const test::history<map_call>& h) {
    return test::linearizable(h, key_state{}, fits);
  };
  const map_call put1{.what = verb::assign_any, .value = 1, .result = 1};
  const map_call put2{.what = verb::assign_any, .value = 2, .result = 0};
  const map_call read1{.what = verb::find, .result = 1, .seen = 1};
  const map_call read2{.what = verb::find, .result = 1, .seen = 2};
  const map_call read_nothing{.what = verb::find, .result = 0};
  EXPECT_TRUE(possible({{put1, 1, 2}, {read1, 3, 4}}));
  EXPECT_FALSE(possible({{put1, 1, 2}, {read2, 3, 4}}));
  EXPECT_FALSE(possible({{put1, 1, 2}, {read_nothing, 3, 4}}));
  EXPECT_TRUE(possible({{put1, 1, 4}, {read_nothing, 2, 3}}));
  EXPECT_TRUE(possible({{put1, 1, 2}, {put2, 3, 8}, {read1, 4, 5}, {read2, 6, 7}}));
  EXPECT_FALSE(possible({{put1, 1, 2}, {put2, 3, 8}, {read2, 4, 5}, {read1, 6, 7}}));
  // A death: it happened, or it did not.
  EXPECT_TRUE(possible({{put1, 1, 2}, {put2, 3, never_ended}, {read1, 4, 5}}));
  EXPECT_TRUE(possible({{put1, 1, 2}, {put2, 3, never_ended}, {read2, 4, 5}}));
  EXPECT_FALSE(possible({{put1, 1, 2}, {put2, 3, never_ended}, {read2, 4, 5}, {read1, 6, 7}}));
}

TEST(ConcurrentMapHistory, OfThreadsIsLinearizable) {
  object_heap h(32_MiB);
  const int rounds = test::prove_in_full() ? 20'000 : 400;
  for (int round = 0; round < rounds; ++round) {
    map_in<small_map> numbers(h.heap);
    map_in<text_map> texts(h.heap);
    history_log log;
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (unsigned t = 0; t < history_log::players; ++t)
      threads.emplace_back([&, t] {
        ready.fetch_add(1);
        while (ready.load() < static_cast<int>(history_log::players)) std::this_thread::yield();
        play(round % 2 == 0, *numbers, *texts, log, t,
             static_cast<unsigned>(round) * history_log::players + t);
      });
    for (std::thread& t : threads) t.join();
    ASSERT_TRUE(is_linearizable(log)) << "round " << round << "\n" << describe(log);
  }
}
