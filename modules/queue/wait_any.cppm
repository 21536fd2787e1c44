// ipcpp.queue:wait_any - wait for whichever of several endpoints is ready first.
//
//   const auto ready = ipcpp::wait_any_for(1s, orders, prices, mail);
//   if (ready && *ready == 0) handle(orders.try_receive());
//
// Ready is an endpoint whose operation would not report empty or full: there is a message, or room, or
// it is closed (otherwise who waits for many would never learn of it). Receivers, senders and readers
// of all kinds of queues may be mixed. That one is ready is a hint: another receiver may be faster, so
// use the try_ form and wait again. Of several the first in the list is told.
//
// One sleep, whatever the number; endpoints of other segments than the first one's are looked at every
// millisecond. A wake-up that was meant for a queue which is not told is passed on.
module;

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

export module ipcpp.queue:wait_any;

import ipcpp.platform;
import ipcpp.sync;
import :waitable;

namespace ipcpp {

// The index of one that is ready, or nothing at the deadline. Throws limit_reached, damaged.
export template <waitable... Endpoints>
  requires(sizeof...(Endpoints) > 0)
[[nodiscard]] std::optional<std::size_t> wait_any_until(
    std::chrono::steady_clock::time_point deadline, Endpoints&... endpoints) {
  const std::array<detail::wait_source, sizeof...(Endpoints)> sources{endpoints.wait_source()...};
  return detail::wait_for_one(sources, deadline);
}
export template <class Rep, class Period, waitable... Endpoints>
  requires(sizeof...(Endpoints) > 0)
[[nodiscard]] std::optional<std::size_t> wait_any_for(std::chrono::duration<Rep, Period> duration,
                                                      Endpoints&... endpoints) {
  return wait_any_until(detail::deadline_after(duration), endpoints...);
}
export template <waitable... Endpoints>
  requires(sizeof...(Endpoints) > 0)
[[nodiscard]] std::optional<std::size_t> wait_any(Endpoints&... endpoints) {
  return wait_any_until(detail::forever, endpoints...);
}

}  // namespace ipcpp
