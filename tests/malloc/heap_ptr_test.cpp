#include <gtest/gtest.h>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <new>
#include <random>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "objects.hpp"

import ipcpp;
import ipcpp.platform;

using ipcpp::heap_ptr;
using namespace ipcpp::literals;
namespace platform = ipcpp::platform;

namespace {

struct first_base {
  std::uint64_t a = 1;
};
struct second_base {
  std::uint64_t b = 2;
};
struct derived : first_base, second_base {
  std::uint64_t d = 3;
};
struct virtual_derived : virtual first_base {};

struct node {  // refers to its own kind, which is incomplete here
  heap_ptr<node> next;
  std::uint64_t value = 0;
};
struct assignment {
  std::uint64_t id;
  heap_ptr<node> who;
};
struct alignas(256) wide {
  std::byte bytes[256];
};

// What a buggy peer may send.
template <class T>
heap_ptr<T> forged(std::uint64_t offset) {
  heap_ptr<T> p;
  std::memcpy(static_cast<void*>(&p), &offset, sizeof offset);
  return p;
}

struct HeapPtr : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 4_MiB});
  ipcpp::heap& heap = segment.heap();

  template <class T>
  T& make(const T& value = {}) {
    return *new (heap.allocate(sizeof(T), alignof(T))) T(value);
  }
};

}  // namespace

TEST_F(HeapPtr, ItIsANumberThatFitsAMessageAndAnAtomic) {
  static_assert(sizeof(heap_ptr<node>) == 8 && std::is_trivially_copyable_v<heap_ptr<node>>);
  static_assert(ipcpp::shareable<heap_ptr<node>> && ipcpp::message<heap_ptr<const node>>);
  static_assert(ipcpp::message<assignment> && ipcpp::message<node>);
  static_assert(std::atomic<heap_ptr<node>>::is_always_lock_free);
  static_assert(std::regular<heap_ptr<node>>);

  node& target = make<node>({nullptr, 7});
  std::atomic<heap_ptr<node>> head;
  heap_ptr<node> expected;
  EXPECT_TRUE(head.compare_exchange_strong(expected, heap_ptr<node>(heap, target)));
  EXPECT_EQ(head.load().in(heap)->value, 7u);
}

TEST_F(HeapPtr, NullIsNullHoweverItIsMade) {
  const heap_ptr<int> by_default;
  const heap_ptr<int> by_null(nullptr);
  heap_ptr<int> assigned(heap, make<int>(1));
  assigned = nullptr;
  for (const auto& p : {by_default, by_null, assigned}) {
    EXPECT_FALSE(p);
    EXPECT_EQ(p, nullptr);
    EXPECT_EQ(p.in(heap), nullptr);
    EXPECT_EQ(p.offset(), 0u);
  }
  EXPECT_EQ(heap_ptr<const int>(by_null), nullptr);
}

TEST_F(HeapPtr, ItLeadsToTheObjectItWasMadeFor) {
  node& target = make<node>({nullptr, 11});
  const heap_ptr<node> p(heap, target);
  EXPECT_TRUE(p);
  EXPECT_EQ(p.in(heap), &target);
  wide& aligned = make<wide>();
  EXPECT_EQ(heap_ptr<wide>(heap, aligned).in(heap), &aligned);
  node& linked = make<node>({p, 12});
  EXPECT_EQ(linked.next.in(heap)->value, 11u);
  const ipcpp::segment moved = std::move(segment);
  EXPECT_EQ(p.in(moved.heap()), &target);
}

TEST_F(HeapPtr, AnotherMappingOfTheSameHeapHasTheObjectAtTheSameNumber) {
  platform::mapping here =
      platform::mapping::map(platform::shared_object::create({.capacity_bytes = 4_MiB}));
  ipcpp::object_source source(here);
  ipcpp::heap mine = ipcpp::heap::create(source);
  auto* const target = new (mine.allocate(sizeof(node))) node{nullptr, 42};
  const heap_ptr<node> p(mine, *target);

  platform::mapping there = platform::mapping::map(here.object().again());
  ipcpp::object_source their_source(there);
  ipcpp::heap theirs = ipcpp::heap::open(their_source);
  ASSERT_NE(mine.header(), theirs.header());
  EXPECT_NE(p.in(theirs), target);
  EXPECT_EQ(p.in(theirs)->value, 42u);
}

TEST_F(HeapPtr, AnObjectElsewhereCannotBeReferredTo) {
  int local = 0;
  EXPECT_ERROR(heap_ptr<int>(heap, local), invalid_argument);
  const ipcpp::segment other = ipcpp::segment::anonymous({.max_size = 1_MiB});
  int& theirs = *new (other.heap().allocate(sizeof(int))) int(3);
  EXPECT_ERROR(heap_ptr<int>(heap, theirs), invalid_argument);
  std::string message;
  (void)ERROR_OF(heap_ptr<int>(heap, local), message);
  EXPECT_EQ(message,
            "heap_ptr: expected an object of the heap, found one elsewhere; construct it in the "
            "heap and refer to that: invalid argument");
}

