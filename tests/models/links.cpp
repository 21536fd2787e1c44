// Model: allocate_to and free_from (impl/malloc/links.cpp), with deaths.
//
// Modelled. P does one of these, is killed before any of its steps, and gets an undertaker, which is
// killed as well, and another:
//   allocating   P owns the slab, allocates a block to the link, in its critical section; C, who
//                watches the link, takes the block by free_from while P may still be in the middle (M9)
//   freeing      M owns the slab, the link holds a block; P does free_from; when P is dead, C, who
//                inherits the right to the link, does free_from too, before, during or after the
//                undertaker's work
// P's handle may pass on to another, who allocates to another link, and may be killed.
// M merges the slab whenever it is its own (it harvests, adopts or owns it) and allocates and frees, so
// that a block which becomes free is soon somebody's again.
// Abstracted. The links' memory stays; the retiring walk looks at the handles of P and C; large
// blocks (the same with the page word instead of the bit, under the run lock).
//
// Invariants. A linked block is in use; nobody frees a block that was issued anew since; what is
// neither linked nor held by M is free when all is quiet (nothing lost, whoever dies).
#include "slab.hpp"

using namespace model;

namespace {

enum phase : std::uint64_t { none, allocating, freeing, done, resolving };

struct link_choices {
  bool mergers_settle = true;
  bool mergers_respect_resolving = true;
  bool takers_retire_allocations = true;
  bool takers_retire_frees = true;
  bool undertaker_exchanges = true;
  bool resolving_is_resumed = true;
  bool over_after_freeing = true;
  bool announce_first = true;        // before the block is committed (allocate_to)
  bool announce_before_link = true;  // (free_from)
  bool link_before_bit = true;
  bool in_flight_until_over = true;
  order announce_order = release;
  order set_link_order = release;
  bool sequence_goes_on = true;  // when a handle passes on to another
};
link_choices choices;

constexpr std::uint64_t phase_of(std::uint64_t state) {
  return state & 0xff;
}
constexpr std::uint64_t with_phase(std::uint64_t state, std::uint64_t p) {
  return (state & ~std::uint64_t{0xff}) | p;
}

struct linking;
linking* self = nullptr;

struct linking : rl::test_suite<linking, 3> {
  slab s;
  ledger l;
  handle handles[3];
  cache caches[3];
  word link;  // block + 1; 0: null
  word other_link;
  word in_flight;
  word inherited;  // P's death was seen by whoever inherits its link
  bool frees;
  // What the model knows: how often a block was issued, and for which time an operation is.
  unsigned times[blocks];
  unsigned linked_time;
  unsigned op_time[3];
  bool held_by_m[blocks];
  bool over;    // P is dead, or done
  bool buried;  // and its undertaker is
  bool m_done;
  bool second_under_way;  // the operation of who has P's handle next

  void before() {
    begin_iteration();
    self = this;
    settle = [](std::uint64_t bits) { return self->settle_links(bits); };
    resolve = [](slab&, ledger&, handle& of) { self->resolve_link(of); };
    const unsigned heavy = rl::rand(3);  // 0: nobody has heavy fences, 1: some, 2: all
    frees = rl::rand(2) != 0;
    s.begin(frees ? 3 : 1, frees ? 4 : 3);  // 2 or fewer free ones: they are soon used again
    l.begin(frees ? 4 : 3);
    link.init(frees ? 1 : 0);
    other_link.init(0);
    in_flight.init(0);
    inherited.init(0);
    linked_time = 0;
    over = false;
    buried = false;
    m_done = false;
    second_under_way = false;
    for (unsigned b = 0; b < blocks; ++b) {
      times[b] = 0;
      held_by_m[b] = false;
    }
    if (frees) held_by_m[1] = true;  // somebody's, for good
    if (!frees) held_by_m[2] = true;
    for (unsigned i = 0; i < 3; ++i) {
      op_time[i] = 0;
      caches[i].begin(handles[i], i, heavy == 2 || (heavy == 1 && rl::rand(2) != 0));
    }
    caches[frees ? 2 : 0].owns = true;
  }

  // ---- links.cpp ----

  std::uint64_t settle_links(std::uint64_t bits) {
    if (!choices.mergers_settle || in_flight.load(acquire) == 0) return bits;
    for (unsigned i = 0; i < 2; ++i) {
      handle& h = handles[i];
      if ((h.control.load(acquire) & 1) == 0) continue;
      std::uint64_t state = h.link_state.load(acquire);
      for (;;) {
        const std::uint64_t p = phase_of(state);
        if (p != freeing && p != resolving) break;
        const std::uint64_t bit = std::uint64_t{1} << h.link_block.load(relaxed);
        if ((bits & bit) == 0) break;
        if (p == resolving) {
          if (choices.mergers_respect_resolving) bits &= ~bit;
          break;
        }
        if (h.link_state.compare_exchange(state, with_phase(state, done), acq_rel)) break;
      }
    }
    return bits;
  }

