// Bodies of ipcpp.queue:letter_ring: what is done for the dead, and after damage. Each step is one
// CAS of a word that says its lap, so it may be left half done and done again, by several at once.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;

namespace ipcpp::detail {

namespace {

// No walk along the records is longer than the ring has granules.
bool same_lap(record_word word, std::uint64_t lap) noexcept {
  return word.lap() == lap;
}

}  // namespace

ring_result letter_ring::claim_slowly(std::uint32_t owner, std::size_t bytes, std::uint64_t& freed,
                                      record& out) noexcept {
  const auto wanted = static_cast<std::uint32_t>(granules_for(bytes));
  for (;;) {
    const std::uint64_t tail = load(lines_->tail, std::memory_order_acquire);
    const std::uint64_t position = tail >> 1;
    const record_word found{load(claim_word(position), std::memory_order_acquire)};
    if (many_senders_ && load(lines_->tail, std::memory_order_acquire) != tail) continue;
    if (found.lap() == lap_of(position)) {
      if (!move_on(lines_->tail, tail, found)) return resynchronise();
      continue;
    }
    const std::uint32_t to_end = size_ - index_of(position);
    const bool pad = wanted > to_end;
    const std::uint32_t granules = pad ? to_end : wanted;
    const std::uint64_t end = position + granules + (pad ? wanted : 0) + 1;
    if (end - freed > size_) {
      if (!refresh(freed)) return ring_result::damaged;
      if (end - freed > size_) {
        const ring_result why = full_or_damaged(position, freed);
        if (why == ring_result::done) continue;
        return why;
      }
    }
    if (!claim(owner, tail, found, granules, out)) continue;
    if (!pad) return ring_result::done;
    finish(out, letter_kind::pad, 0);
  }
}

ring_result letter_ring::take_slowly(std::uint32_t owner, record& out) noexcept {
  for (;;) {
    const std::uint64_t head = load(lines_->head, std::memory_order_acquire);
    const std::uint64_t position = head >> 1;
    const bool on = (head & 1) != 0;
    const record_word seen{load(take_word(position), std::memory_order_acquire)};
    if (many_receivers_ && load(lines_->head, std::memory_order_acquire) != head) continue;
    if (same_lap(seen, lap_of(position))) {
      if (!move_on(lines_->head, head, seen)) return resynchronise();
      continue;
    }
    const head_word word{peek(position)};
    if (word.on() != on) return ring_result::empty;
    if (!plausible(word, position)) {
      if (many_receivers_ && load(lines_->head, std::memory_order_acquire) != head) continue;
      return skip_damaged(head, seen);
    }
    const bool pad = word.kind() == letter_kind::pad;
    if (!mark_taken(head, seen, pad ? 0 : owner, pad ? record_state::released : record_state::held,
                    word.next_on(), word.granules()))
      continue;
    if (pad) {
      advance_freed();
      continue;
    }
    out = taken(position, word, owner, false);
    return ring_result::done;
  }
}

void letter_ring::advance_freed() noexcept {
  for (;;) {
    std::uint64_t freed = load(lines_->freed, std::memory_order_acquire);
    std::uint64_t next = freed;
    for (std::uint32_t walked = 0; walked < size_;) {
      const std::uint64_t position = next >> 1;
      // Acquire: pairs with release and mark_taken.
      const record_word word{load(take_word(position), std::memory_order_acquire)};
      if (!same_lap(word, lap_of(position)) || word.state() != record_state::released ||
          !fits(word.granules(), position))
        break;
      next = (position + word.granules()) << 1 | std::uint64_t{word.next_on()};
      walked += word.granules();
    }
    if (next == freed) return;
    // Release: pairs with refresh. Failed: somebody else moved it, and stopped where he saw fit.
    std::atomic_ref(lines_->freed).compare_exchange_strong(freed, next, std::memory_order_acq_rel);
  }
}

void letter_ring::help_tail() noexcept {
  for (;;) {
    const std::uint64_t tail = load(lines_->tail, std::memory_order_acquire);
    const record_word claim{load(claim_word(tail >> 1), std::memory_order_acquire)};
    if (load(lines_->tail, std::memory_order_acquire) != tail) continue;
    if (!same_lap(claim, lap_of(tail >> 1)) || !move_on(lines_->tail, tail, claim)) return;
  }
}

bool letter_ring::repair_head(const queue_view& queue) noexcept {
  const std::uint64_t head = load(lines_->head, std::memory_order_acquire);
  const std::uint64_t position = head >> 1;
  const record_word seen{load(take_word(position), std::memory_order_acquire)};
  if (load(lines_->head, std::memory_order_acquire) != head) return true;
  if (same_lap(seen, lap_of(position))) return true;
  const bool on = (head & 1) != 0;
  if (((peek(position) & 1) != 0) == on) return true;
  // Acquire: pairs with the claimer's CAS.
  const record_word claim{load(claim_word(position), std::memory_order_acquire)};
  if (!same_lap(claim, lap_of(position))) {
    // Nothing is claimed here: an empty ring, if the tail is here as well. A sender that died between
    // its claim and moving the tail has left it behind.
    help_tail();
    const std::uint64_t tail = load(lines_->tail, std::memory_order_acquire);
    if (tail == head || load(lines_->head, std::memory_order_acquire) != head) return false;
    const record_word again{load(claim_word(position), std::memory_order_acquire)};
    if (same_lap(again, lap_of(position))) return true;
    resynchronise();  // head or tail lie at no border
    return true;
  }
  if (!fits(claim.granules(), position)) return false;
  if (claim.on() !=
      on) {  // the head's bit is damaged, or the tail's was: the claim says what counts
    std::uint64_t here = head;
    std::atomic_ref(lines_->head)
        .compare_exchange_strong(here, head ^ 1, std::memory_order_acq_rel);
    return true;
  }
  const std::uint64_t control = control_of(queue, claim.owner());
  if (role_of(control) != endpoint_role::none) {
    if (!owner_is_gone(queue, control)) return false;
    if (control_of(queue, claim.owner()) != control) return true;  // settled meanwhile
  }
  // The owner is dead, or has detached. What it did before is visible now.
  if (((peek(position) & 1) != 0) == on) return true;
  mark_taken(head, seen, 0, record_state::released, claim.next_on(), claim.granules());
  advance_freed();
  return true;
}

bool letter_ring::to_be_returned(const queue_view& queue, record_word word) const noexcept {
  if (word.state() == record_state::released) return false;
  if (word.state() != record_state::held && word.state() != record_state::held_again)
    return true;  // returned, or damaged: then nobody else will release it
  const std::uint64_t holder = control_of(queue, word.owner());
  return role_of(holder) == endpoint_role::none ||
         (owner_is_gone(queue, holder) && control_of(queue, word.owner()) == holder);
}

bool letter_ring::some_returned(const queue_view& queue) const noexcept {
  std::uint64_t position = load(lines_->freed, std::memory_order_acquire) >> 1;
  for (std::uint32_t walked = 0; walked < size_;) {
    const record_word word{load(take_word(position), std::memory_order_acquire)};
    if (!same_lap(word, lap_of(position)) || !fits(word.granules(), position)) return false;
    if (to_be_returned(queue, word)) return true;
    walked += word.granules();
    position += word.granules();
  }
  return false;
}

bool letter_ring::take_returned(const queue_view& queue, std::uint32_t owner,
                                record& out) noexcept {
  const std::uint64_t freed = load(lines_->freed, std::memory_order_acquire);
  std::uint64_t position = freed >> 1;
  bool on = (freed & 1) != 0;
  for (std::uint32_t walked = 0; walked < size_;) {
    record_word word{load(take_word(position), std::memory_order_acquire)};
    if (!same_lap(word, lap_of(position)) || !fits(word.granules(), position)) return false;
    const bool mine = to_be_returned(queue, word);
    if (mine) {
      // The head was valid when it was taken, and is nobody else's while the word stays.
      const head_word head{load(ring_word(position), std::memory_order_acquire)};
      const bool whole = head.kind() == letter_kind::letter && plausible(head, position) &&
                         head.granules() == word.granules() && head.on() == on;
      const record_word next =
          whole ? word.with(owner, record_state::held_again) : word.with(0, record_state::released);
      if (std::atomic_ref(take_word(position))
              .compare_exchange_strong(word.bits, next.bits, std::memory_order_acq_rel)) {
        if (!whole) {
          advance_freed();
          return false;
        }
        out = taken(position, head, owner, true);
        out.next_on = word.next_on();
        return true;
      }
      continue;  // it has changed: look at it again
    }
    walked += word.granules();
    position += word.granules();
    on = word.next_on();
  }
  return false;
}

void letter_ring::retire(const queue_view& queue, std::uint32_t number,
                         std::uint64_t control) noexcept {
  control &= ~orphan_bit;
  const std::uint64_t freed = load(lines_->freed, std::memory_order_acquire);
  std::uint64_t position = freed >> 1;
  bool on = (freed & 1) != 0;
  for (std::uint32_t walked = 0; walked <= size_;) {
    record_word found{load(take_word(position), std::memory_order_acquire)};
    std::uint32_t granules = 0;
    bool next_on = false;
    if (same_lap(found, lap_of(position))) {
      granules = found.granules();
      next_on = found.next_on();
      const bool held =
          found.state() == record_state::held || found.state() == record_state::held_again;
      if (held && found.owner() == number + 1) {
        if (control_of(queue, number + 1) != control) return;
        const record_word back = found.with(0, record_state::returned);
        std::atomic_ref(take_word(position))
            .compare_exchange_strong(found.bits, back.bits, std::memory_order_acq_rel);
      }
    } else {
      const record_word claim{load(claim_word(position), std::memory_order_acquire)};
      if (!same_lap(claim, lap_of(position))) {
        // The end, unless the walk was overtaken: what lies before `freed` is settled.
        const std::uint64_t now = load(lines_->freed, std::memory_order_acquire);
        if (now >> 1 <= position) return;
        position = now >> 1;
        on = (now & 1) != 0;
        continue;
      }
      granules = claim.granules();
      next_on = claim.next_on();
      const bool committed = ((peek(position) & 1) != 0) == on;
      if (!committed && claim.owner() == number + 1) {
        if (control_of(queue, number + 1) != control) return;
        const record_word skipped =
            record_word::of(lap_of(position), 0, record_state::released, next_on, granules);
        std::atomic_ref(take_word(position))
            .compare_exchange_strong(found.bits, skipped.bits, std::memory_order_acq_rel);
      }
    }
    if (!fits(granules, position)) return;
    walked += granules;
    position += granules;
    on = next_on;
  }
}

// done: something has moved, try again.
ring_result letter_ring::full_or_damaged(std::uint64_t position, std::uint64_t& freed) noexcept {
  advance_freed();  // somebody may have died between releasing and this
  const std::uint64_t before = load(lines_->freed, std::memory_order_acquire) >> 1;
  const std::uint64_t tail = load(lines_->tail, std::memory_order_acquire) >> 1;
  const std::uint64_t head = load(lines_->head, std::memory_order_acquire) >> 1;
  const record_word oldest{load(take_word(before), std::memory_order_acquire)};
  const std::uint64_t after = load(lines_->freed, std::memory_order_acquire) >> 1;
  if (tail != position || before != after) return ring_result::done;
  // `freed` stood still while the others were read: it was not beyond tail, nor tail a ring beyond
  // it, and if anything was taken since, then the record at `freed`.
  if (tail < before || tail - before > size_ ||
      (head > before && !same_lap(oldest, lap_of(before)))) {
    freed = 0;
    return resynchronise();
  }
  if (before == freed) return ring_result::full;
  freed = before;
  return ring_result::done;
}

ring_result letter_ring::skip_damaged(std::uint64_t head, record_word seen) noexcept {
  const std::uint64_t position = head >> 1;
  const record_word claim{load(claim_word(position), std::memory_order_acquire)};
  if (same_lap(claim, lap_of(position)) && fits(claim.granules(), position)) {
    mark_taken(head, seen, 0, record_state::released, claim.next_on(), claim.granules());
    advance_freed();
    return ring_result::damaged;
  }
  return resynchronise();
}

// Only after damage: whatever is in the ring is given up, and all begin again at the first position
// of a lap that no word names. Who is at work meanwhile may lose his message, no more.
ring_result letter_ring::resynchronise() noexcept {
  std::uint64_t lap = 0;
  for (std::uint32_t i = 0; i < size_; ++i) {
    for (const std::uint64_t* const word : {claims_ + i, takes_ + i}) {
      const std::uint64_t named = record_word{load(*word, std::memory_order_relaxed)}.lap();
      if (named > lap) lap = named;  // relaxed: what is stored meanwhile is damage as well
    }
  }
  if (lap == record_word::lap_mask) lap = 0;
  const std::uint64_t on = (load(ring_word(0), std::memory_order_relaxed) & 1) ^ 1;
  const std::uint64_t begin = (lap << shift_) << 1 | on;  // its lap is one more than `lap`
  store(lines_->freed, begin, std::memory_order_release);
  store(lines_->head, begin, std::memory_order_release);
  store(lines_->tail, begin, std::memory_order_release);
  return ring_result::damaged;
}

std::uint64_t letter_ring::claimed_granules() const noexcept {
  const std::uint64_t freed = load(lines_->freed, std::memory_order_acquire) >> 1;
  const std::uint64_t tail = load(lines_->tail, std::memory_order_acquire) >> 1;
  const std::uint64_t between = tail - freed;
  return between <= size_ ? between : 0;
}

std::uint64_t letter_ring::committed_letters() const noexcept {
  const std::uint64_t head = load(lines_->head, std::memory_order_acquire);
  std::uint64_t position = head >> 1;
  bool on = (head & 1) != 0;
  std::uint64_t letters = 0;
  for (std::uint32_t walked = 0; walked < size_;) {
    const head_word word{peek(position)};
    if (word.on() != on || !plausible(word, position)) break;
    if (word.kind() == letter_kind::letter) ++letters;
    walked += word.granules();
    position += word.granules();
    on = word.next_on();
  }
  return letters;
}

bool letter_ring::letters_are_out() noexcept {
  advance_freed();
  const std::uint64_t freed = load(lines_->freed, std::memory_order_acquire);
  return freed != load(lines_->head, std::memory_order_acquire);
}

bool letter_ring::drained() const noexcept {
  const std::uint64_t head = load(lines_->head, std::memory_order_acquire);
  const std::uint64_t position = head >> 1;
  const record_word claim{load(claim_word(position), std::memory_order_acquire)};
  const record_word take{load(take_word(position), std::memory_order_acquire)};
  return !same_lap(claim, lap_of(position)) && !same_lap(take, lap_of(position));
}

}  // namespace ipcpp::detail
