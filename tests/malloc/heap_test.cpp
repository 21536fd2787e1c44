// The heap's interface in one process: what every allocation promises, misuse, exhaustion, growth.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "objects.hpp"

// clang-format off
#include "heaps.hpp"
// clang-format on

import ipcpp;
import ipcpp.platform;

using namespace ipcpp::literals;

namespace {

bool aligned(const void* p, std::size_t to) {
  return reinterpret_cast<std::uintptr_t>(p) % to == 0;
}

void fill(void* block, std::size_t bytes, unsigned seed) {
  std::memset(block, static_cast<int>(seed & 0xff), bytes);
}
bool filled(const void* block, std::size_t bytes, unsigned seed) {
  const auto* const p = static_cast<const unsigned char*>(block);
  return std::all_of(p, p + bytes, [&](unsigned char c) { return c == (seed & 0xff); });
}

std::size_t in_use(const ipcpp::heap& heap) {
  return heap.statistics().bytes_in_use;
}

}  // namespace

TEST(Heap, ABlockIsAsLargeAsAskedAlignedAndTheCallersOwn) {
  object_heap own(64_MiB);
  std::vector<std::pair<void*, std::size_t>> blocks;
  for (std::size_t bytes = 0; bytes < 70'000; bytes += bytes < 300 ? 1 : bytes / 7) {
    void* const p = own.heap.allocate(bytes);
    ASSERT_TRUE(aligned(p, 16));
    ASSERT_GE(own.heap.usable_size(p), bytes);
    ASSERT_TRUE(own.heap.contains(p));
    fill(p, own.heap.usable_size(p), static_cast<unsigned>(bytes));
    blocks.emplace_back(p, bytes);
  }
  for (const auto& [p, bytes] : blocks)
    ASSERT_TRUE(filled(p, own.heap.usable_size(p), static_cast<unsigned>(bytes)));
  EXPECT_TRUE(fine(own.heap));
  for (const auto& [p, bytes] : blocks) own.heap.deallocate(p);
  EXPECT_EQ(in_use(own.heap), 0u);
  EXPECT_TRUE(fine(own.heap));
}

TEST(Heap, UsableSizeIsWhatGoodSizeSaid) {
  object_heap own(16_MiB);
  for (std::size_t bytes = 1; bytes < 200'000; bytes += 1 + bytes / 13) {
    void* const p = own.heap.allocate(bytes);
    EXPECT_EQ(own.heap.usable_size(p), ipcpp::heap::good_size(bytes));
    if (bytes > 128) {
      EXPECT_LE(own.heap.usable_size(p), std::max(bytes + bytes / 8 + 16, bytes + 4096));
    }
    own.heap.deallocate(p);
  }
}

