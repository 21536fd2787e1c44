// Model of the loan ring (modules/queue/loan_ring.cppm): lending, publishing, joining, taking, releasing,
// and what is done for the dead.
//
// A ring of two cells over three chunks. P lends and publishes and may be killed; Q too, to its end; S
// joins at some time, reads, and holds a message while it takes the next. Gated or drop_oldest.
// Abstracted: the kernel's answer about the dead is exact; waiting; several holds at a time are two.
// Payload is plain memory: relacy reports a race if a chunk is written while somebody reads it.
//
// Invariants: whatever S reads is what was published there; gated, S misses nothing that was published
// after it joined; when all is quiet every chunk can be lent again.
#include "model.hpp"

using namespace model;

namespace {

constexpr std::uint64_t size = 2;
constexpr std::uint64_t chunk_count = 3;
constexpr std::uint64_t holds = 2;
constexpr unsigned most = 12;

struct loan_choices {
  bool join_fence = true;
  bool join_again = true;
  bool scan_fence = true;
  bool tail_is_helped = true;
  bool tail_again = true;
  bool holds_are_looked_at = true;
  bool cursors_are_looked_at = true;
  bool cursors_before_holds = true;
  bool hold_before_cursor = true;
  bool only_what_is_behind_the_tail = true;
  bool cells_tell_the_truth = true;
  bool cells_are_settled = true;
  bool positions_are_kept = true;
  bool living_are_left_alone = true;
  bool moved_cursors_count = true;
  bool cursors_only_grow = true;
  order publish_order = acq_rel;
  order cell_read = acquire;
  order release_order = release;
  order hold_read = acquire;
  order cursor_order = acq_rel;
  order give_back_order = release;
};
loan_choices choices;

enum : std::uint64_t { loaned = 1, published = 2 };
std::uint64_t pack(std::uint64_t position, std::uint64_t owner, std::uint64_t state) {
  return (position + 1) << 8 | owner << 4 | state;
}
std::uint64_t next_of(std::uint64_t w) {
  return w >> 8;
}
// The same position in another state.
std::uint64_t as(std::uint64_t w, std::uint64_t owner, std::uint64_t state) {
  return (choices.positions_are_kept ? next_of(w) : 0) << 8 | owner << 4 | state;
}
std::uint64_t position_of(std::uint64_t w) {
  return (w >> 8) - 1;
}
std::uint64_t owner_of(std::uint64_t w) {
  return w >> 4 & 15;
}
std::uint64_t state_of(std::uint64_t w) {
  return w & 15;
}

struct loan_model : rl::test_suite<loan_model, 3> {
  word tail, cursor, subscribed;
  word cells[size];  // position + 1 << 4 | chunk
  word chunks[chunk_count];
  word hold[holds];  // position + 1
  word content[chunk_count];
  bytes payload[chunk_count];
  word dead[3];

  bool lossy;
  bool p_over, q_over;
  std::uint64_t published_at[most];  // what the model knows: the letter at a position
  bool must[most];
  unsigned letters;

  void before() {
    begin_iteration();
    lossy = rl::rand(2) != 0;
    tail.init(0);
    cursor.init(0);
    subscribed.init(0);
    for (auto& c : cells) c.init(0);
    for (auto& h : hold) h.init(0);
    for (std::uint64_t i = 0; i < chunk_count; ++i) {
      chunks[i].init(0);
      content[i].init(0);
      payload[i].init();
    }
    for (auto& d : dead) d.init(0);
    p_over = q_over = false;
    for (unsigned i = 0; i < most; ++i) {
      published_at[i] = 0;
      must[i] = false;
    }
    letters = 0;
  }

