// Bodies of ipcpp.malloc: caches, how a thread comes by one and leaves it, and the critical section.
//
// A cache lives in pages that read zero in a forked child, so a child never takes its parent's cache
// for its own: `header` does not match, and it makes a new one. Caches are never freed while their
// thread runs (the thread's table may point at them), they are used again.
//
// Crash story. A cache is private; what the others see of it is its handle and the slab words with
// its owner number. Both are given back by close_cache, or by the undertaker (recovery.cpp).
// acknowledge, killed anywhere: the dead one's slabs, some with a new generation.
//
// Race story of acknowledge: see harvest.cpp.
module;

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <new>
#include <string>
#include <string_view>

module ipcpp.malloc;

import ipcpp.platform;
import ipcpp.sync;
import :heap;
import :layout;
import :state;

namespace ipcpp::detail {

namespace {

[[nodiscard]] std::size_t cache_bytes() noexcept {
  const std::size_t page = platform::page_bytes();
  return (sizeof(cache) + page - 1) / page * page;
}

// Guards every heap's list of caches, and the order in which a thread's end and a heap's end take
// one away.
constinit fork_safe_lock closing;

// Gives up this thread's caches when it ends.
struct thread_end {
  cache* first = nullptr;
  bool over = false;

  ~thread_end() {
    over = true;
    for (cache* c = first; c != nullptr;) {
      cache* const next = c->next_of_thread;
      if (c->header != nullptr) {
        close_cache(*c);
      }
      platform::return_fork_private_pages(c, cache_bytes());
      c = next;
    }
    first = nullptr;
  }
};

thread_local thread_end this_thread;

void unlist(heap_state& s, const cache& c) noexcept {
  for (cache** at = &s.caches; *at != nullptr; at = &(*at)->next_of_heap)
    if (*at == &c) {
      *at = c.next_of_heap;
      return;
    }
}

[[nodiscard]] std::size_t map_bytes(std::uint64_t pages) noexcept {
  const std::size_t unit = platform::page_bytes();
  return (pages * sizeof(std::uint32_t) + unit - 1) / unit * unit;
}

void drop_owned(cache& c) noexcept {
  for (owned_slabs& slabs : c.owned) {
    delete[] slabs.page;
    slabs = {};
  }
  c.owned_total = 0;
  delete[] c.own;
  c.own = nullptr;
  c.own_room = c.own_unused = 0;
  if (c.own_of_page != nullptr)
    platform::return_fork_private_pages(c.own_of_page, map_bytes(c.mapped_pages));
  c.own_of_page = nullptr;
  c.mapped_pages = 0;
}

// Never throws: without the map, frees take a longer way.
void map_own_pages(cache& c) noexcept {
  const std::uint64_t pages = c.header->most_pages;
  if (map_bytes(pages) > platform::largest_sparse_private_bytes) return;
  try {
    c.own_of_page = static_cast<std::uint32_t*>(platform::fork_private_pages(map_bytes(pages)));
    c.mapped_pages = pages;
  } catch (...) {
  }
}

void empty_bins(cache& c) noexcept {
  for (bin& b : c.bins) b = {&c.nothing, nullptr, 0, 0};
}

void set_word(cache& c, std::size_t word, std::uint64_t value) noexcept {
  // Release: pairs with the thief's loads in harvest.
  std::atomic_ref(c.shared[word]).store(value, std::memory_order_release);
}

}  // namespace

// Whether the fast path may enter, and without an exchange.
void choose_entry(cache& c) noexcept {
  if (!c.state->heavy_fences ||
      in_heap(c.header->fences_needed).load(std::memory_order_seq_cst) != 0) {
    c.self_fencing = 1;
    set_word(c, self_fencing_word, 1);
  }
  const bool slowly =
      c.self_fencing != 0 || c.header->tracked != 0 || c.recorder != nullptr || c.tag != 0;
  c.enter_if = slowly ? never : c.seen;
}

heap_state* state_of_header(const heap_header* of) noexcept {
  auto* const state = static_cast<heap_state*>(address_map::of_this_process().find(of));
  return state != nullptr && state->header == of ? state : nullptr;
}

heap_header* heap_header_at(const void* address) noexcept {
  const address_map::range found = address_map::of_this_process().range_of(address);
  auto* const header = reinterpret_cast<heap_header*>(found.begin);
  return found.owner != nullptr && state_of_header(header) != nullptr ? header : nullptr;
}

void refuse_foreign_header(const heap_header*) {
  throw error(errc::not_a_participant, "heap", "a heap this process has open",
              "an address that is none's", "keep the heap object (or its segment) open meanwhile");
}

cache& make_cache(heap_header* of) {
  heap_state* const s = state_of_header(of);
  if (s == nullptr) refuse_foreign_header(of);
  cache* c = nullptr;
  for (cache* at = this_thread.first; at != nullptr; at = at->next_of_thread) {
    if (at->header == of) {  // another heap had its place in the table
      cache_slot(of) = at;
      return *at;
    }
    if (at->header == nullptr) c = at;
  }
  const handle_id handle = s->members->acquire_handle(cache_handle);
  try {
    if (c == nullptr) {
      c = new (platform::fork_private_pages(cache_bytes())) cache{};
      c->next_of_thread = this_thread.first;
      this_thread.first = c;
    }
  } catch (...) {
    s->members->release_handle(handle);
    throw;
  }
  drop_owned(*c);
  cache* const next_of_thread = c->next_of_thread;
  *c = cache{};
  c->next_of_thread = next_of_thread;
  c->words = s->words;
  c->bits = s->bits;
  c->pages = s->pages;
  c->shared = s->members->words_of(handle)->word;
  c->owner = handle.slot + 1;
  c->state = s;
  c->handle = handle;
  c->member = s->members->owner_of(handle);
  empty_bins(*c);
  set_word(*c, bits_address_word, reinterpret_cast<std::uintptr_t>(s->bits));
  // Link operations count on from a number of this handle's own: an exchange meant for an earlier
  // owner of it does not fit.
  set_word(*c, link_state_word, std::uint64_t{handle.generation} << 32);
  c->seen = std::uint64_t{handle.generation} << 32;
  set_word(*c, acknowledged_word, c->seen);
  set_word(*c, revocations_word, c->seen);  // from here on thieves may raise it
  c->header = of;
  map_own_pages(*c);
  // The handle is visible before fences_needed is read: pairs with demand_fences.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  choose_entry(*c);
  {
    const fork_safe_guard guard(closing);
    c->next_of_heap = s->caches;
    s->caches = c;
  }
  cache_slot(of) = c;
  return *c;
}

participant_id this_member(heap_state& s) {
  return s.members->self();
}

void close_cache(cache& c) noexcept {
  const fork_safe_guard guard(closing);
  if (c.header == nullptr) return;
  heap_state& s = *c.state;
  for (std::uint32_t bin = 0; bin < bin_count; ++bin) {
    while (c.owned[bin].count != 0) {
      enter(c);
      if (c.owned[bin].count == 0) {
        leave(c);
        break;
      }
      const std::uint64_t page = c.owned[bin].page[c.owned[bin].count - 1];
      forget(c, bin, c.owned[bin].count - 1);
      const std::uint64_t word = page_word(s, page).load(std::memory_order_acquire);
      const bool mine = kind_of(word) == page_kind::slab && owner_field(word) == c.owner;
      if (mine) merge(s, page, word);
      const bool empty = mine && all_merged_free(s, page, word);
      if (mine && !empty) disown(s, page, word);
      leave(c);
      if (empty) dissolve(s, c.member, c.owner, page, word);
    }
  }
  unlist(s, c);
  c.header = nullptr;
  drop_owned(c);
  s.members->release_handle(c.handle);
}

namespace {

template <class T>
[[nodiscard]] bool enlarge(T*& array, std::uint32_t& room, std::uint32_t used,
                           std::uint32_t first_room) noexcept {
  const std::uint32_t more = room == 0 ? first_room : room * 2;
  T* const larger = new (std::nothrow) T[more]{};
  if (larger == nullptr) return false;
  for (std::uint32_t i = 0; i < used; ++i) larger[i] = array[i];
  delete[] array;
  array = larger;
  room = more;
  return true;
}

// An unused entry of own[], 0 if there is no memory for one.
[[nodiscard]] std::uint32_t unused_own(cache& c) noexcept {
  if (c.own_unused == 0) {
    const std::uint32_t before = c.own_room == 0 ? 1 : c.own_room;
    if (!enlarge(c.own, c.own_room, c.own_room, 16)) return 0;
    for (std::uint32_t i = c.own_room - 1; i >= before; --i) {
      c.own[i].next_unused = c.own_unused;
      c.own_unused = i;
    }
  }
  const std::uint32_t entry = c.own_unused;
  c.own_unused = c.own[entry].next_unused;
  return entry;
}

}  // namespace

bool own(cache& c, std::uint32_t bin, std::uint64_t page, std::uint64_t slab) noexcept {
  owned_slabs& slabs = c.owned[bin];
  if (slabs.count == slabs.room && !enlarge(slabs.page, slabs.room, slabs.count, 8)) return false;
  const std::uint32_t pages = slab_pages(slab);
  if (page + pages <= c.mapped_pages) {
    const std::uint32_t entry = unused_own(c);
    if (entry == 0) return false;
    const class_facts& facts = facts_of_class[class_field(slab)];
    c.own[entry] = {page_address(*c.state, page),
                    free_words(*c.state, page),
                    facts.reciprocal,
                    facts.reciprocal << 24,
                    pages * static_cast<std::uint32_t>(free_words_per_page),
                    slab_blocks(slab),
                    pages,
                    0};
    for (std::uint32_t i = 0; i < pages; ++i) c.own_of_page[page + i] = entry;
  }
  slabs.page[slabs.count++] = static_cast<std::uint32_t>(page);
  ++c.owned_total;
  return true;
}

void forget(cache& c, std::uint32_t bin, std::uint32_t at) noexcept {
  owned_slabs& slabs = c.owned[bin];
  const std::uint32_t page = slabs.page[at];
  slabs.page[at] = slabs.page[--slabs.count];
  --c.owned_total;
  if (page >= c.mapped_pages) return;
  const std::uint32_t entry = c.own_of_page[page];
  if (entry == 0) return;
  for (std::uint32_t i = 0; i < c.own[entry].pages; ++i) c.own_of_page[page + i] = 0;
  c.own[entry].next_unused = c.own_unused;
  c.own_unused = entry;
}

// ---- the critical section ----

void enter(cache& c) noexcept {
  const std::atomic_ref busy(c.shared[busy_word]);
  const std::atomic_ref revocations(c.shared[revocations_word]);
  for (;;) {
    std::uint64_t seen = 0;
    if (c.self_fencing != 0) {
      // Sequentially consistent: of this pair and the thief's, one sees the other.
      busy.exchange(busy_with_everything, std::memory_order_seq_cst);
      seen = revocations.load(std::memory_order_seq_cst);
    } else {
      // Ordered by the thief's heavy fence; here only the compiler must not reorder.
      busy.store(busy_with_everything, std::memory_order_relaxed);
      std::atomic_signal_fence(std::memory_order_seq_cst);
      seen = revocations.load(std::memory_order_relaxed);
    }
    std::atomic_signal_fence(std::memory_order_seq_cst);
    if (seen == c.seen) return;
    acknowledge(c);
  }
}

void acknowledge(cache& c) noexcept {
  heap_state& s = *c.state;
  const std::uint64_t raised =
      std::atomic_ref(c.shared[revocations_word]).load(std::memory_order_acquire);  // harvest
  for (std::uint32_t bin = 0; bin < bin_count; ++bin) {
    owned_slabs& slabs = c.owned[bin];
    for (std::uint32_t at = 0; at < slabs.count;) {
      const std::uint64_t page = slabs.page[at];
      std::uint64_t word = page_word(s, page).load(std::memory_order_acquire);
      // A new generation: a thief that decided before this cannot take it any more.
      if (kind_of(word) == page_kind::slab && owner_field(word) == c.owner &&
          page_word(s, page).compare_exchange_strong(word, passed_on(word, c.owner),
                                                     std::memory_order_acq_rel)) {
        ++at;
        continue;
      }
      forget(c, bin, at);
    }
  }
  empty_bins(c);
  c.seen = raised;
  set_word(c, acknowledged_word, raised);  // after the new generations: pairs with harvest
  choose_entry(c);
}

// ---- misuse ----

void report(const heap_state& s, errc kind, const void* at, std::string_view expected,
            std::string_view found) {
  char place[64];
  const auto offset =
      reinterpret_cast<std::uintptr_t>(at) - reinterpret_cast<std::uintptr_t>(s.pages);
  std::snprintf(place, sizeof place, "heap, address %p (page offset 0x%llx)", at,
                static_cast<unsigned long long>(offset));
  const error problem(kind, place, expected, found,
                      "free each block once, by its own heap, and write within it");
  if (s.on_misuse == misuse::throws) throw problem;
  std::fprintf(stderr, "ipcpp: %s\n", problem.what());
  std::abort();
}

}  // namespace ipcpp::detail
