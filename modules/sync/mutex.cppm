// ipcpp.sync:mutex - a lock between processes that survives its owner.
//
//   ipcpp::mutex stock_lock;                    in a segment, or in private memory
//   std::scoped_lock held(stock_lock);          throws owner_died if the last owner was killed in there
//   auto held = stock_lock.lock_for_repair();   holds it all the same
//   mend(stock); held.make_consistent();
//
// Representation, 16 bytes, zero at first:
//
//   0   63         32 31  16 15  3   2   1   0
//       | generation | slot | 0   | G | H | B |   who holds it, as a seat of the place (:seats)
//   8   waiting_point                              who waits for it
//
// | word       | means |
// |------------|-------|
// | 0          | free |
// | id         | held. If that seat is empty or its process dead: held by somebody dead |
// | id, H      | handed to a waiter that has not said yes yet; whoever finds it gone, or waited a whole |
// |            | slice for it, takes it instead |
// | B          | free, but an owner died: only lock_for_repair gets it |
// | id, B      | held for repair |
// | id, G      | (shared_mutex) held at the gate: nothing is touched yet, dying here harms nobody |
//
// Outside every mapped heap (or segment) a lock is this process's own, for its threads; no
// participants are needed. A forked child's copy of such a lock that its parent held has lost its
// owner; a lock in shared memory stays its parent's.
//
// Failure model. An owner is a thread: it has died when its process has, or when it ended without
// unlocking. The next to look marks the lock B. Dying at any instruction of any of these functions
// leaves the lock free, held (by somebody dead), or handed to somebody who takes it or is passed over.
// Waiting threads sleep; at the latest after 100 ms they notice whatever a death has left.
//
// Fairness. A thread that comes may overtake those that sleep, until the one that has waited longest
// has waited for 10 ms: then it is handed the lock. So nobody waits for more than one turn of each of
// those that came before it, and 10 ms.
module;

#include <chrono>
#include <cstdint>
#include <type_traits>
#include <utility>

export module ipcpp.sync:mutex;

import ipcpp.platform;
import :waiting;

namespace ipcpp {

namespace detail {

// A deadline of any clock on the steady clock.
export template <class Clock, class Duration>
[[nodiscard]] platform::steady_time steady_deadline(
    const std::chrono::time_point<Clock, Duration>& deadline) {
  using std::chrono::steady_clock;
  const platform::steady_time now = steady_clock::now();
  if constexpr (std::is_same_v<Clock, steady_clock>) {
    return std::chrono::time_point_cast<steady_clock::duration>(deadline);
  } else {
    const auto left = deadline - Clock::now();
    if (left <= left.zero()) return now;
    if (left >= std::chrono::hours(24 * 365 * 100)) return platform::steady_time::max();
    return now + std::chrono::ceil<steady_clock::duration>(left);
  }
}
export template <class Rep, class Period>
[[nodiscard]] platform::steady_time steady_deadline(
    const std::chrono::duration<Rep, Period>& wait) {
  using std::chrono::steady_clock;
  const platform::steady_time now = steady_clock::now();
  if (!(wait > wait.zero())) return now;
  if (wait >= std::chrono::hours(24 * 365 * 100)) return platform::steady_time::max();
  return now + std::chrono::ceil<steady_clock::duration>(wait);
}

export struct lock_request {
  platform::steady_time deadline = platform::steady_time::max();
  bool for_repair = false;
  bool at_the_gate = false;
  // Set to all ones before a dead owner is passed over, if there is such a word.
  std::uint64_t* readers = nullptr;
};

// The mutex without its manners, and the writers' side of shared_mutex.
export class robust_lock {
 public:
  enum class outcome : std::uint8_t { locked, timed_out, owner_died };

  constexpr robust_lock() noexcept = default;
  robust_lock(const robust_lock&) = delete;
  robust_lock& operator=(const robust_lock&) = delete;

