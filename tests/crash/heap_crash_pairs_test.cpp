// Two parties of the heap in one another's way: one of them stands still at each point of what it
// does, in turn, while the other does all of its own. Points are where it enters one of certain
// functions for the nth time, or comes into any function of the heap at an instruction where it was
// not yet. No chance is in it: whatever goes wrong at one of those points does so in every run.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

// clang-format off
#include "heap_crash_fixture.hpp"
// clang-format on

import ipcpp;
import ipcpp.platform;

using namespace ipcpp::literals;
using crash::heap_image;

namespace {

struct CrashHeapPairs : CrashHeap {
  crash::heap_frames frames{256_KiB};
  std::size_t rounds = 0;

  // Moves it on to its nth point from here, counting those in `functions` (all: none named). false:
  // it was over before.
  bool to_point(crash::puppet& who, unsigned nth, const std::function<bool()>& over,
                std::initializer_list<std::string_view> functions = {}) {
    std::unordered_set<std::uint64_t> seen;
    unsigned before = frames.where.function_at(who.address());
    for (unsigned n = 0; n <= nth;) {
      if (!who.step() || over()) return false;
      const std::uint64_t address = who.address();
      if (!frames.where.within(address)) continue;
      const unsigned now = frames.where.function_at(address);
      if (now != before && now != 0 &&
          (functions.size() == 0 || frames.where.inside(address, functions)) &&
          seen.insert(address).second)
        ++n;
      before = now;
    }
    frames.where.at(who.address());
    ++frames.states;
    return true;
  }
  // Lets it run until it stands still, ends, or waits for the run lock: then it asks for the holder.
  void on_until_it_waits(crash::puppet& who) { (void)who.run_to(entry("attended")); }
  // On to its nth coming to that function from here.
  bool to_entry(crash::puppet& who, const char* function, unsigned nth) {
    for (unsigned n = 0; n <= nth; ++n)
      if (!who.run_to(entry(function)) || (n != nth && !who.step())) return false;
    frames.where.at(who.address());
    ++frames.states;
    return true;
  }
  [[nodiscard]] std::function<bool()> call_ended(unsigned worker) {
    return [this, worker] { return frames.notes().of[worker].in_call == 0; };
  }
  static void to_the_end(crash::puppet& who) {
    while (who.run()) {
    }
  }
  // Everybody else is dead: buries them, compares, and frees what they had, so that all rounds begin alike.
  void settle(std::initializer_list<unsigned> workers) {
    for (const unsigned who : workers) EXPECT_TRUE(frames.settle(who));
    frames.peer().check_marks();
    EXPECT_STREQ(frames.notes().fault, "");
    if (HasFailure()) return;
    for (unsigned i = 0; i < crash::journal::workers * crash::journal::region; ++i)
      if (frames.peer().has(i)) frames.peer().free(i);
    frames.peer().trim();
  }
  [[nodiscard]] std::uint64_t entry(const char* function) const {
    const std::vector<std::uint64_t> found = frames.where.entries(function);
    return found.empty() ? 0 : found.front();
  }
  [[nodiscard]] bool all_there(std::initializer_list<const char*> functions) const {
    for (const char* const one : functions)
      if (entry(one) == 0) return false;
    return true;
  }
  // The slabs of all owners but this thread, whose cache was the first; each with its owner's number.
  [[nodiscard]] std::vector<std::pair<std::uint64_t, std::uint64_t>> slabs_of_others() const {
    std::vector<std::pair<std::uint64_t, std::uint64_t>> found;
    frames.image_of_a().each_run([&](std::uint64_t page, std::uint64_t word) {
      const std::uint64_t owner = heap_image::owner(word);
      if (heap_image::kind(word) == heap_image::slab && owner > 1) found.emplace_back(page, owner);
    });
    return found;
  }
  // Another round of `round(n)` for each n, until one says that there was no such point.
  void rounds_of(const char* what, const std::function<bool(unsigned)>& round) {
    unsigned n = 0;
    while (!HasFailure() && round(n)) ++n;
    rounds += n;
    EXPECT_GT(n, 3U) << what;
    if (HasFailure()) std::printf("%s: it was round %u\n", what, n);
  }
  void say_rounds(const char* what) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    std::printf("%s: %zu rounds, %.1f s\n", what, rounds, took.count());
  }
};

}  // namespace

