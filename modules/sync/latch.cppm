// ipcpp.sync:latch - wait until so many things are done, once.
//
// Representation, 16 bytes: a waiting_point, and how many are missing. Counting down is one exchange:
// done or not done, whoever dies.
//
// Failure model. The latch cannot know who was to count down: if that process dies, the others wait
// for ever. Who must not, waits with a deadline (or uses a barrier, which knows its members).
module;

#include <atomic>
#include <chrono>
#include <cstdint>
#include <type_traits>

export module ipcpp.sync:latch;

import ipcpp.platform;
import :address_map;
import :mutex;
import :waiting;

namespace ipcpp {

export class latch {
 public:
  static constexpr bool is_ipcpp_shareable = true;

  constexpr explicit latch(std::uint64_t expected) noexcept : missing_(expected) {}
  latch(const latch&) = delete;
  latch& operator=(const latch&) = delete;

  // Throws invalid_argument below zero, and changes nothing then.
  void count_down(std::uint64_t n = 1);
  [[nodiscard]] inline bool try_wait() const noexcept {
    // Acquire: pairs with count_down.
    const bool open =
        std::atomic_ref(const_cast<std::uint64_t&>(missing_)).load(std::memory_order_acquire) == 0;
    if (open) address_map::catch_up_with(this);
    return open;
  }
  // Blocks. Throws limit_reached as locks do.
  inline void wait() const { (void)wait_till(platform::steady_time::max()); }
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(const std::chrono::duration<Rep, Period>& wait) const {
    return wait_till(detail::steady_deadline(wait));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool wait_until(const std::chrono::time_point<Clock, Duration>& deadline) const {
    return wait_till(detail::steady_deadline(deadline));
  }
  inline void arrive_and_wait(std::uint64_t n = 1) {
    count_down(n);
    wait();
  }

 private:
  [[nodiscard]] bool wait_till(platform::steady_time deadline) const;

  mutable detail::waiting_point waiters_;
  std::uint64_t missing_;
};
static_assert(sizeof(latch) == 16 && std::is_standard_layout_v<latch>);

}  // namespace ipcpp
