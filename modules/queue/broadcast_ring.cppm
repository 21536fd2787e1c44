// ipcpp.queue:broadcast_ring - a ring of messages that every subscriber reads: the core of
// broadcast_queue, without knowledge of what a message is.
//
// Representation. Positions are 64-bit, from 0, never reset; slot = position modulo capacity.
//
//   slot     | word | payload as words of 8 bytes ... |     stride 16, 32 or a multiple of 64
//   word     63           13 12    3 2     0
//            | position + 1 | owner | state |     0: never used
//   line 0   tail: where the next message goes
//   slot words of an endpoint (:endpoint)   0 cursor + 1 (subscribers; 0: not subscribed yet)
//                                           1 lost   2 received   3 published   4 dropped
//
// A publisher takes a position by one CAS of its slot's word, from an older position to {tail, itself,
// writing}; the tail only follows and is moved on by whoever finds it behind. Then it writes and
// stores ready. A subscriber copies word by word and looks at the slot's word before and after
// (a seqlock for each slot), so it never gets a torn message, whatever publishers do meanwhile.
//
// Gated (block, drop_newest, fail): nobody takes a position a whole ring ahead of the slowest living
// subscriber. Publishers remember the slowest cursor they saw and look again when the ring seems full.
// Lossy (drop_oldest): nobody waits for subscribers; one that was overtaken jumps half a ring ahead of
// where it would be overtaken again and counts what it missed. Reading changes nothing but the
// reader's own cursor, so a poller with a private cursor needs no right to write.
//
// Joining (protocol-review Q5): cursor = tail as seen; full fence; tail again, start there. A publisher
// reads the tail, full fence, then the cursors: if it missed the newcomer, its fence came first, and
// the newcomer's second look at the tail sees what the publisher saw, or more. So no publisher's
// remembered minimum is beyond a newcomer's start, and gating with it protects the newcomer.
//
// Crash story. Publisher: before the CAS nothing; before it has moved the tail, the next publisher moves
// it (subscribers may be one position beyond it until then); after the CAS the position is pending while it lives, and
// void when it is dead (subscribers skip it: found by those who waited a slice, and by whoever takes
// its endpoint); after ready, a message. Subscriber: its cursor holds a gated ring back until a
// publisher that finds it full asks the kernel, and frees the slot of the dead.
// A stopped publisher's position is waited for; in the lossy form publishers that come round to it
// pass over the position after a whole lap, and count it as lost for everybody.
//
// Race story. word: release by ready, acquire by readers; after the CAS to writing a release fence,
// before the payload's relaxed stores, pairs with the reader's acquire fence between the payload's
// relaxed loads and its second look (Q9). cursor: release by the reader, acquire by publishers: the
// copying is over before the slot is taken.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>

export module ipcpp.queue:broadcast_ring;

import ipcpp.platform;
import ipcpp.sync;
import :endpoint;

namespace ipcpp::detail {

enum class cell_state : std::uint8_t { none = 0, writing = 1, ready = 2, hollow = 3 };

struct cell_word {
  std::uint64_t bits = 0;

  static constexpr cell_word of(std::uint64_t position, std::uint32_t owner,
                                cell_state state) noexcept {
    return {(position + 1) << 13 | std::uint64_t{owner & 1023} << 3 |
            static_cast<std::uint64_t>(state)};
  }
  constexpr std::uint64_t next() const noexcept { return bits >> 13; }  // position + 1
  constexpr std::uint32_t owner() const noexcept {
    return static_cast<std::uint32_t>(bits >> 3) & 1023;
  }
  constexpr cell_state state() const noexcept { return static_cast<cell_state>(bits & 7); }
};

enum class cell_result : std::uint8_t { done, empty, full, damaged };

class broadcast_ring {
 public:
  broadcast_ring() noexcept = default;
  inline broadcast_ring(std::uint64_t* tail, std::byte* cells, std::uint64_t capacity,
                        std::uint32_t stride, bool lossy) noexcept
      : tail_(tail), cells_(cells), mask_(capacity - 1), stride_(stride), lossy_(lossy) {}

  inline std::uint64_t capacity() const noexcept { return mask_ + 1; }
  inline std::uint64_t tail() const noexcept {
    return std::atomic_ref(*tail_).load(std::memory_order_acquire);
  }

  // ---- publishers ----

