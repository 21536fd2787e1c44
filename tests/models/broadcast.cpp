// Model of the broadcast ring (modules/queue/broadcast_ring.cppm): publishing, joining, reading, and what
// is done for the dead.
//
// A ring of two positions, each with two words of payload. P publishes and may be killed; Q publishes
// too; S joins at some time and reads. Gated (nobody is overtaken) or lossy (drop_oldest).
// Abstracted: the kernel's answer about the dead is exact; waiting; passing over stopped publishers.
//
// Invariants: whatever S reads is whole and was published; gated, S misses nothing that was published
// after it joined, and each position comes once, in order; a dead publisher is not in the way.
#include "model.hpp"

using namespace model;

namespace {

constexpr std::uint64_t size = 2;
constexpr unsigned most = 12;

struct broadcast_choices {
  bool join_fence = true;
  bool join_again = true;
  bool scan_fence = true;
  bool second_look = true;
  bool tail_again = true;
  bool tail_may_lag = true;
  bool living_are_left_alone = true;
  bool write_fence = true;
  bool read_fence = true;
  order commit_order = release;
  order word_read = acquire;
  order cursor_order = release;
  order cursor_read = acquire;
};
broadcast_choices choices;

enum : std::uint64_t { writing = 1, ready = 2, hollow = 3 };
std::uint64_t pack(std::uint64_t position, std::uint64_t owner, std::uint64_t state) {
  return (position + 1) << 8 | owner << 4 | state;
}
std::uint64_t next_of(std::uint64_t w) {
  return w >> 8;
}
std::uint64_t owner_of(std::uint64_t w) {
  return w >> 4 & 15;
}
std::uint64_t state_of(std::uint64_t w) {
  return w & 15;
}

void release_fence() {
  rl::ctx().atomic_thread_fence_release();
}
void acquire_fence() {
  rl::ctx().atomic_thread_fence_acquire();
}

struct broadcast_model : rl::test_suite<broadcast_model, 3> {
  word tail, cursor, subscribed;
  word words[size], first[size], second[size];
  word dead[3];
  bool lossy;
  bool p_over, q_over, joined;
  bool may[most], must[most];

  void before() {
    begin_iteration();
    lossy = rl::rand(2) != 0;
    tail.init(0);
    cursor.init(0);
    subscribed.init(0);
    for (std::uint64_t i = 0; i < size; ++i) {
      words[i].init(0);
      first[i].init(99);
      second[i].init(99);
    }
    for (auto& d : dead) d.init(0);
    p_over = q_over = joined = false;
    for (unsigned i = 0; i < most; ++i) may[i] = must[i] = false;
  }

  bool make_hollow(word& at, std::uint64_t seen) {
    if (choices.living_are_left_alone && dead[owner_of(seen)].load(acquire) == 0) return false;
    return at.compare_exchange(seen, pack(next_of(seen) - 1, 0, hollow), acq_rel);
  }
  std::uint64_t slowest(std::uint64_t at) {
    if (choices.scan_fence) full_fence();
    if (subscribed.load(acquire) == 0) return at;
    const std::uint64_t c = cursor.load(choices.cursor_read);
    return c == 0 || c - 1 >= at ? at : c - 1;
  }
  // The position, or -1: full.
  int try_publish(std::uint64_t owner, std::uint64_t& slow) {
    for (int tries = 0; tries < 6; ++tries) {
      const std::uint64_t t = tail.load(acquire);
      word& at = words[t % size];
      std::uint64_t seen = at.load(acquire);
      if (choices.tail_again && tail.load(acquire) != t) continue;
      if (next_of(seen) == t + 1) {
        std::uint64_t from = t;
        tail.compare_exchange(from, t + 1, release);
        continue;
      }
      if (state_of(seen) == writing) {
        if (make_hollow(at, seen)) continue;
        return -1;
      }
      if (!lossy && t - slow >= size) {
        slow = slowest(t);
        if (t - slow >= size) return -1;
      }
      if (!at.compare_exchange(seen, pack(t, owner, writing), acq_rel)) continue;
      std::uint64_t from = t;
      tail.compare_exchange(from, t + 1, release);
      if (choices.write_fence) release_fence();
      first[t % size].store(t, relaxed);
      second[t % size].store(t, relaxed);
      if (t < most) may[t] = true;
      at.store(pack(t, 0, ready), choices.commit_order);
      if (t < most) must[t] = true;
      return static_cast<int>(t);
    }
    return -1;
  }

