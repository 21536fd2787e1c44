// The conformance suite, part 3: sleeping and waking. Runs unchanged on every platform and variant.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>

#include "roles.hpp"

import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using namespace std::chrono_literals;
using platform::mapping;
using platform::park_outcome;
using platform::parking_cell;
using platform::parking_slot;
using platform::shared_object;
using clock_type = std::chrono::steady_clock;

namespace {

parking_cell& cell_of(const mapping& place, std::size_t number) {
  return *reinterpret_cast<parking_cell*>(place.base() + 1024 + number * platform::line_stride);
}
parking_slot slot_of(const mapping& place, std::uint32_t number) {
  return parking_slot(place, number, cell_of(place, number));
}
std::atomic_ref<std::uint64_t> turn_of(const mapping& place) {
  return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(place.base() + 512));
}

struct published {
  std::string name = test::unique_name();
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_KiB}));
  shared_object object = place.object().again();
  published() { object.publish(name); }
  ~published() { shared_object::remove(name); }
};

// Until woken, through as many slices as it takes.
park_outcome sleep_on(parking_slot& slot, std::uint32_t ticket, clock_type::time_point deadline) {
  park_outcome outcome = park_outcome::slice_over;
  while (outcome == park_outcome::slice_over) outcome = slot.park(ticket, deadline);
  return outcome;
}

}  // namespace

ROLE(sleeper) {
  const mapping place = mapping::map(shared_object::open(args[0]));
  parking_slot slot = slot_of(place, 0);
  const std::uint32_t ticket = slot.ticket();
  test::say("ready");
  const park_outcome outcome = sleep_on(slot, ticket, clock_type::now() + 20s);
  test::say(outcome == park_outcome::woken ? "woken" : "not woken");
  return 0;
}

// Waits for odd turns, answers with even ones.
ROLE(pong) {
  const mapping place = mapping::map(shared_object::open(args[0]));
  parking_slot mine = slot_of(place, 1);
  parking_slot theirs = slot_of(place, 0);
  test::say("ready");
  const std::uint64_t last = std::stoull(args[1]);
  for (;;) {
    const std::uint32_t ticket = mine.ticket();
    const std::uint64_t turn = turn_of(place).load(std::memory_order_acquire);
    if (turn % 2 == 1) {
      turn_of(place).store(turn + 1, std::memory_order_release);
      theirs.unpark();
      if (turn + 1 >= last) return 0;
    } else {
      (void)mine.park(ticket, clock_type::now() + 20s);
    }
  }
}

TEST(Parking, ASleeperInAnotherProcessIsWoken) {
  const published object;
  test::child sleeper("sleeper", {object.name});
  ASSERT_EQ(sleeper.hear(), "ready");
  slot_of(object.place, 0).unpark();
  EXPECT_EQ(sleeper.hear(), "woken");
}

TEST(Parking, AWakeUpBetweenTicketAndParkIsNotLost) {
  const published object;
  parking_slot slot = slot_of(object.place, 3);
  const std::uint32_t ticket = slot.ticket();
  slot.unpark();
  const auto start = clock_type::now();
  EXPECT_EQ(slot.park(ticket, start + 20s), park_outcome::woken);
  EXPECT_LT(clock_type::now() - start, 5s);
  EXPECT_NE(slot.ticket(), ticket);
}

TEST(Parking, ADeadlineIsKeptAndNeverReportedEarly) {
  const published object;
  parking_slot slot = slot_of(object.place, 0);
  for (const auto wait : {0us, 1us, 300us, 7000us, 20000us}) {
    const auto deadline = clock_type::now() + wait;
    EXPECT_EQ(sleep_on(slot, slot.ticket(), deadline), park_outcome::deadline_passed);
    EXPECT_GE(clock_type::now(), deadline);
  }
  EXPECT_EQ(slot.park(slot.ticket(), clock_type::now() - 1h), park_outcome::deadline_passed);
}

