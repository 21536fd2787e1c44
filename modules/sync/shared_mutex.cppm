// ipcpp.sync:shared_mutex - a mutex that readers share; a dead reader is in nobody's way.
//
// Representation, 32 bytes, zero at first:
//
//   0   robust_lock      the writer, as in :mutex; or whoever stands at the gate (G)
//   16  readers          bit m: under mark m (slot modulo 63) a seat may hold it shared
//   24  waiting_point    the writer that waits for the last readers to leave
//
// Who reads is written in the reader's own seat (words 3 to 12: up to ten shared locks at a time per
// thread and place), not counted: a seat that is buried is wiped, and a writer that finds a dead one's
// word passes over it. So readers do not share a line but for a mark set once.
//
//   reader   word of its seat := this lock; mark, unless it is set; is there a writer? no: in.
//            yes: word := 0, and through the gate: lock the gate, word, mark, unlock the gate
//   writer   locks the gate (id, G), waits until nobody is inside, then id: in
//   A mark under which nobody reads is taken off by the writer at the gate, which then looks once
//   more, and puts it back if somebody came.
//
// Race story. The reader's word and its look at the writer, the writer's gate and its look at the words
// are sequentially consistent: one sees the other. A reader looks at its mark after it wrote its word:
// if the mark is taken off before that it marks again, if afterwards the writer's second look sees it.
// Leaving: word := 0 (release) pairs with the writer's look (acquire).
// Crash story. A reader that dies leaves its word: passed over. A writer that dies at the gate has
// touched nothing: the gate is free again, but perhaps a mark is off that should not be, so whoever
// passes over it (or over a dead writer) sets all marks first.
//
// Fairness: the gate is handed over as a mutex is, to readers and writers by their age, and new readers
// do not pass a writer that waits for the last ones.
module;

#include <chrono>
#include <cstdint>
#include <type_traits>

export module ipcpp.sync:shared_mutex;

import ipcpp.platform;
import :mutex;
import :waiting;

namespace ipcpp {

// For std::shared_lock, std::unique_lock, std::scoped_lock. Not recursive, neither way.
export class shared_mutex {
 public:
  static constexpr bool is_ipcpp_shareable = true;

  constexpr shared_mutex() noexcept = default;
  shared_mutex(const shared_mutex&) = delete;
  shared_mutex& operator=(const shared_mutex&) = delete;

  // ---- exclusively: as mutex's. would_deadlock also if this thread holds it shared ----
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
  inline void unlock() { core_.unlock(); }

  // ---- shared ----
  // Blocks while a writer holds it or waits for it. Throws owner_died while a writer's death is not
  // repaired, would_deadlock if this thread holds it exclusively, limit_reached for the eleventh
  // shared lock of this thread in the place, and as lock().
  void lock_shared();
  [[nodiscard]] bool try_lock_shared();
  template <class Rep, class Period>
  [[nodiscard]] bool try_lock_shared_for(const std::chrono::duration<Rep, Period>& wait) {
    return lock_shared_until(detail::steady_deadline(wait));
  }
  template <class Clock, class Duration>
  [[nodiscard]] bool try_lock_shared_until(
      const std::chrono::time_point<Clock, Duration>& deadline) {
    return lock_shared_until(detail::steady_deadline(deadline));
  }
  // Throws not_owner.
  void unlock_shared();

  // ---- after a writer's death: as mutex's ----
  repair_guard<shared_mutex> lock_for_repair();
  inline void make_consistent() { core_.make_consistent(); }
  inline void mark_inconsistent() { core_.mark_inconsistent(); }
  [[nodiscard]] inline bool owner_died() const noexcept { return core_.owner_died(); }

 private:
  using outcome = detail::robust_lock::outcome;
  [[nodiscard]] bool lock_until(platform::steady_time deadline);
  [[nodiscard]] bool lock_shared_until(platform::steady_time deadline);
  [[nodiscard]] outcome write_slowly(platform::steady_time deadline, bool for_repair);
  [[nodiscard]] outcome read(platform::steady_time deadline, bool blocks);
  [[nodiscard]] bool anybody_inside(bool look_for_the_dead) noexcept;
  [[nodiscard]] bool wait_for_readers(platform::steady_time deadline);
  void come_in(std::uint64_t& word) noexcept;
  void go_out(std::uint64_t& word) noexcept;

  detail::robust_lock core_;
  std::uint64_t readers_ = 0;
  detail::waiting_point last_out_;
};
static_assert(sizeof(shared_mutex) == 32 && std::is_standard_layout_v<shared_mutex>);

}  // namespace ipcpp
