// Model: the lane of spsc_queue and mpsc_queue (modules/queue/lane.cppm), with successors and closing.
//
// Modelled. A ring of 2 slots. T0 sends, one at a time or a batch, and may die before any of its steps;
// then its successor, of the same thread, finds out where it stopped and sends on. T1 receives, one at a
// time or a batch, may die, and is succeeded likewise. T2 closes: closing, heavy fence, closed. The
// sender has heavy fences done for it, or exchanges. The last receiver goes on until it is told the end.
// Abstracted. A sender that finds the lane full gives up after a few looks.
//
// Invariants. No race on a payload; each message is delivered in order; one that was sent is delivered
// before the end is told; twice only if the second time is flagged; nothing that was not sent.
#include "model.hpp"

using namespace model;

namespace {

constexpr std::uint64_t capacity = 2;
enum : std::uint64_t { open, closing, closed };

struct rules {
  order commit = release;
  order look = acquire;
  order take = release;
  order see_head = acquire;
  order end_order = seq_cst;
  bool claims_before_state = true;
  bool closer_fences = true;
  bool withdraws = true;
  bool end_heeds_flight = true;
  bool looks_again = true;
  bool ascending = true;
  bool payload_first = true;
  bool successor_walks = true;
  bool says_in_hand = true;
  bool flags = true;
} protocol;

struct payload {
  rl::var<int> v;
  void init() { v(at(place::current())) = 0; }
  void write(int n, place p = place::current()) {
    const step s;
    v(at(p)) = n;
  }
  int read(place p = place::current()) {
    const step s;
    return v(at(p));
  }
};

struct lane : rl::test_suite<lane, 3> {
  static constexpr int messages = 6;
  word claimed, head, in_hand, state, sender_lives, sequence[capacity];
  payload data[capacity];
  bool sent[messages + 1];
  int delivered[messages + 1];
  int last;  // the newest that was delivered
  bool self_fencing;
  bool sender_over;
  bool ended;

  void before() {
    begin_iteration();
    claimed.init(0);
    head.init(0);
    in_hand.init(0);
    state.init(open);
    sender_lives.init(1);
    for (std::uint64_t i = 0; i < capacity; ++i) {
      sequence[i].init(0);
      data[i].init();
    }
    for (int i = 0; i <= messages; ++i) sent[i] = delivered[i] = 0;
    last = 0;
    self_fencing = rl::rand(2) != 0;
    now.enrolled[0] = !self_fencing;
    now.enrolled[1] = now.enrolled[2] = true;
    sender_over = ended = false;
  }

  // ---- the sender ----

  struct sender {
    std::uint64_t tail = 0, seen_head = 0;
  };
  sender begin_sending() {
    sender s;
    const std::uint64_t c = claimed.load(relaxed);
    s.seen_head = s.tail = head.load(protocol.see_head);
    if (protocol.successor_walks) {
      while (s.tail != c && sequence[s.tail % capacity].load(relaxed) == s.tail + 1) ++s.tail;
    } else {
      s.tail = c;
    }
    claimed.store(s.tail, relaxed);
    return s;
  }
  // Sends message `first` and, in a batch, the next one. false: closed, or full.
  bool send(sender& s, int first, std::uint64_t n) {
    for (int look = 0; capacity - (s.tail - s.seen_head) < n; ++look) {
      if (look == 8) return false;
      s.seen_head = head.load(protocol.see_head);
    }
    const auto claim = [&] {
      if (self_fencing) {
        claimed.exchange(s.tail + n, seq_cst);
      } else {
        claimed.store(s.tail + n, relaxed);
      }
    };
    if (protocol.claims_before_state) claim();
    const bool is_open = state.load(seq_cst) == open;
    if (is_open && !protocol.claims_before_state) claim();
    if (!is_open) {
      if (protocol.withdraws) claimed.store(s.tail, release);
      return false;
    }
    for (std::uint64_t k = 0; k < n; ++k) {
      const std::uint64_t i = protocol.ascending ? k : n - 1 - k;
      const std::uint64_t p = s.tail + i;
      const int message = first + static_cast<int>(i);
      if (protocol.payload_first) data[p % capacity].write(message);
      sequence[p % capacity].store(p + 1, protocol.commit);
      if (!protocol.payload_first) data[p % capacity].write(message);
    }
    for (std::uint64_t k = 0; k < n; ++k) sent[first + static_cast<int>(k)] = true;
    s.tail += n;
    return true;
  }

