// ipcpp.malloc:state - what a process and each of its threads keep about a heap in private memory,
// and the functions that the heap's bodies share. Internal.
//
// Roles
//   heap_state    one per process and heap: the source, the participants, the list of caches
//   cache         one per thread and heap, in pages that a forked child sees zeroed: a size class
//                 leads to the bitmap word to allocate from, and to the slabs this thread owns
//   handle words  the shared side of a cache, one line of the participant table
//
// The critical section. Between `busy = x` and `busy = 0` the owner may use what it owns with plain
// loads and stores; x is the bitmap word it works on, or everything. It may enter only while the
// revocation count is the one it has acknowledged. Whoever wants to take slabs from a living owner
// raises the count, issues a heavy fence, and then knows: what `busy` does not name is untouched
// until the owner acknowledges (impl/malloc/harvest.cpp). An owner without a heavy fence enters
// through an exchange instead.
//
//   words of a cache's handle
//   0 busy          0, everything, or the owner's address of the bitmap word at work
//   1 revocations   generation of the handle << 32 | count, raised by thieves, never lowered; 0 once
//                   the handle is free: a thief that comes late neither raises a successor's count
//                   nor takes a successor's slabs
//   2 acknowledged  the revocations its owner has seen; what it owned before has a new generation
//   3 bits_address  where the owner maps the block bits, to make sense of 0
//   4 self_fencing  the owner orders its own accesses
//   5 link_state    allocate_to and free_from (impl/malloc/links.cpp): sequence << 8 | link_phase
//   6 link_at       offset of the link from the heap's header
//   7 link_block    offset of the block
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string_view>

module ipcpp.malloc:state;

import ipcpp.platform;
import ipcpp.sync;
import :heap;
import :layout;

