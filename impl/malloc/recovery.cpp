// Bodies of ipcpp.malloc: giving back what a dead participant owned.
//
// The participant table calls repair for each handle of the dead, then once for the process, and
// keeps everyone else from doing so until this undertaker is done or dead. All of it happens under
// the run lock, in the dead one's name, and may be killed and begun again anywhere:
//   1 the run lock, taken over if the dead held it (then the run index is made anew)
//   2 busy = everything: thieves leave the dead one's slabs alone from now on
//   3 an allocate_to or free_from under way is resolved
//   4 each slab: a new generation (a thief that decided before 2 is too late, or was first), merged,
//     then nobody's, or held and pending if no block of it is in use
//   5 each held run: pending
//   6 the process's tracked blocks are freed
// A pending run is joined to the free ones when the run lock is released.
//
// Race story. 2 before 4, and thieves read the words before `busy`: a thief that still saw the dead
// one idle has words that 4 makes old.
module;

#include <array>
#include <atomic>
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

void make_pending(heap_state& s, std::uint64_t page, std::uint64_t word,
                  std::uint64_t pages) noexcept {
  for (std::uint64_t i = 1; i < pages; ++i)  // slab_part words of a slab being made or dissolved
    page_word(s, page + i).store(0, std::memory_order_relaxed);  // ordered by the next store
  page_word(s, page).store(run_word(page_kind::pending, pages, flags_of(word) & decommitted_flag),
                           std::memory_order_release);
  in_heap(s.header->pending).store(1, std::memory_order_seq_cst);  // pairs with ~run_guard
}

void recover_handle(heap_state& s, std::uint32_t owner, std::uint64_t* words) noexcept {
  std::atomic_ref(words[busy_word]).store(busy_with_everything, std::memory_order_seq_cst);
  resolve_link(s, words, false);
  const std::uint64_t end = end_page(s);
  for (std::uint64_t page = 0; page < end;) {
    std::uint64_t word = page_word(s, page).load(std::memory_order_acquire);
    const std::uint64_t pages = length_of(word);
    if (pages == 0 || pages > end - page) break;  // damaged: check() says so
    if (owner_field(word) == owner) {
      if (kind_of(word) == page_kind::held) {
        make_pending(s, page, word, pages);
      } else if (kind_of(word) == page_kind::slab) {
        const std::uint64_t renewed = passed_on(word, owner);
        if (page_word(s, page).compare_exchange_strong(word, renewed, std::memory_order_acq_rel)) {
          merge(s, page, renewed);
          if (all_merged_free(s, page, renewed)) {
            // As in dissolve: whoever comes next, without burying, sees no slab without its parts.
            const std::uint64_t held = run_word(page_kind::held, pages, 0, owner);
            page_word(s, page).store(held, std::memory_order_release);
            make_pending(s, page, held, pages);
          } else {
            disown(s, page, renewed);
          }
        }
      }
    }
    page += pages;
  }
}

// `is_mine(page, word)`: does that large block carry it? Run lock held.
template <class F>
void free_carrying(heap_state& s, std::uint64_t tag, F&& is_mine) noexcept {
  walk(s, 0, end_page(s), [&](std::uint64_t page, std::uint64_t word) {
    if (kind_of(word) == page_kind::large && (flags_of(word) & tracked_flag) != 0 &&
        is_mine(page, word)) {
      if (page_word(s, page).compare_exchange_strong(
              word, run_word(page_kind::pending, run_pages(word)), std::memory_order_acq_rel))
        in_heap(s.header->pending).store(1, std::memory_order_seq_cst);
      return true;
    }
    if (kind_of(word) != page_kind::slab || (flags_of(word) & tracked_flag) == 0) return true;
    std::uint64_t* const free = free_words(s, page);
    std::uint64_t* const remote = free + free_words_per_page * slab_pages(word);
    const std::uint32_t blocks = slab_blocks(word);
    const std::uint64_t size = class_bytes(class_field(word));
    bool any = false;
    for (std::uint32_t i = 0; i < blocks; ++i) {
      const std::uint64_t bit = std::uint64_t{1} << i % 64;
      if ((in_heap(remote[i / 64]).load(std::memory_order_acquire) & bit) != 0 ||
          (in_heap(free[i / 64]).load(std::memory_order_acquire) & bit) != 0)
        continue;
      if (tag_at(page_address(s, page) + i * size, size).load(std::memory_order_acquire) != tag)
        continue;
      in_heap(remote[i / 64]).fetch_or(bit, std::memory_order_seq_cst);  // pairs with merge, disown
      any = true;
    }
    if (any && owner_field(page_word(s, page).load(std::memory_order_seq_cst)) == 0)
      hint_orphan(s, word);
    return true;
  });
}

}  // namespace

// Blocks that carry the dead one's tag. First the bits, then the tag: a block that was in use when
// its bits were read and still carries the tag afterwards is the dead one's, since nobody else
// writes that tag and nobody else frees what carries it. Remote before free: a merge moves bits
// the other way.
void free_tracked(heap_state& s, participant_id of) noexcept {
  free_carrying(s, tag_of(of), [&](std::uint64_t, std::uint64_t word) {
    return owner_field(word) == of.slot + 1;
  });
}

void free_blocks_tagged(heap_state& s, std::uint64_t tag) noexcept {
  free_carrying(s, tag, [&](std::uint64_t page, std::uint64_t word) {
    return owner_field(word) == owned_by_tag &&
           tag_at(page_address(s, page), run_pages(word) << page_shift)
                   .load(std::memory_order_relaxed) == tag;  // written before the page word
  });
}

void repair(void* state, const remains& of) noexcept {
  heap_state& s = *static_cast<heap_state*>(state);
  if (of.handle && of.kind != cache_handle) return;
  const run_guard guard(s, of.process, true);
  // The dead, or an undertaker before this one, may have died between making a run pending and saying
  // so.
  in_heap(s.header->pending).store(1, std::memory_order_seq_cst);  // pairs with ~run_guard
  if (of.handle)
    recover_handle(s, of.handle.slot + 1, of.words->word);
  else
    free_tracked(s, of.process);
}

}  // namespace ipcpp::detail
