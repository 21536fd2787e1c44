// Participants: the table's life, in real processes. What needs fork, exec or signals is in
// participants_posix_test.cpp; death at every instruction in tests/crash/.
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
import ipcpp.sync;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using ipcpp::handle_id;
using ipcpp::participant_id;
using ipcpp::participants;
using ipcpp::vitality;
using platform::mapping;
using platform::shared_object;

namespace {

constexpr std::size_t table_at = 1024;

struct shared_table {
  std::string name = test::unique_name();
  mapping place;
  participants table;

  explicit shared_table(ipcpp::participant_limits limits = {.processes = 8, .handles = 16})
      : place(make(name, limits)), table(participants::attach(place, table_at)) {}
  ~shared_table() { shared_object::remove(name); }

  // Made while nobody can see it, then opened by its name as others do.
  static mapping make(const std::string& name, ipcpp::participant_limits limits) {
    mapping unseen = mapping::map(shared_object::create({.capacity_bytes = 1_MiB}));
    if (!unseen.commit(0, table_at + participants::bytes_needed(limits))) throw std::bad_alloc();
    {
      const participants table = participants::create(unseen, table_at, limits);
    }
    shared_object object = unseen.object().again();
    object.publish(name);
    return mapping::map(shared_object::open(name));
  }
};

participant_id parse(const std::string& text) {
  const auto colon = text.find(':');
  return {static_cast<std::uint32_t>(std::stoul(text.substr(0, colon))),
          static_cast<std::uint32_t>(std::stoul(text.substr(colon + 1)))};
}
std::string print(participant_id id) {
  return std::to_string(id.slot) + ":" + std::to_string(id.generation);
}

// What was repaired, for whom.
struct repairs {
  std::vector<participant_id> processes;
  std::vector<std::pair<handle_id, std::uint64_t>> handles;  // and its first word

  static void note(void* context, const ipcpp::remains& of) noexcept {
    auto& self = *static_cast<repairs*>(context);
    if (of.handle) {
      self.handles.emplace_back(of.handle, of.words->word[0]);
    } else {
      self.processes.push_back(of.process);
    }
  }
};

}  // namespace

// Joins, acquires args[1] handles whose first words count from 100, then does as it is told.
ROLE(member) {
  const mapping place = mapping::map(shared_object::open(args[0]));
  participants table = participants::attach(place, table_at);
  try {
    test::say(print(table.self()));
    std::vector<handle_id> handles;
    for (unsigned long i = 0; i < std::stoul(args[1]); ++i) {
      handles.push_back(table.acquire_handle(7));
      table.words_of(handles.back())->word[0] = 100 + i;
    }
    test::say("ready");
    for (std::string line; test::hear(line);) {
      if (line == "leave") table.leave();
      if (line == "exit") std::_Exit(0);
      if (line == "release") table.release_handle(handles.front());
      if (line == "bury") test::say(std::to_string(table.bury_dead()));
      if (line == "self") test::say(print(table.self()));
      if (line.starts_with("probe "))
        test::say(std::to_string(static_cast<int>(table.probe(parse(line.substr(6))))));
      test::say("done");
    }
  } catch (const ipcpp::error& e) {
    test::say(std::string("error ") + e.what());
  }
  return 0;
}

// Begins to bury whoever is dead, says so when it comes to the repair, and never ends it.
ROLE(slow_undertaker) {
  const mapping place = mapping::map(shared_object::open(args[0]));
  participants table = participants::attach(place, table_at);
  table.set_repair(
      [](void*, const ipcpp::remains&) noexcept {
        test::say("repairing");
        for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
      },
      nullptr);
  test::say("ready");
  table.bury_dead();
  return 0;
}

