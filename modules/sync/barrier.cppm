// ipcpp.sync:barrier - threads of any processes wait for each other, again and again; the dead are not
// waited for.
//
// Representation: 24 bytes, then one word for each member:
//
//   0    waiting_point
//   8    phase           how often all have arrived
//   16   expected        how many members
//   24   member 0 | member 1 | ...
//
//   63         32 31  16 15             0
//   | generation | slot | arrived in     |    0: nobody yet. All ones: dropped, counts as arrived for ever
//
// A thread becomes a member when it first arrives. Who has arrived is read off the members' words, not
// counted, so a death at any instruction finds an arrival done or not done; the phase moves by one
// exchange, made by whoever sees that all have arrived.
//
// Failure model. A member whose thread or process is gone is dropped by those who wait (<= 100 ms). Who
// dies before it first arrived was never a member: the others wait for another one in its stead, or
// until their deadline.
module;

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <type_traits>

export module ipcpp.sync:barrier;

import ipcpp.platform;
import :mutex;
import :waiting;

namespace ipcpp {

namespace detail {

export struct barrier_core {
  mutable waiting_point waiters;
  std::uint64_t phase = 0;
  std::uint64_t expected = 0;
};
// `of` is followed by of.expected words at `members`.
export [[nodiscard]] std::uint64_t arrive_at(barrier_core& of, std::uint64_t* members, bool drop);
export [[nodiscard]] bool wait_at(barrier_core& of, std::uint64_t* members, std::uint64_t phase,
                                  platform::steady_time deadline);

}  // namespace detail

export template <std::size_t most = 32>
class barrier {
  static_assert(most >= 1 && most <= 4096);

 public:
  static constexpr bool is_ipcpp_shareable = true;
  using arrival_token = std::uint64_t;

  // Precondition: 1 <= expected <= most.
  constexpr explicit barrier(std::size_t expected) noexcept { core_.expected = expected; }
  barrier(const barrier&) = delete;
  barrier& operator=(const barrier&) = delete;

  // Does not block. Throws limit_reached if there are `expected` other members; invalid_argument if
  // this thread has arrived in this phase already.
  [[nodiscard]] arrival_token arrive() { return detail::arrive_at(core_, members_, false); }
  // Blocks until the phase of the token is over.
  void wait(arrival_token phase) {
    (void)detail::wait_at(core_, members_, phase, platform::steady_time::max());
  }
  template <class Rep, class Period>
  [[nodiscard]] bool wait_for(arrival_token phase, const std::chrono::duration<Rep, Period>& wait) {
    return detail::wait_at(core_, members_, phase, detail::steady_deadline(wait));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool wait_until(arrival_token phase,
                                const std::chrono::time_point<Clock, Duration>& deadline) {
    return detail::wait_at(core_, members_, phase, detail::steady_deadline(deadline));
  }
  void arrive_and_wait() { wait(arrive()); }
  // Arrives in this phase and in all that follow.
  void arrive_and_drop() { (void)detail::arrive_at(core_, members_, true); }

 private:
  detail::barrier_core core_;
  std::uint64_t members_[most]{};
};
static_assert(std::is_standard_layout_v<barrier<4>>);

}  // namespace ipcpp
