// Model: the run lock, large blocks that are freed while others hold it, and its holders' deaths
// (impl/malloc/runs.cpp, free_large of allocate.cpp, repair of recovery.cpp).
//
// Modelled. D takes the run lock, changes runs (plain memory stands for what the lock guards: a second
// holder is a race), and frees a large block on the way; it is killed before any step. Its undertaker
// takes the lock in D's name, from D if D held it; it is killed as well, and another begins again. F
// frees two large blocks, one of them a second time (somebody else's mistake), may be killed, and has
// undertakers too. W1 and W2 take the lock like everybody who needs a run, and take it over from a
// holder that is dead and unattended. Freeing is: large to pending by compare-exchange, the flag, then
// whoever gets the lock collects; who does not get it leaves it to the holder.
// Abstracted. The index and the joining of runs: three runs that are large, pending or free; mending is
// collecting all that is pending. Life and undertaking are a word per participant, as the kernel's
// locks order them.
//
// Invariants. The lock has one living holder; a run is freed exactly once; a second free of a block is
// noticed; when all is quiet and the dead are buried, no run is pending and the lock is free.
#include "model.hpp"

using namespace model;

namespace {

enum kind : std::uint64_t { free_run, large, pending };
enum life_of : std::uint64_t { alive, dead, burying, gone };

struct run_choices {
  order pending_store = seq_cst;
  order lock_try = seq_cst;
  order unlock = seq_cst;
  order pending_load = seq_cst;
  order lock_acquire = acquire;
  order collect_load = seq_cst;  // what was made pending before the flag was cleared is seen
  bool unlock_looks = true;
  bool collect_clears_first = true;
  bool collect_looks_again = true;
  bool flag_after_commit = true;
  bool commit_by_exchange = true;
  bool take_over_by_exchange = true;
  bool hands_counted = true;
  bool hands_go_on = true;  // over unlocks, so that no value of the lock comes back
  bool mends = true;
  bool undertakers_attend = true;
  bool undertaker_flags = true;  // pending runs whose flag the dead did not set
};
run_choices choices;

constexpr unsigned runs = 3;
constexpr std::uint64_t hands_of(std::uint64_t lock) {
  return lock >> 8;
}
constexpr unsigned holder_of(std::uint64_t lock) {
  return static_cast<unsigned>(lock & 0xff);
}
constexpr std::uint64_t held_by(unsigned who, std::uint64_t hands) {
  return hands << 8 | who;
}

struct locking : rl::test_suite<locking, 4> {
  word lock;  // holder + 1, 0: nobody; changes of hands
  word flag;
  word run[runs];
  word life[4];
  bytes guarded;
  bool torn;  // the holder is in the middle of a change
  bool inside[4];
  unsigned commits[runs];
  unsigned collected[runs];

  void before() {
    begin_iteration();
    lock.init(0);
    flag.init(0);
    guarded.init();
    torn = false;
    for (unsigned r = 0; r < runs; ++r) {
      run[r].init(large);
      commits[r] = collected[r] = 0;
    }
    for (unsigned i = 0; i < 4; ++i) {
      life[i].init(alive);
      inside[i] = false;
    }
  }

  // ---- runs.cpp ----

  std::uint64_t hands_for(std::uint64_t seen) const {
    return choices.hands_go_on ? hands_of(seen) + 1 : 0;
  }

  void change() {
    torn = true;
    guarded.use();
    torn = false;
  }

  void entered(bool from_the_dead = false) {
    for (const bool other : inside) require(!other, "the run lock has two holders");
    inside[rl::thread_index()] = true;
    if (from_the_dead && choices.mends) {  // rebuild_runs
      guarded.use();
      torn = false;
    }
    require(!torn, "the index was left half changed");
  }

  void unlock() {
    change();
    const std::uint64_t next =
        choices.hands_go_on ? held_by(0, hands_of(lock.last())) : 0;  // the holder knows its value
    lock.store(next, choices.unlock);
    // Nobody runs between the store and this.
    inside[rl::thread_index()] = false;
  }

  void collect() {
    for (unsigned r = 0; r < runs; ++r) {
      if (run[r].load(choices.collect_load) != pending) continue;
      change();
      run[r].store(free_run, release);
      ++collected[r];
      require(collected[r] == 1, "a run was freed twice");
    }
  }

  void collect_pending(unsigned as) {
    while (flag.load(choices.pending_load) != 0) {
      std::uint64_t seen = lock.load(relaxed);
      // Whoever holds it will look at the flag afterwards; but he who only unlocked meanwhile has looked.
      for (;;) {
        if (holder_of(seen) != 0) {
          // What the exchange with the free lock would say, in one operation of that order.
          std::uint64_t same = seen;
          if (lock.compare_exchange(same, seen, choices.lock_try)) return;
          seen = same;
          continue;
        }
        if (lock.compare_exchange(seen, held_by(as + 1, hands_for(seen)), choices.lock_try)) break;
        if (!choices.hands_go_on) return;
      }
      entered();
      if (choices.collect_clears_first) flag.store(0, seq_cst);
      collect();
      if (!choices.collect_clears_first) flag.store(0, seq_cst);
      unlock();
      if (!choices.collect_looks_again) return;
    }
  }

