// The part of the heap's protocols that several models need: one slab with its page word and bitmap
// words, the handles of caches, and the bodies of impl/malloc that work on them, operation by operation
// with the orders they have there. What a mutation changes is a member of `protocol`.
//
// Abstracted: one slab of one page and one bitmap word of three blocks; the walk over the page words is
// a look at that one word; addresses are small numbers.
#pragma once

#include <exception>

#include "model.hpp"

namespace model {

constexpr unsigned blocks = 3;
constexpr std::uint64_t all_blocks = 7;

// ---- page words: kind | generation << 8 | owner << 32 ----

constexpr std::uint64_t kind_mask = 15;
constexpr std::uint64_t held_kind = 3;
constexpr std::uint64_t slab_kind = 4;
constexpr std::uint64_t pending_kind = 6;

constexpr std::uint64_t slab_word(std::uint64_t generation, std::uint64_t owner) {
  return owner << 32 | (generation & 0xffffff) << 8 | slab_kind;
}
constexpr std::uint64_t owner_of(std::uint64_t word) {
  return word >> 32;
}
constexpr bool is_slab(std::uint64_t word) {
  return (word & kind_mask) == slab_kind;
}

struct protocol_choices {
  bool new_generation = true;  // passed_on makes one
  // merge
  order merge_reads_remote = acquire;
  order merge_takes_away = acq_rel;
  bool merge_clears_first = false;
  bool merge_forgets_what_came = false;  // remote = 0 instead of taking away what was merged
  // disown, remote free
  order disown_order = seq_cst;
  bool disown_looks_again = true;
  order remote_seen = seq_cst;  // by any_free
  order remote_free_order = seq_cst;
  order remote_free_looks = seq_cst;
  bool remote_free_looks_again = true;
  // hints: "the slab is changed, then the hint looked at" and "the hint is cleared, then the slab looked
  // at": all four sequentially consistent, so that one sees the other
  order hint_looks = seq_cst;
  order hint_clears = seq_cst;
  bool hint_cleared_first = true;
  // adopt
  order adopt_reads = seq_cst;
  order adopt_order = acq_rel;
  bool adopt_by_exchange = true;
  // the critical section
  order leave_order = release;
  order acknowledge_order = release;
  bool acknowledge_renews = true;
  bool acknowledge_is_busy = true;
  bool acknowledge_empties_bins = true;
  bool self_fencing_exchanges = true;
  // harvest
  bool thief_fences = true;
  bool thief_lowers = false;
  bool words_before_busy = true;
  bool thief_heeds_busy = true;
  bool thief_heeds_acknowledged = true;
  bool stolen_renewed = true;
  bool thief_checks_handle = true;
  bool thief_heeds_self_fencing = true;  // if it has no heavy fence
  bool made_slab_listed_inside =
      true;                      // the critical section: acknowledge drops what is not a slab
  bool demand_is_obeyed = true;  // the fast path stops when fences are demanded
  order steal_order = acq_rel;
  // recovery
  bool undertaker_busy = true;
  bool undertaker_renews = true;
  bool undertaker_by_exchange = true;
};
inline protocol_choices protocol;

// Where hints do not matter their orders must not help.
inline void weaken_hints() {
  protocol.hint_looks = relaxed;
  protocol.hint_clears = relaxed;
  protocol.adopt_reads = acquire;
}

constexpr std::uint64_t passed_on_as(std::uint64_t word, std::uint64_t owner, bool renew) {
  return slab_word((word >> 8 & 0xffffff) + (renew ? 1 : 0), owner);
}
inline std::uint64_t passed_on(std::uint64_t word, std::uint64_t owner) {
  return passed_on_as(word, owner, protocol.new_generation);
}

struct slab {
  word page;
  word free;
  word remote;
  word hint;
  word fences_needed;

  void begin(std::uint64_t owner, std::uint64_t free_bits) {
    page.init(slab_word(1, owner));
    free.init(free_bits);
    for (word* w : {&remote, &hint, &fences_needed}) w->init(0);
  }
};

// Who has which block, kept in step with the commits: an operation and what the model notes after it
// happen without a switch in between.
struct ledger {
  bool used[blocks];
  bytes content[blocks];

