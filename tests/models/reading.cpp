// Model: readers of a concurrent_map, and when the memory of a removed node is used again
// (modules/containers/concurrent_map_core.cppm, map_reading and map_walk; impl/containers, reclaim).
//
// Modelled. A list of up to three nodes of four places. R walks through it, twice; W and X remove,
// replace and insert under the stripe's lock, and reclaim: fence, stamp, clock, look at the records. A
// place that was freed is written anew by the next insert, so that relacy reports a race with a reader
// who still is there. R orders its announcement by itself, or W's and X's heavy fence does.
// Abstracted. Buckets; more records (each is looked at the same way); the lock's take-over (model
// mending).
//
// Found here: a node that was removed leads to what followed it then, which may have been born, removed
// and freed since; looking again at its link once more is covered says nothing. So it carries a flag.
//
// Invariant. What R reads is neither written nor freed meanwhile.
#include "model.hpp"

using namespace model;

namespace {

constexpr unsigned places = 4;         // of nodes; a link is place + 1, 0 the end
constexpr std::uint64_t removed = 16;  // flag in the link of a node that was

struct reading_choices {
  bool reader_announces = true;
  bool reader_orders = true;  // or lets itself be ordered
  bool reclaim_fences = true;
  bool follow_looks_at_the_clock = true;
  bool follow_looks_again = true;
  bool born_before_reachable = true;
  bool stamp_after_fence = true;
  bool clock_advances_after_stamp = true;
  bool end_is_ordered = true;
  bool extension_is_announced = true;
  bool removed_are_flagged = true;
  bool follow_begins_anew = true;
  order publish = release;
  order follow_order = acquire;
  order look = acquire;
};
reading_choices choices;

// A node's key and value: plain memory, read by many, written by who builds it.
class content {
 public:
  void init() { memory_(at(place::current())) = 0; }
  void write(place p = place::current()) {
    const step s;
    memory_(at(p)) = 1;
  }
  void read(place p = place::current()) {
    const step s;
    (void)static_cast<int>(memory_(at(p)));
  }

 private:
  rl::var<int> memory_;
};

struct node {
  word link, born, retired;
  content what;
  bool in_use;  // what the model knows
};

struct reading : rl::test_suite<reading, 3> {
  word head, lock, clock;
  word lower, upper;
  node nodes[places];
  unsigned limbo[places];
  unsigned limbo_count;  // under the lock
  bool self_fencing;
  unsigned my_upper;

  void before() {
    begin_iteration();
    self_fencing = rl::rand(2) != 0;
    now.enrolled[0] = !self_fencing;
    head.init(1);
    lock.init(0);
    clock.init(1);
    lower.init(0);
    upper.init(0);
    for (unsigned i = 0; i < places; ++i) {
      nodes[i].link.init(i == 0 ? 2 : 0);
      nodes[i].born.init(1);
      nodes[i].retired.init(0);
      nodes[i].what.init();
      nodes[i].in_use = i < 2;
    }
    limbo_count = 0;
  }

  // ---- the reader ----

  void order_announcement() {
    if (self_fencing && choices.reader_orders) full_fence();
  }
  std::uint64_t follow(word& link, std::uint64_t& covered) {
    for (bool again = false;;) {
      const std::uint64_t found = link.load(choices.follow_order);
      if (!choices.follow_looks_at_the_clock) return found & ~removed;
      const std::uint64_t time = clock.load(relaxed);
      if (time == covered) return again && choices.follow_begins_anew ? found : found & ~removed;
      covered = time;
      again = true;
      if (choices.extension_is_announced) upper.store(time, release);
      order_announcement();
      if (!choices.follow_looks_again) return found & ~removed;
    }
  }
  void read() {
    const std::uint64_t time = clock.load(acquire);
    std::uint64_t covered = time;
    if (choices.reader_announces) {
      upper.store(time, relaxed);
      lower.store(time, relaxed);
    }
    order_announcement();
    for (std::uint64_t at = follow(head, covered); at != 0;) {
      node& n = nodes[at - 1];
      require(n.in_use, "a reader came to a node that was freed");
      n.what.read();
      require(n.in_use, "a node was freed under a reader");
      at = follow(n.link, covered);
      if ((at & removed) != 0) at = follow(head, covered);
    }
    lower.store(0, choices.end_is_ordered ? release : relaxed);
  }

  // ---- the writers, under the lock ----

