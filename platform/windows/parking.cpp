// Sleeping and waking: a named event for each parking slot, beside the parking cell.
//
// The cell says all there is to say, as on every system; the event only ends a sleep. It is made by
// the first sleeper or waker that needs it, and goes with its last handle.
//
// Crash story. A sleeper that dies leaves S set: the next wake-up makes its system calls in vain
// and clears it. A waker that dies between its exchange and SetEvent has moved the count already:
// the sleeper finds it when its slice is over. One that dies before has done nothing at all: the
// sleeper's own predicate, looked at after each slice, must tell.
//
// Race story. unpark's exchange (release) pairs with the loads in ticket and park (acquire): what
// the waker wrote before is visible to the woken. S and the count share a word, so either park sees
// the new count or unpark sees S; and who sees S finds the sleeper's event, because the sleeper
// made it before it set S. A SetEvent that comes late, for a sleep that is over, ends the next one
// early: that sleeper finds its count unmoved and sleeps on.
module;

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <utility>

#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

constexpr std::uint32_t sleeper = 1;

std::atomic_ref<std::uint32_t> word_of(parking_cell& cell) noexcept {
  static_assert(std::atomic_ref<std::uint32_t>::is_always_lock_free);
  return std::atomic_ref<std::uint32_t>(cell.word);
}

}  // namespace

parking_slot::parking_slot(const mapping& place, std::uint32_t number, parking_cell& cell) noexcept
    : cell_(&cell),
      key_(place.object().id_.low),
      number_(number),
      security_(place.object().security_) {}

// Relaxed: who moves a slot makes sure that nobody uses it meanwhile.
parking_slot::parking_slot(parking_slot&& other) noexcept
    : cell_(other.cell_),
      key_(other.key_),
      number_(other.number_),
      security_(std::move(other.security_)),
      event_(other.event_.exchange(nullptr, std::memory_order_relaxed)) {}

parking_slot& parking_slot::operator=(parking_slot&& other) noexcept {
  std::swap(cell_, other.cell_);
  std::swap(key_, other.key_);
  std::swap(number_, other.number_);
  std::swap(security_, other.security_);
  void* const theirs = other.event_.load(std::memory_order_relaxed);
  other.event_.store(event_.exchange(theirs, std::memory_order_relaxed), std::memory_order_relaxed);
  return *this;
}

parking_slot::~parking_slot() {
  const windows::handle closes_it(event_.load(std::memory_order_relaxed));
}

void* parking_slot::event() noexcept {
  // Acquire and release: between threads that use one parking_slot, for the handle.
  void* mine = event_.load(std::memory_order_acquire);
  if (mine != nullptr) return mine;
  windows::handle made =
      windows::make_event(windows::kernel_name(key_, "park", number_), security_, nullptr);
  if (event_.compare_exchange_strong(mine, made.get(), std::memory_order_acq_rel))
    return made.release();
  return mine;
}

std::uint32_t parking_slot::ticket() const noexcept {
  return word_of(*cell_).load(std::memory_order_acquire) >> 1;
}

park_outcome parking_slot::park(std::uint32_t expected, steady_time deadline) noexcept {
  const auto word = word_of(*cell_);
  const steady_time start = std::chrono::steady_clock::now();
  std::uint32_t seen = word.load(std::memory_order_acquire);
  if (seen >> 1 != expected) return park_outcome::woken;
  if (start >= deadline) return park_outcome::deadline_passed;
  void* const wake_up = event();
  seen = word.load(std::memory_order_acquire);
  for (;;) {
    if (seen >> 1 != expected) return park_outcome::woken;
    if ((seen & sleeper) != 0) break;
    // Release: pairs with unpark, for the event. Acquire: as above.
    if (word.compare_exchange_weak(seen, seen | sleeper, std::memory_order_acq_rel,
                                   std::memory_order_acquire))
      break;
  }
  const steady_time until = deadline - start < wait_slice ? deadline : start + wait_slice;
  for (steady_time now = start; now < until; now = std::chrono::steady_clock::now()) {
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(until - now).count();
    // Without an event (none can be had) the count is looked at every now and then.
    if (wake_up == nullptr || ::WaitForSingleObject(wake_up, static_cast<DWORD>(ms)) == WAIT_FAILED)
      ::Sleep(1);
    if (word.load(std::memory_order_acquire) >> 1 != expected) return park_outcome::woken;
  }
  return std::chrono::steady_clock::now() >= deadline ? park_outcome::deadline_passed
                                                      : park_outcome::slice_over;
}

void parking_slot::unpark() noexcept {
  const auto word = word_of(*cell_);
  std::uint32_t seen = word.load(std::memory_order_relaxed);  // the exchange below decides
  // Acquire: pairs with park, for the event. Release: pairs with ticket and park.
  while (!word.compare_exchange_weak(seen, ((seen >> 1) + 1) << 1, std::memory_order_acq_rel,
                                     std::memory_order_relaxed)) {
  }
  if ((seen & sleeper) == 0) return;
  if (void* const wake_up = event(); wake_up != nullptr) ::SetEvent(wake_up);
}

}  // namespace ipcpp::platform