namespace ipcpp::detail {

inline constexpr handle_kind cache_handle = 1;

inline constexpr std::size_t busy_word = 0;
inline constexpr std::size_t revocations_word = 1;
inline constexpr std::size_t acknowledged_word = 2;
inline constexpr std::size_t bits_address_word = 3;
inline constexpr std::size_t self_fencing_word = 4;
inline constexpr std::size_t link_state_word = 5;
inline constexpr std::size_t link_at_word = 6;
inline constexpr std::size_t link_block_word = 7;

inline constexpr std::uint64_t busy_with_nothing = 0;
inline constexpr std::uint64_t busy_with_everything = 1;
inline constexpr std::uint64_t never = ~std::uint64_t{0};  // no count of revocations gets there

// Raises the revocations of that very handle; the new value, or 0 if it is no cache's any more.
[[nodiscard]] inline std::uint64_t revoke(const handle_info& h) noexcept {
  const std::atomic_ref word(h.words->word[revocations_word]);
  std::uint64_t seen = word.load(std::memory_order_seq_cst);
  while (seen >> 32 == h.id.generation)
    // Sequentially consistent: pairs with enter (owners that fence themselves).
    if (word.compare_exchange_weak(seen, seen + 1, std::memory_order_seq_cst)) return seen + 1;
  return 0;
}

// Bins of plain blocks, then of tracked ones.
inline constexpr std::uint32_t bin_count = 2 * class_count;

// Where the next block of a class comes from. `word` is never null.
struct alignas(32) bin {
  std::uint64_t* word;
  std::byte* base;  // of block 0 of the word
  std::uint32_t step;
  std::uint32_t more;  // words of the same slab after this one
};

// The slabs of one class that a cache owns, in private memory. A hint: who owns what is written in
// the page words.
struct owned_slabs {
  std::uint32_t* page;
  std::uint32_t count;
  std::uint32_t room;
  std::uint32_t next;  // where the rotation goes on
};

// A slab that this cache owns, in private memory: what freeing one of its blocks needs.
struct alignas(64) own_slab {
  std::byte* base;
  std::uint64_t* bits;
  std::uint64_t reciprocal;
  std::uint64_t reciprocal_top;  // reciprocal << 24
  std::uint32_t remote;          // words from free to remote bits
  std::uint32_t blocks;
  std::uint32_t pages;
  std::uint32_t next_unused;
};

struct heap_state;

struct cache {
  heap_header* header;  // 0: not in use; in a forked child every cache of the parent reads so
  std::uint64_t* words;
  std::uint64_t* bits;
  std::byte* pages;
  std::uint64_t* shared;   // the handle's words
  std::uint64_t enter_if;  // revocations for which the fast path may enter
  // Which of own[] a page belongs to; 0: none that this cache knows it owns. One entry for each page
  // of the heap (untouched ones cost nothing), none if there was no address space for it.
  std::uint32_t* own_of_page;
  std::uint64_t mapped_pages;
  own_slab* own;
  std::uint64_t known_end;  // pages known to exist
  std::uint32_t owner;      // handle slot + 1
  std::uint32_t self_fencing;
  std::uint64_t seen;  // revocations acknowledged
  heap_state* state;
  handle_id handle;
  participant_id member;  // this process
  std::uint64_t owned_total;
  std::uint64_t swept_at;               // owned_total when empties were last given back
  std::uint64_t nothing;                // an empty bitmap word
  std::uint64_t tag;                    // of every block allocated now; 0: none (heap_set_tag)
  const allocation_recorder* recorder;  // allocates and frees in this thread's stead, if set
  std::uint32_t own_room;
  std::uint32_t own_unused;  // first of a list; 0 is no entry
  cache* next_of_heap;
  cache* next_of_thread;
  std::uint32_t orphan_cursor[bin_count];
  bin bins[bin_count];
  owned_slabs owned[bin_count];
};

struct heap_state : mapped_place {
  heap_header* header = nullptr;
  std::uint64_t* words = nullptr;
  std::uint64_t* bits = nullptr;
  std::byte* pages = nullptr;
  source_functions source;
  std::size_t source_skip = 0;  // the header's distance from the source's base
  std::unique_ptr<platform::mapping> anchor;
  std::unique_ptr<participants> members;
  misuse on_misuse = misuse::aborts;
  bool heavy_fences = false;  // this process enrolled, and may issue them
  bool shared_source = false;
  std::uint64_t references = 1;
  mutable std::atomic<std::uint64_t> adopted_end{0};  // pages known to be accessible here
  fork_safe_lock listing;
  cache* caches = nullptr;
};

// ---- small conveniences ----

[[nodiscard]] inline std::atomic_ref<std::uint64_t> page_word(const heap_state& s,
                                                              std::uint64_t page) noexcept {
  return std::atomic_ref<std::uint64_t>(s.words[page]);
}
[[nodiscard]] inline std::uint64_t* free_words(const heap_state& s, std::uint64_t page) noexcept {
  return s.bits + page * bits_words_per_page;
}
[[nodiscard]] inline std::byte* page_address(const heap_state& s, std::uint64_t page) noexcept {
  return s.pages + (page << page_shift);
}
// Makes the pages below `end` accessible here; how many are.
[[nodiscard]] std::uint64_t adopt_pages(const heap_state& s, std::uint64_t end) noexcept;
// How many pages there are, all of them accessible here.
[[nodiscard]] inline std::uint64_t end_page(const heap_state& s) noexcept {
  // Acquire: pairs with grow, which wrote the run before it moved the end.
  const std::uint64_t end = in_heap(s.header->end_page).load(std::memory_order_acquire);
  return end <= s.adopted_end.load(std::memory_order_relaxed) ? end : adopt_pages(s, end);
}
[[nodiscard]] inline std::uint32_t bin_of(std::uint64_t slab) noexcept {
  return class_field(slab) + ((slab & tracked_flag) != 0 ? class_count : 0);
}
// The bits that stand for blocks in word i of a slab's bitmap.
[[nodiscard]] inline std::uint64_t valid_bits(std::uint32_t blocks, std::uint32_t i) noexcept {
  return i * 64 + 64 <= blocks ? ~std::uint64_t{0}
         : i * 64 >= blocks    ? 0
                               : ~std::uint64_t{0} >> (64 - (blocks - i * 64));
}

// Calls f(page, word) for the words that begin runs, without any lock: a run that changes meanwhile
// may be seen in part or twice. f returns whether to go on.
template <class F>
void walk(const heap_state& s, std::uint64_t from, std::uint64_t to, F&& f) noexcept {
  for (std::uint64_t page = from; page < to;) {
    const std::uint64_t word = page_word(s, page).load(std::memory_order_acquire);  // set_word
    const std::uint64_t pages = length_of(word);
    if (pages == 0 || pages > to - page) {  // inside something
      ++page;
      continue;
    }
    if (!f(page, word)) return;
    page += pages;
  }
}

// ---- cache.cpp ----

// This thread's cache of that heap, made if need be. Throws what acquire_handle throws.
[[nodiscard]] cache& make_cache(heap_header* of);
[[nodiscard]] cache& this_cache(heap_header* of);
[[nodiscard]] participant_id this_member(heap_state& s);
void close_cache(cache& c) noexcept;  // gives up everything; the caller holds no critical section
// nullptr if the header belongs to no heap of this process.
[[nodiscard]] heap_state* state_of_header(const heap_header* of) noexcept;
[[noreturn]] void refuse_foreign_header(const heap_header* of);

// Enters with `busy = everything`; afterwards whatever the page words say is owned is owned.
void enter(cache& c) noexcept;
inline void leave(cache& c) noexcept {
  // Release: pairs with the thief's load of busy in harvest.
  std::atomic_ref(c.shared[busy_word]).store(busy_with_nothing, std::memory_order_release);
}
void acknowledge(cache& c) noexcept;
// Whether the fast path may enter, and without an exchange.
void choose_entry(cache& c) noexcept;
// Enters a slab into the private list of what this cache owns. false: no private memory.
[[nodiscard]] bool own(cache& c, std::uint32_t bin, std::uint64_t page,
                       std::uint64_t slab) noexcept;
// Strikes off entry `at` of what it owns in that bin.
void forget(cache& c, std::uint32_t bin, std::uint32_t at) noexcept;
// Where this thread looks for its cache of that heap.
[[nodiscard]] cache*& cache_slot(const heap_header* of) noexcept;

// Throws or aborts, as the process chose.
[[noreturn]] void report(const heap_state& s, errc kind, const void* at, std::string_view expected,
                         std::string_view found);

// ---- runs.cpp: everything here changes where runs begin ----

class run_guard {
 public:
  // `for_the_dead`: `as` is dead, and the caller its undertaker.
  run_guard(heap_state& s, participant_id as, bool for_the_dead = false) noexcept;
  run_guard(const run_guard&) = delete;
  run_guard& operator=(const run_guard&) = delete;
  ~run_guard();

