// The conformance suite, part 1: objects and names. Runs unchanged on every platform and variant.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "objects.hpp"
#include "roles.hpp"

import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using platform::mapping;
using platform::shared_object;

namespace {

constexpr std::size_t text_at = platform::first_usable_byte;

char* text_of(const mapping& place) {
  return reinterpret_cast<char*>(place.base() + text_at);
}

std::atomic_ref<std::uint64_t> word_of(const mapping& place, std::size_t index) {
  return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(place.base() + 1024 + 8 * index));
}

// A published object of 1 MiB whose name goes at the end of the test.
struct published {
  std::string name = test::unique_name();
  mapping place;

  published() : place(make(name)) {}
  ~published() { shared_object::remove(name); }
  static mapping make(const std::string& name) {
    shared_object object = shared_object::create({.capacity_bytes = 1_MiB});
    mapping place = mapping::map(object.again());
    std::strcpy(text_of(place), "complete");
    object.publish(name);
    return mapping::map(shared_object::open(name));
  }
};

}  // namespace

ROLE(read_and_answer) {
  const mapping place = mapping::map(shared_object::open(args[0]));
  test::say(text_of(place));
  std::strcpy(text_of(place), "answer");
  return 0;
}

// Creates, fills and publishes under args[0], then stays; says who it is or that the name was
// taken.
ROLE(publisher) {
  shared_object object = shared_object::create({.capacity_bytes = 1_MiB});
  const mapping place = mapping::map(object.again());
  std::strcpy(text_of(place), "complete");
  word_of(place, 0).store(object.id().low);
  test::say("ready");
  std::string line;
  test::hear(line);
  try {
    object.publish(args[0]);
    test::say("published " + object.id().text());
  } catch (const ipcpp::error& e) {
    test::say(e.kind() == ipcpp::errc::already_exists ? "taken" : e.what());
  }
  test::hear(line);
  return 0;
}

// For ever: creates and publishes, or removes what somebody else published; to be killed in the
// midst of it.
ROLE(churn) {
  test::say("ready");
  for (;;) {
    try {
      shared_object object = shared_object::create({.capacity_bytes = 1_MiB});
      const mapping place = mapping::map(object.again());
      word_of(place, 0).store(object.id().low);
      word_of(place, 1).store(~object.id().low);
      object.publish(args[0]);
    } catch (const ipcpp::error& e) {
      if (e.kind() != ipcpp::errc::already_exists) test::say(e.what());
    }
    shared_object::remove(args[0]);
  }
}

ROLE(hold_open) {
  const mapping place = mapping::map(shared_object::open(args[0]));
  test::say("ready");
  std::string line;
  test::hear(line);
  return 0;
}

TEST(SharedObject, ANewOneHoldsItsPrologueAndZeros) {
  const mapping place = mapping::map(shared_object::create({.capacity_bytes = 1_MiB}));
  platform::object_prologue found;
  std::memcpy(&found, place.base(), sizeof found);
  EXPECT_NO_THROW(platform::check_prologue(found, sizeof found, "it"));
  EXPECT_EQ(found.capacity_bytes, 1_MiB);
  EXPECT_EQ((platform::object_id{found.id_high, found.id_low}), place.object().id());
  for (std::size_t i = platform::first_usable_byte; i < 4096; ++i)
    ASSERT_EQ(place.base()[i], std::byte{0}) << i;
}

TEST(SharedObject, TheCapacityIsRoundedUpAndHasADefault) {
  EXPECT_EQ(shared_object::create({.capacity_bytes = 1}).capacity(), 64_KiB);
  EXPECT_EQ(shared_object::create({.capacity_bytes = 64_KiB + 1}).capacity(), 128_KiB);
  EXPECT_EQ(shared_object::create().capacity(), platform::default_capacity());
  EXPECT_GE(platform::default_capacity(), 256_MiB);
}

TEST(SharedObject, OneBeyondTheAddressSpaceIsRefused) {
  EXPECT_ERROR(shared_object::create({.capacity_bytes = ~std::size_t{0}}), invalid_argument);
  EXPECT_ERROR(shared_object::create({.capacity_bytes = std::size_t{1} << 62}), invalid_argument);
}

