// The heap under death at every instruction, with others at work while the victim stands still: they
// free its blocks, take its slabs away, leave and come again in its sight, and are in nobody's way.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <initializer_list>
#include <memory>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

// clang-format off
#include "heap_crash_fixture.hpp"
// clang-format on

import ipcpp;
import ipcpp.platform;

using namespace ipcpp::literals;
using crash::heap_image;
using crash::journal;

namespace {

// What peers do while the victim stands still.
class peers {
 public:
  explicit peers(crash::heap_frames& frames) : frames_(&frames), friend_(frames) {}

  // Frees what it can of anybody's, allocates from what it has: no step of it needs the run lock,
  // so whatever the victim holds it gets through.
  void work_small() {
    const crash::deadline soon("a peer's small blocks, the victim stopped", 30);
    crash::worker& me = frames_->peer();
    for (unsigned n = 0; n < 4; ++n) {
      const unsigned i = crash::worker::at(1, static_cast<unsigned>(me.random(100)));
      if (free_to_touch(i) && small(i)) me.free(i);
      ++freed_;
    }
    take_link(static_cast<unsigned>(me.random(4)));
    for (unsigned i = 0; i < 8; ++i) {
      if (me.has(me.mine(i)))
        me.free(me.mine(i));
      else if (has_free_block(i % 2 == 0 ? 112 : 208))
        me.allocate(me.mine(i), i % 2 == 0 ? 100 : 200);
    }
  }

  // Takes a small block that the victim allocated into a link, as soon as it stands there.
  void take_link(unsigned n) {
    const journal::work& victims = frames_->notes().of[1];
    if (victims.what == crash::doing::taking && victims.index == journal::first_link + n) return;
    const std::uint64_t link = frames_->notes().root + n * 8;
    const std::uint64_t held = frames_->image_of_a().field(link);
    if (held == 1 ||
        heap_image::kind(frames_->image_of_a().at(link + held).word) != heap_image::slab)
      return;
    frames_->peer().unlink(n);
    ++links_;
  }

  // Wants more than there is, so takes what the victim caches; keeps a little of it.
  void rob(std::size_t bytes) {
    if (!frames_->lock_is_free()) return;
    const crash::deadline soon("a peer's harvest, the victim stopped", 60);
    crash::worker& me = frames_->peer();
    me.fill(100, 170, 4096);
    const unsigned got = me.fill(170, 390, bytes);
    EXPECT_LT(got, 390U) << "its own blocks sufficed";
    ++robberies_;
    me.free_all(100, 170);
    me.free_all(170 + (got - 170) / 2, 390);
    if (me.random(4) == 0) me.free_all(170, 390);
  }

  // A thread ends and another one begins: it may get the same handle.
  void renew_companion() {
    if (!frames_->lock_is_free()) return;
    const crash::deadline soon("a peer's thread, the victim stopped", 60);
    friend_.end();
    if (!frames_->lock_is_free()) return;
    friend_.begin();
    ++renewals_;
  }
  // It allocates from what it believes to have.
  void companion_works() {
    if (friend_.there() && frames_->lock_is_free()) friend_.works(4);
  }

  void something() {
    switch (frames_->peer().random(5)) {
      case 0:
        rob(frames_->peer().random(2) == 0 ? 100 : 200);
        break;
      case 1:
        renew_companion();
        break;
      case 2:
        companion_works();
        break;
      default:
        work_small();
    }
    frames_->peer().check_marks();
  }
  void end() { friend_.end(); }
  void print() const {
    std::printf("  peers: %zu blocks freed, %zu links taken, %zu robberies, %zu threads\n", freed_,
                links_, robberies_, renewals_);
  }

 private:
  bool free_to_touch(unsigned i) const {
    for (const journal::work& one : frames_->notes().of)
      if (one.what != crash::doing::nothing && one.index == i) return false;
    return frames_->notes().blocks[i].at != 0 && frames_->notes().blocks[i].mark != 0 &&
           frames_->notes().blocks[i].tracked_by == 0;
  }
  bool small(unsigned i) const { return frames_->notes().blocks[i].bytes <= 32768; }
  // Its own slabs have one, so it comes without a run. This thread's cache was the first handle.
  bool has_free_block(std::size_t bytes) const {
    const heap_image image = frames_->image_of_a();
    bool found = frames_->lock_is_free();
    image.each_run([&](std::uint64_t page, std::uint64_t word) {
      if (heap_image::kind(word) != heap_image::slab || heap_image::owner(word) != 1 ||
          heap_image::tracked(word) || heap_image::class_bytes(heap_image::class_of(word)) != bytes)
        return;
      for (std::uint64_t i = 0; i * 64 < heap_image::blocks(word); ++i)
        found = found || image.free_bits(page, word, i) != 0;
    });
    return found;
  }

