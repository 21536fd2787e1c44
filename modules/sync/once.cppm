// ipcpp.sync:once - something is done once, among all processes.
//
// Representation, 24 bytes, zero at first: a lock for the one that does it, and whether it is done.
//
// Failure model. Whoever dies doing it has not done it: the next one does it again, from the start; it
// must not mind what the first left. The same after an exception, which call_once passes on.
module;

#include <atomic>
#include <cstdint>
#include <functional>
#include <type_traits>
#include <utility>

export module ipcpp.sync:once;

import ipcpp.platform;
import :address_map;
import :mutex;

namespace ipcpp {

export class once_flag;

// Blocks while somebody else is at it. Throws what f throws, would_deadlock if f calls it for the same
// flag, limit_reached.
export template <class F, class... Args>
void call_once(once_flag& flag, F&& f, Args&&... args);

export class once_flag {
 public:
  static constexpr bool is_ipcpp_shareable = true;

  constexpr once_flag() noexcept = default;
  once_flag(const once_flag&) = delete;
  once_flag& operator=(const once_flag&) = delete;

  [[nodiscard]] inline bool done() const noexcept {
    // Acquire: pairs with call_once.
    return std::atomic_ref(const_cast<std::uint64_t&>(done_)).load(std::memory_order_acquire) != 0;
  }

 private:
  template <class F, class... Args>
  friend void call_once(once_flag& flag, F&& f, Args&&... args);

  mutex doing_;
  std::uint64_t done_ = 0;
};
static_assert(sizeof(once_flag) == 24 && std::is_standard_layout_v<once_flag>);

template <class F, class... Args>
void call_once(once_flag& flag, F&& f, Args&&... args) {
  if (flag.done()) return address_map::catch_up_with(&flag);
  auto held = flag.doing_.lock_for_repair();
  held.make_consistent();  // it is done from the start, whoever died
  if (flag.done()) return;
  std::invoke(std::forward<F>(f), std::forward<Args>(args)...);
  std::atomic_ref(flag.done_).store(1, std::memory_order_release);  // pairs with done
}

}  // namespace ipcpp
