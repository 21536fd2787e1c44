// Model of the letter ring (modules/queue/letter_ring.cppm): claiming, committing, taking, releasing,
// and what is done for the dead.
//
// A ring of four granules; records of one or two. A record's payload covers the place where a later
// record's head may lie, and holds whatever bits it likes.
//   two senders   P is killed somewhere (and its slot taken over by a successor, which sends on),
//                 S sends on, R receives and mends
//   two receivers P sends, and may be killed; S receives and may be killed with letters in hand; R
//                 receives and mends
// Abstracted: the kernel's answer about the dead is exact and comes after all that they did (the same
// thread stores it afterwards); waiting; sizes. Payload is plain memory: relacy reports a race if it
// is written before everybody has read it.
//
// Invariants: what was committed is delivered exactly once (again, flagged, if S died with it),
// whatever is delivered is whole and was committed, each sender's in order, and when all is quiet the
// ring is empty.
#include "model.hpp"

using namespace model;

namespace {

constexpr std::uint64_t size = 4;
// 0 to 3: P's, enough for a lap and a half, so that who sleeps wakes up in another lap; 4, 5: S's;
// 6: the successor's.
constexpr unsigned letters = 7;

struct letter_choices {
  bool tail_again = true;
  bool head_again = true;
  bool complement = true;
  bool spare_granule = true;
  bool committed_again = true;
  bool living_are_left_alone = true;
  bool retire_before_reuse = true;
  bool control_again = true;
  order claim_order = acq_rel;
  order commit_order = release;
  order head_word_order = acquire;
  order take_order = acq_rel;
  order release_order = release;
  order freed_order = acq_rel;
  order freed_read = acquire;
  order claim_read = acquire;
  order take_read = acquire;
};
letter_choices choices;

enum : std::uint64_t { held = 1, held_again = 2, returned = 3, released = 4 };

struct rec {
  std::uint64_t bits;
  std::uint64_t lap() const { return bits >> 16; }
  std::uint64_t owner() const { return bits >> 12 & 15; }
  std::uint64_t state() const { return bits >> 8 & 15; }
  bool on() const { return (bits >> 4 & 1) != 0; }
  std::uint64_t granules() const { return bits & 15; }
};
std::uint64_t pack(std::uint64_t lap, std::uint64_t owner, std::uint64_t state, bool on,
                   std::uint64_t granules) {
  return lap << 16 | owner << 12 | state << 8 | std::uint64_t{on} << 4 | granules;
}
std::uint64_t lap_of(std::uint64_t position) {
  return position / size + 1;
}

struct claimed {
  std::uint64_t position;
  std::uint64_t granules;
  bool on;
  bool next_on;
};

struct letter_model : rl::test_suite<letter_model, 3> {
  word tail, head, freed;
  word claims[size], takes[size];
  word heads[size];  // bit 0: on; 1: next_on; 2, 3: kind; 4 to 7: granules; from 8: number
  bytes payload[size];
  word control[4];  // by owner; 0: free, else a generation
  word dead[4];     // the generation that is dead

  bool two_receivers;
  bool may_come[letters], must_come[letters];
  int delivered[letters], again[letters];
  bool p_over, s_over, all_over;
  int in_hand[2];

  void before() {
    begin_iteration();
    two_receivers = rl::rand(2) != 0;
    for (std::uint64_t i = 0; i < size; ++i) {
      claims[i].init(0);
      takes[i].init(0);
      heads[i].init(rl::rand(2));
      payload[i].init();
    }
    const std::uint64_t on = (heads[0].last() & 1) ^ 1;
    tail.init(on);
    head.init(on);
    freed.init(on);
    for (unsigned i = 0; i < 4; ++i) {
      control[i].init(i == 0 ? 0 : 1);
      dead[i].init(0);
    }
    for (unsigned i = 0; i < letters; ++i) {
      may_come[i] = must_come[i] = false;
      delivered[i] = again[i] = 0;
    }
    p_over = s_over = all_over = false;
    in_hand[0] = in_hand[1] = -1;
  }

  bool gone(std::uint64_t owner, std::uint64_t c) {
    return !choices.living_are_left_alone || dead[owner].load(acquire) == c;
  }

  // ---- letter_ring.cppm ----

