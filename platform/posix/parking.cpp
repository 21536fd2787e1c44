// Sleeping and waking on the parking cell, by the system's wait on an address (kernel_wait.cpp of
// each).
//
// Crash story. A sleeper that dies leaves S set: the next wake-up makes one system call in vain and
// clears it. A waker that dies between its exchange and waking has moved the count already: the
// sleeper finds it when its slice is over. One that dies before has done nothing at all: the
// sleeper's own predicate, looked at after each slice, must tell.
//
// Race story. unpark's exchange (release) pairs with the loads in ticket and park (acquire): what the
// waker wrote before is visible to the woken. S and the count share a word, so either park sees the
// new count or unpark sees S.
module;

#include <atomic>
#include <chrono>
#include <cstdint>

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
  posix::sleep_on(cell_->word, expected << 1 | sleeper, until - start, until);
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
  if ((seen & sleeper) != 0) posix::wake_all(cell_->word);
}

}  // namespace ipcpp::platform
