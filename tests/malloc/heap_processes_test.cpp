// One heap, several processes: at different addresses, freeing each other's blocks, growing, leaving,
// dying, and giving each other the last byte.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "objects.hpp"
#include "roles.hpp"

// clang-format off
#include "heaps.hpp"
// clang-format on

import ipcpp;
import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;

namespace {

// A heap in a named object, so that other processes find it.
struct named_heap {
  explicit named_heap(std::size_t capacity_bytes, const ipcpp::heap_options& options = {})
      : name(test::unique_name()) {
    object = std::make_unique<platform::shared_object>(
        platform::shared_object::create({.capacity_bytes = capacity_bytes}));
    place = std::make_unique<platform::mapping>(platform::mapping::map(object->again()));
    source = std::make_unique<ipcpp::object_source>(*place);
    heap = std::make_unique<ipcpp::heap>(
        ipcpp::heap::create(*source, object_heap::with_throwing_misuse(options)));
    object->publish(name);
  }
  named_heap(named_heap&&) = default;
  ~named_heap() {
    heap.reset();
    if (!name.empty()) platform::shared_object::remove(name);
  }
  std::string name;
  std::unique_ptr<platform::shared_object> object;  // on Windows the name lives as long as this
  std::unique_ptr<platform::mapping> place;
  std::unique_ptr<ipcpp::object_source> source;
  std::unique_ptr<ipcpp::heap> heap;
};

// The same in another process; with something else mapped before it, so that addresses differ.
struct guest {
  explicit guest(const std::string& name)
      : spacer(platform::mapping::map(platform::shared_object::create({.capacity_bytes = 64_MiB}))),
        place(platform::mapping::map(platform::shared_object::open(name))),
        source(place),
        heap(ipcpp::heap::open(source, ipcpp::misuse::throws)) {}
  platform::mapping spacer;
  platform::mapping place;
  ipcpp::object_source source;
  ipcpp::heap heap;

  std::uint64_t offset(const void* p) const {
    return static_cast<std::uint64_t>(static_cast<const std::byte*>(p) - place.base());
  }
  std::byte* at(std::uint64_t offset) const { return place.base() + offset; }
};

std::uint64_t offset_in(const named_heap& own, const void* p) {
  return static_cast<std::uint64_t>(static_cast<const std::byte*>(p) - own.place->base());
}

}  // namespace

// Says the offset of a block for "allocate <bytes>", frees one for "free <offset>".
ROLE(heap_guest) {
  guest here(args.at(0));
  test::say("ready");
  for (std::string line; test::hear(line);) {
    if (line == "leave") return 0;
    const auto space = line.find(' ');
    const std::string verb = line.substr(0, space);
    const std::uint64_t number = std::stoull(line.substr(space + 1));
    try {
      if (verb == "allocate") {
        auto* const p = static_cast<std::byte*>(here.heap.allocate(number));
        std::memset(p, 0x5a, number);
        test::say(std::to_string(here.offset(p)));
      } else if (verb == "track") {
        test::say(std::to_string(here.offset(here.heap.allocate_tracked(number))));
      } else if (verb == "free") {
        here.heap.deallocate(here.at(number));
        test::say("freed");
      } else if (verb == "cache") {  // fill with blocks of this size, free them all
        std::vector<void*> blocks;
        for (std::uint64_t i = 0; i < 4000; ++i)
          if (void* const p = here.heap.try_allocate(number)) blocks.push_back(p);
        for (void* const p : blocks) here.heap.deallocate(p);
        test::say(std::to_string(blocks.size()));
      }
    } catch (const std::bad_alloc&) {
      test::say("bad_alloc");
    } catch (const ipcpp::error& e) {
      test::say(e.what());
    }
  }
  return 0;
}

namespace {

std::string ask(test::child& guest, const std::string& what) {
  guest.say(what);
  return guest.hear();
}

test::child start_guest(const named_heap& own) {
  test::child guest("heap_guest", {own.name});
  EXPECT_EQ(guest.hear(), "ready");
  return guest;
}

std::size_t fill(ipcpp::heap& heap, std::size_t bytes, std::vector<void*>& blocks) {
  const std::size_t before = blocks.size();
  while (void* const p = heap.try_allocate(bytes)) blocks.push_back(p);
  return blocks.size() - before;
}

}  // namespace

