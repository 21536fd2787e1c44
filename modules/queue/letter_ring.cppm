// ipcpp.queue:letter_ring - messages of any size in a ring of bytes, written and read in place by
// many processes: the core of message_queue, which adds waiting, closing and endpoints.
//
// Representation. Positions count granules of 64 bytes, are never reset, and lie at position modulo
// the ring's size, a power of two. A record takes whole granules and does not wrap:
//
//   ring     | head | payload ............... | head | payload ... | not yet claimed ...
//   head     word 0   63      32 31    8 7  4 3    2 1      0        word 1: reserved
//                     | bytes   | granules | 0 | kind |next_on| on |
//   claims   a word per granule, the senders': the record that begins there
//   takes    a word per granule, the receivers'
//                     63   36 35   26 25  23 22     21       0
//                     | lap  | owner | state |next_on| granules |     lap = position / size + 1
//   lines    tail, head, freed: a position, and `on` of the record that begins there
//
// A claim is one CAS of claims[tail] to this lap, a taking one CAS of takes[head]; tail and head only
// follow and are moved on by whoever finds them behind. So length and owner of every record are known
// from the instant it exists, and nothing is ever guessed (protocol-review Q4: there are no intents to
// be scanned). No word is written twice in one lap except by its owner or in place of a dead one, and
// every CAS expects a word that says its lap: whoever slept too long fails.
//
// How a record is committed without clearing memory first: `on` of a record's head is the
// complement of the bit that stood there when the record before it was claimed. That memory was free
// then and belongs to nobody until its claimer commits, so the bit stays until the commit turns it.
// Whatever bytes old messages left there, they cannot be taken for a commit. The commit word lies in
// the message's own line: a receiver that polls moves one line per message of 48 bytes.
//
// Crash story, sender                      what the others find
//   before claims[tail]                    nothing
//   claimed, tail not moved                the next sender moves it
//   claimed, not committed                 receivers wait while the claimer lives; when it is dead,
//                                          the first of them skips the record (its length is in claims)
//   committed                              a message like any other
//   pad at the ring's end claimed          the same: it is a claim of its own, withdrawn at once
// Crash story, receiver
//   before takes[head]                     nothing
//   taken, head not moved                  the next receiver moves it
//   taken, not released                    handed out again, flagged as redelivered, when it is dead
//   released, freed not moved              whoever releases a record that crosses an eighth of the
//                                          ring, or a sender that finds the ring full, moves it
// Owners are endpoint slots, numbered from 1; a slot is used again only after retire() has dealt with
// all its last owner had. Whoever acts for a dead one reads the record that names a slot, then finds
// the slot's control word still the dead one's: the record was the dead one's, since a successor takes
// the slot first and makes records afterwards. His CAS on the record then decides.
//
// Race story. claims: release by the claimer's CAS, acquire by the next sender and by repair. head
// word 0: release by commit, acquire by take. takes: release by take and release, acquire by whoever
// moves freed. freed: release by the CAS, acquire by senders before they claim: payload of an old
// record is read before it is overwritten. A hint (tail, head) is loaded again after the word it leads
// to: if that word was of a later lap, the acquire makes the later hint visible.
//
// Failure model: head words, claims and takes are checked when they are read; what is impossible is
// `damaged`, and is skipped if the claim still says how long it is.
module;

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__clang__)
#if __has_feature(thread_sanitizer)
#define IPCPP_THREAD_SANITIZER
#endif
#endif

export module ipcpp.queue:letter_ring;

import ipcpp.platform;
import ipcpp.sync;
import :endpoint;

namespace ipcpp::detail {

inline constexpr std::size_t granule_bytes = 64;
inline constexpr std::size_t letter_head_bytes = 16;
inline constexpr std::uint32_t most_granules = 1u << 22;  // of a record; a ring may have as many

// Each word is written by one side only.
struct ring_lines {
  std::uint64_t tail;  // senders: position << 1 | on
  std::uint64_t zero0[15];
  std::uint64_t head;  // receivers: the next to take
  std::uint64_t zero1[15];
  std::uint64_t freed;  // receivers: everything before is free
  std::uint64_t zero2[15];
};
static_assert(sizeof(ring_lines) == 384 && offsetof(ring_lines, head) == platform::line_stride);

// What claims and takes hold.
enum class record_state : std::uint8_t {
  none = 0,        // in claims: 0 or 1, which is the record's own `on`
  held = 1,        // a receiver reads it
  held_again = 2,  // the same, after a receiver died with it
  returned = 3,    // its receiver is gone: whoever wants it
  released = 4,
};

struct record_word {
  std::uint64_t bits = 0;