  bool try_claim(std::uint64_t owner, std::uint64_t wanted, std::uint64_t& free_seen,
                 claimed& out) {
    for (int tries = 0; tries < 8; ++tries) {
      const std::uint64_t t = tail.load(acquire);
      const std::uint64_t position = t >> 1;
      const bool on = (t & 1) != 0;
      word& claim = claims[position % size];
      const rec found{claim.load(choices.claim_read)};
      if (choices.tail_again && tail.load(acquire) != t) continue;
      if (found.lap() == lap_of(position)) {
        move_on(tail, t, found);
        continue;
      }
      const std::uint64_t to_end = size - position % size;
      const bool pad = wanted > to_end;
      const std::uint64_t granules = pad ? to_end : wanted;
      const std::uint64_t end =
          position + granules + (pad ? wanted : 0) + (choices.spare_granule ? 1 : 0);
      if (end - free_seen > size) {
        free_seen = freed.load(choices.freed_read) >> 1;
        if (end - free_seen > size) {
          advance_freed();
          free_seen = freed.load(choices.freed_read) >> 1;
          if (tail.load(acquire) != t) continue;
          if (end - free_seen > size) return false;
        }
      }
      const std::uint64_t there = heads[(position + granules) % size].load(relaxed) & 1;
      const bool next_on = choices.complement ? there == 0 : true;
      std::uint64_t expected = found.bits;
      if (!claim.compare_exchange(expected, pack(lap_of(position), owner, 0, next_on, granules),
                                  choices.claim_order))
        continue;
      std::uint64_t here = t;
      tail.compare_exchange(here, (position + granules) << 1 | std::uint64_t{next_on}, release);
      out = {position, granules, on, next_on};
      if (!pad) return true;
      finish(out, 2, 0);
    }
    return false;
  }
  void finish(const claimed& of, std::uint64_t kind, std::uint64_t number) {
    heads[of.position % size].store(std::uint64_t{of.on} | std::uint64_t{of.next_on} << 1 |
                                        kind << 2 | of.granules << 4 | number << 8,
                                    choices.commit_order);
  }
  void move_on(word& hint, std::uint64_t from, rec over) {
    const std::uint64_t to = ((from >> 1) + over.granules()) << 1 | std::uint64_t{over.on()};
    hint.compare_exchange(from, to, release);
  }
  // The letter's number, -1: none.
  int try_take(std::uint64_t owner, claimed& out) {
    for (int tries = 0; tries < 8; ++tries) {
      const std::uint64_t h = head.load(acquire);
      const std::uint64_t position = h >> 1;
      word& take = takes[position % size];
      const rec seen{take.load(choices.take_read)};
      if (choices.head_again && head.load(acquire) != h) continue;
      if (seen.lap() == lap_of(position)) {
        move_on(head, h, seen);
        continue;
      }
      const std::uint64_t w = heads[position % size].load(choices.head_word_order);
      if ((w & 1) != (h & 1)) return -1;
      const std::uint64_t granules = w >> 4 & 15;
      const std::uint64_t kind = w >> 2 & 3;
      if (granules == 0 || granules > size - position % size || (kind != 1 && kind != 2)) {
        if (head.load(acquire) != h) continue;
        require(false, "a head that nobody wrote was taken for a commit");
      }
      const bool next_on = (w >> 1 & 1) != 0;
      if (!mark_taken(h, seen, kind == 2 ? 0 : owner, kind == 2 ? released : held, next_on,
                      granules))
        continue;
      if (kind == 2) {
        advance_freed();
        continue;
      }
      out = {position, granules, (w & 1) != 0, next_on};
      return static_cast<int>(w >> 8);
    }
    return -1;
  }
  bool mark_taken(std::uint64_t h, rec seen, std::uint64_t owner, std::uint64_t state, bool next_on,
                  std::uint64_t granules) {
    const std::uint64_t position = h >> 1;
    if (!takes[position % size].compare_exchange(
            seen.bits, pack(lap_of(position), owner, state, next_on, granules), choices.take_order))
      return false;
    head.compare_exchange(h, (position + granules) << 1 | std::uint64_t{next_on}, release);
    return true;
  }
  void release_record(const claimed& of) {
    takes[of.position % size].store(pack(lap_of(of.position), 0, released, of.next_on, of.granules),
                                    choices.release_order);
    advance_freed();
  }
  void advance_freed() {
    for (int tries = 0; tries < 6; ++tries) {
      std::uint64_t f = freed.load(acquire);
      const rec r{takes[(f >> 1) % size].load(acquire)};
      if (r.lap() != lap_of(f >> 1) || r.state() != released) return;
      freed.compare_exchange(f, ((f >> 1) + r.granules()) << 1 | std::uint64_t{r.on()},
                             choices.freed_order);
    }
  }
  void help_tail() {
    for (int tries = 0; tries < 6; ++tries) {
      const std::uint64_t t = tail.load(acquire);
      const rec claim{claims[(t >> 1) % size].load(acquire)};
      if (tail.load(acquire) != t) continue;
      if (claim.lap() != lap_of(t >> 1)) return;
      move_on(tail, t, claim);
    }
  }
  void repair_head() {
    const std::uint64_t h = head.load(acquire);
    const std::uint64_t position = h >> 1;
    const rec seen{takes[position % size].load(acquire)};
    if (head.load(acquire) != h || seen.lap() == lap_of(position)) return;
    if ((heads[position % size].load(acquire) & 1) == (h & 1)) return;
    const rec claim{claims[position % size].load(acquire)};
    if (claim.lap() != lap_of(position)) return;
    const std::uint64_t c = control[claim.owner()].load(acquire);
    if (c != 0) {
      if (!gone(claim.owner(), c)) return;
      if (choices.control_again && control[claim.owner()].load(acquire) != c) return;
    }
    if (choices.committed_again && (heads[position % size].load(acquire) & 1) == (h & 1)) return;
    mark_taken(h, seen, 0, released, claim.on(), claim.granules());
    advance_freed();
  }
  int take_returned(std::uint64_t owner, claimed& out) {
    const std::uint64_t f = freed.load(acquire);
    std::uint64_t position = f >> 1;
    bool on = (f & 1) != 0;
    for (std::uint64_t walked = 0; walked < size;) {
      rec r{takes[position % size].load(acquire)};
      if (r.lap() != lap_of(position)) return -1;
      bool mine = r.state() == returned;
      if (r.state() == held || r.state() == held_again) {
        const std::uint64_t c = control[r.owner()].load(acquire);
        mine = c == 0 || gone(r.owner(), c);
      }
      if (mine) {
        const std::uint64_t w = heads[position % size].load(acquire);
        if (takes[position % size].compare_exchange(
                r.bits, pack(r.lap(), owner, held_again, r.on(), r.granules()), acq_rel)) {
          out = {position, r.granules(), on, r.on()};
          return static_cast<int>(w >> 8);
        }
        return -1;
      }
      walked += r.granules();
      position += r.granules();
      on = r.on();
    }
    return -1;
  }
  void retire(std::uint64_t owner, std::uint64_t c) {
    const std::uint64_t f = freed.load(acquire);
    std::uint64_t position = f >> 1;
    bool on = (f & 1) != 0;
    for (int walked = 0; walked < 8; ++walked) {
      rec found{takes[position % size].load(acquire)};
      std::uint64_t granules = 0;
      bool next_on = false;
      if (found.lap() == lap_of(position)) {
        granules = found.granules();
        next_on = found.on();
        if ((found.state() == held || found.state() == held_again) && found.owner() == owner) {
          if (control[owner].load(acquire) != c) return;
          takes[position % size].compare_exchange(
              found.bits, pack(found.lap(), 0, returned, next_on, granules), acq_rel);
        }
      } else {
        const rec claim{claims[position % size].load(acquire)};
        if (claim.lap() != lap_of(position)) {
          const std::uint64_t nf = freed.load(acquire);
          if (nf >> 1 <= position) return;
          position = nf >> 1;
          on = (nf & 1) != 0;
          continue;
        }
        granules = claim.granules();
        next_on = claim.on();
        const bool committed = (heads[position % size].load(acquire) & 1) == std::uint64_t{on};
        if (!committed && claim.owner() == owner) {
          if (control[owner].load(acquire) != c) return;
          takes[position % size].compare_exchange(
              found.bits, pack(lap_of(position), 0, released, next_on, granules), acq_rel);
        }
      }
      position += granules;
      on = next_on;
    }
  }