TEST(HeapProcesses, EachFreesWhatTheOtherAllocated) {
  named_heap own(16_MiB);
  test::child other = start_guest(own);
  for (const std::size_t bytes : {100UL, 20'000UL, 200'000UL}) {
    const std::uint64_t theirs = std::stoull(ask(other, "allocate " + std::to_string(bytes)));
    std::byte* const p = own.place->base() + theirs;
    ASSERT_TRUE(own.heap->contains(p));  // where steps are mapped one by one, this maps what is new
    EXPECT_EQ(p[bytes - 1], std::byte{0x5a});
    own.heap->deallocate(p);
    void* const mine = own.heap->allocate(bytes);
    EXPECT_EQ(ask(other, "free " + std::to_string(offset_in(own, mine))), "freed");
    EXPECT_NE(ask(other, "free " + std::to_string(offset_in(own, mine))), "freed");
  }
  EXPECT_EQ(own.heap->statistics().blocks_in_use, 0u);
  EXPECT_TRUE(fine(*own.heap));
}

TEST(HeapProcesses, WhatOneGrewTheOthersUse) {
  named_heap own(256_MiB);
  test::child other = start_guest(own);
  for (int i = 0; i < 20; ++i) {
    const std::uint64_t theirs = std::stoull(ask(other, "allocate 4000000"));
    ASSERT_TRUE(own.heap->contains(own.place->base() + theirs));
    own.place->base()[theirs + 3'999'999] = std::byte{1};
    void* const mine = own.heap->allocate(4'000'000);
    std::memset(mine, 1, 4'000'000);
    EXPECT_EQ(ask(other, "free " + std::to_string(offset_in(own, mine))), "freed");
    own.heap->deallocate(own.place->base() + theirs);
  }
  EXPECT_LT(own.heap->max_footprint(), 64_MiB);
}

TEST(HeapProcesses, WhatEightLivingProcessesCachedIsThereBeforeBadAlloc) {
  named_heap own(16_MiB);
  std::vector<void*> blocks;
  const std::size_t all = fill(*own.heap, 1000, blocks);
  for (void* const p : blocks) own.heap->deallocate(p);
  blocks.clear();
  own.heap->trim();
  std::vector<test::child> others;
  for (int i = 0; i < 8; ++i) others.push_back(start_guest(own));
  for (int i = 0; i < 8; ++i) {
    EXPECT_NE(ask(others[static_cast<std::size_t>(i)], "cache " + std::to_string(100 + i * 300)),
              "0");
    EXPECT_NE(ask(others[static_cast<std::size_t>(i)], "cache 1000"), "0");
  }
  EXPECT_GE(fill(*own.heap, 1000, blocks) * 100, all * 99);
  for (void* const p : blocks) own.heap->deallocate(p);
  // They find out, and go on.
  for (test::child& other : others)
    EXPECT_EQ(ask(other, "free " + ask(other, "allocate 1000")), "freed");
  EXPECT_EQ(own.heap->statistics().blocks_in_use, 0u);
  EXPECT_TRUE(fine(*own.heap));
}

TEST(HeapProcesses, ALargeBlockIsMadeOfWhatOthersCached) {
  named_heap own(8_MiB);
  const std::size_t largest = own.heap->statistics().largest_block;
  std::vector<test::child> others;
  for (int i = 0; i < 4; ++i) {
    others.push_back(start_guest(own));
    EXPECT_NE(ask(others.back(), "cache " + std::to_string(50 + 200 * i)), "0");
  }
  void* const p = own.heap->try_allocate(largest);
  EXPECT_NE(p, nullptr);
  own.heap->deallocate(p);
  EXPECT_TRUE(fine(*own.heap));
}