  crash::heap_frames* frames_;
  owner_thread friend_;
  std::size_t freed_ = 0;
  std::size_t links_ = 0;
  std::size_t robberies_ = 0;
  std::size_t renewals_ = 0;
};

struct CrashHeapPeers : CrashHeap {
  struct plan {
    unsigned every = 40;
    unsigned one_in = 3000;  // instructions, for the peers to do something; 0: never
    std::size_t most = 1'000'000'000;
    std::function<bool(std::uint64_t)> there = [](std::uint64_t) { return false; };
    unsigned there_one_in = 50;  // for `then`, at those addresses
    std::function<void()> then = [] {};
  };
  // Lets the peers act now and then, and at each new address once (in full; at one of 64 else).
  void play(crash::heap_frames& frames, peers& others, const plan& how,
            const std::function<void(crash::worker&)>& body) {
    std::unordered_set<std::uint64_t> acted;
    const std::uint64_t salt = frames.peer().random(64);
    auto victim = frames.start(1, body, 3);
    const std::size_t begin = frames.instructions;
    frames.step(*victim,
                {.who = 1,
                 .every = how.every,
                 .until = [&] { return frames.instructions - begin > how.most; },
                 .at_stop =
                     [&](std::uint64_t address) {
                       if (how.there(address) && frames.peer().random(how.there_one_in) == 0)
                         return how.then();
                       if (how.one_in == 0) return;
                       const bool fresh = !acted.contains(address) &&
                                          (test::prove_in_full() || address % 64 == salt);
                       if (!fresh && frames.peer().random(how.one_in) != 0) return;
                       acted.insert(address);
                       others.something();
                     }});
    victim.reset();
    others.end();
    EXPECT_TRUE(frames.settle(1));
    frames.peer().check_marks();
    EXPECT_STREQ(frames.notes().fault, "");
  }
};

}  // namespace

TEST_F(CrashHeapPeers, OthersFreeRobAndLeaveAroundAVictimStoppedAnywhere) {
  crash::heap_frames frames(256_KiB);
  peers others(frames);
  play(frames, others, {.most = test::prove_in_full() ? 1'500'000U : 200'000U},
       [](crash::worker& w) {
         for (unsigned n = 0; n < 100000; ++n) w.something(0, 40, 0);
       });
  others.print();
  say("peers at random stops", frames);
}

TEST_F(CrashHeapPeers, WhatSomebodyTookOutOfALinkIsNotFreedForWhoeverAllocatedIt) {
  crash::heap_frames frames(256_KiB);
  peers others(frames);
  const auto linking = [&](std::uint64_t at) {
    return frames.where.inside(at, {"allocate_linked", "free_linked", "with_phase", "leave"});
  };
  play(frames, others,
       {.every = 24,
        .one_in = 0,
        .most = test::prove_in_full() ? 400'000U : 100'000U,
        .there = linking,
        .there_one_in = 40,
        .then = [&] { others.work_small(); }},
       [](crash::worker& w) {
         for (unsigned n = 0; n < 100000; ++n) {
           w.link(n % 4, 100);
           if (w.random(3) == 0) w.unlink(n % 4);
         }
       });
  others.print();
  say("links", frames);
  expect_stops_in(frames, {"allocate_linked", "free_linked", "retire_others"});
}

TEST_F(CrashHeapPeers, TheSlabAVictimIsAtIsNotTakenFromIt) {
  crash::heap_frames frames(256_KiB);
  peers others(frames);
  const auto at_work = [&](std::uint64_t at) {
    return frames.where.inside(at, {"heap_allocate", "heap_deallocate", "take_block", "free_in",
                                    "allocate_small", "merge", "pick_from", "free_slowly"});
  };
  play(frames, others,
       {.one_in = 2000,
        .most = test::prove_in_full() ? 700'000U : 100'000U,
        .there = at_work,
        .there_one_in = 150,
        .then = [&] { others.rob(100); }},
       [](crash::worker& w) {
         for (unsigned n = 0; n < 100000; ++n) {
           const unsigned i = w.mine(static_cast<unsigned>(w.random(12)));
           if (w.has(i))
             w.free(i);
           else
             w.allocate(i, 100);
         }
       });
  others.print();
  say("robbed of its slabs", frames);
}

TEST_F(CrashHeapPeers, AThreadThatEndsUnderRobbersLeavesNothingBehind) {
  crash::heap_frames frames(256_KiB);
  for (unsigned round = 0; round < (test::prove_in_full() ? 12U : 2U) && !HasFailure(); ++round) {
    peers others(frames);
    const auto at_a_new_slab = [&](std::uint64_t at) {
      return frames.where.inside(at, {"make_slab", "own", "close_cache"});
    };
    play(frames, others,
         {.one_in = 30000,
          .there = at_a_new_slab,
          .there_one_in = 150,
          .then = [&] { others.rob(200); }},
         [](crash::worker& w) {
           for (unsigned i = 0; i < 5; ++i) w.allocate(w.mine(i), 50 + i * 100);
           w.free_all(0, 3);
         });
  }
  say("threads that end", frames);
  expect_stops_in(frames, {"close_cache", "make_slab", "acknowledge"});
}
