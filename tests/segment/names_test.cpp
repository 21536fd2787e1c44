// Segments with names: creating, opening, lifetime, and names that are none.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "objects.hpp"
#include "roles.hpp"

import ipcpp;

using ipcpp::lifetime;
using ipcpp::segment;
using namespace ipcpp::literals;

TEST(SegmentNames, ANameLeadsToTheSegment) {
  const std::string name = test::unique_name();
  auto one = segment::create(name, {.max_size = 1_MiB});
  EXPECT_EQ(one.name(), name);
  EXPECT_TRUE(one.reachable());
  (void)one.construct<int>("n", 42);
  auto two = segment::open(name);
  EXPECT_EQ(*two.find<int>("n"), 42);
  EXPECT_EQ(two.find<int>("n"), one.find<int>("n")) << "mapped twice";
  EXPECT_EQ(&two.heap(), &one.heap());
  EXPECT_EQ(one.attached_processes(), 1u);
}

TEST(SegmentNames, ANameIsTakenOnce) {
  const std::string name = test::unique_name();
  const auto one = segment::create(name, {.max_size = 1_MiB});
  EXPECT_ERROR(segment::create(name), already_exists);
  EXPECT_NO_THROW((void)segment::open_or_create(name));
}

TEST(SegmentNames, WhatIsNotThereIsNotFound) {
  EXPECT_ERROR(segment::open(test::unique_name()), not_found);
  EXPECT_ERROR(segment::open_read_only(test::unique_name()), not_found);
  EXPECT_FALSE(segment::remove(test::unique_name()));
}

TEST(SegmentNames, WithItsLastUserTheNameIsGone) {
  const std::string name = test::unique_name();
  {
    auto one = segment::create(name, {.max_size = 1_MiB});
    {
      const auto two = segment::open(name);
    }
    EXPECT_NO_THROW((void)segment::open(name));
  }
  EXPECT_ERROR(segment::open(name), not_found);
}

#ifndef _WIN32
TEST(SegmentNames, APersistentOneStays) {
  const std::string name = test::unique_name();
  {
    auto one = segment::create(name, {.max_size = 1_MiB, .lifetime = lifetime::persistent});
    (void)one.construct<int>("n", 42);
  }
  {
    auto again = segment::open(name);
    EXPECT_EQ(*again.find<int>("n"), 42);
    EXPECT_EQ(again.lifetime(), lifetime::persistent);
    again.set_lifetime(lifetime::last_user);
  }
  EXPECT_ERROR(segment::open(name), not_found);
}
#endif

TEST(SegmentNames, RemovingLeavesUsersAlone) {
  const std::string name = test::unique_name();
  auto one = segment::create(name, {.max_size = 1_MiB});
  (void)one.construct<int>("n", 1);
  EXPECT_TRUE(segment::remove(name));
  EXPECT_FALSE(one.reachable());
  EXPECT_EQ(*one.find<int>("n"), 1);
  const auto other = segment::create(name, {.max_size = 1_MiB});
  one = segment::anonymous({.max_size = 1_MiB});  // leaves; the name now leads to another one
  EXPECT_TRUE(other.reachable());
}

TEST(SegmentNames, ReadOnlyLooksAndChangesNothing) {
  const std::string name = test::unique_name();
  auto one = segment::create(name, {.max_size = 1_MiB});
  (void)one.construct<std::uint64_t>("n", 42u);
  const auto looking = segment::open_read_only(name);
  EXPECT_TRUE(looking.read_only());
  const std::uint64_t* n = looking.find<std::uint64_t>("n");
  ASSERT_NE(n, nullptr);
  EXPECT_EQ(*n, 42u);
  *one.find<std::uint64_t>("n") = 43;
  EXPECT_EQ(*n, 43u);
  EXPECT_EQ(one.attached_processes(), 1u);
  EXPECT_ERROR(looking.heap(), access_denied);
  auto writing = segment::open_read_only(name);
  EXPECT_ERROR(writing.find<std::uint64_t>("n"), access_denied);
  EXPECT_ERROR(writing.construct<int>("x", 1), access_denied);
  EXPECT_ERROR(writing.find_or_construct<int>("x", 1), access_denied);
  EXPECT_ERROR(writing.destroy<std::uint64_t>("n"), access_denied);
  EXPECT_ERROR(writing.set_lifetime(lifetime::persistent), access_denied);
  EXPECT_ERROR(looking.find<int>("n"), wrong_type);
  int seen = 0;
  looking.for_each_object([&](const ipcpp::object_info&) { ++seen; });
  EXPECT_EQ(seen, 1);
}

TEST(SegmentNames, NamesThatAreNoneAreRefused) {
  for (const std::string& name :
       {std::string(), std::string(129, 'x'), std::string(".."), std::string(".x"),
        std::string("a/b"), std::string("/a"), std::string("a b"), std::string("a\nb"),
        std::string("a\0b", 3)}) {
    EXPECT_ERROR(segment::create(name), invalid_argument);
    EXPECT_ERROR(segment::open(name), invalid_argument);
    EXPECT_ERROR(segment::open_or_create(name), invalid_argument);
    EXPECT_ERROR(segment::open_read_only(name), invalid_argument);
    EXPECT_ERROR(segment::remove(name), invalid_argument);
  }
}

ROLE(segment_child) {
  auto there = segment::open(args.at(0));
  test::say(std::to_string(*there.find<int>("n")));
  ++*there.find<int>("n");
  (void)there.construct<int>("mine", 7);
  test::say(std::to_string(there.attached_processes()));
  for (std::string line; test::hear(line);) test::say(line);
  return 0;
}

TEST(SegmentNames, AnotherProcessFindsTheObjects) {
  const std::string name = test::unique_name();
  auto one = segment::create(name, {.max_size = 1_MiB});
  (void)one.construct<int>("n", 1);
  {
    test::child other("segment_child", {name});
    EXPECT_EQ(other.hear(), "1");
    EXPECT_EQ(other.hear(), "2");
    EXPECT_EQ(*one.find<int>("n"), 2);
    EXPECT_EQ(*one.find<int>("mine"), 7);
    EXPECT_EQ(one.attached_processes(), 2u);
    other.kill();
  }
  EXPECT_EQ(one.attached_processes(), 1u);
  EXPECT_EQ(*one.find<int>("mine"), 7);
}
