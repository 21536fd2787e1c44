// Model: what an undertaker does with the slab of a dead owner (impl/malloc/recovery.cpp), while thieves
// and strangers go on.
//
// Modelled. V allocates, frees, gives its slab up, and is killed before any of its steps. Its
// undertaker sets busy = everything, renews the slab's generation, merges, and makes it nobody's or
// pending; it is killed as well, before any of its steps, and another begins again. At last the handle
// is released, with zeroed words, and acquired by a new thread, which allocates. A thief harvests from V
// before, during and after that, and allocates. A stranger frees a block of V's slab by the remote bits
// and then adopts or allocates what it can.
// Abstracted. The run lock and the exclusion of undertakers: one after another, as the participant
// table guarantees. Blocks of the dead stay in use.
//
// Invariants. No block is issued twice, none is lost but those that the dead had (a block whose commit
// was not made is free); a block's last use comes before its next; an orphan with a free block has its
// hint unless somebody was killed on the way to set it.
#include "slab.hpp"

using namespace model;

namespace {

struct recovering : rl::test_suite<recovering, 3> {
  slab s;
  ledger l;
  handle handles[3];
  cache caches[3];
  bool hints_matter;  // else their orders must not help

  void before() {
    begin_iteration();
    hint_may_be_lost = false;
    hints_matter = rl::rand(2) != 0;
    protocol.hint_looks = protocol.hint_clears = hints_matter ? seq_cst : relaxed;
    protocol.adopt_reads = hints_matter ? seq_cst : acquire;
    const unsigned heavy = rl::rand(3);  // 0: nobody has heavy fences, 1: some, 2: all
    s.begin(1, 1);                       // block 1 is the stranger's, block 2 is V's
    l.begin(1);
    for (unsigned i = 0; i < 3; ++i) {
      caches[i].begin(handles[i], i, heavy == 2 || (heavy == 1 && rl::rand(2) != 0));
    }
    caches[0].owns = true;
    caches[0].bin = true;
  }

  void live(cache& c) {
    const unsigned what = rl::rand(4);
    if (what != 0) free_block(s, c, l, 2);
    if (what != 1) allocate(s, c, l);
    if (what == 2) slow_allocate(s, c, l);
    if (what == 3) give_up_slab(s, c);
  }

  void thread(unsigned i) {
    begin_thread(i);
    cache& c = caches[i];
    if (i == 0) {
      if (mortal(24, [&] { live(c); })) return;
      if (!mortal(12, [&] { recover(s, l, *c.shared, c.owner); }))
        recover(s, l, *c.shared, c.owner);
      release_handle(*c.shared);
      if (rl::rand(2) != 0) return;
      acquire_handle(s, c);
      slow_allocate(s, c, l);
      allocate(s, c, l);
    } else if (i == 1) {
      if (!harvest(s, c, handles) && rl::rand(2) != 0) return;
      allocate(s, c, l);
      if (rl::rand(2) != 0) allocate(s, c, l);
    } else {
      l.content[1].use();
      free_elsewhere(s, l, 1);
      if (rl::rand(2) != 0) slow_allocate(s, c, l);
    }
  }

  void after() {
    l.check(s);
    const std::uint64_t word = s.page.last();
    if (is_slab(word) && owner_of(word) == 0 && (s.free.last() | s.remote.last()) != 0 &&
        !hint_may_be_lost && hints_matter)
      require(s.hint.last() != 0, "an orphan with a free block has no hint");
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"the undertaker does not set busy", [] { protocol.undertaker_busy = false; }},
    {"the undertaker makes no new generation", [] { protocol.undertaker_renews = false; }},
    {"the undertaker stores instead of exchanging (M3)",
     [] { protocol.undertaker_by_exchange = false; }},
    {"merge takes away before it gives (killed between)",
     [] { protocol.merge_clears_first = true; }},
    {"merge stores 0 to remote", [] { protocol.merge_forgets_what_came = true; }},
    {"disown does not look at the bits again (M14)", [] { protocol.disown_looks_again = false; }},
    {"the thief reads the words after busy", [] { protocol.words_before_busy = false; }},
    {"the thief issues no heavy fence", [] { protocol.thief_fences = false; }},
    {"the thief does not look at busy", [] { protocol.thief_heeds_busy = false; }},
    {"busy = 0 is relaxed", [] { protocol.leave_order = relaxed; }},
    {"the thief does not look at the handle again (once so written)",
     [] { protocol.thief_checks_handle = false; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<recovering>(argc, argv, mutations);
}
