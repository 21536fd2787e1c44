// Model: waiting points (modules/sync/waiting.cppm, impl/sync/waiting.cpp): no wake-up is lost.
//
// Modelled. Two waiters, under one mark or two, wait for a permit each as a semaphore's waiters do; two
// notifiers make one permit each and notify_one. Waiters and notifiers have a heavy fence or not; a
// waiter without one sets F. The slice is infinite: whoever is asleep at the end, was not unparked, and
// could have a permit that nobody awake will take, has lost its wake-up. A waiter or notifier that dies
// excuses the others (their slices end), but must not upset anything.
//
// Not modelled: the cell's S bit (platform), ages (which waiter is the oldest is drawn).
#include "model.hpp"

using namespace model;

namespace {

struct rules {
  bool waiter_fences = true;       // heavy fence, or F
  bool sets_f = true;              // without a heavy fence
  bool notifier_exchanges = true;  // when not enrolled
  bool wake_exchanges = true;      // likewise, when it looks for somebody to wake
  bool f_exchanges = true;         // notifier that sees F exchanges
  bool looks_again = true;         // after a mark was taken off
  bool wakes_all_found = true;     // at the second look
  bool ticket_first = true;
  bool looks_whether_chosen = true;
  bool marks_again = true;  // before each sleep
  bool passes_on = true;
  bool chooses = true;  // by exchange: exactly one wake-up each
  order permit = release;
  order mark = acq_rel;
  order word = release;
};
rules protocol;

constexpr std::uint64_t point = 1;
constexpr std::uint64_t chosen = 2;
constexpr std::uint64_t fences = 8;

struct parking : rl::test_suite<parking, 4> {
  word permits;
  word marks;
  word seat[2];
  word cell[2];
  bool same_mark;
  bool has_heavy[4];
  bool asleep[2];
  std::uint64_t slept_with[2];
  unsigned oldest_first;
  bool somebody_died;

  void before() {
    begin_iteration();
    permits.init(0);
    marks.init(0);
    for (unsigned i = 0; i < 2; ++i) {
      seat[i].init(0);
      cell[i].init(0);
      asleep[i] = false;
      slept_with[i] = 0;
    }
    same_mark = rl::rand(2) != 0;
    oldest_first = rl::rand(2);
    somebody_died = false;
    const unsigned heavy = rl::rand(3);  // 0: nobody, 1: all, 2: all notifiers, no waiter
    for (unsigned i = 0; i < 4; ++i) {
      has_heavy[i] = heavy == 1 || (heavy == 2 && i >= 2);
      now.enrolled[i] = has_heavy[i];
    }
    // Whoever notifies before F is visible is made good by the slice: F stands from an earlier sleep.
    // So may a mark whose sleepers have gone.
    marks.init((heavy == 2 && protocol.sets_f ? fences : 0) | (rl::rand(2) != 0 ? 1 : 0));
  }

  std::uint64_t bit(unsigned i) const { return same_mark ? 1 : std::uint64_t{1} << i; }

  bool take() {
    std::uint64_t seen = permits.load(acquire);
    while (seen != 0)
      if (permits.compare_exchange(seen, seen - 1, acq_rel)) return true;
    return false;
  }

  void mark(unsigned i) {
    marks.fetch_or(bit(i) | (has_heavy[i] || !protocol.sets_f ? 0 : fences), protocol.mark);
    if (has_heavy[i] && protocol.waiter_fences) heavy_fence();
  }

  void wait(unsigned i) {
    std::uint64_t ticket = 0;
    bool marked = false;
    for (int round = 0; round < 4; ++round) {
      if (protocol.ticket_first) ticket = cell[i].load(acquire);
      seat[i].store(point, protocol.word);
      if (protocol.marks_again || !marked) mark(i);
      marked = true;
      if (!protocol.ticket_first) ticket = cell[i].load(acquire);
      if (take()) {
        const bool given = (seat[i].exchange(0, acq_rel) & chosen) != 0;
        if (given && protocol.passes_on) wake(has_heavy[i]);
        return;
      }
      if (!protocol.looks_whether_chosen || (seat[i].load(acquire) & chosen) == 0) {
        wait_until([&] { return cell[i].last() != ticket; });
        if (cell[i].load(acquire) == ticket) {
          asleep[i] = true;
          slept_with[i] = ticket;
          return;
        }
      }
    }
  }