  struct survey {
    std::uint64_t tail;
    std::uint64_t slowest;
  };
  survey look_round() {
    for (int tries = 0; choices.tail_is_helped && tries < 3; ++tries) {
      std::uint64_t at = tail.load(acquire);
      if (cells[at % size].load(acquire) >> 4 != at + 1) break;
      tail.compare_exchange(at, at + 1, release);
    }
    survey now{tail.load(acquire), 0};
    now.slowest = now.tail;
    if (choices.scan_fence) full_fence();
    if (subscribed.load(acquire) == 0) return now;
    const std::uint64_t c = cursor.load(acquire);
    if (choices.cursors_are_looked_at && c != 0 && c - 1 < now.slowest) now.slowest = c - 1;
    return now;
  }
  bool held(std::uint64_t position) {
    if (!choices.holds_are_looked_at || subscribed.load(acquire) == 0) return false;
    for (auto& h : hold)
      if (h.load(choices.hold_read) == position + 1) return true;
    return false;
  }
  bool reusable(const survey& now, std::uint64_t w) {
    return state_of(w) == published &&
           (!choices.only_what_is_behind_the_tail || position_of(w) < now.tail) &&
           position_of(w) < now.slowest && !held(position_of(w));
  }
  std::uint64_t truth_of(std::uint64_t chunk, std::uint64_t loan) {
    std::uint64_t newest = next_of(loan);
    for (auto& c : cells) {
      const std::uint64_t cell = c.load(acquire);
      if (choices.cells_tell_the_truth && (cell & 15) == chunk && cell >> 4 > newest)
        newest = cell >> 4;
    }
    return newest == next_of(loan) ? as(loan, 0, 0) : pack(newest - 1, 0, published);
  }
  void settle(std::uint64_t cell) {
    if (cell == 0 || !choices.cells_are_settled) return;
    std::uint64_t seen = chunks[cell & 15].load(acquire);
    if (state_of(seen) != loaned || next_of(seen) >= cell >> 4) return;
    chunks[cell & 15].compare_exchange(seen, pack((cell >> 4) - 1, 0, published), acq_rel);
  }
  // The chunk, or -1.
  int try_loan(std::uint64_t owner) {
    for (std::uint64_t i = 0; i < chunk_count; ++i) {
      std::uint64_t seen = chunks[i].load(relaxed);
      if (state_of(seen) == 0 && chunks[i].compare_exchange(seen, as(seen, owner, loaned), acq_rel))
        return static_cast<int>(i);
    }
    if (!choices.cursors_before_holds) {
      // As if holds were looked at first: what is held now is remembered, then the cursors.
      bool was_held[most] = {};
      for (unsigned p = 0; p < most; ++p) was_held[p] = held(p);
      const survey now = look_round();
      for (std::uint64_t i = 0; i < chunk_count; ++i) {
        std::uint64_t seen = chunks[i].load(acquire);
        if (state_of(seen) != published || position_of(seen) >= now.slowest ||
            position_of(seen) >= most || was_held[position_of(seen)])
          continue;
        if (chunks[i].compare_exchange(seen, as(seen, owner, loaned), acq_rel))
          return static_cast<int>(i);
      }
      return -1;
    }
    const survey now = look_round();
    for (std::uint64_t i = 0; i < chunk_count; ++i) {
      std::uint64_t seen = chunks[i].load(acquire);
      if (state_of(seen) == loaned && owner_of(seen) != owner) {
        if (choices.living_are_left_alone && dead[owner_of(seen)].load(acquire) == 0) continue;
        const std::uint64_t truth = truth_of(i, seen);
        if (!chunks[i].compare_exchange(seen, truth, acq_rel)) continue;
        seen = truth;
      }
      if (state_of(seen) != 0 && !reusable(now, seen)) continue;
      if (chunks[i].compare_exchange(seen, as(seen, owner, loaned), acq_rel))
        return static_cast<int>(i);
    }
    return -1;
  }
  bool try_publish(std::uint64_t chunk, std::uint64_t letter, std::uint64_t& slowest) {
    std::uint64_t mine = chunks[chunk].load(relaxed);
    for (int tries = 0; tries < 6; ++tries) {
      const std::uint64_t at = tail.load(acquire);
      word& cell = cells[at % size];
      std::uint64_t seen = cell.load(acquire);
      if (choices.tail_again && tail.load(acquire) != at) continue;
      if (seen >> 4 == at + 1) {
        std::uint64_t from = at;
        tail.compare_exchange(from, at + 1, release);
        continue;
      }
      if (at - slowest >= size) {
        slowest = look_round().slowest;
        if (tail.load(acquire) != at) continue;
        if (at - slowest >= size) {
          if (!lossy) return false;
          std::uint64_t behind = cursor.load(acquire);
          while (behind != 0 && (behind - 1 < at || !choices.cursors_only_grow) &&
                 at - (behind - 1) >= size &&
                 !cursor.compare_exchange(behind, at - size / 2 + 1, acq_rel)) {
          }
          continue;
        }
      }
      settle(seen);
      const bool won = cell.compare_exchange(seen, (at + 1) << 4 | chunk, choices.publish_order);
      if (!won) continue;
      if (at < most) published_at[at] = letter;
      std::uint64_t from = at;
      tail.compare_exchange(from, at + 1, release);
      if (at < most) must[at] = true;
      chunks[chunk].compare_exchange(mine, pack(at, 0, published), acq_rel);
      return true;
    }
    return false;
  }
  void publish(std::uint64_t owner, std::uint64_t& slowest) {
    const int chunk = try_loan(owner);
    if (chunk < 0) return;
    const std::uint64_t letter = ++letters;
    payload[chunk].use();
    content[chunk].store(letter, relaxed);
    if (!try_publish(static_cast<std::uint64_t>(chunk), letter, slowest))
      chunks[chunk].store(as(chunks[chunk].load(relaxed), 0, 0), choices.give_back_order);
  }

