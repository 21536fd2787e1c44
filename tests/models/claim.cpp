// Model: claiming and giving up a slab (impl/malloc/slabs.cpp, free_elsewhere of allocate.cpp).
//
// Modelled. An owner frees a block of its own, merges and disowns its slab. A stranger frees a block of
// it by the remote bits and looks at the owner. Two adopters look for an orphan by the hint, or despite
// it; whoever gets the slab merges, allocates, gives it up again, and frees what it allocated as a
// stranger. So a slab has up to three owners one after another, with others' frees at any time.
// Abstracted. The critical section (harvest.cpp has it: here nobody steals); dissolving.
//
// Invariants. No block is issued twice, none is lost (a bit may be set in both words); a block's last
// use comes before its next (plain memory, a race is reported); when all is quiet, an orphan with a
// free block has its hint (M14).
#include "slab.hpp"

using namespace model;

namespace {

struct claim : rl::test_suite<claim, 4> {
  slab s;
  ledger l;
  cache caches[4];

  void before() {
    begin_iteration();
    s.begin(1, 4);  // block 2 free; 0: the stranger's, 1: the owner's
    l.begin(4);
    for (unsigned i = 0; i < 4; ++i) {
      caches[i] = {};
      caches[i].owner = i + 1;
    }
    caches[0].owns = true;
  }

  void give_up(cache& c) {
    if (!c.owns) return;
    c.owns = false;
    const std::uint64_t word = s.page.load(acquire);
    require(owner_of(word) == c.owner, "a slab lost its owner without a thief");
    merge(s);
    disown(s, word);
  }

  void thread(unsigned i) {
    begin_thread(i);
    cache& c = caches[i];
    if (i == 0) {
      if (rl::rand(2) != 0) {
        l.content[1].use();
        const std::uint64_t before = s.free.load(relaxed);
        s.free.store(before | 2, relaxed);
        l.give_back(1);
      }
      give_up(c);
    } else if (i == 1) {
      l.content[0].use();
      free_elsewhere(s, l, 0);
    } else {
      for (int tries = 0; tries < 2; ++tries) {
        if (!adopt_orphan(s, c, rl::rand(2) != 0)) continue;
        const int b = take_block(s, l);
        if (b >= 0) l.content[b].use();
        if (b >= 0) s.hint.fetch_or(1, relaxed);  // there may be more
        give_up(c);
        if (b < 0 || rl::rand(2) == 0) continue;
        l.content[b].use();
        free_elsewhere(s, l, static_cast<unsigned>(b));
      }
    }
  }

  void after() {
    l.check(s);
    if (owner_of(s.page.last()) == 0 && (s.free.last() | s.remote.last()) != 0)
      require(s.hint.last() != 0, "an orphan with a free block has no hint");
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"remote free does not look at the owner again",
     [] { protocol.remote_free_looks_again = false; }},
    {"disown does not look at the bits again", [] { protocol.disown_looks_again = false; }},
    {"disown stores acq_rel, looks relaxed",
     [] {
       protocol.disown_order = acq_rel;
       protocol.remote_seen = relaxed;
     }},
    {"remote free ORs release, looks at the owner acquire",
     [] {
       protocol.remote_free_order = release;
       protocol.remote_free_looks = acquire;
     }},
    {"remote free looks at the owner relaxed", [] { protocol.remote_free_looks = relaxed; }},
    {"merge stores 0 to remote", [] { protocol.merge_forgets_what_came = true; }},
    {"merge reads remote relaxed, takes away release",
     [] {
       protocol.merge_reads_remote = relaxed;
       protocol.merge_takes_away = release;
     }},
    {"remote free ORs relaxed", [] { protocol.remote_free_order = relaxed; }},
    {"adoption is a store", [] { protocol.adopt_by_exchange = false; }},
    {"adoption does not acquire",
     [] {
       protocol.adopt_reads = relaxed;
       protocol.adopt_order = release;
     }},
    {"hint cleared after looking", [] { protocol.hint_cleared_first = false; }},
    {"hint looked at relaxed", [] { protocol.hint_looks = relaxed; }},
    {"hint cleared relaxed", [] { protocol.hint_clears = relaxed; }},
    {"the adopter reads the page word acquire", [] { protocol.adopt_reads = acquire; }},
    {"hints without seq_cst (once so written)", weaken_hints},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<claim>(argc, argv, mutations);
}
