// What the platform's operations cost. Figures in docs/platforms.md come from here: ./dev bench
// "[platform]"
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <thread>
#include <catch2/benchmark/catch_benchmark.hpp>
#include <catch2/catch_test_macros.hpp>

import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using platform::mapping;
using platform::shared_object;

TEST_CASE("objects and growth", "[platform]") {
  BENCHMARK("create and destroy an unnamed object") {
    return shared_object::create({.capacity_bytes = 1_MiB});
  };
  shared_object object = shared_object::create();
  BENCHMARK("map and unmap the default capacity") {
    return mapping::map(object.again());
  };
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 1_GiB}));
  (void)place.commit(0, 1_MiB);
  BENCHMARK("commit 64 KiB that is committed already") {
    return place.commit(64_KiB, 64_KiB);
  };
  BENCHMARK("release 64 KiB and commit it again") {
    place.release(64_KiB, 64_KiB);
    return place.commit(64_KiB, 64_KiB);
  };
  BENCHMARK("adopt what is adopted") {
    return place.adopt(1_MiB);
  };
}

TEST_CASE("parking", "[platform]") {
  mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_KiB}));
  const auto cell = [&](std::size_t n) -> platform::parking_cell& {
    return *reinterpret_cast<platform::parking_cell*>(place.base() + 1024 + n * 128);
  };
  platform::parking_slot mine(place, 0, cell(0));
  platform::parking_slot theirs(place, 1, cell(1));
  BENCHMARK("unpark with nobody asleep") {
    return mine.unpark();
  };
  BENCHMARK("park that finds its wake-up already there") {
    const std::uint32_t ticket = mine.ticket();
    mine.unpark();
    return mine.park(ticket, platform::steady_time::max());
  };
  std::atomic<std::uint64_t> turn{0};
  std::atomic<bool> stop{false};
  std::thread partner([&] {
    while (!stop) {
      const std::uint32_t ticket = theirs.ticket();
      if (turn.load(std::memory_order_acquire) % 2 == 1) {
        turn.fetch_add(1, std::memory_order_release);
        mine.unpark();
      } else {
        (void)theirs.park(ticket, std::chrono::steady_clock::now() + std::chrono::seconds(1));
      }
    }
  });
  BENCHMARK("round trip of two sleepers") {
    turn.fetch_add(1, std::memory_order_release);
    theirs.unpark();
    for (;;) {
      const std::uint32_t ticket = mine.ticket();
      if (turn.load(std::memory_order_acquire) % 2 == 0) break;
      (void)mine.park(ticket, std::chrono::steady_clock::now() + std::chrono::seconds(1));
    }
  };
  stop = true;
  theirs.unpark();
  partner.join();
}

TEST_CASE("proof of life", "[platform]") {
  const mapping place = mapping::map(shared_object::create({.capacity_bytes = 64_KiB}));
  platform::life_line line = platform::life_line::of(place);
  BENCHMARK("take a life and let it go") {
    return line.take(1);
  };
  const platform::life_hold held = line.take(2);
  BENCHMARK("probe the living") {
    return line.probe(2, {});
  };
  BENCHMARK("probe the dead") {
    return line.probe(3, {});
  };
  BENCHMARK("incarnation") {
    return platform::incarnation();
  };
}
