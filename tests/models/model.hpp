// What the models of the heap's protocols share: words with weak memory, deaths, the heavy fence, the
// command line. Used by tests/models/*.cpp only.
//
// The checker is relacy (Debian: relacy-dev). It runs a model's threads as fibers, switches between
// them at every atomic operation, lets a load return any value that C++11's orders allow (up to two
// stores back), and detects races on plain variables. Limits: a store never appears before stores that
// were executed earlier, in the order of one word; loads do not run ahead of earlier stores' values
// (no out-of-thin-air, no load buffering). seq_cst fences order everything before them: stronger than
// C++11 wrote, equal to C++20's wording and to the hardware.
//
// Deaths. kill -9 is modelled as an exception thrown before an operation chosen at random. What comes
// after a death (undertaker, next undertaker) runs in the same model thread: that is exactly the order
// that the kernel's report of a death gives, the undertaker sees all stores of the dead, in program
// order, and nobody else does unless he synchronises.
//
// Heavy fence (membarrier). The kernel runs a full fence on each CPU that runs a member, at some
// instant between the call and its return. So here: a seq_cst fence of the caller; then for each other
// thread, with a chance to switch in between, a seq_cst fence in that thread's name at whatever point
// of its program it is; then a fence of the caller. That is what happens, not an approximation by
// symmetric fences in the fast path (which would place the victim's fence at fixed points).
//
// Mutations called "once so written" are what impl/malloc did before these models found it wrong.
// The protocol here (mutation 0) has the repair that the model was checked with.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <source_location>
#include <sstream>
#include <string>

#include <relacy/relacy.hpp>
#undef new
#undef delete
#undef malloc
#undef calloc
#undef realloc
#undef free
#undef assert

namespace model {

using order = rl::memory_order;
inline constexpr order relaxed = rl::mo_relaxed;
inline constexpr order acquire = rl::mo_acquire;
inline constexpr order release = rl::mo_release;
inline constexpr order acq_rel = rl::mo_acq_rel;
inline constexpr order seq_cst = rl::mo_seq_cst;
using place = std::source_location;

struct death {};

constexpr unsigned most_threads = 4;

// Everything about the current iteration that is not part of the modelled memory.
struct run_state {
  int steps_left[most_threads];                 // until the thread dies; -1: it does not
  rl::thread_info_base* started[most_threads];  // nullptr: has not run yet
  bool late_fence[most_threads];                // a heavy fence came before its first step
  bool enrolled[most_threads];                  // heavy fences reach the thread
  int stall_at[most_threads];                   // steps until the thread stops for a while
  unsigned stall_for[most_threads];
  unsigned keep_running;  // of 8: how often a step is not preempted
};
inline run_state now;

inline rl::debug_info at(const place& p) {
  return {p.function_name(), p.file_name(), static_cast<unsigned>(p.line())};
}

inline void require(bool holds, const char* what, const place& p = place::current()) {
  if (!holds) rl::ctx().fail_test(what, rl::test_result_user_assert_failed, at(p));
}

// Around every operation on modelled memory: first the choice to die, then that of the thread to run.
// relacy alone picks a thread for each step evenly, so that long stretches of one thread hardly occur,
// nor a thread that sleeps while others do much. So an iteration draws how many steps of 8 are not
// preempted, and for each thread a step before which it may sleep for some turns. Neither takes a
// schedule away: an iteration may also draw none of it.
class step {
 public:
  step() {
    const unsigned i = rl::thread_index();
    if (now.stall_at[i] >= 0 && now.stall_at[i]-- == 0)
      for (unsigned turn = 0; turn < now.stall_for[i]; ++turn) rl::ctx().sched();
    int& left = now.steps_left[i];
    if (left >= 0 && left-- == 0) {
      left = -1;
      throw death{};
    }
    stays_ = now.keep_running != 0 && rl::rand(8) < now.keep_running;
    if (stays_) rl::ctx().disable_preemption();
  }
  ~step() {
    if (stays_) rl::ctx().enable_preemption();
  }
  step(const step&) = delete;
  step& operator=(const step&) = delete;

 private:
  bool stays_;
};

// One 64-bit word of shared memory.
class word {
 public:
  using value = std::uint64_t;
  void init(value v) { memory_.store(v, rl::mo_relaxed, at(place::current())); }
  // The last value, whoever sees it: for what a model checks.
  [[nodiscard]] value last() const { return memory_.debug_value(); }

  value load(order o, place p = place::current()) const {
    const step s;
    return memory_.load(o, at(p));
  }
  void store(value v, order o, place p = place::current()) {
    const step s;
    memory_.store(v, o, at(p));
  }
  value exchange(value v, order o, place p = place::current()) {
    const step s;
    return memory_.exchange(v, o, at(p));
  }
  value fetch_add(value v, order o, place p = place::current()) {
    const step s;
    return memory_.fetch_add(v, o, at(p));
  }
  value fetch_or(value v, order o, place p = place::current()) {
    const step s;
    return memory_.fetch_or(v, o, at(p));
  }
  value fetch_and(value v, order o, place p = place::current()) {
    const step s;
    return memory_.fetch_and(v, o, at(p));
  }
  // Always strong: the loops that a weak one may need are the same with it.
  bool compare_exchange(value& expected, value v, order o, place p = place::current()) {
    const step s;
    return memory_.compare_exchange_strong(expected, v, o, at(p));
  }