TEST(Heap, EveryAlignmentUpToOneGiBIsHonoured) {
  object_heap own(4_GiB);
  for (std::size_t alignment = 1; alignment <= 1_GiB; alignment *= 2) {
    for (const std::size_t bytes : {1UL, 300UL, 5000UL, 100'000UL}) {
      void* const p = own.heap.allocate(bytes, alignment);
      ASSERT_TRUE(aligned(p, alignment)) << alignment << ' ' << bytes;
      std::memset(p, 7, bytes);
      own.heap.deallocate(p);
    }
  }
  EXPECT_ERROR(own.heap.allocate(1, 3), invalid_argument);
  EXPECT_ERROR(own.heap.allocate(1, 2_GiB), invalid_argument);
  EXPECT_ERROR(own.heap.allocate(1, 0), invalid_argument);
  EXPECT_EQ(in_use(own.heap), 0u);
  EXPECT_TRUE(fine(own.heap));
}

TEST(Heap, ZeroedBlocksAreZeroAlsoWhenTheyWereUsedBefore) {
  object_heap own(16_MiB);
  for (const std::size_t bytes : {10UL, 1000UL, 100'000UL}) {
    void* const used = own.heap.allocate(bytes);
    fill(used, bytes, 0xff);
    own.heap.deallocate(used);
    void* const p = own.heap.allocate_zeroed(bytes);
    EXPECT_TRUE(filled(p, bytes, 0));
    own.heap.deallocate(p);
  }
}

TEST(Heap, ReallocateKeepsTheBytesAndTheOldBlockWhenThereIsNoRoom) {
  object_heap own(8_MiB);
  std::mt19937 random(7);
  void* p = own.heap.allocate(1);
  std::size_t bytes = 1;
  fill(p, bytes, 1);
  for (unsigned round = 1; round < 2000; ++round) {
    const std::size_t next = 1 + random() % (round % 3 == 0 ? 300'000 : 3000);
    p = own.heap.reallocate(p, next);
    ASSERT_TRUE(filled(p, std::min(bytes, next), round & 0xff));
    bytes = next;
    fill(p, bytes, round + 1);
  }
  EXPECT_EQ(own.heap.try_reallocate(p, 1_GiB), nullptr);
  EXPECT_THROW((void)own.heap.reallocate(p, 1_GiB), std::bad_alloc);
  EXPECT_TRUE(filled(p, bytes, 2000));
  own.heap.deallocate(p);
  EXPECT_EQ(in_use(own.heap), 0u);
  EXPECT_TRUE(fine(own.heap));
}

TEST(Heap, LargeBlocksGrowAndShrinkInPlaceWhereThereIsRoom) {
  object_heap own(16_MiB);
  void* const p = own.heap.allocate(100'000);
  EXPECT_TRUE(own.heap.resize_in_place(p, 1_MiB));
  EXPECT_GE(own.heap.usable_size(p), 1_MiB);
  fill(p, 1_MiB, 3);
  void* const after = own.heap.allocate(100'000);
  EXPECT_TRUE(own.heap.resize_in_place(p, 50'000));
  EXPECT_LT(own.heap.usable_size(p), 60'000u);
  EXPECT_TRUE(own.heap.resize_in_place(p, 900'000));
  EXPECT_FALSE(own.heap.resize_in_place(p, 15_MiB));
  EXPECT_TRUE(filled(p, 50'000, 3));
  void* const small = own.heap.allocate(100);
  EXPECT_TRUE(own.heap.resize_in_place(small, 104));
  EXPECT_FALSE(own.heap.resize_in_place(small, 500));
  for (void* const block : {p, after, small}) own.heap.deallocate(block);
  EXPECT_EQ(in_use(own.heap), 0u);
  EXPECT_TRUE(fine(own.heap));
}

TEST(Heap, ManyBlocksInOneCallAreAllOrNothing) {
  object_heap own(1_MiB);
  std::array<void*, 100> blocks{};
  own.heap.allocate_many(40, blocks);
  EXPECT_EQ(std::set<void*>(blocks.begin(), blocks.end()).size(), blocks.size());
  own.heap.deallocate_many(blocks);
  const std::array<std::size_t, 3> sizes{10, 1000, 100'000};
  std::array<void*, 3> each{};
  own.heap.allocate_each(sizes, each);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_GE(own.heap.usable_size(each[i]), sizes[i]);
  own.heap.deallocate_many(each);
  EXPECT_ERROR(own.heap.allocate_each(std::span(sizes).first(2), each), invalid_argument);
  EXPECT_THROW(own.heap.allocate_many(20'000, blocks), std::bad_alloc);
  EXPECT_EQ(in_use(own.heap), 0u);
  EXPECT_TRUE(fine(own.heap));
}

TEST(Heap, FreeingWhatIsNoBlockIsAnErrorAndChangesNothing) {
  object_heap own(16_MiB);
  object_heap other(16_MiB);
  auto* const small = static_cast<std::byte*>(own.heap.allocate(100));
  auto* const large = static_cast<std::byte*>(own.heap.allocate(100'000));
  int local = 0;
  EXPECT_ERROR(own.heap.deallocate(&local), not_a_block);
  EXPECT_ERROR(own.heap.deallocate(small + 1), not_a_block);
  EXPECT_ERROR(own.heap.deallocate(small + 16), not_a_block);
  EXPECT_ERROR(own.heap.deallocate(large + 16), not_a_block);
  EXPECT_ERROR(own.heap.deallocate(large + 4096), not_a_block);
  EXPECT_ERROR(other.heap.deallocate(small), not_a_block);
  EXPECT_ERROR(own.heap.deallocate(own.heap.header()), not_a_block);
  EXPECT_ERROR(own.heap.usable_size(small + 1), not_a_block);
  own.heap.deallocate(small);
  EXPECT_ERROR(own.heap.deallocate(small), not_a_block);
  own.heap.deallocate(large);
  EXPECT_ERROR(own.heap.deallocate(large), not_a_block);
  own.heap.deallocate(nullptr);
  EXPECT_EQ(in_use(own.heap), 0u);
  EXPECT_TRUE(fine(own.heap));
  EXPECT_TRUE(fine(other.heap));
}

TEST(Heap, ABlockFreedByAnotherThreadIsNotFreedTwiceByEither) {
  object_heap own(16_MiB);
  void* const p = own.heap.allocate(100);
  std::thread([&] {
    own.heap.deallocate(p);
    EXPECT_ERROR(own.heap.deallocate(p), not_a_block);
  }).join();
  EXPECT_ERROR(own.heap.deallocate(p), not_a_block);
  EXPECT_EQ(in_use(own.heap), 0u);
}

TEST(Heap, MemoryIsExhaustedOnlyWhenNothingIsLeftAndNothingIsLostByIt) {
  for (const std::size_t bytes : {16UL, 100UL, 3000UL, 20'000UL, 50'000UL}) {
    object_heap own(2_MiB);
    std::vector<void*> blocks;
    while (void* const p = own.heap.try_allocate(bytes)) blocks.push_back(p);
    EXPECT_THROW((void)own.heap.allocate(bytes), std::bad_alloc);
    const std::size_t room = own.heap.capacity() - own.heap.statistics().metadata_bytes;
    EXPECT_GE(blocks.size() * ipcpp::heap::good_size(bytes), room - room / 10) << bytes;
    const std::size_t first = blocks.size();
    for (std::size_t i = 0; i < first; i += 2)
      own.heap.deallocate(std::exchange(blocks[i], nullptr));
    std::erase(blocks, nullptr);
    while (void* const p = own.heap.try_allocate(bytes)) blocks.push_back(p);
    EXPECT_EQ(blocks.size(), first);
    for (void* const p : blocks) own.heap.deallocate(p);
    EXPECT_EQ(in_use(own.heap), 0u);
    EXPECT_TRUE(fine(own.heap));
    // Everything can become one block again.
    void* const whole = own.heap.allocate(own.heap.statistics().largest_block);
    own.heap.deallocate(whole);
  }
}

TEST(Heap, MemoryOfOneSizeServesEveryOther) {
  object_heap own(4_MiB);
  for (const std::size_t bytes : {16UL, 48UL, 700UL, 9000UL, 100'000UL, 16UL}) {
    std::vector<void*> blocks;
    while (void* const p = own.heap.try_allocate(bytes)) blocks.push_back(p);
    EXPECT_GT(blocks.size() * ipcpp::heap::good_size(bytes), 3_MiB) << bytes;
    for (void* const p : blocks) own.heap.deallocate(p);
  }
  EXPECT_TRUE(fine(own.heap));
}

TEST(Heap, ASmallHeapIsUseful) {
  object_heap own(256_KiB);
  std::vector<void*> blocks;
  for (std::size_t bytes = 16; bytes <= 2048; bytes += 48)
    for (int i = 0; i < 3; ++i) blocks.push_back(own.heap.allocate(bytes));
  EXPECT_LE(own.heap.statistics().metadata_bytes, 16_KiB);
  for (void* const p : blocks) own.heap.deallocate(p);
  EXPECT_TRUE(fine(own.heap));
}

TEST(Heap, TheFootprintGrowsInStepsAndStaysWithinItsLimit) {
  object_heap own(1_GiB);
  EXPECT_LT(own.heap.footprint(), 200_KiB);
  own.heap.set_footprint_limit(4_MiB);
  std::vector<void*> blocks;
  while (void* const p = own.heap.try_allocate(1000)) blocks.push_back(p);
  EXPECT_LE(own.heap.footprint(), 4_MiB);
  EXPECT_GT(blocks.size() * 1000, 3_MiB);
  own.heap.set_footprint_limit(0);
  void* const p = own.heap.allocate(8_MiB);
  EXPECT_GE(own.heap.max_footprint(), 12_MiB - 4096);
  own.heap.deallocate(p);
  for (void* const block : blocks) own.heap.deallocate(block);
}

TEST(Heap, TrimGivesFreePagesBackAndTheyCanBeUsedAgain) {
  object_heap own(64_MiB);
  std::vector<void*> blocks;
  for (int i = 0; i < 20'000; ++i) blocks.push_back(own.heap.allocate(1000));
  void* const kept = own.heap.allocate(100'000);
  fill(kept, 100'000, 9);
  const std::size_t before = own.heap.footprint();
  for (void* const p : blocks) own.heap.deallocate(p);
  const std::size_t given = own.heap.trim();
#if defined(_WIN32)
  EXPECT_EQ(given, 0u);  // the system takes nothing back, and nothing is lost by asking
#else
  EXPECT_GT(given, 15_MiB);
#endif
  EXPECT_LE(own.heap.footprint(), before - given);
  EXPECT_TRUE(fine(own.heap));
  EXPECT_TRUE(filled(kept, 100'000, 9));
  void* const again = own.heap.allocate(16_MiB);
  fill(again, 16_MiB, 4);
  EXPECT_TRUE(fine(own.heap));
  own.heap.deallocate(again);
  own.heap.deallocate(kept);
  EXPECT_EQ(in_use(own.heap), 0u);
}

TEST(Heap, TheVisitorSeesEveryBlock) {
  object_heap own(16_MiB);
  std::map<void*, std::size_t> expected;
  for (std::size_t bytes = 1; bytes < 100'000; bytes = bytes * 3 / 2 + 1) {
    void* const p = own.heap.allocate(bytes);
    expected[p] = own.heap.usable_size(p);
  }
  std::map<void*, std::size_t> seen;
  own.heap.visit([&](const ipcpp::block_info& block) {
    if (block.in_use) seen[block.address] = block.bytes;
  });
  EXPECT_EQ(seen, expected);
}

TEST(Heap, TheLargestBlockOfTheStatisticsIsToBeHad) {
  object_heap own(8_MiB);
  std::vector<void*> blocks;
  for (int i = 0; i < 30; ++i) blocks.push_back(own.heap.allocate(200'000));
  for (std::size_t i = 0; i < blocks.size(); i += 3) own.heap.deallocate(blocks[i]);
  const std::size_t largest = own.heap.statistics().largest_block;
  EXPECT_GE(largest, 200'000u);
  EXPECT_EQ(own.heap.try_allocate(largest + 4096), nullptr);
  EXPECT_NE(own.heap.try_allocate(largest), nullptr);
}

TEST(Heap, RandomOperationsAgreeWithAModel) {
  struct block {
    std::size_t bytes;
    unsigned seed;
  };
  for (const unsigned seed : {1U, 2U, 3U}) {
    object_heap own(8_MiB);
    std::mt19937 random(seed);
    std::map<std::byte*, block> model;
    const auto overlaps = [&](std::byte* p, std::size_t bytes) {
      const auto next = model.lower_bound(p);
      if (next != model.end() && next->first < p + bytes) return true;
      return next != model.begin() && std::prev(next)->first + std::prev(next)->second.bytes > p;
    };
    const auto size = [&]() -> std::size_t {
      switch (random() % 10) {
        case 0:
          return random() % 300'000;
        case 1:
        case 2:
          return random() % 20'000;
        default:
          return random() % 600;
      }
    };
    for (unsigned step = 0; step < 20'000; ++step) {
      const auto pick = [&] {
        auto at = model.lower_bound(static_cast<std::byte*>(own.source.base()) + random() % 8_MiB);
        return at == model.end() ? model.begin() : at;
      };
      const unsigned what = random() % 100;
      if (what < 50 || model.empty()) {
        const std::size_t bytes = size();
        const std::size_t alignment = random() % 8 == 0 ? std::size_t{1} << random() % 14 : 16;
        auto* const p = static_cast<std::byte*>(own.heap.try_allocate(bytes, alignment));
        if (p == nullptr) continue;
        ASSERT_TRUE(aligned(p, alignment));
        ASSERT_FALSE(overlaps(p, std::max<std::size_t>(bytes, 1)));
        fill(p, bytes, step);
        model[p] = {bytes, step};
      } else if (what < 85) {
        const auto at = pick();
        ASSERT_TRUE(filled(at->first, at->second.bytes, at->second.seed));
        own.heap.deallocate(at->first);
        model.erase(at);
      } else if (what < 99) {
        const auto at = pick();
        const auto [p, old] = *at;
        const std::size_t bytes = size();
        auto* const moved = static_cast<std::byte*>(own.heap.try_reallocate(p, bytes));
        if (moved == nullptr) continue;
        ASSERT_TRUE(filled(moved, std::min(bytes, old.bytes), old.seed));
        model.erase(p);
        ASSERT_FALSE(overlaps(moved, std::max<std::size_t>(bytes, 1)));
        fill(moved, bytes, step);
        model[moved] = {bytes, step};
      } else {
        own.heap.trim(random() % 1_MiB);
      }
      if (step % 500 == 0) {
        ASSERT_TRUE(fine(own.heap)) << "step " << step;
      }
    }
    for (const auto& [p, b] : model) {
      ASSERT_TRUE(filled(p, b.bytes, b.seed));
      own.heap.deallocate(p);
    }
    EXPECT_EQ(in_use(own.heap), 0u);
    EXPECT_TRUE(fine(own.heap));
  }
}

TEST(Heap, ThreadsAllocateAndFreeEachOthersBlocks) {
  object_heap own(64_MiB);
  constexpr int threads = 4;
  constexpr int slots = 2000;
  std::vector<std::atomic<std::uint64_t*>> shelf(slots);
  std::vector<std::thread> workers;
  std::atomic<int> damaged = 0;
  for (int t = 0; t < threads; ++t)
    workers.emplace_back([&, t] {
      std::mt19937 random(static_cast<unsigned>(t));
      for (int i = 0; i < 40'000; ++i) {
        const std::size_t words = 2 + random() % (i % 50 == 0 ? 6000 : 60);
        auto* const mine = static_cast<std::uint64_t*>(own.heap.allocate(words * 8));
        mine[0] = words;
        mine[words - 1] = words;
        std::uint64_t* const old = shelf[random() % slots].exchange(mine);
        if (old == nullptr) continue;
        if (old[old[0] - 1] != old[0]) ++damaged;
        own.heap.deallocate(old);
      }
    });
  for (auto& worker : workers) worker.join();
  EXPECT_EQ(damaged, 0);
  EXPECT_TRUE(fine(own.heap));
  for (auto& slot : shelf)
    if (std::uint64_t* const p = slot.load()) own.heap.deallocate(p);
  EXPECT_EQ(in_use(own.heap), 0u);
}

TEST(Heap, WhatAThreadHadCachedIsThereForOthersWhenItEnds) {
  object_heap own(2_MiB);
  std::size_t first = 0;
  for (int round = 0; round < 5; ++round) {
    std::size_t n = 0;
    std::thread([&] {
      std::vector<void*> blocks;
      while (void* const p = own.heap.try_allocate(64)) blocks.push_back(p);
      n = blocks.size();
      for (void* const p : blocks) own.heap.deallocate(p);
    }).join();
    if (round == 0) first = n;
    EXPECT_EQ(n, first);
  }
  EXPECT_EQ(own.heap.participants().size(), 1u);
}

TEST(Heap, MoreHeapsThanATableOfCachesHasRoomForWorkSideBySide) {
  std::vector<std::unique_ptr<object_heap>> heaps;
  for (int i = 0; i < 100; ++i) heaps.push_back(std::make_unique<object_heap>(1_MiB));
  std::vector<std::pair<ipcpp::heap*, void*>> blocks;
  for (int round = 0; round < 20; ++round)
    for (auto& own : heaps) blocks.emplace_back(&own->heap, own->heap.allocate(100));
  for (auto& own : heaps) EXPECT_EQ(own->heap.statistics().blocks_in_use, 20u);
  for (const auto& [heap, p] : blocks) heap->deallocate(p);
  for (auto& own : heaps) EXPECT_EQ(in_use(own->heap), 0u);
  heaps.erase(heaps.begin(), heaps.begin() + 50);
  for (int i = 0; i < 50; ++i) heaps.push_back(std::make_unique<object_heap>(1_MiB));
  for (auto& own : heaps) own->heap.deallocate(own->heap.allocate(100));
}

TEST(Heap, ABudgetedSourceIsAskedAndItsRefusalIsBadAlloc) {
  budgeted_source source(64_MiB, 8_MiB);
  {
    auto heap = ipcpp::heap::create(source, {.on_misuse = ipcpp::misuse::throws});
    std::vector<void*> blocks;
    while (void* const p = heap.try_allocate(1000)) blocks.push_back(p);
    EXPECT_GT(blocks.size() * 1000, 6_MiB);
    EXPECT_LE(heap.footprint(), source.budget);
    EXPECT_LE(source.given, source.budget);
    for (void* const p : blocks) heap.deallocate(p);
    EXPECT_EQ(in_use(heap), 0u);
    EXPECT_TRUE(fine(heap));
  }
  budgeted_source refusing(1_MiB, 0);
  EXPECT_THROW((void)ipcpp::heap::create(refusing), std::bad_alloc);
  budgeted_source tiny(8_KiB, 8_KiB);
  EXPECT_ERROR(ipcpp::heap::create(tiny), invalid_argument);
}

TEST(Heap, AnUnalignedBufferWithRubbishInItWillDo) {
  budgeted_source window(1_MiB + 16, 1_MiB);
  std::memset(window.window, 0xa5, window.window_size);
  struct shifted {
    budgeted_source* of;
    void* base() const noexcept { return of->window + 16; }
    std::size_t capacity() const noexcept { return 1_MiB; }
    std::size_t extend(std::size_t bytes) noexcept { return of->extend(bytes); }
  } source{&window};
  auto heap = ipcpp::heap::create(source);
  void* const p = heap.allocate(300, 4096);
  EXPECT_TRUE(aligned(p, 4096));
  heap.deallocate(p);
  EXPECT_TRUE(fine(heap));
}

TEST(Heap, TwoHeapObjectsOverOneSourceAreOneHeap) {
  object_heap own(4_MiB);
  void* p = nullptr;
  {
    auto second = ipcpp::heap::open(own.source);
    p = second.allocate(100);
    EXPECT_EQ(second.header(), own.heap.header());
  }
  own.heap.deallocate(p);
  EXPECT_EQ(in_use(own.heap), 0u);
}

TEST(Heap, TrackedBlocksCarryTheirOwnerUntilTheyArePublished) {
  object_heap own(4_MiB);
  void* const small = own.heap.allocate_tracked(100);
  void* const large = own.heap.allocate_tracked(100'000);
  EXPECT_GE(own.heap.usable_size(small), 100u);
  std::size_t tracked = 0;
  const auto count = [&] {
    tracked = 0;
    own.heap.visit([&](const ipcpp::block_info& block) { tracked += block.tracked; });
    return tracked;
  };
  EXPECT_EQ(count(), 2u);
  own.heap.publish(small);
  EXPECT_EQ(count(), 1u);
  own.heap.publish(large);
  EXPECT_EQ(count(), 0u);
  own.heap.deallocate(small);
  own.heap.deallocate(large);
  EXPECT_EQ(in_use(own.heap), 0u);
}

TEST(Heap, AllocateToAndFreeFromSetTheLink) {
  object_heap own(4_MiB);
  auto& link = *static_cast<ipcpp::offset_ptr<void>*>(own.heap.allocate_zeroed(8));
  link = nullptr;
  for (const std::size_t bytes : {1UL, 100UL, 5000UL, 100'000UL}) {
    void* const p = own.heap.allocate_to(link, bytes);
    EXPECT_EQ(link.get(), p);
    fill(p, bytes, 5);
    own.heap.free_from(link);
    EXPECT_FALSE(link);
    own.heap.free_from(link);
  }
  ipcpp::offset_ptr<void> outside;
  EXPECT_ERROR(own.heap.allocate_to(outside, 1), invalid_argument);
  own.heap.deallocate(&link);
  EXPECT_EQ(in_use(own.heap), 0u);
  EXPECT_TRUE(fine(own.heap));
}
