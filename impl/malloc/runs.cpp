// Bodies of ipcpp.malloc: runs of pages, split and joined under the run lock.
//
// What survives is the chain of page words; the index (lists by length, links in the block bits of
// free pages) is a convenience that whoever takes the lock from a dead holder makes anew.
//
// Crash story. The commit of each change is one store to the first word of a run; whatever else is
// written lies inside that run before it, or is corrected by rebuild_runs after it:
//   take   1 index entry out   2 rest: word, tail, entry (inside the run still)   3 the run's word
//          killed before 3: the run is free and whole; after: taken, held by the dead or a block
//   take with a lead (alignment): 2' the taken word, inside the run   3' the lead's shorter word
//   put    1 neighbours' entries out   2 the leftmost word spans all   3 tail   4 stale words zeroed
//          killed before 2: still held by the dead; after: free, with stale words inside
//   resize as take (growing) or put (the rest becomes pending before the word shrinks)
//   grow   1 memory granted   2 the new run's word   3 end_page   4 joined to its neighbour
//          killed before 3: nothing happened, granting again is harmless; after: a pending run
//   trim   1 taken, held and marked decommitted   2 memory given back   3 put, marked
//          killed anywhere: the undertaker puts it, marked; a marked run is committed before use
//
// Race story. The lock orders its holders (acquire on taking, sequentially consistent on release,
// for the sake of `pending`). Readers without the lock see single words, which are always whole.
module;

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <thread>

module ipcpp.malloc;

import ipcpp.platform;
import ipcpp.sync;
import :heap;
import :layout;
import :state;

