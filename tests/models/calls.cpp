// Model of the call table (modules/queue/call_table.cppm): asking, answering, cancelling, and what is
// done for the dead.
//
// One place for two clients and a server. C asks and may be killed or cancel; S answers and may be
// killed, and then a successor takes its slot and answers on; D asks, cleans up, and looks at the end.
// Abstracted: the kernel's answer about the dead is exact; waiting; close.
// Request and answer are plain memory: relacy reports a race between one user and the next.
//
// Invariants: an answer is that of the request asked, and whole; each request is answered at most once;
// server_died is told only of a server that died; in the end the place can be had again.
#include "model.hpp"

using namespace model;

namespace {

struct call_choices {
  bool turns_differ = true;
  bool exchange_decides_who_takes = true;
  bool reply_is_exchanged = true;
  bool retire_before_reuse = true;
  bool server_is_forgotten = true;
  bool dead_are_asked_for = true;
  bool living_are_left_alone = true;
  order send_order = release;
  order accept_order = acq_rel;
  order reply_order = acq_rel;
  order outcome_read = acquire;
  order finish_order = acq_rel;
  order prepare_order = acq_rel;
};
call_choices choices;

enum : std::uint64_t { idle, preparing, sent, accepted, answered, refused, cancelled };
std::uint64_t pack(std::uint64_t turn, std::uint64_t client, std::uint64_t server,
                   std::uint64_t phase) {
  return turn << 16 | server << 8 | client << 4 | phase;
}
std::uint64_t turn_of(std::uint64_t w) {
  return w >> 16;
}
std::uint64_t server_of(std::uint64_t w) {
  return w >> 8 & 15;
}
std::uint64_t client_of(std::uint64_t w) {
  return w >> 4 & 15;
}
std::uint64_t phase_of(std::uint64_t w) {
  return w & 15;
}
std::uint64_t with(std::uint64_t w, std::uint64_t phase) {
  return (w & ~std::uint64_t{15}) | phase;
}

constexpr std::uint64_t c_owner = 1, s_owner = 2, d_owner = 3;
constexpr std::uint64_t most_turns = 16;

struct call_model : rl::test_suite<call_model, 3> {
  word place;
  word control[4];  // by owner: its generation
  word dead[4];     // the generation that is dead
  bytes request, answer;
  word asked, replied;

  bool c_over, s_over;
  bool server_died_once;
  int answers[most_turns];
  std::uint64_t taken_by;  // the generation of the server that took the last request

  void before() {
    begin_iteration();
    place.init(0);
    for (unsigned i = 0; i < 4; ++i) {
      control[i].init(i == 0 ? 0 : 1);
      dead[i].init(0);
    }
    request.init();
    answer.init();
    asked.init(0);
    replied.init(0);
    c_over = s_over = server_died_once = false;
    taken_by = 0;
    for (int& a : answers) a = 0;
  }

