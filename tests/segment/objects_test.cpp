// Named objects within one process: making, finding, destroying, and every way to ask wrongly.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <list>
#include <new>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "objects.hpp"

import ipcpp;

using ipcpp::segment;
using namespace ipcpp::literals;

namespace {

using numbers = std::vector<int, ipcpp::allocator<int>>;

struct settings {
  std::uint32_t width = 80;
  std::uint32_t height = 25;
  double ratio = 1.5;
};

struct shelf {  // an aggregate with a container in it
  numbers lots;
  std::uint64_t count = 0;
};

struct alignas(256) wide {
  std::uint64_t value = 7;
};

struct fails {
  using allocator_type = ipcpp::allocator<std::byte>;
  static constexpr bool is_ipcpp_shareable = true;
  explicit fails(bool now, const allocator_type& from) : held(100, 0, from) {
    if (now) throw std::runtime_error("as told");
  }
  numbers held;
};

std::size_t in_use(const segment& one) {
  return one.heap().statistics().bytes_in_use;
}

}  // namespace

TEST(SegmentObjects, AnObjectIsFoundByItsName) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  settings& made = one.construct<settings>("settings", 100u, 50u, 2.0);
  EXPECT_TRUE(one.contains(&made));
  EXPECT_EQ(made.width, 100u);
  EXPECT_EQ(one.find<settings>("settings"), &made);
  const segment& looking = one;
  const settings* seen = looking.find<settings>("settings");
  EXPECT_EQ(seen, &made);
  EXPECT_EQ(one.find<settings>("other"), nullptr);
}

TEST(SegmentObjects, ContainersWithinUseTheSegment) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  auto& all = one.construct<numbers>("numbers");
  all.resize(1000);
  EXPECT_TRUE(one.contains(&all[0]));
  auto& filled = one.construct<numbers>("filled", std::size_t{10}, 3);
  EXPECT_EQ(filled.size(), 10u);
  EXPECT_TRUE(one.contains(&filled[0]));
  auto& some = one.construct<shelf>("shelf");
  some.lots.push_back(1);
  EXPECT_TRUE(one.contains(&some.lots[0]));
}

TEST(SegmentObjects, ANameIsTakenOnce) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  (void)one.construct<int>("n", 1);
  EXPECT_ERROR(one.construct<int>("n", 2), already_exists);
  EXPECT_ERROR(one.construct<double>("n", 2.0), already_exists);
  EXPECT_EQ(*one.find<int>("n"), 1);
}

TEST(SegmentObjects, FindOrConstructConstructsOnce) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  int& n = one.find_or_construct<int>("n", 5);
  EXPECT_EQ(&one.find_or_construct<int>("n", 6), &n);
  EXPECT_EQ(n, 5);
}

TEST(SegmentObjects, DestroyingFreesEverythingAndTheName) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  (void)one.construct<int>("stays", 1);
  const std::size_t before = in_use(one);
  one.construct<numbers>("numbers").resize(10'000);
  EXPECT_GT(in_use(one), before);
  EXPECT_TRUE(one.destroy<numbers>("numbers"));
  EXPECT_EQ(in_use(one), before);
  EXPECT_FALSE(one.destroy<numbers>("numbers"));
  EXPECT_EQ(one.find<numbers>("numbers"), nullptr);
  EXPECT_EQ(one.construct<double>("numbers", 2.5), 2.5);  // the name is free for another type
}

TEST(SegmentObjects, AConstructorThatThrowsLeavesNothing) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  (void)one.construct<int>("stays", 1);
  const std::size_t before = in_use(one);
  EXPECT_THROW(one.construct<fails>("x", true), std::runtime_error);
  EXPECT_EQ(in_use(one), before);
  EXPECT_EQ(one.find<fails>("x"), nullptr);
  EXPECT_NO_THROW(one.construct<fails>("x", false));
  EXPECT_TRUE(one.heap().check());
}