TEST_F(CrashHeapPairs, AnOwnerStoppedAnywhereOnItsWayToABlockKeepsItsSlab) {
  rounds_of("an owner at each instruction", [&](unsigned n) {
    auto owner = frames.start(1, [](crash::worker& w) {
      // Two slabs in use to the last block, then a few free ones in the first: slowly, then fast.
      for (unsigned i = 0; i < 72; ++i) w.allocate(w.mine(i), 100);
      w.allocate(w.mine(79), 300);  // and one that is empty
      crash::puppet::stand_still();
      w.free(w.mine(79));  // having heard of the first robbery
      w.free_all(0, 5);
      crash::puppet::stand_still();
      w.allocate(w.mine(79), 300);
      w.allocate(w.mine(80), 100);
      w.allocate(w.mine(81), 100);
      w.free(w.mine(6));
      w.allocate(w.mine(82), 100);
      crash::puppet::stand_still();
      w.allocate(w.mine(83), 100);
      w.allocate(w.mine(84), 100);
    });
    owner->run();
    frames.peer().fill(100, 170, 4096);
    owner->run();
    const auto over = [&] { return frames.notes().blocks[crash::worker::at(1, 82)].at != 0; };
    const bool there = to_point(*owner, n, over);
    if (there && frames.lock_is_free()) {
      EXPECT_LT(frames.peer().fill(170, 380, 100), 380U);
      frames.peer().fill(380, 390, 4096);  // where an empty slab was
    }
    to_the_end(*owner);
    owner.reset();
    settle({1});
    return there;
  });
  say_rounds("an owner");
}

TEST_F(CrashHeapPairs, AThiefTakesNothingFromAnOwnerThatGoesOnOrPassesItsHandleOn) {
  if (!all_there({"harvest"})) GTEST_SKIP() << "inlined";
  // At the first few times that it comes to each of these: it has told everybody that they may be
  // robbed, and looks at what they have; then at what they are at, one by one; then it takes.
  for (const char* const place : {"end_page", "any_free", "load", "names", "passed_on", "enter",
                                  "merge", "own", "dissolve"}) {
    for (const bool renews : {false, true}) {
      for (unsigned nth = 0; nth < 10 && entry(place) != 0 && !HasFailure(); ++nth) {
        owner_thread owner(frames);
        owner.begin();
        const std::uint64_t number = slabs_of_others().front().second;
        frames.peer().fill(100, 390, 4096);
        auto thief = frames.start(1, [](crash::worker& w) {
          for (unsigned i = 0; i < 4; ++i) w.allocate(w.mine(i), i % 2 == 0 ? 100 : 200);
          for (unsigned i = 0; i < 4; ++i) w.allocate(w.mine(4 + i), 100);
        });
        EXPECT_TRUE(thief->run_to(entry("harvest")));
        if (to_entry(*thief, place, nth) && frames.lock_is_free()) {
          ++rounds;
          if (renews) {  // the next one may get the same handle
            owner.end();
            owner.begin();
          } else {
            owner.works(12);
          }
          // It knows, so what it has now is not taken before it is told once more.
          const auto before = slabs_of_others();
          (void)thief->run_to(entry("harvest"));
          const auto after = slabs_of_others();
          for (const auto& slab : before)
            if (slab.second == number)
              EXPECT_EQ(std::count(after.begin(), after.end(), slab), 1) << "page " << slab.first;
        }
        to_the_end(*thief);
        owner.works(12);
        thief.reset();
        owner.end();
        settle({1, 3});
        if (HasFailure())
          std::printf("%s, time %u, the owner %s\n", place, nth, renews ? "leaves" : "goes on");
      }
    }
  }
  EXPECT_GT(rounds, 30U);
  say_rounds("a thief and an owner");
}

