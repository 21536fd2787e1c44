// Bodies of ipcpp.queue:intents: finding out what the dead left in the way, and mending it.
//
// Every change is one exchange of a sequence word from exactly what was judged to what follows from
// it, so any number may be at it, and a late one fails. Positions come from shared words: they are
// masked before they lead anywhere.
module;

#include <atomic>
#include <cstdint>
#include <cstring>
#include <utility>

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

// The slot holds neither what may come next nor a message: of the lap before, or damaged.
void require_behind(std::uint64_t found, std::uint64_t expected) {
  const bool behind =
      (found & taken_bit) != 0 || static_cast<std::int64_t>((found & position_bits) - expected) < 0;
  if (!behind) [[unlikely]]
    refuse_damaged(queue_kind::mpmc, "a slot of this lap or the one before",
                   "a sequence number of neither");
}

// What an operation that did not win leaves behind. Release: whoever sees it cleared may conclude that
// we did not win, or have finished. Only we write it.
void clear_intent(endpoint& end) noexcept {
  const auto intent = shared(end.slot().intent);
  if (intent.load(std::memory_order_relaxed) != 0) intent.store(0, std::memory_order_release);
}

send_result claim(endpoint& end, const mpmc_words& words, std::uint64_t& position) {
  const auto tail = shared(words.lines->tail);
  const auto intent = shared(end.slot().intent);
  std::uint64_t t = tail.load(std::memory_order_relaxed);  // the exchange decides
  for (;;) {
    if ((t & closed_bit) != 0) [[unlikely]] {
      clear_intent(end);
      return state_of(*words.queue.head) == queue_state::destroyed ? send_result::destroyed
                                                                   : send_result::closed;
    }
    const std::uint64_t found = words.sequence(t).load(std::memory_order_acquire);  // freeing
    if (found == t) {
      intent.store(intends_to_send | t, std::memory_order_relaxed);  // published next
      // Release: for the intent, see :intents.
      if (!tail.compare_exchange_weak(t, t + 1, std::memory_order_release,
                                      std::memory_order_relaxed))
        continue;
      position = t;
      return send_result::sent;
    }
    const std::uint64_t now = tail.load(std::memory_order_relaxed);  // as above
    if (now == t) {
      require_behind(found, t);
      clear_intent(end);
      return send_result::full;
    }
    t = now;
  }
}

// How many looks in vain pass between two that ask for the dead, who may be in the way: some
// microseconds. It is a look at lines that senders write, so it costs them a transfer each.
constexpr std::uint32_t looks_between = 1024;

// The position to be delivered again, if it still is.
bool take_remembered(endpoint& end, const mpmc_words& words, mpmc_memory& memory,
                     std::uint64_t& position) noexcept {
  position = std::exchange(memory.orphan, no_position);
  return position != no_position && take_orphan(words, position, end.index(), end.control());
}

receive_status closed_or_empty(const mpmc_words& words, std::uint64_t h) noexcept {
  const queue_state state = state_of(*words.queue.head);
  // Acquire: pairs with close.
  if (state == queue_state::open ||
      shared(words.lines->tail).load(std::memory_order_acquire) != (h | closed_bit))
    return receive_status::empty;
  return state == queue_state::destroyed ? receive_status::destroyed : receive_status::closed;
}

receive_status take(endpoint& end, const mpmc_words& words, mpmc_memory& memory,
                    std::uint64_t& position, bool& again) {
  const auto head = shared(words.lines->head);
  const auto intent = shared(end.slot().intent);
  std::uint64_t h = head.load(std::memory_order_relaxed);  // the exchange decides
  for (;;) {
    const auto sequence = words.sequence(h);
    const std::uint64_t found = sequence.load(std::memory_order_acquire);  // pairs with sending
    if ((found & ~tomb_bit) == h + 1) {
      intent.store(intends_to_receive | h, std::memory_order_relaxed);  // published next
      // Release: for the intent, see :intents.
      if (!head.compare_exchange_weak(h, h + 1, std::memory_order_release,
                                      std::memory_order_relaxed))
        continue;
      memory.looks = 0;
      if ((found & tomb_bit) == 0) {
        position = h;
        again = false;
        return receive_status::message;
      }
      sequence.store(h + words.queue.capacity, std::memory_order_release);  // pairs with sending
      notify_one(words.queue, words.queue.head->senders);
      h = head.load(std::memory_order_relaxed);  // as above
      continue;
    }
    const std::uint64_t now = head.load(std::memory_order_relaxed);  // as above
    if (now != h) {
      h = now;
      continue;
    }
    // Not sent yet, or the slot is still held by the lap before.
    require_behind(found, h + 1);
    clear_intent(end);
    receive_status why = receive_status::empty;
    if (memory.orphan == no_position && ++memory.looks % looks_between != 0) {
      why = closed_or_empty(words, h);
      if (why == receive_status::empty) return why;
      // Before the end: what dead receivers had in hand.
    }
    const bool mended = look_after_the_dead(end, words, memory);
    if (take_remembered(end, words, memory, position)) {
      again = true;
      return receive_status::message;
    }
    if (!mended) return why != receive_status::empty ? why : closed_or_empty(words, h);
    h = head.load(std::memory_order_relaxed);  // as above
  }
}

}  // namespace