  bool look_under(std::uint64_t mark, int& found) {
    bool somebody = false;
    for (unsigned n = 0; n < 2; ++n) {
      const unsigned i = (n + oldest_first) % 2;
      if (bit(i) != mark || seat[i].load(acquire) != point) continue;
      somebody = true;
      if (found < 0) found = static_cast<int>(i);
    }
    return somebody;
  }

  void wake(bool enrolled) {
    for (int round = 0; round < 8; ++round) {
      int found = -1;
      std::uint64_t seen = marks.load(acquire);
      if ((!enrolled && protocol.wake_exchanges) || ((seen & fences) != 0 && protocol.f_exchanges))
        seen = marks.fetch_add(0, acq_rel);
      bool woken = false;
      for (const std::uint64_t mark : {std::uint64_t{1}, std::uint64_t{2}}) {
        if ((seen & mark) == 0 || look_under(mark, found)) continue;
        marks.fetch_and(~mark, acq_rel);
        if (!protocol.looks_again) continue;
        for (unsigned i = 0; i < 2; ++i) {
          std::uint64_t expected = point;
          if (bit(i) != mark || seat[i].load(acquire) != point ||
              (woken && !protocol.wakes_all_found) ||
              !seat[i].compare_exchange(expected, point | chosen, acq_rel))
            continue;
          cell[i].fetch_add(1, release);
          woken = true;
        }
      }
      if (woken) return;
      if (found < 0) return;
      std::uint64_t expected = point;
      if (protocol.chooses) {
        if (!seat[found].compare_exchange(expected, point | chosen, acq_rel)) continue;
      } else {
        seat[found].store(point | chosen, release);
      }
      cell[found].fetch_add(1, release);
      return;
    }
  }

  void notify(unsigned i) {
    permits.fetch_add(1, protocol.permit);
    if (has_heavy[i]) {
      if (marks.load(relaxed) == 0) return;
    } else if (protocol.notifier_exchanges) {
      std::uint64_t none = 0;
      if (marks.compare_exchange(none, 0, acq_rel)) return;
    } else if (marks.load(relaxed) == 0) {
      return;
    }
    wake(has_heavy[i]);
  }

  void thread(unsigned i) {
    begin_thread(i);
    const bool dies = rl::rand(4) == 0;
    const auto act = [&] { i < 2 ? wait(i) : notify(i); };
    if (!dies) return act();
    if (!mortal(16, act)) somebody_died = true;
  }

  void after() {
    if (somebody_died) return;
    std::uint64_t will_take = 0;
    bool hangs = false;
    for (unsigned i = 0; i < 2; ++i) {
      if (!asleep[i]) continue;
      const bool woken = cell[i].last() != slept_with[i];
      woken ? ++will_take : hangs = true;
    }
    require(!hangs || permits.last() <= will_take, "asleep for ever although there is a permit");
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"the waiter issues no heavy fence", [] { protocol.waiter_fences = false; }},
    {"a waiter without a heavy fence does not say so", [] { protocol.sets_f = false; }},
    {"a notifier that is not enrolled only loads", [] { protocol.notifier_exchanges = false; }},
    {"a notifier that is not enrolled loads the marks to wake (once so written)",
     [] { protocol.wake_exchanges = false; }},
    {"who sees F does not exchange", [] { protocol.f_exchanges = false; }},
    {"no second look after a mark was taken off", [] { protocol.looks_again = false; }},
    {"only one of those found at the second look is woken",
     [] { protocol.wakes_all_found = false; }},
    {"the ticket is taken after the mark, and no look whether chosen",
     [] { protocol.ticket_first = protocol.looks_whether_chosen = false; }},
    {"who sleeps again does not mark again", [] { protocol.marks_again = false; }},
    {"a wake-up that was not needed is kept (Q7, once so written)",
     [] { protocol.passes_on = false; }},
    {"two may choose the same", [] { protocol.chooses = false; }},
    {"the seat's word is relaxed, and so is the mark",
     [] { protocol.word = relaxed, protocol.mark = relaxed; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<parking>(argc, argv, mutations);
}