 private:
  heap_state* state_;
  participant_id as_;
};

struct run {
  std::uint64_t page = 0;
  std::uint64_t pages = 0;  // 0: none
};

// The word for a run of so many pages that was taken: what it is from now on.
struct run_use {
  page_kind kind;
  std::uint64_t flags;
  std::uint32_t owner;
};

// A run of `pages`, its first page's address a multiple of `alignment`; from free runs, and if
// `may_grow` by growing. Takes the run lock. No run if there is none.
[[nodiscard]] run take_run(heap_state& s, participant_id as, std::uint64_t pages,
                           std::size_t alignment, run_use use, bool may_grow) noexcept;
// Gives back a run whose word is `held` by the caller. Takes the run lock.
void give_run(heap_state& s, participant_id as, std::uint64_t page) noexcept;
// The same with the lock held; returns the free run it became part of.
run put_run(heap_state& s, std::uint64_t page, std::uint64_t pages, std::uint64_t flags) noexcept;
// Joins the run at `page`, which is pending, to the free ones, if the lock is to be had; else its
// holder will.
void put_pending(heap_state& s, participant_id as, std::uint64_t page) noexcept;
// Likewise whatever is pending, if anything is.
void collect_pending(heap_state& s, participant_id as) noexcept;
// Grows or shrinks the large block at `page` where it is. Takes the run lock.
[[nodiscard]] bool resize_run(heap_state& s, participant_id as, std::uint64_t page,
                              std::uint64_t pages) noexcept;
std::size_t trim_runs(heap_state& s, cache& c, std::size_t keep) noexcept;
// The run lock held by a dead holder was taken over: the index is made anew from the page words.
void rebuild_runs(heap_state& s) noexcept;
// Pages of the largest run that take_run could deliver, growth included.
[[nodiscard]] std::uint64_t longest_run(heap_state& s, participant_id as, bool may_grow) noexcept;
[[nodiscard]] std::uint64_t footprint_of(const heap_state& s) noexcept;
[[nodiscard]] bool grow_first(heap_state& s) noexcept;  // by the creator, before anyone else

// ---- slabs.cpp: within the critical section unless it says otherwise ----

// What others freed becomes free. The caller owns the slab. false: it is damaged.
bool merge(heap_state& s, std::uint64_t page, std::uint64_t slab) noexcept;
[[nodiscard]] bool all_free(const heap_state& s, std::uint64_t page, std::uint64_t slab) noexcept;
// The same once others' frees were merged.
[[nodiscard]] bool all_merged_free(const heap_state& s, std::uint64_t page,
                                   std::uint64_t slab) noexcept;
[[nodiscard]] bool any_free(const heap_state& s, std::uint64_t page, std::uint64_t slab) noexcept;
// Points the bin at a word of the slab with a free block, if there is one.
[[nodiscard]] bool pick(cache& c, std::uint32_t bin, std::uint64_t page,
                        std::uint64_t slab) noexcept;
[[nodiscard]] bool pick_owned(cache& c, std::uint32_t bin, std::uint32_t most) noexcept;
[[nodiscard]] bool adopt_orphan(cache& c, std::uint32_t bin, bool despite_hints) noexcept;
// Outside the critical section; enters it and stays in it on success.
[[nodiscard]] bool make_slab(cache& c, std::uint32_t bin, std::uint64_t pages,
                             bool may_grow) noexcept;
// Nobody's from now on, with the hint that somebody may want it.
void disown(heap_state& s, std::uint64_t page, std::uint64_t slab) noexcept;
void hint_orphan(heap_state& s, std::uint64_t slab) noexcept;
// An owned slab without a block in use becomes a free run. Outside the critical section: `slab` is
// the word as the caller saw it while it owned it. false: somebody else took it meanwhile.
bool dissolve(heap_state& s, participant_id as, std::uint32_t owner, std::uint64_t page,
              std::uint64_t slab) noexcept;
// Gives back this cache's slabs without a block in use, and orphans likewise. Outside. How many.
std::size_t sweep(cache& c, bool orphans_too) noexcept;

// ---- harvest.cpp ----

// Takes free memory from the caches of others: slabs of that bin with a free block, and slabs
// without a block in use, which become free runs. Outside. How many slabs; sets `contended` if an
// owner was in the middle of something.
std::size_t harvest(cache& c, std::uint32_t bin, bool& contended) noexcept;
// A heavy fence is not to be had: all owners order their own accesses from now on.
void demand_fences(heap_state& s) noexcept;

// ---- recovery.cpp ----

void repair(void* state, const remains& of) noexcept;
void free_tracked(heap_state& s, participant_id of) noexcept;
// Blocks that carry the tag. Run lock held.
void free_blocks_tagged(heap_state& s, std::uint64_t tag) noexcept;

// ---- links.cpp ----

enum class link_phase : std::uint8_t {
  none = 0,
  allocating = 1,  // link_block becomes link_at's, unless its owner dies first
  freeing = 2,     // link_block is freed once link_at does not hold it any more
  done = 3,        // somebody saw that it took effect
  resolving = 4,   // the undertaker frees link_block; mergers leave its bit alone
};
[[nodiscard]] constexpr link_phase phase_of(std::uint64_t state) noexcept {
  return static_cast<link_phase>(state & 0xff);
}
// Called by mergers with the remote bits they are about to merge: those of an unfinished free are
// marked done, those an undertaker is at are left out.
[[nodiscard]] std::uint64_t settle_links(heap_state& s, std::uint64_t page, std::uint64_t slab,
                                         std::uint32_t word, std::uint64_t bits) noexcept;
// What a dead participant's handle had under way. Run lock held if `large_only`.
void resolve_link(heap_state& s, std::uint64_t* words, bool large_only) noexcept;

// `link`: offset of an offset_ptr from the heap's header, checked by the caller.
[[nodiscard]] void* allocate_linked(cache& c, std::uint64_t link, std::size_t bytes);
void free_linked(cache& c, std::uint64_t link);

// ---- allocate.cpp ----

// Enters the critical section with the bin at a word that has a free block; throws std::bad_alloc
// after everything was tried.
void find_block(cache& c, std::uint32_t bin);
// A run in use as said; throws std::bad_alloc after everything was tried.
[[nodiscard]] run find_run(cache& c, std::uint64_t pages, std::size_t alignment, run_use use);

[[nodiscard]] void* allocate_from(cache& c, std::size_t bytes, std::size_t alignment, bool tracked);
// Where a block is, checked against everything the heap knows. report()s misuse.
struct block_place {
  std::uint64_t page = 0;
  std::uint64_t word = 0;  // page word
  std::uint32_t index = 0;
  std::size_t bytes = 0;  // usable
};
[[nodiscard]] block_place place_of(const heap_state& s, const void* block);

// In the last 8 bytes of a tracked block: generation << 32 | mark << 16 | process slot + 1, or 0
// once it was published.
inline constexpr std::uint64_t tag_mark = 0x7a67;
// The tag of something under construction (heap_set_tag): batch << 32 | mark << 16 | number.
inline constexpr std::uint64_t building_mark = 0x7a68;
inline constexpr std::size_t tag_bytes = 8;
[[nodiscard]] constexpr std::uint64_t tag_of(participant_id owner) noexcept {
  return std::uint64_t{owner.generation} << 32 | tag_mark << 16 | (owner.slot + 1);
}
[[nodiscard]] inline std::atomic_ref<std::uint64_t> tag_at(std::byte* block,
                                                           std::size_t block_bytes) noexcept {
  return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(block + block_bytes - tag_bytes));
}

}  // namespace ipcpp::detail
