// The heap under death at every instruction: one process that does everything there is to do.
#include <gtest/gtest.h>

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
#include <vector>

// clang-format off
#include "heap_crash_fixture.hpp"
// clang-format on

import ipcpp;
import ipcpp.platform;

using namespace ipcpp::literals;

TEST_F(CrashHeap, OneProcessKilledAfterEveryInstruction) {
  crash::heap_frames frames(256_KiB);
  crash::worker& peer = frames.peer();
  for (unsigned i = 0; i < 30; ++i) peer.allocate(i, i % 3 == 0 ? 100 : 1000);
  for (unsigned i = 0; i < 30; i += 2) peer.free(i);
  auto victim = frames.start(1, [](crash::worker& w) {
    for (unsigned i = 0; i < 8; ++i) w.allocate(w.mine(i), 16 << i);
    for (unsigned i = 0; i < 8; i += 2) w.free(w.mine(i));
    for (unsigned i = 12; i < 16; ++i) w.allocate_tracked(w.mine(i), 50);
    w.publish(w.mine(12));
    w.free(w.mine(13));
    w.free(crash::worker::at(0, 1));  // a peer's
    w.link(0, 100);
    w.link(1, 40000);
    w.unlink(0);
    w.unlink(1);
    w.link(2, 100);
    w.allocate(w.mine(20), 40000);
    w.resize(w.mine(20), 60000);
    w.resize(w.mine(20), 36000);
    w.allocate(w.mine(21), 100, 4096);
    w.allocate(w.mine(22), 40000, 8192);
    w.allocate_tracked(w.mine(23), 40000);
    w.free(w.mine(20));
    w.reallocate(w.mine(22), 33000);
    w.reallocate(w.mine(1), 3000);
    w.free(w.mine(22));
    w.allocate(w.mine(24), 3000);
    w.free(w.mine(24));
    w.trim();
    w.allocate(w.mine(20), 70000);  // of what was given back
    w.resize(w.mine(20), 80000);
  });
  frames.step(*victim, {.every = 8});  // to the end of its thread
  victim.reset();
  EXPECT_TRUE(frames.settle(1));
  // With no slab: only the block's own run tells the undertaker that there is something to do. Then
  // slabs of several pages that come and go.
  victim = frames.start(1, [](crash::worker& w) {
    w.allocate(w.mine(100), 40000);
    w.free(w.mine(100));
    for (const std::size_t bytes : {5000U, 9000U, 20000U}) {
      w.allocate(w.mine(101), bytes);
      w.free(w.mine(101));
      w.trim();
    }
  });
  frames.step(*victim, {.every = 8});
  victim.reset();
  EXPECT_TRUE(frames.settle(1));
  say("one process", frames);
  expect_stops_in(frames, {"take_run",      "carve",       "put_run",         "grow",
                           "resize_run",    "trim_runs",   "merge",           "pick",
                           "make_slab",     "disown",      "dissolve",        "sweep",
                           "enter",         "own",         "allocate_linked", "free_linked",
                           "close_cache",   "free_large",  "free_elsewhere",  "free_slowly",
                           "heap_allocate", "put_pending", "heap_deallocate"});
}

TEST_F(CrashHeap, OneProcessKilledWhileItTakesAllThereIs) {
  crash::heap_frames frames(256_KiB);
  // Slabs of a living peer with free blocks, and what a dead one left.
  crash::worker& peer = frames.peer();
  for (unsigned i = 0; i < 40; ++i) peer.allocate(i, i % 3 == 0 ? 100 : 1000);
  for (unsigned i = 0; i < 40; i += 2) peer.free(i);
  peer.fill(100, 138, 4096);
  frames
      .start(2,
             [](crash::worker& w) {
               for (unsigned i = 0; i < 12; ++i) w.allocate(w.mine(i), 1000);
               for (unsigned i = 0; i < 12; i += 3) w.free(w.mine(i));
               for (unsigned i = 30; i < 34; ++i) w.allocate_tracked(w.mine(i), 990);
               w.link(8, 1000);
               crash::puppet::stand_still();
             })
      ->run();
  auto victim = frames.start(1, [](crash::worker& w) {
    const unsigned most = w.fill(0, 300, 1000);
    w.hurrying([&] { w.free_all(2, most); });
    w.allocate(w.mine(300), 40000);
  });
  frames.step(*victim, {.every = 32});
  victim.reset();
  EXPECT_TRUE(frames.settle(1));
  say("one process that takes all", frames);
  expect_stops_in(frames, {"harvest", "revoke", "sweep", "adopt_orphan", "repair", "recover_handle",
                           "free_carrying", "collect_pending", "dissolve", "merge"});
}
