// Sleeping and waking: a futex on the parking cell.
//
// Crash story. A sleeper that dies leaves S set: the next wake-up makes one system call in vain and
// clears it. A waker that dies between its exchange and futex_wake has moved the count already: the
// sleeper finds it when its slice is over. One that dies before has done nothing at all: the
// sleeper's own predicate, looked at after each slice, must tell.
//
// Race story. unpark's exchange (release) pairs with the loads in ticket and park (acquire): what the
// waker wrote before is visible to the woken. S and the count share a word, so either park sees the
// new count or unpark sees S.
module;

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdint>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

constexpr std::uint32_t sleeper = 1;

std::atomic_ref<std::uint32_t> word_of(parking_cell& cell) noexcept {
  static_assert(std::atomic_ref<std::uint32_t>::is_always_lock_free);
  return std::atomic_ref<std::uint32_t>(cell.word);
}

}  // namespace

std::uint32_t parking_slot::ticket() const noexcept {
  return word_of(*cell_).load(std::memory_order_acquire) >> 1;
}

park_outcome parking_slot::park(std::uint32_t expected, steady_time deadline) noexcept {
  const auto word = word_of(*cell_);
  const steady_time start = std::chrono::steady_clock::now();
  std::uint32_t seen = word.load(std::memory_order_acquire);
  for (;;) {
    if (seen >> 1 != expected) return park_outcome::woken;
    if (start >= deadline) return park_outcome::deadline_passed;
    if ((seen & sleeper) != 0) break;
    if (word.compare_exchange_weak(seen, seen | sleeper, std::memory_order_acquire)) break;
  }
  const steady_time until = deadline - start < wait_slice ? deadline : start + wait_slice;
  // Both standard libraries count steady_clock from CLOCK_MONOTONIC's origin, which
  // FUTEX_WAIT_BITSET takes absolutely.
  const auto ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(until.time_since_epoch()).count();
  const timespec when{static_cast<time_t>(ns / 1'000'000'000),
                      static_cast<long>(ns % 1'000'000'000)};
  ::syscall(SYS_futex, &cell_->word, FUTEX_WAIT_BITSET, expected << 1 | sleeper, &when, nullptr,
            FUTEX_BITSET_MATCH_ANY);
  if (word.load(std::memory_order_acquire) >> 1 != expected) return park_outcome::woken;
  return std::chrono::steady_clock::now() >= deadline ? park_outcome::deadline_passed
                                                      : park_outcome::slice_over;
}

void parking_slot::unpark() noexcept {
  const auto word = word_of(*cell_);
  std::uint32_t seen = word.load(std::memory_order_relaxed);  // the exchange below decides
  while (!word.compare_exchange_weak(seen, ((seen >> 1) + 1) << 1, std::memory_order_release,
                                     std::memory_order_relaxed)) {
  }
  if ((seen & sleeper) != 0)
    ::syscall(SYS_futex, &cell_->word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace ipcpp::platform
