// The kernel's wait on an address that several processes map: a futex, not the private kind.
module;

#include <chrono>
#include <climits>
#include <cstdint>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform::posix {

void sleep_on(std::uint32_t& word, std::uint32_t seen, std::chrono::nanoseconds,
              steady_time until) noexcept {
  // Both standard libraries count steady_clock from CLOCK_MONOTONIC's origin, which
  // FUTEX_WAIT_BITSET takes absolutely.
  const auto ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(until.time_since_epoch()).count();
  const timespec when{static_cast<time_t>(ns / 1'000'000'000),
                      static_cast<long>(ns % 1'000'000'000)};
  ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET, seen, &when, nullptr, FUTEX_BITSET_MATCH_ANY);
}

void wake_all(std::uint32_t& word) noexcept {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace ipcpp::platform::posix
