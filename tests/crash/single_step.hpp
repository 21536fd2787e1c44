// Kill a process after every instruction of an operation, and look at what it leaves to the others.
//
// kill_everywhere(scene) plays the scene again and again: prepare() in this process, operation() in
// a forked victim that is single-stepped by ptrace and killed with SIGKILL, each time a little
// later, then check(). Where to kill:
//
//   by default               after each event: a system call, or an instruction that changed the
//                            watched bytes. Two stops without an event between them are the same to
//                            a survivor, since everything else the victim did died with it.
//   with IPCPP_PROVE=full    after each single instruction
//
// and in both cases before the first instruction and after the last. A first walk finds the places;
// each victim then runs to its place: from system call to system call, then from one visit of an
// instruction to the next by a hardware breakpoint, and by steps for the rest.
//
// At every stop while_stopped() runs too, with the victim stopped and alive. The report says how
// many instructions the operation has, how many of their addresses were stops, and how many kills
// were made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace crash {

struct scene {
  std::string name;
  std::function<void()> prepare;         // before each round
  std::function<void()> operation;       // in the victim
  std::function<void()> before = [] {};  // in the victim, ahead of it and not stepped through
  std::function<void()> while_stopped = [] {};  // the victim is stopped somewhere in it
  std::function<void(bool finished)> check;     // the victim is dead; had it finished?
  // Shared bytes the operation may change; looked up each round. Empty: it changes none, only
  // files.
  std::function<std::span<const std::byte>()> watched;
  // By default at most so many kills, evenly spread.
  std::size_t most = ~std::size_t{0};
  bool events_only = false;  // also in full: no kills between events
};

struct report {
  std::size_t instructions = 0;
  std::size_t addresses = 0;
  std::size_t events = 0;
  std::size_t kills = 0;
};

// "" where it can be done, else the reason why not (no ptrace, sanitizers, another processor).
std::string why_not();

// One place in an operation: after so many system calls, at the so many-th arrival (from 1) at the
// instruction at `address`, and so many steps further. No arrivals: steps from the system call on.
struct place_to_die {
  std::size_t system_calls = 0;
  std::uint64_t address = 0;
  std::size_t arrivals = 0;
  std::size_t steps = 0;
};
// Where kill_everywhere would kill. Plays the scene once.
std::vector<place_to_die> places_of(const scene& played);
// A victim of the scene dies there; prepare() and check() are the caller's. true: it had finished.
bool kill_at(const scene& played, place_to_die place);

// One victim after the other: the first dies after each of its events (by default after eight of
// them), the second then everywhere as kill_everywhere has it, and the second's check() follows. What `second` prepares is not used;
// between(finished) runs after each of the first's deaths. How many second ones were killed.
std::size_t kill_pairs(
    const scene& first, const scene& second,
    const std::function<void(bool finished)>& between = [](bool) {});

// Prints the report. Throws std::runtime_error if the victim ends in another way than it should.
report kill_everywhere(const scene& played);

}  // namespace crash
