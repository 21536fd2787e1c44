// malloc_benchmark: ipcpp's heap beside other allocators. Run by `./dev bench malloc`; docs/benchmarks.md
// says how to read what it prints.
//
// A program of its own rather than a part of `benchmarks` (Catch2), because each allocator has to be a
// process, or two, of its own, because runs alternate between allocators in pairs, and because it plots.
// It starts the workers (worker.hpp), compares (measure.hpp), and reports (report.hpp, gates.hpp,
// plot.hpp). Ends with status 1 if a run of the heap failed, with 2 for arguments it does not know; a
// target that is missed is no failure of the program.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "gates.hpp"
#include "measure.hpp"
#include "plot.hpp"
#include "report.hpp"

using namespace malloc_bench;

namespace {

constexpr std::string_view help = R"(usage: ./dev bench malloc [OPTIONS]

  --quick              about a minute: three pairs, few operations
  --pairs N            pairs per comparison (9)
  --only W[,W...]      these workloads: pair pair4 threadtest larson sh6 sh8 cache_scratch mstress realloc
                       large xmalloc prodcon
  --modes M[,M...]     t1 one thread, t2 two threads, p2 two processes on one heap, s2 two processes that
                       exchange nothing, k1 a peer process that is killed all the time
  --peers P[,P...]     mimalloc jemalloc glibc boost allocator intolerant (the heap itself, built without
                       crash tolerance)
  --no-counts          no instruction counts
  --update-docs        write the figures into docs/benchmarks.md and docs/figures/malloc_benchmark.svg
  --root, --results, --without-crash-tolerance    set by ./dev bench malloc

A cell of the table is the heap's time divided by the peer's: the median over the pairs, and half the distance
of the quartiles in percent. The runs themselves are in build/malloc_benchmark.csv, the figure in
build/malloc_benchmark.svg.
)";

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> parts;
  std::istringstream from(list);
  for (std::string part; std::getline(from, part, ',');) parts.push_back(part);
  return parts;
}

bool contains(const std::vector<std::string>& list, const std::string& what) {
  return std::find(list.begin(), list.end(), what) != list.end();
}

// Complains and returns false if one of `given` is not among `known`.
bool all_known(const std::vector<std::string>& given, const std::vector<std::string>& known,
               const char* kind) {
  for (const std::string& one : given)
    if (!contains(known, one)) {
      std::fprintf(stderr, "error: no %s is called \"%s\"; --help lists them\n", kind, one.c_str());
      return false;
    }
  return true;
}

const std::vector<std::string> modes{"t1", "t2", "p2", "s2", "k1"};

// 0: go on; else exit with the status less one.
int parse(int count, char** arguments, settings& what) {
  bool pairs_given = false;
  for (int i = 1; i < count; ++i) {
    const std::string name = arguments[i];
    if (name == "-h" || name == "--help") {
      std::fwrite(help.data(), 1, help.size(), stdout);
      return 1;
    }
    if (name == "--quick") {
      what.quick = true;
      continue;
    }
    if (name == "--no-counts") {
      what.counts = false;
      continue;
    }
    if (name == "--update-docs") {
      what.update_docs = true;
      continue;
    }
    if (i + 1 == count) {
      std::fprintf(stderr, "error: %s is unknown or lacks a value; see --help\n", name.c_str());
      return 3;
    }
    const std::string value = arguments[++i];
    if (name == "--pairs") {
      what.pairs = static_cast<unsigned>(std::strtoul(value.c_str(), nullptr, 10));
      pairs_given = true;
    } else if (name == "--only") {
      what.only = split(value);
    } else if (name == "--modes") {
      what.modes = split(value);
    } else if (name == "--peers") {
      what.peers = split(value);
    } else if (name == "--root") {
      what.root = value;
    } else if (name == "--results") {
      what.results = value;
    } else if (name == "--without-crash-tolerance") {
      what.without_crash_tolerance = value;
    } else {
      std::fprintf(stderr, "error: unknown option %s; see --help\n", name.c_str());
      return 3;
    }
  }
  std::vector<std::string> workloads;
  for (const workload_info& one : all_workloads()) workloads.push_back(one.name);
  if (!all_known(what.only, workloads, "workload") || !all_known(what.modes, modes, "mode") ||
      !all_known(what.peers, column_order(), "peer"))
    return 3;
  if (what.quick) what.scale = 0.15;
  if (what.quick && !pairs_given) what.pairs = 3;
  if (what.pairs == 0) {
    std::fprintf(stderr, "error: --pairs wants a number of at least 1\n");
    return 3;
  }
  return 0;
}

