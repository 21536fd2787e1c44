// Model: what a dead writer leaves in a concurrent_map, and who mends it (impl/containers: building,
// lock, repair, resolve, bury, records).
//
// Modelled. One stripe with room for one entry. D inserts, replaces, removes or reclaims, and is killed
// before any of its steps; then N, a new process, takes a record (perhaps D's) and works, and may be
// killed, too. W and X work all the time, take over the lock, and bury. Locks name their holder; a death is
// learned from the kernel (an acquire of what the dead did). Each block of memory carries the tag of
// the attempt that allocated it; freeing by tag is one look at each block.
// Abstracted. Readers (model reading); lists of more nodes; the heap's own mending.
//
// Invariants. No block is freed twice, nor one that is in the list. In the end, when all is mended, what
// is in use is what is in the list.
#include "model.hpp"

using namespace model;

namespace {

constexpr unsigned blocks = 6;
constexpr unsigned records = 3;
enum state : std::uint64_t { free, owned, in_use };  // of a block; owned: free, in a slab at work

struct mending_choices {
  bool tag_off_before_unlock = true;
  bool take_over_repairs = true;
  bool repair_resolves = true;
  bool repair_looks_at_the_victim = true;
  bool repair_looks_at_limbo = true;
  bool repair_looks_at_freeing = true;
  bool freeing_leaves_limbo = true;
  bool freeing_noted_first = true;
  bool victim_noted_first = true;
  bool resolve_looks_in_the_list = true;
  bool resolve_frees_before_it_strikes_off = true;
  bool bury_takes_the_lock = true;
  bool tag_before_owner = true;
  bool built_is_reset = true;
  bool tag_before_blocks = true;
  bool bury_resolves_before_it_frees_the_record = true;
  bool probe_before_take_over = true;
  order unlock = release;
};
mending_choices choices;

struct record {
  word use, owner, tag, built;
};

struct mending : rl::test_suite<mending, 3> {
  word link, lock, record_lock, victim, limbo, freeing, freeing_tag;
  record recs[records];
  word bit[blocks], block_tag[blocks], next_in_limbo[blocks];
  word dead[6];  // by process
  word finished[3];
  std::uint64_t last_tag;

  void before() {
    begin_iteration();
    for (word* w : {&link, &lock, &record_lock, &victim, &limbo, &freeing, &freeing_tag})
      w->init(0);
    for (record& r : recs)
      for (word* w : {&r.use, &r.owner, &r.tag, &r.built}) w->init(0);
    for (unsigned b = 0; b < blocks; ++b) {
      for (word* w : {&bit[b], &block_tag[b], &next_in_limbo[b]}) w->init(0);
    }
    for (word& d : dead) d.init(0);
    for (word& f : finished) f.init(0);
    last_tag = 0;
  }

  // ---- the heap ----

  unsigned allocate(std::uint64_t tag) {
    for (unsigned b = 0; b < blocks; ++b) {
      std::uint64_t seen = free;
      // An exchange for what owning a slab gives: the last word on what is free in it.
      if (!bit[b].compare_exchange(seen, owned, acq_rel)) continue;
      block_tag[b].store(tag, relaxed);
      bit[b].store(in_use, release);
      return b + 1;
    }
    return 0;
  }
  void free_block(std::uint64_t b) {
    require(link.last() != b, "a block in the list was freed");
    require(bit[b - 1].exchange(free, acq_rel) == in_use, "a block was freed twice");
  }
  void free_tagged(std::uint64_t tag) {
    for (unsigned b = 0; b < blocks; ++b)
      if (bit[b].load(acquire) == in_use && block_tag[b].load(acquire) == tag) free_block(b + 1);
  }

  // ---- locks ----

  bool is_dead(std::uint64_t process) {
    return !choices.probe_before_take_over || dead[process].load(acquire) != 0;
  }
  bool take(word& which, std::uint64_t me) {
    for (;;) {
      std::uint64_t seen = 0;
      if (which.compare_exchange(seen, me, acquire)) return false;
      if (is_dead(seen) && which.compare_exchange(seen, me, acquire)) return true;
      rl::yield(1, at(place::current()));
    }
  }
  void lock_stripe(std::uint64_t me) {
    if (take(lock, me) && choices.take_over_repairs) repair();
  }
  void unlock_stripe() { lock.store(0, choices.unlock); }

