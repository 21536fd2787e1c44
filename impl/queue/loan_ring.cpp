// Bodies of ipcpp.queue:loan_ring.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;

namespace ipcpp::detail {

loan_ring::survey loan_ring::look_round(const queue_view& queue,
                                        std::uint64_t bury_below) noexcept {
  help_tail();  // what a publisher that died before moving it has published counts as well
  survey now{tail(), 0};
  now.slowest = now.tail;
  std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the one in join
  for (std::uint32_t i = 0; i < queue.endpoints; ++i) {
    const auto control_word = shared(queue.slots[i].control);
    std::uint64_t control = control_word.load(std::memory_order_acquire);  // attach
    if (role_of(control) != endpoint_role::receiver) continue;
    // Acquire: pairs with try_take, whose hold came before.
    const std::uint64_t cursor = shared(queue.slots[i].word[0]).load(std::memory_order_acquire);
    if (cursor == 0 || cursor - 1 >= now.slowest) continue;
    if (cursor - 1 < bury_below && owner_is_gone(queue, control)) {
      const std::uint64_t free = std::uint64_t{generation_of(control)} << 5;
      control_word.compare_exchange_strong(control, free, std::memory_order_acq_rel);
      continue;
    }
    now.slowest = cursor - 1;
  }
  return now;
}

void loan_ring::help_tail() noexcept {
  for (;;) {
    const std::uint64_t at = tail();
    if (std::atomic_ref(cells_[at & mask_]).load(std::memory_order_acquire) >> 16 != at + 1) return;
    move_tail(at);
  }
}

bool loan_ring::held(const queue_view& queue, std::uint64_t position) noexcept {
  for (std::uint32_t i = 0; i < queue.endpoints; ++i) {
    const auto control_word = shared(queue.slots[i].control);
    const std::uint64_t control = control_word.load(std::memory_order_acquire);
    if (role_of(control) != endpoint_role::receiver) continue;
    for (std::uint32_t h = 0; h < most_holds; ++h) {
      // Acquire: pairs with release.
      if (shared(queue.slots[i].word[first_hold + h]).load(std::memory_order_acquire) !=
          position + 1)
        continue;
      if (!owner_is_gone(queue, control)) return true;
      break;
    }
  }
  return false;
}

bool loan_ring::reusable(const queue_view& queue, const survey& now, chunk_word word) noexcept {
  return word.state() == chunk_state::published && word.position() < now.tail &&
         word.position() < now.slowest && !held(queue, word.position());
}

chunk_word loan_ring::truth_of(std::uint32_t chunk, chunk_word loan) const noexcept {
  std::uint64_t newest = loan.next();
  for (std::uint64_t i = 0; i <= mask_; ++i) {
    const std::uint64_t cell = std::atomic_ref(cells_[i]).load(std::memory_order_acquire);
    if ((cell & 0xffff) == chunk && cell >> 16 > newest) newest = cell >> 16;
  }
  return newest == loan.next() ? loan.as(chunk_state::free)
                               : chunk_word::of(newest - 1, 0, chunk_state::published);
}

void loan_ring::settle(std::uint64_t cell) noexcept {
  const auto chunk = static_cast<std::uint32_t>(cell & 0xffff);
  if (cell == 0 || chunk >= chunk_count_) return;
  const std::atomic_ref word(chunks_[chunk]);
  // Acquire: with the cell's, so that the loan that filled it is seen, or a later one.
  chunk_word seen{word.load(std::memory_order_acquire)};
  if (seen.state() != chunk_state::loaned || seen.next() >= cell >> 16) return;
  word.compare_exchange_strong(seen.bits,
                               chunk_word::of((cell >> 16) - 1, 0, chunk_state::published).bits,
                               std::memory_order_acq_rel);
}

loan_result loan_ring::try_loan(const queue_view& queue, std::uint32_t owner, std::uint32_t& next,
                                std::uint32_t& chunk) noexcept {
  const auto take = [&](std::uint32_t at, chunk_word seen) {
    // Acquire: pairs with give_back.
    if (!std::atomic_ref(chunks_[at])
             .compare_exchange_strong(seen.bits, seen.as(chunk_state::loaned, owner).bits,
                                      std::memory_order_acq_rel))
      return false;
    next = at + 1;
    chunk = at;
    return true;
  };
  for (std::uint32_t n = 0; n < chunk_count_; ++n) {
    const std::uint32_t at = (next + n) % chunk_count_;
    const chunk_word seen{std::atomic_ref(chunks_[at]).load(std::memory_order_relaxed)};
    if (seen.state() == chunk_state::free && take(at, seen)) return loan_result::done;
  }
  // First as if all were alive, which costs no system call; then asking.
  for (const std::uint64_t bury_below : {std::uint64_t{0}, ~std::uint64_t{0}}) {
    const survey now = look_round(queue, bury_below);
    for (std::uint32_t n = 0; n < chunk_count_; ++n) {
      const std::uint32_t at = (next + n) % chunk_count_;
      const std::atomic_ref word(chunks_[at]);
      chunk_word seen{word.load(std::memory_order_acquire)};
      if (seen.state() == chunk_state::loaned && seen.owner() != owner) {
        const std::uint32_t holder = seen.owner();
        if (holder != 0 && holder <= queue.endpoints) {
          const auto control_word = shared(queue.slots[holder - 1].control);
          const std::uint64_t control = control_word.load(std::memory_order_acquire);
          if (role_of(control) != endpoint_role::none &&
              (!owner_is_gone(queue, control) ||
               control_word.load(std::memory_order_acquire) != control))
            continue;
        }
        const chunk_word truth = truth_of(at, seen);
        if (!word.compare_exchange_strong(seen.bits, truth.bits, std::memory_order_acq_rel))
          continue;
        seen = truth;
      }
      if (seen.state() != chunk_state::free && !reusable(queue, now, seen)) continue;
      if (take(at, seen)) return loan_result::done;
    }
  }
  return loan_result::full;
}

loan_result loan_ring::try_publish(const queue_view& queue, std::uint32_t chunk,
                                   std::uint64_t bytes, bool drop_oldest,
                                   std::uint64_t& slowest) noexcept {
  std::atomic_ref(*reinterpret_cast<std::uint64_t*>(payload(chunk) - chunk_head_bytes))
      .store(bytes, std::memory_order_relaxed);  // published by the cell
  chunk_word mine{std::atomic_ref(chunks_[chunk]).load(std::memory_order_relaxed)};  // our loan
  for (;;) {
    const std::uint64_t at = tail();
    const std::atomic_ref cell(cells_[at & mask_]);
    std::uint64_t seen = cell.load(std::memory_order_acquire);
    if (tail() != at) continue;  // a later word means that we have slept
    if (seen >> 16 == at + 1) {
      move_tail(at);
      continue;
    }
    if (seen != 0 && seen >> 16 != at - mask_) return loan_result::damaged;
    if (at - slowest > mask_) {
      slowest = look_round(queue, at > mask_ ? at - mask_ : 0).slowest;
      if (tail() != at) continue;
      if (at - slowest > mask_) {
        if (!drop_oldest) return loan_result::full;
        // Whoever is a lap behind goes on in the middle of the ring.
        for (std::uint32_t i = 0; i < queue.endpoints; ++i) {
          if (role_of(shared(queue.slots[i].control).load(std::memory_order_acquire)) !=
              endpoint_role::receiver)
            continue;
          const auto cursor = shared(queue.slots[i].word[0]);
          std::uint64_t behind = cursor.load(std::memory_order_acquire);
          // Below `at`: we may have slept, and others moved it further than we would.
          while (behind != 0 && behind - 1 < at && at - (behind - 1) > mask_ &&
                 !cursor.compare_exchange_weak(behind, at - mask_ / 2 + 1,
                                               std::memory_order_acq_rel)) {
          }
        }
        continue;
      }
    }
    settle(seen);
    // Release: pairs with try_take, the payload is complete.
    if (!cell.compare_exchange_strong(seen, (at + 1) << 16 | chunk, std::memory_order_acq_rel))
      continue;
    move_tail(at);
    // Until here it is ours by its word. Failed: whoever was about to overwrite the cell did it.
    std::atomic_ref(chunks_[chunk])
        .compare_exchange_strong(mine.bits, chunk_word::of(at, 0, chunk_state::published).bits,
                                 std::memory_order_acq_rel);
    return loan_result::done;
  }
}

bool loan_ring::has_room(const queue_view& queue, std::uint64_t& slowest) noexcept {
  const survey now = look_round(queue, ~std::uint64_t{0});
  slowest = now.slowest;
  return now.tail - now.slowest <= mask_;
}

bool loan_ring::some_chunk(const queue_view& queue) noexcept {
  const survey now = look_round(queue, ~std::uint64_t{0});
  for (std::uint32_t i = 0; i < chunk_count_; ++i) {
    const chunk_word word{std::atomic_ref(chunks_[i]).load(std::memory_order_acquire)};
    if (word.state() == chunk_state::free || reusable(queue, now, word)) return true;
    if (word.state() == chunk_state::loaned && word.owner() != 0 &&
        word.owner() <= queue.endpoints) {
      const std::uint64_t control =
          shared(queue.slots[word.owner() - 1].control).load(std::memory_order_acquire);
      if (role_of(control) == endpoint_role::none || owner_is_gone(queue, control)) return true;
    }
  }
  return false;
}

std::uint32_t loan_ring::chunks_in_use(const queue_view& queue) noexcept {
  const survey now = look_round(queue, 0);
  std::uint32_t n = 0;
  for (std::uint32_t i = 0; i < chunk_count_; ++i) {
    const chunk_word word{std::atomic_ref(chunks_[i]).load(std::memory_order_acquire)};
    if (word.state() != chunk_state::free && !reusable(queue, now, word)) ++n;
  }
  return n;
}

std::uint64_t loan_ring::untaken(const queue_view& queue) noexcept {
  const survey now = look_round(queue, ~std::uint64_t{0});
  const std::uint64_t n = now.tail - now.slowest;
  return n <= mask_ + 1 ? n : mask_ + 1;
}

std::uint64_t loan_ring::join(endpoint_slot& mine) noexcept {
  for (std::uint32_t h = 0; h < most_holds; ++h)
    shared(mine.word[first_hold + h]).store(0, std::memory_order_relaxed);  // published below
  const auto cursor = shared(mine.word[0]);
  cursor.store(tail() + 1, std::memory_order_release);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the one in look_round
  std::uint64_t seen = cursor.load(std::memory_order_relaxed);
  const std::uint64_t from = tail();
  // Publishers that drop the oldest may have moved it on already.
  while (seen < from + 1 &&
         !cursor.compare_exchange_weak(seen, from + 1, std::memory_order_acq_rel)) {
  }
  return from + 1 > seen ? from : seen - 1;
}

loan_result loan_ring::try_take(endpoint_slot& mine, std::uint64_t& cursor, std::uint64_t& lost,
                                std::uint32_t& hold, std::uint32_t& chunk,
                                std::uint64_t& bytes) noexcept {
  const auto shared_cursor = shared(mine.word[0]);
  for (;;) {
    const std::uint64_t cell =
        std::atomic_ref(cells_[cursor & mask_]).load(std::memory_order_acquire);
    if (cell >> 16 < cursor + 1) return loan_result::empty;
    if (cell >> 16 == cursor + 1) {
      chunk = static_cast<std::uint32_t>(cell & 0xffff);
      hold = 0;
      while (hold < most_holds &&
             shared(mine.word[first_hold + hold]).load(std::memory_order_relaxed) != 0)
        ++hold;  // relaxed: nobody else writes it
      if (hold == most_holds) return loan_result::too_many;
      shared(mine.word[first_hold + hold]).store(cursor + 1, std::memory_order_relaxed);
      std::uint64_t expected = cursor + 1;
      // Release: the hold comes before. Pairs with look_round.
      if (shared_cursor.compare_exchange_strong(expected, cursor + 2, std::memory_order_acq_rel)) {
        ++cursor;
        const bool fits = chunk < chunk_count_;
        if (fits)
          bytes =
              std::atomic_ref(*reinterpret_cast<std::uint64_t*>(payload(chunk) - chunk_head_bytes))
                  .load(std::memory_order_relaxed);  // published by the cell
        if (fits && bytes <= most_bytes()) return loan_result::done;
        release(mine, hold);
        return loan_result::damaged;
      }
      release(mine, hold);
    }
    // Somebody moved our cursor on.
    const std::uint64_t now = shared_cursor.load(std::memory_order_acquire);
    if (now <= cursor + 1) {  // nobody did, yet the cell is of a later lap
      const std::uint64_t at = tail();
      if (at <= cursor) {
        ++cursor;
      } else {
        lost += at - cursor;
        cursor = at;
      }
      shared_cursor.store(cursor + 1, std::memory_order_release);
      return loan_result::damaged;
    }
    lost += now - 1 - cursor;
    cursor = now - 1;
  }
}

void loan_ring::retire(const queue_view& queue, std::uint32_t slot,
                       std::uint64_t control) noexcept {
  const auto control_word = shared(queue.slots[slot].control);
  if (role_of(control) != endpoint_role::sender) return;
  for (std::uint32_t i = 0; i < chunk_count_; ++i) {
    const std::atomic_ref word(chunks_[i]);
    chunk_word seen{word.load(std::memory_order_acquire)};
    if (seen.state() != chunk_state::loaned || seen.owner() != slot + 1) continue;
    if ((control_word.load(std::memory_order_acquire) & ~orphan_bit) != (control & ~orphan_bit))
      return;
    const chunk_word truth = truth_of(i, seen);
    word.compare_exchange_strong(seen.bits, truth.bits, std::memory_order_acq_rel);
  }
}

}  // namespace ipcpp::detail
