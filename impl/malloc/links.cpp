// Bodies of ipcpp.malloc: allocate_to and free_from, atomic with the pointer in the heap that they
// set.
//
// The handle's link words say what is under way; whoever must not be wrong about it moves link_state
// by compare-exchange first.
//
//   allocate_to   1 link_state = allocating   2 block committed   3 link = block   4 link_state = none
//     dies before 1 and 2: nothing happened; 2: link does not hold the block: freed again; 3: done.
//     Takers of the block (free_from) first turn `allocating` of that block into `done`, and only
//     then change the link. So an undertaker that reads link != block and then still finds
//     `allocating` knows that step 3 never happened, and makes it `resolving`.
//   free_from     1 link_state = freeing   2 link = null   3 remote |= bit   4 link_state = none
//     dies before 2: link holds the block: nothing happened; 2: freed by the undertaker; 3: the same
//     bit again. The bit must not be merged, allocated and freed once more in between: mergers turn
//     `freeing` into `done` before they merge the bit, and leave it alone while it is `resolving`.
//   Large blocks: the same with the page word; step 3 of free_from, and the undertaker, under the run
//     lock, since only there can the run be used again.
//
// Race story. links_in_flight is raised (sequentially consistent) before 1 and lowered after 4;
// mergers read the remote bit (acquire, pairs with 3) and then the count, so they see it raised. A
// death leaves it raised: mergers look at the handles for nothing from then on.
// Checked in tests/models/links.cpp.
module;

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string_view>

module ipcpp.malloc;

import ipcpp.platform;
import ipcpp.sync;
import :heap;
import :layout;
import :offset_ptr;
import :state;