  // ---- under the stripe's lock ----

  void put_into_limbo(std::uint64_t b) {
    next_in_limbo[b - 1].store(limbo.load(relaxed), release);
    limbo.store(b, release);
  }
  void resolve(record& r) {
    const std::uint64_t tag = r.tag.load(acquire);
    if (tag == 0) return;
    const std::uint64_t built = r.built.load(acquire);
    const bool linked =
        choices.resolve_looks_in_the_list && built != 0 && link.load(acquire) == built;
    if (!choices.resolve_frees_before_it_strikes_off) r.tag.store(0, release);
    if (!linked) free_tagged(tag);
    r.tag.store(0, release);
  }
  void repair() {
    if (const std::uint64_t b = freeing.load(acquire); b != 0 && choices.repair_looks_at_freeing) {
      if (choices.freeing_leaves_limbo && limbo.load(acquire) == b)
        limbo.store(next_in_limbo[b - 1].load(acquire), release);
      free_tagged(freeing_tag.load(acquire));
      freeing.store(0, release);
    }
    if (const std::uint64_t b = victim.load(acquire);
        b != 0 && choices.repair_looks_at_the_victim) {
      if (link.load(acquire) != b && (limbo.load(acquire) != b || !choices.repair_looks_at_limbo))
        put_into_limbo(b);
      victim.store(0, release);
    }
    if (!choices.repair_resolves) return;
    for (record& r : recs) {
      std::uint64_t owner = 0;
      if (!choices.tag_before_owner) owner = r.owner.load(acquire);
      if (r.tag.load(acquire) == 0) continue;
      if (choices.tag_before_owner) owner = r.owner.load(acquire);
      if (is_dead(owner)) resolve(r);
    }
  }
  void reclaim() {
    while (const std::uint64_t b = limbo.load(relaxed)) {
      if (choices.freeing_noted_first) {
        freeing_tag.store(block_tag[b - 1].load(relaxed), release);
        freeing.store(b, release);
      }
      limbo.store(next_in_limbo[b - 1].load(relaxed), release);
      if (!choices.freeing_noted_first) {
        freeing_tag.store(block_tag[b - 1].load(relaxed), release);
        freeing.store(b, release);
      }
      free_block(b);
      freeing.store(0, release);
    }
  }

  // ---- operations of process `me` with its record ----

  void insert(std::uint64_t me, record& r, bool replaces) {
    const std::uint64_t tag = ++last_tag;
    if (choices.built_is_reset) r.built.store(0, release);
    if (choices.tag_before_blocks) r.tag.store(tag, release);
    const unsigned b = allocate(tag);
    if (!choices.tag_before_blocks) r.tag.store(tag, release);
    if (b == 0) return r.tag.store(0, release);
    r.built.store(b, release);
    lock_stripe(me);
    const std::uint64_t old = link.load(relaxed);
    const bool links = old == 0 || replaces;
    if (links) {
      if (old != 0 && choices.victim_noted_first) victim.store(old, release);
      link.store(b, release);
      if (old != 0) {
        put_into_limbo(old);
        victim.store(0, release);
      }
      if (choices.tag_off_before_unlock) r.tag.store(0, release);
    }
    unlock_stripe();
    if (!links) free_block(b);
    if (!links || !choices.tag_off_before_unlock) r.tag.store(0, release);
  }
  void remove(std::uint64_t me) {
    lock_stripe(me);
    if (const std::uint64_t old = link.load(relaxed)) {
      if (choices.victim_noted_first) victim.store(old, release);
      link.store(0, release);
      put_into_limbo(old);
      victim.store(0, release);
    }
    if (rl::rand(2) != 0) reclaim();
    unlock_stripe();
  }

