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
import :lock_word;
import :mutex;
import :participants;
import :recursive_mutex;
import :seats;
import :synchronized;
import :waiting;

namespace ipcpp {

using namespace detail;

namespace {

// After this the oldest waiter is handed the lock. Shorter, and every turn of a busy machine, where
// sleepers wait for a processor, becomes a switch of processes.
constexpr std::chrono::milliseconds longest_overtaking{10};

constexpr std::chrono::milliseconds patience{1};  // before it is asked who died

enum class attempt : std::uint8_t { locked, owner_died, busy };

[[nodiscard]] attempt try_take(std::atomic_ref<std::uint64_t> word, const seat& me,
                               const lock_request& how) noexcept {
  const std::uint64_t id = me.id;
  std::uint64_t seen = word.load(std::memory_order_relaxed);  // the exchange decides
  for (;;) {
    const bool handed_to_me = seen == (id | handed_flag);
    if (owner_in(seen) != 0 && !handed_to_me) return attempt::busy;
    if ((seen & broken_flag) != 0 && !how.for_repair) return attempt::owner_died;
    // Acquire: pairs with unlock's release, and with the one that noticed a death. Sequentially
    // consistent: a writer's comes before its look at the readers (:shared_mutex).
    if (word.compare_exchange_weak(seen,
                                   id | (seen & broken_flag) | (how.at_the_gate ? gate_flag : 0),
                                   std::memory_order_seq_cst, std::memory_order_relaxed)) {
      me.catch_up();
      return attempt::locked;
    }
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

robust_lock::outcome robust_lock::try_lock(const lock_request& how) {
  seat& me = seat_at(this);
  const std::atomic_ref word(owner_);
  attempt got = try_take(word, me, how);
  // Who only ever tries has to be told as well.
  if (got == attempt::busy && pass_over_the_gone(me, how, false)) got = try_take(word, me, how);
  switch (got) {
    case attempt::locked:
      return outcome::locked;
    case attempt::owner_died:
      return outcome::owner_died;
    case attempt::busy:
      break;
  }
  return outcome::timed_out;
}

// Frees the lock if its owner is gone, or the one it was handed to (who, if `waited`, is passed over
// alive). false: it did not.
bool robust_lock::pass_over_the_gone(seat& me, const lock_request& how, bool waited) noexcept {
  const std::atomic_ref word(owner_);
  std::uint64_t seen = word.load(std::memory_order_relaxed);  // the exchange decides
  if (owner_in(seen) == 0 || owner_in(seen) == me.id) return false;
  const bool gone = me.in.gone(owner_in(seen));
  if (gone && how.readers != nullptr)  // it may have died while it took a mark off
    std::atomic_ref(*how.readers).fetch_or(~std::uint64_t{0}, std::memory_order_seq_cst);
  // Nobody has held it since it was handed over; nothing was touched at the gate.
  const std::uint64_t freed = (seen & handed_flag) != 0 ? 0
                              : (seen & gate_flag) != 0 ? seen & broken_flag
                                                        : broken_flag;
  if (!gone && !(waited && (seen & handed_flag) != 0)) return false;
  // Acquire, release: what the gone one, or the one that handed it over, did is passed on.
  if (!word.compare_exchange_strong(seen, freed, std::memory_order_acq_rel)) return false;
  freed == 0 ? notify_one(waiters_) : notify_all(waiters_);
  return true;
}

robust_lock::outcome robust_lock::lock(const lock_request& how) {
  if (seat* const s = recent_seat_at(this); s != nullptr) {
    std::uint64_t free = 0;
    if (std::atomic_ref(owner_).compare_exchange_strong(
            free, s->id | (how.at_the_gate ? gate_flag : 0),
            std::memory_order_seq_cst,  // as in try_take
            std::memory_order_relaxed)) {
      s->catch_up();
      return outcome::locked;
    }
  }
  return lock_slowly(how);
}

robust_lock::outcome robust_lock::lock_slowly(const lock_request& how) {
  seat& me = seat_at(this);
  const std::atomic_ref word(owner_);
  for (std::uint32_t look = 0;; ++look) {
    const attempt got = try_take(word, me, how);
    if (got == attempt::locked) return outcome::locked;
    if (got == attempt::owner_died) return outcome::owner_died;
    // Only this thread writes it so; but a hand-over that is being taken back may name it with H.
    if ((word.load(std::memory_order_relaxed) & ~(broken_flag | gate_flag)) == me.id)
      refuse(errc::would_deadlock, "held by this thread already", "use a recursive_mutex");
    if (look >= spins()) break;
    relax();
  }
  const platform::steady_time began = std::chrono::steady_clock::now();
  if (how.deadline <= began) return try_lock(how);
  platform::steady_time look_at = began + patience;  // when to ask for the first time who died

  waiting now(waiters_);
  for (;;) {
    now.arm();
    const attempt got = try_take(word, me, how);
    if (got == attempt::locked) {
      now.left();
      return outcome::locked;
    }
    if (got == attempt::owner_died) return outcome::owner_died;  // a wake-up is passed on
    const std::uint64_t before = word.load(std::memory_order_relaxed);
    const platform::park_outcome slept = now.park(std::min(how.deadline, look_at));
    if (slept == platform::park_outcome::woken) continue;
    look_at = platform::steady_time::max();

    if (word.load(std::memory_order_relaxed) == before)
      (void)pass_over_the_gone(me, how, slept == platform::park_outcome::slice_over);
    if (slept == platform::park_outcome::deadline_passed &&
        std::chrono::steady_clock::now() >= how.deadline) {
      const bool given = now.leave();
      // After leaving: whoever hands it over now sees that we left, whoever did is seen.
      const attempt last = try_take(word, me, how);
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
  seat* const me = my_seat(this);
  const std::atomic_ref word(owner_);
  const std::uint64_t held = word.load(std::memory_order_relaxed);  // our own store, or not ours
  if (me == nullptr || (held & ~(broken_flag | gate_flag)) != me->id) refuse_foreign_unlock();
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
  const std::uint64_t since = steady_ns(std::chrono::steady_clock::now() - longest_overtaking);
  if (std::atomic_ref(waiters_.marks).load(std::memory_order_relaxed) != 0) {
    if (hand_over(waiters_, since, give, &owner_)) return;
    // Nothing was given, or the heir left: ours again, unless the heir said yes after all or
    // somebody else took it over.
    std::uint64_t seen = word.load(std::memory_order_relaxed);
    if ((seen & ~gate_flag) != me->id &&
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

void robust_lock::through_the_gate() noexcept {
  // Relaxed, and no exchange: while the owner lives nobody else changes it.
  const std::atomic_ref word(owner_);
  word.store(word.load(std::memory_order_relaxed) & ~gate_flag, std::memory_order_relaxed);
}

bool robust_lock::owner_died() const noexcept {
  return (std::atomic_ref(const_cast<std::uint64_t&>(owner_)).load(std::memory_order_relaxed) &
          broken_flag) != 0;  // news, not an order
}

bool robust_lock::held_by_me() const noexcept {
  const seat* const me = my_seat(this);
  const std::uint64_t word =
      std::atomic_ref(const_cast<std::uint64_t&>(owner_)).load(std::memory_order_relaxed);
  return me != nullptr &&
         (word & ~(broken_flag | gate_flag)) == me->id;  // only this thread writes its own id
}

void detail::refuse_missing_value() {
  refuse(errc::owner_died, "no value: a reset() failed, or somebody died in one", "reset() it");
}

void detail::refuse_after_death() {
  refuse(errc::owner_died, "an owner that died holding it",
         "mend what it protects under lock_for_repair() and make_consistent()");
}

void detail::refuse_foreign_unlock() {
  refuse(errc::not_owner, "not held by this thread", "unlock it where it was locked");
}

// ---- mutex ----

void mutex::lock() {
  if (core_.lock() == robust_lock::outcome::owner_died) refuse_after_death();
}

bool mutex::try_lock() {
  const robust_lock::outcome got = core_.try_lock();
  if (got == robust_lock::outcome::owner_died) refuse_after_death();
  return got == robust_lock::outcome::locked;
}

bool mutex::lock_until(platform::steady_time deadline) {
  const robust_lock::outcome got = core_.lock({.deadline = deadline});
  if (got == robust_lock::outcome::owner_died) refuse_after_death();
  return got == robust_lock::outcome::locked;
}

void mutex::unlock() {
  core_.unlock();
}

repair_guard<mutex> mutex::lock_for_repair() {
  (void)core_.lock({.for_repair = true});
  return repair_guard<mutex>(*this);
}

// ---- recursive_mutex ----

void recursive_mutex::lock() {
  if (again()) return;
  if (core_.lock() == robust_lock::outcome::owner_died) refuse_after_death();
  depth_ = 1;
}

bool recursive_mutex::try_lock() {
  return lock_until(platform::steady_time::min());
}

bool recursive_mutex::lock_until(platform::steady_time deadline) {
  if (again()) return true;
  const robust_lock::outcome got = deadline == platform::steady_time::min()
                                       ? core_.try_lock()
                                       : core_.lock({.deadline = deadline});
  if (got == robust_lock::outcome::owner_died) refuse_after_death();
  if (got == robust_lock::outcome::locked) depth_ = 1;
  return got == robust_lock::outcome::locked;
}

bool recursive_mutex::again() {
  if (!core_.held_by_me()) return false;
  if (depth_ == ~std::uint64_t{0})
    refuse(errc::limit_reached, "2^64 - 1 locks by this thread",
           "unlock it as often as it is locked");
  ++depth_;
  return true;
}

void recursive_mutex::unlock() {
  if (!core_.held_by_me()) refuse_foreign_unlock();
  if (--depth_ == 0) core_.unlock();
}

repair_guard<recursive_mutex> recursive_mutex::lock_for_repair() {
  if (!again()) {
    (void)core_.lock({.for_repair = true});
    depth_ = 1;  // whatever the dead one left there
  }
  return repair_guard<recursive_mutex>(*this);
}

}  // namespace ipcpp