  // `slowest` is the caller's memory of the slowest cursor; `owner` its slot + 1.
  inline cell_result try_claim(const queue_view& queue, std::uint32_t owner, std::uint64_t& slowest,
                               std::uint64_t& claimed) noexcept {
    for (std::uint64_t passed = 0;;) {
      const std::uint64_t at = tail();
      const auto word = word_of(at);
      cell_word seen{word.load(std::memory_order_acquire)};
      if (tail() != at) continue;  // a later word means that we have slept
      if (seen.next() == at + 1) {
        move_tail(at);
        continue;
      }
      if (seen.next() > at + 1 || (seen.next() != 0 && at + 1 - seen.next() != capacity()))
        if (!may_be_passed_over(seen, at)) return mend();
      if (seen.state() == cell_state::writing) [[unlikely]] {
        if (make_hollow(queue, seen, word)) continue;
        if (!lossy_ || ++passed > mask_) return cell_result::full;
        move_tail(at);
        continue;
      }
      if (!lossy_ && at - slowest > mask_) {
        slowest = slowest_cursor(queue, at);
        if (at - slowest > mask_) return cell_result::full;
      }
      const cell_word mine = cell_word::of(at, owner, cell_state::writing);
      if (!word.compare_exchange_strong(seen.bits, mine.bits, std::memory_order_acq_rel)) continue;
      move_tail(at);
      claimed = at;
      return cell_result::done;
    }
  }
  inline void write(std::uint64_t position, const std::uint64_t* payload,
                    std::size_t words) noexcept {
    // Nothing of the payload is visible before `writing` is.
    std::atomic_thread_fence(std::memory_order_release);
    std::uint64_t* const to = payload_of(position);
    for (std::size_t i = 0; i < words; ++i)
      std::atomic_ref(to[i]).store(payload[i], std::memory_order_relaxed);  // ready publishes it
  }
  inline void commit(std::uint64_t position) noexcept { finish(position, cell_state::ready); }
  inline void withdraw(std::uint64_t position) noexcept { finish(position, cell_state::hollow); }
  // Would try_claim find room? Looks at everybody, and at who still writes to the slot that comes next.
  inline bool has_room(const queue_view& queue, std::uint64_t& slowest) noexcept {
    const std::uint64_t at = tail();
    slowest = slowest_cursor(queue, at);
    if (at - slowest > mask_) return false;
    const auto word = word_of(at);
    const cell_word seen{word.load(std::memory_order_acquire)};
    return seen.state() != cell_state::writing || seen.next() == at + 1 ||
           make_hollow(queue, seen, word);
  }

  // ---- subscribers and pollers ----

  // Copies the message at `cursor`, or the first one after it. Changes nothing that is shared.
  inline cell_result try_read(std::uint64_t& cursor, std::uint64_t& lost, std::uint64_t* payload,
                              std::size_t words) const noexcept {
    std::uint64_t passed = 0;
    for (;;) {
      const auto word = word_of(cursor);
      const cell_word seen{word.load(std::memory_order_acquire)};
      if (seen.next() == cursor + 1) {
        if (seen.state() == cell_state::hollow) {
          ++cursor;
          continue;
        }
        if (seen.state() != cell_state::ready) return cell_result::empty;
        std::uint64_t* const from = payload_of(cursor);
        for (std::size_t i = 0; i < words; ++i)
          payload[i] = std::atomic_ref(from[i]).load(std::memory_order_relaxed);  // checked below
        std::atomic_thread_fence(std::memory_order_acquire);  // pairs with the fence in write
        if (word.load(std::memory_order_relaxed) == seen.bits) {
          ++cursor;
          return cell_result::done;
        }
        continue;  // overtaken while copying
      }
      if (seen.next() > cursor + 1) {
        if (!catch_up(cursor, lost)) return cell_result::damaged;
        continue;
      }
      // Not yet, unless publishers passed over a position that is still being written.
      if (seen.state() != cell_state::writing || tail() <= cursor) return cell_result::empty;
      if (word.load(std::memory_order_acquire) != seen.bits) continue;
      ++cursor;
      ++lost;
      // A damaged tail may be anywhere: goes on with the next call.
      if (++passed > mask_) return cell_result::empty;
    }
  }
  inline bool readable(std::uint64_t cursor) const noexcept {
    const cell_word seen{word_of(cursor).load(std::memory_order_acquire)};
    // As try_read: a damaged state is nothing to read.
    if (seen.next() == cursor + 1)
      return seen.state() == cell_state::ready || seen.state() == cell_state::hollow;
    return seen.next() > cursor + 1 || (seen.state() == cell_state::writing && tail() > cursor);
  }
  // Is nothing to come at or after this cursor, if no more is claimed?
  inline bool drained(std::uint64_t cursor) const noexcept {
    return tail() <= cursor &&
           cell_word{word_of(cursor).load(std::memory_order_acquire)}.next() < cursor + 1;
  }

