// ipcpp.sync:recursive_mutex - a mutex that its owner may lock again.
//
// Representation: the mutex's 16 bytes, then how often its owner holds it; the count means something to
// the owner alone, so a death in it harms nobody. Everything else is as :mutex says.
module;

#include <chrono>
#include <cstdint>
#include <type_traits>

export module ipcpp.sync:recursive_mutex;

import ipcpp.platform;
import :mutex;

namespace ipcpp {

export class recursive_mutex {
 public:
  static constexpr bool is_ipcpp_shareable = true;

  constexpr recursive_mutex() noexcept = default;
  recursive_mutex(const recursive_mutex&) = delete;
  recursive_mutex& operator=(const recursive_mutex&) = delete;

  // As mutex's, but for would_deadlock: the owner locks it once more.
  void lock();
  [[nodiscard]] bool try_lock();
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& wait) {
    return lock_until(detail::steady_deadline(wait));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& deadline) {
    return lock_until(detail::steady_deadline(deadline));
  }
  // As often as it was locked. Throws not_owner.
  void unlock();

  repair_guard<recursive_mutex> lock_for_repair();
  inline void make_consistent() { core_.make_consistent(); }
  inline void mark_inconsistent() { core_.mark_inconsistent(); }
  [[nodiscard]] inline bool owner_died() const noexcept { return core_.owner_died(); }

 private:
  [[nodiscard]] bool lock_until(platform::steady_time deadline);
  [[nodiscard]] bool again();

  detail::robust_lock core_;
  std::uint64_t depth_ = 0;
};
static_assert(sizeof(recursive_mutex) == 24 && std::is_standard_layout_v<recursive_mutex>);

}  // namespace ipcpp
