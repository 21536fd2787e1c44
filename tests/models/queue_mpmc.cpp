// Model: the ring of mpmc_queue (modules/queue/intents.cppm, mpmc_queue.cppm, impl/queue/intents.cpp).
//
// Modelled. A ring of 2 slots that holds up to 2 messages. T0 sends or receives, T1 sends, receives or
// repairs; both may die before any of their steps. T2 sends, receives, and repairs what the dead left,
// of both sides, with judge, mend_send, take_orphan and finish_orphan step by step as written; it may
// take over T0's endpoint and send through it while T1 is at work; and in the end it drains the ring. The kernel's
// answer to "does it live?" is a word that is stored (release) after the death and loaded (acquire).
// Abstracted. Full and empty are retried a few times; participants have one endpoint each.
//
// Invariants. No race on a payload; what was sent is delivered to somebody living, or was returned to
// the dead receiver; nothing is delivered twice without a flag; at the end the ring is empty and every
// slot is free for its next position.
#include "model.hpp"

using namespace model;

namespace {

constexpr std::uint64_t capacity = 2;
constexpr std::uint64_t tomb = std::uint64_t{1} << 40;
constexpr std::uint64_t taken = std::uint64_t{1} << 41;
constexpr std::uint64_t to_send = std::uint64_t{1} << 42;
constexpr std::uint64_t to_receive = std::uint64_t{1} << 43;

struct rules {
  order send_claim = release;
  order commit = release;
  order look = acquire;
  order receive_claim = release;
  order free_slot = release;
  order repair_tail = acquire;
  order repair_head = acquire;
  bool intent_before_claim = true;
  bool loser_clears = true;
  bool heeds_the_living = true;
  bool taken_can_be_taken_over = true;  // Q1
  bool repairs_by_exchange = true;
  bool repairer_says_so_first = true;
  bool judges_afresh = true;  // Q3
  bool tomb_is_full = false;
  bool settles_before_reuse = true;
} protocol;

struct payload {
  rl::var<int> v;
  void init(int n = 0) { v(at(place::current())) = n; }
  void write(int n, place p = place::current()) {
    const step s;
    v(at(p)) = n;
  }
  int read(place p = place::current()) {
    const step s;
    return v(at(p));
  }
};

struct ringing : rl::test_suite<ringing, 3> {
  word tail, head, sequence[capacity], intent[3];
  word lives[4];  // lives[3]: whoever takes over T0's endpoint
  word owner[3];  // which of lives an endpoint belongs to
  payload data[capacity];
  static constexpr int messages = 6;
  int sent[messages + 1], delivered[messages + 1], flagged[messages + 1];
  bool in_hand[messages + 1];  // T0 or T1 had it returned
  bool over[2], died[2];
  unsigned could_be_lost;  // receivers that died

  void before() {
    begin_iteration();
    tail.init(0);
    head.init(0);
    for (std::uint64_t i = 0; i < capacity; ++i) {
      sequence[i].init(i);
      data[i].init();
    }
    for (unsigned i = 0; i < 3; ++i) {
      intent[i].init(0);
      owner[i].init(i);
    }
    for (word& w : lives) w.init(1);
    for (int i = 0; i <= messages; ++i) sent[i] = delivered[i] = flagged[i] = in_hand[i] = 0;
    over[0] = over[1] = died[0] = died[1] = false;
    could_be_lost = 0;
    for (bool& k : known_dead) k = false;
    const unsigned fill = rl::rand(3);
    tail.init(fill);
    for (unsigned i = 0; i < fill; ++i) {
      sequence[i].init(i + 1);
      data[i].init(static_cast<int>(5 + i));
      sent[5 + i] = 1;
    }
  }

  bool send(unsigned me, int message) {
    std::uint64_t t = tail.load(relaxed);
    bool tried = false;
    for (int attempt = 0; attempt < 6; ++attempt) {
      const std::uint64_t found = sequence[t % capacity].load(protocol.look);
      if (found == t) {
        if (protocol.intent_before_claim) intent[me].store(to_send | t, relaxed);
        tried = true;
        std::uint64_t expected = t;
        if (tail.compare_exchange(expected, t + 1, protocol.send_claim)) {
          if (!protocol.intent_before_claim) intent[me].store(to_send | t, relaxed);
          data[t % capacity].write(message);
          sequence[t % capacity].store(t + 1, protocol.commit);
          sent[message] = 1;
          return true;
        }
        t = expected;
        continue;
      }
      const std::uint64_t now = tail.load(relaxed);
      if (now != t && !(protocol.tomb_is_full && (found & tomb) != 0)) {
        t = now;
        continue;
      }
      break;
    }
    if (tried && protocol.loser_clears) intent[me].store(0, release);
    return false;
  }

