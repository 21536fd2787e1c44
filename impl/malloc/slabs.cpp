// Bodies of ipcpp.malloc: slabs, runs of pages cut into blocks of one size.
//
// Crash story
//   make      1 run held by me   2 bits, slab_part words   3 the slab's word
//             killed before 3: a held run, given back by the undertaker; after: a slab of the dead
//   merge     1 free |= remote   2 remote &= ~merged
//             killed between: bits set in both, which means the same; whoever owns the slab next
//             merges before it allocates
//   disown    1 the slab's word: nobody's   2 the hint
//             killed between: found without a hint, before anyone runs out of memory
//   adopt     1 compare-exchange of the slab's word   2 merge
//   dissolve  1 the slab's word becomes held   2 slab_part words cleared   3 put
//             killed after 1: given back by the undertaker
//
// Race story
//   Others free by `remote.fetch_or`, then look at the slab's owner; disown stores the owner, then
//   looks at remote: both sequentially consistent, so one of them sets the hint.
//   Whoever adopts acquires what the last owner released with the word.
//   A slab may be dissolved when all its blocks are free: then nobody has a block to free.
module;

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>

module ipcpp.malloc;

import ipcpp.platform;
import ipcpp.sync;
import :heap;
import :layout;
import :state;

namespace ipcpp::detail {

namespace {

[[nodiscard]] std::uint64_t* remote_words(const heap_state& s, std::uint64_t page,
                                          std::uint64_t slab) noexcept {
  return free_words(s, page) + free_words_per_page * slab_pages(slab);
}

[[nodiscard]] std::uint32_t bitmap_words(std::uint64_t slab) noexcept {
  return (slab_blocks(slab) + 63) / 64;
}

[[nodiscard]] bool owned_by(const cache& c, std::uint64_t word) noexcept {
  return kind_of(word) == page_kind::slab && owner_field(word) == c.owner &&
         class_field(word) < class_count;
}

[[nodiscard]] std::uint64_t hint_bit(std::uint64_t slab) noexcept {
  return std::uint64_t{1} << class_field(slab) % 64;
}

void format(heap_state& s, std::uint64_t page, std::uint64_t slab) noexcept {
  const std::uint32_t blocks = slab_blocks(slab);
  const std::uint32_t words = slab_pages(slab) * static_cast<std::uint32_t>(free_words_per_page);
  std::uint64_t* const bits = free_words(s, page);
  for (std::uint32_t i = 0; i < words; ++i) {  // relaxed: published by the slab's word
    in_heap(bits[i]).store(valid_bits(blocks, i), std::memory_order_relaxed);
    in_heap(bits[words + i]).store(0, std::memory_order_relaxed);
  }
  for (std::uint32_t i = 1; i < slab_pages(slab); ++i)
    page_word(s, page + i).store(slab_part_word(class_field(slab), i), std::memory_order_relaxed);
}

// Points the bin at the first word from `from` on, round once, that has a free block.
bool pick_from(cache& c, std::uint32_t bin, std::uint64_t page, std::uint64_t slab,
               std::uint32_t from) noexcept {
  std::uint64_t* const bits = free_words(*c.state, page);
  const std::uint32_t blocks = slab_blocks(slab);
  const std::uint32_t words = bitmap_words(slab);
  for (std::uint32_t n = 0; n < words; ++n) {
    const std::uint32_t i = from + n < words ? from + n : from + n - words;
    const std::uint64_t free = in_heap(bits[i]).load(std::memory_order_relaxed);  // ours
    if (free == 0) continue;
    if ((free & ~valid_bits(blocks, i)) != 0) {  // a buggy peer: never hand that out
      in_heap(c.header->damaged).store(1, std::memory_order_relaxed);
      continue;
    }
    const std::uint32_t size = class_bytes(class_field(slab));
    c.bins[bin] = {&bits[i], page_address(*c.state, page) + std::size_t{i} * 64 * size, size,
                   words - 1 - i};
    return true;
  }
  return false;
}

}  // namespace

bool merge(heap_state& s, std::uint64_t page, std::uint64_t slab) noexcept {
  std::uint64_t* const free = free_words(s, page);
  std::uint64_t* const remote = remote_words(s, page, slab);
  const std::uint32_t blocks = slab_blocks(slab);
  bool whole = true;
  for (std::uint32_t i = 0; i < bitmap_words(slab); ++i) {
    if (in_heap(remote[i]).load(std::memory_order_relaxed) == 0) continue;  // the next load decides
    // Acquire: pairs with free_elsewhere's fetch_or; the block's last use comes before its next.
    std::uint64_t freed = in_heap(remote[i]).load(std::memory_order_acquire);
    freed = settle_links(s, page, slab, i, freed);
    if ((freed & ~valid_bits(blocks, i)) != 0) {
      whole = false;
      freed &= valid_bits(blocks, i);
    }
    const std::uint64_t before = in_heap(free[i]).load(std::memory_order_relaxed);  // ours
    in_heap(free[i]).store(before | freed,
                           std::memory_order_release);  // before the next, for kills
    in_heap(remote[i]).fetch_and(~freed, std::memory_order_acq_rel);
  }
  if (!whole) in_heap(s.header->damaged).store(1, std::memory_order_relaxed);
  return whole;
}

bool all_free(const heap_state& s, std::uint64_t page, std::uint64_t slab) noexcept {
  std::uint64_t* const free = free_words(s, page);
  std::uint64_t* const remote = remote_words(s, page, slab);
  const std::uint32_t blocks = slab_blocks(slab);
  for (std::uint32_t i = 0; i < bitmap_words(slab); ++i)  // relaxed: a guess, decided after merge
    if ((in_heap(free[i]).load(std::memory_order_relaxed) |
         in_heap(remote[i]).load(std::memory_order_relaxed)) != valid_bits(blocks, i))
      return false;
  return true;
}

bool all_merged_free(const heap_state& s, std::uint64_t page, std::uint64_t slab) noexcept {
  std::uint64_t* const free = free_words(s, page);
  const std::uint32_t blocks = slab_blocks(slab);
  for (std::uint32_t i = 0; i < bitmap_words(slab); ++i)
    if (in_heap(free[i]).load(std::memory_order_relaxed) != valid_bits(blocks, i)) return false;
  return true;
}

bool any_free(const heap_state& s, std::uint64_t page, std::uint64_t slab) noexcept {
  std::uint64_t* const free = free_words(s, page);
  std::uint64_t* const remote = remote_words(s, page, slab);
  for (std::uint32_t i = 0; i < bitmap_words(slab); ++i)
    if ((in_heap(free[i]).load(std::memory_order_relaxed) |
         in_heap(remote[i]).load(std::memory_order_seq_cst)) != 0)  // pairs with fetch_or: disown
      return true;
  return false;
}

bool pick(cache& c, std::uint32_t bin, std::uint64_t page, std::uint64_t slab) noexcept {
  return pick_from(c, bin, page, slab, 0);
}

// The slab in use first, from the word after the one in use; then, round and round from call to
// call, a few of the others. So a slab with a free block is found after at most count / most calls,
// and memory grows by at most one slab for `most` that were full.
bool pick_owned(cache& c, std::uint32_t bin, std::uint32_t most) noexcept {
  owned_slabs& slabs = c.owned[bin];
  heap_state& s = *c.state;
  for (std::uint32_t looked = 0; looked < most && looked < slabs.count;) {
    if (slabs.next >= slabs.count) slabs.next = 0;
    const std::uint64_t page = slabs.page[slabs.next];
    const std::uint64_t word = page_word(s, page).load(std::memory_order_acquire);
    if (!owned_by(c, word) || bin_of(word) != bin) {  // taken meanwhile
      forget(c, bin, slabs.next);
      continue;
    }
    const std::uint64_t at = (reinterpret_cast<std::uintptr_t>(c.bins[bin].word) -
                              reinterpret_cast<std::uintptr_t>(free_words(s, page))) /
                             8;
    const std::uint32_t from = at < bitmap_words(word) ? static_cast<std::uint32_t>(at) + 1 : 0;
    if (pick_from(c, bin, page, word, from)) return true;
    merge(s, page, word);
    if (pick_from(c, bin, page, word, from)) return true;
    ++slabs.next;
    ++looked;
  }
  return false;
}

// Sequentially consistent, as the bits and the owner before it: of somebody who adopts and clears the
// hint, and somebody who frees or disowns and finds it set, one sees the other.
void hint_orphan(heap_state& s, std::uint64_t slab) noexcept {
  const auto classes = in_heap(s.header->orphan_classes[class_field(slab) / 64 % 2]);
  if ((classes.load(std::memory_order_seq_cst) & hint_bit(slab)) == 0)
    classes.fetch_or(hint_bit(slab), std::memory_order_seq_cst);
}

void disown(heap_state& s, std::uint64_t page, std::uint64_t slab) noexcept {
  std::uint64_t expected = slab;
  if (!page_word(s, page).compare_exchange_strong(expected, passed_on(slab, 0),
                                                  std::memory_order_seq_cst))
    return;  // somebody took it
  if (any_free(s, page, slab)) hint_orphan(s, slab);
}

bool adopt_orphan(cache& c, std::uint32_t bin, bool despite_hints) noexcept {
  heap_state& s = *c.state;
  const std::uint32_t k = bin % class_count;
  const auto classes = in_heap(s.header->orphan_classes[k / 64]);
  const std::uint64_t bit = std::uint64_t{1} << k % 64;
  if ((classes.load(std::memory_order_relaxed) & bit) != 0)  // a hint
    // Before looking: who sets it later is heard. Pairs with hint_orphan.
    classes.fetch_and(~bit, std::memory_order_seq_cst);
  else if (!despite_hints)
    return false;
  const std::uint64_t end = end_page(s);
  const std::uint64_t start = std::min<std::uint64_t>(c.orphan_cursor[bin], end);
  bool found = false;
  const auto look = [&](std::uint64_t page, std::uint64_t word) {
    if (kind_of(word) != page_kind::slab) return true;
    word = page_word(s, page).load(std::memory_order_seq_cst);  // pairs with disown
    if (kind_of(word) != page_kind::slab || owner_field(word) != 0 || bin_of(word) != bin ||
        !any_free(s, page, word))
      return true;
    const std::uint64_t mine = passed_on(word, c.owner);
    // Acquire: pairs with whoever gave it up. Release: pairs with the next one.
    if (!page_word(s, page).compare_exchange_strong(word, mine, std::memory_order_acq_rel))
      return true;
    if (!own(c, bin, page, mine)) {
      disown(s, page, mine);
      return true;
    }
    merge(s, page, mine);
    c.orphan_cursor[bin] = static_cast<std::uint32_t>(page);
    found = pick(c, bin, page, mine);
    if (found) c.owned[bin].next = c.owned[bin].count - 1;
    return !found;
  };
  walk(s, start, end, look);
  if (!found) walk(s, 0, start, look);
  if (found) classes.fetch_or(bit, std::memory_order_relaxed);  // there may be more
  return found;
}

bool make_slab(cache& c, std::uint32_t bin, std::uint64_t pages, bool may_grow) noexcept {
  heap_state& s = *c.state;
  const run got =
      take_run(s, c.member, pages, page_size_bytes, {page_kind::held, 0, c.owner}, may_grow);
  if (got.pages == 0) return false;
  (void)end_page(s);  // makes what grew accessible here
  const std::uint32_t k = bin % class_count;
  // So that a thief that looked at an earlier slab here does not take this one for it.
  const std::uint64_t made =
      in_heap(c.header->slabs_made).fetch_add(1, std::memory_order_relaxed) * 0x9e3779;
  const std::uint64_t word = slab_word(k, static_cast<std::uint32_t>(pages),
                                       bin < class_count ? 0 : tracked_flag, made, c.owner);
  format(s, got.page, word);
  // Listed within the critical section: before it, acknowledge would strike it off again, and later
  // not renew it.
  enter(c);
  if (!own(c, bin, got.page, word)) {
    leave(c);
    for (std::uint64_t i = 1; i < got.pages; ++i)
      page_word(s, got.page + i).store(0, std::memory_order_relaxed);  // ordered by the run lock
    give_run(s, c.member, got.page);
    return false;
  }
  page_word(s, got.page).store(word, std::memory_order_release);  // pairs with every reader's load
  c.owned[bin].next = c.owned[bin].count - 1;
  if (pick(c, bin, got.page, word)) return true;
  leave(c);  // cannot be: a new slab has blocks
  return false;
}

bool dissolve(heap_state& s, participant_id as, std::uint32_t owner, std::uint64_t page,
              std::uint64_t slab) noexcept {
  std::uint64_t expected = slab;
  const std::uint64_t held = run_word(page_kind::held, slab_pages(slab), 0, owner);
  if (!page_word(s, page).compare_exchange_strong(expected, held, std::memory_order_acq_rel))
    return false;
  for (std::uint32_t i = 1; i < slab_pages(slab); ++i)
    page_word(s, page + i).store(0, std::memory_order_relaxed);  // ordered by the run lock
  give_run(s, as, page);
  return true;
}

std::size_t sweep(cache& c, bool orphans_too) noexcept {
  heap_state& s = *c.state;
  struct empty {
    std::uint64_t page;
    std::uint64_t word;
  };
  constexpr std::size_t batch = 64;
  empty found[batch];
  std::size_t dissolved = 0;
  const auto flush = [&](std::size_t n) {
    for (std::size_t i = 0; i < n; ++i)
      if (dissolve(s, c.member, c.owner, found[i].page, found[i].word)) ++dissolved;
  };
  for (std::uint32_t bin = 0; bin < bin_count; ++bin) {
    for (std::uint32_t at = 0; at < c.owned[bin].count;) {
      std::size_t n = 0;
      enter(c);  // may shorten the list
      owned_slabs& slabs = c.owned[bin];
      while (at < slabs.count && n < batch) {
        const std::uint64_t page = slabs.page[at];
        const std::uint64_t word = page_word(s, page).load(std::memory_order_acquire);
        bool drop = !owned_by(c, word) || bin_of(word) != bin;
        if (!drop && all_free(s, page, word)) {
          merge(s, page, word);
          drop = all_merged_free(s, page, word);
          if (drop) found[n++] = {page, word};
        }
        if (!drop) {
          ++at;
          continue;
        }
        forget(c, bin, at);
      }
      if (n != 0) c.bins[bin] = {&c.nothing, nullptr, 0, 0};
      leave(c);
      flush(n);
    }
  }
  c.swept_at = c.owned_total;
  if (!orphans_too) return dissolved;
  std::uint64_t from = 0;
  for (const std::uint64_t end = end_page(s); from < end;) {
    std::size_t n = 0;
    enter(c);
    std::uint64_t next = end;
    walk(s, from, end, [&](std::uint64_t page, std::uint64_t word) {
      if (n == batch) {
        next = page;
        return false;
      }
      if (kind_of(word) != page_kind::slab || owner_field(word) != 0 || !all_free(s, page, word))
        return true;
      const std::uint64_t mine = passed_on(word, c.owner);
      if (!page_word(s, page).compare_exchange_strong(word, mine, std::memory_order_acq_rel))
        return true;
      merge(s, page, mine);
      if (all_merged_free(s, page, mine))
        found[n++] = {page, mine};
      else
        disown(s, page, mine);
      return true;
    });
    from = next;
    leave(c);
    flush(n);
  }
  return dissolved;
}

}  // namespace ipcpp::detail
