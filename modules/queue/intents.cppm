// ipcpp.queue:intents - how a ring with many senders and receivers survives the death of any of them:
// the protocol of mpmc_queue, and its repairs.
//
// Vyukov's bounded queue (1024cores.net, "Bounded MPMC queue") with an intent word for each endpoint.
//
// Representation: two lines of the queue's own, and a ring (:ring_slot)
//
//   line 0   tail      63       62              0       the next position to send to
//                      | closed | position      |
//   line 1   head      the next position to receive from
//   slot of position p, sequence word:
//     63     62      61      50 49        38 37             0
//     | 0    | 0     | p                                    |     free: p may be sent
//     | 0    | 0     | p + 1                                |     holds message p
//     | tomb | 0     | p + 1                                |     the sender of p died: nothing there
//     | 0    | taken | endpoint | generation | p + 1        |     a receiver died with message p in
//                                                                 hand, this endpoint delivers it again
//                                                                 (low bits of generation and p + 1)
//     | 0    | 0     | p + capacity                         |     free again
//   intent of an endpoint:  1 in 62: wants to send p;  1 in 63: wants to receive p;  0: neither
//
// send      1 sequence == p  2 intent = send p  3 tail p -> p + 1 (exchange, release)
//           4 payload        5 sequence = p + 1 (release)
// receive   1 sequence == p + 1  2 intent = receive p  3 head p -> p + 1 (exchange, release)
//           4 copy               5 sequence = p + capacity (release)
// Who wins 3 keeps its intent until after 5; who loses it overwrites or clears the intent before it
// returns. So of position p, claimed but not finished, the winner is among those whose intent is p.
//
// Crash story. Sender, killed before 3: nothing. Between 3 and 5: tail > p, sequence == p, and all
// whose intent is "send p" are dead -> sequence p -> tomb | p + 1 by exchange. Receiver, killed before
// 3: nothing. Between 3 and 5: head > p, sequence == p + 1, all whose intent is "receive p" are dead
// -> a receiver stores its own intent "receive p" and exchanges p + 1 for taken | itself | p + 1;
// whoever wins delivers message p once more, flagged, and frees the slot. If it dies at that, its
// endpoint stands in the word: the next receiver that finds it dead takes over by exchange. If it is
// stopped, its slot is pending, as that of any stopped receiver. Both repairs can be done by several at
// once and be killed anywhere.
//
// An endpoint of the dead is given to a successor only when its intent is settled. If it died with a
// message in hand, a receiver may take the endpoint over with the intent and deliver the message
// itself; the generation in a taken word keeps those off who had judged the dead one.
//
// Closing. The tail's bit decides. So that receivers who find nothing need not look at the senders'
// line, the queue's state follows it:
//   close    1 the bit     2 state = closed   3 wakes all
//   reopen   1 state = open   2 no bit        3 wakes senders
// Both may be at it at once, and die anywhere: a state that says closed only makes receivers look at the
// tail; one that says open although the bit is set is left by the dead alone (whoever set the bit last sets
// the state after it), and mended by a receiver's look after the dead.
//
// Race story. 3 (release, and the release sequence that later exchanges of the index continue) pairs
// with the acquire loads of tail and head by whoever repairs: who sees tail > p sees the intents of
// everybody who ever tried for p. sequence: 5 (release) pairs with 1 (acquire), for the payload. Who
// repairs reads control, intent, control, so it judges the owner whose intent it read; and since no
// living owner of intent p is among them, no one is left who could store to the slot.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>

export module ipcpp.queue:intents;

import ipcpp.platform;
import ipcpp.sync;
import :received;
import :endpoint;
import :waitable;