  // Whoever is about to change the link: what others have under way for it took effect, or did not
  // begin to.
  void retire(std::uint64_t held) {
    for (unsigned i = 0; i < 2; ++i) {
      handle& h = handles[i];
      if ((h.control.load(acquire) & 1) == 0) continue;
      std::uint64_t state = h.link_state.load(acquire);
      for (;;) {
        const std::uint64_t p = phase_of(state);
        const bool retired = (p == allocating && choices.takers_retire_allocations) ||
                             (p == freeing && choices.takers_retire_frees);
        if (!retired || h.link_at.load(relaxed) != 1) break;
        if (p == freeing && h.link_block.load(relaxed) + 1 != held) break;
        if (rl::rand(4) == 0) wait_until([&] { return second_under_way; });  // sleeps here
        if (h.link_state.compare_exchange(state, with_phase(state, done), acq_rel)) break;
      }
    }
  }

  void announce(handle& h, std::uint64_t state, std::uint64_t block, std::uint64_t at = 1) {
    h.link_at.store(at, relaxed);
    h.link_block.store(block, relaxed);
    h.link_state.store(state, choices.announce_order);
  }

  void give_back(std::uint64_t block, unsigned time) {
    require(times[block] == time, "a block was freed that had been issued anew");
    l.used[block] = false;
  }

  void allocate_linked(unsigned i, word& to) {
    cache& c = caches[i];
    handle& h = *c.shared;
    enter(s, c);
    if (!still_owned(s, c)) adopt_orphan(s, c, true);
    if (!c.owns || s.free.load(relaxed) == 0) return leave(c);
    const std::uint64_t free = s.free.load(relaxed);
    const auto b = static_cast<unsigned>(__builtin_ctzll(free));
    const std::uint64_t state =
        with_phase((h.link_state.load(relaxed) & ~std::uint64_t{0xff}) + 0x100, allocating);
    if (choices.announce_first) {
      op_time[i] = times[b] + 1;
      announce(h, state, b, &to == &link ? 1 : 2);
      second_under_way = &to == &other_link;
    }
    s.free.store(free & (free - 1), release);
    l.issue(b);
    ++times[b];
    if (!choices.announce_first) {
      op_time[i] = times[b];
      announce(h, state, b, &to == &link ? 1 : 2);
    }
    if (&to == &link) linked_time = times[b];
    to.store(b + 1, choices.set_link_order);
    h.link_state.store(with_phase(state, none), release);
    leave(c);
  }

  void free_linked(unsigned i) {
    handle& h = *caches[i].shared;
    const std::uint64_t held = link.load(acquire);
    if (held == 0) return;
    const std::uint64_t b = held - 1;
    const unsigned time = linked_time;
    require(l.used[b] && times[b] == time, "a linked block is not in use");
    retire(held);
    in_flight.fetch_add(1, seq_cst);
    const std::uint64_t state =
        with_phase((h.link_state.load(relaxed) & ~std::uint64_t{0xff}) + 0x100, freeing);
    op_time[i] = time;
    if (choices.announce_before_link) announce(h, state, b);
    if (choices.link_before_bit) link.store(0, release);
    if (!choices.announce_before_link) announce(h, state, b);
    if (i == 1 && rl::rand(4) == 0) wait_until([&] { return m_done; });  // sleeps between 2 and 3
    if (!choices.in_flight_until_over) in_flight.fetch_add(~std::uint64_t{0}, relaxed);
    const std::uint64_t before = s.remote.fetch_or(std::uint64_t{1} << b, seq_cst);
    require((before >> b & 1) == 0, "a block in use looks free to who takes it");
    give_back(b, time);
    if (!choices.link_before_bit) link.store(0, release);
    h.link_state.store(with_phase(state, none), release);
    if (choices.in_flight_until_over) in_flight.fetch_add(~std::uint64_t{0}, relaxed);
    const std::uint64_t word = s.page.load(seq_cst);
    if (is_slab(word) && owner_of(word) == 0) hint_orphan(s);
  }