TEST(SharedObject, AnotherProcessFindsItByNameAndBothSeeWhatTheOtherWrites) {
  const published object;
  test::child reader("read_and_answer", {object.name});
  EXPECT_EQ(reader.hear(), "complete");
  EXPECT_EQ(reader.wait(), 0);
  EXPECT_STREQ(text_of(object.place), "answer");
}

TEST(SharedObject, BeforeItIsPublishedNobodyFindsIt) {
  const std::string name = test::unique_name();
  shared_object object = shared_object::create({.capacity_bytes = 1_MiB});
  EXPECT_ERROR(shared_object::open(name), not_found);
  EXPECT_FALSE(object.reachable());
  object.publish(name);
  EXPECT_TRUE(object.reachable());
  EXPECT_EQ(object.name(), name);
  EXPECT_EQ(shared_object::open(name).id(), object.id());
  EXPECT_TRUE(shared_object::remove(name));
}

TEST(SharedObject, ATakenNameIsRefusedAndTheLoserStaysUsable) {
  const published first;
  shared_object second = shared_object::create({.capacity_bytes = 1_MiB});
  EXPECT_ERROR(second.publish(first.name), already_exists);
  EXPECT_FALSE(second.reachable());
  EXPECT_EQ(shared_object::open(first.name).id(), first.place.object().id());
  const std::string other = test::unique_name();
  second.publish(other);
  EXPECT_EQ(shared_object::open(other).id(), second.id());
  EXPECT_TRUE(shared_object::remove(other));
}

TEST(SharedObject, OfManyPublishersExactlyOneWins) {
  for (int round = 0; round < 5; ++round) {
    const std::string name = test::unique_name();
    std::vector<test::child> publishers;
    for (int i = 0; i < 6; ++i) publishers.emplace_back("publisher", test::arguments{name});
    for (auto& p : publishers) ASSERT_EQ(p.hear(), "ready");
    for (auto& p : publishers) p.say("go");
    std::vector<std::string> winners;
    for (auto& p : publishers) {
      const std::string said = p.hear();
      if (said != "taken") winners.push_back(said);
    }
    ASSERT_EQ(winners.size(), 1u);
    const mapping place = mapping::map(shared_object::open(name));
    EXPECT_EQ(winners[0], "published " + place.object().id().text());
    EXPECT_STREQ(text_of(place), "complete");
    EXPECT_EQ(word_of(place, 0).load(), place.object().id().low);
    EXPECT_TRUE(shared_object::remove(name));
  }
}

TEST(SharedObject, WhoeverIsKilledAtItNobodyEverSeesAHalfMadeOne) {
  const std::string name = test::unique_name();
  std::uint64_t seen = 0;
  for (int round = 0; round < 20; ++round) {
    test::child one("churn", {name});
    test::child two("churn", {name});
    ASSERT_EQ(one.hear(), "ready");
    ASSERT_EQ(two.hear(), "ready");
    const auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(10 + round * 3);
    do {
      try {
        const mapping place = mapping::map(shared_object::open(name));
        ++seen;
        EXPECT_EQ(word_of(place, 0).load(), place.object().id().low);
        EXPECT_EQ(word_of(place, 1).load(), ~place.object().id().low);
      } catch (const ipcpp::error& e) {
        EXPECT_EQ(e.kind(), ipcpp::errc::not_found) << e.what();
      }
    } while (std::chrono::steady_clock::now() < end);
    one.kill();
    two.kill();
    // The dead are in nobody's way.
    shared_object::remove(name);
    shared_object object = shared_object::create({.capacity_bytes = 1_MiB});
    EXPECT_NO_THROW(object.publish(name));
    EXPECT_TRUE(shared_object::remove(name));
  }
  EXPECT_GT(seen, 0u);
}

TEST(SharedObject, ARemovedNameIsGoneAtOnceAndItsUsersGoOn) {
  const published object;
  EXPECT_TRUE(shared_object::remove(object.name));
  EXPECT_FALSE(object.place.object().reachable());
  EXPECT_ERROR(shared_object::open(object.name), not_found);
  EXPECT_FALSE(shared_object::remove(object.name));
  EXPECT_STREQ(text_of(object.place), "complete");
  shared_object successor = shared_object::create({.capacity_bytes = 1_MiB});
  successor.publish(object.name);
  EXPECT_NE(shared_object::open(object.name).id(), object.place.object().id());
  EXPECT_FALSE(object.place.object().reachable());
}

