// Model: harvesting from living owners (impl/malloc/harvest.cpp, the critical section of cache.cpp and
// allocate.cpp).
//
// Modelled. V owns the slab and allocates and frees through the fast path without fences, or, if it
// fences itself, through the slow one; when its revocations changed it acknowledges with new
// generations. T1 and T2 harvest from V and from each other, in the full order of steps 1 to 5, renew
// what they took after entering, and then allocate through the same paths, V again among their
// thieves' victims. In some runs V gives its slab and its handle up and takes both again (a thread ends,
// another begins in the same handle slot, whose words begin at zero).
// In some runs V begins with a held run and makes the slab of it, with thieves about.
// Heavy fences: see model.hpp. All, some or none of the three have them; who has none fences itself, some
// of the others do too, and the rest begin to when a thief without heavy fences demands it.
// Abstracted. Dissolving of empty slabs; several slabs: `busy` names this slab or another place.
//
// Invariants. No block is issued twice, none is lost; a block's last use comes before its next; whoever
// owns the slab by its word has it in its private list (or nobody would give it up again).
#include "slab.hpp"

using namespace model;

namespace {

struct harvesting : rl::test_suite<harvesting, 3> {
  slab s;
  ledger l;
  handle handles[3];
  cache caches[3];
  bool makes;  // V begins with a held run, and makes a slab of it

  void before() {
    begin_iteration();
    const unsigned heavy = rl::rand(3);  // 0: nobody has heavy fences, 1: some, 2: all
    s.begin(1, 3);                       // block 2 is V's
    l.begin(3);
    for (unsigned i = 0; i < 3; ++i) {
      caches[i].begin(handles[i], i, heavy == 2 || (heavy == 1 && rl::rand(2) != 0));
    }
    makes = rl::rand(3) == 0;
    if (makes) s.page.init(std::uint64_t{1} << 32 | held_kind);
    caches[0].owns = caches[0].bin = !makes;
  }

  void thread(unsigned i) {
    begin_thread(i);
    cache& c = caches[i];
    if (i == 0) {
      if (makes) make_slab(s, c);
      const unsigned what = rl::rand(4);
      if (what == 3) {
        give_up_slab(s, c);
        release_handle(*c.shared);
        acquire_handle(s, c);
        slow_allocate(s, c, l);
        allocate(s, c, l);
        return;
      }
      if (what != 0) allocate(s, c, l);
      if (what != 1) free_block(s, c, l, 2);
      allocate(s, c, l);
    } else {
      if (!harvest(s, c, handles) && rl::rand(2) != 0) return;
      allocate(s, c, l);
      if (rl::rand(2) != 0) allocate(s, c, l);
    }
  }

  void after() {
    l.check(s);
    const std::uint64_t owner = owner_of(s.page.last());
    require(owner == 0 || caches[owner - 1].owns, "a slab is not in the list of its owner");
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"the thief lowers the revocations again (M1)", [] { protocol.thief_lowers = true; }},
    {"acknowledge without being busy", [] { protocol.acknowledge_is_busy = false; }},
    {"acknowledge makes no new generations", [] { protocol.acknowledge_renews = false; }},
    {"generations do not change", [] { protocol.new_generation = false; }},
    {"the thief reads the words after busy", [] { protocol.words_before_busy = false; }},
    {"the thief issues no heavy fence", [] { protocol.thief_fences = false; }},
    {"the thief does not look at busy (M2)", [] { protocol.thief_heeds_busy = false; }},
    {"the thief does not look at acknowledged", [] { protocol.thief_heeds_acknowledged = false; }},
    {"stolen slabs are not renewed after entering", [] { protocol.stolen_renewed = false; }},
    {"busy = 0 is relaxed", [] { protocol.leave_order = relaxed; }},
    {"acknowledge leaves the bins", [] { protocol.acknowledge_empties_bins = false; }},
    {"a self-fencing owner stores instead of exchanging",
     [] { protocol.self_fencing_exchanges = false; }},
    {"a thief without heavy fences does not look who fences itself",
     [] { protocol.thief_heeds_self_fencing = false; }},
    {"the fast path goes on when fences were demanded", [] { protocol.demand_is_obeyed = false; }},
    {"make_slab lists the slab before it enters (once so written)",
     [] { protocol.made_slab_listed_inside = false; }},
    {"the thief does not look at the handle again (once so written)",
     [] { protocol.thief_checks_handle = false; }},
};

}  // namespace

int main(int argc, char** argv) {
  weaken_hints();
  return run_model<harvesting>(argc, argv, mutations);
}
