// The private table of seats: for locks outside every mapped place, this process's own.
//
// The same words and rules as in a participant table, but nobody dies alone here: a thread that
// ends gives its seat up. In a forked child every slot of the parent reads as empty (its incarnation
// is not the child's) and is replaced before it is used again: its mutex may have been copied locked.
module;

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>
#include <string>

module ipcpp.sync;

import ipcpp.platform;
import :fork_safe_lock;
import :participants;
import :seats;

namespace ipcpp::detail {

struct private_slot {
  std::uint64_t words[handle_words::count]{};
  std::atomic<std::uint64_t> control{0};  // generation << 1 | used
  std::uint64_t incarnation = 0;
  std::uint32_t slot = 0;

  std::mutex changing;
  std::condition_variable changed;
  std::uint32_t wake_ups = 0;
};

namespace {

constinit std::atomic<private_slot*> slots[most_private_seats];
constinit std::atomic<std::uint32_t> slots_used{0};
constinit fork_safe_lock taking;

// nullptr: empty, or a parent's.
[[nodiscard]] private_slot* slot_at(std::uint32_t slot) noexcept {
  if (slot >= most_private_seats) return nullptr;
  private_slot* const s = slots[slot].load(std::memory_order_acquire);  // pairs with take
  return s != nullptr && s->incarnation == platform::incarnation() ? s : nullptr;
}

}  // namespace

private_seat_id take_private_slot() {
  const fork_safe_guard guard(taking);
  const std::uint64_t now = platform::incarnation();
  for (std::uint32_t i = 0; i < most_private_seats; ++i) {
    private_slot* s = slots[i].load(std::memory_order_relaxed);  // changed under the lock only
    const bool foreign = s != nullptr && s->incarnation != now;
    if (s != nullptr && !foreign && (s->control.load(std::memory_order_relaxed) & 1) != 0) continue;
    const std::uint64_t before = s != nullptr ? s->control.load(std::memory_order_relaxed) >> 1 : 0;
    if (s == nullptr || foreign) {  // a parent's is left as it is
      s = new private_slot;
      s->incarnation = now;
      s->slot = i;
    }
    std::uint32_t generation = static_cast<std::uint32_t>(before) + 1;
    if (generation == 0) generation = 1;
    s->control.store(std::uint64_t{generation} << 1 | 1,
                     std::memory_order_release);   // private_id_at
    slots[i].store(s, std::memory_order_release);  // slot_at
    if (slots_used.load(std::memory_order_relaxed) <= i)
      slots_used.store(i + 1, std::memory_order_release);  // private_limit
    return {s, {i, generation}, s->words};
  }
  throw error(errc::limit_reached, "locks in private memory",
              "at most " + std::to_string(most_private_seats) + " threads that use them", "more",
              "let threads that are done end");
}

void free_private_slot(private_slot& slot) noexcept {
  for (std::uint64_t& word : slot.words) std::atomic_ref(word).store(0, std::memory_order_relaxed);
  slot.control.fetch_and(~std::uint64_t{1}, std::memory_order_release);  // pairs with private_id_at
}

std::uint32_t private_limit() noexcept {
  return slots_used.load(std::memory_order_acquire);  // pairs with take_private_slot
}
std::uint64_t* private_words(std::uint32_t slot) noexcept {
  private_slot* const s = slot_at(slot);
  return s != nullptr ? s->words : nullptr;
}
std::uint64_t private_id_at(std::uint32_t slot) noexcept {
  private_slot* const s = slot_at(slot);
  if (s == nullptr) return 0;
  const std::uint64_t control = s->control.load(std::memory_order_acquire);  // take, free
  return (control & 1) == 0 ? 0 : pack_seat_id({slot, static_cast<std::uint32_t>(control >> 1)});
}

void private_unpark(std::uint32_t slot) noexcept {
  private_slot* const s = slot_at(slot);
  if (s == nullptr) return;
  {
    const std::lock_guard guard(s->changing);
    ++s->wake_ups;
  }
  s->changed.notify_one();
}

std::uint32_t private_ticket(private_slot& slot) noexcept {
  const std::lock_guard guard(slot.changing);
  return slot.wake_ups;
}

platform::park_outcome private_park(private_slot& slot, std::uint32_t ticket,
                                    platform::steady_time deadline) noexcept {
  const platform::steady_time start = std::chrono::steady_clock::now();
  const platform::steady_time until =
      deadline - start < platform::wait_slice ? deadline : start + platform::wait_slice;
  std::unique_lock guard(slot.changing);
  if (slot.changed.wait_until(guard, until, [&] { return slot.wake_ups != ticket; }))
    return platform::park_outcome::woken;
  return std::chrono::steady_clock::now() >= deadline ? platform::park_outcome::deadline_passed
                                                      : platform::park_outcome::slice_over;
}

}  // namespace ipcpp::detail