  static constexpr std::uint64_t lap_mask = (std::uint64_t{1} << 28) - 1;
  static constexpr record_word of(std::uint64_t lap, std::uint32_t owner, record_state state,
                                  bool next_on, std::uint32_t granules) noexcept {
    return {(lap & lap_mask) << 36 | std::uint64_t{owner} << 26 |
            static_cast<std::uint64_t>(state) << 23 | std::uint64_t{next_on} << 22 |
            (granules & (most_granules - 1))};
  }
  constexpr std::uint64_t lap() const noexcept { return bits >> 36; }
  constexpr std::uint32_t owner() const noexcept {
    return static_cast<std::uint32_t>(bits >> 26) & 1023;
  }
  constexpr record_state state() const noexcept {
    return static_cast<record_state>(bits >> 23 & 7);
  }
  constexpr bool next_on() const noexcept { return (bits >> 22 & 1) != 0; }
  constexpr bool on() const noexcept { return (bits >> 23 & 1) != 0; }  // in claims
  constexpr std::uint32_t granules() const noexcept {
    return static_cast<std::uint32_t>(bits) & (most_granules - 1);
  }
  constexpr record_word with(std::uint32_t owner, record_state state) const noexcept {
    return of(lap(), owner, state, next_on(), granules());
  }
};

enum class letter_kind : std::uint8_t { none = 0, letter = 1, pad = 2 };

struct head_word {
  std::uint64_t bits = 0;

  static constexpr head_word of(bool on, bool next_on, letter_kind kind, std::uint32_t granules,
                                std::uint32_t bytes) noexcept {
    return {std::uint64_t{bytes} << 32 | std::uint64_t{granules} << 8 |
            static_cast<std::uint64_t>(kind) << 2 | std::uint64_t{next_on} << 1 |
            std::uint64_t{on}};
  }
  constexpr bool on() const noexcept { return (bits & 1) != 0; }
  constexpr bool next_on() const noexcept { return (bits & 2) != 0; }
  constexpr letter_kind kind() const noexcept { return static_cast<letter_kind>(bits >> 2 & 3); }
  constexpr std::uint32_t granules() const noexcept {
    return static_cast<std::uint32_t>(bits >> 8) & 0xffffff;
  }
  constexpr std::uint32_t bytes() const noexcept { return static_cast<std::uint32_t>(bits >> 32); }
};

// A record that somebody has claimed or taken.
struct record {
  std::uint64_t position = 0;
  std::byte* data = nullptr;
  std::uint32_t granules = 0;
  std::uint32_t bytes = 0;
  std::uint32_t owner = 0;
  bool on = false;
  bool next_on = false;
  bool again = false;  // held by somebody before, who died

