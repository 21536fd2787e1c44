// The smallest program that uses every module there is something in: two mappings of one object,
// one participant each.
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>

import ipcpp;
import ipcpp.platform;

using namespace ipcpp::literals;
namespace platform = ipcpp::platform;

struct tick {
  std::uint64_t sequence;
  char symbol[8];
};
static_assert(ipcpp::message<tick> && !ipcpp::shareable<int*>);

int main() {
  platform::mapping place =
      platform::mapping::map(platform::shared_object::create({.capacity_bytes = 1_MiB}));
  if (!place.commit(0, 64_KiB)) return 1;
  auto here = ipcpp::participants::create(place, 1024, {.processes = 4, .handles = 4});
  const platform::mapping elsewhere = platform::mapping::map(place.object().again());
  const auto there = ipcpp::participants::attach(elsewhere, 1024);
  if (there.probe(here.self()) != ipcpp::vitality::alive) return 2;
  std::strcpy(reinterpret_cast<char*>(place.base() + 32_KiB), "hello");
  std::puts(reinterpret_cast<const char*>(elsewhere.base() + 32_KiB));
  try {
    (void)platform::shared_object::open("no/such");
    return 3;
  } catch (const ipcpp::error& e) {
    if (e.kind() != ipcpp::errc::invalid_argument) return 4;
  }
}
