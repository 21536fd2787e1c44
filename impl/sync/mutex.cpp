// Bodies of ipcpp.sync:mutex.
//
// Crash story, by the store that takes effect
//   lock      one exchange, 0 -> id. Before it nothing has happened, but a seat and a mark of the
//             dead one in the waiting point; after it the lock is held by somebody dead
//   unlock    id -> 0: held by somebody dead before it, free after it. Killed before it woke
//             anybody: whoever sleeps finds it free at the end of a slice
//   hand over id -> heir, H; then the heir is chosen, then unparked. Killed before it is chosen or
//             unparked: the heir finds itself handed the lock at the end of its slice, and the others
//             take it if the heir has not by the end of theirs. An heir that is killed before it said
//             yes leaves H: it never held the lock, so that is no owner's death
//   yes       heir, H -> heir: held by somebody dead from then on
//   death     dead id -> B by exchange, from exactly that id; then everyone is woken. Killed before it
//             woke: they find B at the end of a slice
// Race story. The lock passes by unlock's release store, or the chain of H and yes, to the next one's
// acquire exchange. From somebody dead it passes through the kernel: who is told of the death sees all
// that the dead one stored (platform contract), and the exchange dead id -> B (release) gives it on.
module;

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string_view>

module ipcpp.sync;

import ipcpp.platform;
import :mutex;
import :participants;
import :seats;
import :synchronized;
import :waiting;

namespace ipcpp {

using namespace detail;

namespace {

constexpr std::uint64_t broken_flag = 1;
constexpr std::uint64_t handed_flag = 2;
constexpr std::uint64_t flags = 0xffff;

constexpr std::chrono::milliseconds patience{
    1};  // before a death is looked for, or a turn demanded

[[nodiscard]] std::uint64_t owner_in(std::uint64_t word) noexcept {
  return word & ~flags;
}

enum class attempt : std::uint8_t { locked, owner_died, busy };

[[nodiscard]] attempt try_take(std::atomic_ref<std::uint64_t> word, std::uint64_t id,
                               bool for_repair) noexcept {
  std::uint64_t seen = word.load(std::memory_order_relaxed);  // the exchange decides
  for (;;) {
    const bool handed_to_me = seen == (id | handed_flag);
    if (owner_in(seen) != 0 && !handed_to_me) return attempt::busy;
    if ((seen & broken_flag) != 0 && !for_repair) return attempt::owner_died;
    // Acquire: pairs with unlock's release, and with the one that noticed a death.
    if (word.compare_exchange_weak(seen, id | (seen & broken_flag), std::memory_order_acquire,
                                   std::memory_order_relaxed))
      return attempt::locked;
  }
}

[[nodiscard]] std::uint64_t steady_ns(platform::steady_time t) noexcept {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(t.time_since_epoch()).count());
}

[[noreturn]] void refuse(errc kind, std::string_view found, std::string_view remedy) {
  throw error(kind, "lock", "", found, remedy);
}

}  // namespace

robust_lock::outcome robust_lock::try_lock(bool for_repair) {
  const std::atomic_ref word(owner_);
  if (seat* const s = recent_seat_at(this); s != nullptr) {
    std::uint64_t free = 0;
    if (word.compare_exchange_strong(free, s->id, std::memory_order_acquire,  // pairs with unlock
                                     std::memory_order_relaxed))
      return outcome::locked;
  }
  seat& me = seat_at(this);
  switch (try_take(word, me.id, for_repair)) {
    case attempt::locked:
      return outcome::locked;
    case attempt::owner_died:
      return outcome::owner_died;
    case attempt::busy:
      break;
  }
  return outcome::timed_out;
}

robust_lock::outcome robust_lock::lock(platform::steady_time deadline, bool for_repair) {
  if (seat* const s = recent_seat_at(this); s != nullptr) {
    std::uint64_t free = 0;
    if (std::atomic_ref(owner_).compare_exchange_strong(
            free, s->id, std::memory_order_acquire,  // pairs with unlock
            std::memory_order_relaxed))
      return outcome::locked;
  }
  return lock_slowly(deadline, for_repair);
}

robust_lock::outcome robust_lock::lock_slowly(platform::steady_time deadline, bool for_repair) {
  seat& me = seat_at(this);
  const std::atomic_ref word(owner_);
  for (std::uint32_t look = 0;; ++look) {
    const attempt got = try_take(word, me.id, for_repair);
    if (got == attempt::locked) return outcome::locked;
    if (got == attempt::owner_died) return outcome::owner_died;
    if (owner_in(word.load(std::memory_order_relaxed)) == me.id)  // only this thread writes it
      refuse(errc::would_deadlock, "held by this thread already", "use a recursive_mutex");
    if (look >= spins()) break;
    relax();
  }
  const platform::steady_time began = std::chrono::steady_clock::now();
  if (deadline <= began) return outcome::timed_out;
  platform::steady_time look_at = began + patience;  // when to ask for the first time who died

  waiting now(waiters_);
  for (;;) {
    now.arm();
    const attempt got = try_take(word, me.id, for_repair);
    if (got == attempt::locked) {
      now.left();
      return outcome::locked;
    }
    if (got == attempt::owner_died) return outcome::owner_died;  // a wake-up is passed on
    const std::uint64_t before = word.load(std::memory_order_relaxed);
    const platform::park_outcome slept = now.park(std::min(deadline, look_at));
    if (slept == platform::park_outcome::woken) continue;
    look_at = platform::steady_time::max();

    std::uint64_t seen = word.load(std::memory_order_relaxed);  // the exchange decides
    if (owner_in(seen) != 0 && seen == before && owner_in(seen) != me.id) {
      const bool gone = me.in.gone(owner_in(seen));
      if ((seen & handed_flag) != 0) {
        // Nobody has held it since it was handed over. Acquire, release: passes on what the one
        // that handed it over released.
        if (gone || slept == platform::park_outcome::slice_over)
          word.compare_exchange_strong(seen, 0, std::memory_order_acq_rel);
      } else if (gone &&
                 word.compare_exchange_strong(seen, broken_flag, std::memory_order_acq_rel)) {
        notify_all(waiters_);
      }
    }
    if (slept == platform::park_outcome::deadline_passed &&
        std::chrono::steady_clock::now() >= deadline) {
      const bool given = now.leave();
      // After leaving: whoever hands it over now sees that we left, whoever did is seen.
      const attempt last = try_take(word, me.id, for_repair);
      if (last == attempt::locked) return outcome::locked;
      if (given) (void)wake(waiters_, 1);
      return last == attempt::owner_died ? outcome::owner_died : outcome::timed_out;
    }
  }
}