  // 1: a message, in hand at `at_hold`; 0: nothing.
  int try_take(std::uint64_t& c, std::uint64_t at_hold, std::uint64_t& position,
               std::uint64_t& chunk) {
    for (int tries = 0; tries < 6; ++tries) {
      const std::uint64_t cell = cells[c % size].load(choices.cell_read);
      if (cell >> 4 < c + 1) return 0;
      if (cell >> 4 == c + 1) {
        if (choices.hold_before_cursor) hold[at_hold].store(c + 1, relaxed);
        std::uint64_t expected = c + 1;
        if (cursor.compare_exchange(expected, c + 2, choices.cursor_order) ||
            !choices.moved_cursors_count) {
          if (!choices.hold_before_cursor) hold[at_hold].store(c + 1, relaxed);
          position = c++;
          chunk = cell & 15;
          return 1;
        }
        hold[at_hold].store(0, choices.release_order);
      }
      const std::uint64_t now = cursor.load(acquire);
      if (now <= c + 1) {
        require(false, "a sound ring is taken for damaged");
        return 0;
      }
      require(lossy, "a subscriber of a gated ring was moved on");
      c = now - 1;
    }
    return 0;
  }
  void read(std::uint64_t position, std::uint64_t chunk) {
    payload[chunk].use();
    require(position >= most || content[chunk].load(relaxed) == published_at[position],
            "another message than was published there");
  }

  void thread(unsigned i) {
    begin_thread(i);
    std::uint64_t slowest = 0;
    if (i == 0) {
      const bool lives = mortal(60, [&] {
        for (int n = 0; n < 3; ++n) publish(1, slowest);
      });
      if (!lives) dead[1].store(1, release);
      full_fence();  // what it did becomes visible some day: here, before the last look
      p_over = true;
    } else if (i == 1) {
      for (int n = 0; n < 4; ++n) publish(2, slowest);
      full_fence();
      q_over = true;
    } else {
      subscribed.store(1, release);
      cursor.store(tail.load(acquire) + 1, release);
      if (choices.join_fence) full_fence();
      std::uint64_t c = cursor.load(relaxed) - 1;
      if (choices.join_again) {
        std::uint64_t seen = c + 1;
        const std::uint64_t from = tail.load(acquire);
        while (seen < from + 1 && !cursor.compare_exchange(seen, from + 1, acq_rel)) {
        }
        c = from + 1 > seen ? from : seen - 1;
      }
      std::uint64_t position[holds] = {}, chunk[holds] = {};
      bool in_hand[holds] = {};
      const auto turn = [&](unsigned n) {
        const unsigned h = n % holds;
        if (in_hand[h]) {
          read(position[h], chunk[h]);  // still there
          hold[h].store(0, choices.release_order);
          in_hand[h] = false;
        }
        in_hand[h] = try_take(c, h, position[h], chunk[h]) != 0;
        if (in_hand[h]) read(position[h], chunk[h]);
      };
      for (unsigned n = 0; n < 8; ++n) turn(n);
      wait_until([&] { return p_over && q_over; });
      const bool all_over = p_over && q_over;
      full_fence();
      for (unsigned n = 0; n < 8; ++n) turn(n);
      for (unsigned h = 0; h < holds; ++h)
        if (in_hand[h]) hold[h].store(0, choices.release_order);
      if (!all_over) return;
      if (!lossy)
        for (std::uint64_t p = c; p < most; ++p)
          require(!must[p], "a published message was not seen");
      for (std::uint64_t n = 0; n < chunk_count; ++n)
        require(try_loan(3) >= 0, "a chunk did not come back");
    }
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"joining without a fence", [] { choices.join_fence = false; }},
    {"joining without a second look at the tail (Q5)", [] { choices.join_again = false; }},
    {"looking at the cursors without a fence", [] { choices.scan_fence = false; }},
    {"a dead publisher's tail stays behind (once so written)",
     [] { choices.tail_is_helped = false; }},
    {"publishers do not look at the tail again", [] { choices.tail_again = false; }},
    {"holds are not looked at", [] { choices.holds_are_looked_at = false; }},
    {"cursors are not looked at", [] { choices.cursors_are_looked_at = false; }},
    {"holds are looked at before cursors", [] { choices.cursors_before_holds = false; }},
    {"the hold is stored after the cursor", [] { choices.hold_before_cursor = false; }},
    {"a dead one's loan is free whatever the cells say",
     [] { choices.cells_tell_the_truth = false; }},
    {"a cell is overwritten before its chunk is settled (once so written)",
     [] { choices.cells_are_settled = false; }},
    {"what is free or lent forgets where it was published",
     [] { choices.positions_are_kept = false; }},
    {"the living are taken for dead", [] { choices.living_are_left_alone = false; }},
    {"a subscriber takes what it was moved past", [] { choices.moved_cursors_count = false; }},
    {"who slept moves a cursor back (once so written)", [] { choices.cursors_only_grow = false; }},
    {"publishing is relaxed", [] { choices.publish_order = relaxed; }},
    {"the cell is read relaxed", [] { choices.cell_read = relaxed; }},
    {"releasing is relaxed", [] { choices.release_order = relaxed; }},
    {"the holds are read relaxed", [] { choices.hold_read = relaxed; }},
    {"moving the cursor is relaxed", [] { choices.cursor_order = relaxed; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<loan_model>(argc, argv, mutations);
}
