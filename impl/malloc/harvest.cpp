// Bodies of ipcpp.malloc: taking free memory out of the caches of others, living and dead, before
// anyone is told that there is none.
//
// Protocol, thief T against owner V, whose fast path is  busy = x; if (revocations != seen) stop;
// commit; busy = 0  with no fence of its own:
//   1 T raises V's revocations                      (never lowered: no second thief can undo it)
//   2 heavy fence                                   from here on V's critical sections either see 1,
//                                                   or their `busy` is visible to T
//   3 T reads the words of V's slabs, with their generations
//   4 T reads busy = b, then acknowledged, then     b: what V may be at; everything: T leaves V alone
//     that V's handle is still V's
//   5 if acknowledged < 1's count: T takes slabs that b does not name, by compare-exchange from 3
//   V, when it sees 1: gives everything it still owns a new generation, says acknowledged, goes on.
// Why it is right. If T saw acknowledged too old in 4, then V had not finished renewing its
// generations at 3, so a word that T read is either renewed later (the exchange fails), or was taken
// (V's exchange fails and V forgets it). A commit of V that has not seen 1 was announced by b, and
// there is at most one, since V's next critical section sees 1. Checked in tests/models/harvest.cpp.
//
// Crash story. T dies: after 1 V acknowledges once for nothing; after 5 the slabs are T's, and T's
// undertaker gives them back. V dies: T's exchanges compete with those of V's undertaker, which
// first sets busy = everything and then renews the generations.
module;

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

constexpr std::size_t victims_at_once = 64;
constexpr std::size_t slabs_at_once = 128;

struct victim {
  handle_info handle;
  std::uint64_t raised;
};

struct candidate {
  std::uint64_t page;
  std::uint64_t word;
  std::size_t victim;
};

[[nodiscard]] std::uint64_t load(const victim& v, std::size_t word) noexcept {
  // Sequentially consistent for owners that fence themselves; ordered by the heavy fence for others.
  return std::atomic_ref(v.handle.words->word[word]).load(std::memory_order_seq_cst);
}

// Whether the block bits at V's address `busy` belong to the slab.
[[nodiscard]] bool names(const candidate& c, std::uint64_t busy,
                         std::uint64_t bits_address) noexcept {
  const std::uint64_t page = (busy - bits_address) / (bits_words_per_page * 8);
  return page >= c.page && page < c.page + slab_pages(c.word);
}

}  // namespace

void demand_fences(heap_state& s) noexcept {
  in_heap(s.header->fences_needed).store(1, std::memory_order_seq_cst);  // pairs with make_cache
  const std::uint32_t handles = s.members->limits().handles;
  for (std::uint32_t i = 0; i < handles; ++i)
    if (const handle_info h = s.members->handle_at(i); h.id && h.kind == cache_handle)
      (void)revoke(h);
}

std::size_t harvest(cache& c, std::uint32_t bin, bool& contended) noexcept {
  heap_state& s = *c.state;
  const std::uint32_t handles = s.members->limits().handles;
  std::size_t taken_total = 0;
  for (std::uint32_t at = 0; at < handles;) {
    victim victims[victims_at_once];
    std::size_t n = 0;
    for (; at < handles && n < victims_at_once; ++at) {
      const handle_info h = s.members->handle_at(at);
      if (!h.id || h.kind != cache_handle || h.id == c.handle) continue;
      if (!s.heavy_fences &&
          std::atomic_ref(h.words->word[self_fencing_word]).load(std::memory_order_acquire) == 0) {
        demand_fences(s);  // and hope that it runs: without its help nobody can tell what it is at
        contended = true;
        continue;
      }
      victims[n] = {h, revoke(h)};
      if (victims[n].raised == 0) continue;  // gone
      ++n;
    }
    if (n == 0) continue;
    if (s.heavy_fences && !platform::heavy_fence()) {
      s.heavy_fences = false;
      contended = true;
      return taken_total;
    }
    // 3: what they own
    candidate found[slabs_at_once];
    std::size_t candidates = 0;
    walk(s, 0, end_page(s), [&](std::uint64_t page, std::uint64_t word) {
      if (kind_of(word) != page_kind::slab || owner_field(word) == 0) return true;
      std::size_t v = 0;
      while (v < n && victims[v].handle.id.slot + 1 != owner_field(word)) ++v;
      if (v == n) return true;
      const bool wanted = bin < bin_count && bin_of(word) == bin && any_free(s, page, word);
      if (!wanted && !all_free(s, page, word)) return true;
      if (candidates == slabs_at_once) {
        contended = true;  // there is more to take
        return false;
      }
      found[candidates++] = {page, word, v};
      return true;
    });
    // 4 and 5, victim by victim
    candidate taken[slabs_at_once];
    std::size_t count = 0;
    for (std::size_t v = 0; v < n; ++v) {
      const std::uint64_t busy = load(victims[v], busy_word);
      const std::uint64_t acknowledged = load(victims[v], acknowledged_word);
      const std::uint64_t bits_address = load(victims[v], bits_address_word);
      // Read last: it is that owner's still, so what was read above was that owner's too.
      if (load(victims[v], revocations_word) >> 32 != victims[v].handle.id.generation) {
        contended = true;
        continue;
      }
      for (std::size_t i = 0; i < candidates; ++i) {
        if (found[i].victim != v) continue;
        if (acknowledged >= victims[v].raised || busy == busy_with_everything ||
            (busy != busy_with_nothing && names(found[i], busy, bits_address))) {
          contended = true;
          continue;
        }
        std::uint64_t expected = found[i].word;
        const std::uint64_t mine = passed_on(expected, c.owner);
        // Acquire: pairs with the release of busy; what V freed last is seen.
        if (page_word(s, found[i].page)
                .compare_exchange_strong(expected, mine, std::memory_order_acq_rel))
          taken[count++] = {found[i].page, mine, v};
        else
          contended = true;
      }
    }
    // They are this cache's now, if nobody took them from it meanwhile.
    std::size_t empties = 0;
    enter(c);
    for (std::size_t i = 0; i < count; ++i) {
      // Once more a new generation, now that `busy` says so: what was taken before this is as open to
      // other thieves as anything owned, and not in the list that acknowledge renews.
      const std::uint64_t page = taken[i].page;
      const std::uint64_t word = passed_on(taken[i].word, c.owner);
      if (!page_word(s, page).compare_exchange_strong(taken[i].word, word,
                                                      std::memory_order_acq_rel))
        continue;
      merge(s, page, word);
      ++taken_total;
      if (all_merged_free(s, page, word))
        taken[empties++] = {page, word, 0};
      else if (bin_of(word) != bin || !own(c, bin, page, word))
        disown(s, page, word);
    }
    leave(c);
    for (std::size_t i = 0; i < empties; ++i)
      dissolve(s, c.member, c.owner, taken[i].page, taken[i].word);
  }
  return taken_total;
}

}  // namespace ipcpp::detail
