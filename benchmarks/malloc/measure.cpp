// See measure.hpp.
#include "measure.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>

#include <unistd.h>

#include "subprocess.hpp"

namespace malloc_bench {

const std::vector<workload_info>& all_workloads() {
  static const std::vector<workload_info> all{
      {"pair", 4'000'000, 100'000, false, true},
      {"pair4", 4'000'000, 100'000, false, true},
      {"threadtest", 4'000'000, 100'000, false, true},
      {"larson", 3'000'000, 100'000, false, true},
      {"sh6", 3'000'000, 100'000, false, true},
      {"sh8", 3'000'000, 100'000, false, true},
      {"cache_scratch", 1'000'000, 50'000, false, true},
      {"mstress", 800'000, 150'000, false, true},
      {"realloc", 150'000, 40'000, false, false},
      {"large", 20'000, 1'000, false, false},
      {"xmalloc", 2'000'000, 50'000, true, true},
      {"prodcon", 2'000'000, 50'000, true, true},
  };
  return all;
}

std::string mode_in_words(const std::string& mode) {
  if (mode == "t1") return "one thread";
  if (mode == "t2") return "two threads";
  if (mode == "p2") return "two processes, one heap, blocks exchanged";
  if (mode == "s2") return "two processes, nothing exchanged";
  if (mode == "k1") return "one thread, a peer process killed and restarted all the time";
  return mode;
}

statistic statistic_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    const double place = share * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(place);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    return values[below] + (values[above] - values[below]) * (place - static_cast<double>(below));
  };
  return {at(0.5), at(0.25), at(0.75), values.front(), values.back()};
}

double geometric_mean(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += std::log(value);
  return values.empty() ? 0 : std::exp(sum / static_cast<double>(values.size()));
}

bench::bench(settings what) : settings_(std::move(what)) {
  const auto wanted = [&](const std::string& name) {
    return settings_.peers.empty() ||
           std::find(settings_.peers.begin(), settings_.peers.end(), name) != settings_.peers.end();
  };
  const auto add = [&](std::string name, const std::string& program,
                       std::vector<std::string> arguments, bool shared) {
    if (name != "heap" && !wanted(name)) return;
    if (access(program.c_str(), X_OK) == 0)
      contenders_.push_back({std::move(name), program, std::move(arguments), shared});
    else
      missing_.push_back(std::move(name));
  };
  const auto beside = [&](const char* name) {
    return settings_.programs + "/malloc_worker_" + name;
  };
  add("heap", beside("ipcpp"), {"--via", "heap"}, true);
  add("mimalloc", beside("mimalloc"), {}, false);
  add("jemalloc", beside("jemalloc"), {}, false);
  add("glibc", beside("glibc"), {}, false);
  add("boost", beside("boost"), {}, true);
  // The worker may have been built before the allocator was there.
  const process_output probe = run_process(
      {beside("ipcpp"), "--via", "allocator", "--operations", "1000"}, std::chrono::seconds(30));
  add("allocator", probe.problem.find("no way") == std::string::npos ? beside("ipcpp") : "",
      {"--via", "allocator"}, true);
  add("intolerant", settings_.without_crash_tolerance, {"--via", "heap"}, true);
}

const contender* bench::find(const std::string& name) const {
  for (const contender& one : contenders_)
    if (one.name == name) return &one;
  return nullptr;
}

measurement bench::measure(const contender& who, const workload_info& workload,
                           const std::string& mode) {
  const std::uint64_t operations = operations_for(who, workload, mode);
  std::vector<std::string> command{who.program,
                                   "--workload",
                                   workload.name,
                                   "--mode",
                                   mode,
                                   "--operations",
                                   std::to_string(operations),
                                   "--latency",
                                   std::to_string(operations / 5)};
  command.insert(command.end(), who.arguments.begin(), who.arguments.end());
  const process_output run = run_process(command, std::chrono::seconds(30));
  measurement result;
  result.values = parse_values(run.output);
  result.problem = run.problem;
  if (!run.ok) return result;
  const double time = result.values[mode[1] == '2' ? "wall" : "cpu"];
  const double made = result.values["operations"];
  if (time <= 0 || made <= 0) {
    result.problem = "no answer";
    return result;
  }
  result.ok = true;
  result.ns = time / made;
  return result;
}

// A first run says how many operations take about a twentieth of a second, up to the workload's own
// number of them; the same number is used from then on.
std::uint64_t bench::operations_for(const contender& who, const workload_info& workload,
                                    const std::string& mode) {
  constexpr double aim_ns = 50e6;
  std::uint64_t& known = operations_[who.name + " " + workload.name + " " + mode];
  if (known != 0) return known;
  const auto scaled = [&](std::uint64_t n) {
    return std::max<std::uint64_t>(
        static_cast<std::uint64_t>(static_cast<double>(n) * settings_.scale), 1000);
  };
  known = scaled(workload.least);  // so that the run below ends the recursion
  const measurement first = measure(who, workload, mode);
  if (!first.ok) return known;
  const double workers = mode[1] == '2' ? 2 : 1;
  const double fits = aim_ns * settings_.scale / (first.ns * workers);
  known = std::clamp(static_cast<std::uint64_t>(fits), scaled(workload.least),
                     scaled(workload.operations));
  return known;
}

std::vector<comparison> bench::compare(const workload_info& workload, const std::string& mode) {
  std::vector<comparison> all;
  const auto add = [&](const std::string& peer, const std::string& peer_mode) {
    if (has(peer) && has("heap")) all.push_back({mode, workload.name, "heap", peer, peer_mode});
  };
  const bool exchange = workload.exchanges_only;
  if (exchange && mode != "t2" && mode != "p2") return all;
  if (mode == "t1" || mode == "t2") {
    for (const char* peer : {"mimalloc", "jemalloc", "glibc", "boost", "allocator"})
      if (peer != std::string("boost") || workload.name != "pair4") add(peer, mode);
    if (mode == "t1" || exchange) add("intolerant", mode);
  } else if (workload.name == "pair4") {
    return all;
  } else if (mode == "p2") {
    for (const char* peer : {"boost", "allocator"}) add(peer, mode);
  } else if (mode == "s2") {
    add("mimalloc", mode);
  } else if (mode == "k1") {
    add("mimalloc", mode);
    add("allocator", mode);
    add("heap", "l1");  // the same with a peer that lives
  }
  for (unsigned round = 0; round < settings_.pairs; ++round)
    for (comparison& one : all) {
      if (!one.problem.empty()) continue;
      one.of_subject.push_back(measure(*find(one.subject), workload, mode));
      one.of_peer.push_back(measure(*find(one.peer), workload, one.peer_mode));
      const measurement& ours = one.of_subject.back();
      const measurement& theirs = one.of_peer.back();
      if (!ours.ok)
        one.problem = one.subject + " " + ours.problem;
      else if (!theirs.ok)
        one.problem = one.peer + " " + theirs.problem;
      else
        one.ratios.push_back(ours.ns / theirs.ns);
    }
  return all;
}

double bench::count(const contender& who, const std::string& operation) {
  std::vector<std::string> command{"valgrind", "--tool=callgrind", "--collect-atstart=no",
                                   "--callgrind-out-file=/dev/null", who.program};
  command.insert(command.end(), who.arguments.begin(), who.arguments.end());
  command.insert(command.end(), {"--count", operation, "--capacity", "1073741824"});
  const process_output run = run_process(command, std::chrono::seconds(60));
  const std::size_t at = run.errors.find("Collected : ");
  if (!run.ok || at == std::string::npos) return -1;
  constexpr double counted = 256 * 16;  // instruction_counts.hpp
  return std::strtod(run.errors.c_str() + at + 12, nullptr) / counted;
}

double bench::instructions(const std::string& name, const std::string& operation) {
  const contender* who = find(name);
  if (who == nullptr) return -1;
  if (!nothing_.contains(name)) nothing_[name] = count(*who, "nothing");
  const double with = count(*who, operation);
  return with < 0 || nothing_[name] < 0 ? -1 : with - nothing_[name];
}

}  // namespace malloc_bench
