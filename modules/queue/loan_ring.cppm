// ipcpp.queue:loan_ring - large messages that are never copied: a pool of chunks, and a ring of their
// numbers that every subscriber reads. The core of loan_queue.
//
// Representation, after the endpoint slots (:endpoint):
//
//   own line   tail
//   ring       | cells: a word each | chunks: a word each | padding to 128 | chunk 0 | chunk 1 | ...
//   cell       63           16 15    0
//              | position + 1 | chunk |      0: never used. One CAS publishes: nothing can be half done
//   chunk word 63           13 12    3 2     0
//              | position + 1 | owner | state |   free 0, loaned (owner) 1, published 2
//              position: where it was published last, whatever the state; 0: never. It only grows
//   chunk      | bytes in use 8 B | 0 ... | payload from byte 64 on |
//   slot words of an endpoint   0 cursor + 1 (subscribers; 0: not subscribed)   1 lost   2 received
//                               3 published   5 to 12 holds: position + 1 of what it is reading
//
// Cost. Publishing is one CAS and a look at the slowest cursor remembered, whatever the size and
// however many subscribe; all cursors are looked at once in a lap, and when the pool is empty.
//
// Who may reuse a chunk that was published at p? Whoever finds every living subscriber's cursor beyond
// p and p in nobody's holds. A subscriber stores its hold before it moves its cursor beyond p (release),
// the reclaimer reads the cursor (acquire) before the holds: it sees one of the two. No fence, no count
// that a death could falsify. Joining as in :broadcast_ring (Q5).
//
// Crash story. A publisher moves its cell, the tail, then the chunk's word. Dead between the first two:
// whoever publishes next, or looks where the subscribers are, moves the tail. Dead before the third: the
// cell says where the chunk was published, and whoever is about to overwrite the cell corrects the word
// first (a loan whose position is older than the cell's is the one that filled the cell). So the word
// of a dead one's loan is published at p if a cell says so, else free: nobody can be reading it.
// Subscriber dead: its cursor and its holds count no more from the instant that the kernel says so.
// Quarantine: a chunk that a living but stopped process has loaned or holds stays out of use until that
// goes on or dies. Nobody is robbed, and nobody but that chunk waits for it. With drop_oldest a stopped
// subscriber's cursor is moved on by publishers; it finds that out by its own failing CAS.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>

export module ipcpp.queue:loan_ring;

import ipcpp.platform;
import ipcpp.sync;
import :endpoint;

namespace ipcpp::detail {

enum class chunk_state : std::uint8_t { free = 0, loaned = 1, published = 2 };

struct chunk_word {
  std::uint64_t bits = 0;

  static constexpr chunk_word of(std::uint64_t position, std::uint32_t owner,
                                 chunk_state state) noexcept {
    return {(position + 1) << 13 | std::uint64_t{owner & 1023} << 3 |
            static_cast<std::uint64_t>(state)};
  }
  // The same position.
  constexpr chunk_word as(chunk_state state, std::uint32_t owner = 0) const noexcept {
    return of(position(), owner, state);
  }
  constexpr std::uint64_t position() const noexcept { return (bits >> 13) - 1; }
  constexpr std::uint64_t next() const noexcept { return bits >> 13; }  // position + 1; 0: never
  constexpr std::uint32_t owner() const noexcept {
    return static_cast<std::uint32_t>(bits >> 3) & 1023;
  }
  constexpr chunk_state state() const noexcept { return static_cast<chunk_state>(bits & 7); }
};

enum class loan_result : std::uint8_t { done, empty, full, too_many, damaged };

class loan_ring {
 public:
  static constexpr std::size_t chunk_head_bytes = 64;
  static constexpr std::uint32_t first_hold = 5;
  static constexpr std::uint32_t most_holds = endpoint_slot::words - first_hold;
  static constexpr std::uint32_t most_chunks = 1u << 16;

  loan_ring() noexcept = default;
  inline loan_ring(std::uint64_t* tail, std::uint64_t* cells, std::uint64_t capacity,
                   std::uint64_t* chunks, std::uint32_t chunk_count, std::byte* memory,
                   std::size_t chunk_bytes) noexcept
      : tail_(tail),
        cells_(cells),
        chunks_(chunks),
        memory_(memory),
        mask_(capacity - 1),
        chunk_bytes_(chunk_bytes),
        chunk_count_(chunk_count) {}