std::vector<comparison> measure_all(bench& machine) {
  const settings& asked = machine.asked();
  std::vector<comparison> all;
  for (const std::string& mode : modes) {
    if (!asked.modes.empty() && !contains(asked.modes, mode)) continue;
    std::vector<std::string> peers;
    for (const std::string& peer : column_order())
      if ((peer == "heap l1" ? mode == "k1" : machine.has(peer)) &&
          (mode == "t1" || mode == "t2" || peer == "heap l1" || peer == "allocator" ||
           (peer == "boost" ? mode == "p2" : peer == "mimalloc" && mode != "p2")) &&
          !(mode == "s2" && peer == "allocator"))
        peers.push_back(peer);
    print_mode_heading(mode, peers);
    for (const workload_info& workload : all_workloads()) {
      if (!asked.only.empty() && !contains(asked.only, workload.name)) continue;
      std::vector<comparison> rows = machine.compare(workload, mode);
      print_row(rows, peers);
      std::move(rows.begin(), rows.end(), std::back_inserter(all));
    }
  }
  return all;
}

std::vector<instruction_row> count_all(bench& machine) {
  std::vector<instruction_row> counts;
  if (!machine.asked().counts) return counts;
  std::printf("\ncounting instructions ...\n");
  std::fflush(stdout);
  for (const contender& one : machine.contenders()) {
    if (one.name == "boost" || (machine.asked().quick && one.name != "heap")) continue;
    counts.push_back({one.name, machine.instructions(one.name, "allocate"),
                      machine.instructions(one.name, "free"),
                      machine.instructions(one.name, "remote_free")});
  }
  return counts;
}

}  // namespace

int main(int count, char** arguments) {
  settings what;
  what.programs = std::filesystem::canonical("/proc/self/exe").parent_path().string();
  if (const int status = parse(count, arguments, what); status != 0) return status - 1;

  bench machine(what);
  for (const std::string& name : machine.missing())
    std::printf("not built, therefore not compared: %s\n", name.c_str());
  std::printf(
      "time of the heap / time of ..., %u pairs; ns: the heap's own, per allocate and free\n",
      what.pairs);
  if (what.quick) std::printf("quick: shows that everything runs; the figures are of cold heaps\n");
  if (double load = 0; getloadavg(&load, 1) == 1 && load > 0.5)
    std::printf("the machine is busy (load %.1f): what two workers take will not be of use\n",
                load);
  const std::vector<comparison> all = measure_all(machine);
  const std::vector<instruction_row> counts = count_all(machine);
  const std::vector<gate> gates = judge(all);
  const std::vector<gate> known = observe(all);
  print_latency(all);
  print_counts(counts);
  print_gates(gates, known);

  bool ok = write_files(what.results, all, gates, counts);
  ok = write_plot(what.results + "/malloc_benchmark.svg", all) && ok;
  if (what.update_docs) {
    std::filesystem::create_directories(what.root + "/docs/figures");
    ok = write_plot(what.root + "/docs/figures/malloc_benchmark.svg", all) && ok;
    ok = update_document(what.root + "/docs/benchmarks.md", what, all, gates, known, counts) && ok;
  }
  std::printf("\nwritten: %s/malloc_benchmark.{csv,json,svg}%s\n", what.results.c_str(),
              what.update_docs ? ", docs/benchmarks.md, docs/figures/malloc_benchmark.svg" : "");
  if (!ok) std::fprintf(stderr, "error: not every file could be written\n");
  const bool heap_failed = std::any_of(all.begin(), all.end(), [](const comparison& one) {
    return one.problem.starts_with("heap") || one.problem.starts_with("allocator");
  });
  if (heap_failed) std::fprintf(stderr, "error: runs of the heap failed, see the table\n");
  return ok && !heap_failed ? 0 : 1;
}
