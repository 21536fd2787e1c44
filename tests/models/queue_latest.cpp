// Model: the cells of latest (impl/queue/latest.cpp).
//
// Modelled. 2 cells of two words, T0 and T1 store, T0 may die before any of its steps, T1 stores three
// times, so that cells are used again and the dead one's is taken over; T2 loads three times. At the end
// T1 loads as well.
// Abstracted. The liveness question: a word, asked without fail.
//
// Invariants. What is loaded is one value, both words of the same store; a reader's values do not go
// back; what T1 stored last is not hidden by an older one; nobody waits for the dead.
#include "model.hpp"

using namespace model;

namespace {

constexpr std::uint64_t cells = 2;  // as few as can work: the current one, and one to write
constexpr std::uint64_t being_written = std::uint64_t{1} << 40;

struct rules {
  bool writer_fence = true;
  bool reader_fence = true;
  bool looks_twice = true;
  bool spares_current = true;
  bool helps = true;
  bool takes_over = true;
  order publish = release;
  order lead = acq_rel;
  order follow = acquire;
} protocol;

void release_fence() {
  rl::ctx().atomic_thread_fence_release();
}
void acquire_fence() {
  rl::ctx().atomic_thread_fence_acquire();
}

struct newest : rl::test_suite<newest, 3> {
  word next, current, lives, cell[cells], value[cells][2];
  bool over;

  void before() {
    begin_iteration();
    next.init(1);
    current.init(1);
    lives.init(1);
    for (std::uint64_t i = 0; i < cells; ++i) {
      cell[i].init(i == 1 ? 1 : 0);
      for (word& w : value[i]) w.init(i == 1 ? 1 : 0);
    }
    over = false;
  }

  void advance(std::uint64_t number) {
    std::uint64_t seen = current.load(relaxed);
    while (seen < number && !current.compare_exchange(seen, number, protocol.lead)) {
    }
  }
  // Returns the number, 0 if it found no cell.
  std::uint64_t claim(unsigned me) {
    for (int attempt = 0; attempt < 12; ++attempt) {
      const std::uint64_t number = next.fetch_add(1, relaxed) + 1;
      word& at = cell[number % cells];
      std::uint64_t seen = at.load(acquire);
      if ((seen & being_written) != 0) {
        const std::uint64_t by = seen & 3;
        if (by == me || by == 1 || lives.fetch_or(0, acq_rel) != 0) continue;
        if (!protocol.takes_over) continue;
      } else {
        const std::uint64_t now = current.load(acquire);
        if (seen > number) continue;
        if (protocol.helps && seen > now) advance(seen);
        if (protocol.spares_current && seen >= now && seen != 0) continue;
        if (!protocol.helps && seen > now) continue;
      }
      if (at.compare_exchange(seen, being_written | number << 8 | me, acq_rel)) return number;
    }
    return 0;
  }
  std::uint64_t store(unsigned me) {
    const std::uint64_t number = claim(me);
    if (number == 0) return 0;
    if (protocol.writer_fence) release_fence();
    for (word& w : value[number % cells]) w.store(number, relaxed);
    cell[number % cells].store(number, protocol.publish);
    advance(number);
    return number;
  }
  // 0: lapped too often.
  std::uint64_t load(int tries) {
    for (; tries > 0; --tries) {
      const std::uint64_t now = current.load(protocol.follow);
      word& at = cell[now % cells];
      if (at.load(acquire) != now) continue;
      const std::uint64_t first = value[now % cells][0].load(relaxed);
      const std::uint64_t second = value[now % cells][1].load(relaxed);
      if (protocol.reader_fence) acquire_fence();
      if (protocol.looks_twice && at.load(relaxed) != now) continue;
      require(first == second, "torn");
      require(first == now, "another value");
      return now;
    }
    return 0;
  }

  void thread(unsigned i) {
    begin_thread(i);
    if (i == 0) {
      const bool died = !mortal(24, [&] {
        store(0);
        store(0);
      });
      lives.fetch_add(died ? std::uint64_t{0} - 1 : 1, release);
      over = true;
    } else if (i == 1) {
      std::uint64_t mine = 0;
      for (int n = 0; n < 4; ++n) {
        const std::uint64_t number = store(1);
        if (number != 0) mine = number;
      }
      wait_until([&] { return over; });
      if (!over) return;
      (void)lives.fetch_or(0, acq_rel);
      require(load(4) != 0, "blocked: nothing can be loaded");
      const std::uint64_t last = store(1);
      require(last != 0, "blocked: no cell can be written");
      require(load(4) >= last && last > mine, "an older value, or none");
    } else {
      std::uint64_t seen = 0;
      for (int n = 0; n < 3; ++n) {
        const std::uint64_t number = load(3);
        if (number == 0) continue;
        require(number >= seen, "went back");
        seen = number;
      }
    }
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"the writer has no release fence (Q9)", [] { protocol.writer_fence = false; }},
    {"the reader has no acquire fence", [] { protocol.reader_fence = false; }},
    {"the reader does not look a second time", [] { protocol.looks_twice = false; }},
    {"the current cell is not spared", [] { protocol.spares_current = false; }},
    {"what a dead one finished is not led to, and never reused", [] { protocol.helps = false; }},
    {"a dead one's cell is not taken over", [] { protocol.takes_over = false; }},
    {"the cell is published relaxed", [] { protocol.publish = relaxed; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<newest>(argc, argv, mutations);
}
