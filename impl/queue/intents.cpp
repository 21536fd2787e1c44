// Bodies of ipcpp.queue:intents: finding out what the dead left in the way, and mending it.
//
// Every change is one exchange of a sequence word from exactly what was judged to what follows from
// it, so any number may be at it, and a late one fails. Positions come from shared words: they are
// masked before they lead anywhere.
module;

#include <atomic>
#include <cstdint>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;

namespace ipcpp::detail {

namespace {

enum class candidates : std::uint8_t {
  none,
  all_dead,
  some_living,  // or one that changed while we looked
};

// Of those whose intent is `intent`, `except` aside, who lives?
candidates judge(const queue_view& queue, std::uint64_t intent, std::uint32_t except) noexcept {
  candidates found = candidates::none;
  participant_id known_dead;
  for (std::uint32_t i = 0; i < queue.endpoints; ++i) {
    if (i == except) continue;
    endpoint_slot& slot = queue.slots[i];
    // Acquire: pairs with attach; and keeps the three loads in this order.
    const std::uint64_t before = shared(slot.control).load(std::memory_order_acquire);
    if (shared(slot.intent).load(std::memory_order_acquire) != intent) continue;
    const std::uint64_t after = shared(slot.control).load(std::memory_order_acquire);
    if (before != after) return candidates::some_living;
    if (role_of(before) == endpoint_role::none) continue;  // detached: its intent is settled
    const participant_id owner = owner_of(before);
    if (!known_dead || owner != known_dead) {
      if (!owner_is_gone(queue, before)) return candidates::some_living;
      known_dead = owner;
    }
    // The same owner still? Then it died with this intent.
    if (shared(slot.control).load(std::memory_order_acquire) != before)
      return candidates::some_living;
    found = candidates::all_dead;
  }
  return found;
}

constexpr std::uint32_t nobody = ~std::uint32_t{0};

// Is it a word of message p, which some receiver has claimed: there, tomb, or being delivered again?
bool holds(std::uint64_t word, std::uint64_t position) noexcept {
  if ((word & taken_bit) != 0)
    return (word & taken_position_bits) == ((position + 1) & taken_position_bits);
  return (word & ~tomb_bit) == position + 1;
}

void count_repair(const queue_view& queue) noexcept {
  shared(queue.head->repairs).fetch_add(1, std::memory_order_relaxed);  // a number
}

// Claimed, and nobody living is at it: the word to exchange, or 0. `inherited`: our own slot's intent
// is the dead one's, so it takes nobody else's to show that somebody had claimed it.
std::uint64_t orphaned_word(const mpmc_words& words, std::uint64_t position, std::uint32_t myself,
                            bool inherited) noexcept {
  const std::uint64_t head =
      shared(words.lines->head).load(std::memory_order_acquire);  // pairs with claiming
  if (position >= head || head - position > words.queue.capacity) return 0;
  const std::uint64_t word = words.sequence(position).load(std::memory_order_acquire);
  if (!holds(word, position)) return 0;
  if ((word & taken_bit) != 0) {
    const auto by = static_cast<std::uint32_t>(word >> 50 & 0xfff);
    if (by >= words.queue.endpoints || by == myself) return by == myself ? word : 0;
    endpoint_slot& slot = words.queue.slots[by];
    const std::uint64_t control = shared(slot.control).load(std::memory_order_acquire);  // attach
    if (role_of(control) == endpoint_role::none || !owner_is_gone(words.queue, control)) return 0;
    return word;
  }
  const candidates found = judge(words.queue, intends_to_receive | position, myself);
  return found == candidates::all_dead || (inherited && found == candidates::none) ? word : 0;
}

}  // namespace

bool mend_send(const mpmc_words& words, std::uint64_t position) noexcept {
  const std::uint64_t tail = shared(words.lines->tail).load(std::memory_order_acquire) &
                             position_bits;  // pairs with claiming
  if (tail <= position) return false;
  const auto sequence = words.sequence(position);
  if (sequence.load(std::memory_order_acquire) != position) return true;
  if (judge(words.queue, intends_to_send | position, nobody) != candidates::all_dead) return false;
  std::uint64_t expected = position;
  // Release: what we know of the dead comes before what others do with the slot. Acquire on failure:
  // somebody else mended it.
  if (sequence.compare_exchange_strong(expected, tomb_bit | (position + 1),
                                       std::memory_order_acq_rel, std::memory_order_acquire))
    count_repair(words.queue);
  return true;
}

std::uint64_t find_orphan(const mpmc_words& words, std::uint32_t myself) noexcept {
  for (std::uint32_t i = 0; i < words.queue.endpoints; ++i) {
    if (i == myself) continue;
    const std::uint64_t intent =
        shared(words.queue.slots[i].intent).load(std::memory_order_acquire);  // looked at again
    if ((intent & intends_to_receive) == 0) continue;
    const std::uint64_t position = intent & position_bits;
    if (orphaned_word(words, position, myself, false) != 0) return position;
  }
  return no_position;
}

bool take_orphan(const mpmc_words& words, std::uint64_t position, std::uint32_t myself,
                 std::uint64_t control) noexcept {
  const auto intent = shared(words.queue.slots[myself].intent);
  // An intent of our own for a message that is still held: our last one's is freed, so it is not ours.
  // Relaxed: only we write it.
  const bool inherited = intent.load(std::memory_order_relaxed) == (intends_to_receive | position);
  std::uint64_t word = orphaned_word(words, position, myself, inherited);
  const auto sequence = words.sequence(position);
  if (word != 0) {
    // Before the exchange: who finds our name in the slot, or us dead before it, finds this.
    intent.store(intends_to_receive | position, std::memory_order_release);
    if ((word & tomb_bit) != 0) {
      // Nothing to deliver: free it at once.
      if (sequence.compare_exchange_strong(word, position + words.queue.capacity,
                                           std::memory_order_acq_rel))
        count_repair(words.queue);
    } else if (sequence.compare_exchange_strong(word, taken_word(position, myself, control),
                                                std::memory_order_acq_rel)) {
      return true;
    }
  }
  intent.store(0, std::memory_order_release);
  return false;
}

void finish_orphan(const mpmc_words& words, std::uint64_t position, std::uint32_t myself) noexcept {
  // Release: our copy of the payload comes before a sender's next write; pairs with its acquire.
  words.sequence(position).store(position + words.queue.capacity, std::memory_order_release);
  shared(words.queue.slots[myself].intent).store(0, std::memory_order_release);
  count_repair(words.queue);
}

leftovers settle(const mpmc_words& words, std::uint32_t slot, std::uint64_t control) noexcept {
  endpoint_slot& of = words.queue.slots[slot];
  const std::uint64_t intent = shared(of.intent).load(std::memory_order_acquire);
  if (shared(of.control).load(std::memory_order_acquire) != control) return leftovers::unsettled;
  const std::uint64_t position = intent & position_bits;
  if ((intent & intends_to_send) != 0) {
    const std::uint64_t tail = shared(words.lines->tail).load(std::memory_order_acquire) &
                               position_bits;      // pairs with claiming
    if (tail <= position) return leftovers::none;  // it did not win, and does nothing any more
    return mend_send(words, position) ? leftovers::none : leftovers::unsettled;
  }
  if ((intent & intends_to_receive) != 0) {
    const std::uint64_t head = shared(words.lines->head).load(std::memory_order_acquire);
    if (head <= position || head - position > words.queue.capacity) return leftovers::none;
    std::uint64_t word = words.sequence(position).load(std::memory_order_acquire);
    if (!holds(word, position)) return leftovers::none;
    if ((word & taken_bit) != 0)
      return (word >> 50 & 0xfff) == slot ? leftovers::message_in_hand : leftovers::none;
    if (judge(words.queue, intent, nobody) != candidates::all_dead) return leftovers::unsettled;
    if ((word & tomb_bit) == 0) return leftovers::message_in_hand;
    words.sequence(position).compare_exchange_strong(word, position + words.queue.capacity,
                                                     std::memory_order_acq_rel);
  }
  return leftovers::none;
}

}  // namespace ipcpp::detail
