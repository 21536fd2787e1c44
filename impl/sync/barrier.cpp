// Bodies of ipcpp.sync:latch and :barrier.
//
// Race story. A member's arrival and its look at the others are sequentially consistent: of two that
// arrive last, at least one sees both. The phase's exchange (release) pairs with the waiters' look
// (acquire), and the arrivals (release) with the look that moved it, so all that was done before any
// arrival is seen after the phase.
module;

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

module ipcpp.sync;

import ipcpp.platform;
import :barrier;
import :latch;
import :seats;
import :waiting;

namespace ipcpp {

using namespace detail;

// ---- latch ----

void latch::count_down(std::uint64_t n) {
  const std::atomic_ref missing(missing_);
  std::uint64_t seen = missing.load(std::memory_order_relaxed);  // the exchange decides
  do {
    if (n > seen)
      throw error(errc::invalid_argument, "latch", "at most " + std::to_string(seen) + " missing",
                  std::to_string(n) + " counted down", "count each thing once");
    // Release: pairs with try_wait.
  } while (!missing.compare_exchange_weak(seen, seen - n, std::memory_order_release,
                                          std::memory_order_relaxed));
  if (seen == n) notify_all(waiters_);
}

bool latch::wait_till(platform::steady_time deadline) const {
  return detail::wait(waiters_, deadline, [&] { return try_wait(); });
}

// ---- barrier ----

namespace {

constexpr std::uint64_t dropped = ~std::uint64_t{0};
constexpr std::uint64_t arrival_bits = 0xffff;

[[nodiscard]] constexpr std::uint64_t arrived_in(std::uint64_t phase) noexcept {
  return (phase + 1) & arrival_bits;  // a member keeps up with the phase, so 16 bits are enough
}

// Moves the phase on if all have arrived in it.
void complete(barrier_core& of, std::uint64_t* members, std::uint64_t phase) noexcept {
  for (std::uint64_t i = 0; i < of.expected; ++i) {
    const std::uint64_t member = std::atomic_ref(members[i]).load(std::memory_order_seq_cst);
    if (member != dropped && (member == 0 || (member & arrival_bits) != arrived_in(phase))) return;
  }
  if (std::atomic_ref(of.phase).compare_exchange_strong(phase, phase + 1,
                                                        std::memory_order_acq_rel))
    notify_all(of.waiters);
}

void drop_the_gone(barrier_core& of, std::uint64_t* members, const roster& in) noexcept {
  for (std::uint64_t i = 0; i < of.expected; ++i) {
    const std::atomic_ref member(members[i]);
    std::uint64_t seen = member.load(std::memory_order_seq_cst);
    if (seen != 0 && seen != dropped && in.gone(seen & ~arrival_bits))
      member.compare_exchange_strong(seen, dropped, std::memory_order_seq_cst);
  }
}

}  // namespace

std::uint64_t detail::arrive_at(barrier_core& of, std::uint64_t* members, bool drop) {
  const seat& me = seat_at(&of);
  // Acquire: whatever happened in the phase before.
  const std::uint64_t phase = std::atomic_ref(of.phase).load(std::memory_order_acquire);
  const std::uint64_t arrived = drop ? dropped : me.id | arrived_in(phase);
  for (std::uint64_t i = 0; i < of.expected; ++i) {
    const std::atomic_ref member(members[i]);
    const std::uint64_t seen = member.load(std::memory_order_relaxed);  // our own
    if (seen == dropped || (seen & ~arrival_bits) != me.id) continue;
    if (!drop && seen == arrived)
      throw error(errc::invalid_argument, "barrier", "a thread that has not arrived in this phase",
                  "one that has", "wait for the phase to end");
    member.store(arrived, std::memory_order_seq_cst);
    complete(of, members, phase);
    return phase;
  }
  for (std::uint64_t i = 0; i < of.expected; ++i) {
    std::uint64_t nobody = 0;
    if (!std::atomic_ref(members[i])
             .compare_exchange_strong(nobody, arrived, std::memory_order_seq_cst))
      continue;
    complete(of, members, phase);
    return phase;
  }
  throw error(errc::limit_reached, "barrier", "one of " + std::to_string(of.expected) + " members",
              "a thread too many", "expect as many as there are threads");
}

bool detail::wait_at(barrier_core& of, std::uint64_t* members, std::uint64_t phase,
                     platform::steady_time deadline) {
  const seat& me = seat_at(&of);
  const roster in = me.in;
  const auto over = [&] {
    const bool passed = std::atomic_ref(of.phase).load(std::memory_order_acquire) != phase;
    if (passed) me.catch_up();
    return passed;
  };
  return wait(of.waiters, deadline, over, [&] {
    drop_the_gone(of, members, in);
    complete(of, members, phase);  // also for one that died between its arrival and its look
  });
}

}  // namespace ipcpp