TEST(SegmentObjects, MemoryThatDoesNotSufficeLeavesNothing) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  (void)one.construct<int>("stays", 1);
  const std::size_t before = in_use(one);
  EXPECT_THROW((one.construct<std::array<char, 4 << 20>>("huge")), std::bad_alloc);
  EXPECT_THROW(one.construct<numbers>("numbers", std::size_t{1} << 20, 1), std::bad_alloc);
  EXPECT_EQ(in_use(one), before);
  EXPECT_EQ((one.find<std::array<char, 4 << 20>>("huge")), nullptr);
}

TEST(SegmentObjects, AlignmentIsKept) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  for (int i = 0; i < 20; ++i) {
    wide& w = one.construct<wide>("wide" + std::to_string(i));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(&w) % 256, 0u);
    EXPECT_EQ(w.value, 7u);
    EXPECT_EQ(one.find<wide>("wide" + std::to_string(i)), &w);
  }
}

TEST(SegmentObjects, AnotherTypeIsAnErrorThatSaysWhatDiffers) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  (void)one.construct<std::uint32_t>("n", 1u);
  std::string said;
  EXPECT_EQ(ERROR_OF(one.find<std::uint64_t>("n"), said),
            static_cast<int>(ipcpp::errc::wrong_type));
  EXPECT_NE(said.find("'n'"), std::string::npos) << said;
  EXPECT_NE(said.find("u64"), std::string::npos) << said;
  EXPECT_NE(said.find("u32"), std::string::npos) << said;
  EXPECT_ERROR(one.destroy<float>("n"), wrong_type);
  EXPECT_ERROR(one.find_or_construct<float>("n", 1.0f), wrong_type);
  EXPECT_EQ(*one.find<std::uint32_t>("n"), 1u);
}

TEST(SegmentObjects, ThousandsOfNamesFit) {
  auto one = segment::anonymous({.max_size = 64_MiB});
  constexpr int n = 3000;
  for (int i = 0; i < n; ++i) (void)one.construct<int>("object " + std::to_string(i), i);
  for (int i = 0; i < n; ++i) ASSERT_EQ(*one.find<int>("object " + std::to_string(i)), i);
  for (int i = 0; i < n; i += 2) ASSERT_TRUE(one.destroy<int>("object " + std::to_string(i)));
  int seen = 0;
  one.for_each_object([&](const ipcpp::object_info& object) {
    ++seen;
    EXPECT_EQ(object.type, "i32");
    EXPECT_EQ(object.bytes, sizeof(int));
    EXPECT_EQ("object " + std::to_string(*static_cast<const int*>(object.address)), object.name);
  });
  EXPECT_EQ(seen, n / 2);
  EXPECT_TRUE(one.heap().check());
}

TEST(SegmentObjects, NamesThatAreNoneAreRefused) {
  auto one = segment::anonymous({.max_size = 1_MiB});
  for (const std::string& name : {std::string(), std::string(129, 'x'), std::string("a\nb"),
                                  std::string("a\0b", 3), std::string("\x7f")}) {
    EXPECT_ERROR(one.construct<int>(name, 1), invalid_argument);
    EXPECT_ERROR(one.find<int>(name), invalid_argument);
    EXPECT_ERROR(one.find_or_construct<int>(name, 1), invalid_argument);
    EXPECT_ERROR(one.destroy<int>(name), invalid_argument);
  }
  EXPECT_NO_THROW(one.construct<int>(std::string(128, 'x'), 1));
  EXPECT_NO_THROW(one.construct<int>("any text, / and \xc3\xa4 too", 1));
}

TEST(SegmentObjects, OfManyThreadsOneConstructs) {
  auto one = segment::anonymous({.max_size = 4_MiB});
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> made = 0;
    std::atomic<const int*> first = nullptr;
    std::vector<std::thread> all;
    const std::string name = "n" + std::to_string(round);
    for (int t = 0; t < 8; ++t)
      all.emplace_back([&, t] {
        const int& n = one.find_or_construct<int>(name, t);
        const int* nobody = nullptr;
        if (!first.compare_exchange_strong(nobody, &n)) {
          EXPECT_EQ(nobody, &n);
        }
        if (n == t) ++made;
      });
    for (std::thread& t : all) t.join();
    EXPECT_EQ(made, 1);
  }
}