  void bury_locked(std::uint64_t me) {
    for (record& r : recs) {
      if (r.use.load(acquire) == 0 || !is_dead(r.owner.load(relaxed))) continue;
      if (!choices.bury_resolves_before_it_frees_the_record) r.use.store(0, release);
      if (r.tag.load(acquire) != 0) {
        if (choices.bury_takes_the_lock) lock_stripe(me);
        resolve(r);
        if (choices.bury_takes_the_lock) unlock_stripe();
      }
      r.use.store(0, release);
    }
  }
  void bury(std::uint64_t me) {
    take(record_lock, me);
    bury_locked(me);
    record_lock.store(0, release);
  }
  record& take_record(std::uint64_t me) {
    take(record_lock, me);
    bury_locked(me);
    unsigned i = 0;
    while (i + 1 < records && recs[i].use.load(acquire) != 0) ++i;
    recs[i].owner.store(me, release);
    recs[i].use.store(1, seq_cst);
    record_lock.store(0, release);
    return recs[i];
  }

  void work(std::uint64_t me, record& r) {
    switch (rl::rand(4)) {
      case 0:
        return remove(me);
      case 1:
        return insert(me, r, false);
      default:
        return insert(me, r, true);
    }
  }

  void thread(unsigned i) {
    begin_thread(i);
    if (i == 0) {
      for (const std::uint64_t me : {1, 4}) {
        const bool lives = mortal(60, [&] {
          record& r = take_record(me);
          for (int turn = 0; turn < 2; ++turn) work(me, r);
          throw death{};  // its process ends, one way or the other
        });
        (void)lives;
        dead[me].store(1, release);
      }
    } else {
      record& r = take_record(1 + i);
      for (int turn = 0; turn < 3; ++turn) {
        if (rl::rand(4) == 0) bury(1 + i);
        work(1 + i, r);
      }
    }
    finished[i].store(1, release);
    if (i != 1) return;
    // The last one mends what is left.
    for (unsigned other : {0u, 2u})
      while (finished[other].load(acquire) == 0) rl::yield(1, at(place::current()));
    bury(2);
    lock_stripe(2);
    reclaim();
    unlock_stripe();
  }

  void after() {
    const std::uint64_t held = link.last();
    for (unsigned b = 0; b < blocks; ++b) {
      require(bit[b].last() != in_use || held == b + 1, "a block was lost");
      require(bit[b].last() == in_use || held != b + 1, "a block in the list is free");
    }
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"the tag is struck off after unlocking", [] { choices.tag_off_before_unlock = false; }},
    {"taking over does not repair", [] { choices.take_over_repairs = false; }},
    {"repair does not resolve records", [] { choices.repair_resolves = false; }},
    {"repair forgets the victim", [] { choices.repair_looks_at_the_victim = false; }},
    {"repair puts the victim into limbo twice", [] { choices.repair_looks_at_limbo = false; }},
    {"repair forgets what was being freed", [] { choices.repair_looks_at_freeing = false; }},
    {"what is freed by repair stays in limbo", [] { choices.freeing_leaves_limbo = false; }},
    {"what is freed is noted after it left limbo", [] { choices.freeing_noted_first = false; }},
    {"the victim is not noted", [] { choices.victim_noted_first = false; }},
    {"resolve does not look in the list", [] { choices.resolve_looks_in_the_list = false; }},
    {"bury resolves without the stripe's lock", [] { choices.bury_takes_the_lock = false; }},
    {"repair reads a record's owner before its tag", [] { choices.tag_before_owner = false; }},
    {"built is not reset", [] { choices.built_is_reset = false; }},
    {"the tag is announced after the blocks", [] { choices.tag_before_blocks = false; }},
    {"bury gives the record away before it resolves",
     [] { choices.bury_resolves_before_it_frees_the_record = false; }},
    {"locks are taken from the living", [] { choices.probe_before_take_over = false; }},
    {"unlocking is relaxed", [] { choices.unlock = relaxed; }},
    {"resolve strikes the tag off before it frees",
     [] { choices.resolve_frees_before_it_strikes_off = false; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<mending>(argc, argv, mutations);
}