TEST(HeapProcesses, TheCachesOfTheDeadAreThereForTheLiving) {
  named_heap own(8_MiB);
  std::vector<void*> blocks;
  const std::size_t all = fill(*own.heap, 200, blocks);
  for (void* const p : blocks) own.heap->deallocate(p);
  blocks.clear();
  own.heap->trim();
  for (int i = 0; i < 3; ++i) {
    test::child other = start_guest(own);
    EXPECT_NE(ask(other, "cache 200"), "0");
    EXPECT_NE(ask(other, "cache 3000"), "0");
    other.kill();
  }
  EXPECT_EQ(fill(*own.heap, 200, blocks), all);
  for (void* const p : blocks) own.heap->deallocate(p);
  EXPECT_TRUE(fine(*own.heap));
}

TEST(HeapProcesses, PlainBlocksOutliveTheirProcessAndTrackedOnesDoNot) {
  named_heap own(8_MiB);
  test::child other = start_guest(own);
  const std::uint64_t kept = std::stoull(ask(other, "allocate 100"));
  (void)ask(other, "allocate 50000");
  for (const char* bytes : {"10", "100", "5000", "100000"})
    EXPECT_NE(ask(other, std::string("track ") + bytes), "bad_alloc");
  EXPECT_EQ(own.heap->statistics().blocks_in_use, 6u);
  other.kill();
  EXPECT_EQ(own.heap->recover(), 1u);
  EXPECT_EQ(own.heap->recover(), 0u);
  EXPECT_EQ(own.heap->statistics().blocks_in_use, 2u);
  own.heap->deallocate(own.place->base() + kept);
  EXPECT_TRUE(fine(*own.heap));
}

TEST(HeapProcesses, ATrackedHeapLeavesNothingOfTheDead) {
  named_heap own(8_MiB, {.tracked = true});
  for (int i = 0; i < 3; ++i) {
    test::child other = start_guest(own);
    for (const char* bytes : {"1", "100", "5000", "100000"})
      (void)ask(other, std::string("allocate ") + bytes);
    if (i == 2)
      other.say("leave"), other.wait();
    else
      other.kill();
    own.heap->recover();
    EXPECT_EQ(own.heap->statistics().blocks_in_use, 0u);
  }
  EXPECT_TRUE(fine(*own.heap));
}

TEST(HeapProcesses, TheTableOfParticipantsIsALimitWithAName) {
  named_heap own(8_MiB, {.participants = {.processes = 2, .handles = 3}});
  test::child other = start_guest(own);
  (void)ask(other, "allocate 10");
  std::string message;
  test::child third("heap_guest", {own.name});
  EXPECT_NE(third.wait(), 0);
  other.kill();
  test::child successor = start_guest(own);
  EXPECT_NE(ask(successor, "allocate 10"), "bad_alloc");
}

TEST(HeapProcesses, ASourceThatHoldsNoHeapIsSaidToHoldNone) {
  const std::string name = test::unique_name();
  {
    auto object = platform::shared_object::create({.capacity_bytes = 1_MiB});
    object.publish(name);
    platform::mapping place = platform::mapping::map(std::move(object));
    ASSERT_TRUE(place.commit(0, 64_KiB));
    ipcpp::object_source source(place);
    EXPECT_ERROR(ipcpp::heap::open(source), damaged);
    std::memset(place.base() + 256, 0xa5, 4096);
    EXPECT_ERROR(ipcpp::heap::open(source), damaged);
  }
  platform::shared_object::remove(name);
}

TEST(HeapProcesses, EveryDamagedHeaderFieldIsAnErrorAndNeverFollowed) {
  object_heap own(1_MiB);
  // Another opening of the same object, at another address: this process does not know it yet.
  const std::size_t first = platform::first_usable_byte;
  for (std::size_t word = 0; word < 13; ++word) {
    auto* const damaged = reinterpret_cast<std::uint64_t*>(own.place.base() + first) + word;
    const std::uint64_t before = *damaged;
    for (const std::uint64_t value :
         {std::uint64_t{0}, ~std::uint64_t{0}, before ^ 1, before << 7}) {
      if (value == before) continue;
      *damaged = value;
      platform::mapping place = platform::mapping::map(own.place.object().again());
      ipcpp::object_source source(place);
      try {
        auto heap = ipcpp::heap::open(source, ipcpp::misuse::throws);
        (void)heap.check();  // fields that may differ: ids, sizes that still fit
      } catch (const ipcpp::error&) {
      }
      *damaged = before;
    }
  }
  EXPECT_TRUE(fine(own.heap));
}
