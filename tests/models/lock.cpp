// Model: the mutex (modules/sync/mutex.cppm, impl/sync/mutex.cpp): one at a time, whoever dies; what
// one changed the next one sees; nobody sleeps at a free lock.
//
// Modelled. Three threads lock, use what the lock protects (plain memory: relacy reports a race), and
// unlock, handing over or not; each may die anywhere; whoever notices takes over, for repair or not. Who
// is dead is asked of the kernel: a word that is stored after the death, and loaded with acquire. A
// sleeper whose sleep is not ended by anybody looks again (the slice is over) if somebody died, or if
// it was handed the lock; otherwise it must have been woken.
//
// Not modelled: the marks (parking.cpp), here one word; ages: whether to hand over is drawn.
#include "model.hpp"

using namespace model;

namespace {

struct rules {
  order take = acquire;
  order unlock = release;
  order hand = release;
  order accept = acquire;
  order take_back = acquire;
  order bury = acq_rel;
  bool asks_the_kernel = true;     // before it takes over
  bool buries_by_exchange = true;  // from exactly that owner
  bool broken_after_death = true;
  bool takes_back_by_exchange = true;
  bool steals_held = false;  // takes the lock over after a slice although it was accepted
  bool wakes = true;
  bool looks_after_arming = true;
};
rules protocol;

constexpr std::uint64_t broken = 1;
constexpr std::uint64_t handed = 2;
constexpr std::uint64_t flags = 7;
constexpr std::uint64_t point = 1;
constexpr std::uint64_t chosen = 2;

struct lock_model : rl::test_suite<lock_model, 3> {
  word owner;
  word seat[3];
  word cell[3];
  word dead[3];  // what the kernel says
  bytes content;
  // What the model knows.
  bool half_changed;
  int inside;
  bool asleep[3];
  std::uint64_t slept_with[3];
  bool somebody_died;

  static std::uint64_t id(unsigned i) { return (i + 1) << 4; }
  static unsigned who(std::uint64_t word) { return static_cast<unsigned>((word >> 4) - 1); }

  void before() {
    begin_iteration();
    owner.init(0);
    content.init();
    half_changed = false;
    inside = 0;
    somebody_died = false;
    for (unsigned i = 0; i < 3; ++i) {
      seat[i].init(0);
      cell[i].init(0);
      dead[i].init(0);
      asleep[i] = false;
      slept_with[i] = 0;
      now.enrolled[i] = true;
    }
  }

  enum class got { locked, owner_died, busy };
  got try_take(unsigned i, bool repair) {
    std::uint64_t seen = owner.load(relaxed);
    for (;;) {
      const bool to_me = seen == (id(i) | handed);
      if ((seen & ~flags) != 0 && !to_me) return got::busy;
      if ((seen & broken) != 0 && !repair) return got::owner_died;
      if (owner.compare_exchange(seen, id(i) | (seen & broken),
                                 to_me ? protocol.accept : protocol.take))
        return got::locked;
    }
  }

  void wake_one() {
    if (!protocol.wakes) return;
    for (unsigned i = 0; i < 3; ++i) {
      std::uint64_t expected = point;
      if (seat[i].load(acquire) == point &&
          seat[i].compare_exchange(expected, point | chosen, acq_rel)) {
        cell[i].fetch_add(1, release);
        return;
      }
    }
  }
  void wake_all() {
    for (unsigned i = 0; i < 3; ++i) {
      std::uint64_t expected = point;
      if (seat[i].load(acquire) == point &&
          seat[i].compare_exchange(expected, point | chosen, acq_rel))
        cell[i].fetch_add(1, release);
    }
  }

