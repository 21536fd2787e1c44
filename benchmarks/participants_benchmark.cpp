// What taking part costs. Figures in docs/participants.md come from here: ./dev bench
// "[participants]"
#include <new>
#include <catch2/benchmark/catch_benchmark.hpp>
#include <catch2/catch_test_macros.hpp>

import ipcpp;
import ipcpp.platform;

namespace platform = ipcpp::platform;
using namespace ipcpp::literals;
using ipcpp::participants;

TEST_CASE("participants", "[participants]") {
  platform::mapping place =
      platform::mapping::map(platform::shared_object::create({.capacity_bytes = 1_MiB}));
  if (!place.commit(0, 1_MiB)) throw std::bad_alloc();
  participants table = participants::create(place, 1024);
  const platform::mapping elsewhere = platform::mapping::map(place.object().again());
  participants other = participants::attach(elsewhere, 1024);
  const ipcpp::participant_id theirs = other.self();

  BENCHMARK("join and leave") {
    (void)table.self();
    table.leave();
  };
  const ipcpp::participant_id me = table.self();
  BENCHMARK("self, joined") {
    return table.self();
  };
  BENCHMARK("probe oneself") {
    return table.probe(me);
  };
  BENCHMARK("probe another, alive") {
    return table.probe(theirs);
  };
  BENCHMARK("acquire and release a handle") {
    table.release_handle(table.acquire_handle(1));
  };
  BENCHMARK("look for the dead among 2 of 64") {
    return table.bury_dead();
  };
}
