// The heap's recovery under death at every instruction: somebody dies in the middle of something, and
// whoever buries it, or only needs the lock it held, dies at it too.
#include <gtest/gtest.h>

#include <algorithm>
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

struct CrashHeapRecovery : CrashHeap {
  crash::heap_frames frames{256_KiB};

  void SetUp() override {
    CrashHeap::SetUp();
    for (unsigned i = 0; i < 40; ++i) frames.peer().allocate(i, i % 3 == 0 ? 100 : 700);
    for (unsigned i = 0; i < 40; i += 2) frames.peer().free(i);
  }

  [[nodiscard]] std::uint64_t lock() const {
    return frames.image_of_a().field(heap_image::run_lock);
  }

  // Somebody works, then dies so many instructions after it came to the function for the nth time.
  void somebody_dies_in(const char* function, unsigned nth, unsigned more, std::uint64_t seed) {
    auto dying = frames.start(
        1,
        [](crash::worker& w) {
          for (unsigned i = 40; i < 48; ++i) w.allocate_tracked(w.mine(i), i % 4 == 0 ? 40000 : 50);
          for (unsigned i = 50; i < 54; ++i) w.allocate(w.mine(i), 2000);
          w.free_all(50, 54);
          w.allocate(w.mine(60), 40000);
          for (unsigned n = 0; n < 40; ++n) w.something(0, 40, 0);
          crash::puppet::stand_still();
          for (unsigned n = 0; n < 20; ++n) w.something(0, 40, 0);
          w.link(4, 100);
          w.unlink(4);
          w.link(5, 40000);
          w.unlink(5);
          w.allocate(w.mine(61), 40000);
          w.resize(w.mine(60), 60000);
          w.resize(w.mine(60), 36000);
          w.free(w.mine(60));
          w.free(w.mine(61));
          w.free_all(0, 40);
          w.trim();
        },
        seed);
    dying->run();
    const std::vector<std::uint64_t> entries = frames.where.entries(function);
    for (unsigned n = 0; n <= nth && !entries.empty(); ++n)
      if (!dying->run_to(entries.front()) || !dying->step()) break;
    for (unsigned i = 0; i < more && dying->step(); ++i) {
    }
  }
  // Somebody dies with the run lock, so many instructions after it took it.
  bool somebody_dies_with_the_lock(unsigned nth, unsigned more, std::uint64_t seed) {
    somebody_lives_ = frames.start(
        1,
        [](crash::worker& w) {
          for (unsigned n = 0; n < 40; ++n) w.something(0, 40, 0);
          w.allocate(w.mine(60), 40000);
          crash::puppet::stand_still();
          for (unsigned n = 0; n < 20; ++n) w.something(0, 40, 0);
          w.resize(w.mine(60), 60000);
          w.resize(w.mine(60), 36000);
          w.free(w.mine(60));
          for (unsigned n = 0; n < 1000; ++n) w.something(0, 40, 0);
        },
        seed);
    crash::puppet& dying = *somebody_lives_;
    dying.run();
    const std::vector<std::uint64_t> entries = frames.where.entries("find");
    for (unsigned n = 0; n <= nth && !entries.empty(); ++n)
      if (!dying.run_to(entries.front()) || !dying.step()) break;
    for (unsigned i = 0; i < more && !frames.lock_is_free() && dying.step(); ++i) {
    }
    somebody_lives_.reset();
    return !frames.lock_is_free();
  }
  void settle_all() {
    for (unsigned who = 1; who < crash::journal::workers; ++who) EXPECT_TRUE(frames.settle(who));
  }

 private:
  std::unique_ptr<crash::puppet> somebody_lives_;
};

}  // namespace

TEST_F(CrashHeapRecovery, UndertakersKilledAfterEveryInstructionAndTheNextOnesToo) {
  std::vector<const char*> places = {"carve", "free_linked", "make_slab", "dissolve",
                                     "allocate_linked"};
  if (test::prove_in_full())
    for (const char* const more : {"put_run", "trim_runs", "resize_run", "merge", "disown",
                                   "free_large", "put_pending", "free_large_at", "close_cache"})
      places.push_back(more);
  const unsigned rounds = test::prove_in_full() ? 6 : 1;
  for (unsigned round = 0; round < rounds; ++round) {
    for (const char* const place : places) {
      if (HasFailure()) break;
      somebody_dies_in(place, static_cast<unsigned>(frames.peer().random(3)),
                       static_cast<unsigned>(frames.peer().random(1500)), round + 1);
      // Every other undertaker is killed half way, and followed by the next.
      for (unsigned who = 2; who < 4; ++who) {
        auto undertaker = frames.start(who, [](crash::worker& w) { w.recover(); });
        const std::size_t begin = frames.instructions;
        const bool half_way = who == 2 && frames.peer().random(2) == 0;
        const std::size_t most = half_way ? frames.peer().random(30'000) : 1'000'000'000;
        if (!frames.step(*undertaker, {.who = who, .every = 16, .until = [&] {
                                         return frames.instructions - begin > most;
                                       }}))
          break;
      }
      settle_all();
    }
  }
  say("recovery", frames);
  expect_stops_in(frames, {"repair", "recover_handle", "free_tracked", "resolve_link", "merge",
                           "disown", "make_pending", "collect_pending", "put_run"});
}

TEST_F(CrashHeapRecovery, WhoeverNeedsTheLockOfTheDeadIsKilledAfterEveryInstruction) {
  const unsigned rounds = test::prove_in_full() ? 60 : 8;
  for (unsigned round = 0; round < rounds && !HasFailure(); ++round) {
    if (!somebody_dies_with_the_lock(round % 5, static_cast<unsigned>(frames.peer().random(1500)),
                                     round + 1)) {
      settle_all();
      continue;
    }
    auto survivor = frames.start(2, [](crash::worker& w) {
      w.allocate(w.mine(0), 40000);
      w.free(w.mine(0));
    });
    const std::size_t begin = frames.instructions;
    frames.step(*survivor, {.who = 2, .every = 16, .until = [&] {
                              return !test::prove_in_full() && frames.instructions - begin > 40'000;
                            }});
    survivor.reset();
    settle_all();
  }
  say("the lock of the dead", frames);
  expect_stops_in(frames, {"mend", "rebuild_runs", "run_guard"});
}

TEST_F(CrashHeapRecovery, ASurvivorThatWasSlowDoesNotTakeTheLockFromAnUndertaker) {
  ASSERT_TRUE(somebody_dies_with_the_lock(0, 20, 1));
  // The slow one has just heard that the holder is dead.
  auto slow = frames.start(2, [](crash::worker& w) { w.allocate(w.mine(0), 40000); });
  while (!frames.where.inside(slow->address(), "attended")) ASSERT_TRUE(slow->step());
  while (!frames.where.inside(slow->address(), "run_guard")) ASSERT_TRUE(slow->step());
  // The undertaker takes the lock over, gives it back, and takes it again in the dead one's name.
  auto undertaker = frames.start(3, [](crash::worker& w) { w.recover(); });
  while (!frames.lock_is_free()) ASSERT_TRUE(undertaker->step());
  while (frames.lock_is_free()) ASSERT_TRUE(undertaker->step());
  const std::uint64_t held = lock();
  for (unsigned n = 0; n < 3000; ++n) {
    ASSERT_TRUE(slow->step());
    ASSERT_EQ(lock(), held) << "after " << n << " instructions of the slow one";
  }
  while (undertaker->run()) {
  }
  slow->run();
  undertaker.reset();
  slow.reset();
  settle_all();
}
