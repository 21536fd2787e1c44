// Bodies of ipcpp.queue:broadcast_ring: joining, and what is done for the dead.
module;

#include <atomic>
#include <cstdint>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;

namespace ipcpp::detail {

std::uint64_t broadcast_ring::join(std::uint64_t& cursor_word, bool from_oldest) noexcept {
  const std::atomic_ref cursor(cursor_word);
  const auto start = [&] {
    help_tail();  // else the newcomer would hold publishers back by a position it has no use for
    const std::uint64_t at = tail();
    const std::uint64_t back = from_oldest ? capacity() - 1 : 0;
    return at > back ? at - back : 0;
  };
  cursor.store(start() + 1, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the one in slowest_cursor
  const std::uint64_t from = start();
  cursor.store(from + 1, std::memory_order_release);
  return from;
}

std::uint64_t broadcast_ring::slowest_cursor(const queue_view& queue, std::uint64_t at) noexcept {
  std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the one in join
  std::uint64_t slowest = at;
  for (std::uint32_t i = 0; i < queue.endpoints; ++i) {
    const auto control_word = shared(queue.slots[i].control);
    std::uint64_t control = control_word.load(std::memory_order_acquire);  // attach
    if (role_of(control) != endpoint_role::receiver) continue;
    // Acquire: pairs with publish_cursor.
    const std::uint64_t cursor = shared(queue.slots[i].word[0]).load(std::memory_order_acquire);
    if (cursor == 0 || cursor - 1 >= slowest) continue;
    if (at - (cursor - 1) > mask_ && owner_is_gone(queue, control)) {
      retire(queue, i, control);
      const std::uint64_t free = std::uint64_t{generation_of(control)} << 5;
      control_word.compare_exchange_strong(control, free, std::memory_order_acq_rel);
      continue;
    }
    slowest = cursor - 1;
  }
  // A cursor from which nobody could still be reading is damage, or an oldest-first newcomer's.
  return at - slowest > mask_ + 1 ? at - mask_ - 1 : slowest;
}

bool broadcast_ring::make_hollow(const queue_view& queue, cell_word seen,
                                 std::atomic_ref<std::uint64_t> word) noexcept {
  const std::uint32_t owner = seen.owner();
  if (owner != 0 && owner <= queue.endpoints) {
    const auto control_word = shared(queue.slots[owner - 1].control);
    const std::uint64_t control = control_word.load(std::memory_order_acquire);  // attach, detach
    if (role_of(control) != endpoint_role::none) {
      if (!owner_is_gone(queue, control)) return false;
      if (control_word.load(std::memory_order_acquire) != control) return false;
    }
  }
  // Dead, or detached since: whatever it did before is visible, so the exchange decides.
  const cell_word hollow = cell_word::of(seen.next() - 1, 0, cell_state::hollow);
  return word.compare_exchange_strong(seen.bits, hollow.bits, std::memory_order_acq_rel);
}

void broadcast_ring::retire(const queue_view& queue, std::uint32_t slot,
                            std::uint64_t control) noexcept {
  // A subscriber's cursor stays: its successor's, until it has joined, is then an old one, which only
  // holds publishers back for an instant. Wiping it could wipe the successor's.
  if (role_of(control) == endpoint_role::receiver) return;
  const auto control_word = shared(queue.slots[slot].control);
  for (std::uint64_t i = 0; i <= mask_; ++i) {
    const auto word = word_of(i);
    cell_word seen{word.load(std::memory_order_acquire)};
    if (seen.state() != cell_state::writing || seen.owner() != slot + 1) continue;
    if (control_word.load(std::memory_order_acquire) != control) return;
    const cell_word hollow = cell_word::of(seen.next() - 1, 0, cell_state::hollow);
    word.compare_exchange_strong(seen.bits, hollow.bits, std::memory_order_acq_rel);
  }
}

// After damage: the tail is what the newest plausible slot says; the others become hollow positions
// of the lap before. Who is at work meanwhile may lose its message.
cell_result broadcast_ring::mend() noexcept {
  std::uint64_t newest = 0;
  for (std::uint64_t i = 0; i <= mask_; ++i) {
    const std::uint64_t next = cell_word{word_of(i).load(std::memory_order_acquire)}.next();
    if (next != 0 && ((next - 1) & mask_) == i && next > newest) newest = next;
  }
  if (newest > ~std::uint64_t{0} >> 14) newest = 0;  // cannot have come so far
  for (std::uint64_t i = 0; i <= mask_; ++i) {
    const auto word = word_of(i);
    const cell_word seen{word.load(std::memory_order_acquire)};
    // The last position before `newest` that lies in slot i.
    const std::uint64_t behind = (newest - 1 - i) & mask_;
    const std::uint64_t expected = newest >= behind + 1 ? newest - behind : 0;  // position + 1
    if (seen.next() == expected) continue;
    word.store(expected == 0 ? 0 : cell_word::of(expected - 1, 0, cell_state::hollow).bits,
               std::memory_order_release);
  }
  std::atomic_ref(*tail_).store(newest, std::memory_order_release);
  return cell_result::damaged;
}

bool broadcast_ring::catch_up(std::uint64_t& cursor, std::uint64_t& lost) const noexcept {
  const std::uint64_t at = tail();
  const cell_word again{word_of(cursor).load(std::memory_order_acquire)};
  if (again.next() <= cursor + 1) return true;  // mended meanwhile
  if (at > ~std::uint64_t{0} >> 14 || at < cursor + 1) {
    // The slot says it is ahead of us, the tail says it is not: one of the two is damaged.
    if (tail() != at) return true;
    cursor = again.next();
    return false;
  }
  const std::uint64_t half = capacity() / 2;
  const std::uint64_t safe = at > half ? at - half : 0;
  const std::uint64_t to = safe > cursor ? safe : cursor + 1;
  lost += to - cursor;
  cursor = to;
  return true;
}

}  // namespace ipcpp::detail