TEST_F(CrashHeapPairs, AThiefAndAnUndertakerDoNotShareASlab) {
  if (!all_there({"harvest", "recover_handle", "passed_on", "attended"})) GTEST_SKIP() << "inlined";
  // The thief has yet to look, or has decided to take its first, its second slab. With an empty slab it
  // has something to give back, for which it waits until the undertaker is done; else it goes on.
  struct plan {
    unsigned decided;
    bool empty_slab;
  };
  for (const auto [decided, empty_slab] :
       {plan{0, false}, plan{0, true}, plan{1, true}, plan{2, true}}) {
    rounds_of("a thief and an undertaker", [&, decided, empty_slab](unsigned n) {
      const bool dies_too = n % 2 != 0;
      // Somebody has a slab with free blocks, some of them freed by another, and one that is empty, and
      // dies when the thief has passed the place where it would have buried him.
      auto dying = frames.start(1, [empty_slab](crash::worker& w) {
        for (unsigned i = 0; i < 6; ++i)
          if (i % 2 == 0 || empty_slab) w.allocate(w.mine(i), i % 2 == 0 ? 300 : 3000);
        crash::puppet::stand_still();
        for (unsigned i = 1; i < 6; i += 2) w.free(w.mine(i));
        crash::puppet::stand_still();
      });
      dying->run();
      frames.peer().fill(100, 390, 4096);
      dying->run();
      for (const unsigned i : {2U, 4U}) frames.peer().free(crash::worker::at(1, i));
      auto thief = frames.start(2, [](crash::worker& w) {
        for (unsigned i = 0; i < 4; ++i) w.allocate(w.mine(i), 300);
      });
      EXPECT_TRUE(thief->run_to(entry("harvest")));
      for (unsigned i = 0; i < decided; ++i)
        EXPECT_TRUE(thief->run_to(entry("passed_on")) && thief->step());
      dying.reset();
      auto undertaker = frames.start(3, [](crash::worker& w) { w.recover(); });
      EXPECT_TRUE(undertaker->run_to(entry("recover_handle")));
      EXPECT_TRUE(undertaker->run_to(entry("passed_on")));
      const bool there = to_point(*undertaker, n / 2, call_ended(3),
                                  {"recover_handle", "merge", "settle_links", "all_merged_free",
                                   "disown", "hint_orphan", "make_pending"});
      on_until_it_waits(*thief);
      if (!dies_too) to_the_end(*undertaker);
      undertaker->kill();
      to_the_end(*thief);
      thief.reset();
      settle({1, 2, 3});
      return there;
    });
  }
  say_rounds("a thief and an undertaker");
}