  // false: nothing there.
  bool try_read(std::uint64_t& c, bool& lost) {
    for (int tries = 0; tries < 6; ++tries) {
      word& at = words[c % size];
      const std::uint64_t seen = at.load(choices.word_read);
      if (next_of(seen) == c + 1) {
        if (state_of(seen) == hollow) {
          ++c;
          continue;
        }
        if (state_of(seen) != ready) return false;
        const std::uint64_t a = first[c % size].load(relaxed);
        const std::uint64_t b = second[c % size].load(relaxed);
        if (choices.read_fence) acquire_fence();
        if (choices.second_look && at.load(relaxed) != seen) continue;
        require(a == c && b == c, "torn, or of another position");
        require(c >= most || may[c], "a phantom");
        ++c;
        cursor.store(c + 1, choices.cursor_order);
        return true;
      }
      if (next_of(seen) > c + 1) {
        require(lossy, "a subscriber of a gated ring was overtaken");
        const std::uint64_t t = tail.load(acquire);
        const std::uint64_t safe = t > size / 2 ? t - size / 2 : 0;
        c = safe > c ? safe : c + 1;
        lost = true;
        continue;
      }
      return false;
    }
    return false;
  }
  // Does a subscriber that found nothing take its cursor, or the tail, for damaged?
  bool is_astray(std::uint64_t c) {
    const std::uint64_t t = tail.load(acquire);
    if (c <= t) return false;
    const std::uint64_t here = words[c % size].load(acquire);
    if (next_of(here) == c + 1 ? state_of(here) != writing : next_of(here) > c + 1) return false;
    return !choices.tail_may_lag || c != t + 1 || next_of(words[t % size].load(acquire)) < t + 1;
  }
  void repair(std::uint64_t c) {
    const std::uint64_t seen = words[c % size].load(acquire);
    if (next_of(seen) == c + 1 && state_of(seen) == writing) make_hollow(words[c % size], seen);
  }

  void thread(unsigned i) {
    begin_thread(i);
    std::uint64_t slow = 0;
    if (i == 0) {
      const bool lives = mortal(40, [&] {
        for (int n = 0; n < 3; ++n) try_publish(1, slow);
      });
      if (!lives) dead[1].store(1, release);
      full_fence();  // what it did becomes visible some day: here, before the last look
      p_over = true;
    } else if (i == 1) {
      for (int n = 0; n < 4; ++n) try_publish(2, slow);
      full_fence();
      q_over = true;
    } else {
      subscribed.store(1, release);
      std::uint64_t start = tail.load(acquire);
      cursor.store(start + 1, release);
      if (choices.join_fence) full_fence();
      if (choices.join_again) start = tail.load(acquire);
      cursor.store(start + 1, release);
      std::uint64_t c = start;
      bool lost = false;
      for (int n = 0; n < 8; ++n)
        if (!try_read(c, lost)) {
          repair(c);
          require(!is_astray(c), "a sound ring is taken for damaged");
        }
      wait_until([&] { return p_over && q_over; });
      const bool all_over = p_over && q_over;
      full_fence();
      for (int n = 0; n < 8; ++n)
        if (!try_read(c, lost)) {
          repair(c);
          require(!is_astray(c), "a sound ring is taken for damaged");
        }
      if (all_over)
        for (std::uint64_t p = c; p < most; ++p)
          require(!must[p], "a published message was not seen");
    }
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"joining without a fence", [] { choices.join_fence = false; }},
    {"joining without a second look at the tail (Q5)", [] { choices.join_again = false; }},
    {"looking at the cursors without a fence", [] { choices.scan_fence = false; }},
    {"no second look at the word", [] { choices.second_look = false; }},
    {"publishers do not look at the tail again", [] { choices.tail_again = false; }},
    {"the tail is taken for exact", [] { choices.tail_may_lag = false; }},
    {"the living are taken for dead", [] { choices.living_are_left_alone = false; }},
    {"no fence after the word says writing (Q9)", [] { choices.write_fence = false; }},
    {"no fence before the second look", [] { choices.read_fence = false; }},
    {"the commit is relaxed", [] { choices.commit_order = relaxed; }},
    {"the word is read relaxed", [] { choices.word_read = relaxed; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<broadcast_model>(argc, argv, mutations);
}