namespace ipcpp::detail {

namespace {

[[nodiscard]] std::byte* at_offset(const heap_state& s, std::uint64_t offset) noexcept {
  return reinterpret_cast<std::byte*>(s.header) + offset;
}
[[nodiscard]] std::uint64_t offset_of(const heap_state& s, const void* address) noexcept {
  return reinterpret_cast<std::uintptr_t>(address) - reinterpret_cast<std::uintptr_t>(s.header);
}
// What an offset_ptr at `link` holds, as one word: the distance, or 1 for null.
[[nodiscard]] std::uint64_t distance(std::uint64_t link, std::uint64_t block) noexcept {
  return block - link;
}
[[nodiscard]] std::atomic_ref<std::uint64_t> link_word(const heap_state& s,
                                                       std::uint64_t link) noexcept {
  return std::atomic_ref(*reinterpret_cast<std::uint64_t*>(at_offset(s, link)));
}
constexpr std::uint64_t null_link = 1;

[[nodiscard]] std::uint64_t with_phase(std::uint64_t state, link_phase phase) noexcept {
  return (state & ~std::uint64_t{0xff}) | static_cast<std::uint64_t>(phase);
}

struct link_words {
  std::atomic_ref<std::uint64_t> state;
  std::atomic_ref<std::uint64_t> at;
  std::atomic_ref<std::uint64_t> block;
  explicit link_words(std::uint64_t* words) noexcept
      : state(words[link_state_word]), at(words[link_at_word]), block(words[link_block_word]) {}
};

// Offsets a dead or buggy peer wrote are looked at before they are followed.
[[nodiscard]] bool in_pages(const heap_state& s, std::uint64_t offset) noexcept {
  return offset >= s.header->pages_at && offset % 8 == 0 &&
         (offset - s.header->pages_at) >> page_shift < end_page(s);
}

struct small_place {
  bool found = false;
  std::uint64_t page = 0;
  std::uint64_t slab = 0;
  std::uint32_t index = 0;
};

[[nodiscard]] small_place small_block_at(const heap_state& s, std::uint64_t offset) noexcept {
  if (!in_pages(s, offset)) return {};
  std::uint64_t at = offset - s.header->pages_at;
  std::uint64_t page = at >> page_shift;
  std::uint64_t word = page_word(s, page).load(std::memory_order_acquire);
  if (kind_of(word) == page_kind::slab_part) {
    if (slab_delta(word) > page) return {};
    page -= slab_delta(word);
    word = page_word(s, page).load(std::memory_order_acquire);
  }
  if (kind_of(word) != page_kind::slab || class_field(word) >= class_count) return {};
  at -= page << page_shift;
  const class_facts& facts = facts_of_class[class_field(word)];
  const std::uint64_t index = at * facts.reciprocal >> 40;
  if (index * facts.bytes != at || index >= slab_blocks(word)) return {};
  return {true, page, word, static_cast<std::uint32_t>(index)};
}

[[nodiscard]] std::uint64_t& remote_word_of(const heap_state& s, const small_place& p) noexcept {
  return free_words(s, p.page)[free_words_per_page * slab_pages(p.slab) + p.index / 64];
}

// Whoever is about to free what this link holds first declares done what is under way about just
// that: an allocation into the link took effect, and a free that its dead caller announced did not.
void retire_others(heap_state& s, const std::uint64_t* own_words, std::uint64_t link,
                   std::uint64_t block) noexcept {
  const std::uint32_t handles = s.members->limits().handles;
  for (std::uint32_t i = 0; i < handles; ++i) {
    const handle_info h = s.members->handle_at(i);
    if (!h.id || h.kind != cache_handle || h.words->word == own_words) continue;
    link_words op(h.words->word);
    std::uint64_t state = op.state.load(std::memory_order_acquire);  // pairs with step 1
    while ((phase_of(state) == link_phase::allocating || phase_of(state) == link_phase::freeing) &&
           op.at.load(std::memory_order_relaxed) == link &&
           op.block.load(std::memory_order_relaxed) == block &&
           !op.state.compare_exchange_weak(state, with_phase(state, link_phase::done),
                                           std::memory_order_acq_rel)) {
    }
  }
}

void free_large_at(heap_state& s, std::uint64_t offset) noexcept {
  if (!in_pages(s, offset)) return;
  const std::uint64_t page = (offset - s.header->pages_at) >> page_shift;
  const std::uint64_t word = page_word(s, page).load(std::memory_order_acquire);
  if (kind_of(word) == page_kind::large && run_pages(word) <= end_page(s) - page)
    put_run(s, page, run_pages(word), 0);
}

}  // namespace

std::uint64_t settle_links(heap_state& s, std::uint64_t page, std::uint64_t slab,
                           std::uint32_t word, std::uint64_t bits) noexcept {
  // Acquire, after the caller's acquire of the bits: pairs with free_from.
  if (in_heap(s.header->links_in_flight).load(std::memory_order_acquire) == 0) return bits;
  const std::uint32_t handles = s.members->limits().handles;
  for (std::uint32_t i = 0; i < handles; ++i) {
    const handle_info h = s.members->handle_at(i);
    if (!h.id || h.kind != cache_handle) continue;
    link_words op(h.words->word);
    std::uint64_t state = op.state.load(std::memory_order_acquire);  // pairs with step 1
    for (;;) {
      const link_phase phase = phase_of(state);
      if (phase != link_phase::freeing && phase != link_phase::resolving) break;
      const std::uint64_t offset = op.block.load(std::memory_order_relaxed);
      const std::uint64_t first = s.header->pages_at + (page << page_shift);
      if (offset < first || offset >= first + (std::uint64_t{slab_pages(slab)} << page_shift))
        break;
      const std::uint64_t index =
          (offset - first) * facts_of_class[class_field(slab)].reciprocal >> 40;
      if (index / 64 != word) break;
      const std::uint64_t bit = std::uint64_t{1} << index % 64;
      if ((bits & bit) == 0) break;
      if (phase == link_phase::resolving) {
        bits &= ~bit;
        break;
      }
      if (op.state.compare_exchange_weak(state, with_phase(state, link_phase::done),
                                         std::memory_order_acq_rel))
        break;
    }
  }
  return bits;
}

// By the undertaker, or by whoever took the run lock over from the dead. Idempotent: killed
// anywhere, the next one does the same again.
void resolve_link(heap_state& s, std::uint64_t* words, bool large_only) noexcept {
  link_words op(words);
  std::uint64_t state = op.state.load(std::memory_order_acquire);
  const link_phase phase = phase_of(state);
  const std::uint64_t block = op.block.load(std::memory_order_relaxed);  // written before the state
  const std::uint64_t link = op.at.load(std::memory_order_relaxed);
  const bool sane = in_pages(s, block) && in_pages(s, link);
  const small_place small = sane ? small_block_at(s, block) : small_place{};
  if (large_only && small.found) return;
  if (sane && (phase == link_phase::allocating || phase == link_phase::freeing)) {
    // Acquire: pairs with the takers' and the dead one's stores to the link.
    const bool holds = link_word(s, link).load(std::memory_order_acquire) == distance(link, block);
    const bool took_effect = phase == link_phase::allocating ? holds : false;
    const bool nothing_happened = phase == link_phase::freeing && holds;
    const link_phase next =
        took_effect || nothing_happened ? link_phase::done : link_phase::resolving;
    if (op.state.compare_exchange_strong(state, with_phase(state, next), std::memory_order_acq_rel))
      state = with_phase(state, next);
  }
  if (sane && phase_of(state) == link_phase::resolving) {
    if (small.found) {
      const std::uint64_t bit = std::uint64_t{1} << small.index % 64;
      const std::uint64_t free =
          in_heap(free_words(s, small.page)[small.index / 64]).load(std::memory_order_acquire);
      // A block that was never committed is free still.
      if ((free & bit) == 0)
        in_heap(remote_word_of(s, small)).fetch_or(bit, std::memory_order_seq_cst);
    } else {
      free_large_at(s, block);  // under the run lock
    }
  }
  op.state.store(with_phase(state, link_phase::none), std::memory_order_release);
}

void* allocate_linked(cache& c, std::uint64_t link, std::size_t bytes) {
  heap_state& s = *c.state;
  link_words op(c.shared);
  const std::uint64_t state =
      with_phase((op.state.load(std::memory_order_relaxed) & ~std::uint64_t{0xff}) + 0x100,
                 link_phase::allocating);
  const auto announce = [&](std::uint64_t block) {
    op.at.store(link, std::memory_order_relaxed);
    op.block.store(block, std::memory_order_relaxed);
    op.state.store(state, std::memory_order_release);  // pairs with retire_others
  };
  const auto set_link = [&](std::uint64_t block) {
    // Release: whoever takes the block finds it announced.
    link_word(s, link).store(distance(link, block), std::memory_order_release);
  };
  const auto over = [&] {
    op.state.store(with_phase(state, link_phase::none), std::memory_order_release);
  };
  if (bytes <= largest_small) {
    const std::uint32_t bin = class_of(bytes);
    find_block(c, bin);  // in the critical section from here on: nobody takes the slab
    const ipcpp::detail::bin& from = c.bins[bin];
    const std::uint64_t free = in_heap(*from.word).load(std::memory_order_relaxed);  // ours
    std::byte* const block = from.base + static_cast<unsigned>(std::countr_zero(free)) * from.step;
    const std::uint64_t offset = offset_of(s, block);
    announce(offset);
    in_heap(*from.word).store(free & (free - 1), std::memory_order_release);
    set_link(offset);
    over();
    leave(c);
    return block;
  }
  const std::uint64_t pages = (bytes + page_size_bytes - 1) >> page_shift;
  // Held until it is announced: the undertaker gives it back.
  const run got = find_run(c, pages, page_size_bytes, {page_kind::held, 0, c.owner});
  const std::uint64_t offset = s.header->pages_at + (got.page << page_shift);
  announce(offset);
  page_word(s, got.page).store(run_word(page_kind::large, got.pages), std::memory_order_release);
  set_link(offset);
  over();
  return page_address(s, got.page);
}

void free_linked(cache& c, std::uint64_t link) {
  heap_state& s = *c.state;
  const auto link_at = link_word(s, link);
  const std::uint64_t held = link_at.load(std::memory_order_acquire);  // pairs with set_link
  if (held == null_link) return;
  const std::uint64_t block = held + link;
  const block_place place = place_of(s, at_offset(s, block));
  retire_others(s, c.shared, link, block);
  link_words op(c.shared);
  const auto in_flight = in_heap(s.header->links_in_flight);
  in_flight.fetch_add(1, std::memory_order_seq_cst);  // pairs with settle_links
  const std::uint64_t state =
      with_phase((op.state.load(std::memory_order_relaxed) & ~std::uint64_t{0xff}) + 0x100,
                 link_phase::freeing);
  op.at.store(link, std::memory_order_relaxed);
  op.block.store(block, std::memory_order_relaxed);
  op.state.store(state, std::memory_order_release);  // pairs with settle_links
  link_at.store(null_link, std::memory_order_release);
  const auto over = [&] {
    op.state.store(with_phase(state, link_phase::none), std::memory_order_release);
  };
  if (kind_of(place.word) == page_kind::slab) {
    const small_place small{true, place.page, place.word, place.index};
    const std::uint64_t bit = std::uint64_t{1} << place.index % 64;
    // Release: pairs with merge. Sequentially consistent with disown, as in free_elsewhere.
    const std::uint64_t before =
        in_heap(remote_word_of(s, small)).fetch_or(bit, std::memory_order_seq_cst);
    over();
    in_flight.fetch_sub(1, std::memory_order_relaxed);
    const std::uint64_t now = page_word(s, place.page).load(std::memory_order_seq_cst);
    if (kind_of(now) == page_kind::slab && owner_field(now) == 0) hint_orphan(s, now);
    if ((before & bit) != 0)
      report(s, errc::not_a_block, at_offset(s, block), "a block in use", "one already free");
    return;
  }
  {
    const run_guard guard(s, c.member);
    free_large_at(s, block);
    over();
  }
  in_flight.fetch_sub(1, std::memory_order_relaxed);
}

}  // namespace ipcpp::detail