  got lock(unsigned i, bool repair) {
    if (const got g = try_take(i, repair); g != got::busy) return g;
    for (int round = 0; round < 5; ++round) {
      const std::uint64_t ticket = cell[i].load(acquire);
      seat[i].store(point, release);
      heavy_fence();
      if (protocol.looks_after_arming)
        if (const got g = try_take(i, repair); g != got::busy) {
          const bool given = (seat[i].exchange(0, acq_rel) & chosen) != 0;
          if (given && g == got::owner_died) wake_one();
          return g;
        }
      const std::uint64_t before = owner.load(relaxed);
      if ((seat[i].load(acquire) & chosen) == 0)
        wait_until([&] { return cell[i].last() != ticket || somebody_died; });
      if (cell[i].load(acquire) != ticket) continue;
      // Asleep. There is no slice unless somebody died, or the lock is waiting for our yes.
      std::uint64_t seen = owner.load(relaxed);
      if (!somebody_died && seen != (id(i) | handed)) {
        asleep[i] = true;
        slept_with[i] = ticket;
        return got::busy;
      }
      if ((seen & ~flags) != 0 && seen == before && who(seen) != i) {
        const bool gone = !protocol.asks_the_kernel || dead[who(seen)].load(acquire) != 0;
        if ((seen & handed) != 0 || protocol.steals_held) {
          if (gone || rl::rand(2) != 0) owner.compare_exchange(seen, 0, protocol.bury);
        } else if (gone) {
          const std::uint64_t to = protocol.broken_after_death ? broken : 0;
          if (protocol.buries_by_exchange) {
            if (owner.compare_exchange(seen, to, protocol.bury)) wake_all();
          } else {
            owner.store(to, release);
            wake_all();
          }
        }
      }
    }
    // Not asleep for good: only out of rounds. It leaves, and passes on what it was given.
    const bool given = (seat[i].exchange(0, acq_rel) & chosen) != 0;
    const got last = try_take(i, repair);
    if (last != got::locked && given) wake_one();
    return last;
  }

  void unlock(unsigned i, bool mended) {
    const std::uint64_t held = owner.load(relaxed);
    require((held & ~(flags)) == id(i), "unlocked by somebody else's word");
    if ((held & broken) != 0 && !mended) {
      owner.store(broken, protocol.unlock);
      wake_all();
      return;
    }
    if (rl::rand(2) != 0)
      for (unsigned heir = 0; heir < 3; ++heir) {
        if (heir == i || seat[heir].load(acquire) != point) continue;
        owner.store(id(heir) | handed, protocol.hand);
        std::uint64_t expected = point;
        if (seat[heir].compare_exchange(expected, point | chosen, acq_rel)) {
          cell[heir].fetch_add(1, release);
          return;
        }
        if (!protocol.takes_back_by_exchange) {
          owner.store(id(i), relaxed);
          break;
        }
        std::uint64_t seen = owner.load(relaxed);
        if (seen != id(i) &&
            ((seen & handed) == 0 || !owner.compare_exchange(seen, id(i), protocol.take_back)))
          return;
        break;
      }
    owner.store(0, protocol.unlock);
    wake_one();
  }

  void live(unsigned i) {
    for (int turn = 0; turn < 2; ++turn) {
      bool repair = rl::rand(4) == 0;
      got g = lock(i, repair);
      if (g == got::owner_died) {
        repair = true;
        g = lock(i, true);
      }
      if (g != got::locked) return;
      const bool told = (owner.load(relaxed) & broken) != 0;
      ++inside;
      require(inside == 1, "two inside");
      require(!half_changed || told, "half changed, and nobody said so");
      half_changed = true;
      content.use();
      half_changed = false;
      --inside;
      unlock(i, true);
    }
  }

  void thread(unsigned i) {
    begin_thread(i);
    const bool dies = rl::rand(3) == 0;
    if (!dies) return live(i);
    if (mortal(40, [&] { live(i); })) return;
    // The kernel tells of it from now on. Was it inside?
    if ((owner.last() & ~flags) == id(i) && (owner.last() & handed) == 0 && half_changed &&
        inside == 1)
      inside = 0;
    somebody_died = true;
    dead[i].store(1, release);
  }

  void after() {
    if (somebody_died) return;
    bool hangs = false;
    for (unsigned i = 0; i < 3; ++i) {
      if (!asleep[i]) continue;
      if (cell[i].last() != slept_with[i]) return;  // woken: it will take the lock and wake others
      hangs = true;
    }
    require(!hangs || owner.last() != 0, "asleep for ever at a free lock");
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"taking it is relaxed", [] { protocol.take = relaxed; }},
    {"unlocking is relaxed", [] { protocol.unlock = relaxed; }},
    {"handing over is relaxed", [] { protocol.hand = relaxed; }},
    {"the heir's yes is relaxed", [] { protocol.accept = relaxed; }},
    {"the dead owner's word is passed on relaxed", [] { protocol.bury = relaxed; }},
    {"a living owner is taken for dead", [] { protocol.asks_the_kernel = false; }},
    {"the death is noted by a store", [] { protocol.buries_by_exchange = false; }},
    {"nobody is told of the death", [] { protocol.broken_after_death = false; }},
    {"the lock is taken back from its heir by a store",
     [] { protocol.takes_back_by_exchange = false; }},
    {"a held lock is taken as if it were only handed over", [] { protocol.steals_held = true; }},
    {"unlock wakes nobody", [] { protocol.wakes = false; }},
    {"no look at the lock before going to sleep", [] { protocol.looks_after_arming = false; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<lock_model>(argc, argv, mutations);
}