  // ---- the receiver ----

  struct receiver {
    std::uint64_t at = 0, again_until = 0;
  };
  receiver begin_receiving(bool died) {
    receiver r;
    r.at = r.again_until = head.load(relaxed);
    if (died && protocol.flags) {
      const std::uint64_t hand = in_hand.load(relaxed);
      r.again_until = hand != r.at && hand - r.at <= capacity ? hand : r.at + 1;
    }
    return r;
  }
  bool ready(const receiver& r) {
    return sequence[r.at % capacity].load(protocol.look) == r.at + 1;
  }
  void deliver(int message, bool again) {
    require(message >= 1 && message <= messages, "a message that nobody sent");
    if (delivered[message] != 0)
      require(again, "a duplicate, no flag");
    else
      require(message > last, "out of order");
    ++delivered[message];
    last = message;
  }
  // What is there, up to n. A message counts as delivered when the receiver has read it.
  bool receive(receiver& r, std::uint64_t n) {
    if (!ready(r)) return false;
    if (n > 1 && protocol.says_in_hand) in_hand.store(r.at + n, relaxed);
    std::uint64_t got = 0;
    do {
      deliver(data[r.at % capacity].read(), r.at < r.again_until);
      ++r.at;
      ++got;
    } while (got < n && ready(r));
    head.store(r.at, protocol.take);
    return true;
  }
  bool at_the_end(const receiver& r) {
    if (state.load(protocol.end_order) != closed) return false;
    if (protocol.end_heeds_flight && claimed.load(protocol.end_order) != r.at && !ready(r) &&
        sender_lives.fetch_or(0, acq_rel) != 0)
      return false;
    return !protocol.looks_again || !ready(r);
  }

  void thread(unsigned i) {
    begin_thread(i);
    if (i == 0) {
      bool died = false;
      {
        sender s;
        died = !mortal(16, [&] {
          s = begin_sending();
          if (rl::rand(2) != 0) {
            send(s, 1, 1);
            send(s, 2, 1);
          } else {
            send(s, 1, 2);
          }
        });
      }
      if (died) {
        sender next = begin_sending();
        send(next, 3, 1);
        send(next, 4, 1);
      }
      sender_lives.fetch_add(std::uint64_t{0} - 1, release);
      sender_over = true;
    } else if (i == 1) {
      const bool died = !mortal(14, [&] {
        receiver r = begin_receiving(false);
        receive(r, 1 + rl::rand(2));
        receive(r, 1);
      });
      receiver r = begin_receiving(died);
      for (int look = 0; look < 60; ++look) {
        if (receive(r, 1)) continue;
        if (!at_the_end(r)) continue;
        for (int m = 1; m <= messages; ++m)
          if (sent[m])
            require(delivered[m] != 0, "the end was told before a message that was sent");
        ended = true;
        return;
      }
    } else {
      if (rl::rand(2) != 0) wait_until([&] { return sender_over; });
      state.store(closing, seq_cst);
      if (protocol.closer_fences) heavy_fence();
      state.store(closed, seq_cst);
    }
  }
  void after() {
    if (!ended) return;
    // Sent after the end was told: refused, or it would be lost to whoever believed the end.
    for (int m = 1; m <= messages; ++m)
      if (sent[m]) require(delivered[m] != 0, "sent after the end was told");
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"commit is relaxed", [] { protocol.commit = relaxed; }},
    {"the receiver looks relaxed", [] { protocol.look = relaxed; }},
    {"head is stored relaxed", [] { protocol.take = relaxed; }},
    {"head is seen relaxed", [] { protocol.see_head = relaxed; }},
    {"the sender claims after it looked at the state",
     [] { protocol.claims_before_state = false; }},
    {"who closes issues no heavy fence", [] { protocol.closer_fences = false; }},
    {"the end is seen by acquiring only (once so written)", [] { protocol.end_order = acquire; }},
    {"the end is told while a message is in flight", [] { protocol.end_heeds_flight = false; }},
    {"the end is told without another look", [] { protocol.looks_again = false; }},
    {"a batch is committed backwards", [] { protocol.ascending = false; }},
    {"the sequence is stored before the payload", [] { protocol.payload_first = false; }},
    {"a successor believes what was claimed", [] { protocol.successor_walks = false; }},
    {"a batch is not noted before it is read", [] { protocol.says_in_hand = false; }},
    {"a successor flags nothing", [] { protocol.flags = false; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<lane>(argc, argv, mutations);
}
