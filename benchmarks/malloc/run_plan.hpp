// What a worker was asked to do, and what it answers.
//
//   malloc_worker_NAME --workload W --mode M --operations N [--latency N] [--via heap|allocator]
//                      [--capacity BYTES]
//
// Workers start others of their kind with --member and --control added, and what the backend adds.
// The answer is one line: wall=NS cpu=NS operations=N p50a= p99a= p99f= ... kills= private= footprint=
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "control.hpp"
#include "latency.hpp"

namespace malloc_bench {

struct run_plan {
  static constexpr unsigned victim = 9;

  std::string workload = "pair";
  std::string mode = "t1";
  std::string via = "heap";
  std::string count;  // callgrind: which operation, see instruction_counts.hpp
  std::uint64_t operations = 1'000'000;
  std::uint64_t latency = 0;  // operations of the sampled pass
  std::uint64_t capacity = 0;
  unsigned member = 0;
  int control_descriptor = -1;
  std::string heap;  // how a member opens the heap; empty: makes one

  [[nodiscard]] unsigned workers() const { return mode[1] == '2' ? 2 : 1; }
  [[nodiscard]] bool processes() const { return mode == "p2" || mode == "s2"; }
  [[nodiscard]] bool with_victim() const { return mode == "k1" || mode == "l1"; }
  [[nodiscard]] bool exchange(bool heap_is_shared) const {
    return mode == "t2" || (mode == "p2" && heap_is_shared);
  }

  [[nodiscard]] static run_plan parse(int count, char** arguments) {
    run_plan plan;
    for (int i = 1; i + 1 < count; i += 2) {
      const std::string_view name = arguments[i];
      const char* value = arguments[i + 1];
      const auto number = [&] { return std::strtoull(value, nullptr, 10); };
      if (name == "--workload")
        plan.workload = value;
      else if (name == "--mode")
        plan.mode = value;
      else if (name == "--via")
        plan.via = value;
      else if (name == "--count")
        plan.count = value;
      else if (name == "--operations")
        plan.operations = number();
      else if (name == "--latency")
        plan.latency = number();
      else if (name == "--capacity")
        plan.capacity = number();
      else if (name == "--member")
        plan.member = static_cast<unsigned>(number());
      else if (name == "--control")
        plan.control_descriptor = static_cast<int>(number());
      else if (name == "--heap")
        plan.heap = value;
      else
        throw std::invalid_argument("unknown argument " + std::string(name));
    }
    if (count % 2 == 0) throw std::invalid_argument("an argument has no value");
    static constexpr std::string_view modes[] = {"t1", "t2", "p2", "s2", "k1", "l1"};
    if (std::find(std::begin(modes), std::end(modes), plan.mode) == std::end(modes))
      throw std::invalid_argument("no mode is called " + plan.mode);
    return plan;
  }

  [[nodiscard]] std::vector<std::string> arguments_for(unsigned other) const {
    return {"--workload",   workload,
            "--mode",       mode,
            "--via",        via,
            "--operations", std::to_string(operations),
            "--latency",    std::to_string(latency),
            "--capacity",   std::to_string(capacity),
            "--member",     std::to_string(other),
            "--control",    std::to_string(control_descriptor)};
  }
};

// ---- memory ----

struct memory_use {
  std::uint64_t private_kib = 0;  // resident, anonymous
  std::uint64_t shared_kib = 0;   // resident, of shared objects
};

inline memory_use memory_now() {
  memory_use use;
  std::FILE* status = std::fopen("/proc/self/status", "re");
  if (status == nullptr) return use;
  char line[256];
  while (std::fgets(line, sizeof line, status) != nullptr) {
    unsigned long long kib = 0;
    if (std::sscanf(line, "RssAnon: %llu", &kib) == 1) use.private_kib = kib;
    if (std::sscanf(line, "RssShmem: %llu", &kib) == 1) use.shared_kib = kib;
  }
  std::fclose(status);
  return use;
}
inline std::uint64_t private_kib() {
  return memory_now().private_kib;
}

struct remembered {
  memory_use use;
  std::size_t footprint = 0;
};
inline remembered& remembered_memory() {
  static remembered memory;
  return memory;
}
// At the end of the measured pass, with the blocks still there.
inline void remember_memory(std::size_t footprint) {
  remembered_memory() = {memory_now(), footprint};
}

// ---- the answer ----

inline void report(const run_plan& plan, const control& shared, const memory_use& before,
                   std::uint64_t kills) {
  std::uint64_t started = ~std::uint64_t{0};
  std::uint64_t ended = 0;
  std::uint64_t cpu = 0;
  std::uint64_t allocations = 0;
  for (unsigned i = 0; i < plan.workers(); ++i) {
    const worker_result& one = shared.results[i];
    started = std::min(started, one.started_ns);
    ended = std::max(ended, one.ended_ns);
    cpu += one.cpu_ns;
    allocations += one.allocations;
  }
  if (plan.workload == "prodcon") allocations /= 2;  // one allocates, one frees
  const double ns = tick_ns();
  const remembered& after = remembered_memory();
  const auto more = [](std::uint64_t now, std::uint64_t then) {
    return now > then ? now - then : 0;
  };
  std::printf(
      "wall=%llu cpu=%llu operations=%llu p50a=%.1f p99a=%.1f p999a=%.1f p50f=%.1f p99f=%.1f "
      "p999f=%.1f kills=%llu private=%llu shared=%llu footprint=%llu\n",
      static_cast<unsigned long long>(ended - started), static_cast<unsigned long long>(cpu),
      static_cast<unsigned long long>(allocations), percentile(shared, 0, 0.5, ns),
      percentile(shared, 0, 0.99, ns), percentile(shared, 0, 0.999, ns),
      percentile(shared, 1, 0.5, ns), percentile(shared, 1, 0.99, ns),
      percentile(shared, 1, 0.999, ns), static_cast<unsigned long long>(kills),
      static_cast<unsigned long long>(1024 * more(after.use.private_kib, before.private_kib)),
      static_cast<unsigned long long>(1024 * more(after.use.shared_kib, before.shared_kib)),
      static_cast<unsigned long long>(after.footprint));
}

}  // namespace malloc_bench