  // ---- the threads ----

  void write(const claimed& of, unsigned number) {
    for (std::uint64_t g = 0; g < of.granules; ++g) {
      payload[(of.position + g) % size].use();
      // What lies where a head may lie one day: any bits.
      if (g != 0)
        heads[(of.position + g) % size].store(
            rl::rand(2) | 1 << 2 | 1 << 4 | (number + letters) << 8, relaxed);
    }
  }
  void read(const claimed& of) {
    for (std::uint64_t g = 0; g < of.granules; ++g) payload[(of.position + g) % size].use();
  }
  void send(std::uint64_t owner, unsigned number, std::uint64_t& free_seen) {
    claimed c;
    for (int tries = 0; tries < 12; ++tries) {
      if (!try_claim(owner, 1 + number % 2, free_seen, c)) {
        rl::yield(1, at(place::current()));
        continue;
      }
      write(c, number);
      may_come[number] = true;
      finish(c, 1, number);
      must_come[number] = true;
      return;
    }
  }
  void deliver(int number, bool is_again, const claimed& c) {
    require(number >= 0 && number < static_cast<int>(letters) && may_come[number],
            "a letter that nobody committed was delivered");
    read(c);
    (is_again ? again : delivered)[number]++;
    release_record(c);
  }
  bool receive(std::uint64_t owner) {
    claimed c;
    const int number = try_take(owner, c);
    if (number < 0) return false;
    deliver(number, false, c);
    return true;
  }
  void mend(std::uint64_t owner) {
    repair_head();
    claimed c;
    const int number = take_returned(owner, c);
    if (number >= 0) deliver(number, true, c);
  }

