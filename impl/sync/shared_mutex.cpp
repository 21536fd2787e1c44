// Bodies of ipcpp.sync:shared_mutex. Its protocol and its stories stand there.
module;

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>

module ipcpp.sync;

import ipcpp.platform;
import :mutex;
import :seats;
import :shared_mutex;
import :waiting;

namespace ipcpp {

using namespace detail;

namespace {

constexpr std::chrono::milliseconds patience{1};

// The word of this thread's seat that names `lock`, or with 0 one that names none; nullptr: none such.
[[nodiscard]] std::uint64_t* read_word(seat& me, std::uint64_t lock) noexcept {
  for (std::size_t i = first_read_word; i < end_read_word; ++i)
    if (std::atomic_ref(me.words[i]).load(std::memory_order_relaxed) == lock)  // our own
      return &me.words[i];
  return nullptr;
}

// Some read word of that seat that names `lock`.
[[nodiscard]] std::uint64_t* names(std::uint64_t* words, std::uint64_t lock) noexcept {
  for (std::size_t i = first_read_word; i < end_read_word; ++i)
    if (std::atomic_ref(words[i]).load(std::memory_order_seq_cst) == lock) return &words[i];
  return nullptr;
}

[[nodiscard]] std::uint64_t mark_of(const seat& me) noexcept {
  return std::uint64_t{1} << (me.handle.slot % mark_count);
}

}  // namespace

// ---- writers ----

void shared_mutex::lock() {
  if (core_.lock({.at_the_gate = true, .readers = &readers_}) == outcome::owner_died)
    refuse_after_death();
  if (std::atomic_ref(readers_).load(std::memory_order_seq_cst) == 0)
    core_.through_the_gate();
  else
    (void)wait_for_readers(platform::steady_time::max());
}

bool shared_mutex::try_lock() {
  const outcome got = core_.try_lock({.at_the_gate = true});
  if (got == outcome::owner_died) refuse_after_death();
  if (got != outcome::locked) return false;
  if (anybody_inside(true)) {
    core_.unlock_slowly();
    return false;
  }
  core_.through_the_gate();
  return true;
}

bool shared_mutex::lock_until(platform::steady_time deadline) {
  const outcome got = write_slowly(deadline, false);
  if (got == outcome::owner_died) refuse_after_death();
  return got == outcome::locked;
}

repair_guard<shared_mutex> shared_mutex::lock_for_repair() {
  (void)write_slowly(platform::steady_time::max(), true);
  return repair_guard<shared_mutex>(*this);
}

shared_mutex::outcome shared_mutex::write_slowly(platform::steady_time deadline, bool for_repair) {
  const outcome got = core_.lock(
      {.deadline = deadline, .for_repair = for_repair, .at_the_gate = true, .readers = &readers_});
  if (got == outcome::locked && !wait_for_readers(deadline)) return outcome::timed_out;
  return got;
}

// At the gate. On false, and when it throws, the gate is free again.
bool shared_mutex::wait_for_readers(platform::steady_time deadline) {
  seat& me = *my_seat(this);
  if (read_word(me, me.in.point_of(last_out_)) != nullptr) {
    core_.unlock_slowly();
    throw error(errc::would_deadlock, "shared lock", "", "held shared by this thread already",
                "unlock_shared() first");
  }
  for (std::uint32_t look = 0; anybody_inside(false); ++look) {
    if (look < spins()) {
      relax();
      continue;
    }
    platform::steady_time look_at = std::chrono::steady_clock::now() + patience;
    waiting now(last_out_);
    for (;;) {
      now.arm();
      if (!anybody_inside(false)) break;
      const platform::park_outcome slept = now.park(std::min(deadline, look_at));
      if (slept == platform::park_outcome::woken) continue;
      look_at = platform::steady_time::max();
      if (!anybody_inside(true)) break;
      if (std::chrono::steady_clock::now() >= deadline) {
        now.left();
        core_.unlock_slowly();
        return false;
      }
    }
    now.left();
    break;
  }
  core_.through_the_gate();
  return true;
}

bool shared_mutex::anybody_inside(bool look_for_the_dead) noexcept {
  const roster in = my_seat(this)->in;
  const std::uint64_t lock = in.point_of(last_out_);
  const std::atomic_ref marks(readers_);
  const auto inside_under = [&](std::uint32_t mark) {
    bool somebody = false;
    for (std::uint32_t slot = mark; slot < in.limit(); slot += mark_count) {
      std::uint64_t* const words = in.words(slot);
      if (words == nullptr) continue;
      std::uint64_t* const word = names(words, lock);
      if (word == nullptr) continue;
      // Whoever sits there now and was not inside when we took the gate only looks and leaves again:
      // wiping its word is wiping what it is about to wipe.
      const std::uint64_t id = in.id_at(slot);
      std::uint64_t seen = lock;
      if (look_for_the_dead && (id == 0 || in.gone(id)) && in.id_at(slot) == id)
        std::atomic_ref(*word).compare_exchange_strong(seen, 0, std::memory_order_acq_rel);
      else
        somebody = true;
    }
    return somebody;
  };
  bool anybody = false;
  const std::uint64_t seen = marks.load(std::memory_order_seq_cst);
  for (std::uint32_t mark = 0; mark < 64; ++mark) {
    const std::uint64_t bit = std::uint64_t{1} << mark;
    if ((seen & bit) == 0) continue;
    if (mark < mark_count && inside_under(mark)) {
      anybody = true;
      continue;
    }
    // Off first, then another look: see the race story.
    marks.fetch_and(~bit, std::memory_order_seq_cst);
    if (mark < mark_count && inside_under(mark)) {
      marks.fetch_or(bit, std::memory_order_seq_cst);
      anybody = true;
    }
  }
  return anybody;
}

// ---- readers ----

void shared_mutex::come_in(std::uint64_t& word) noexcept {
  seat& me = *my_seat(this);
  std::atomic_ref(word).exchange(me.in.point_of(last_out_), std::memory_order_seq_cst);
  const std::atomic_ref marks(readers_);
  if ((marks.load(std::memory_order_seq_cst) & mark_of(me)) == 0)
    marks.fetch_or(mark_of(me), std::memory_order_seq_cst);
}

void shared_mutex::go_out(std::uint64_t& word) noexcept {
  std::atomic_ref(word).store(0, std::memory_order_release);  // pairs with anybody_inside
  notify_one(last_out_);
}

shared_mutex::outcome shared_mutex::read(platform::steady_time deadline, bool blocks) {
  seat* const known = recent_seat_at(this);
  seat& me = known != nullptr ? *known : seat_at(this);
  std::uint64_t* const word = read_word(me, 0);
  if (word == nullptr)
    throw error(errc::limit_reached, "shared lock",
                "at most " + std::to_string(end_read_word - first_read_word) +
                    " shared locks of one thread at a time",
                "one more", "unlock some, or lock exclusively");
  come_in(*word);
  // Acquire, as part of it: pairs with the last writer's unlock.
  if (std::atomic_ref(core_.word()).load(std::memory_order_seq_cst) == 0) {
    me.catch_up();
    return outcome::locked;
  }
  go_out(*word);
  const outcome got =
      blocks ? core_.lock({.deadline = deadline, .at_the_gate = true, .readers = &readers_})
             : core_.try_lock({.at_the_gate = true});
  if (got != outcome::locked) return got;
  come_in(*word);
  core_.unlock_slowly();
  return got;
}

void shared_mutex::lock_shared() {
  if (read(platform::steady_time::max(), true) == outcome::owner_died) refuse_after_death();
}

bool shared_mutex::try_lock_shared() {
  const outcome got = read({}, false);
  if (got == outcome::owner_died) refuse_after_death();
  return got == outcome::locked;
}

bool shared_mutex::lock_shared_until(platform::steady_time deadline) {
  const outcome got = read(deadline, true);
  if (got == outcome::owner_died) refuse_after_death();
  return got == outcome::locked;
}

void shared_mutex::unlock_shared() {
  seat* const me = my_seat(this);
  std::uint64_t* const word = me == nullptr ? nullptr : read_word(*me, me->in.point_of(last_out_));
  if (word == nullptr) refuse_foreign_unlock();
  go_out(*word);
}

}  // namespace ipcpp