TEST_F(CrashHeapPairs, WhatAnUndertakerFreesForADeadTakerIsFreedOnce) {
  if (!all_there({"resolve_link", "free_linked", "attended"})) GTEST_SKIP() << "inlined";
  const std::uint64_t link = frames.notes().root + 32;
  const auto owner_at_the_end_of_its_memory = [&] {
    auto owner = frames.start(4, [](crash::worker& w) {
      w.link(4, 500);
      crash::puppet::stand_still();
      (void)w.fill(0, 300, 500);
      crash::puppet::stand_still();
      w.allocate(w.mine(300), 500);
      w.allocate(w.mine(301), 500);
    });
    owner->run();
    EXPECT_NE(frames.image_of_a().field(link), 1U);
    frames.peer().fill(100, 390, 4096);
    owner->run();
    return owner;
  };
  // Dies at its nth instruction after it made the link null, or when it has freed the block. false: it
  // ended before.
  constexpr unsigned has_freed = ~0U;
  const auto taker_dies = [&](unsigned n) {
    const std::uint64_t block = link + frames.image_of_a().field(link);
    auto taker = frames.start(1, [](crash::worker& w) { w.unlink(4); });
    EXPECT_TRUE(taker->run_to(entry("free_linked")));
    while (frames.image_of_a().field(link) != 1) EXPECT_TRUE(taker->step());
    while (n == has_freed && frames.image_of_a().at(block).in_use) EXPECT_TRUE(taker->step());
    for (; n != has_freed && n != 0 && frames.notes().of[1].in_call != 0; --n) taker->step();
    return frames.notes().of[1].in_call != 0;
  };
  const auto over = [&](std::unique_ptr<crash::puppet>& owner) {
    (void)frames.a().recover();
    to_the_end(*owner);
    owner.reset();
    settle({1, 3, 4});
  };
  // The owner uses the block again before anybody buries the taker.
  const unsigned every = test::prove_in_full() ? 1 : 4;
  rounds_of("a taker that dies at each instruction", [&](unsigned n) {
    auto owner = owner_at_the_end_of_its_memory();
    const bool there = taker_dies(n * every);
    to_the_end(*owner);
    over(owner);
    return there;
  });
  // The undertaker is at each of its points when the owner does.
  for (const unsigned at : {0U, has_freed}) {
    rounds_of("an undertaker at each of its points", [&](unsigned n) {
      const bool dies = n % 2 == 0;
      auto owner = owner_at_the_end_of_its_memory();
      EXPECT_TRUE(taker_dies(at));
      auto undertaker = frames.start(3, [](crash::worker& w) { w.recover(); });
      const bool there =
          undertaker->run_to(entry("resolve_link")) &&
          to_point(*undertaker, n / 2, call_ended(3), {"resolve_link", "recover_handle"});
      on_until_it_waits(*owner);
      if (!dies) to_the_end(*undertaker);
      undertaker.reset();
      over(owner);
      return there;
    });
  }
  say_rounds("a dead taker");
}

TEST_F(CrashHeapPairs, WhatSomebodyTookOutOfALinkAndUsedAgainIsNotFreedForItsDeadMaker) {
  if (!all_there({"allocate_linked", "distance"})) GTEST_SKIP() << "inlined";
  const std::uint64_t link = frames.notes().root + 32;
  rounds_of("a large block taken out of a link", [&](unsigned n) {
    auto maker = frames.start(1, [](crash::worker& w) { w.link(4, 40000); });
    EXPECT_TRUE(maker->run_to(entry("allocate_linked")));
    EXPECT_TRUE(maker->run_to(entry("distance")));
    while (frames.image_of_a().field(link) == 1) EXPECT_TRUE(maker->step());
    for (unsigned i = 0; i < n; ++i) maker->step();
    const bool there = frames.notes().of[1].in_call != 0;
    frames.peer().unlink(4);
    frames.peer().allocate(0, 40000);
    frames.peer().allocate(1, 40000);
    maker.reset();
    settle({1});
    return there;
  });
  say_rounds("taken out of a link");
}

TEST_F(CrashHeapPairs, WhoeverLeavesFreesItsTrackedBlocksAndNobodyElses) {
  if (!all_there({"free_tracked"})) GTEST_SKIP() << "inlined";
  crash::worker& peer = frames.peer();
  rounds_of("somebody who leaves", [&](unsigned n) {
    auto leaver = frames.start(1, [](crash::worker& w) {
      for (unsigned i = 0; i < 60; ++i) w.allocate_tracked(w.mine(i), 50);
      for (unsigned i = 1; i < 60; ++i) w.free(w.mine(i));
      crash::puppet::stand_still();
      w.leave();
    });
    leaver->run();
    EXPECT_TRUE(leaver->run_to(entry("free_tracked")));
    const std::uint64_t last = frames.notes().blocks[crash::worker::at(1, 0)].at;
    while (frames.image_of_a().at(last).in_use) EXPECT_TRUE(leaver->step());
    const bool there = to_point(*leaver, n, call_ended(1));
    // The leaver's slab becomes another one, whose blocks end in what stood there before.
    if (there && frames.lock_is_free()) {
      peer.trim();
      peer.fill(0, 150, 56);
    }
    to_the_end(*leaver);
    leaver.reset();
    frames.notes().blocks[crash::worker::at(1, 0)].at = 0;  // it left in peace
    settle({1});
    return there;
  });
  say_rounds("leaving");
}
