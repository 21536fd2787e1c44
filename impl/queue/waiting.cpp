// Bodies of ipcpp.queue:waitable: spin a little, sleep, look after the dead, pass wake-ups on.
//
// The spin. A sleep and a wake-up cost microseconds, and tens of them between processors of a virtual
// machine, so a short look for what is just about to come pays if it comes. Each thread remembers
// whether its last spins paid: the budget doubles up to its limit when one did, and halves down to
// nothing when it did not (one processor, a slow sender); every 32nd wait tries again. Counted in
// time, since `pause` takes 4 to 60 ns.
module;

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <thread>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;

namespace ipcpp::detail {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::nanoseconds;

void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb" ::: "memory");
#else
  std::this_thread::yield();
#endif
}

constexpr nanoseconds longest_spin{2000};
constexpr nanoseconds shortest_spin{125};

thread_local constinit std::int64_t spin_ns = 500;
thread_local constinit std::uint32_t waits_without_spin = 0;

bool several_processors() noexcept {
  static constinit std::atomic<int> known{0};  // relaxed: everybody finds the same
  int n = known.load(std::memory_order_relaxed);
  if (n == 0) {
    n = static_cast<int>(std::thread::hardware_concurrency());
    if (n == 0) n = 1;
    known.store(n, std::memory_order_relaxed);
  }
  return n > 1;
}

std::optional<std::size_t> look_at_all(std::span<const wait_source> sources) {
  for (std::size_t i = 0; i < sources.size(); ++i)
    if (sources[i].ready(sources[i].object)) return i;
  return std::nullopt;
}

std::optional<std::size_t> spin(std::span<const wait_source> sources) {
  if (!several_processors()) return std::nullopt;
  if (spin_ns == 0) {
    if (++waits_without_spin % 32 != 0) return std::nullopt;
    spin_ns = shortest_spin.count();
  }
  const clock::time_point end = clock::now() + nanoseconds(spin_ns);
  do {
    for (int turn = 0; turn < 8; ++turn) {
      if (const auto ready = look_at_all(sources)) {
        spin_ns = spin_ns * 2 < longest_spin.count() ? spin_ns * 2 : longest_spin.count();
        return ready;
      }
      relax();
    }
  } while (clock::now() < end);
  spin_ns = spin_ns / 2 < shortest_spin.count() ? 0 : spin_ns / 2;
  return std::nullopt;
}

// Whoever waits at a point that we were woken at, but leave as it is, gets the wake-up.
void pass_on(std::span<const wait_source> sources, std::size_t used) {
  for (std::size_t i = 0; i < sources.size(); ++i)
    if (i != used && anybody_waits(*sources[i].point) && sources[i].ready(sources[i].object))
      (void)wake(*sources[i].point, 1);
}

constexpr std::chrono::milliseconds look_elsewhere_every{1};

}  // namespace

std::optional<std::size_t> wait_for_one(std::span<const wait_source> sources,
                                        platform::steady_time deadline) {
  if (sources.empty())
    throw error(errc::invalid_argument, "wait", "at least one endpoint", "none", "");
  if (const auto ready = look_at_all(sources)) return ready;
  if (deadline != forever && clock::now() >= deadline) return std::nullopt;
  if (const auto ready = spin(sources)) return ready;

  const address_map& map = address_map::of_this_process();
  const mapped_place* const place = map.find(sources[0].point);
  bool elsewhere = false;
  std::uint32_t points = 1;
  constexpr std::uint32_t most_points = 64;  // of ipcpp.sync:waiting
  waiting now(*sources[0].point);
  for (std::size_t i = 1; i < sources.size(); ++i) {
    bool known = false;
    for (std::size_t j = 0; j < i && !known; ++j) known = sources[j].point == sources[i].point;
    if (known) continue;
    if (map.find(sources[i].point) == place && points < most_points) {
      ++points;
      now.also_at(*sources[i].point);
    } else {
      elsewhere = true;
    }
  }
  clock::time_point next_tending = clock::now() + platform::wait_slice;
  for (;;) {
    now.arm();
    if (const auto ready = look_at_all(sources)) {
      now.left();
      if (sources.size() > 1) pass_on(sources, *ready);
      return ready;
    }
    platform::steady_time until = deadline;
    if (elsewhere) {
      const auto soon = clock::now() + look_elsewhere_every;
      if (soon < until) until = soon;
    }
    if (now.park(until) == platform::park_outcome::woken) {
      // Before arming, which costs a heavy fence: most who are woken find what they were woken for.
      if (const auto ready = look_at_all(sources)) {
        now.left();
        if (sources.size() > 1) pass_on(sources, *ready);
        return ready;
      }
      continue;
    }
    const clock::time_point then = clock::now();
    if (then >= next_tending) {
      for (const wait_source& source : sources)
        if (source.tend != nullptr) source.tend(source.object);
      next_tending = then + platform::wait_slice;
    }
    if (then >= deadline) {
      const auto ready = look_at_all(sources);
      if (ready) {
        now.left();
        if (sources.size() > 1) pass_on(sources, *ready);
      }
      return ready;
    }
  }
}

void wake_queue(const queue_view& queue, waiting_point& at, std::uint32_t most) noexcept {
  queue_head& head = *queue.head;
  const bool receivers = &at == &head.receivers;
  (void)wake(at, most);
  ring_bells(queue, receivers ? head.receiver_bells : head.sender_bells,
             receivers ? endpoint_role::receiver : endpoint_role::sender);
}

}  // namespace ipcpp::detail
