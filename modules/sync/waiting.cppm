// ipcpp.sync:waiting - sleep until something in shared memory has changed, and wake whoever sleeps.
//
// What every lock and every queue does when it has to wait, in three words:
//
//   detail::waiting_point           a word of the lock or queue; zero is its right initial value
//   detail::wait(point, deadline, ready)       sleeps until ready() says true or the deadline passed
//   detail::notify_one(point), notify_all      after the change that may make ready() true
//
// Representation. A thread takes one handle (kind 2) of the participant table of the place that the
// point lies in, its *seat* there, and sleeps on that handle's parking cell, whatever it waits for.
//
//   waiting_point    63   62                0
//                    | F | marks             |   mark m: a seat whose slot is m modulo 63 may sleep here
//                                                F: somebody who sleeps here cannot make a heavy fence
//   words of a seat  0 point   63   62   61         0      which point, counted from the place's table
//                              | C | R | distance    |     (R: from the place's first byte); 0 none,
//                                                          all ones but C: several points.
//                                                          C: chosen by a notifier, not yet awake
//                    1 since   steady clock, ns: when it began to wait. The oldest is chosen first
//                    2 tag     the waiter's own: whoever chooses may look at it
//
// So as many may wait at one point as the table has handles; a mark is a hint where to look, the words
// are the truth, and both name nobody who has died: a handle that is buried is wiped, a mark without
// a matching seat is taken off by the next notifier.
//
// Exact wake-ups. A notifier chooses a seat by one exchange (point -> C|point) and unparks it. The
// waiter acknowledges (0) when it leaves. notify_one wakes one seat, never the same one twice; seats
// that wait at several points are woken besides, whenever one of their marks is looked under.
//
// Crash story. Every sleep is sliced (50 ms), and whoever waits looks at its condition after each
// slice: so whatever of the following happens, nobody is later than two slices.
//   waiter, words written, no mark     nobody looks at them; wiped with the handle
//   waiter, marked, dies               a notifier may choose it: that wake-up is lost
//   notifier, chosen, not yet unparked the chosen finds C when its slice is over
//   notifier, a mark taken off, the    they look, and mark again, when their slice is over
//     seats under it not yet looked at
//   notifier, before it notified       the same as if it was about to: waiters look by themselves
//
// Race story. Waiter: words, mark (RMW), heavy fence, ready(). Notifier: change, then marks. Of the
// two, one sees the other: the heavy fence orders every enrolled notifier's store before its load.
// A notifier that is not enrolled reads the marks by an exchange (RMW): before the waiter's in the
// order of the word, then the waiter has acquired the change; after it, then the mark is seen. A
// waiter that has no heavy fence sets F, which sends every notifier to the exchange; those that
// looked before F became visible are made good by the slice. A mark with no seat under it is taken off, and
// then looked under once more: whoever marked before is seen, and woken, all of them, because another
// notifier may have looked for their mark meanwhile; who marks afterwards stays marked. A sleeper marks
// again before each sleep.
//
// Cost. Nobody waits: one load of a line the notifier has anyway (an exchange where there is no heavy
// fence). Waiting: a heavy fence (1 to 4 us) and a sleep. Waking: looks at limit/63 handles for each
// mark, and one system call for each sleeper.
//
// Outside every mapped place (no address_map entry) a point is this process's own: seats are then
// slots of a private table, with the same rules. A forked child has no seats; it takes new ones.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

export module ipcpp.sync:waiting;

import ipcpp.platform;
import :participants;