namespace ipcpp::detail {

namespace {

constexpr std::uint64_t first_growth_pages = 16;
constexpr std::uint64_t most_growth_pages = 1024;

[[nodiscard]] constexpr participant_id holder_of(std::uint64_t lock) noexcept {
  return {static_cast<std::uint32_t>(lock & 0xffff) - 1, static_cast<std::uint32_t>(lock >> 32)};
}
// The lock in other hands than in `before`.
[[nodiscard]] constexpr std::uint64_t held_by(participant_id who, std::uint64_t before) noexcept {
  return std::uint64_t{who.generation} << 32 | (((before >> 16) + 1) & 0xffff) << 16 |
         (who.slot + 1);
}
void unlock(heap_state& s) noexcept {
  const auto lock = in_heap(s.header->run_lock);
  // Sequentially consistent, like the loads of `pending` after it: pairs with put_pending's store to
  // `pending` and its attempt at the lock. One of the two sees the other.
  lock.store(freed_lock(lock.load(std::memory_order_relaxed)), std::memory_order_seq_cst);
}

[[nodiscard]] std::uint64_t word_at(const heap_state& s, std::uint64_t page) noexcept {
  return page_word(s, page).load(std::memory_order_relaxed);  // ordered by the run lock
}
// Release: whatever was written before it is there for readers without the lock, and in this order
// for whoever comes after a death.
void set_word(heap_state& s, std::uint64_t page, std::uint64_t word) noexcept {
  page_word(s, page).store(word, std::memory_order_release);
}

// ---- the index; relaxed throughout, ordered by the run lock ----

[[nodiscard]] std::uint64_t& next_link(const heap_state& s, std::uint64_t page) noexcept {
  return free_words(s, page)[0];
}
[[nodiscard]] std::uint64_t& previous_link(const heap_state& s, std::uint64_t page) noexcept {
  return free_words(s, page)[1];
}
[[nodiscard]] bool is_free_run(const heap_state& s, std::uint64_t page) noexcept {
  const std::uint64_t end = end_page(s);
  const std::uint64_t word = page < end ? word_at(s, page) : 0;
  return kind_of(word) == page_kind::free && run_pages(word) != 0 && run_pages(word) <= end - page;
}

void insert(heap_state& s, std::uint64_t page, std::uint64_t pages) noexcept {
  run_index& index = s.header->index;
  const std::uint32_t list = list_of(pages);
  const std::uint32_t first = index.first[list];
  in_heap(next_link(s, page)).store(first, std::memory_order_relaxed);
  in_heap(previous_link(s, page)).store(0, std::memory_order_relaxed);
  if (first != 0 && is_free_run(s, first - 1))
    in_heap(previous_link(s, first - 1)).store(page + 1, std::memory_order_relaxed);
  index.first[list] = static_cast<std::uint32_t>(page + 1);
  index.nonempty[list / 64] |= std::uint64_t{1} << list % 64;
}

void remove(heap_state& s, std::uint64_t page, std::uint64_t pages) noexcept {
  run_index& index = s.header->index;
  const std::uint32_t list = list_of(pages);
  const std::uint64_t next = in_heap(next_link(s, page)).load(std::memory_order_relaxed);
  const std::uint64_t previous = in_heap(previous_link(s, page)).load(std::memory_order_relaxed);
  if (next != 0 && is_free_run(s, next - 1))
    in_heap(previous_link(s, next - 1)).store(previous, std::memory_order_relaxed);
  if (previous != 0 && is_free_run(s, previous - 1))
    in_heap(next_link(s, previous - 1)).store(next, std::memory_order_relaxed);
  else
    index.first[list] = static_cast<std::uint32_t>(next);
  if (index.first[list] == 0) index.nonempty[list / 64] &= ~(std::uint64_t{1} << list % 64);
}

void write_free(heap_state& s, std::uint64_t page, std::uint64_t pages,
                std::uint64_t flags) noexcept {
  set_word(s, page, run_word(page_kind::free, pages, flags));
  if (pages > 1) set_word(s, page + pages - 1, run_word(page_kind::free_tail, pages));
  insert(s, page, pages);
}

// ---- memory ----

[[nodiscard]] bool commit_pages(heap_state& s, std::uint64_t page, std::uint64_t pages) noexcept {
  return s.source.commit == nullptr ||
         s.source.commit(s.source.object, s.source_skip + s.header->pages_at + (page << page_shift),
                         pages << page_shift);
}

// Numbers that others read without the lock.
void set_number(std::uint64_t& at, std::uint64_t value) noexcept {
  in_heap(at).store(value, std::memory_order_relaxed);  // nothing is published by them
}

void count_footprint(heap_state& s) noexcept {
  const std::uint64_t now = footprint_of(s);
  if (now > s.header->max_footprint) set_number(s.header->max_footprint, now);
}

void count_recommitted(heap_state& s, std::uint64_t pages) noexcept {
  const std::uint64_t away = s.header->decommitted_pages;
  set_number(s.header->decommitted_pages, away - std::min(pages, away));
  count_footprint(s);
}

// Committed with each page: its word and its block bits.
[[nodiscard]] std::uint64_t metadata_per_page(const heap_state& s) noexcept {
  return s.header->sparse != 0 ? 8 + 64 : 0;
}

[[nodiscard]] bool within_limit(const heap_state& s, std::uint64_t bytes) noexcept {
  const std::uint64_t limit =
      in_heap(s.header->footprint_limit).load(std::memory_order_relaxed);  // a number of its own
  return limit == 0 || footprint_of(s) + bytes <= limit;
}

// The free run that ends where the pages end.
[[nodiscard]] run last_free(const heap_state& s) noexcept {
  const std::uint64_t end = end_page(s);
  if (end == 0) return {};
  const std::uint64_t word = word_at(s, end - 1);
  std::uint64_t pages = 0;
  if (kind_of(word) == page_kind::free && run_pages(word) == 1) pages = 1;
  if (kind_of(word) == page_kind::free_tail) pages = run_pages(word);
  if (pages == 0 || pages > end || !is_free_run(s, end - pages) ||
      run_pages(word_at(s, end - pages)) != pages)
    return {};
  return {end - pages, pages};
}

// Grows by at least `least` pages; they are pending at the old end, or joined to what was free
// there.
[[nodiscard]] bool grow(heap_state& s, std::uint64_t least) noexcept {
  heap_header& header = *s.header;
  const std::uint64_t end = end_page(s);
  const std::uint64_t room = header.most_pages - end;
  if (least > room) return false;
  std::uint64_t step =
      std::min(std::max(least, std::clamp(end / 16, first_growth_pages, most_growth_pages)), room);
  std::uint64_t granted = 0;
  for (; granted == 0; step = least) {
    if (within_limit(s, step * (page_size_bytes + metadata_per_page(s)))) {
      if (header.sparse != 0) {
        const std::size_t from = s.source_skip;
        if (s.source.commit(s.source.object, from + header.words_at + end * 8, step * 8) &&
            s.source.commit(s.source.object, from + header.bits_at + end * 64, step * 64) &&
            commit_pages(s, end, step))
          granted = step;
      } else {
        granted = s.source.extend(s.source.object, step << page_shift) >> page_shift;
      }
    }
    if (step == least) break;
  }
  granted = std::min(granted, room);
  if (granted == 0) return false;
  set_word(s, end, run_word(page_kind::pending, granted));
  // Release: pairs with end_page(); the run's word is there before its pages are.
  in_heap(header.end_page).store(end + granted, std::memory_order_release);
  put_run(s, end, granted, 0);
  count_footprint(s);
  return granted >= least;
}

// ---- finding and carving ----

[[nodiscard]] std::uint64_t aligned_from(const heap_state& s, std::uint64_t page,
                                         std::size_t alignment) noexcept {
  const auto address = reinterpret_cast<std::uintptr_t>(page_address(s, page));
  return page + ((alignment - address % alignment) % alignment >> page_shift);
}

[[nodiscard]] bool fits(const heap_state& s, std::uint64_t page, std::uint64_t pages,
                        std::size_t alignment) noexcept {
  const std::uint64_t lead = aligned_from(s, page, alignment) - page;
  const std::uint64_t length = run_pages(word_at(s, page));
  return lead < length && length - lead >= pages;
}

// Good fit first, exact before failing: a short look at the list whose runs may just do, then the
// first of the next longer ones, then everything.
[[nodiscard]] run find(const heap_state& s, std::uint64_t pages, std::size_t alignment,
                       bool committed_only) noexcept {
  const run_index& index = s.header->index;
  const std::uint32_t own = list_of(pages);
  const auto search = [&](std::uint32_t list, std::uint64_t most) -> run {
    std::uint64_t at = index.first[list];
    for (std::uint64_t looked = 0; at != 0 && looked < most; ++looked) {
      if (!is_free_run(s, at - 1)) break;  // damaged: as good as not there
      const std::uint64_t word = word_at(s, at - 1);
      if (!(committed_only && (flags_of(word) & decommitted_flag) != 0) &&
          fits(s, at - 1, pages, alignment))
        return {at - 1, run_pages(word)};
      at = in_heap(next_link(s, at - 1)).load(std::memory_order_relaxed);
    }
    return {};
  };
  constexpr std::uint64_t short_look = 8;
  for (const std::uint64_t most : {short_look, end_page(s)}) {
    for (std::uint32_t list = own; list < list_count; ++list) {
      const std::uint64_t rest = index.nonempty[list / 64] >> list % 64;
      if (rest == 0) {
        list |= 63;
        continue;
      }
      list += static_cast<std::uint32_t>(std::countr_zero(rest));
      if (list >= list_count) break;
      if (const run found = search(list, most); found.pages != 0) return found;
    }
  }
  return {};
}

// Takes `pages` from `page` on out of a free run. false: its memory is not to be had again.
[[nodiscard]] bool carve(heap_state& s, run from, std::uint64_t page, std::uint64_t pages,
                         run_use use) noexcept {
  const std::uint64_t flags = flags_of(word_at(s, from.page)) & decommitted_flag;
  if (flags != 0) {
    if (!within_limit(s, pages << page_shift) || !commit_pages(s, page, pages)) return false;
    count_recommitted(s, pages);
  }
  remove(s, from.page, from.pages);
  const std::uint64_t lead = page - from.page;
  const std::uint64_t rest = from.pages - lead - pages;
  const std::uint64_t taken = run_word(use.kind, pages, use.flags, use.owner);
  if (rest != 0)
    write_free(s, page + pages, rest, flags);
  else if (pages > 1)
    set_word(s, page + pages - 1, 0);
  set_word(s, page, taken);  // the commit, unless there is a lead
  if (lead != 0) {
    if (lead > 1) set_word(s, page - 1, run_word(page_kind::free_tail, lead));
    set_word(s, from.page, run_word(page_kind::free, lead, flags));  // then this is
    insert(s, from.page, lead);
  }
  return true;
}

// The lock was a dead participant's.
void mend(heap_state& s, participant_id dead) noexcept {
  rebuild_runs(s);
  const std::uint32_t handles = s.members->limits().handles;
  for (std::uint32_t i = 0; i < handles; ++i) {
    const handle_info handle = s.members->handle_at(i);
    if (handle.id && handle.owner == dead && handle.kind == cache_handle)
      resolve_link(s, handle.words->word, true);
  }
}

void collect(heap_state& s) noexcept {
  const std::uint64_t end = end_page(s);
  for (std::uint64_t page = 0; page < end;) {
    // Sequentially consistent, after the store to `pending`: a run made pending before that store is
    // seen here, one made pending after it is announced again.
    const std::uint64_t word = page_word(s, page).load(std::memory_order_seq_cst);
    const std::uint64_t pages = length_of(word);
    if (pages == 0 || pages > end - page) break;  // damaged
    if (kind_of(word) == page_kind::pending) {
      const run joined = put_run(s, page, pages, flags_of(word) & decommitted_flag);
      page = joined.page + joined.pages;
    } else {
      page += pages;
    }
  }
}

}  // namespace

std::uint64_t adopt_pages(const heap_state& s, std::uint64_t end) noexcept {
  const std::uint64_t known = s.adopted_end.load(std::memory_order_relaxed);  // only ever grows
  const bool there =
      end <= s.header->most_pages &&
      (s.source.adopt == nullptr ||
       s.source.adopt(s.source.object, s.source_skip + s.header->pages_at + (end << page_shift)));
  if (!there) {  // a buggy peer wrote that
    in_heap(s.header->damaged).store(1, std::memory_order_relaxed);
    return known;
  }
  for (std::uint64_t seen = known; seen < end && !s.adopted_end.compare_exchange_weak(seen, end);) {
  }
  return end;
}

// ---- the lock ----

run_guard::run_guard(heap_state& s, participant_id as, bool for_the_dead) noexcept
    : state_(&s), as_(as) {
  const auto lock = in_heap(s.header->run_lock);
  for (std::uint32_t turn = 1;; ++turn) {
    std::uint64_t seen = lock.load(std::memory_order_relaxed);  // the exchange decides
    if (is_free_lock(seen)) {
      // Acquire: pairs with unlock.
      if (lock.compare_exchange_weak(seen, held_by(as, seen), std::memory_order_acquire)) return;
      continue;
    }
    const participant_id holder = holder_of(seen);
    // An undertaker that finds its dead one holding the lock is alone in speaking for it.
    const bool own = for_the_dead && holder == as;
    // Nobody leaves with the lock: a holder that is no participant is a dead one's, or damage.
    const bool nobodys = turn % 64 == 0 && (s.members->probe(holder) == vitality::left ||
                                            !s.members->attended(holder));
    if (own || nobodys) {
      // Acquire: pairs with the dead holder's stores, which the kernel made visible.
      if (lock.compare_exchange_strong(seen, held_by(as, seen), std::memory_order_acq_rel)) {
        mend(s, holder);
        return;
      }
    }
    if (turn % 16 == 0) std::this_thread::yield();
  }
}

run_guard::~run_guard() {
  unlock(*state_);
  if (in_heap(state_->header->pending).load(std::memory_order_seq_cst) != 0)
    collect_pending(*state_, as_);
}

void put_pending(heap_state& s, participant_id as, std::uint64_t page) noexcept {
  const auto lock = in_heap(s.header->run_lock);
  for (int look = 0; look < 100; ++look) {
    std::uint64_t seen = lock.load(std::memory_order_relaxed);  // the exchange decides
    // Acquire: pairs with unlock.
    if (is_free_lock(seen) &&
        lock.compare_exchange_weak(seen, held_by(as, seen), std::memory_order_acquire)) {
      const std::uint64_t word = word_at(s, page);
      if (kind_of(word) == page_kind::pending)  // else another holder collected it already
        put_run(s, page, run_pages(word), flags_of(word) & decommitted_flag);
      unlock(s);
      break;
    }
    if (look == 99)
      in_heap(s.header->pending).store(1, std::memory_order_seq_cst);  // pairs with ~run_guard
  }
  collect_pending(s, as);
}

void collect_pending(heap_state& s, participant_id as) noexcept {
  const auto lock = in_heap(s.header->run_lock);
  const auto pending = in_heap(s.header->pending);
  while (pending.load(std::memory_order_seq_cst) != 0) {
    std::uint64_t seen = lock.load(std::memory_order_seq_cst);
    if (!is_free_lock(seen)) return;  // whoever holds it will look at `pending` afterwards
    if (!lock.compare_exchange_strong(seen, held_by(as, seen), std::memory_order_seq_cst)) continue;
    pending.store(0, std::memory_order_seq_cst);
    collect(s);
    unlock(s);
  }
}

// ---- runs ----

run take_run(heap_state& s, participant_id as, std::uint64_t pages, std::size_t alignment,
             run_use use, bool may_grow) noexcept {
  if (pages == 0 || pages > s.header->most_pages) return {};
  const run_guard guard(s, as);
  alignment = std::max(alignment, page_size_bytes);
  for (bool grown = false;; grown = true) {
    for (const bool committed_only : {true, false}) {
      if (!committed_only && s.header->decommitted_pages == 0) break;
      const run found = find(s, pages, alignment, committed_only);
      if (found.pages == 0) continue;
      const std::uint64_t page = aligned_from(s, found.page, alignment);
      if (carve(s, found, page, pages, use)) return {page, pages};
    }
    if (!may_grow || grown) return {};
    const run last = last_free(s);
    const std::uint64_t from = last.pages != 0 ? last.page : end_page(s);
    const std::uint64_t end = aligned_from(s, from, alignment) + pages;
    if (end > s.header->most_pages || !grow(s, end - end_page(s))) return {};
  }
}

run put_run(heap_state& s, std::uint64_t page, std::uint64_t pages, std::uint64_t flags) noexcept {
  run whole{page, pages};
  std::uint64_t given_back = 0;  // pages of neighbours that are marked already
  if (page + pages < end_page(s) && is_free_run(s, page + pages)) {
    const std::uint64_t word = word_at(s, page + pages);
    remove(s, page + pages, run_pages(word));
    whole.pages += run_pages(word);
    if ((flags_of(word) & decommitted_flag) != 0) given_back += run_pages(word);
  }
  if (page > 0) {
    const std::uint64_t before = word_at(s, page - 1);
    std::uint64_t length = 0;
    if (kind_of(before) == page_kind::free && run_pages(before) == 1) length = 1;
    if (kind_of(before) == page_kind::free_tail) length = run_pages(before);
    if (length != 0 && length <= page && is_free_run(s, page - length) &&
        run_pages(word_at(s, page - length)) == length) {
      if ((flags_of(word_at(s, page - length)) & decommitted_flag) != 0) given_back += length;
      remove(s, page - length, length);
      whole.page -= length;
      whole.pages += length;
    }
  }
  if (flags != 0 || given_back != 0) {
    flags = decommitted_flag;
    set_number(s.header->decommitted_pages, s.header->decommitted_pages + whole.pages - given_back);
  }
  set_word(s, whole.page, run_word(page_kind::free, whole.pages, flags));  // the commit
  const std::uint64_t last = whole.page + whole.pages - 1;
  // Heads, and the left neighbour's tail, that now lie inside.
  if (page != whole.page) {
    set_word(s, page - 1, page - 1 == whole.page ? word_at(s, page - 1) : 0);
    set_word(s, page, 0);
  }
  if (page + pages <= last) set_word(s, page + pages, 0);
  if (whole.pages > 1) set_word(s, last, run_word(page_kind::free_tail, whole.pages));
  insert(s, whole.page, whole.pages);
  return whole;
}

void give_run(heap_state& s, participant_id as, std::uint64_t page) noexcept {
  const run_guard guard(s, as);
  const std::uint64_t word = word_at(s, page);
  if (kind_of(word) == page_kind::held)
    put_run(s, page, run_pages(word), flags_of(word) & decommitted_flag);
}

bool resize_run(heap_state& s, participant_id as, std::uint64_t page,
                std::uint64_t pages) noexcept {
  const run_guard guard(s, as);
  const std::uint64_t word = word_at(s, page);
  if (kind_of(word) != page_kind::large) return false;
  const std::uint64_t before = run_pages(word);
  const auto resized = run_word(page_kind::large, pages, flags_of(word), owner_field(word));
  if (pages < before) {
    set_word(s, page + pages, run_word(page_kind::pending, before - pages));
    set_word(s, page, resized);
    put_run(s, page + pages, before - pages, 0);
    return true;
  }
  if (pages == before) return true;
  const std::uint64_t next = page + before;
  const std::uint64_t more = pages - before;
  if (!is_free_run(s, next) || run_pages(word_at(s, next)) < more) {
    const bool at_end = next == end_page(s) ||
                        (is_free_run(s, next) && next + run_pages(word_at(s, next)) == end_page(s));
    if (!at_end || page + pages > s.header->most_pages || !grow(s, page + pages - end_page(s)))
      return false;
  }
  const run right{next, run_pages(word_at(s, next))};
  // As part of what it grows into it is held by nobody: the commit is the block's own word.
  const std::uint64_t flags = flags_of(word_at(s, next)) & decommitted_flag;
  if (flags != 0) {
    if (!within_limit(s, more << page_shift) || !commit_pages(s, next, more)) return false;
    count_recommitted(s, more);
  }
  remove(s, right.page, right.pages);
  const std::uint64_t rest = right.pages - more;
  if (rest != 0) write_free(s, next + more, rest, flags);
  set_word(s, page, resized);
  set_word(s, next, 0);
  if (rest == 0) set_word(s, next + more - 1, 0);
  return true;
}

void rebuild_runs(heap_state& s) noexcept {
  heap_header& header = *s.header;
  header.index = {};
  std::uint64_t away = 0;
  const std::uint64_t end = end_page(s);
  const auto wipe = [&](std::uint64_t from, std::uint64_t to) {
    for (; from < to; ++from)
      if (word_at(s, from) != 0) set_word(s, from, 0);
  };
  for (std::uint64_t page = 0; page < end;) {
    const std::uint64_t word = word_at(s, page);
    std::uint64_t pages = length_of(word);
    if (pages == 0 || pages > end - page) {  // nothing of ours: this page is lost, and said to be
      in_heap(header.damaged).store(1, std::memory_order_relaxed);
      set_word(s, page, run_word(page_kind::large, 1));
      ++page;
      continue;
    }
    if (kind_of(word) == page_kind::free || kind_of(word) == page_kind::pending) {
      std::uint64_t flags = flags_of(word) & decommitted_flag;
      for (std::uint64_t next = page + pages; next < end; next = page + pages) {
        const std::uint64_t follows = word_at(s, next);
        const bool joins =
            kind_of(follows) == page_kind::free || kind_of(follows) == page_kind::pending;
        if (!joins || run_pages(follows) == 0 || run_pages(follows) > end - next) break;
        pages += run_pages(follows);
        flags |= flags_of(follows) & decommitted_flag;
      }
      set_word(s, page, run_word(page_kind::free, pages, flags));
      wipe(page + 1, page + pages);
      if (flags != 0) away += pages;
      write_free(s, page, pages, flags);
    } else if (kind_of(word) == page_kind::large) {
      wipe(page + 1, page + pages);
    }
    page += pages;
  }
  set_number(header.decommitted_pages, away);
}

std::size_t trim_runs(heap_state& s, cache& c, std::size_t keep) noexcept {
  if (s.source.release == nullptr) return 0;
  constexpr std::uint64_t worth_it_pages = 16;
  const participant_id as = s.members->owner_of(c.handle);
  std::size_t given = 0;
  std::uint64_t kept_pages = 0;
  std::uint64_t from = 0;
  for (;;) {
    run found;
    {
      const run_guard guard(s, as);
      const std::uint64_t end = end_page(s);
      for (std::uint64_t page = 0; page < end && found.pages == 0;) {
        const std::uint64_t word = word_at(s, page);
        const std::uint64_t pages = length_of(word);
        if (pages == 0 || pages > end - page) break;
        if (page >= from && kind_of(word) == page_kind::free && pages >= worth_it_pages &&
            (flags_of(word) & decommitted_flag) == 0) {
          if (kept_pages << page_shift < keep)
            kept_pages += pages;
          else
            found = {page, pages};
        }
        page += pages;
      }
      if (found.pages == 0) return given;
      const run_use use{page_kind::held, decommitted_flag, c.owner};
      if (!carve(s, found, found.page, found.pages, use)) return given;
    }
    const std::size_t went = s.source.release(
        s.source.object, s.source_skip + s.header->pages_at + (found.page << page_shift),
        found.pages << page_shift);
    given += went;
    if (went == 0) {  // a system that takes nothing back: the pages are committed still
      set_word(s, found.page, run_word(page_kind::held, found.pages, 0, c.owner));
      give_run(s, as, found.page);
      return given;
    }
    give_run(s, as, found.page);
    from = found.page + found.pages;
  }
}

std::uint64_t longest_run(heap_state& s, participant_id as, bool may_grow) noexcept {
  const run_guard guard(s, as);
  std::uint64_t longest = 0;
  const std::uint64_t end = end_page(s);
  for (std::uint64_t page = 0; page < end;) {
    const std::uint64_t word = word_at(s, page);
    const std::uint64_t pages = length_of(word);
    if (pages == 0 || pages > end - page) break;
    if (kind_of(word) == page_kind::free) longest = std::max(longest, pages);
    page += pages;
  }
  if (!may_grow) return longest;
  std::uint64_t more = s.header->most_pages - end;
  const std::uint64_t limit = in_heap(s.header->footprint_limit).load(std::memory_order_relaxed);
  if (limit != 0) {
    const std::uint64_t now = footprint_of(s);
    more =
        std::min(more, now < limit ? (limit - now) / (page_size_bytes + metadata_per_page(s)) : 0);
  }
  return std::max(longest, last_free(s).pages + more);
}

std::uint64_t footprint_of(const heap_state& s) noexcept {
  heap_header& header = *s.header;
  const std::uint64_t end = in_heap(header.end_page).load(std::memory_order_relaxed);  // a number
  const std::uint64_t away = in_heap(header.decommitted_pages).load(std::memory_order_relaxed);
  return header.metadata_bytes + ((end - std::min(end, away)) << page_shift) +
         end * metadata_per_page(s);
}

bool grow_first(heap_state& s) noexcept {
  return grow(s, 1);
}

}  // namespace ipcpp::detail
