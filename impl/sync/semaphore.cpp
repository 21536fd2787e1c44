// Bodies of ipcpp.sync:semaphore.
//
// Race story. release's exchange (release) pairs with acquire's (acquire). A permit that becomes free
// is notified like any other change (:waiting).
module;

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

module ipcpp.sync;

import ipcpp.platform;
import :seats;
import :semaphore;
import :waiting;

namespace ipcpp::detail {

namespace {

constexpr std::chrono::milliseconds patience{1};

[[nodiscard]] bool change(std::uint64_t& permit, std::uint64_t from, std::uint64_t to) noexcept {
  return std::atomic_ref(permit).compare_exchange_strong(from, to, std::memory_order_acq_rel,
                                                         std::memory_order_relaxed);
}
[[nodiscard]] std::uint64_t look(std::uint64_t& permit) noexcept {
  return std::atomic_ref(permit).load(std::memory_order_relaxed);  // the exchange decides
}

[[nodiscard]] bool take(permits& of, std::uint64_t* words, std::size_t most,
                        const seat& me) noexcept {
  const std::uint64_t to = of.kind == 0 ? me.process : permits::none;
  std::size_t i = me.handle.slot % most;  // threads begin at different ones
  for (std::size_t n = 0; n < most; ++n) {
    if (look(words[i]) == 0 && change(words[i], 0, to)) {
      me.catch_up();
      return true;
    }
    if (++i == most) i = 0;
  }
  return false;
}

// Frees the permits of the dead; how many.
std::size_t collect(std::uint64_t* words, std::size_t most, const seat& me) noexcept {
  std::size_t freed = 0;
  std::uint64_t known_alive = me.process;
  for (std::size_t i = 0; i < most; ++i) {
    const std::uint64_t holder = look(words[i]);
    if (holder == 0 || holder == permits::none || holder == known_alive) continue;
    if (!me.in.process_gone(holder))
      known_alive = holder;
    else if (change(words[i], holder, 0))
      ++freed;
  }
  return freed;
}

// One permit more, taken from `from`.
[[nodiscard]] bool free_one(std::uint64_t* words, std::size_t most, std::uint64_t from) noexcept {
  for (std::size_t i = 0; i < most; ++i)
    if (look(words[i]) == from && change(words[i], from, 0)) return true;
  return false;
}

}  // namespace

bool try_acquire_permit(permits& of, std::uint64_t* words, std::size_t most) {
  return take(of, words, most, seat_at(&of));
}

bool acquire_permit(permits& of, std::uint64_t* words, std::size_t most,
                    platform::steady_time deadline) {
  seat& me = seat_at(&of);
  for (std::uint32_t n = 0; n <= spins(); ++n) {
    if (take(of, words, most, me)) return true;
    relax();
  }
  platform::steady_time look_at = std::chrono::steady_clock::now() + patience;
  if (deadline < look_at - patience) return false;
  waiting now(of.waiters);
  for (;;) {
    now.arm();
    if (take(of, words, most, me)) return true;  // a wake-up that came meanwhile is passed on
    if (now.park(std::min(deadline, look_at)) == platform::park_outcome::woken) continue;
    look_at = platform::steady_time::max();
    if (const std::size_t freed = collect(words, most, me); freed > 1)
      (void)wake(of.waiters, static_cast<std::uint32_t>(freed));
    if (take(of, words, most, me)) return true;
    if (std::chrono::steady_clock::now() >= deadline) return false;
  }
}

void release_permits(permits& of, std::uint64_t* words, std::size_t most, std::size_t n) {
  const seat& me = seat_at(&of);
  for (std::size_t i = 0; i < n; ++i) {
    bool freed = free_one(words, most, me.process) || free_one(words, most, permits::none);
    for (std::size_t at = 0; at < most && !freed; ++at)
      if (const std::uint64_t seen = look(words[at]); seen != 0) freed = change(words[at], seen, 0);
    if (!freed)
      throw error(errc::limit_reached, "semaphore", "a permit that is not free",
                  "all " + std::to_string(most) + " free", "give it a higher maximum");
    notify_one(of.waiters);
  }
}

}  // namespace ipcpp::detail
