// ipcpp.queue:waitable - how a queue's endpoints wait and notify, alone or several together.
//
// On ipcpp.sync:waiting, which has the crash and race stories: where receivers and senders sleep is a
// waiting_point in the queue's head. This unit adds a short spin before the sleep, the look at who
// died when a slice is over (`tend`), several endpoints at once, and bells (:native_handle), which
// are rung beside the sleepers.
//
// A wake-up goes to one of those who sleep at a point. Whoever was woken and did not use it (it waits
// at several queues and another one was ready, or it took a message while more are there) passes it
// on; if it is killed before, the others look for themselves when their slice is over.
module;

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

export module ipcpp.queue:waitable;

import ipcpp.platform;
import ipcpp.sync;
import :endpoint;

namespace ipcpp {

namespace detail {

// One endpoint that waits. `object` is the endpoint; it does not move meanwhile.
export struct wait_source {
  waiting_point* point = nullptr;
  void* object = nullptr;
  // Would the operation now do something else than report empty or full? Also when it is closed.
  bool (*ready)(void* object) = nullptr;
  // A slice ended: repair what the dead left in the way. May be null.
  void (*tend)(void* object) noexcept = nullptr;
};

// Sleeps until one of the sources is ready; which. Those beyond the 64th queue, or in another segment
// than the first, are looked at every millisecond. Throws what ready() throws, limit_reached,
// invalid_argument for none.
export [[nodiscard]] std::optional<std::size_t> wait_for_one(std::span<const wait_source> sources,
                                                             platform::steady_time deadline);
export [[nodiscard]] inline bool wait_for(const wait_source& source,
                                          platform::steady_time deadline) {
  return wait_for_one({&source, 1}, deadline).has_value();
}

// Somebody waits at `at`, by thread or by bell: wakes up to `most` threads, and rings.
export void wake_queue(const queue_view& queue, waiting_point& at, std::uint32_t most) noexcept;

// Does anybody wait at `at`, which is one of the head's two, by thread or by bell? Call it after the
// change (a message was committed, a slot was freed). Two loads of one line where there are heavy
// fences.
export [[nodiscard]] inline bool somebody_waits(const queue_view& queue,
                                                waiting_point& at) noexcept {
  queue_head& head = *queue.head;
  const auto bells = shared(&at == &head.receivers ? head.receiver_bells : head.sender_bells);
  if (notifies_without_fence.load(std::memory_order_relaxed)) [[likely]] {  // never false again
    // As anybody_waits: the waiter's heavy fence orders the hardware, this the compiler.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return (shared(at.marks).load(std::memory_order_relaxed) |
            bells.load(std::memory_order_relaxed)) != 0;
  }
  const bool sleepers = anybody_waits(at);
  return sleepers || bells.fetch_or(0, std::memory_order_seq_cst) != 0;  // with arm_bell
}

export inline void notify(const queue_view& queue, waiting_point& at, std::uint32_t most) noexcept {
  if (somebody_waits(queue, at)) [[unlikely]]
    wake_queue(queue, at, most);
}
export inline void notify_one(const queue_view& queue, waiting_point& at) noexcept {
  notify(queue, at, 1);
}
export inline void notify_all(const queue_view& queue, waiting_point& at) noexcept {
  notify(queue, at, ~std::uint32_t{0});
}

export inline constexpr platform::steady_time forever = platform::steady_time::max();

// Is it over? For who was told that something is there and found nothing: in a damaged queue the two may
// differ for ever.
export [[nodiscard]] inline bool passed(platform::steady_time deadline) noexcept {
  return deadline != forever && std::chrono::steady_clock::now() >= deadline;
}

// now + duration, or forever if that is beyond the clock.
export template <class Rep, class Period>
[[nodiscard]] platform::steady_time deadline_after(std::chrono::duration<Rep, Period> duration) {
  const auto now = std::chrono::steady_clock::now();
  using wide = std::chrono::duration<double, std::nano>;
  if (wide(duration) >= wide(forever - now)) return forever;
  if (duration <= duration.zero()) return now;
  return now + std::chrono::ceil<platform::steady_time::duration>(duration);
}

}  // namespace detail

// Anything wait_any and wait_set can wait for: it says so by a member
//   detail::wait_source wait_source() noexcept;
export template <class W>
concept waitable = requires(W& endpoint) {
  { endpoint.wait_source() } -> std::same_as<detail::wait_source>;
};

}  // namespace ipcpp
