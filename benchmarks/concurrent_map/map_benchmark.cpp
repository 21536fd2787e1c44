// map_benchmark [--quick] [--only WORD] [--single NAME WORKLOAD OPERATIONS]
//
// concurrent_map beside std::unordered_map in private memory (one process), the same in pinned shared
// memory under a pthread mutex, and Boost.Interprocess's map under its mutex; one process and two.
// All contestants take turns within each round, so that what disturbs the machine disturbs them alike;
// what is printed is the median over the rounds, of nanoseconds an operation, and of the ratio to ours
// in the same round.
//
// --single runs one of them alone, for a profiler: ours, private, mutex or boost.
//
// Exit status 1 if a target is missed: at most twice the private one's time for finds and for updates in
// one process, and faster than both shared ones in every row.
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "contestants.hpp"

using namespace map_bench;
using std::chrono::steady_clock;

namespace {

struct entrant {
  std::string name;
  std::unique_ptr<contestant> map;
  bool shared = true;
};

std::vector<entrant> all_entrants() {
  std::vector<entrant> all;
  all.push_back({"ours", make_ipcpp(), true});
  all.push_back({"private", make_private(), false});
  all.push_back({"mutex", make_shared_std(), true});
#if defined(HAS_BOOST)
  all.push_back({"boost", make_shared_boost(), true});
#endif
  return all;
}

std::vector<workload> all_workloads() {
  std::vector<workload> all;
  for (const auto& [name, texts, keys] : {std::tuple("1k numbers", false, std::size_t{1000}),
                                          std::tuple("200k numbers", false, std::size_t{200'000}),
                                          std::tuple("20k words", true, std::size_t{20'000})})
    for (const auto& [mix, updates] :
         {std::pair("find", 0u), std::pair("read-mostly (5 % updates)", 5u),
          std::pair("update-heavy (50 %)", 50u), std::pair("update", 100u)})
      all.push_back({std::string(name) + ", " + mix, texts, keys, updates});
  return all;
}

// What the processes of a run share: a gate, and what they found.
struct run_board {
  std::atomic<int> ready;
  std::atomic<int> go;
  std::atomic<std::uint64_t> nanoseconds[2];
  std::atomic<std::uint64_t> sum;
};

double ns_per_operation(contestant& map, const workload& w, const key_table& keys, int processes,
                        std::uint64_t operations, run_board& board, std::uint64_t seed) {
  board.ready = 0;
  board.go = 0;
  const auto play = [&](int i) {
    board.sum += map.work(w, keys, seed + 7, 200);  // attached, and warm
    board.ready.fetch_add(1);
    while (board.go.load() == 0) {
    }
    const auto began = steady_clock::now();
    board.sum += map.work(w, keys, seed + static_cast<std::uint64_t>(i), operations);
    board.nanoseconds[i] = static_cast<std::uint64_t>(
        std::chrono::duration_cast<std::chrono::nanoseconds>(steady_clock::now() - began).count());
  };
  pid_t child = -1;
  if (processes == 2) {
    child = ::fork();
    if (child == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      play(1);
      ::_exit(0);
    }
    while (board.ready.load() == 0) std::this_thread::yield();
  }
  board.go = 1;
  play(0);
  if (child > 0) {
    int status = 0;
    ::waitpid(child, &status, 0);
    if (status != 0) throw std::runtime_error("the other process failed");
  }
  double most = 0;
  for (int i = 0; i < processes; ++i)
    most = std::max(most, static_cast<double>(board.nanoseconds[i].load()));
  return most / static_cast<double>(operations);
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  bool quick = false;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      quick = true;
    } else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
      only = argv[++i];
    } else if (std::strcmp(argv[i], "--single") == 0 && i + 3 < argc) {
      for (entrant& e : all_entrants())
        for (const workload& w : all_workloads())
          if (e.name == argv[i + 1] && w.name == argv[i + 2]) {
            const key_table keys(w);
            e.map->prepare(w, keys);
            std::printf("%llu\n", static_cast<unsigned long long>(e.map->work(
                                      w, keys, 1, std::strtoull(argv[i + 3], nullptr, 10))));
            return 0;
          }
      return 2;
    } else {
      std::fprintf(stderr,
                   "usage: map_benchmark [--quick] [--only WORD] [--single NAME WORKLOAD N]\n");
      return 2;
    }
  }
  auto* const board = static_cast<run_board*>(::mmap(
      nullptr, sizeof(run_board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const int rounds = quick ? 3 : 11;
  const std::uint64_t operations = quick ? 50'000 : 400'000;
  std::vector<entrant> entrants = all_entrants();
  std::printf("median ns an operation of %d rounds; in brackets: times ours\n%-40s %4s", rounds,
              "workload", "proc");
  for (const entrant& e : entrants) std::printf(" %18s", e.name.c_str());
  std::printf("\n");
  int missed = 0;
  for (const workload& w : all_workloads()) {
    if (w.name.find(only) == std::string::npos) continue;
    const key_table keys(w);
    for (entrant& e : entrants) e.map->prepare(w, keys);
    for (const int processes : {1, 2}) {
      std::vector<std::vector<double>> ns(entrants.size());
      std::vector<std::vector<double>> ratio(entrants.size());
      for (int round = 0; round < rounds; ++round) {
        std::vector<double> now(entrants.size(), 0);
        for (std::size_t turn = 0; turn < entrants.size(); ++turn) {
          const std::size_t i =
              (turn + static_cast<std::size_t>(round)) % entrants.size();  // each is first in turn
          if (processes == 2 && !entrants[i].shared) continue;
          now[i] = ns_per_operation(*entrants[i].map, w, keys, processes, operations, *board,
                                    static_cast<std::uint64_t>(round) * 2 + 1);
        }
        for (std::size_t i = 0; i < entrants.size(); ++i) {
          ns[i].push_back(now[i]);
          ratio[i].push_back(now[i] / now[0]);
        }
      }
      std::printf("%-40s %4d", w.name.c_str(), processes);
      bool missed_here = false;
      for (std::size_t i = 0; i < entrants.size(); ++i) {
        if (processes == 2 && !entrants[i].shared) {
          std::printf(" %18s", "-");
          continue;
        }
        std::printf(" %8.1f (%6.2f)", median(ns[i]), median(ratio[i]));
        if (i == 0) continue;
        const bool pure = w.updates == 0 || w.updates == 100;
        if (entrants[i].shared ? median(ratio[i]) < 1 : pure && median(ratio[i]) < 0.5)
          missed_here = true;
      }
      std::printf("%s\n", missed_here ? "  MISSED" : "");
      std::fflush(stdout);
      missed += missed_here;
    }
    for (entrant& e : entrants) e.map->clear();
  }
  std::printf(missed == 0 ? "every target is met\n" : "%d rows miss a target\n", missed);
  return missed == 0 ? 0 : 1;
}
