// The conformance suite, part 2: reservations and growth. Runs unchanged on every platform and
// variant.
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "objects.hpp"
#include "roles.hpp"

import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using platform::mapping;
using platform::shared_object;

namespace {

std::atomic_ref<std::uint64_t> word_at(const mapping& place, std::size_t offset) {
  return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(place.base() + offset));
}

constexpr std::size_t end_at = 512;  // the end that this test's writers publish

}  // namespace

// Attached before anything grew: sees each growth by the published end alone.
ROLE(follow_growth) {
  mapping place = mapping::map(shared_object::open(args[0]));
  test::say("ready");
  for (std::string line; test::hear(line);) {
    const std::uint64_t end = word_at(place, end_at).load(std::memory_order_acquire);
    if (!place.adopt(end)) return 1;
    word_at(place, end - 16).store(4711);
    test::say(std::to_string(word_at(place, end - 8).load()));
  }
  return 0;
}

// Commits its own pages all over the place and marks each.
ROLE(grow) {
  mapping place = mapping::map(shared_object::open(args[0]));
  const std::size_t me = std::stoul(args[1]);
  test::say("ready");
  std::string line;
  test::hear(line);
  for (std::size_t page = 1 + me; page < 1000; page += 4) {
    if (!place.commit(page * 64_KiB, 4096)) return 1;
    word_at(place, page * 64_KiB).store(page);
  }
  return 0;
}

ROLE(address) {
  const mapping place =
      mapping::map(shared_object::open(args[0]), reinterpret_cast<void*>(std::stoull(args[1])));
  test::say(std::to_string(reinterpret_cast<std::uintptr_t>(place.base())));
  return 0;
}

TEST(Mapping, ThePrivateAreaLiesBelowTheBaseAndIsOurOwn) {
  const mapping one = mapping::map(shared_object::create({.capacity_bytes = 1_MiB}));
  const mapping two = mapping::map(one.object().again());
  EXPECT_EQ(one.private_area() + platform::private_area_bytes, one.base());
  for (std::size_t i = 0; i < platform::private_area_bytes; ++i)
    ASSERT_EQ(one.private_area()[i], std::byte{0});
  std::memset(one.private_area(), 1, platform::private_area_bytes);
  EXPECT_EQ(two.private_area()[0], std::byte{0});
}

TEST(Mapping, TheDefaultCapacityCanBeMappedSeveralTimes) {
  const mapping one = mapping::map(shared_object::create());
  const mapping two = mapping::map(one.object().again());
  const mapping three = mapping::map(shared_object::create());
  EXPECT_EQ(two.capacity(), platform::default_capacity());
}

TEST(Mapping, CommittedMemoryIsZeroUsableAndKeptWhenCommittedAgain) {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 16_MiB}));
  ASSERT_TRUE(place.commit(1_MiB, 1_MiB));
  for (std::size_t i = 0; i < 1_MiB; i += 8) ASSERT_EQ(word_at(place, 1_MiB + i).load(), 0u);
  std::memset(place.base() + 1_MiB, 7, 1_MiB);
  ASSERT_TRUE(place.commit(1_MiB - 4096, 2_MiB));
  EXPECT_EQ(place.base()[1_MiB], std::byte{7});
  EXPECT_EQ(place.base()[2_MiB - 1], std::byte{7});
  EXPECT_EQ(place.base()[2_MiB], std::byte{0});
  EXPECT_EQ(place.base()[1_MiB - 1], std::byte{0});
}

TEST(Mapping, EveryByteOfTheCapacityCanBeCommitted) {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 8_MiB + 64_KiB}));
  ASSERT_TRUE(place.commit(0, place.capacity()));
  for (std::size_t at = 4096; at < place.capacity(); at += 4096) word_at(place, at).store(at);
  for (std::size_t at = 4096; at < place.capacity(); at += 4096)
    ASSERT_EQ(word_at(place, at).load(), at);
}

TEST(Mapping, NothingIsAlwaysCommittedAndTooMuchIsAnError) {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 1_MiB}));
  EXPECT_TRUE(place.commit(0, 0));
  EXPECT_TRUE(place.commit(1_MiB, 0));
  EXPECT_ERROR(place.commit(0, 1_MiB + 1), invalid_argument);
  EXPECT_ERROR(place.commit(1_MiB, 1), invalid_argument);
  EXPECT_ERROR(place.commit(~std::size_t{0}, 2), invalid_argument);
  EXPECT_ERROR(place.commit(4096, ~std::size_t{0}), invalid_argument);
  EXPECT_ERROR(place.release(0, 1_MiB + 1), invalid_argument);
  EXPECT_FALSE(place.adopt(1_MiB + 1));
  EXPECT_TRUE(place.adopt(0));
}