void robust_lock::unlock() {
  const std::atomic_ref word(owner_);
  const std::atomic_ref marks(waiters_.marks);
  if (seat* const s = recent_seat_at(this); s != nullptr) {
    // Relaxed: our own store, or it is not ours. A mark that is missed here is seen below.
    if (word.load(std::memory_order_relaxed) == s->id &&
        marks.load(std::memory_order_relaxed) == 0) {
      word.store(0, std::memory_order_release);  // pairs with lock
      notify_one(waiters_);
      return;
    }
  }
  unlock_slowly();
}

void robust_lock::unlock_slowly() {
  seat* const me = find_seat(this);
  const std::atomic_ref word(owner_);
  const std::uint64_t held = word.load(std::memory_order_relaxed);  // our own store, or not ours
  if (me == nullptr || (held & ~broken_flag) != me->id)
    refuse(errc::not_owner, "held by nobody, or by another thread",
           "unlock it where it was locked");
  if ((held & broken_flag) != 0) {
    word.store(broken_flag, std::memory_order_release);  // pairs with lock_for_repair
    notify_all(waiters_);                                // all of them are told
    return;
  }
  const auto give = [](void* to, std::uint64_t heir) noexcept {
    // Release: pairs with the heir's yes.
    std::atomic_ref(*static_cast<std::uint64_t*>(to))
        .store(heir | handed_flag, std::memory_order_release);
  };
  const std::uint64_t since = steady_ns(std::chrono::steady_clock::now() - patience);
  if (std::atomic_ref(waiters_.marks).load(std::memory_order_relaxed) != 0) {
    if (hand_over(waiters_, since, give, &owner_)) return;
    // Nothing was given, or the heir left: ours again, unless the heir said yes after all or
    // somebody else took it over.
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    if (seen != me->id &&
        ((seen & handed_flag) == 0 ||
         // Acquire: perhaps it was handed on by another, whose changes we must pass on.
         !word.compare_exchange_strong(seen, me->id, std::memory_order_acquire)))
      return;
  }
  word.store(0, std::memory_order_release);  // pairs with lock
  notify_one(waiters_);
}

void robust_lock::make_consistent() {
  if (!held_by_me()) refuse(errc::not_owner, "not held by this thread", "lock_for_repair() first");
  // Relaxed: unlock publishes it.
  std::atomic_ref(owner_).fetch_and(~broken_flag, std::memory_order_relaxed);
}

void robust_lock::mark_inconsistent() {
  if (!held_by_me()) refuse(errc::not_owner, "not held by this thread", "lock it first");
  // Release: a look by owner_died() aside, before anything that is torn from now on.
  std::atomic_ref(owner_).fetch_or(broken_flag, std::memory_order_acq_rel);
}

bool robust_lock::owner_died() const noexcept {
  return (std::atomic_ref(const_cast<std::uint64_t&>(owner_)).load(std::memory_order_relaxed) &
          broken_flag) != 0;  // news, not an order
}

bool robust_lock::held_by_me() const noexcept {
  const seat* const me = find_seat(this);
  const std::uint64_t word =
      std::atomic_ref(const_cast<std::uint64_t&>(owner_)).load(std::memory_order_relaxed);
  return me != nullptr && (word & ~broken_flag) == me->id;  // only this thread writes its own id
}

void detail::refuse_missing_value() {
  refuse(errc::owner_died, "no value: a reset() failed, or somebody died in one", "reset() it");
}

// ---- mutex ----

namespace {

void refuse_after_death() {
  refuse(errc::owner_died, "an owner that died holding it",
         "mend what it protects under lock_for_repair() and make_consistent()");
}

}  // namespace

void mutex::lock() {
  // robust_lock::lock, in one piece.
  if (seat* const s = recent_seat_at(this); s != nullptr) {
    std::uint64_t free = 0;
    if (std::atomic_ref(core_.owner_)
            .compare_exchange_strong(free, s->id, std::memory_order_acquire,  // pairs with unlock
                                     std::memory_order_relaxed))
      return;
  }
  if (core_.lock_slowly(platform::steady_time::max(), false) == robust_lock::outcome::owner_died)
    refuse_after_death();
}

bool mutex::try_lock() {
  const robust_lock::outcome got = core_.try_lock(false);
  if (got == robust_lock::outcome::owner_died) refuse_after_death();
  return got == robust_lock::outcome::locked;
}

bool mutex::lock_until(platform::steady_time deadline) {
  const robust_lock::outcome got = core_.lock(deadline, false);
  if (got == robust_lock::outcome::owner_died) refuse_after_death();
  return got == robust_lock::outcome::locked;
}

void mutex::unlock() {
  core_.unlock();
}

repair_guard<mutex> mutex::lock_for_repair() {
  (void)core_.lock(platform::steady_time::max(), true);
  return repair_guard<mutex>(*this);
}

}  // namespace ipcpp