  void begin(std::uint64_t free_bits) {
    for (unsigned b = 0; b < blocks; ++b) {
      used[b] = (free_bits >> b & 1) == 0;
      content[b].init();
    }
  }
  void issue(unsigned b, const place& p = place::current()) {
    require(!used[b], "a block was issued twice", p);
    used[b] = true;
  }
  void give_back(unsigned b) { used[b] = false; }
  // When all is quiet: free in the bitmaps exactly if free here.
  void check(const slab& s) const {
    const std::uint64_t bits = s.free.last() | s.remote.last();
    for (unsigned b = 0; b < blocks; ++b) {
      require(!(used[b] && (bits >> b & 1) != 0), "a block in use is marked free");
      require(used[b] || (bits >> b & 1) != 0, "a free block was lost");
    }
  }
};

struct handle {
  word control;  // generation << 1 | used
  word busy;
  word revocations;
  word acknowledged;
  word self_fencing;
  word link_state;
  word link_block;
  word link_at;

  void begin(bool used) {
    control.init(used ? 3 : 0);
    for (word* w :
         {&busy, &revocations, &acknowledged, &self_fencing, &link_state, &link_block, &link_at})
      w->init(0);
  }
};

constexpr std::uint64_t busy_with_nothing = 0;
constexpr std::uint64_t busy_with_everything = 1;
constexpr std::uint64_t busy_with_the_slab = 2;
constexpr std::uint64_t busy_elsewhere = 3;
constexpr std::uint64_t never = ~std::uint64_t{0};

// A thread's private side.
struct cache {
  handle* shared = nullptr;
  std::uint64_t owner = 0;
  std::uint64_t seen = 0;
  bool heavy = false;  // its process enrolled for heavy fences, and issues them
  bool self_fencing = false;
  bool owns = false;  // the slab is in its list
  bool bin = false;   // its bin points at the slab's word