  bool is_gone(std::uint64_t owner) {
    if (owner == 0) return true;
    const std::uint64_t c = control[owner].load(acquire);
    if (!choices.living_are_left_alone) return true;
    return dead[owner].load(acquire) == c && control[owner].load(acquire) == c;
  }
  static std::uint64_t settled(std::uint64_t w, bool client_gone, bool server_gone) {
    const std::uint64_t none = pack(turn_of(w), 0, 0, idle);
    switch (phase_of(w)) {
      case preparing:
      case sent:
      case answered:
      case refused:
        return client_gone ? none : w;
      case accepted:
        if (client_gone) return server_gone ? none : with(w, cancelled);
        return w;
      case cancelled:
        return server_gone ? none : w;
    }
    return w;
  }
  bool try_prepare(std::uint64_t owner, std::uint64_t& mine) {
    std::uint64_t seen = place.load(acquire);
    if (phase_of(seen) != idle) {
      if (!choices.dead_are_asked_for) return false;
      const bool server_matters = phase_of(seen) == accepted || phase_of(seen) == cancelled;
      const std::uint64_t then =
          settled(seen, is_gone(client_of(seen)), server_matters && is_gone(server_of(seen)));
      if (then == seen || !place.compare_exchange(seen, then, acq_rel)) return false;
      seen = then;
    }
    if (phase_of(seen) != idle) return false;
    mine = pack(turn_of(seen) + (choices.turns_differ ? 1 : 0), owner, 0, preparing);
    return place.compare_exchange(seen, mine, choices.prepare_order);
  }
  void ask(std::uint64_t& mine, std::uint64_t number) {
    request.use();
    asked.store(number, relaxed);
    mine = with(mine, sent);
    place.store(mine, choices.send_order);
  }
  enum outcome { pending, done, died, let_go };
  outcome look(std::uint64_t mine) {
    for (int tries = 0; tries < 4; ++tries) {
      std::uint64_t seen = place.load(choices.outcome_read);
      if (turn_of(seen) != turn_of(mine) || client_of(seen) != client_of(mine)) return let_go;
      if (phase_of(seen) == answered) return done;
      if (phase_of(seen) == sent) return pending;
      if (phase_of(seen) != accepted) return let_go;
      if (!is_gone(server_of(seen))) return pending;
      if (place.compare_exchange(seen, pack(turn_of(seen), 0, 0, idle), acq_rel)) return died;
    }
    return pending;
  }
  void finish(std::uint64_t mine) {
    std::uint64_t seen = place.load(relaxed);
    if (turn_of(seen) != turn_of(mine) || client_of(seen) != client_of(mine) ||
        phase_of(seen) != answered)
      return;
    place.compare_exchange(seen, pack(turn_of(mine), 0, 0, idle), choices.finish_order);
  }
  void cancel(std::uint64_t mine) {
    std::uint64_t seen = place.load(relaxed);
    for (int tries = 0; tries < 6; ++tries) {
      if (turn_of(seen) != turn_of(mine) || client_of(seen) != client_of(mine) ||
          phase_of(seen) == idle || phase_of(seen) == cancelled)
        return;
      if (place.compare_exchange(seen, settled(seen, true, false), acq_rel)) return;
    }
  }
  bool try_accept(std::uint64_t owner, std::uint64_t& mine) {
    std::uint64_t found = place.load(relaxed);
    if (phase_of(found) != sent) return false;
    mine = pack(turn_of(found), client_of(found), owner, accepted);
    if (!choices.exchange_decides_who_takes) {
      place.store(mine, release);
      return true;
    }
    return place.compare_exchange(found, mine, choices.accept_order);
  }
  void reply(std::uint64_t mine) {
    std::uint64_t seen = mine;
    if (!choices.reply_is_exchanged) {
      place.store(with(mine, answered), release);
      return;
    }
    if (place.compare_exchange(seen, with(mine, answered), choices.reply_order)) return;
    if (turn_of(seen) == turn_of(mine) && phase_of(seen) == cancelled)
      place.compare_exchange(seen, pack(turn_of(mine), 0, 0, idle), acq_rel);
  }
  void retire(std::uint64_t owner, std::uint64_t generation) {
    for (int tries = 0; tries < 4; ++tries) {
      std::uint64_t seen = place.load(acquire);
      const bool client = client_of(seen) == owner;
      const bool server = server_of(seen) == owner;
      if (!client && !server) return;
      if (control[owner].load(acquire) != generation) return;
      std::uint64_t then = settled(seen, client, server);
      if (choices.server_is_forgotten && server && !client && phase_of(seen) == accepted)
        then = pack(turn_of(seen), client_of(seen), 0, accepted);
      if (then == seen || place.compare_exchange(seen, then, acq_rel)) return;
    }
  }