  // Subscribes: where to start. `cursor_word` is the endpoint's.
  std::uint64_t join(std::uint64_t& cursor_word, bool from_oldest) noexcept;
  // Is this cursor where nobody has been? Then it is damaged, or the tail is. The tail itself may lag by
  // one: a position whose publisher died before moving it.
  inline bool is_astray(std::uint64_t cursor) const noexcept {
    const std::uint64_t at = tail();
    if (cursor <= at || readable(cursor)) return false;
    return cursor != at + 1 ||
           cell_word{word_of(at).load(std::memory_order_acquire)}.next() < at + 1;
  }
  // Then goes back. true: it was.
  inline bool astray(std::uint64_t& cursor) const noexcept {
    if (!is_astray(cursor)) return false;
    cursor = tail();
    return true;
  }
  inline void leave(std::uint64_t& cursor_word) noexcept {
    std::atomic_ref(cursor_word).store(0, std::memory_order_release);
  }
  inline void publish_cursor(std::uint64_t& cursor_word, std::uint64_t cursor) noexcept {
    // Release: pairs with slowest_cursor, the copying is over.
    std::atomic_ref(cursor_word).store(cursor + 1, std::memory_order_release);
  }

  // ---- looking after the dead ----

  // The slowest living subscriber's, `at` if there is none. Frees those of the dead that hold the
  // ring back.
  std::uint64_t slowest_cursor(const queue_view& queue, std::uint64_t at) noexcept;
  // The position at `cursor`, if its publisher is dead, becomes hollow.
  inline bool repair_at(const queue_view& queue, std::uint64_t cursor) noexcept {
    const auto word = word_of(cursor);
    const cell_word seen{word.load(std::memory_order_acquire)};
    return seen.next() == cursor + 1 && seen.state() == cell_state::writing &&
           make_hollow(queue, seen, word);
  }
  // All that endpoint `slot`, which is gone, was writing becomes hollow.
  void retire(const queue_view& queue, std::uint32_t slot, std::uint64_t control) noexcept;

 private:
  inline std::atomic_ref<std::uint64_t> word_of(std::uint64_t position) const noexcept {
    return std::atomic_ref<std::uint64_t>(
        *reinterpret_cast<std::uint64_t*>(cells_ + (position & mask_) * stride_));
  }
  inline std::uint64_t* payload_of(std::uint64_t position) const noexcept {
    return reinterpret_cast<std::uint64_t*>(cells_ + (position & mask_) * stride_) + 1;
  }
  // Over a position whose publisher died before moving the tail.
  inline void help_tail() noexcept {
    const std::uint64_t at = tail();
    if (cell_word{word_of(at).load(std::memory_order_acquire)}.next() == at + 1) move_tail(at);
  }
  inline void move_tail(std::uint64_t from) noexcept {
    // Release: pairs with tail(). Failed: somebody else did it.
    std::atomic_ref(*tail_).compare_exchange_strong(from, from + 1, std::memory_order_release,
                                                    std::memory_order_relaxed);
  }
  inline void finish(std::uint64_t position, cell_state state) noexcept {
    // Release: pairs with try_read. Nobody else changes the word of a living publisher's position.
    word_of(position).store(cell_word::of(position, 0, state).bits, std::memory_order_release);
  }
  // A slot may lag by several laps where publishers passed over it, and where positions were void
  // in the lossy form only.
  inline bool may_be_passed_over(cell_word seen, std::uint64_t at) const noexcept {
    return lossy_ && seen.next() <= at && (at + 1 - seen.next()) % capacity() == 0;
  }
  cell_result mend() noexcept;
  // Overtaken: half a ring behind the tail is safe for a while. false: damaged.
  bool catch_up(std::uint64_t& cursor, std::uint64_t& lost) const noexcept;
  bool make_hollow(const queue_view& queue, cell_word seen,
                   std::atomic_ref<std::uint64_t> word) noexcept;

  std::uint64_t* tail_ = nullptr;
  std::byte* cells_ = nullptr;
  std::uint64_t mask_ = 0;
  std::uint32_t stride_ = 0;
  bool lossy_ = false;
};

}  // namespace ipcpp::detail