 private:
  rl::atomic<value> memory_;
};

// The bytes of a block: plain memory, so that relacy reports a race between one user and the next.
class bytes {
 public:
  void init() { memory_(at(place::current())) = 0; }
  void use(place p = place::current()) {
    const step s;
    memory_(at(p)) = 1;
  }

 private:
  rl::var<int> memory_;
};

inline void full_fence() {
  rl::context& c = rl::ctx();
  c.atomic_thread_fence_seq_cst();
}

inline void fence_in_the_name_of(rl::thread_info_base* other) {
  rl::context& c = rl::ctx();
  c.disable_preemption();
  rl::thread_info_base* const self = c.threadx_;
  c.threadx_ = other;
  c.atomic_thread_fence_seq_cst();
  c.threadx_ = self;
  c.enable_preemption();
}

inline void heavy_fence() {
  full_fence();
  const unsigned n = rl::ctx().get_thread_count();
  for (unsigned i = 0; i < n; ++i) {
    if (i == rl::thread_index() || !now.enrolled[i]) continue;
    rl::ctx().sched();
    if (now.started[i] == nullptr)
      now.late_fence[i] = true;
    else
      fence_in_the_name_of(now.started[i]);
  }
  full_fence();
}

// First thing in a model's before().
inline void begin_iteration() {
  now = {};
  for (int& left : now.steps_left) left = -1;
  for (int& at : now.stall_at) at = -1;
  for (unsigned i = 0; i < rl::ctx().get_thread_count(); ++i) {
    if (rl::rand(2) != 0) now.stall_at[i] = static_cast<int>(rl::rand(24));
    now.stall_for[i] = 16u << rl::rand(3);
  }
  const unsigned stays[] = {0, 4, 6, 7};
  now.keep_running = stays[rl::rand(4)];
}

// First thing in a model's thread().
inline void begin_thread(unsigned i) {
  now.started[i] = rl::ctx().threadx_;
  if (now.late_fence[i]) fence_in_the_name_of(now.started[i]);
}

// Lets the others go first. `ready` looks at what the model knows, not at modelled memory: this narrows
// the schedule towards what is interesting, and orders nothing.
template <class F>
void wait_until(F&& ready) {
  for (int turn = 0; turn < 400 && !ready(); ++turn) rl::yield(1, at(place::current()));
}

// Runs f, which may be killed before any of its first `most` steps. Returns whether it came to its end.
template <class F>
bool mortal(unsigned most, F&& f) {
  const unsigned i = rl::thread_index();
  const unsigned end = rl::rand(most + most / 2);
  now.steps_left[i] = end < most ? static_cast<int>(end) : -1;
  bool done = false;
  try {
    f();
    done = true;
  } catch (const death&) {
  }
  now.steps_left[i] = -1;
  return done;
}

// What a mutation does to the protocol: one assignment.
struct mutation {
  const char* name;
  void (*apply)();
};

// The command line of a model: [--mutation N] [--iterations N] [--trace] | --list
template <class suite, std::size_t n>
int run_model(int argc, char** argv, const mutation (&mutations)[n]) {
  std::size_t number = 0;
  unsigned long long iterations = 100000;
  bool trace = false;
  for (int i = 1; i < argc; ++i) {
    const auto next = [&] { return ++i < argc ? std::strtoull(argv[i], nullptr, 10) : 0; };
    if (std::strcmp(argv[i], "--list") == 0) {
      for (std::size_t m = 0; m < n; ++m) std::printf("%zu %s\n", m, mutations[m].name);
      return 0;
    }
    if (std::strcmp(argv[i], "--mutation") == 0)
      number = next();
    else if (std::strcmp(argv[i], "--iterations") == 0)
      iterations = next();
    else if (std::strcmp(argv[i], "--trace") == 0)
      trace = true;
    else
      return std::fprintf(stderr, "unknown argument %s\n", argv[i]), 2;
  }
  if (number >= n) return 2;
  if (mutations[number].apply != nullptr) mutations[number].apply();

  std::ostringstream output;
  std::ostringstream progress;
  rl::test_params params;
  params.iteration_count = iterations;
  params.output_stream = trace ? static_cast<std::ostream*>(&std::cout) : &output;
  params.progress_stream = &progress;
  params.execution_depth_limit = 4000;
  const auto began = std::chrono::steady_clock::now();
  // rl::simulate, but for the schedulers that are not used: they would triple the time to compile.
  using scheduler = rl::random_scheduler<suite::params::thread_count>;
  rl::ostringstream state;
  const bool held = rl::run_test<suite, scheduler>(params, state, false) == rl::test_result_success;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  // The first line of relacy's report says what failed.
  std::string why = "holds";
  const auto stopped_at = static_cast<unsigned long long>(params.stop_iteration);
  if (!held) {  // the same iteration again, with its history
    params.collect_history = true;
    params.initial_state = state.str();
    rl::run_test<suite, scheduler>(params, state, true);
    why = rl::test_result_str(params.test_result);
    std::istringstream lines(output.str());
    for (std::string line; std::getline(lines, line);)
      if (line.find('(') != std::string::npos && line.find("iteration") == std::string::npos &&
          line.rfind("execution", 0) != 0) {
        why = line;
        break;
      }
  }
  std::printf("%s\t%llu\t%.2f\t%s\n", held ? "holds" : "fails", stopped_at, seconds, why.c_str());
  return held ? 0 : 1;
}

}  // namespace model