ROLE(join_and_leave_often) {
  const mapping place = mapping::map(shared_object::open(args[0]));
  participants table = participants::attach(place, table_at);
  test::say("ready");
  std::string line;
  test::hear(line);
  for (int i = 0; i < 200; ++i) {
    const participant_id me = table.self();
    if (table.probe(me) != vitality::alive) test::say("taken for dead");
    const handle_id handle = table.acquire_handle(1);
    table.words_of(handle)->word[3] = me.slot;
    if (i % 3 == 0) table.bury_dead();
    if (i % 2 == 0) table.release_handle(handle);
    table.leave();
  }
  test::say("done");
  return 0;
}

TEST(Participants, NobodyTakesPartUntilSomebodyJoins) {
  shared_table shared;
  EXPECT_EQ(shared.table.size(), 0u);
  EXPECT_FALSE(shared.table.joined());
  const participant_id me = shared.table.self();
  EXPECT_TRUE(me);
  EXPECT_TRUE(shared.table.joined());
  EXPECT_EQ(shared.table.self(), me);
  EXPECT_EQ(shared.table.size(), 1u);
  EXPECT_EQ(shared.table.probe(me), vitality::alive);
}

TEST(Participants, WhoLeftIsNeverMistakenForItsSuccessorInTheSlot) {
  shared_table shared;
  const participant_id first = shared.table.self();
  shared.table.leave();
  EXPECT_EQ(shared.table.probe(first), vitality::left);
  EXPECT_EQ(shared.table.size(), 0u);
  shared.table.leave();  // harmless
  const participant_id second = shared.table.self();
  EXPECT_EQ(second.slot, first.slot);
  EXPECT_NE(second.generation, first.generation);
  EXPECT_EQ(shared.table.probe(first), vitality::left);
  EXPECT_EQ(shared.table.probe(second), vitality::alive);
}