TEST(Parking, NobodySleepsLongerThanASlice) {
  const published object;
  parking_slot slot = slot_of(object.place, 0);
  // The shortest of several: a machine that runs something else meanwhile says nothing about us.
  auto shortest = clock_type::duration::max();
  for (int i = 0; i < 5; ++i) {
    const auto start = clock_type::now();
    EXPECT_EQ(slot.park(slot.ticket(), clock_type::time_point::max()), park_outcome::slice_over);
    shortest = std::min(shortest, clock_type::now() - start);
  }
  EXPECT_LT(shortest, 2 * platform::wait_slice);
}

TEST(Parking, AWakeUpLostWithItsKilledWakerIsMadeGoodWithinASlice) {
  const published object;
  parking_slot slot = slot_of(object.place, 0);
  auto shortest = clock_type::duration::max();
  for (int i = 0; i < 5; ++i) {
    const std::uint32_t ticket = slot.ticket();
    // What a waker leaves that is killed between counting and calling the system: a count, no call.
    std::thread waker([&] {
      const std::atomic_ref<std::uint32_t> word(cell_of(object.place, 0).word);
      while ((word.load() & 1) == 0) std::this_thread::yield();
      word.store((ticket + 1) << 1);
    });
    const auto start = clock_type::now();
    EXPECT_EQ(sleep_on(slot, ticket, start + 20s), park_outcome::woken);
    shortest = std::min(shortest, clock_type::now() - start);
    waker.join();
  }
  EXPECT_LT(shortest, 2 * platform::wait_slice);
}

TEST(Parking, AKilledSleeperIsInNobodysWay) {
  const published object;
  for (int round = 0; round < 5; ++round) {
    test::child victim("sleeper", {object.name});
    ASSERT_EQ(victim.hear(), "ready");
    const std::atomic_ref<std::uint32_t> word(cell_of(object.place, 0).word);
    while ((word.load() & 1) == 0) std::this_thread::yield();
    victim.kill();
    slot_of(object.place, 0).unpark();
    test::child successor("sleeper", {object.name});
    ASSERT_EQ(successor.hear(), "ready");
    slot_of(object.place, 0).unpark();
    EXPECT_EQ(successor.hear(), "woken");
  }
}

TEST(Parking, AThousandRoundTripsBetweenTwoProcessesLoseNoWakeUp) {
  const published object;
  constexpr std::uint64_t last = 2000;
  test::child pong("pong", {object.name, std::to_string(last)});
  ASSERT_EQ(pong.hear(), "ready");
  parking_slot mine = slot_of(object.place, 0);
  parking_slot theirs = slot_of(object.place, 1);
  int slices = 0;
  for (;;) {
    const std::uint32_t ticket = mine.ticket();
    const std::uint64_t turn = turn_of(object.place).load(std::memory_order_acquire);
    if (turn >= last) break;
    if (turn % 2 == 0) {
      turn_of(object.place).store(turn + 1, std::memory_order_release);
      theirs.unpark();
    } else if (mine.park(ticket, clock_type::now() + 20s) == park_outcome::slice_over) {
      ++slices;
    }
  }
  EXPECT_EQ(pong.wait(), 0);
  EXPECT_LT(slices, 20) << "wake-ups were lost and made good by the slice";
}

TEST(Parking, NobodyAsleepMeansThatWakingChangesTheCountAndNothingElse) {
  const published object;
  parking_slot slot = slot_of(object.place, 0);
  for (std::uint32_t i = 0; i < 1000; ++i) {
    EXPECT_EQ(slot.ticket(), i);
    slot.unpark();
  }
}

TEST(Parking, TheCountWrapsAround) {
  const published object;
  cell_of(object.place, 0).word = 0xfffffffe;
  parking_slot slot = slot_of(object.place, 0);
  const std::uint32_t ticket = slot.ticket();
  slot.unpark();
  EXPECT_EQ(slot.ticket(), 0u);
  EXPECT_EQ(slot.park(ticket, clock_type::now() + 20s), park_outcome::woken);
}