  void reclaim() {
    if (limbo_count == 0) return;
    std::uint64_t stamp = clock.load(seq_cst);
    if (choices.reclaim_fences) {
      if (self_fencing)
        full_fence();
      else
        heavy_fence();
    }
    if (choices.stamp_after_fence) stamp = clock.load(seq_cst);
    if (!choices.clock_advances_after_stamp) stamp -= 1;
    for (unsigned i = 0; i < limbo_count; ++i)
      if (nodes[limbo[i]].retired.load(relaxed) == 0) nodes[limbo[i]].retired.store(stamp, relaxed);
    clock.fetch_add(1, seq_cst);
    const std::uint64_t from = lower.load(choices.look);
    const std::uint64_t to = upper.load(choices.look);
    unsigned kept = 0;
    for (unsigned i = 0; i < limbo_count; ++i) {
      node& n = nodes[limbo[i]];
      if (from != 0 && from <= n.retired.load(relaxed) && to >= n.born.load(relaxed)) {
        limbo[kept++] = limbo[i];
        continue;
      }
      n.in_use = false;
    }
    limbo_count = kept;
  }
  void retire(std::uint64_t link) {
    node& n = nodes[link - 1];
    n.retired.store(0, relaxed);
    if (choices.removed_are_flagged) n.link.store(n.link.load(relaxed) | removed, release);
    limbo[limbo_count++] = static_cast<unsigned>(link - 1);
  }
  void remove(word& at) {
    const std::uint64_t old = at.load(relaxed);
    if (old == 0) return;
    at.store(nodes[old - 1].link.load(relaxed), choices.publish);
    retire(old);
  }
  void insert(word& at, bool instead) {
    unsigned i = 0;
    while (i < places && nodes[i].in_use) ++i;
    if (i == places) return;
    node& n = nodes[i];
    n.in_use = true;
    n.what.write();
    if (choices.born_before_reachable) n.born.store(clock.load(acquire), relaxed);
    const std::uint64_t old = at.load(relaxed);
    const bool replaces = instead && old != 0;
    n.link.store(replaces ? nodes[old - 1].link.load(relaxed) : old, relaxed);
    at.store(i + 1, choices.publish);
    if (!choices.born_before_reachable) n.born.store(clock.load(acquire) + 1, relaxed);
    if (replaces) retire(old);
  }
  void write() {
    if (rl::rand(4) == 0) clock.fetch_add(1, seq_cst);  // somebody reclaims in another stripe
    for (;;) {
      std::uint64_t free = 0;
      if (lock.compare_exchange(free, 1, acquire)) break;
      rl::yield(1, at(place::current()));
    }
    const std::uint64_t first = head.load(relaxed);
    word& where = first != 0 && rl::rand(2) != 0 ? nodes[first - 1].link : head;
    switch (rl::rand(4)) {
      case 0:
        remove(where);
        break;
      case 1:
        insert(where, false);
        break;
      default:
        insert(where, true);
    }
    if (rl::rand(4) != 0) reclaim();
    lock.store(0, release);
  }

  void thread(unsigned i) {
    begin_thread(i);
    if (i == 0) {
      read();
      read();
    } else {
      for (int turn = 0; turn < 4; ++turn) write();
    }
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"follow goes on from a node that was removed (once so written)",
     [] { choices.follow_begins_anew = false; }},
    {"removed nodes are not flagged", [] { choices.removed_are_flagged = false; }},
    {"the reader does not announce itself", [] { choices.reader_announces = false; }},
    {"the reader that fences itself does not", [] { choices.reader_orders = false; }},
    {"reclaiming without a fence", [] { choices.reclaim_fences = false; }},
    {"follow does not look at the clock", [] { choices.follow_looks_at_the_clock = false; }},
    {"follow does not look again once it covers more", [] { choices.follow_looks_again = false; }},
    {"what follow covers more is not announced", [] { choices.extension_is_announced = false; }},
    {"born is the clock after the node was reachable",
     [] { choices.born_before_reachable = false; }},
    {"the stamp is read before the fence", [] { choices.stamp_after_fence = false; }},
    {"the stamp is older than the clock", [] { choices.clock_advances_after_stamp = false; }},
    {"the end of a reading is not ordered after it", [] { choices.end_is_ordered = false; }},
    {"links are stored relaxed", [] { choices.publish = relaxed; }},
    {"follow loads relaxed", [] { choices.follow_order = relaxed; }},
    {"the records are looked at relaxed", [] { choices.look = relaxed; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<reading>(argc, argv, mutations);
}