  // 0: nothing.
  int receive(unsigned me) {
    std::uint64_t h = head.load(relaxed);
    bool tried = false;
    for (int attempt = 0; attempt < 6; ++attempt) {
      const std::uint64_t found = sequence[h % capacity].load(protocol.look);
      if ((found & ~tomb) == h + 1) {
        intent[me].store(to_receive | h, relaxed);
        tried = true;
        std::uint64_t expected = h;
        if (!head.compare_exchange(expected, h + 1, protocol.receive_claim)) {
          h = expected;
          continue;
        }
        int got = 0;
        if ((found & tomb) == 0) got = data[h % capacity].read();
        sequence[h % capacity].store(h + capacity, protocol.free_slot);
        if (got != 0) return got;
        h = head.load(relaxed);
        continue;
      }
      const std::uint64_t now = head.load(relaxed);
      if (now == h) break;
      h = now;
    }
    if (tried && protocol.loser_clears) intent[me].store(0, release);
    return 0;
  }

  // ---- repair, as impl/queue/intents.cpp ----

  // The kernel's answer is never old.
  bool lives_now(std::uint64_t who) { return lives[who].fetch_or(0, acq_rel) != 0; }
  bool known_dead[3] = {};  // for the mutation of Q3

  // true: some want `wanted`, and all of them are dead
  bool judge(std::uint64_t wanted, unsigned except) {
    bool found = false;
    for (unsigned i = 0; i < 3; ++i) {
      if (i == except) continue;
      const std::uint64_t before_ = owner[i].load(acquire);
      if (intent[i].load(acquire) != wanted) continue;
      if (!protocol.judges_afresh && known_dead[i]) {
        found = true;
        continue;
      }
      if (owner[i].load(acquire) != before_) return false;
      if (protocol.heeds_the_living && lives_now(before_)) return false;
      if (owner[i].load(acquire) != before_) return false;
      found = true;
    }
    return found;
  }
  bool mend_send(std::uint64_t position) {
    if (tail.load(protocol.repair_tail) <= position) return false;
    if (sequence[position % capacity].load(acquire) != position) return true;
    if (!judge(to_send | position, 9)) return false;
    if (protocol.repairs_by_exchange) {
      std::uint64_t expected = position;
      sequence[position % capacity].compare_exchange(expected, tomb | (position + 1), acq_rel);
    } else {
      sequence[position % capacity].store(tomb | (position + 1), release);
    }
    return true;
  }
  std::uint64_t orphaned_word(std::uint64_t position, unsigned me) {
    const std::uint64_t h = head.load(protocol.repair_head);
    if (position >= h || h - position > capacity) return 0;
    const std::uint64_t found = sequence[position % capacity].load(acquire);
    if ((found & 0xffff) != position + 1) return 0;
    if ((found & taken) != 0) {
      if (!protocol.taken_can_be_taken_over) return 0;
      const std::uint64_t by = found >> 20 & 3;
      if (by == me) return found;
      return lives_now(owner[by].load(acquire)) ? 0 : found;
    }
    return judge(to_receive | position, me) ? found : 0;
  }
  // 0: nothing, or somebody else did.
  int redeliver(std::uint64_t position, unsigned me) {
    std::uint64_t found = orphaned_word(position, me);
    int got = 0;
    if (found != 0) {
      if (protocol.repairer_says_so_first) intent[me].store(to_receive | position, release);
      const bool is_tomb = (found & tomb) != 0;
      const std::uint64_t mine =
          is_tomb ? position + capacity : taken | std::uint64_t{me} << 20 | (position + 1);
      if (sequence[position % capacity].compare_exchange(found, mine, acq_rel) && !is_tomb) {
        got = data[position % capacity].read();
        sequence[position % capacity].store(position + capacity, release);
      }
    }
    intent[me].store(0, release);
    return got;
  }
  int repair(unsigned me) {
    const std::uint64_t h = head.load(acquire);
    if (tail.load(protocol.repair_tail) > h && sequence[h % capacity].load(acquire) == h)
      mend_send(h);
    for (unsigned i = 0; i < 3; ++i) {
      if (i == me) continue;
      const std::uint64_t wanted = intent[i].load(acquire);
      if ((wanted & to_receive) == 0) continue;
      if (const int got = redeliver(wanted & 0xffff, me); got != 0) return got;
    }
    return 0;
  }
  bool settled(unsigned slot) {
    const std::uint64_t wanted = intent[slot].load(acquire);
    const std::uint64_t position = wanted & 0xffff;
    if ((wanted & to_send) != 0)
      return tail.load(protocol.repair_tail) <= position || mend_send(position);
    if ((wanted & to_receive) != 0) {
      if (head.load(protocol.repair_head) <= position) return true;
      const std::uint64_t found = sequence[position % capacity].load(acquire);
      if ((found & 0xffff) != position + 1) return true;
      return (found & taken) != 0 && (found >> 20 & 3) != slot;
    }
    return true;
  }