send_result push_slowly(endpoint& end, const mpmc_words& words, const void* message) {
  std::uint64_t position = 0;
  send_result why = claim(end, words, position);
  if (why == send_result::full && end.has_bell()) {
    end.arm_bell();
    why = claim(end, words, position);
  }
  if (why != send_result::sent) return why;
  std::memcpy(words.slot(position) + words.payload_at, message, words.message_bytes);
  words.sequence(position).store(position + 1, std::memory_order_release);  // pairs with receiving
  return why;
}

mpmc_taken take_slowly(endpoint& end, const mpmc_words& words, mpmc_memory& memory, void* to) {
  std::uint64_t position = 0;
  mpmc_taken got{receive_status::empty, false};
  if (end.inherited()) [[unlikely]] {
    // What the last owner of this endpoint had in hand, unless somebody living is at it. Relaxed: ours
    // by now.
    memory.orphan = shared(end.slot().intent).load(std::memory_order_relaxed) & position_bits;
    end.inheritance_settled();
    if (take_remembered(end, words, memory, position)) got = {receive_status::message, true};
  }
  if (got.status == receive_status::empty)
    got.status = take(end, words, memory, position, got.again);
  if (got.status == receive_status::empty && end.has_bell()) {
    end.arm_bell();
    got.status = take(end, words, memory, position, got.again);
  }
  if (got.status != receive_status::message) return got;
  std::memcpy(to, words.slot(position) + words.payload_at, words.message_bytes);
  if (got.again)
    finish_orphan(words, position, end.index());
  else
    words.sequence(position).store(position + words.queue.capacity,
                                   std::memory_order_release);  // pairs with sending
  return got;
}

bool look_after_the_dead(endpoint& end, const mpmc_words& words, mpmc_memory& memory) noexcept {
  if (memory.orphan != no_position) return true;
  queue_head& head = *words.queue.head;
  const std::uint64_t h = shared(words.lines->head).load(std::memory_order_acquire);  // claiming
  const std::uint64_t tail = shared(words.lines->tail).load(std::memory_order_acquire);
  bool mended = false;
  if ((tail & position_bits) > h &&
      words.sequence(h).load(std::memory_order_acquire) == h)  // claimed, not committed
    mended = mend_send(words, h);
  memory.orphan = find_orphan(words, end.index());
  if ((tail & closed_bit) != 0 && state_of(head) == queue_state::open &&
      change_state(head, queue_state::open, queue_state::closed)) {
    // Whoever closed it died before it could say so.
    notify_all(words.queue, head.receivers);
    notify_all(words.queue, head.senders);
  }
  return mended || memory.orphan != no_position;
}

bool may_take(const mpmc_words& words, const mpmc_memory& memory) noexcept {
  if (memory.orphan != no_position) return true;
  const std::uint64_t h = shared(words.lines->head).load(std::memory_order_acquire);  // claiming
  if ((words.sequence(h).load(std::memory_order_acquire) & ~tomb_bit) == h + 1) return true;
  return closed_or_empty(words, h) != receive_status::empty;
}

void close_mpmc(const mpmc_words& words) noexcept {
  // Acquire, release: what was claimed before is before the end; pairs with the loads of tail.
  shared(words.lines->tail).fetch_or(closed_bit, std::memory_order_acq_rel);
  queue_head& head = *words.queue.head;
  (void)change_state(head, queue_state::open, queue_state::closed);
  notify_all(words.queue, head.receivers);
  notify_all(words.queue, head.senders);
}

void reopen_mpmc(const mpmc_words& words) noexcept {
  queue_head& head = *words.queue.head;
  if (state_of(head) == queue_state::destroyed) return;
  (void)change_state(head, queue_state::closed, queue_state::open);
  // Release: pairs with the loads of tail.
  shared(words.lines->tail).fetch_and(~closed_bit, std::memory_order_release);
  notify_all(words.queue, head.senders);
}

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