  // Of payload in a chunk.
  inline std::size_t most_bytes() const noexcept { return chunk_bytes_ - chunk_head_bytes; }
  inline std::byte* payload(std::uint32_t chunk) const noexcept {
    return memory_ + std::size_t{chunk} * chunk_bytes_ + chunk_head_bytes;
  }
  inline std::uint64_t tail() const noexcept {
    return std::atomic_ref(*tail_).load(std::memory_order_acquire);
  }

  // ---- publishers ----

  // A chunk for this owner (slot + 1). `next` is the caller's memory of where to look first.
  loan_result try_loan(const queue_view& queue, std::uint32_t owner, std::uint32_t& next,
                       std::uint32_t& chunk) noexcept;
  inline void give_back(std::uint32_t chunk) noexcept {
    const std::atomic_ref word(chunks_[chunk]);
    // Relaxed: ours until the store. Release: pairs with try_loan.
    word.store(chunk_word{word.load(std::memory_order_relaxed)}.as(chunk_state::free).bits,
               std::memory_order_release);
  }
  // `drop_oldest`: moves the slowest on instead of full.
  loan_result try_publish(const queue_view& queue, std::uint32_t chunk, std::uint64_t bytes,
                          bool drop_oldest, std::uint64_t& slowest) noexcept;
  bool has_room(const queue_view& queue, std::uint64_t& slowest) noexcept;
  bool some_chunk(const queue_view& queue) noexcept;

  // ---- subscribers ----

  std::uint64_t join(endpoint_slot& mine) noexcept;
  // `cursor` is the caller's own memory of its slot's word 0.
  loan_result try_take(endpoint_slot& mine, std::uint64_t& cursor, std::uint64_t& lost,
                       std::uint32_t& hold, std::uint32_t& chunk, std::uint64_t& bytes) noexcept;
  inline void release(endpoint_slot& mine, std::uint32_t hold) noexcept {
    // Release: pairs with usable_from, the reading is over.
    shared(mine.word[first_hold + hold]).store(0, std::memory_order_release);
  }
  inline bool readable(std::uint64_t cursor) const noexcept {
    return std::atomic_ref(cells_[cursor & mask_]).load(std::memory_order_acquire) >> 16 > cursor;
  }

  // ---- looking after the dead ----

  void retire(const queue_view& queue, std::uint32_t slot, std::uint64_t control) noexcept;
  std::uint32_t chunks_in_use(const queue_view& queue) noexcept;
  std::uint64_t untaken(const queue_view& queue) noexcept;

 private:
  struct survey {
    std::uint64_t tail;
    std::uint64_t slowest;
  };
  // Moves the tail over what is published already.
  void help_tail() noexcept;
  // Where the subscribers are; those whose cursor is below `bury_below` are asked for, and the slots
  // of the dead among them freed.
  survey look_round(const queue_view& queue, std::uint64_t bury_below) noexcept;
  bool held(const queue_view& queue, std::uint64_t position) noexcept;
  bool reusable(const queue_view& queue, const survey& now, chunk_word word) noexcept;
  // A dead one's loan: what its word should be.
  chunk_word truth_of(std::uint32_t chunk, chunk_word loan) const noexcept;
  // Before a cell is overwritten: its chunk's word, if its publisher has not come so far.
  void settle(std::uint64_t cell) noexcept;
  inline void move_tail(std::uint64_t from) noexcept {
    std::atomic_ref(*tail_).compare_exchange_strong(from, from + 1, std::memory_order_release,
                                                    std::memory_order_relaxed);
  }

  std::uint64_t* tail_ = nullptr;
  std::uint64_t* cells_ = nullptr;
  std::uint64_t* chunks_ = nullptr;
  std::byte* memory_ = nullptr;
  std::uint64_t mask_ = 0;
  std::size_t chunk_bytes_ = 0;
  std::uint32_t chunk_count_ = 0;
};

}  // namespace ipcpp::detail