  // Throws limit_reached, would_deadlock.
  [[nodiscard]] outcome lock(const lock_request& how = {});
  [[nodiscard]] outcome lock_slowly(
      const lock_request& how);  // the same, without the first attempt
  [[nodiscard]] outcome try_lock(const lock_request& how = {});
  void unlock();         // throws not_owner
  void unlock_slowly();  // the same
  // By the owner. Throws not_owner.
  void make_consistent();
  void mark_inconsistent();
  void through_the_gate() noexcept;
  [[nodiscard]] bool owner_died() const noexcept;  // B
  [[nodiscard]] bool held_by_me() const noexcept;

  // For who works on it in one piece.
  [[nodiscard]] inline std::uint64_t& word() noexcept { return owner_; }
  [[nodiscard]] inline waiting_point& waiters() noexcept { return waiters_; }

 private:
  [[nodiscard]] bool pass_over_the_gone(seat& me, const lock_request& how, bool waited) noexcept;

  std::uint64_t owner_ = 0;
  waiting_point waiters_;
};
static_assert(sizeof(robust_lock) == 16 && std::is_standard_layout_v<robust_lock>);

export [[noreturn]] void refuse_after_death();
export [[noreturn]] void refuse_foreign_unlock();

}  // namespace detail

// A lock held despite its owner's death, by lock_for_repair(). Unlocks at its end; unless
// make_consistent() was called, the next owner is told of the death all the same.
export template <class Mutex>
class [[nodiscard]] repair_guard {
 public:
  explicit repair_guard(Mutex& held) noexcept : held_(&held) {}
  repair_guard(repair_guard&& other) noexcept : held_(std::exchange(other.held_, nullptr)) {}
  repair_guard& operator=(repair_guard&& other) noexcept {
    std::swap(held_, other.held_);
    return *this;
  }
  ~repair_guard() {
    if (held_ != nullptr) held_->unlock();
  }
  // Did an owner die, so that there is something to mend?
  [[nodiscard]] bool owner_died() const noexcept { return held_->owner_died(); }
  void make_consistent() { held_->make_consistent(); }
  // What it protects is about to be torn on purpose: should we die or throw, the next one is told.
  void mark_inconsistent() { held_->mark_inconsistent(); }

 private:
  Mutex* held_;
};

// Lockable and TimedLockable: for std::lock_guard, std::unique_lock, std::scoped_lock. Not recursive.
export class mutex {
 public:
  static constexpr bool is_ipcpp_shareable = true;

  constexpr mutex() noexcept = default;
  mutex(const mutex&) = delete;
  mutex& operator=(const mutex&) = delete;

  // Blocks. Throws owner_died, without holding it, until somebody made it consistent;
  // would_deadlock if this thread holds it; limit_reached if it is this thread's first lock in the
  // place and the participant table is full of the living.
  void lock();
  // Does not block. Throws as lock() does, but for would_deadlock: then it is false. About 1 us when
  // somebody else holds it: it asks whether that one lives.
  [[nodiscard]] bool try_lock();
  // Like lock(), but false once the deadline has passed.
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_for(const std::chrono::duration<Rep, Period>& wait) {
    return lock_until(detail::steady_deadline(wait));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_until(const std::chrono::time_point<Clock, Duration>& deadline) {
    return lock_until(detail::steady_deadline(deadline));
  }
  // Throws not_owner. No system call when nobody waits.
  void unlock();

  // Holds the lock whatever became of its last owner. Blocks; throws would_deadlock, limit_reached.
  repair_guard<mutex> lock_for_repair();
  // By the owner: what it protects is whole again. Throws not_owner.
  inline void make_consistent() { core_.make_consistent(); }
  // By the owner: until make_consistent(), what it protects counts as after a death. Throws not_owner.
  inline void mark_inconsistent() { core_.mark_inconsistent(); }
  // Has an owner died since it was last consistent, as far as anybody noticed?
  [[nodiscard]] inline bool owner_died() const noexcept { return core_.owner_died(); }

 private:
  [[nodiscard]] bool lock_until(platform::steady_time deadline);

  detail::robust_lock core_;
};
static_assert(sizeof(mutex) == 16 && alignof(mutex) == 8);
static_assert(std::is_standard_layout_v<mutex> && std::is_trivially_destructible_v<mutex>);

}  // namespace ipcpp