  void call(std::uint64_t owner, std::uint64_t number, int looks, bool gives_up) {
    std::uint64_t mine = 0;
    for (int tries = 0; !try_prepare(owner, mine); ++tries) {
      if (tries == 4) return;
      rl::yield(1, at(place_here()));
    }
    ask(mine, number);
    for (int n = 0; n < looks; ++n) {
      const outcome found = look(mine);
      if (found == pending) {
        rl::yield(1, at(place_here()));
        continue;
      }
      if (found == done) {
        answer.use();
        require(replied.load(relaxed) == number + 100, "another request's answer");
        finish(mine);
      } else {
        require(server_died_once, "told that a living server died");
      }
      return;
    }
    if (gives_up) cancel(mine);
  }
  static model::place place_here(model::place p = model::place::current()) { return p; }
  void serve(std::uint64_t owner, int looks) {
    for (int n = 0; n < looks; ++n) {
      std::uint64_t mine = 0;
      if (!try_accept(owner, mine)) {
        rl::yield(1, at(place_here()));
        continue;
      }
      taken_by = server_died_once ? 2 : 1;
      request.use();
      const std::uint64_t number = asked.load(relaxed);
      if (turn_of(mine) < most_turns)
        require(++answers[turn_of(mine)] == 1, "a request was taken twice");
      answer.use();
      replied.store(number + 100, relaxed);
      reply(mine);
    }
  }

  void thread(unsigned i) {
    begin_thread(i);
    if (i == 0) {
      const bool gives_up = rl::rand(2) != 0;
      const bool lives = mortal(40, [&] {
        call(c_owner, 1, 4, gives_up);
        call(c_owner, 2, 4, true);
      });
      if (!lives) dead[c_owner].store(1, release);
      full_fence();  // what it did becomes visible some day: here, before the last look
      c_over = true;
    } else if (i == 1) {
      if (!mortal(30, [&] { serve(s_owner, 5); })) {
        server_died_once = true;
        dead[s_owner].store(1, release);
        if (rl::rand(2) != 0) {
          if (choices.retire_before_reuse) retire(s_owner, 1);
          std::uint64_t old = 1;
          control[s_owner].compare_exchange(old, 2, acq_rel);
          serve(s_owner, 4);
        }
      }
      full_fence();
      s_over = true;
    } else {
      call(d_owner, 7, 5, true);
      wait_until([&] { return c_over && s_over; });
      if (!c_over || !s_over) return;
      full_fence();
      std::uint64_t last = place.last();
      const bool server_lives = dead[s_owner].last() != control[s_owner].last();
      const bool in_hand = (phase_of(last) == accepted || phase_of(last) == cancelled) &&
                           server_of(last) == s_owner && server_lives;
      require(!in_hand || taken_by == control[s_owner].last(),
              "nobody will ever answer, and nobody says so");
      if (dead[c_owner].last() == 0) return;  // a living client's own affair
      std::uint64_t mine = 0;
      bool got = false;
      for (int n = 0; n < 4 && !got; ++n) got = try_prepare(d_owner, mine);
      require(got || in_hand, "the place did not come back");
    }
  }
};

const mutation mutations[] = {
    {"the protocol", nullptr},
    {"all calls have one turn", [] { choices.turns_differ = false; }},
    {"a request is taken without an exchange", [] { choices.exchange_decides_who_takes = false; }},
    {"an answer is stored without an exchange", [] { choices.reply_is_exchanged = false; }},
    {"a server's slot is used again before it was retired",
     [] { choices.retire_before_reuse = false; }},
    {"a dead server's name stays in the call", [] { choices.server_is_forgotten = false; }},
    {"what the dead began is never settled", [] { choices.dead_are_asked_for = false; }},
    {"the living are taken for dead", [] { choices.living_are_left_alone = false; }},
    {"sending is relaxed", [] { choices.send_order = relaxed; }},
    {"taking is relaxed", [] { choices.accept_order = relaxed; }},
    {"answering is relaxed", [] { choices.reply_order = relaxed; }},
    {"the outcome is read relaxed", [] { choices.outcome_read = relaxed; }},
    {"letting the place go is relaxed", [] { choices.finish_order = relaxed; }},
};

}  // namespace

int main(int argc, char** argv) {
  return run_model<call_model>(argc, argv, mutations);
}