TEST(Mapping, AProcessThatAttachedBeforeSeesEveryGrowth) {
  const std::string name = test::unique_name();
  shared_object object = shared_object::create({.capacity_bytes = 256_MiB});
  mapping place = mapping::map(object.again());
  object.publish(name);
  test::child follower("follow_growth", {name});
  ASSERT_EQ(follower.hear(), "ready");
  std::size_t end = 4096;
  for (const std::size_t more : {4_KiB, 60_KiB, 64_KiB, 1_MiB, 3_MiB, 32_MiB}) {
    ASSERT_TRUE(place.commit(end, more));
    end += more;
    word_at(place, end - 8).store(end * 3);
    word_at(place, end_at).store(end, std::memory_order_release);
    follower.say("look");
    EXPECT_EQ(follower.hear(), std::to_string(end * 3));
    EXPECT_EQ(word_at(place, end - 16).load(), 4711u);  // and it can write there
  }
  EXPECT_EQ(follower.wait(), 0);
  EXPECT_TRUE(shared_object::remove(name));
}

TEST(Mapping, PointersIntoItSurviveEveryGrowth) {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 256_MiB}));
  ASSERT_TRUE(place.commit(4096, 4096));
  auto* const early = place.base() + 5000;
  *early = std::byte{42};
  for (std::size_t at = 64_KiB; at < 200_MiB; at *= 2) ASSERT_TRUE(place.commit(at, 64_KiB));
  EXPECT_EQ(*early, std::byte{42});
  EXPECT_EQ(early, place.base() + 5000);
}

TEST(Mapping, FourProcessesThatGrowAtOnceLoseNothing) {
  const std::string name = test::unique_name();
  shared_object object = shared_object::create({.capacity_bytes = 128_MiB});
  mapping place = mapping::map(object.again());
  object.publish(name);
  std::vector<test::child> growers;
  for (int i = 0; i < 4; ++i)
    growers.emplace_back("grow", test::arguments{name, std::to_string(i)});
  for (auto& g : growers) ASSERT_EQ(g.hear(), "ready");
  for (auto& g : growers) g.say("go");
  for (auto& g : growers) EXPECT_EQ(g.wait(), 0);
  ASSERT_TRUE(place.adopt(1000 * 64_KiB));
  for (std::size_t page = 1; page < 1000; ++page)
    ASSERT_EQ(word_at(place, page * 64_KiB).load(), page);
  EXPECT_TRUE(shared_object::remove(name));
}

TEST(Mapping, ThreadsMayGrowOneMappingAtOnce) {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_MiB}));
  std::vector<std::thread> threads;
  std::atomic<int> refused{0};
  for (std::size_t t = 0; t < 4; ++t)
    threads.emplace_back([&, t] {
      for (std::size_t page = 1 + t; page < 500; page += 4) {
        if (!place.commit(page * 64_KiB, 8)) ++refused;
        word_at(place, page * 64_KiB).store(page);
      }
    });
  for (auto& t : threads) t.join();
  EXPECT_EQ(refused, 0);
  for (std::size_t page = 1; page < 500; ++page)
    ASSERT_EQ(word_at(place, page * 64_KiB).load(), page);
}

TEST(Mapping, ReleasedMemoryGoesBackAndIsZeroWhenCommittedAgain) {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 16_MiB}));
  ASSERT_TRUE(place.commit(0, 8_MiB));
  std::memset(place.base() + 4096, 9, 8_MiB - 4096);
  const std::size_t given_back = place.release(1_MiB, 4_MiB);
  EXPECT_TRUE(given_back == 4_MiB || given_back == 0) << given_back;  // 0: this system cannot
  ASSERT_TRUE(place.commit(1_MiB, 4_MiB));
  if (given_back != 0) {
    EXPECT_EQ(place.base()[2_MiB], std::byte{0});
  }
  EXPECT_EQ(place.base()[1_MiB - 1], std::byte{9});
  EXPECT_EQ(place.base()[5_MiB], std::byte{9});
}

TEST(Mapping, ReleaseSparesThePrologueAndWhatIsNotAWholePage) {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 1_MiB}));
  ASSERT_TRUE(place.commit(0, 1_MiB));
  std::memset(place.base() + 64_KiB, 5, 128_KiB);
  place.release(0, 4096);
  EXPECT_EQ(std::memcmp(place.base(), "ipcppobj", 8), 0);
  EXPECT_EQ(place.release(64_KiB + 1, 100), 0u);
  EXPECT_EQ(place.base()[64_KiB + 50], std::byte{5});
}

TEST(Mapping, AnotherProcessCanMapItAtTheSameAddress) {
  const std::string name = test::unique_name();
  shared_object object = shared_object::create({.capacity_bytes = 1_MiB});
  object.publish(name);
  // An address that is free here is almost surely free there.
  void* here = nullptr;
  {
    here = mapping::map(object.again()).base();
  }
  const mapping place = mapping::map(object.again(), here);
  EXPECT_EQ(place.base(), here);
  test::child other("address", {name, std::to_string(reinterpret_cast<std::uintptr_t>(here))});
  EXPECT_EQ(other.hear(), std::to_string(reinterpret_cast<std::uintptr_t>(here)));
  EXPECT_TRUE(shared_object::remove(name));
}

TEST(Mapping, AnAddressThatIsTakenOrMisalignedIsRefused) {
  const mapping place = mapping::map(shared_object::create({.capacity_bytes = 1_MiB}));
  EXPECT_ERROR(mapping::map(place.object().again(), place.base()), no_address_space);
  EXPECT_ERROR(mapping::map(place.object().again(), place.base() + 4096), invalid_argument);
}