TEST_F(HeapPtr, AnOffsetOutsideTheCommittedMemoryIsDamage) {
  const std::uint64_t highest = std::numeric_limits<std::uint64_t>::max();
  for (const std::uint64_t offset : {std::uint64_t{4_MiB}, std::uint64_t{64_MiB}, highest - 7,
                                     highest / 2 + 1, std::uint64_t{4_MiB} - 256 - 8})
    EXPECT_ERROR(forged<std::uint64_t>(offset).in(heap), damaged);
  // Within the reservation, but the heap has not grown so far.
  EXPECT_ERROR(forged<std::uint64_t>(3_MiB).in(heap), damaged);
  // Begins inside, ends outside.
  struct large {
    std::byte bytes[4_MiB];
  };
  EXPECT_ERROR(forged<large>(heap_ptr<int>(heap, make<int>(1)).offset()).in(heap), damaged);
  std::string message;
  (void)ERROR_OF(forged<std::uint64_t>(64_MiB).in(heap), message);
  EXPECT_EQ(message,
            "heap_ptr: expected 8 bytes within the heap's committed memory, found offset 67108864; "
            "it refers to another heap, or was overwritten: damaged");
}

TEST_F(HeapPtr, AMisalignedOffsetIsDamage) {
  const std::uint64_t good = heap_ptr<node>(heap, make<node>()).offset();
  EXPECT_ERROR(forged<node>(good + 1).in(heap), damaged);
  EXPECT_ERROR(forged<node>(good + 4).in(heap), damaged);
  EXPECT_NO_THROW((void)forged<char>(good + 1).in(heap));
  std::string message;
  (void)ERROR_OF(forged<node>(good + 4).in(heap), message);
  EXPECT_NE(message.find("aligned to 8 bytes"), std::string::npos) << message;
}

TEST_F(HeapPtr, WhateverTheNumberItIsNoStrayPointer) {
  make<wide>();
  std::mt19937_64 random(1);
  int good = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::uint64_t offset = random() >> (random() % 64);
    try {
      const node* const p = forged<node>(offset).in(heap);
      if (p == nullptr) continue;
      ASSERT_TRUE(heap.contains(p) && segment.contains(p + 1)) << offset;
      ASSERT_EQ(reinterpret_cast<std::uintptr_t>(p) % alignof(node), 0u);
      ++good;
    } catch (const ipcpp::error& e) {
      ASSERT_EQ(e.kind(), ipcpp::errc::damaged);
    }
  }
  EXPECT_GT(good, 0);
}

TEST_F(HeapPtr, ItConvertsAsPointersDo) {
  static_assert(std::convertible_to<heap_ptr<int>, heap_ptr<const int>>);
  static_assert(!std::constructible_from<heap_ptr<int>, heap_ptr<const int>>);
  static_assert(std::convertible_to<heap_ptr<derived>, heap_ptr<first_base>>);
  static_assert(std::convertible_to<heap_ptr<derived>, heap_ptr<const second_base>>);
  static_assert(!std::constructible_from<heap_ptr<derived>, heap_ptr<first_base>>);
  static_assert(!std::constructible_from<heap_ptr<int>, heap_ptr<unsigned>>);
  // Where a virtual base lies, only the object knows.
  static_assert(!std::constructible_from<heap_ptr<first_base>, heap_ptr<virtual_derived>>);

  derived& object = make<derived>();
  const heap_ptr<derived> p(heap, object);
  EXPECT_EQ(heap_ptr<first_base>(p).in(heap), &object);
  EXPECT_EQ(heap_ptr<second_base>(p).in(heap), static_cast<second_base*>(&object));
  EXPECT_EQ(heap_ptr<const second_base>(p).in(heap)->b, 2u);
  EXPECT_EQ(heap_ptr<second_base>(heap_ptr<derived>()), nullptr);
}

TEST_F(HeapPtr, EqualOnesHashAlike) {
  node& one = make<node>();
  node& two = make<node>();
  const heap_ptr<node> p(heap, one);
  EXPECT_EQ(p, heap_ptr<node>(heap, one));
  EXPECT_NE(p, heap_ptr<node>(heap, two));
  EXPECT_EQ(p, heap_ptr<const node>(heap, one));
  EXPECT_EQ(std::hash<heap_ptr<node>>{}(p), std::hash<heap_ptr<node>>{}({heap, one}));
  std::unordered_set<heap_ptr<node>> seen{p, {heap, one}, {heap, two}};
  EXPECT_EQ(seen.size(), 2u);
}