  // The undertaker's.
  void resolve_link(handle& h) {
    std::uint64_t state = h.link_state.load(acquire);
    const std::uint64_t b = h.link_block.load(relaxed);
    const unsigned time = op_time[&h - handles];
    const std::uint64_t p = phase_of(state);
    if (p == allocating || p == freeing) {
      const word& of = h.link_at.load(relaxed) == 1 ? link : other_link;
      const bool holds = of.load(acquire) == b + 1;
      const std::uint64_t next = holds ? done : resolving;
      if (!choices.undertaker_exchanges) {
        state = with_phase(state, next);
        h.link_state.store(state, release);
      } else if (h.link_state.compare_exchange(state, with_phase(state, next), acq_rel)) {
        state = with_phase(state, next);
      }
    } else if (p == resolving && !choices.resolving_is_resumed) {
      state = with_phase(state, done);
    }
    if (!choices.over_after_freeing) h.link_state.store(0, release);
    if (phase_of(state) == resolving && (s.free.load(acquire) >> b & 1) == 0) {
      s.remote.fetch_or(std::uint64_t{1} << b, seq_cst);
      give_back(b, time);
    }
    h.link_state.store(0, release);
  }

  // ---- the threads ----

  void bury() {
    if (!mortal(12, [&] { recover(s, l, handles[0], 1); })) recover(s, l, handles[0], 1);
    release_handle(handles[0]);
  }

  void thread(unsigned i) {
    begin_thread(i);
    cache& c = caches[i];
    if (i == 0) {
      const bool lives = mortal(frees ? 16 : 18, [&] {
        if (frees)
          free_linked(0);
        else
          allocate_linked(0, link);
      });
      over = true;
      inherited.store(1, release);
      if (!lives) {
        bury();
        buried = true;
        if (frees || rl::rand(2) != 0) return;
        acquire_handle(s, c);
        if (choices.sequence_goes_on)  // by the handle's generation
          handles[0].link_state.store(handles[0].control.last() << 32, release);
        if (!mortal(24, [&] { allocate_linked(0, other_link); })) bury();
      }
      buried = true;
    } else if (i == 1) {
      if (rl::rand(2) != 0) wait_until([&] { return over || (!frees && link.last() != 0); });
      for (int tries = 0; tries < 2; ++tries) {
        if (frees && inherited.load(acquire) == 0) continue;
        free_linked(1);
        if (frees) return;
      }
    } else {
      const unsigned begins = rl::rand(4);
      if (begins >= 2) wait_until([&] { return begins == 2 ? over : buried; });
      for (int turn = 0; turn < 3; ++turn) {
        if (!c.owns) harvest(s, c, handles);
        const int b = slow_allocate(s, c, l);
        if (b < 0) continue;
        ++times[b];
        if (rl::rand(2) != 0)
          free_block(s, c, l, static_cast<unsigned>(b));
        else
          held_by_m[b] = true;
      }
      m_done = true;
    }
  }

  void after() {
    const std::uint64_t bits = s.free.last() | s.remote.last();
    const std::uint64_t held = link.last();
    const std::uint64_t other = other_link.last();
    for (unsigned b = 0; b < blocks; ++b) {
      const bool is_free = (bits >> b & 1) != 0;
      const bool is_linked = held == b + 1 || other == b + 1;
      const bool is_held = held_by_m[b] || is_linked;
      require(!(is_linked && held_by_m[b]), "a linked block is another's too");
      require(held == 0 || held != other, "two links hold one block");
      require(!(is_held && is_free), "a block that is linked or held is marked free");
      require(is_held || is_free, "a block was lost");
    }
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"mergers do not settle links", [] { choices.mergers_settle = false; }},
    {"mergers take bits that are being resolved",
     [] { choices.mergers_respect_resolving = false; }},
    {"takers do not retire allocations (M9)", [] { choices.takers_retire_allocations = false; }},
    {"the undertaker stores its decision", [] { choices.undertaker_exchanges = false; }},
    {"the next undertaker does not resume", [] { choices.resolving_is_resumed = false; }},
    {"the undertaker says over before it frees", [] { choices.over_after_freeing = false; }},
    {"allocate_to announces after the commit", [] { choices.announce_first = false; }},
    {"free_from announces after it cleared the link", [] { choices.announce_before_link = false; }},
    {"free_from frees before it clears the link", [] { choices.link_before_bit = false; }},
    {"free_from is not in flight any more when it frees",
     [] { choices.in_flight_until_over = false; }},
    {"the announcement is relaxed, and the link's store",
     [] {
       choices.announce_order = relaxed;
       choices.set_link_order = relaxed;
     }},
    {"sequences begin at 0 in the next owner's handle (once so written)",
     [] { choices.sequence_goes_on = false; }},
    {"takers do not retire frees (once so written)", [] { choices.takers_retire_frees = false; }},
};

}  // namespace

int main(int argc, char** argv) {
  weaken_hints();
  return run_model<linking>(argc, argv, mutations);
}
