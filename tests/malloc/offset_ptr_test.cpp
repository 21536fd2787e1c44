#include <gtest/gtest.h>

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <functional>
#include <iterator>
#include <memory>
#include <new>
#include <type_traits>

import ipcpp;

using ipcpp::offset_ptr;

namespace {
struct base {
  int b = 1;
};
struct derived : base {
  int d = 2;
};
}  // namespace

TEST(OffsetPtr, ItIsAContiguousIteratorAndAPointerForAllocators) {
  static_assert(std::contiguous_iterator<offset_ptr<int>>);
  static_assert(std::random_access_iterator<offset_ptr<const int>>);
  static_assert(std::totally_ordered<offset_ptr<int>>);
  static_assert(std::is_nothrow_copy_constructible_v<offset_ptr<int>>);
  static_assert(!std::is_trivially_copyable_v<offset_ptr<int>>);
  using traits = std::pointer_traits<offset_ptr<int>>;
  static_assert(std::same_as<traits::element_type, int> &&
                std::same_as<traits::difference_type, std::ptrdiff_t>);
  static_assert(std::same_as<traits::rebind<double>, offset_ptr<double>>);
  static_assert(std::convertible_to<offset_ptr<int>, offset_ptr<const int>>);
  static_assert(!std::convertible_to<offset_ptr<const int>, offset_ptr<int>>);
  static_assert(std::convertible_to<offset_ptr<int>, offset_ptr<void>>);
  static_assert(!std::convertible_to<offset_ptr<void>, offset_ptr<int>>);
  static_assert(std::constructible_from<offset_ptr<int>, offset_ptr<void>>);
  static_assert(std::convertible_to<offset_ptr<derived>, offset_ptr<base>>);
  static_assert(!std::constructible_from<offset_ptr<int>, offset_ptr<double>>);
}

TEST(OffsetPtr, NullIsNullHoweverItIsMade) {
  offset_ptr<int> p;
  EXPECT_FALSE(p);
  EXPECT_EQ(p.get(), nullptr);
  EXPECT_EQ(p, nullptr);
  int n = 0;
  p = offset_ptr<int>(&n);
  EXPECT_TRUE(p);
  EXPECT_NE(p, nullptr);
  p = nullptr;
  EXPECT_EQ(p, nullptr);
  const offset_ptr<int> copy = p;
  EXPECT_EQ(copy, nullptr);
  EXPECT_EQ(offset_ptr<int>(static_cast<int*>(nullptr)), nullptr);
  EXPECT_EQ(offset_ptr<const int>(p), nullptr);
}

TEST(OffsetPtr, ACopySomewhereElsePointsAtTheSame) {
  int target = 7;
  const offset_ptr<int> on_stack(&target);
  const auto on_heap = std::make_unique<offset_ptr<int>>(on_stack);
  EXPECT_EQ(on_heap->get(), &target);
  EXPECT_EQ(**on_heap, 7);
  offset_ptr<int> assigned;
  assigned = *on_heap;
  EXPECT_EQ(assigned, on_stack);
}

TEST(OffsetPtr, ItMayPointAtItself) {
  struct node {
    offset_ptr<node> next;
  } sentinel;
  sentinel.next = offset_ptr<node>::pointer_to(sentinel);
  EXPECT_TRUE(sentinel.next);
  EXPECT_EQ(sentinel.next.get(), &sentinel);
}

TEST(OffsetPtr, MovedTogetherWithItsTargetItStillPointsThere) {
  struct pair {
    offset_ptr<int> to;
    int value;
  };
  alignas(pair) std::byte first[sizeof(pair)];
  alignas(pair) std::byte second[sizeof(pair)];
  auto* const original = new (first) pair{};
  original->value = 11;
  original->to = offset_ptr<int>(&original->value);
  std::memcpy(second, first, sizeof first);  // what mapping elsewhere amounts to
  auto* const elsewhere = reinterpret_cast<pair*>(second);
  EXPECT_EQ(elsewhere->to.get(), &elsewhere->value);
  EXPECT_EQ(*elsewhere->to, 11);
}

TEST(OffsetPtr, ArithmeticIsThatOfPointers) {
  int numbers[10];
  for (int i = 0; i < 10; ++i) numbers[i] = i;
  offset_ptr<int> p(numbers);
  const offset_ptr<int> end = p + 10;
  EXPECT_EQ(end - p, 10);
  EXPECT_EQ(p[3], 3);
  EXPECT_EQ(*(p + 4), 4);
  EXPECT_EQ(*(2 + p), 2);
  EXPECT_EQ(*(end - 1), 9);
  EXPECT_EQ(*p++, 0);
  EXPECT_EQ(*++p, 2);
  EXPECT_EQ(*p--, 2);
  EXPECT_EQ(*--p, 0);
  p += 5;
  p -= 2;
  EXPECT_EQ(*p, 3);
  EXPECT_LT(p, end);
  EXPECT_GE(end, p);
  EXPECT_EQ(std::to_address(end), numbers + 10);
}

TEST(OffsetPtr, CastsAreThoseOfPointers) {
  derived object;
  const offset_ptr<derived> d(&object);
  const offset_ptr<base> b = d;
  EXPECT_EQ(b->b, 1);
  const offset_ptr<derived> again(b);
  EXPECT_EQ(again->d, 2);
  const offset_ptr<void> v = d;
  EXPECT_EQ(offset_ptr<derived>(v), d);
  EXPECT_EQ(std::hash<offset_ptr<derived>>{}(d), std::hash<derived*>{}(&object));
}
