// The conformance suite, part 4: proof of life. Runs unchanged on every platform and variant.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "objects.hpp"
#include "roles.hpp"

import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using platform::life;
using platform::life_hold;
using platform::life_line;
using platform::mapping;
using platform::shared_object;

namespace {

struct published {
  std::string name = test::unique_name();
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_KiB}));
  life_line line = life_line::of(place);
  published() {
    shared_object object = place.object().again();
    object.publish(name);
    place = mapping::map(shared_object::open(name));
    line = life_line::of(place);
  }
  ~published() { shared_object::remove(name); }
  life probe(std::uint32_t slot) const { return line.probe(slot, {}); }
};

std::atomic_ref<std::uint64_t> counter_of(const mapping& place, std::size_t thread) {
  return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(place.base() + 1024 + 128 * thread));
}

}  // namespace

// Takes life args[1], then does as it is told.
ROLE(living) {
  const mapping place = mapping::map(shared_object::open(args[0]));
  life_line line = life_line::of(place);
  life_hold hold = line.take(static_cast<std::uint32_t>(std::stoul(args[1])));
  const platform::process_identity me = platform::current_process();
  test::say(hold ? "took " + std::to_string(me.pid) + " " + std::to_string(me.start_time) + " " +
                       std::to_string(me.pid_namespace)
                 : "refused");
  for (std::string line_heard; test::hear(line_heard);) {
    if (line_heard == "let go") hold = {};
    if (line_heard == "exit") return 0;
    test::say("done");
  }
  return 0;
}

ROLE(try_take) {
  const mapping place = mapping::map(shared_object::open(args[0]));
  life_line line = life_line::of(place);
  test::say(line.take(static_cast<std::uint32_t>(std::stoul(args[1]))) ? "took" : "refused");
  return 0;
}

// Takes life 1; four threads write to shared memory as fast as they can.
ROLE(busy_threads) {
  const mapping place = mapping::map(shared_object::open(args[0]));
  life_line line = life_line::of(place);
  const life_hold hold = line.take(1);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (;;) counter_of(place, t).fetch_add(1, std::memory_order_relaxed);
    });
  while (counter_of(place, 3).load() == 0) std::this_thread::yield();
  test::say("ready");
  for (auto& t : threads) t.join();
  return 0;
}

TEST(LifeLine, WhatNobodyTookIsDead) {
  const published object;
  EXPECT_EQ(object.probe(0), life::dead);
  EXPECT_EQ(object.probe(platform::max_lives - 1), life::dead);
}

TEST(LifeLine, OnesOwnLifeIsAliveForEveryThreadUntilItIsLetGo) {
  published object;
  life_hold hold = object.line.take(3);
  ASSERT_TRUE(hold);
  EXPECT_EQ(object.probe(3), life::alive);
  EXPECT_EQ(object.probe(2), life::dead);
  EXPECT_EQ(object.probe(4), life::dead);
  std::thread sibling([&] {
    EXPECT_EQ(object.probe(3), life::alive);
    EXPECT_FALSE(object.line.take(3));
    EXPECT_EQ(object.probe(3), life::alive);
  });
  sibling.join();
  const mapping elsewhere = mapping::map(object.place.object().again());
  EXPECT_EQ(life_line::of(elsewhere).probe(3, {}), life::alive);
  hold = {};
  EXPECT_EQ(object.probe(3), life::dead);
  EXPECT_TRUE(object.line.take(3));
}

TEST(LifeLine, AnotherProcessesLifeIsAliveAndCannotBeTaken) {
  published object;
  test::child other("living", {object.name, "5"});
  ASSERT_TRUE(other.hear().starts_with("took"));
  EXPECT_EQ(object.probe(5), life::alive);
  EXPECT_FALSE(object.line.take(5));
  EXPECT_EQ(object.probe(5), life::alive);
}

