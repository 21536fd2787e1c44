// Bodies of ipcpp.sync:waiting. The protocol, its crash story and its race story stand there.
module;

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

module ipcpp.sync;

import ipcpp.platform;
import :address_map;
import :participant_table;
import :participants;
import :seats;
import :waiting;

namespace ipcpp::detail {

namespace {

// Words of seats. Acquire and release order the owner's words 1 and 2 with its word 0, and a chosen
// one's wake-up with what its notifier did before.
[[nodiscard]] std::atomic_ref<std::uint64_t> seat_word(std::uint64_t* words,
                                                       std::size_t i) noexcept {
  return std::atomic_ref<std::uint64_t>(words[i]);
}

[[nodiscard]] bool choose(std::uint64_t* words, std::uint64_t point) noexcept {
  return seat_word(words, point_word)
      .compare_exchange_strong(point, point | chosen_flag, std::memory_order_acq_rel);
}

// The seats under one mark.
template <class F>
void for_each_under(const roster& in, std::uint32_t mark, F&& f) noexcept {
  const std::uint32_t n = in.limit();
  for (std::uint32_t slot = mark; slot < n; slot += mark_count)
    if (std::uint64_t* const words = in.words(slot); words != nullptr)
      f(slot, words, seat_word(words, point_word).load(std::memory_order_acquire));
}

struct sleeper {
  std::uint32_t slot = 0;
  std::uint64_t* words = nullptr;
  std::uint64_t since = ~std::uint64_t{0};
};

// Wakes whoever waits for `point` under that mark, or at several points; how many of the former.
std::uint32_t wake_under(const roster& in, std::uint32_t mark, std::uint64_t point) noexcept {
  std::uint32_t woken = 0;
  for_each_under(in, mark, [&](std::uint32_t slot, std::uint64_t* words, std::uint64_t waits) {
    if ((waits != point && waits != several_points) || !choose(words, waits)) return;
    in.unpark(slot);
    if (waits == point) ++woken;
  });
  return woken;
}

// The one of `point` that has waited longest; takes off marks that stand for nobody. Whoever waits at
// several points is woken on the way: it may be this one. So is who marked just then, counted in
// `woken`.
[[nodiscard]] sleeper oldest(const roster& in, waiting_point& at, std::uint64_t point,
                             std::uint32_t& woken) noexcept {
  const std::atomic_ref marks(at.marks);
  sleeper found;
  const std::uint64_t seen = marks.load(std::memory_order_acquire) & ~fences_flag;
  for (std::uint32_t mark = 0; mark < mark_count; ++mark) {
    const std::uint64_t bit = std::uint64_t{1} << mark;
    if ((seen & bit) == 0) continue;
    bool somebody = false;
    for_each_under(in, mark, [&](std::uint32_t slot, std::uint64_t* words, std::uint64_t waits) {
      if (waits == several_points && choose(words, several_points)) in.unpark(slot);
      if (waits != point) return;
      somebody = true;
      const std::uint64_t since =
          seat_word(words, since_word).load(std::memory_order_relaxed);  // a preference
      if (since < found.since) found = {slot, words, since};
    });
    if (somebody) continue;
    // Off first, then another look: who marked before is seen, who marks afterwards stays marked. All
    // who are seen are woken: another notifier may just have found no mark of theirs.
    marks.fetch_and(~bit, std::memory_order_acq_rel);
    woken += wake_under(in, mark, point);
  }
  return found;
}

std::uint32_t wake_all(const roster& in, waiting_point& at, std::uint64_t point) noexcept {
  const std::atomic_ref marks(at.marks);
  std::uint32_t woken = 0;
  const std::uint64_t seen = marks.fetch_and(fences_flag, std::memory_order_acq_rel) & ~fences_flag;
  for (std::uint32_t mark = 0; mark < mark_count; ++mark)
    if ((seen >> mark & 1) != 0) woken += wake_under(in, mark, point);
  return woken;
}

std::uint32_t wake_in(const roster& in, waiting_point& at, std::uint32_t most) noexcept {
  // Without a heavy fence between us and the waiters this has to be an exchange, though it changes
  // nothing: see the race story. The one before (anybody_waits) may have failed, and was then a load.
  const std::atomic_ref marks(at.marks);
  const bool exchanges = !notifies_without_fence.load(std::memory_order_relaxed) ||
                         (marks.load(std::memory_order_relaxed) & fences_flag) != 0;
  if (exchanges && (marks.fetch_add(0, std::memory_order_acq_rel) & ~fences_flag) == 0) return 0;
  const std::uint64_t point = in.point_of(at);
  if (most == ~std::uint32_t{0}) return wake_all(in, at, point);
  std::uint32_t woken = 0;
  while (woken < most) {
    const sleeper chosen = oldest(in, at, point, woken);
    if (chosen.words == nullptr || woken >= most) break;
    if (!choose(chosen.words, point)) continue;  // somebody else did, or it left
    in.unpark(chosen.slot);
    ++woken;
  }
  return woken;
}

}  // namespace

std::uint32_t wake(waiting_point& at, std::uint32_t most) noexcept {
  return wake_in(roster::at(&at), at, most);
}

bool hand_over(waiting_point& at, std::uint64_t waited_since, give_function give,
               void* context) noexcept {
  const roster in = roster::at(&at);
  const std::uint64_t point = in.point_of(at);
  std::uint32_t woken = 0;
  const sleeper heir = oldest(in, at, point, woken);
  if (heir.words == nullptr || heir.since > waited_since) return false;
  const std::uint64_t id = in.id_at(heir.slot);
  if (id == 0) return false;
  give(context, id);
  if (!choose(heir.words, point)) return false;
  in.unpark(heir.slot);
  return true;
}

// ---- waiting ----

waiting::waiting(waiting_point& at, std::uint64_t tag) : seat_(&seat_at(&at)), points_{&at} {
  waits_for_ = seat_->in.point_of(at);
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  seat_word(seat_->words, since_word)
      .store(static_cast<std::uint64_t>(
                 std::chrono::duration_cast<std::chrono::nanoseconds>(now).count()),
             std::memory_order_relaxed);  // published by word 0, as the tag
  seat_word(seat_->words, tag_word).store(tag, std::memory_order_relaxed);
}

waiting::~waiting() {
  if (!in_) return;
  if (leave() && count_ == 1) (void)wake_in(seat_->in, *points_[0], 1);
}

void waiting::also_at(waiting_point& other) {
  if (&seat_at(&other) != seat_)
    throw error(errc::invalid_argument, "waiting at several points", "points of one place",
                "one of another", "wait for things of one segment");
  if (count_ == most_points)
    throw error(errc::limit_reached, "waiting at several points", "at most 64", "more", "");
  points_[count_++] = &other;
  waits_for_ = several_points;
}

void waiting::mark() noexcept {
  const std::uint64_t bit = std::uint64_t{1} << (seat_->handle.slot % mark_count);
  for (std::uint32_t i = 0; i < count_; ++i)
    std::atomic_ref(points_[i]->marks).fetch_or(bit, std::memory_order_acq_rel);
  if (notifies_without_fence.load(std::memory_order_relaxed) && platform::heavy_fence()) return;
#if defined(_WIN32)
  return;  // nobody notifies without an exchange there
#else
  for (std::uint32_t i = 0; i < count_; ++i) {
    // Whoever notifies exchanges from now on, and so has seen the mark or is seen by our next look.
    const std::atomic_ref marks(points_[i]->marks);
    marks.fetch_or(bit | fences_flag, std::memory_order_acq_rel);
  }
#endif
}

void waiting::arm() noexcept {
  ticket_ = seat_->ticket();
  seat_word(seat_->words, point_word).store(waits_for_, std::memory_order_release);  // look_under
  mark();
}

bool waiting::chosen() const noexcept {
  return (seat_word(seat_->words, point_word).load(std::memory_order_acquire) & chosen_flag) != 0;
}

platform::park_outcome waiting::park(platform::steady_time deadline) noexcept {
  if (chosen()) return platform::park_outcome::woken;
  const platform::park_outcome outcome = seat_->park(ticket_, deadline);
  return chosen() ? platform::park_outcome::woken : outcome;
}

void waiting::left() noexcept {
  (void)leave();
}

bool waiting::leave() noexcept {
  in_ = false;
  return (seat_word(seat_->words, point_word).exchange(0, std::memory_order_acq_rel) &
          chosen_flag) != 0;
}

}  // namespace ipcpp::detail
