// Bodies of ipcpp.malloc: allocating and freeing, fast and slow.
//
// The fast paths. A block is taken by one store that clears its bit, and given back by one store
// that sets it (by its slab's owner) or one atomic OR (by anyone else). Killed before that store,
// nothing happened; after it, it is done. See state.cppm for the critical section around it, and
// harvest.cpp for why it needs no fence.
//
// The slow path looks, in this order, for a free block: in this thread's slabs, in slabs that are
// nobody's, in free runs, in this thread's own empty slabs, in new memory; then, before it gives up,
// in everything else there is: all slabs that are nobody's, shorter runs, the dead, the caches of the
// living. It gives up only when a whole round of that brought nothing: a block that was free
// throughout the call would have been found.
module;

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

module ipcpp.malloc;

import ipcpp.platform;
import ipcpp.sync;
import :heap;
import :layout;
import :state;

namespace ipcpp::detail {

namespace {

// A thread's table of caches, by the address of the heap's header. A heap that finds its place
// taken goes through make_cache, which looks through the thread's list.
constexpr std::size_t table_size = 64;

constinit cache nobody{};

constexpr std::array<std::uint8_t, class_count> fewest_pages = [] {
  std::array<std::uint8_t, class_count> table{};
  for (std::uint32_t k = 0; k < class_count; ++k)
    table[k] = static_cast<std::uint8_t>(fewest_slab_pages(k));
  return table;
}();

struct cache_table {
  std::array<cache*, table_size> at;
  constexpr cache_table() noexcept : at{} {
    for (cache*& c : at) c = &nobody;
  }
};

constinit thread_local cache_table table;

[[nodiscard]] inline std::size_t place_in_table(const heap_header* of) noexcept {
  const auto address = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(of));
  return static_cast<std::size_t>(address * 0x9e3779b97f4a7c15U >> 58);
}

[[nodiscard]] inline cache& cache_of(heap_header* of) {
  cache* const c = table.at[place_in_table(of)];
  if (c->header == of) [[likely]]
    return *c;
  return make_cache(of);
}

// Tries to enter with `busy` naming the bitmap word; false: the slow path has something to do first.
// `shared`: the handle's words.
[[nodiscard]] inline bool enter_at(const cache& c, std::uint64_t* shared,
                                   const std::uint64_t* word) noexcept {
#if defined(IPCPP_WITHOUT_CRASH_TOLERANCE)
  (void)c;
  (void)shared;
  (void)word;
  return true;
#else
  // Relaxed: ordered by the thief's heavy fence (harvest.cpp); the compiler alone must not reorder.
  std::atomic_ref(shared[busy_word])
      .store(reinterpret_cast<std::uintptr_t>(word), std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const bool may =
      std::atomic_ref(shared[revocations_word]).load(std::memory_order_relaxed) == c.enter_if;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return may;
#endif
}

inline void leave_fast(std::uint64_t* shared) noexcept {
#if defined(IPCPP_WITHOUT_CRASH_TOLERANCE)
  (void)shared;
#else
  std::atomic_signal_fence(std::memory_order_seq_cst);
  // Release: pairs with the thief's load of busy in harvest.
  std::atomic_ref(shared[busy_word]).store(busy_with_nothing, std::memory_order_release);
#endif
}

// The first free block of the bin's word, which has one; in the critical section.
[[nodiscard]] inline void* take_block(const bin& b, std::uint64_t free) noexcept {
  // The commit. Relaxed: only this thread stores there, and leaving publishes it.
  std::atomic_ref(*b.word).store(free & (free - 1), std::memory_order_relaxed);
  return b.base + static_cast<unsigned>(std::countr_zero(free)) * b.step;
}
[[nodiscard]] inline std::uint64_t free_in(const bin& b) noexcept {
  return std::atomic_ref(*b.word).load(std::memory_order_relaxed);  // only this thread stores there
}

// The bin moves on to the next word of its slab that has a free block, if there is one; in the
// critical section, whose `busy` names this slab whichever of its words it holds.
[[nodiscard]] inline std::uint64_t next_word_of(bin& b) noexcept {
  const std::size_t stride = std::size_t{b.step} * 64;
  while (b.more != 0) {
    --b.more;
    ++b.word;
    b.base += stride;
    if (const std::uint64_t free = free_in(b); free != 0) return free;
  }
  return 0;
}

// How many pages the next slab of this bin should have: twice as many as the last, so that small
// heaps stay small, and a multiple of what wastes little.
[[nodiscard]] std::uint64_t wanted_pages(const cache& c, std::uint32_t bin) noexcept {
  const std::uint32_t k = bin % class_count;
  const std::uint64_t unit = fewest_pages[k];
  const std::uint64_t most = std::max<std::uint64_t>(
      unit, std::min<std::uint64_t>(most_slab_pages(k), c.header->most_pages / 64));
  const std::uint64_t first = std::max<std::uint64_t>(unit, c.header->most_pages >= 4096 ? 4 : 1);
  const std::uint32_t owned = std::min<std::uint32_t>(c.owned[bin].count, 16);
  return std::min(first << owned, most) / unit * unit;
}

[[nodiscard]] bool sweep_is_due(const cache& c) noexcept {
  return c.owned_total >= c.swept_at + c.swept_at / 8 + 4;
}

constexpr std::uint32_t few = 8;
constexpr std::uint32_t all = ~std::uint32_t{0};
constexpr int patience = 200;  // rounds that found somebody in the middle of something

// In the critical section, with a block at hand, or not at all.
[[nodiscard]] bool try_owned(cache& c, std::uint32_t bin, std::uint32_t most,
                             bool despite_hints) noexcept {
  enter(c);
  if (free_in(c.bins[bin]) != 0 || pick_owned(c, bin, most) || adopt_orphan(c, bin, despite_hints))
    return true;
  leave(c);
  return false;
}

[[nodiscard]] bool try_shorter_slabs(cache& c, std::uint32_t bin) noexcept {
  const std::uint32_t k = bin % class_count;
  const std::uint64_t least = (class_bytes(k) + page_size_bytes - 1) >> page_shift;
  for (std::uint64_t pages = wanted_pages(c, bin);; pages = std::max(pages / 2, least)) {
    if (make_slab(c, bin, pages, true)) return true;
    if (pages <= least) return false;
  }
}

[[nodiscard]] bool find_block_or_nothing(cache& c, std::uint32_t bin) noexcept {
  if (try_owned(c, bin, few, false)) return true;
  const std::uint64_t pages = wanted_pages(c, bin);
  if (make_slab(c, bin, pages, false)) return true;
  if (sweep_is_due(c) && sweep(c, false) != 0 && make_slab(c, bin, pages, false)) return true;
  if (make_slab(c, bin, pages, true)) return true;
  for (int waited = 0; waited < patience;) {
    if (try_owned(c, bin, all, true) || try_shorter_slabs(c, bin)) return true;
    bool contended = false;
    std::size_t gained = sweep(c, true);
    gained += c.state->members->bury_dead();
    gained += harvest(c, bin, contended);
    if (gained != 0) continue;
    if (!contended) return false;
    ++waited;
    std::this_thread::yield();
  }
  return false;
}

[[nodiscard]] run find_run_or_nothing(cache& c, std::uint64_t pages, std::size_t alignment,
                                      run_use use) noexcept {
  heap_state& s = *c.state;
  if (pages > s.header->most_pages) return {};
  const auto take = [&](bool may_grow) {
    return take_run(s, c.member, pages, alignment, use, may_grow);
  };
  if (const run found = take(false); found.pages != 0) return found;
  if (sweep_is_due(c) && sweep(c, false) != 0)
    if (const run found = take(false); found.pages != 0) return found;
  for (int waited = 0; waited < patience;) {
    if (const run found = take(true); found.pages != 0) return found;
    bool contended = false;
    std::size_t gained = sweep(c, true);
    gained += s.members->bury_dead();
    gained += harvest(c, bin_count, contended);
    if (gained != 0) continue;
    if (!contended) break;
    ++waited;
    std::this_thread::yield();
  }
  return take(true);
}

[[nodiscard]] void* allocate_large(cache& c, std::size_t bytes, std::size_t alignment,
                                   bool tracked) {
  heap_state& s = *c.state;
  if (bytes > s.header->most_pages << page_shift) throw std::bad_alloc();
  if (c.tag != 0) {
    // Held until it carries its tag: the undertaker gives it back.
    const run got = find_run(c, (bytes + tag_bytes + page_size_bytes - 1) >> page_shift, alignment,
                             {page_kind::held, 0, c.owner});
    (void)end_page(s);
    tag_at(page_address(s, got.page), got.pages << page_shift)
        .store(c.tag, std::memory_order_relaxed);  // published by the next store
    page_word(s, got.page)
        .store(run_word(page_kind::large, got.pages, tracked_flag, owned_by_tag),
               std::memory_order_release);  // the commit; pairs with free_blocks_tagged
    return page_address(s, got.page);
  }
  const run_use use{page_kind::large, tracked ? tracked_flag : 0, tracked ? c.member.slot + 1 : 0};
  const run got = find_run(c, (bytes + page_size_bytes - 1) >> page_shift, alignment, use);
  (void)end_page(s);
  return page_address(s, got.page);
}

[[nodiscard]] void* allocate_small(cache& c, std::uint32_t bin) {
  find_block(c, bin);
  const ipcpp::detail::bin& b = c.bins[bin];
  const std::uint64_t free = free_in(b);
  if (bin >= class_count) {
    // The tag before the commit, for free_tracked: a block in use has one from its first instant on.
    std::byte* const block = b.base + static_cast<unsigned>(std::countr_zero(free)) * b.step;
    tag_at(block, b.step).store(c.tag != 0 ? c.tag : tag_of(c.member), std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
  }
  void* const block = take_block(b, free);
  leave(c);
  return block;
}

// A block whose slab somebody else owns, or that the slow path has to look at.
void free_elsewhere(cache& c, std::uint64_t page, std::uint64_t slab, std::uint32_t index,
                    void* block) {
  heap_state& s = *c.state;
  std::uint64_t& word = free_words(s, page)[free_words_per_page * slab_pages(slab) + index / 64];
  const std::uint64_t bit = std::uint64_t{1} << index % 64;
  if ((in_heap(free_words(s, page)[index / 64]).load(std::memory_order_relaxed) & bit) != 0)
    report(s, errc::not_a_block, block, "a block in use", "one already free");
  // Release: pairs with merge. Sequentially consistent: pairs with disown, which stores the owner
  // and then looks at the bits; here the bit is set and then the owner looked at.
  const std::uint64_t before = in_heap(word).fetch_or(bit, std::memory_order_seq_cst);
  if ((before & bit) != 0)
    report(s, errc::not_a_block, block, "a block in use", "one already free");
  const std::uint64_t now = page_word(s, page).load(std::memory_order_seq_cst);
  if (kind_of(now) == page_kind::slab && owner_field(now) == 0) hint_orphan(s, now);
}

void free_large(cache& c, const block_place& place, void* block) {
  heap_state& s = *c.state;
  std::uint64_t expected = place.word;
  if (!page_word(s, place.page)
           .compare_exchange_strong(expected, run_word(page_kind::pending, run_pages(place.word)),
                                    std::memory_order_seq_cst))  // the commit
    report(s, errc::not_a_block, block, "a block in use", "one already free");
  put_pending(s, c.member, place.page);
}

void free_slowly(cache& c, void* block) {
  if (block == nullptr) return;
  heap_state& s = *c.state;
  c.known_end = end_page(s);
  const block_place place = place_of(s, block);
  if (kind_of(place.word) == page_kind::large) return free_large(c, place, block);
  enter(c);
  const std::uint64_t word = page_word(s, place.page).load(std::memory_order_acquire);
  if (kind_of(word) == page_kind::slab && owner_field(word) == c.owner) {
    const std::atomic_ref bits(free_words(s, place.page)[place.index / 64]);
    const std::uint64_t bit = std::uint64_t{1} << place.index % 64;
    const std::uint64_t freed =
        in_heap(
            free_words(s, place.page)[free_words_per_page * slab_pages(word) + place.index / 64])
            .load(std::memory_order_relaxed);
    const std::uint64_t before = bits.load(std::memory_order_relaxed);  // ours
    const bool twice = ((before | freed) & bit) != 0;
    if (!twice) bits.store(before | bit, std::memory_order_relaxed);  // the commit
    leave(c);
    if (twice) report(s, errc::not_a_block, block, "a block in use", "one already free");
    return;
  }
  leave(c);
  free_elsewhere(c, place.page, place.word, place.index, block);
}

// Out of the fast paths' way, so that those need no frame.
[[gnu::noinline]] void* allocate_slowly(heap_header* of, std::size_t bytes) {
  cache& c = cache_of(of);
  if (c.recorder != nullptr && c.tag == 0)
    return c.recorder->allocate(c.recorder->context, bytes, 16);
  return allocate_from(c, bytes, 16, false);
}
[[gnu::noinline]] void deallocate_elsewhere(heap_header* of, void* block) {
  if (block == nullptr) return;
  cache& c = cache_of(of);
  if (c.recorder != nullptr && c.recorder->deallocate(c.recorder->context, block)) return;
  const std::uint64_t offset = static_cast<std::uint64_t>(
      reinterpret_cast<std::uintptr_t>(block) - reinterpret_cast<std::uintptr_t>(c.pages));
  std::uint64_t page = offset >> page_shift;
  if (page >= c.known_end) return free_slowly(c, block);
  std::uint64_t word = std::atomic_ref(c.words[page]).load(std::memory_order_relaxed);
  if (kind_of(word) == page_kind::slab_part && slab_delta(word) <= page) {
    page -= slab_delta(word);
    word = std::atomic_ref(c.words[page]).load(std::memory_order_relaxed);
  }
  // Relaxed: a block in use pins its slab, so the word is the slab's but for its owner.
  const std::uint64_t at = offset - (page << page_shift);
  const class_facts& facts = facts_of_class[class_field(word)];
  const std::uint64_t index = at * facts.reciprocal >> 40;
  if (kind_of(word) != page_kind::slab || owner_field(word) == c.owner ||
      index * facts.bytes != at || at + facts.bytes > std::uint64_t{slab_pages(word)} << page_shift)
    return free_slowly(c, block);
  free_elsewhere(c, page, word, static_cast<std::uint32_t>(index), block);
}

}  // namespace

cache*& cache_slot(const heap_header* of) noexcept {
  return table.at[place_in_table(of)];
}

cache& this_cache(heap_header* of) {
  return cache_of(of);
}

void find_block(cache& c, std::uint32_t bin) {
  if (!find_block_or_nothing(c, bin)) throw std::bad_alloc();
}

run find_run(cache& c, std::uint64_t pages, std::size_t alignment, run_use use) {
  const run found = find_run_or_nothing(c, pages, alignment, use);
  if (found.pages == 0) throw std::bad_alloc();
  return found;
}

namespace {

// `fault`: what is wrong instead, and what was expected; nullptr if a block begins there.
struct sought_place {
  block_place place;
  const char* expected = nullptr;
  const char* fault = nullptr;
};

sought_place seek_place(const heap_state& s, const void* block) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(block);
  const auto first = reinterpret_cast<std::uintptr_t>(s.pages);
  const std::uint64_t end = end_page(s);
  std::uint64_t page = (address - first) >> page_shift;
  if (address < first || page >= end) return {{}, "a block of this heap", "an address outside it"};
  std::uint64_t word = page_word(s, page).load(std::memory_order_acquire);
  if (kind_of(word) == page_kind::slab_part && slab_delta(word) <= page) {
    page -= slab_delta(word);
    word = page_word(s, page).load(std::memory_order_acquire);
  }
  const std::uint64_t at = address - first - (page << page_shift);
  if (kind_of(word) == page_kind::large) {
    if (at != 0 || run_pages(word) == 0 || run_pages(word) > end - page)
      return {{}, "a block's first byte", "an address within one"};
    return {{page, word, 0, run_pages(word) << page_shift}};
  }
  if (kind_of(word) != page_kind::slab || class_field(word) >= class_count ||
      slab_pages(word) > end - page)
    return {{}, "a block in use", "memory that is not in use"};
  const class_facts& facts = facts_of_class[class_field(word)];
  const std::uint64_t index = at * facts.reciprocal >> 40;
  if (index * facts.bytes != at || index >= slab_blocks(word))
    return {{}, "a block's first byte", "an address within one"};
  return {{page, word, static_cast<std::uint32_t>(index),
           facts.bytes - ((flags_of(word) & tracked_flag) != 0 ? tag_bytes : 0)}};
}

}  // namespace

block_place place_of(const heap_state& s, const void* block) {
  const sought_place found = seek_place(s, block);
  if (found.fault != nullptr) report(s, errc::not_a_block, block, found.expected, found.fault);
  return found.place;
}

std::size_t heap_block_bytes(const heap_header* of, const void* block) noexcept {
  const heap_state* const s = state_of_header(of);
  return s == nullptr ? 0 : static_cast<std::size_t>(seek_place(*s, block).place.bytes);
}

void* allocate_from(cache& c, std::size_t bytes, std::size_t alignment, bool tracked) {
  if (alignment > largest_alignment || !std::has_single_bit(alignment))
    throw error(errc::invalid_argument, "heap", "an alignment that is a power of two up to 1 GiB",
                std::to_string(alignment), "");
  if (bytes > largest_size) throw std::bad_alloc();
  tracked = tracked || c.header->tracked != 0 || c.tag != 0;
  if (bytes == 0) bytes = 1;
  const std::size_t room = bytes + (tracked ? tag_bytes : 0);
  if (room <= largest_small && alignment <= page_size_bytes) {
    std::uint32_t k = class_of(std::max(room, alignment));
    while (k < class_count && class_bytes(k) % alignment != 0) ++k;
    if (k < class_count) return allocate_small(c, tracked ? k + class_count : k);
  }
  return allocate_large(c, bytes, alignment, tracked);
}

void* heap_allocate(heap_header* of, std::size_t bytes) {
  cache& c = *table.at[place_in_table(of)];
  if (c.header == of && bytes <= largest_small) [[likely]] {
    bin& b = c.bins[quick_class_of(bytes)];
    std::uint64_t* const shared = c.shared;
    if (enter_at(c, shared, b.word)) [[likely]] {
      std::uint64_t free = free_in(b);
      if (free == 0) [[unlikely]]
        free = next_word_of(b);
      if (free != 0) [[likely]] {
        void* const block = take_block(b, free);
        leave_fast(shared);
        return block;
      }
    }
    leave_fast(shared);
  }
  return allocate_slowly(of, bytes);
}

void* heap_allocate(heap_header* of, std::size_t bytes, std::size_t alignment) {
  if (alignment <= 16 && alignment != 0 && std::has_single_bit(alignment))
    return heap_allocate(of, bytes);
  cache& c = cache_of(of);
  if (c.recorder != nullptr && c.tag == 0)
    return c.recorder->allocate(c.recorder->context, bytes, alignment);
  return allocate_from(c, bytes, alignment, false);
}

const allocation_recorder* set_recorder(heap_header* of, const allocation_recorder* recorder) {
  cache& c = cache_of(of);
  const allocation_recorder* const before = std::exchange(c.recorder, recorder);
  choose_entry(c);
  return before;
}

std::size_t size_that_aligns(std::size_t bytes, std::size_t alignment) noexcept {
  if (alignment > page_size_bytes || !std::has_single_bit(alignment) || bytes > largest_size)
    return 0;
  bytes = std::max({bytes, alignment, std::size_t{1}});
  if (bytes > largest_small) return bytes;  // whole pages
  std::uint32_t k = class_of(bytes);
  while (k < class_count && class_bytes(k) % alignment != 0) ++k;
  return k < class_count ? class_bytes(k) : largest_small + 1;
}

void* heap_try_allocate(heap_header* of, std::size_t bytes) noexcept {
  try {
    return heap_allocate(of, bytes);
  } catch (...) {
    return nullptr;
  }
}

// Own slabs by private data alone: what they say is true while the revocations are those that were
// acknowledged. Everything else, and every doubt, goes the longer way.
void heap_deallocate(heap_header* of, void* block) {
  const cache& c = *table.at[place_in_table(of)];
  const std::uint64_t page =
      static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(block) -
                                 reinterpret_cast<std::uintptr_t>(c.pages)) >>
      page_shift;
  if (c.header == of && page < c.mapped_pages) [[likely]] {
    if (const std::uint32_t entry = c.own_of_page[page]; entry != 0) [[likely]] {
      const own_slab& slab = c.own[entry];
      const std::uint64_t at =
          static_cast<std::uint64_t>(static_cast<std::byte*>(block) - slab.base);
      // See facts_of_class. What is left below the binary point says whether the division was exact.
      const std::uint64_t product = at * slab.reciprocal;
      const std::uint64_t index = product >> 40;
      std::uint64_t* const shared = c.shared;
      std::uint64_t* const bits = slab.bits + index / 64;
      if (product << 24 < slab.reciprocal_top && index < slab.blocks) [[likely]] {
        if (enter_at(c, shared, bits)) [[likely]] {
          const std::atomic_ref free(*bits);
          const std::uint64_t before = free.load(std::memory_order_relaxed);  // ours
          const std::uint64_t freed = std::atomic_ref(bits[slab.remote])
                                          .load(std::memory_order_relaxed);  // only for misuse
          const std::uint64_t bit = std::uint64_t{1} << index % 64;
          if (((before | freed) & bit) == 0) [[likely]] {
            free.store(before | bit,
                       std::memory_order_relaxed);  // the commit; leaving publishes it
            leave_fast(shared);
            return;
          }
        }
        leave_fast(shared);
      }
    }
  }
  deallocate_elsewhere(of, block);
}