TEST(LifeLine, TheKilledAreDeadAtOnceAndTheirLifeCanBeTaken) {
  published object;
  for (int round = 0; round < 10; ++round) {
    test::child other("living", {object.name, "5"});
    ASSERT_TRUE(other.hear().starts_with("took"));
    ASSERT_EQ(object.probe(5), life::alive);
    other.kill();
    EXPECT_EQ(object.probe(5), life::dead);
    EXPECT_TRUE(object.line.take(5));
  }
}

TEST(LifeLine, WhoExitsWithoutLettingGoIsDead) {
  published object;
  test::child other("living", {object.name, "5"});
  ASSERT_TRUE(other.hear().starts_with("took"));
  other.say("exit");
  EXPECT_EQ(other.wait(), 0);
  EXPECT_EQ(object.probe(5), life::dead);
}

TEST(LifeLine, LettingGoIsSeenByOthers) {
  published object;
  test::child other("living", {object.name, "5"});
  ASSERT_TRUE(other.hear().starts_with("took"));
  other.say("let go");
  ASSERT_EQ(other.hear(), "done");
  EXPECT_EQ(object.probe(5), life::dead);
  EXPECT_TRUE(object.line.take(5));
}

TEST(LifeLine, OfManyWhoWantOneLifeExactlyOneGetsIt) {
  published object;
  std::vector<test::child> others;
  for (int i = 0; i < 6; ++i) others.emplace_back("living", test::arguments{object.name, "9"});
  int took = 0;
  for (auto& other : others) took += other.hear().starts_with("took") ? 1 : 0;
  EXPECT_EQ(took, 1);
}

TEST(LifeLine, LivesOfDifferentObjectsHaveNothingToDoWithEachOther) {
  published one;
  published two;
  const life_hold hold = one.line.take(1);
  EXPECT_EQ(two.probe(1), life::dead);
  EXPECT_TRUE(two.line.take(1));
}

TEST(LifeLine, RemovingTheNameKillsNobody) {
  published object;
  test::child other("living", {object.name, "5"});
  ASSERT_TRUE(other.hear().starts_with("took"));
  shared_object::remove(object.name);
  EXPECT_EQ(object.probe(5), life::alive);
  other.kill();
  EXPECT_EQ(object.probe(5), life::dead);
}

TEST(LifeLine, DeadMeansThatNoThreadOfTheDeadWritesAnyMore) {
  published object;
  for (int round = 0; round < 10; ++round) {
    test::child other("busy_threads", {object.name});
    ASSERT_EQ(other.hear(), "ready");
    std::thread killer([&] { other.kill(); });
    while (object.probe(1) == life::alive) {
    }
    std::uint64_t before[4];
    for (std::size_t t = 0; t < 4; ++t) before[t] = counter_of(object.place, t).load();
    killer.join();
    for (std::size_t t = 0; t < 4; ++t) EXPECT_EQ(counter_of(object.place, t).load(), before[t]);
    for (std::size_t t = 0; t < 4; ++t) counter_of(object.place, t).store(0);
  }
}

TEST(LifeLine, WhoProbesAllTheTimeIsInNobodysWay) {
  published object;
  std::atomic<bool> stop{false};
  std::vector<std::thread> probers;
  for (int i = 0; i < 2; ++i)
    probers.emplace_back([&] {
      const life_line line = life_line::of(object.place);
      while (!stop) (void)line.probe(7, {});
    });
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(object.line.take(7)) << i;
  stop = true;
  for (auto& p : probers) p.join();
}

TEST(LifeLine, WhoMayOnlyReadCanProbeButNotTake) {
  published object;
  const mapping reading =
      mapping::map(shared_object::open(object.name, platform::access::read_only));
  life_line line = life_line::of(reading);
  const life_hold hold = object.line.take(2);
  EXPECT_EQ(line.probe(2, {}), life::alive);
  EXPECT_EQ(line.probe(3, {}), life::dead);
  EXPECT_ERROR(line.take(3), access_denied);
}

TEST(LifeLine, ALifeBeyondTheLimitIsRefused) {
  published object;
  EXPECT_ERROR(object.line.take(platform::max_lives), invalid_argument);
}