TEST(Participants, IdsThatNeverWereHaveLeft) {
  shared_table shared;
  EXPECT_EQ(shared.table.probe(participant_id{}), vitality::left);
  EXPECT_EQ(shared.table.probe(participant_id{0, 99}), vitality::left);
  EXPECT_EQ(shared.table.probe(participant_id{4'000'000'000, 1}), vitality::left);
  EXPECT_EQ(shared.table.probe(handle_id{}), vitality::left);
  EXPECT_EQ(shared.table.probe(handle_id{4'000'000'000, 1}), vitality::left);
  EXPECT_EQ(shared.table.words_of(handle_id{3, 1}), nullptr);
}

TEST(Participants, ProcessesSeeEachOtherAliveThenDeadThenBuried) {
  shared_table shared;
  const participant_id me = shared.table.self();
  test::child other("member", {shared.name, "0"});
  const participant_id theirs = parse(other.hear());
  ASSERT_EQ(other.hear(), "ready");
  EXPECT_NE(theirs.slot, me.slot);
  EXPECT_EQ(shared.table.probe(theirs), vitality::alive);
  other.say("probe " + print(me));
  EXPECT_EQ(other.hear(), std::to_string(static_cast<int>(vitality::alive)));
  other.kill();
  EXPECT_EQ(shared.table.probe(theirs), vitality::dead);
  EXPECT_EQ(shared.table.size(), 2u);
  EXPECT_TRUE(shared.table.bury(theirs));
  EXPECT_EQ(shared.table.probe(theirs), vitality::left);
  EXPECT_FALSE(shared.table.bury(theirs));
  EXPECT_EQ(shared.table.size(), 1u);
}

TEST(Participants, TheLivingAndThoseWhoLeftCannotBeBuried) {
  shared_table shared;
  const participant_id me = shared.table.self();
  test::child other("member", {shared.name, "0"});
  const participant_id theirs = parse(other.hear());
  ASSERT_EQ(other.hear(), "ready");
  EXPECT_FALSE(shared.table.bury(me));
  EXPECT_FALSE(shared.table.bury(theirs));
  EXPECT_EQ(shared.table.bury_dead(), 0u);
  other.say("leave");
  ASSERT_EQ(other.hear(), "done");
  EXPECT_EQ(shared.table.probe(theirs), vitality::left);
  EXPECT_FALSE(shared.table.bury(theirs));
}

TEST(Participants, ABurialRepairsEveryHandleThenTheProcess) {
  repairs noted;  // outlives the table, which repairs on its way out
  shared_table shared;
  shared.table.set_repair(repairs::note, &noted);
  const handle_id ours = shared.table.acquire_handle(1);
  test::child other("member", {shared.name, "3"});
  const participant_id theirs = parse(other.hear());
  ASSERT_EQ(other.hear(), "ready");
  other.kill();
  EXPECT_EQ(shared.table.bury_dead(), 1u);
  ASSERT_EQ(noted.handles.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(noted.handles[i].second, 100 + i);
  EXPECT_EQ(noted.processes, std::vector{theirs});
  for (const auto& [handle, word] : noted.handles)
    EXPECT_EQ(shared.table.probe(handle), vitality::left);
  EXPECT_EQ(shared.table.probe(ours), vitality::alive);
}

TEST(Participants, AnUndertakerThatDiesIsFollowedByAnother) {
  repairs noted;  // outlives the table, which repairs on its way out
  shared_table shared;
  shared.table.set_repair(repairs::note, &noted);
  test::child victim("member", {shared.name, "2"});
  const participant_id dead = parse(victim.hear());
  ASSERT_EQ(victim.hear(), "ready");
  victim.kill();
  {
    test::child undertaker("slow_undertaker", {shared.name});
    ASSERT_EQ(undertaker.hear(), "ready");
    ASSERT_EQ(undertaker.hear(), "repairing");
    // It lives, so the burial is its own.
    EXPECT_EQ(shared.table.probe(dead), vitality::dead);
    EXPECT_FALSE(shared.table.bury(dead));
    const participant_id stranger{dead.slot, dead.generation + 1};
    EXPECT_EQ(shared.table.probe(stranger), vitality::left) << "a burial is of one generation only";
    undertaker.kill();
  }
  EXPECT_TRUE(shared.table.bury(dead));
  EXPECT_EQ(noted.handles.size(), 2u);
  EXPECT_EQ(noted.processes.size(), 1u);
  EXPECT_EQ(shared.table.size(), 0u);
}

TEST(Participants, AFullTableBuriesItsDeadBeforeItRefuses) {
  shared_table shared({.processes = 2, .handles = 2});
  test::child one("member", {shared.name, "1"});
  ASSERT_EQ(one.hear(), "0:1");
  ASSERT_EQ(one.hear(), "ready");
  test::child two("member", {shared.name, "1"});
  ASSERT_EQ(two.hear(), "1:1");
  ASSERT_EQ(two.hear(), "ready");
  std::string message;
  EXPECT_EQ(ERROR_OF(shared.table.self(), message), static_cast<int>(ipcpp::errc::limit_reached));
  EXPECT_NE(message.find("all 2 in use by living processes"), std::string::npos) << message;
  EXPECT_NE(message.find(shared.name), std::string::npos) << message;
  one.kill();
  EXPECT_EQ(shared.table.self(), (participant_id{0, 2}));
  EXPECT_NO_THROW((void)shared.table.acquire_handle(1));
  EXPECT_EQ(ERROR_OF(shared.table.acquire_handle(1), message),
            static_cast<int>(ipcpp::errc::limit_reached));
  EXPECT_NE(message.find("handle slot"), std::string::npos) << message;
  two.kill();
  EXPECT_NO_THROW((void)shared.table.acquire_handle(1)) << "the handle of the dead";
}

TEST(Participants, WhoComesWhileAnotherBuriesTheDeadOfAFullTableIsNotRefused) {
  shared_table shared({.processes = 1, .handles = 1});
  test::child victim("member", {shared.name, "1"});
  ASSERT_EQ(victim.hear(), "0:1");
  ASSERT_EQ(victim.hear(), "ready");
  victim.kill();
  // The newcomer looks while the burial is under way, which here takes as long as twenty looks.
  struct newcomer {
    participants table;
    participant_id got;
    int refused = 0;
    std::thread thread;
  } late{participants::attach(shared.place, table_at), {}, 0, {}};
  shared.table.set_repair(
      [](void* context, const ipcpp::remains& of) noexcept {
        if (of.handle) return;
        auto& who = *static_cast<newcomer*>(context);
        std::atomic<bool> begins = false;
        who.thread = std::thread([&who, &begins] {
          begins = true;
          std::string message;
          who.refused = ERROR_OF(who.got = who.table.self(), message);
        });
        while (!begins) std::this_thread::yield();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      },
      &late);
  EXPECT_EQ(shared.table.bury_dead(), 1u);
  late.thread.join();
  EXPECT_EQ(late.refused, 0);
  EXPECT_EQ(late.got, (participant_id{0, 2}));
}

TEST(Participants, LeavingGivesUpEveryHandle) {
  repairs noted;  // outlives the table, which repairs on its way out
  shared_table shared({.processes = 2, .handles = 4});
  shared.table.set_repair(repairs::note, &noted);
  std::vector<handle_id> handles;
  for (int i = 0; i < 4; ++i)
    handles.push_back(shared.table.acquire_handle(static_cast<std::uint8_t>(i)));
  shared.table.release_handle(handles[0]);
  EXPECT_EQ(shared.table.probe(handles[0]), vitality::left);
  EXPECT_EQ(shared.table.probe(handles[1]), vitality::alive);
  shared.table.leave();
  EXPECT_EQ(noted.handles.size(), 3u);
  for (const auto handle : handles) EXPECT_EQ(shared.table.probe(handle), vitality::left);
  for (int i = 0; i < 4; ++i) EXPECT_NO_THROW((void)shared.table.acquire_handle(1));
}

TEST(Participants, AHandleHasWordsOfItsOwnThatBeginAtZero) {
  shared_table shared;
  const handle_id one = shared.table.acquire_handle(1);
  const handle_id two = shared.table.acquire_handle(2);
  for (auto& word : shared.table.words_of(one)->word) {
    EXPECT_EQ(word, 0u);
    word = ~std::uint64_t{0};
  }
  for (const auto word : shared.table.words_of(two)->word) EXPECT_EQ(word, 0u);
  shared.table.release_handle(one);
  EXPECT_EQ(shared.table.words_of(one), nullptr);
  const handle_id again = shared.table.acquire_handle(3);
  EXPECT_EQ(again.slot, one.slot);
  EXPECT_NE(again.generation, one.generation);
  for (const auto word : shared.table.words_of(again)->word) EXPECT_EQ(word, 0u);
  EXPECT_EQ(shared.table.owner_of(again), shared.table.self());
}

TEST(Participants, OnlyItsOwnerReleasesAHandle) {
  shared_table shared;
  test::child other("member", {shared.name, "1"});
  const participant_id theirs = parse(other.hear());
  ASSERT_EQ(other.hear(), "ready");
  (void)shared.table.self();
  const handle_id handle{0, 1};
  ASSERT_EQ(shared.table.owner_of(handle), theirs);
  shared.table.release_handle(handle);
  EXPECT_EQ(shared.table.owner_of(handle), theirs);
  other.say("release");
  ASSERT_EQ(other.hear(), "done");
  EXPECT_FALSE(shared.table.owner_of(handle));
}

TEST(Participants, OneProcessCanWakeAnothersHandle) {
  shared_table shared;
  const handle_id handle = shared.table.acquire_handle(1);
  platform::parking_slot slot = shared.table.parking_of(handle);
  const std::uint32_t ticket = slot.ticket();
  shared.table.parking_of(handle).unpark();
  EXPECT_EQ(slot.park(ticket, std::chrono::steady_clock::now() + std::chrono::seconds(20)),
            platform::park_outcome::woken);
}

TEST(Participants, ThreadsOfOneProcessAreOneParticipant) {
  shared_table shared({.processes = 4, .handles = 64});
  std::vector<std::thread> threads;
  std::vector<participant_id> seen(8);
  std::vector<handle_id> handles(8);
  for (std::size_t t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      seen[t] = shared.table.self();
      handles[t] = shared.table.acquire_handle(1);
    });
  for (auto& t : threads) t.join();
  for (std::size_t t = 0; t < 8; ++t) {
    EXPECT_EQ(seen[t], seen[0]);
    for (std::size_t u = 0; u < t; ++u) EXPECT_NE(handles[t], handles[u]);
  }
  EXPECT_EQ(shared.table.size(), 1u);
}

TEST(Participants, ForEachTellsWhoTheyAre) {
  shared_table shared;
  const participant_id me = shared.table.self();
  (void)shared.table.acquire_handle(1);
  test::child other("member", {shared.name, "2"});
  const participant_id theirs = parse(other.hear());
  ASSERT_EQ(other.hear(), "ready");
  int seen = 0;
  shared.table.for_each([&](const ipcpp::participant_info& info) {
    ++seen;
    EXPECT_EQ(info.state, vitality::alive);
    EXPECT_LE(info.joined, std::chrono::steady_clock::now());
    if (info.id == me) {
      EXPECT_EQ(info.identity, platform::current_process());
      EXPECT_EQ(info.handles, 1u);
    } else {
      EXPECT_EQ(info.id, theirs);
      EXPECT_EQ(info.identity.pid, other.pid());
      EXPECT_EQ(info.handles, 2u);
    }
  });
  EXPECT_EQ(seen, 2);
}

TEST(Participants, AReadOnlyObserverSeesWhoLives) {
  shared_table shared;
  const participant_id me = shared.table.self();
  test::child other("member", {shared.name, "1"});
  const participant_id theirs = parse(other.hear());
  ASSERT_EQ(other.hear(), "ready");
  const mapping reading =
      mapping::map(shared_object::open(shared.name, platform::access::read_only));
  participants observer = participants::attach(reading, table_at);
  EXPECT_EQ(observer.size(), 2u);
  EXPECT_EQ(observer.probe(me), vitality::alive);
  EXPECT_EQ(observer.probe(theirs), vitality::alive);
  other.kill();
  EXPECT_EQ(observer.probe(theirs), vitality::dead);
  int seen = 0;
  observer.for_each([&](const ipcpp::participant_info&) { ++seen; });
  EXPECT_EQ(seen, 2);
  EXPECT_ERROR(observer.self(), access_denied);
  EXPECT_EQ(observer.bury_dead(), 0u);
}

TEST(Participants, ProcessesThatComeAndGoAtOnceAreNeverTakenForDead) {
  repairs noted;  // outlives the table, which repairs on its way out
  shared_table shared({.processes = 4, .handles = 8});
  std::vector<test::child> others;
  for (int i = 0; i < 3; ++i)
    others.emplace_back("join_and_leave_often", test::arguments{shared.name});
  for (auto& o : others) ASSERT_EQ(o.hear(), "ready");
  for (auto& o : others) o.say("go");
  std::atomic<bool> stop{false};
  shared.table.set_repair(repairs::note, &noted);
  std::thread undertaker([&] {
    while (!stop) shared.table.bury_dead();
  });
  for (auto& o : others) EXPECT_EQ(o.hear(), "done");
  stop = true;
  undertaker.join();
  EXPECT_TRUE(noted.processes.empty()) << "somebody living was buried";
  EXPECT_EQ(shared.table.size(), 0u);
}

TEST(Participants, SurvivorsOfManyRandomKillsAreNeverTakenForDeadAndEverySlotComesBack) {
  shared_table shared({.processes = 4, .handles = 8});
  test::child bystander("member", {shared.name, "1"});
  const participant_id living = parse(bystander.hear());
  ASSERT_EQ(bystander.hear(), "ready");
  for (int round = 0; round < 30; ++round) {
    test::child victim("join_and_leave_often", {shared.name});
    ASSERT_EQ(victim.hear(), "ready");
    victim.say("go");
    const auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(round * 137);
    while (std::chrono::steady_clock::now() < until)
      EXPECT_EQ(shared.table.probe(living), vitality::alive);
    victim.kill();
    shared.table.bury_dead();
    EXPECT_EQ(shared.table.size(), 1u);
    EXPECT_EQ(shared.table.probe(living), vitality::alive);
    for (int i = 0; i < 7; ++i) EXPECT_NO_THROW((void)shared.table.acquire_handle(1));
    shared.table.leave();
  }
}

TEST(Participants, ADamagedTableIsRefusedWithItsReason) {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_KiB}));
  ASSERT_TRUE(place.commit(0, 64_KiB));
  EXPECT_ERROR(participants::attach(place, table_at), damaged);
  EXPECT_ERROR(participants::attach(place, 100), invalid_argument);
  EXPECT_ERROR(participants::attach(place, 64_KiB), invalid_argument);
  {
    const participants made = participants::create(place, table_at, {.processes = 4, .handles = 4});
  }
  auto* const words = reinterpret_cast<std::uint32_t*>(place.base() + table_at);
  words[2] = 9;  // version
  EXPECT_ERROR(participants::attach(place, table_at), wrong_layout);
  words[2] = 1;
  words[3] = 1'000'000;  // processes
  EXPECT_ERROR(participants::attach(place, table_at), damaged);
  words[3] = 4000;  // more than the object holds
  EXPECT_ERROR(participants::attach(place, table_at), damaged);
  words[3] = 4;
  EXPECT_NO_THROW((void)participants::attach(place, table_at));
}

TEST(Participants, SlotsFullOfGarbageCostNoMoreThanThatSlot) {
  shared_table shared({.processes = 4, .handles = 4});
  auto* const bytes = reinterpret_cast<unsigned char*>(shared.place.base() + table_at + 128);
  std::uint64_t seed = 7;
  for (int round = 0; round < 200; ++round) {
    for (std::size_t i = 0; i < 8 * 128; ++i) {
      seed ^= seed << 13;
      seed ^= seed >> 7;
      seed ^= seed << 17;
      bytes[i] = static_cast<unsigned char>(seed);
    }
    // Whatever a scribbling peer left: an answer, no crash, no access outside the table (the
    // sanitizers watch).
    shared.table.for_each([](const ipcpp::participant_info&) {});
    for (std::uint32_t i = 0; i < 4; ++i)
      for (std::uint32_t g : {1u, 2u, 0xffffffffu}) {
        (void)shared.table.probe(participant_id{i, g});
        (void)shared.table.probe(handle_id{i, g});
        (void)shared.table.words_of(handle_id{i, g});
      }
    (void)shared.table.bury_dead();
  }
}

TEST(Participants, BadLimitsAreRefused) {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_KiB}));
  ASSERT_TRUE(place.commit(0, 64_KiB));
  EXPECT_ERROR(participants::create(place, table_at, {.processes = 0, .handles = 1}),
               invalid_argument);
  EXPECT_ERROR(participants::create(place, table_at, {.processes = 1, .handles = 0}),
               invalid_argument);
  EXPECT_ERROR(participants::create(place, table_at, {.processes = 5000, .handles = 1}),
               invalid_argument);
  EXPECT_ERROR(participants::create(place, 100, {.processes = 1, .handles = 1}), invalid_argument);
  EXPECT_ERROR(participants::create(place, table_at, {.processes = 600, .handles = 1}),
               invalid_argument);
  EXPECT_ERROR(participants::create(place, 0, {.processes = 1, .handles = 1}), invalid_argument);
}
