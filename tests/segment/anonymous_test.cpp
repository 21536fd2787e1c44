#include <gtest/gtest.h>

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "objects.hpp"
#ifdef __linux__
#include "posix_process.hpp"
#endif

import ipcpp;

using ipcpp::segment;
using namespace ipcpp::literals;

TEST(AnonymousSegment, ItIsMovedAndNotCopied) {
  static_assert(std::movable<segment> && !std::copyable<segment>);
  static_assert(std::is_nothrow_move_constructible_v<segment> &&
                std::is_nothrow_move_assignable_v<segment>);
  static_assert(!std::default_initializable<segment>);
}

TEST(AnonymousSegment, ItHasAHeap) {
  const segment one = segment::anonymous();
  void* const p = one.heap().allocate(1000);
  std::memset(p, 1, 1000);
  EXPECT_TRUE(one.contains(p));
  EXPECT_TRUE(one.heap().contains(p));
  one.heap().deallocate(p);
  EXPECT_TRUE(one.heap().check());
}

TEST(AnonymousSegment, ItsHeapGrowsToItsSizeAndNoFurther) {
  const segment one = segment::anonymous({.max_size = 2_MiB});
  EXPECT_NE(one.heap().try_allocate(1_MiB), nullptr);
  EXPECT_EQ(one.heap().try_allocate(1_MiB), nullptr);
  EXPECT_THROW((void)one.heap().allocate(2_MiB), std::bad_alloc);
  EXPECT_LE(one.heap().footprint(), 2_MiB);
}

TEST(AnonymousSegment, TheSmallestOneCanBeUsed) {
  const segment one = segment::anonymous({.max_size = 1});
  EXPECT_NE(one.heap().try_allocate(100), nullptr);
}

TEST(AnonymousSegment, ASizeThatNoSystemHasIsAnError) {
  EXPECT_ERROR(segment::anonymous({.max_size = ~std::size_t{0}}), invalid_argument);
}

TEST(AnonymousSegment, MovingItMovesNothingInside) {
  segment one = segment::anonymous({.max_size = 1_MiB});
  ipcpp::heap& heap = one.heap();
  void* const p = heap.allocate(100);
  segment two = std::move(one);
  EXPECT_EQ(&two.heap(), &heap);
  EXPECT_TRUE(two.contains(p));
  segment three = segment::anonymous({.max_size = 1_MiB});
  three = std::move(two);
  EXPECT_EQ(&three.heap(), &heap);
  EXPECT_NE(three.heap().try_allocate(100'000), nullptr);
  three.heap().deallocate(p);
}

TEST(AnonymousSegment, TwoAreApart) {
  const segment one = segment::anonymous({.max_size = 1_MiB});
  const segment two = segment::anonymous({.max_size = 1_MiB});
  const void* const p = one.heap().allocate(100);
  const void* const q = two.heap().allocate(100);
  EXPECT_TRUE(one.contains(p) && !one.contains(q));
  EXPECT_TRUE(two.contains(q) && !two.contains(p));
  const int local = 0;
  EXPECT_FALSE(one.contains(&local) || one.contains(nullptr));
  EXPECT_NE(one.heap().header(), two.heap().header());
}

TEST(AnonymousSegment, OnlyAPinnedOneTakesRawPointers) {
  const segment pinned = segment::anonymous({.max_size = 1_MiB, .pinned = true});
  EXPECT_NO_THROW(ipcpp::pinned_allocator<int>(pinned.heap()));
  const segment plain = segment::anonymous({.max_size = 1_MiB});
  EXPECT_ERROR(ipcpp::pinned_allocator<int>(plain.heap()), invalid_argument);
}

TEST(AnonymousSegment, ManyCanBeMadeAndLeftOneAfterTheOther) {
  for (int i = 0; i < 200; ++i) {
    const segment one = segment::anonymous({.max_size = 16_MiB});
    std::memset(one.heap().allocate(100'000), i, 100'000);
  }
}

#ifdef __linux__
TEST(AnonymousSegment, AForkedChildSharesIt) {
  const segment one = segment::anonymous({.max_size = 4_MiB});
  auto& written =
      *new (one.heap().allocate(sizeof(std::atomic<std::uint64_t>))) std::atomic<std::uint64_t>(0);
  const int status = test::in_forked_child([&] {
    auto* const made = new (one.heap().allocate(sizeof(std::uint64_t))) std::uint64_t(42);
    written = ipcpp::heap_ptr<std::uint64_t>(one.heap(), *made).offset();
    return 0;
  });
  ASSERT_EQ(status, 0);
  ipcpp::heap_ptr<std::uint64_t> from_child;
  const std::uint64_t offset = written;
  std::memcpy(static_cast<void*>(&from_child), &offset, sizeof offset);
  EXPECT_EQ(*from_child.in(one.heap()), 42u);
  EXPECT_TRUE(one.heap().check());
}
#endif