TEST(SharedObject, RemoveIfUnusedSparesWhatSomebodyStillUses) {
  const std::string name = test::unique_name();
  {
    const mapping place = published::make(name);
    EXPECT_FALSE(shared_object::remove_if_unused(name));
    EXPECT_NO_THROW((void)shared_object::open(name));
    test::child user("hold_open", {name});
    ASSERT_EQ(user.hear(), "ready");
    EXPECT_FALSE(shared_object::remove_if_unused(name));
    user.kill();
    EXPECT_FALSE(shared_object::remove_if_unused(name));  // we are still here
  }
  shared_object::remove_if_unused(name);  // true, or the system did it already
  EXPECT_ERROR(shared_object::open(name), not_found);
  EXPECT_FALSE(shared_object::remove_if_unused(name));
}

TEST(SharedObject, TheKilledDoNotCountAsUsers) {
  const std::string name = test::unique_name();
  test::child user("publisher", {name});
  ASSERT_EQ(user.hear(), "ready");
  user.say("go");
  ASSERT_TRUE(user.hear().starts_with("published"));
  EXPECT_FALSE(shared_object::remove_if_unused(name));
  user.kill();
  shared_object::remove_if_unused(name);
  EXPECT_ERROR(shared_object::open(name), not_found);
}

TEST(SharedObject, BadNamesAreRefusedEverywhere) {
  shared_object object = shared_object::create({.capacity_bytes = 1_MiB});
  for (const char* name : {"", "a/b", "../x", ".x"}) {
    EXPECT_ERROR(object.publish(name), invalid_argument);
    EXPECT_ERROR(shared_object::open(name), invalid_argument);
    EXPECT_ERROR(shared_object::remove(name), invalid_argument);
  }
}

TEST(SharedObject, TheLongestNameWorks) {
  std::string name = test::unique_name();
  name.resize(128, 'x');
  shared_object object = shared_object::create({.capacity_bytes = 1_MiB});
  object.publish(name);
  EXPECT_EQ(shared_object::open(name).id(), object.id());
  EXPECT_TRUE(shared_object::remove(name));
}

TEST(SharedObject, WhatDoesNotExistIsReportedWithItsName) {
  std::string message;
  const std::string name = test::unique_name();
  EXPECT_EQ(ERROR_OF(shared_object::open(name), message), static_cast<int>(ipcpp::errc::not_found));
  EXPECT_NE(message.find("'" + name + "'"), std::string::npos) << message;
  EXPECT_NE(message.find("create it first"), std::string::npos) << message;
}

TEST(SharedObject, AReadOnlyOpeningReads) {
  const published object;
  const mapping reader =
      mapping::map(shared_object::open(object.name, platform::access::read_only));
  EXPECT_STREQ(text_of(reader), "complete");
  std::strcpy(text_of(object.place), "changed");
  EXPECT_STREQ(text_of(reader), "changed");
  mapping& may_not = const_cast<mapping&>(reader);
  EXPECT_ERROR(may_not.commit(4096, 4096), access_denied);
  EXPECT_ERROR(may_not.release(4096, 4096), access_denied);
}

TEST(SharedObject, OpenedTwiceItIsTheSameMemoryAtAddressesThatAreAlignedAlike) {
  const mapping one = mapping::map(shared_object::create({.capacity_bytes = 1_MiB}));
  const mapping two = mapping::map(one.object().again());
  EXPECT_NE(one.base(), two.base());
  std::strcpy(text_of(one), "twice");
  EXPECT_STREQ(text_of(two), "twice");
  for (const mapping* place : {&one, &two})
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(place->base()) % platform::base_alignment(1_MiB),
              0u);
}

TEST(SharedObject, MovingKeepsItAndLeavesNothingBehind) {
  shared_object first = shared_object::create({.capacity_bytes = 1_MiB});
  const platform::object_id id = first.id();
  shared_object second = std::move(first);
  EXPECT_EQ(second.id(), id);
  shared_object third = shared_object::create({.capacity_bytes = 1_MiB});
  third = std::move(second);
  EXPECT_EQ(third.id(), id);
  mapping a = mapping::map(std::move(third));
  mapping b = std::move(a);
  std::strcpy(text_of(b), "moved");
  EXPECT_STREQ(text_of(b), "moved");
}