namespace ipcpp::detail {

export struct mpmc_lines {
  std::uint64_t tail;
  std::uint64_t unused_tail[15];
  std::uint64_t head;
  std::uint64_t unused_head[15];
};
static_assert(sizeof(mpmc_lines) == 2 * platform::line_stride &&
              offsetof(mpmc_lines, head) == platform::line_stride);

export inline constexpr std::uint64_t closed_bit = std::uint64_t{1} << 63;
export inline constexpr std::uint64_t tomb_bit = std::uint64_t{1} << 63;
export inline constexpr std::uint64_t taken_bit = std::uint64_t{1} << 62;
export inline constexpr std::uint64_t intends_to_send = std::uint64_t{1} << 62;
export inline constexpr std::uint64_t intends_to_receive = std::uint64_t{1} << 63;
export inline constexpr std::uint64_t position_bits = ~(closed_bit | taken_bit);
export inline constexpr std::uint64_t taken_position_bits = (std::uint64_t{1} << 38) - 1;

export [[nodiscard]] inline constexpr std::uint64_t taken_word(std::uint64_t position,
                                                               std::uint32_t by,
                                                               std::uint64_t control) noexcept {
  return taken_bit | std::uint64_t{by & 0xfff} << 50 | (generation_of(control) & 0xfff) << 38 |
         ((position + 1) & taken_position_bits);
}
static_assert(max_endpoints <= 4096);

// The queue's words without the type of its messages.
export struct mpmc_words {
  queue_view queue;
  mpmc_lines* lines = nullptr;
  std::uint32_t stride = 0;
  std::uint32_t payload_at = 0;  // in a slot
  std::uint32_t message_bytes = 0;

  [[nodiscard]] inline std::byte* slot(std::uint64_t position) const noexcept {
    return queue.ring + (position & (queue.capacity - 1)) * stride;
  }
  [[nodiscard]] inline std::atomic_ref<std::uint64_t> sequence(
      std::uint64_t position) const noexcept {
    return shared(*static_cast<std::uint64_t*>(static_cast<void*>(slot(position))));
  }
};

// ---- what the inline half of mpmc_queue leaves to do ----

// What a receiver remembers.
export struct mpmc_memory {
  std::uint64_t orphan = ~std::uint64_t{0};  // no_position
  std::uint32_t looks = 0;                   // in vain, since the last message
};

export struct mpmc_taken {
  receive_status status;
  bool again;
};

// Sends, or says why not; then our intent is cleared. Arms the bell of a full one. Throws damaged.
export [[nodiscard]] send_result push_slowly(endpoint& end, const mpmc_words& words,
                                             const void* message);
// Copies a message to `to`, or says why not. Looks after the dead now and then. Throws damaged.
export [[nodiscard]] mpmc_taken take_slowly(endpoint& end, const mpmc_words& words,
                                            mpmc_memory& memory, void* to);
// Is a dead one in the way? Mends what can be mended, and remembers a message to be delivered again.
export bool look_after_the_dead(endpoint& end, const mpmc_words& words,
                                mpmc_memory& memory) noexcept;
// Would take_slowly do anything else than say that there is nothing?
export [[nodiscard]] bool may_take(const mpmc_words& words, const mpmc_memory& memory) noexcept;

export void close_mpmc(const mpmc_words& words) noexcept;
export void reopen_mpmc(const mpmc_words& words) noexcept;

// ---- repairs ----

// Position `p` was claimed by a sender that did not finish: makes it a tomb if the sender is dead.
// true if the position is no longer in the way. About 1 us for each living endpoint that wants it.
export bool mend_send(const mpmc_words& words, std::uint64_t position) noexcept;

// A message whose receiver died with it, as far as can be told: no_position if there is none.
export inline constexpr std::uint64_t no_position = ~std::uint64_t{0};
export [[nodiscard]] std::uint64_t find_orphan(const mpmc_words& words,
                                               std::uint32_t myself) noexcept;
// Claims that message for endpoint `myself`, whose intent becomes "receive p". true: it is ours, to
// be delivered and then freed by finish_orphan. false: the intent is clear again.
export [[nodiscard]] bool take_orphan(const mpmc_words& words, std::uint64_t position,
                                      std::uint32_t myself, std::uint64_t control) noexcept;
export void finish_orphan(const mpmc_words& words, std::uint64_t position,
                          std::uint32_t myself) noexcept;

export enum class leftovers : std::uint8_t { none, unsettled, message_in_hand };
// What the dead owner of a slot left to do. Mends what can be mended without a receiver.
export [[nodiscard]] leftovers settle(const mpmc_words& words, std::uint32_t slot,
                                      std::uint64_t control) noexcept;

}  // namespace ipcpp::detail
