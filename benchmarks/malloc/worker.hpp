// One run of one workload with one allocator, in this process and those it starts; prints one line of
// name=value pairs for the driver. Each allocator is a program of its own, malloc_worker_NAME, so that
// none can replace another's malloc, and calls it through a session that the compiler sees through:
//
//   struct backend {                        one per process
//     static constexpr bool shared;         two processes can use one heap
//     backend(const run_plan&);             makes a heap, or opens the one that the plan names
//     void hand_on(std::vector<std::string>& arguments);  tells another process how to open it
//     session enter();                      for one thread
//     std::size_t footprint();              bytes taken from the system that are not private, or 0
//   };
//   struct session {
//     void* allocate(size_t);  void deallocate(void*);  void* reallocate(void*, size_t old, size_t now);
//     void* allocate_from(unsigned heap, size_t);  void deallocate_to(unsigned heap, void*);
//     uint64_t number_of(void*);  void* block_of(uint64_t);   how a block is named to others, never 0
//   };
//
// Modes: t1, t2: threads. p2: two processes on one heap. s2: two processes that exchange nothing (for
// a private allocator each on its own heap). k1: one thread measured while a peer process on the same
// heap (or its own) allocates and frees, is killed with SIGKILL, and started again. l1: the same with a
// peer that is left alive.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <sys/prctl.h>

#include <sched.h>
#include <signal.h>

#include "control.hpp"
#include "exchange_workloads.hpp"
#include "instruction_counts.hpp"
#include "latency.hpp"
#include "peer_process.hpp"
#include "run_plan.hpp"
#include "workloads.hpp"

namespace malloc_bench {

// Calls f.template operator()<Workload>() with the workload of that name.
template <class Session, class F>
void with_workload(const std::string& name, F&& f) {
  if (name == "pair") return f.template operator()<pair_workload<Session>>();
  if (name == "pair4") return f.template operator()<pair4_workload<Session>>();
  if (name == "threadtest") return f.template operator()<threadtest_workload<Session>>();
  if (name == "sh6") return f.template operator()<sh6_workload<Session>>();
  if (name == "sh8") return f.template operator()<sh8_workload<Session>>();
  if (name == "realloc") return f.template operator()<realloc_workload<Session>>();
  if (name == "large") return f.template operator()<large_workload<Session>>();
  if (name == "larson") return f.template operator()<larson_workload<Session>>();
  if (name == "xmalloc") return f.template operator()<xmalloc_workload<Session>>();
  if (name == "prodcon") return f.template operator()<prodcon_workload<Session>>();
  if (name == "cache_scratch") return f.template operator()<cache_scratch_workload<Session>>();
  if (name == "mstress") return f.template operator()<mstress_workload<Session>>();
  throw std::invalid_argument("no workload is called " + name);
}

// Two workers would else share a processor for some milliseconds, now and then.
inline void stay_on_processor(unsigned me) {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  unsigned seen = 0;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (!CPU_ISSET(i, &allowed) || seen++ != me) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(i, &one);
    sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

// What one worker does from beginning to end.
template <class Backend>
void work(Backend& backend, const run_plan& plan, control& shared, unsigned me) {
  if (plan.workers() > 1) stay_on_processor(me);
  auto session = backend.enter();
  using session_type = decltype(session);
  const place_in_run place{&shared, me, plan.workers(), plan.exchange(Backend::shared)};
  worker_result& result = shared.results[me];

  const auto line = [&] { shared.line.arrive_and_wait(plan.workers()); };
  with_workload<session_type>(plan.workload, [&]<class Workload> {
    Workload workload(session, place);
    workload.run(plan.operations / 4);  // warms up
    line();
    result.started_ns = clock_ns(CLOCK_MONOTONIC);
    const std::uint64_t cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    workload.run(plan.operations);
    result.cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu;
    result.ended_ns = clock_ns(CLOCK_MONOTONIC);
    result.allocations = plan.operations;
    line();
    if (plan.member == 1) result.private_kib = private_kib();
    if (me == 0 && plan.member == 0) remember_memory(backend.footprint());
    line();
  });
  if (plan.latency == 0) return;
  using sampled_session = sampled<session_type>;
  sampled_session timed(session, result);
  with_workload<sampled_session>(plan.workload, [&]<class Workload> {
    Workload workload(timed, place);
    result.sample_count = {};
    workload.run(plan.latency);
    line();
  });
}

// What the peer does that is killed: a few hundred small blocks, for ever.
template <class Backend>
[[noreturn]] void churn(Backend& backend, control& shared, std::uint64_t seed) {
  auto session = backend.enter();
  random_numbers random(seed);
  std::array<void*, 256> slots{};
  for (std::uint64_t n = 0;; ++n) {
    void*& slot = slots[random.below(slots.size())];
    if (slot != nullptr) session.deallocate(slot);
    touch(slot = session.allocate(16 + random.below(496)));
    if (n == slots.size()) shared.victim_at_work.fetch_add(1, std::memory_order_release);
  }
}

template <class Backend>
int run(const run_plan& plan_given) {
  run_plan plan = plan_given;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const bool first = plan.member == 0;
  if (first) plan.control_descriptor = create_control();
  control& shared = *map_control(plan.control_descriptor);
  const memory_use before = memory_now();
  Backend backend(plan);
  if (!plan.count.empty()) return count_instructions(backend, plan.count);
  const auto start_another = [&](unsigned member) {
    std::vector<std::string> arguments = plan.arguments_for(member);
    backend.hand_on(arguments);
    return start_self(arguments);
  };

  if (plan.member == run_plan::victim) churn(backend, shared, static_cast<std::uint64_t>(getpid()));
  std::vector<pid_t> others;
  std::uint64_t kills = 0;
  if (plan.processes() && first) others.push_back(start_another(1));
  if (plan.processes()) {
    work(backend, plan, shared, plan.member);
  } else {
    tormentor peer([&] { return start_another(run_plan::victim); }, shared.victim_at_work,
                   plan.mode == "k1");
    if (plan.with_victim()) peer.begin();
    std::vector<std::thread> threads;
    for (unsigned i = 1; i < plan.workers(); ++i)
      threads.emplace_back([&, i] { work(backend, plan, shared, i); });
    work(backend, plan, shared, 0);
    for (std::thread& thread : threads) thread.join();
    kills = peer.end();
  }
  for (const pid_t other : others) wait_for(other);
  if (first) report(plan, shared, before, kills);
  return 0;
}

// For main(): the error in words, and a status that says so.
template <class F>
int explained(F&& f) {
  try {
    return f();
  } catch (const std::exception& problem) {
    std::fprintf(stderr, "malloc_worker: %s\n", problem.what());
    return 1;
  }
}

template <class Backend>
int worker_main(int count, char** arguments) {
  return explained([&] { return run<Backend>(run_plan::parse(count, arguments)); });
}

}  // namespace malloc_bench