  void thread(unsigned i) {
    begin_thread(i);
    std::uint64_t free_seen = 0;
    if (i == 0) {
      control[1].store(1, release);
      const bool lives = mortal(80, [&] {
        for (unsigned n = 0; n < 4; ++n) send(1, n, free_seen);
      });
      if (!lives) {
        dead[1].store(1, release);
        if (rl::rand(2) != 0) {
          if (choices.retire_before_reuse) retire(1, 1);
          std::uint64_t old = 1;
          control[1].compare_exchange(old, 2, acq_rel);
          free_seen = 0;
          send(1, 6, free_seen);
        }
      }
      full_fence();  // what it did becomes visible some day: here, before the last look
      p_over = true;
    } else if (i == 1 && !two_receivers) {
      send(2, 4, free_seen);
      send(2, 5, free_seen);
      full_fence();
      s_over = true;
    } else if (i == 1) {
      claimed c{};
      int number = -1;
      const bool lives = mortal(40, [&] {
        for (int n = 0; n < 3; ++n) {
          number = try_take(2, c);
          if (number < 0) continue;
          in_hand[0] = number;  // known to it: from here on another delivery must be flagged
          require(may_come[number], "a letter that nobody committed was delivered");
          read(c);
          delivered[number]++;
          release_record(c);
          in_hand[0] = -1;
        }
      });
      if (!lives) dead[2].store(1, release);
      full_fence();
      s_over = true;
    } else {
      for (int n = 0; n < 10; ++n) {
        if (!receive(3)) mend(3);
      }
      wait_until([&] { return p_over && s_over; });
      // Let what the others did become visible, as the kernel's and the waiting's orders do.
      all_over = p_over && s_over;
      full_fence();
      for (int n = 0; n < 16; ++n) {
        if (!receive(3)) mend(3);
      }
      help_tail();
      advance_freed();  // as whoever finds the ring full does
    }
  }

  void after() {
    if (!all_over) return;  // the receiver did not wait long enough: nothing to check
    for (unsigned n = 0; n < letters; ++n) {
      require(delivered[n] <= 1, "a letter was delivered twice, unflagged");
      require(again[n] <= 1, "a letter was delivered again twice");
      if (must_come[n]) require(delivered[n] + again[n] >= 1, "a committed letter was lost");
      if (!may_come[n]) require(delivered[n] + again[n] == 0, "a phantom");
      if (again[n] != 0) require(two_receivers, "delivered again though nobody died with it");
    }
    require(head.last() >> 1 == tail.last() >> 1, "the head is stuck");
    require(freed.last() >> 1 == tail.last() >> 1, "room was lost");
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"tail is not loaded again", [] { choices.tail_again = false; }},
    {"head is not loaded again", [] { choices.head_again = false; }},
    {"the next record's bit is always one", [] { choices.complement = false; }},
    {"no granule stays free", [] { choices.spare_granule = false; }},
    {"repair does not look at the head again", [] { choices.committed_again = false; }},
    {"repair skips what the living have claimed", [] { choices.living_are_left_alone = false; }},
    {"an endpoint is used again before it was retired",
     [] { choices.retire_before_reuse = false; }},
    {"the commit is relaxed", [] { choices.commit_order = relaxed; }},
    {"the head's word is read relaxed", [] { choices.head_word_order = relaxed; }},
    {"releasing is relaxed", [] { choices.release_order = relaxed; }},
    {"moving freed is relaxed", [] { choices.freed_order = relaxed; }},
    {"freed is read relaxed", [] { choices.freed_read = relaxed; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<letter_model>(argc, argv, mutations);
}