std::uint64_t heap_fresh_tags(heap_header* of) {
  // Relaxed: a number that nobody else gets, and nothing more.
  const std::uint64_t batch = in_heap(of->tag_batches).fetch_add(1, std::memory_order_relaxed) + 1;
  return batch << 32 | building_mark << 16;
}

std::uint64_t heap_set_tag(heap_header* of, std::uint64_t tag) {
  cache& c = cache_of(of);
  const std::uint64_t before = c.tag;
  c.tag = tag;
  choose_entry(c);
  return before;
}

std::uint64_t heap_tag_of(heap_header* of, const void* block) {
  const heap_state& s = *cache_of(of).state;
  const block_place place = place_of(s, block);
  if ((flags_of(place.word) & tracked_flag) == 0) return 0;
  const bool large = kind_of(place.word) == page_kind::large;
  if (large && owner_field(place.word) != owned_by_tag) return 0;
  const std::size_t bytes = large ? place.bytes : place.bytes + tag_bytes;
  const std::uint64_t tag =
      tag_at(static_cast<std::byte*>(const_cast<void*>(block)), bytes)
          .load(std::memory_order_relaxed);  // whoever has the block saw it written
  return (tag >> 16 & 0xffff) == building_mark ? tag : 0;
}

void heap_free_tagged(heap_header* of, std::uint64_t tag) noexcept {
  cache& c = cache_of(of);
  const run_guard guard(*c.state, c.member);
  free_blocks_tagged(*c.state, tag);
}

std::uint64_t participants_at(const heap_header* of) noexcept {
  return of->participants_at;
}

bool heap_is_pinned(const heap_header* of) noexcept {
  return of->pinned_at != 0;
}

std::span<std::byte> heap_range(const heap_header* of) noexcept {
  auto* const first = reinterpret_cast<std::byte*>(const_cast<heap_header*>(of));
  return {first, of->capacity_bytes};
}

}  // namespace ipcpp::detail