  inline std::size_t room() const noexcept { return granules * granule_bytes - letter_head_bytes; }
};

// After a claim, before the look at whether the queue is still open: pairs with the heavy fence of who
// closes it (:queue_object). A sender that saw it open has then claimed visibly.
inline void fence_after_claim() noexcept {
  if (notifies_without_fence.load(std::memory_order_relaxed)) {  // never false again
    std::atomic_signal_fence(std::memory_order_seq_cst);
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}

enum class ring_result : std::uint8_t { done, empty, full, damaged };

// One process's view of a ring: its geometry is read once, checked, and kept here.
class letter_ring {
 public:
  letter_ring() noexcept = default;
  inline letter_ring(ring_lines* lines, std::uint64_t* claims, std::uint64_t* takes,
                     std::byte* ring, std::uint32_t granules, bool many_senders,
                     bool many_receivers) noexcept
      : lines_(lines),
        claims_(claims),
        takes_(takes),
        ring_(ring),
        size_(granules),
        shift_(static_cast<std::uint32_t>(std::countr_zero(granules))),
        many_senders_(many_senders),
        many_receivers_(many_receivers) {}

  // What a fresh ring's memory must hold besides zeroed claims and takes.
  inline void begin() noexcept {
    const std::uint64_t on = (load(ring_word(0), std::memory_order_relaxed) & 1) ^ 1;  // ours alone
    lines_->tail = lines_->head = lines_->freed = on;
  }

  static constexpr std::uint64_t granules_for(std::size_t bytes) noexcept {
    return (std::uint64_t{bytes} + letter_head_bytes + granule_bytes - 1) / granule_bytes;
  }
  // Half of the ring, so that a record fits behind any pad.
  inline std::size_t most_bytes() const noexcept {
    return std::size_t{size_} / 2 * granule_bytes - letter_head_bytes;
  }
  inline std::size_t bytes() const noexcept { return std::size_t{size_} * granule_bytes; }

  // ---- senders ----

  // `bytes` is at most most_bytes(). `freed` is the caller's own memory of how far the ring was free.
  // Here only the usual case: there is room before the ring's end, and nobody is faster.
  inline ring_result try_claim(std::uint32_t owner, std::size_t bytes, std::uint64_t& freed,
                               record& out) noexcept {
    letter_ring my(*this);  // in registers: the words that are stored to are not its members
    const std::uint64_t tail = load(my.lines_->tail, std::memory_order_acquire);
    const std::uint64_t position = tail >> 1;
    const record_word found{load(my.claim_word(position), std::memory_order_acquire)};
    const auto granules = static_cast<std::uint32_t>(granules_for(bytes));
    // Loaded again: a claim of a later lap means that we have slept. One granule stays free: the next
    // record's head must not be anybody's yet.
    if ((my.many_senders_ && load(my.lines_->tail, std::memory_order_acquire) != tail) ||
        found.lap() == my.lap_of(position) || granules > my.size_ - my.index_of(position) ||
        position + granules + 1 - freed > my.size_ || !my.claim(owner, tail, found, granules, out))
        [[unlikely]]
      return claim_slowly(owner, bytes, freed, out);
    return ring_result::done;
  }

  // Precondition: bytes <= of.room().
  inline void commit(const record& of, std::size_t bytes) noexcept {
    finish(of, letter_kind::letter, static_cast<std::uint32_t>(bytes));
  }
  inline void withdraw(const record& of) noexcept { finish(of, letter_kind::pad, 0); }

  // ---- receivers ----

  // Here only the usual cases: the next letter is there, or nothing is; and nobody is faster.
  inline ring_result try_take(std::uint32_t owner, record& out) noexcept {
    letter_ring my(*this);  // as above
    const std::uint64_t head = load(my.lines_->head, std::memory_order_acquire);
    const std::uint64_t position = head >> 1;
    const record_word seen{load(my.take_word(position), std::memory_order_acquire)};
    if ((!my.many_receivers_ || load(my.lines_->head, std::memory_order_acquire) == head) &&
        seen.lap() != my.lap_of(position)) [[likely]] {
      const head_word word{my.peek(position)};
      if (word.on() != ((head & 1) != 0)) return ring_result::empty;
      if (word.kind() == letter_kind::letter && my.plausible(word, position) &&
          my.mark_taken(head, seen, owner, record_state::held, word.next_on(), word.granules()))
          [[likely]] {
        out = my.taken(position, word, owner, false);
        return ring_result::done;
      }
    }
    return take_slowly(owner, out);
  }

  // Any thread of the owner's process.
  inline void release(const record& of) noexcept {
    const record_word gone =
        record_word::of(lap_of(of.position), 0, record_state::released, of.next_on, of.granules);
    // Nobody else changes a word that a living one holds. Release: pairs with advance_freed, our
    // reading of the payload is over.
    store(take_word(of.position), gone.bits, std::memory_order_release);
    // Now and then: a sender that needs the room, or asks for it, does it himself.
    if ((of.position ^ (of.position + of.granules)) >= size_ / 8) advance_freed();
  }

  // Would a claim of so many bytes succeed now?
  inline bool has_room(std::size_t bytes) noexcept {
    const auto wanted = static_cast<std::uint32_t>(granules_for(bytes));
    const std::uint64_t position = load(lines_->tail, std::memory_order_acquire) >> 1;
    const std::uint32_t to_end = size_ - index_of(position);
    const std::uint64_t end = position + wanted + (wanted > to_end ? to_end : 0) + 1;
    advance_freed();
    return end - (load(lines_->freed, std::memory_order_acquire) >> 1) <= size_;
  }
  // Is there something to take? Exact for the caller if he is the only receiver.
  inline bool ready() const noexcept {
    const std::uint64_t head = load(lines_->head, std::memory_order_acquire);
    const std::uint64_t position = head >> 1;
    if (record_word{load(take_word(position), std::memory_order_acquire)}.lap() == lap_of(position))
      return true;  // somebody is at it: worth a look
    return (peek(position) & 1) == (head & 1);
  }

  // ---- looking after the dead: slow, for who has waited in vain ----

  // The record at the head, if its claimer is dead or it belongs to nobody: skips it. true: there
  // may be something to take now.
  bool repair_head(const queue_view& queue) noexcept;
  // A record that a dead receiver held or that was returned: now the caller's.
  bool take_returned(const queue_view& queue, std::uint32_t owner, record& out) noexcept;
  bool some_returned(const queue_view& queue) const noexcept;
  // Whatever endpoint `number`, which is gone, has claimed or holds: skipped or returned. `control`
  // is its slot's word, so that a successor's are left alone.
  void retire(const queue_view& queue, std::uint32_t number, std::uint64_t control) noexcept;
  // Moves `freed` over what was released.
  void advance_freed() noexcept;

  // ---- looking inside: approximate while others are at work ----
  std::uint64_t claimed_granules() const noexcept;   // from freed to tail
  std::uint64_t committed_letters() const noexcept;  // between head and tail; walks
  bool letters_are_out() noexcept;                   // some are taken and not released
  bool drained() const noexcept;                     // nothing is claimed beyond the head

 private:
  inline static std::uint64_t load(const std::uint64_t& word, std::memory_order order) noexcept {
    return std::atomic_ref(const_cast<std::uint64_t&>(word)).load(order);
  }
  inline static void store(std::uint64_t& word, std::uint64_t value,
                           std::memory_order order) noexcept {
    std::atomic_ref(word).store(value, order);
  }
  inline std::uint32_t index_of(std::uint64_t position) const noexcept {
    return static_cast<std::uint32_t>(position) & (size_ - 1);
  }
  inline std::uint64_t lap_of(std::uint64_t position) const noexcept {
    return ((position >> shift_) + 1) & record_word::lap_mask;
  }
  inline std::uint64_t& claim_word(std::uint64_t position) const noexcept {
    return claims_[index_of(position)];
  }
  inline std::uint64_t& take_word(std::uint64_t position) const noexcept {
    return takes_[index_of(position)];
  }
  inline std::uint64_t& ring_word(std::uint64_t position) const noexcept {
    return *reinterpret_cast<std::uint64_t*>(ring_ +
                                             std::size_t{index_of(position)} * granule_bytes);
  }
  // The first word of a record that may not be the caller's: a faster receiver may have taken and
  // released it, and a later letter's text may stand there by now. It counts only if the exchange that
  // follows succeeds, as in a sequence lock. To the thread sanitizer it would be a race with whoever
  // writes that text; so it does not see this load, and `taken` shows it what it was ordered with.
  // Acquire: pairs with finish.
#if defined(IPCPP_THREAD_SANITIZER)
  __attribute__((disable_sanitizer_instrumentation)) inline std::uint64_t peek(
      std::uint64_t position, std::memory_order = std::memory_order_acquire) const noexcept {
    return __atomic_load_n(&ring_word(position), __ATOMIC_ACQUIRE);
  }
#else
  inline std::uint64_t peek(std::uint64_t position,
                            std::memory_order order = std::memory_order_acquire) const noexcept {
    return load(ring_word(position), order);
  }
#endif
  inline bool fits(std::uint32_t granules, std::uint64_t position) const noexcept {
    return granules != 0 && granules <= size_ - index_of(position);
  }
  inline bool plausible(head_word word, std::uint64_t position) const noexcept {
    if (!fits(word.granules(), position)) return false;
    if (word.kind() == letter_kind::pad) return true;
    return word.kind() == letter_kind::letter &&
           word.bytes() <= word.granules() * granule_bytes - letter_head_bytes;
  }

  // The record at `tail`, which nobody has claimed yet and there is room for. false: somebody else was
  // faster.
  inline bool claim(std::uint32_t owner, std::uint64_t tail, record_word found,
                    std::uint32_t granules, record& out) noexcept {
    const std::uint64_t position = tail >> 1;
    const bool on = (tail & 1) != 0;
    const bool next_on = (peek(position + granules, std::memory_order_relaxed) & 1) == 0;
    const record_word mine =
        record_word::of(lap_of(position), owner, static_cast<record_state>(on), next_on, granules);
    const std::uint64_t next = (position + granules) << 1 | std::uint64_t{next_on};
    if (many_senders_) {
      // Release: pairs with the acquire of who looks at claims: what the claimer knew of tail.
      if (!std::atomic_ref(claim_word(position))
               .compare_exchange_strong(found.bits, mine.bits, std::memory_order_acq_rel))
        return false;
      std::atomic_ref(lines_->tail)
          .compare_exchange_strong(tail, next, std::memory_order_release,
                                   std::memory_order_relaxed);  // failed: somebody else did it
    } else {
      store(claim_word(position), mine.bits, std::memory_order_release);
      store(lines_->tail, next, std::memory_order_release);
    }
    out = record{
        position, ring_ + std::size_t{index_of(position)} * granule_bytes + letter_head_bytes,
        granules, 0,
        owner,    on,
        next_on,  false};
    return true;
  }
  ring_result claim_slowly(std::uint32_t owner, std::size_t bytes, std::uint64_t& freed,
                           record& out) noexcept;
  ring_result take_slowly(std::uint32_t owner, record& out) noexcept;
  // tail or head, from a record that is claimed or taken to the next. false: damaged.
  inline bool move_on(std::uint64_t& hint, std::uint64_t from, record_word over) const noexcept {
    if (!fits(over.granules(), from >> 1)) return false;
    const std::uint64_t to = ((from >> 1) + over.granules()) << 1 | std::uint64_t{over.next_on()};
    // Release: pairs with the acquire of the hint.
    std::atomic_ref(hint).compare_exchange_strong(from, to, std::memory_order_release,
                                                  std::memory_order_relaxed);
    return true;
  }
  // The record at `head` is now as said. false: somebody else was faster.
  inline bool mark_taken(std::uint64_t head, record_word seen, std::uint32_t owner,
                         record_state state, bool next_on, std::uint32_t granules) noexcept {
    const std::uint64_t position = head >> 1;
    const record_word mine = record_word::of(lap_of(position), owner, state, next_on, granules);
    const std::uint64_t next = (position + granules) << 1 | std::uint64_t{next_on};
    if (many_receivers_) {
      if (!std::atomic_ref(take_word(position))
               .compare_exchange_strong(seen.bits, mine.bits, std::memory_order_acq_rel))
        return false;
      std::atomic_ref(lines_->head)
          .compare_exchange_strong(head, next, std::memory_order_release,
                                   std::memory_order_relaxed);
    } else {
      store(take_word(position), mine.bits, std::memory_order_release);
      store(lines_->head, next, std::memory_order_release);
    }
    return true;
  }
  inline record taken(std::uint64_t position, head_word word, std::uint32_t owner,
                      bool again) const noexcept {
#if defined(IPCPP_THREAD_SANITIZER)
    (void)load(ring_word(position), std::memory_order_acquire);
#endif
    return {position,
            ring_ + std::size_t{index_of(position)} * granule_bytes + letter_head_bytes,
            word.granules(),
            word.bytes(),
            owner,
            word.on(),
            word.next_on(),
            again};
  }
  inline void finish(const record& of, letter_kind kind, std::uint32_t bytes) noexcept {
    // Release: pairs with try_take; the payload is complete.
    store(ring_word(of.position), head_word::of(of.on, of.next_on, kind, of.granules, bytes).bits,
          std::memory_order_release);
  }
  // The control word of a record's owner; 0 for nobody.
  inline static std::uint64_t control_of(const queue_view& queue, std::uint32_t owner) noexcept {
    if (owner == 0 || owner > queue.endpoints) return 0;
    // Acquire: pairs with attach and detach.
    return load(queue.slots[owner - 1].control, std::memory_order_acquire) & ~orphan_bit;
  }
  // What senders remember of `freed`. false: damaged.
  inline bool refresh(std::uint64_t& freed) noexcept {
    const std::uint64_t before = freed;
    // Acquire: pairs with advance_freed.
    freed = load(lines_->freed, std::memory_order_acquire) >> 1;
    return freed >= before;
  }
  bool to_be_returned(const queue_view& queue, record_word word) const noexcept;
  ring_result full_or_damaged(std::uint64_t position, std::uint64_t& freed) noexcept;
  ring_result skip_damaged(std::uint64_t head, record_word seen) noexcept;
  void help_tail() noexcept;
  ring_result resynchronise() noexcept;

  ring_lines* lines_ = nullptr;
  std::uint64_t* claims_ = nullptr;
  std::uint64_t* takes_ = nullptr;
  std::byte* ring_ = nullptr;
  std::uint32_t size_ = 0;  // granules
  std::uint32_t shift_ = 0;
  bool many_senders_ = true;
  bool many_receivers_ = true;
};

}  // namespace ipcpp::detail