  bool attended(unsigned who) {
    const std::uint64_t l = life[who].load(seq_cst);
    return l == alive || l == gone || (l == burying && choices.undertakers_attend);
  }

  // The constructor of run_guard.
  void take_lock(unsigned as, bool for_the_dead) {
    for (;;) {
      std::uint64_t seen = lock.load(relaxed);
      if (holder_of(seen) == 0) {
        if (lock.compare_exchange(seen, held_by(as + 1, hands_for(seen)), choices.lock_acquire)) {
          entered();
          return;
        }
        continue;
      }
      const unsigned holder = holder_of(seen) - 1;
      if ((for_the_dead && holder == as) || (holder != as && !attended(holder))) {
        const std::uint64_t mine =
            held_by(as + 1, choices.hands_counted ? hands_of(seen) + 1 : hands_of(seen));
        bool mine_now = true;
        if (choices.take_over_by_exchange)
          mine_now = lock.compare_exchange(seen, mine, acq_rel);
        else
          lock.store(mine, release);
        if (mine_now) {
          entered(true);
          if (choices.mends) collect();
          return;
        }
      }
      rl::yield(1, at(place::current()));
    }
  }

  // Its destructor.
  void drop_lock(unsigned as) {
    unlock();
    if (choices.unlock_looks && flag.load(choices.pending_load) != 0) collect_pending(as);
  }

  void free_large(unsigned as, unsigned r) {
    std::uint64_t expected = large;
    if (!choices.flag_after_commit) flag.store(1, choices.pending_store);
    if (choices.commit_by_exchange) {
      if (!run[r].compare_exchange(expected, pending, seq_cst)) return;  // noticed, and reported
    } else {
      if (run[r].load(acquire) != large) return;
      run[r].store(pending, seq_cst);
    }
    ++commits[r];
    require(commits[r] == 1, "a block was freed twice, unnoticed");
    if (choices.flag_after_commit) flag.store(1, choices.pending_store);
    collect_pending(as);
  }

  // ---- the threads ----

  void undertake(unsigned of) {
    life[of].store(burying, seq_cst);
    take_lock(of, true);
    if (choices.undertaker_flags) flag.store(1, seq_cst);
    drop_lock(of);
  }

  template <class F>
  void live_and_die(unsigned i, unsigned steps, F&& f) {
    if (mortal(steps, f)) return;
    inside[i] = false;
    life[i].store(dead, seq_cst);
    if (!mortal(12, [&] { undertake(i); })) {
      inside[i] = false;
      life[i].store(dead, seq_cst);
      undertake(i);
    }
    life[i].store(gone, seq_cst);
  }

  void thread(unsigned i) {
    begin_thread(i);
    if (i == 0) {
      live_and_die(i, 18, [&] {
        if (rl::rand(2) != 0) free_large(i, 0);
        take_lock(i, false);
        drop_lock(i);
      });
    } else if (i == 1) {
      live_and_die(i, 18, [&] {
        free_large(i, 1);
        free_large(i, rl::rand(2) != 0 ? 0 : 2);
      });
    } else {
      take_lock(i, false);
      drop_lock(i);
    }
  }

  void after() {
    require(holder_of(lock.last()) == 0, "the run lock is still held");
    for (unsigned r = 0; r < runs; ++r) {
      require(run[r].last() != pending, "a pending run was left");
      require((run[r].last() == free_run) == (commits[r] == 1), "a run was freed and is not free");
    }
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"the flag is set, and the lock tried, without seq_cst",
     [] {
       choices.pending_store = release;
       choices.lock_try = acq_rel;
     }},
    {"unlocking and looking at the flag without seq_cst",
     [] {
       choices.unlock = release;
       choices.pending_load = acquire;
     }},
    {"unlocking does not look at the flag", [] { choices.unlock_looks = false; }},
    {"collecting clears the flag at its end", [] { choices.collect_clears_first = false; }},
    {"collecting does not look at the flag again", [] { choices.collect_looks_again = false; }},
    {"the flag is set before the commit", [] { choices.flag_after_commit = false; }},
    {"the commit is a load and a store", [] { choices.commit_by_exchange = false; }},
    {"the lock is taken over by a store", [] { choices.take_over_by_exchange = false; }},
    {"taking the lock does not acquire", [] { choices.lock_acquire = relaxed; }},
    {"unlocking is relaxed", [] { choices.unlock = relaxed; }},
    {"taking over does not count", [] { choices.hands_counted = false; }},
    {"who takes over does not mend", [] { choices.mends = false; }},
    {"an undertaker's lock is taken over", [] { choices.undertakers_attend = false; }},
    {"the undertaker sets no flag (once so written)", [] { choices.undertaker_flags = false; }},
    {"collecting reads the page words relaxed (once so written)",
     [] { choices.collect_load = relaxed; }},
    {"changes of hands begin at 0 with each holder (once so written)",
     [] { choices.hands_go_on = false; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<locking>(argc, argv, mutations);
}