  [[nodiscard]] std::uint64_t enter_if() const {
    return self_fencing && protocol.demand_is_obeyed ? never : seen;
  }
  // At an iteration's begin.
  void begin(handle& h, unsigned i, bool heavy_fences) {
    *this = {};
    shared = &h;
    owner = i + 1;
    heavy = heavy_fences;
    now.enrolled[i] = heavy;
    h.begin(true);
    self_fencing = !heavy || rl::rand(4) == 0;
    h.self_fencing.init(self_fencing ? 1 : 0);
  }
};

// ---- slabs.cpp ----

// Links: settle_links; other models have nothing in flight.
inline std::uint64_t (*settle)(std::uint64_t bits) = nullptr;

inline void merge(slab& s) {
  if (s.remote.load(relaxed) == 0) return;
  std::uint64_t freed = s.remote.load(protocol.merge_reads_remote);
  if (settle != nullptr) freed = settle(freed);
  const auto take_away = [&] {
    if (protocol.merge_forgets_what_came)
      s.remote.store(0, release);
    else
      s.remote.fetch_and(~freed, protocol.merge_takes_away);
  };
  if (protocol.merge_clears_first) take_away();
  const std::uint64_t before = s.free.load(relaxed);
  s.free.store(before | freed, release);
  if (!protocol.merge_clears_first) take_away();
}

[[nodiscard]] inline bool any_free(const slab& s) {
  return (s.free.load(relaxed) | s.remote.load(protocol.remote_seen)) != 0;
}

// Between giving a slab up, or clearing the hint, and what makes up for it: killed there, an orphan may
// stay without a hint (it is found before anybody runs out of memory).
inline bool hint_may_be_lost = false;
struct unsetting_hint {
  unsetting_hint() {}
  ~unsetting_hint() {
    if (std::uncaught_exceptions() != 0) hint_may_be_lost = true;
  }
};

inline void hint_orphan(slab& s) {
  if (s.hint.load(protocol.hint_looks) == 0) s.hint.fetch_or(1, relaxed);
}

inline void disown(slab& s, std::uint64_t seen) {
  std::uint64_t expected = seen;
  if (!s.page.compare_exchange(expected, passed_on(seen, 0), protocol.disown_order)) return;
  const unsetting_hint open;
  if (protocol.disown_looks_again && any_free(s)) hint_orphan(s);
}

// Whether it adopted the slab; it is merged then.
inline bool adopt_orphan(slab& s, cache& c, bool despite_hints) {
  const auto clear_hint = [&] { s.hint.fetch_and(0, protocol.hint_clears); };
  const bool hinted = s.hint.load(relaxed) != 0;
  const unsetting_hint open;
  if (!hinted && !despite_hints) return false;
  if (hinted && protocol.hint_cleared_first) clear_hint();
  std::uint64_t word = s.page.load(protocol.adopt_reads);
  const bool wanted = is_slab(word) && owner_of(word) == 0 && any_free(s);
  if (hinted && !protocol.hint_cleared_first) clear_hint();
  if (!wanted) return false;
  const std::uint64_t mine = passed_on(word, c.owner);
  if (protocol.adopt_by_exchange) {
    if (!s.page.compare_exchange(word, mine, protocol.adopt_order)) return false;
  } else {
    s.page.store(mine, release);
  }
  c.owns = true;
  merge(s);
  return true;
}

// ---- the critical section: cache.cpp ----

inline void leave(cache& c) {
  c.shared->busy.store(busy_with_nothing, protocol.leave_order);
}

inline void choose_entry(slab& s, cache& c) {
  if (!c.heavy || s.fences_needed.load(seq_cst) != 0) {
    c.self_fencing = true;
    c.shared->self_fencing.store(1, release);
  }
}

inline void acknowledge(slab& s, cache& c) {
  const std::uint64_t raised = c.shared->revocations.load(acquire);
  if (c.owns && protocol.acknowledge_renews) {
    std::uint64_t word = s.page.load(acquire);
    c.owns = is_slab(word) && owner_of(word) == c.owner &&
             s.page.compare_exchange(word, passed_on(word, c.owner), acq_rel);
  }
  if (protocol.acknowledge_empties_bins) c.bin = false;
  c.seen = raised;
  c.shared->acknowledged.store(raised, protocol.acknowledge_order);
  choose_entry(s, c);
}

inline void enter(slab& s, cache& c) {
  for (;;) {
    std::uint64_t seen = 0;
    if (c.self_fencing && protocol.self_fencing_exchanges) {
      c.shared->busy.exchange(busy_with_everything, seq_cst);
      seen = c.shared->revocations.load(seq_cst);
    } else {
      c.shared->busy.store(busy_with_everything, relaxed);
      seen = c.shared->revocations.load(relaxed);
    }
    if (seen == c.seen) return;
    if (!protocol.acknowledge_is_busy) leave(c);
    acknowledge(s, c);
  }
}

// ---- allocate.cpp ----

// In the critical section, owning the slab: takes a block if there is one, and uses it.
inline int take_block(slab& s, ledger& l) {
  const std::uint64_t free = s.free.load(relaxed);
  if (free == 0) return -1;
  const int b = __builtin_ctzll(free);
  s.free.store(free & (free - 1), relaxed);
  l.issue(static_cast<unsigned>(b));
  return b;
}

inline bool enter_at(cache& c, std::uint64_t what) {
  c.shared->busy.store(what, relaxed);
  return c.shared->revocations.load(relaxed) == c.enter_if();
}

inline bool still_owned(slab& s, cache& c) {
  if (!c.owns) return false;
  const std::uint64_t word = s.page.load(acquire);
  if (is_slab(word) && owner_of(word) == c.owner) return true;
  c.owns = false;
  c.bin = false;
  return false;
}

inline int slow_allocate(slab& s, cache& c, ledger& l) {
  enter(s, c);
  int b = -1;
  if (c.bin) b = take_block(s, l);
  if (b < 0 && still_owned(s, c)) {
    merge(s);
    c.bin = true;
    b = take_block(s, l);
  }
  if (b < 0 && !c.owns && adopt_orphan(s, c, true)) {
    c.bin = true;
    b = take_block(s, l);
    if (b >= 0) s.hint.fetch_or(1, relaxed);  // there may be more
  }
  leave(c);
  if (b >= 0) l.content[b].use();
  return b;
}

inline int allocate(slab& s, cache& c, ledger& l) {
  int b = -1;
  if (enter_at(c, c.bin ? busy_with_the_slab : busy_elsewhere) && c.bin) b = take_block(s, l);
  leave(c);
  if (b < 0) return slow_allocate(s, c, l);
  l.content[b].use();
  return b;
}

// The run is held by the caller, its bits are set.
inline void make_slab(slab& s, cache& c) {
  if (!protocol.made_slab_listed_inside) c.owns = true;
  enter(s, c);
  if (protocol.made_slab_listed_inside) c.owns = true;
  s.page.store(slab_word(1, c.owner), release);
  c.bin = true;
  leave(c);
}

inline void free_elsewhere(slab& s, ledger& l, unsigned b) {
  require((s.free.load(relaxed) >> b & 1) == 0, "a block in use looks free to who has it");
  const std::uint64_t before = s.remote.fetch_or(std::uint64_t{1} << b, protocol.remote_free_order);
  require((before >> b & 1) == 0, "a block in use was freed by another");
  l.give_back(b);
  if (!protocol.remote_free_looks_again) return;
  const std::uint64_t word = s.page.load(protocol.remote_free_looks);
  if (is_slab(word) && owner_of(word) == 0) hint_orphan(s);
}

inline void free_block(slab& s, cache& c, ledger& l, unsigned b) {
  l.content[b].use();
  const std::uint64_t bit = std::uint64_t{1} << b;
  const auto commit = [&] {
    const std::uint64_t before = s.free.load(relaxed);
    const std::uint64_t freed = s.remote.load(relaxed);
    require(((before | freed) & bit) == 0, "a block in use looks free to its owner");
    s.free.store(before | bit, relaxed);
    l.give_back(b);
  };
  if (owner_of(s.page.load(relaxed)) != c.owner) return free_elsewhere(s, l, b);
  if (enter_at(c, busy_with_the_slab)) {
    commit();
    leave(c);
    return;
  }
  leave(c);
  enter(s, c);
  const std::uint64_t word = s.page.load(acquire);
  const bool mine = is_slab(word) && owner_of(word) == c.owner;
  if (mine) commit();
  leave(c);
  if (!mine) free_elsewhere(s, l, b);
}

// close_cache without dissolving, then the handle is free for another.
inline void give_up_slab(slab& s, cache& c) {
  if (!c.owns) return;
  enter(s, c);
  c.bin = false;
  if (c.owns) {
    c.owns = false;
    const std::uint64_t word = s.page.load(acquire);
    if (is_slab(word) && owner_of(word) == c.owner) {
      merge(s);
      disown(s, word);
    }
  }
  leave(c);
}

// ---- recovery.cpp: by the undertaker, after the death; may be killed and begun again anywhere ----

// Links: resolve_link; other models have nothing under way.
inline void (*resolve)(slab& s, ledger& l, handle& of) = nullptr;

inline void recover(slab& s, ledger& l, handle& of, std::uint64_t owner) {
  if (protocol.undertaker_busy) of.busy.store(busy_with_everything, seq_cst);
  if (resolve != nullptr) resolve(s, l, of);
  std::uint64_t word = s.page.load(acquire);
  if (!is_slab(word) || owner_of(word) != owner) return;
  const std::uint64_t renewed = protocol.undertaker_renews ? passed_on(word, owner) : word;
  if (protocol.undertaker_by_exchange) {
    if (!s.page.compare_exchange(word, renewed, acq_rel)) return;
  } else {
    s.page.store(renewed, release);
  }
  merge(s);
  if (s.free.load(relaxed) == all_blocks)
    s.page.store(pending_kind, release);
  else
    disown(s, renewed);
}

// free_handle: zeroed words, then the slot is anybody's.
inline void release_handle(handle& h) {
  for (word* w : {&h.busy, &h.revocations, &h.acknowledged, &h.self_fencing, &h.link_state,
                  &h.link_block, &h.link_at})
    w->store(0, relaxed);
  h.control.store(h.control.last() & ~std::uint64_t{1}, release);
}

// acquire_handle and make_cache: a new cache in the same slot.
inline void acquire_handle(slab& s, cache& c) {
  std::uint64_t seen = c.shared->control.load(relaxed);
  c.shared->control.compare_exchange(seen, seen + 3, acq_rel);
  cache fresh;
  fresh.shared = c.shared;
  fresh.owner = c.owner;
  fresh.heavy = c.heavy;
  c = fresh;
  full_fence();
  choose_entry(s, c);
}

// ---- harvest.cpp ----

// Takes the slab from whichever of the others owns it. Whether it did; it is merged then.
template <std::size_t n>
bool harvest(slab& s, cache& c, handle (&handles)[n]) {
  std::uint64_t raised[n] = {};
  std::uint64_t control[n] = {};
  for (std::size_t v = 0; v < n; ++v) {
    if (v + 1 == c.owner) continue;
    control[v] = handles[v].control.load(acquire);
    if ((control[v] & 1) == 0) continue;
    if (!c.heavy && protocol.thief_heeds_self_fencing &&
        handles[v].self_fencing.load(acquire) == 0) {
      s.fences_needed.store(1, seq_cst);  // demand_fences
      for (handle& h : handles)
        if ((h.control.load(acquire) & 1) != 0) h.revocations.fetch_add(1, seq_cst);
      continue;
    }
    raised[v] = handles[v].revocations.fetch_add(1, seq_cst) + 1;
  }
  if (c.heavy && protocol.thief_fences) heavy_fence();
  std::uint64_t word = 0;
  std::size_t v = n;
  std::uint64_t busy = 0;
  std::uint64_t acknowledged = 0;
  const auto read_word = [&] {
    word = s.page.load(acquire);
    if (!is_slab(word) || owner_of(word) == 0 || owner_of(word) == c.owner ||
        raised[owner_of(word) - 1] == 0 || !any_free(s))
      return false;
    v = owner_of(word) - 1;
    return true;
  };
  if (protocol.words_before_busy) {
    if (!read_word()) return false;
    busy = handles[v].busy.load(seq_cst);
    acknowledged = handles[v].acknowledged.load(seq_cst);
  } else {  // the owner that it would have found
    const std::uint64_t owner = owner_of(s.page.load(relaxed));
    if (owner == 0 || owner == c.owner) return false;
    busy = handles[owner - 1].busy.load(seq_cst);
    acknowledged = handles[owner - 1].acknowledged.load(seq_cst);
    if (!read_word() || owner != owner_of(word)) return false;
  }
  if (protocol.thief_heeds_acknowledged && acknowledged >= raised[v]) return false;
  if (protocol.thief_heeds_busy && (busy == busy_with_everything || busy == busy_with_the_slab))
    return false;
  // The handle may have passed on since its revocations were raised, with words that begin at zero:
  // then the word read is its new owner's, who was asked nothing.
  if (protocol.thief_checks_handle && handles[v].control.load(acquire) != control[v]) return false;
  const std::uint64_t mine = passed_on(word, c.owner);
  std::uint64_t expected = word;
  const bool taken = s.page.compare_exchange(expected, mine, protocol.steal_order);
  if (protocol.thief_lowers) handles[v].revocations.fetch_add(~std::uint64_t{0}, seq_cst);
  if (!taken) return false;
  enter(s, c);
  bool got = true;
  if (protocol.stolen_renewed) {
    expected = mine;
    got = s.page.compare_exchange(expected, passed_on(mine, c.owner), acq_rel);
  }
  if (got) {
    merge(s);
    c.owns = true;
  }
  leave(c);
  return got;
}

}  // namespace model
