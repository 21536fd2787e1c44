// ipcpp.queue:wait_set - wait_any for a number of endpoints that changes.
//
//   ipcpp::wait_set set;
//   set.add(orders, 1);  set.add(prices, 2);             a tag of one's own choice for each
//   while (auto tag = set.wait_for(1s)) ...              which one is ready
//   set.remove(orders);
//
// Private to one thread. An endpoint must not be moved or destroyed while it is in the set. Who was
// told last is looked at last the next time, so a busy queue does not hide the others.
module;

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

export module ipcpp.queue:wait_set;

import ipcpp.platform;
import ipcpp.sync;
import :waitable;

namespace ipcpp {

export class wait_set {
 public:
  wait_set() = default;

  // Allocates. An endpoint that is in it already gets another tag.
  template <waitable W>
  void add(W& endpoint, std::uint64_t tag) {
    add(endpoint.wait_source(), tag);
  }
  // false: it was not in it.
  template <waitable W>
  bool remove(W& endpoint) noexcept {
    return remove(static_cast<void*>(&endpoint));
  }
  [[nodiscard]] inline std::size_t size() const noexcept { return sources_.size(); }
  [[nodiscard]] inline bool empty() const noexcept { return sources_.empty(); }

  // The tag of one that is ready, or nothing at the deadline. Throws invalid_argument for an empty
  // set, limit_reached, damaged.
  [[nodiscard]] inline std::optional<std::uint64_t> wait() { return wait_until(detail::forever); }
  [[nodiscard]] std::optional<std::uint64_t> wait_until(
      std::chrono::steady_clock::time_point deadline);
  template <class Rep, class Period>
  [[nodiscard]] std::optional<std::uint64_t> wait_for(std::chrono::duration<Rep, Period> duration) {
    return wait_until(detail::deadline_after(duration));
  }

 private:
  void add(const detail::wait_source& source, std::uint64_t tag);
  bool remove(void* endpoint) noexcept;

  std::vector<detail::wait_source> sources_;
  std::vector<std::uint64_t> tags_;
};

}  // namespace ipcpp