  void deliver(int message, bool again) {
    require(message >= 1 && message <= messages, "torn");
    if (delivered[message] != 0 || in_hand[message]) require(again, "a duplicate, no flag");
    ++delivered[message];
    if (again) flagged[message] = 1;
  }

  void hold(int message, bool again) {
    if (message == 0) return;
    require(message <= messages, "torn");
    if (in_hand[message] || delivered[message] != 0) require(again, "a duplicate, no flag");
    in_hand[message] = true;
    if (again) flagged[message] = 1;
  }

  void thread(unsigned i) {
    begin_thread(i);
    if (i == 0) {
      const bool sends = rl::rand(2) != 0;
      died[0] = !mortal(8, [&] {
        if (sends) {
          send(0, 1);
        } else {
          hold(receive(0), false);
        }
      });
      if (died[0] && !sends) ++could_be_lost;
      lives[0].fetch_add(died[0] ? std::uint64_t{0} - 1 : 2, release);
      over[0] = true;
    } else if (i == 1) {
      const unsigned role = rl::rand(3);
      if (role == 2 && rl::rand(2) != 0) wait_until([&] { return over[0]; });
      died[1] = !mortal(role == 2 ? 30 : 10, [&] {
        if (role == 0) send(1, 4);
        if (role == 1) hold(receive(1), false);
        if (role == 2) {
          known_dead[0] = !lives_now(0);
          hold(repair(1), true);
          hold(receive(1), false);
        }
      });
      if (died[1] && role != 0) ++could_be_lost;
      lives[1].fetch_add(died[1] ? std::uint64_t{0} - 1 : 2, release);
      over[1] = true;
    } else {
      if (rl::rand(2) != 0) send(2, 2);
      for (int round = 0; round < 2; ++round) {
        if (rl::rand(2) != 0)
          if (const int got = receive(2); got != 0) deliver(got, false);
        if (rl::rand(2) != 0) {
          if (const int got = repair(2); got != 0) deliver(got, true);
        }
      }
      // T0's endpoint, as soon as it is dead, while T1 may still be at work.
      if (rl::rand(2) != 0) {
        wait_until([&] { return over[0]; });
        if (!lives_now(0) && (!protocol.settles_before_reuse || settled(0))) {
          std::uint64_t expected = 0;
          if (owner[0].compare_exchange(expected, 3, acq_rel)) {
            intent[0].store(0, release);
            send(0, 3);
          }
        }
      }
      wait_until([&] { return over[0] && over[1]; });
      if (!over[0] || !over[1]) return;  // not in this schedule
      (void)lives_now(0);
      (void)lives_now(1);
      finish();
    }
  }

  void finish() {
    lives[3].store(0, relaxed);  // whoever took the endpoint over is this thread, and idle
    for (int round = 0; round < 8; ++round) {
      if (const int got = receive(2); got != 0) deliver(got, false);
      if (const int got = repair(2); got != 0) deliver(got, true);
    }
    const std::uint64_t h = head.load(acquire);
    require(h == tail.load(acquire), "blocked: the ring does not drain");
    for (std::uint64_t p = h; p < h + capacity; ++p)
      require(sequence[p % capacity].load(acquire) == p, "blocked: a slot is not free again");
    unsigned lost = 0;
    for (int m = 1; m <= messages; ++m)
      if (sent[m] != 0 && delivered[m] == 0 && !in_hand[m]) ++lost;
    require(lost <= could_be_lost, "lost");
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"send claims relaxed", [] { protocol.send_claim = relaxed; }},
    {"send commits relaxed", [] { protocol.commit = relaxed; }},
    {"sequence is looked at relaxed", [] { protocol.look = relaxed; }},
    {"a slot is freed relaxed", [] { protocol.free_slot = relaxed; }},
    {"receive claims relaxed", [] { protocol.receive_claim = relaxed; }},
    {"repair loads head relaxed", [] { protocol.repair_head = relaxed; }},
    {"repair loads tail relaxed", [] { protocol.repair_tail = relaxed; }},
    {"the intent is published after the claim", [] { protocol.intent_before_claim = false; }},
    {"who loses leaves its intent", [] { protocol.loser_clears = false; }},
    {"repair does not heed the living", [] { protocol.heeds_the_living = false; }},
    {"a dead repairer keeps what it took (Q1)", [] { protocol.taken_can_be_taken_over = false; }},
    {"repair stores instead of exchanging", [] { protocol.repairs_by_exchange = false; }},
    {"repair goes by who was dead before (Q3)", [] { protocol.judges_afresh = false; }},
    {"an endpoint is reused unsettled", [] { protocol.settles_before_reuse = false; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<ringing>(argc, argv, mutations);
}