namespace ipcpp::detail {

export inline constexpr handle_kind seat_kind = 2;

// In shared memory, constant-initialised or zeroed; never copied or moved.
export struct waiting_point {
  std::uint64_t marks = 0;
};
static_assert(sizeof(waiting_point) == 8 && std::is_standard_layout_v<waiting_point> &&
              std::is_trivially_copyable_v<waiting_point>);
static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

// Does this process take part in heavy fences? Set with its first seat; until then it exchanges.
export extern constinit std::atomic<bool> notifies_without_fence;

// Notifying when somebody may wait; how many were woken.
export std::uint32_t wake(waiting_point& at, std::uint32_t most) noexcept;

// Call after the change. False when nobody waits: no system call, and no exchange where there are
// heavy fences.
export [[nodiscard]] inline bool anybody_waits(waiting_point& at) noexcept {
  const std::atomic_ref marks(at.marks);
  if (notifies_without_fence.load(std::memory_order_relaxed)) {  // never false again
    // The waiter's heavy fence orders the hardware; here only the compiler must not reorder.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return marks.load(std::memory_order_relaxed) != 0;
  }
  std::uint64_t none = 0;
  // An exchange even when it changes nothing: pairs with the waiter's mark, see the race story.
  return !marks.compare_exchange_strong(none, 0, std::memory_order_acq_rel);
}

// Wakes the one that has waited longest, if anybody waits. Who leaves a point after it was woken
// and finds more to do for others (a queue not empty yet) notifies again.
export inline void notify_one(waiting_point& at) noexcept {
  if (anybody_waits(at)) (void)wake(at, 1);
}
export inline void notify_all(waiting_point& at) noexcept {
  if (anybody_waits(at)) (void)wake(at, ~std::uint32_t{0});
}

// This thread's seat in the place that an address lies in.
export struct seat;
// Finds it, or takes one. Throws limit_reached.
export [[nodiscard]] seat& seat_at(const void* address);

// One waiting of this thread, at one point or at several of the same place. Not for use by two
// threads, nor inside another waiting of the same thread in the same place.
export class waiting {
 public:
  // Throws limit_reached (seat_at).
  explicit waiting(waiting_point& at, std::uint64_t tag = 0);
  waiting(const waiting&) = delete;
  waiting& operator=(const waiting&) = delete;
  // Leaves. If it was chosen since the last arm(), the wake-up is passed on: it may have been meant
  // for somebody who sleeps, while what this thread found was there without it.
  ~waiting();

  // Waits at this one as well, before the first arm(). Throws invalid_argument if it lies in another
  // place, limit_reached for more than 64.
  void also_at(waiting_point& other);

  // Before each look at the condition that is followed by park(). A wake-up that came before counts
  // as used.
  void arm() noexcept;
  // Sleeps until chosen, or one slice, or the deadline. May return early. Look at the condition
  // whatever it returns: a wake-up may have died with who gave it, or who was given it.
  platform::park_outcome park(platform::steady_time deadline) noexcept;
  // Did a notifier choose this thread since the last arm()?
  [[nodiscard]] bool chosen() const noexcept;
  // Leaves for good and keeps a wake-up it was given: for who will notify again itself (a lock does
  // when it is unlocked).
  void left() noexcept;
  // The same; true if it was given one, for who wants to decide later.
  [[nodiscard]] bool leave() noexcept;

 private:
  void mark() noexcept;

  static constexpr std::uint32_t most_points = 64;
  seat* seat_;
  waiting_point* points_[most_points];
  std::uint32_t count_ = 1;
  std::uint32_t ticket_ = 0;
  std::uint64_t waits_for_;
  bool in_ = true;
};

// Sleeps until ready() or the deadline; whether ready() said true. ready() may throw; it is called
// at least once in each slice. each_slice() is called when a slice ended without a wake-up: the place
// for a look at who died.
export template <class Ready, class EachSlice>
[[nodiscard]] bool wait(waiting_point& at, platform::steady_time deadline, Ready&& ready,
                        EachSlice&& each_slice) {
  if (ready()) return true;
  waiting now(at);
  for (;;) {
    now.arm();
    if (ready()) return true;
    const platform::park_outcome outcome = now.park(deadline);
    if (outcome == platform::park_outcome::slice_over) each_slice();
    if (outcome == platform::park_outcome::deadline_passed) return ready();
  }
}
export template <class Ready>
[[nodiscard]] bool wait(waiting_point& at, platform::steady_time deadline, Ready&& ready) {
  return wait(at, deadline, std::forward<Ready>(ready), [] {});
}

}  // namespace ipcpp::detail
