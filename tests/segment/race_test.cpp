// Eight processes meet under one name, again and again, and the one that came first is killed while
// they do. The others find one segment and one object in it, at once.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "roles.hpp"

import ipcpp;

using ipcpp::segment;
using namespace ipcpp::literals;

namespace {

struct meeting {
  std::uint64_t maker;  // drawn by the constructor
  std::uint64_t arrived = 0;
};

}  // namespace

// Per line: a name to meet under, "" to leave.
ROLE(segment_racer) {
  std::random_device random;
  std::optional<segment> here;
  for (std::string line; test::hear(line);) {
    here.reset();
    if (line.empty()) {
      test::say("left");
      continue;
    }
    here.emplace(segment::open_or_create(line, {.max_size = 1_MiB}));
    auto& m = here->find_or_construct<meeting>("meeting", std::uint64_t{random()} << 32 | random());
    (void)std::atomic_ref(m.arrived).fetch_add(1);
    test::say(std::to_string(m.maker));
  }
  return 0;
}

TEST(SegmentRace, OfManyWhoMeetOneCreatesAlsoWhenTheFirstIsKilled) {
  const int rounds = test::prove_in_full() ? 200 : 25;
  constexpr std::size_t processes = 8;
  std::vector<std::unique_ptr<test::child>> all;
  for (std::size_t i = 0; i < processes; ++i)
    all.push_back(std::make_unique<test::child>("segment_racer"));
  std::mt19937 random(20'26);
  std::chrono::nanoseconds worst{0};
  for (int round = 0; round < rounds; ++round) {
    const std::string name = test::unique_name();
    const std::size_t victim = random() % processes;
    const auto start = std::chrono::steady_clock::now();
    all[victim]->say(name);
    const auto killed_at = start + std::chrono::microseconds(random() % 3000);
    for (std::size_t i = 0; i < processes; ++i)
      if (i != victim) all[i]->say(name);
    while (std::chrono::steady_clock::now() < killed_at) std::this_thread::yield();
    all[victim]->kill();
    const auto killed = std::chrono::steady_clock::now();
    std::string maker;
    for (std::size_t i = 0; i < processes; ++i) {
      if (i == victim) continue;
      const std::string mine = all[i]->hear();
      ASSERT_FALSE(mine.empty()) << "round " << round << ": process " << i << " failed";
      if (maker.empty()) maker = mine;
      ASSERT_EQ(mine, maker) << "round " << round << ": two segments or two objects";
    }
    worst = std::max<std::chrono::nanoseconds>(worst, std::chrono::steady_clock::now() - killed);
    for (std::size_t i = 0; i < processes; ++i)
      if (i != victim) all[i]->say("");
    for (std::size_t i = 0; i < processes; ++i)
      if (i != victim) {
        ASSERT_EQ(all[i]->hear(), "left");
      }
    EXPECT_FALSE(segment::remove(name)) << "round " << round << ": the name outlived its users";
    all[victim] = std::make_unique<test::child>("segment_racer");
  }
  std::printf("%d rounds of %zu processes, the first killed: 0 failures, worst %.1f ms\n", rounds,
              processes, static_cast<double>(worst.count()) / 1e6);
  EXPECT_LT(worst, std::chrono::seconds(1));
}
