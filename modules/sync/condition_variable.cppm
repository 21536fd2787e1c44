// ipcpp.sync:condition_variable - wait with a lock let go, for any lock of ours.
//
// Representation: a waiting_point, 8 bytes, zero at first. Nothing inside can be left half done.
//
// Failure model. A wake-up may die with whoever gave it or was given it. Therefore wait() returns
// spuriously, at the latest after 50 ms: use the forms with a predicate, which look again. Then nothing
// that the others died of is noticed later than 100 ms. Locking again throws owner_died, without the
// lock, if its owner died meanwhile.
module;

#include <chrono>
#include <concepts>
#include <condition_variable>
#include <type_traits>
#include <utility>

export module ipcpp.sync:condition_variable;

import ipcpp.platform;
import :mutex;
import :waiting;

namespace ipcpp {

// Lock: std::unique_lock of a mutex of ours (or anything else with lock() and unlock()). All who wait
// use the same mutex, which may lie elsewhere.
export class condition_variable {
 public:
  static constexpr bool is_ipcpp_shareable = true;

  constexpr condition_variable() noexcept = default;
  condition_variable(const condition_variable&) = delete;
  condition_variable& operator=(const condition_variable&) = delete;

  // Whoever has waited longest. No system call, and no fence where there is a heavy one, when nobody
  // waits. With or without the lock held.
  inline void notify_one() noexcept { detail::notify_one(waiters_); }
  inline void notify_all() noexcept { detail::notify_all(waiters_); }

  // Unlocks, sleeps, locks. Throws limit_reached before it unlocks, what unlock() and lock() throw.
  template <class Lock>
  void wait(Lock& lock) {
    (void)sleep(lock, platform::steady_time::max());
  }
  template <class Lock, std::predicate Predicate>
  void wait(Lock& lock, Predicate holds) {
    while (!holds()) wait(lock);
  }
  template <class Lock, class Clock, class Duration>
  std::cv_status wait_until(Lock& lock, const std::chrono::time_point<Clock, Duration>& deadline) {
    return sleep(lock, detail::steady_deadline(deadline)) ? std::cv_status::no_timeout
                                                          : std::cv_status::timeout;
  }
  // Whether the predicate holds.
  template <class Lock, class Clock, class Duration, std::predicate Predicate>
  [[nodiscard]] bool wait_until(Lock& lock,
                                const std::chrono::time_point<Clock, Duration>& deadline,
                                Predicate holds) {
    const platform::steady_time until = detail::steady_deadline(deadline);
    while (!holds())
      if (!sleep(lock, until)) return holds();
    return true;
  }
  template <class Lock, class Rep, class Period>
  std::cv_status wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& wait) {
    return wait_until(lock, detail::steady_deadline(wait));
  }
  template <class Lock, class Rep, class Period, std::predicate Predicate>
  [[nodiscard]] bool wait_for(Lock& lock, const std::chrono::duration<Rep, Period>& wait,
                              Predicate holds) {
    return wait_until(lock, detail::steady_deadline(wait), std::move(holds));
  }

 private:
  // false: the deadline passed, and nobody woke us.
  template <class Lock>
  [[nodiscard]] bool sleep(Lock& lock, platform::steady_time deadline) {
    platform::park_outcome slept = platform::park_outcome::woken;
    bool chosen = false;
    {
      detail::waiting now(waiters_);
      now.arm();  // with the lock held: whoever changes something after we let go sees us
      lock.unlock();
      slept = now.park(deadline);
      chosen = now.leave();
    }
    lock.lock();
    return chosen || slept != platform::park_outcome::deadline_passed;
  }

  detail::waiting_point waiters_;
};
static_assert(sizeof(condition_variable) == 8 && std::is_standard_layout_v<condition_variable>);

}  // namespace ipcpp
