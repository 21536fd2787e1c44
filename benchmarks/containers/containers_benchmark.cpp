// containers_benchmark [--rounds N] [--once LIBRARY] [FILTER...]: every workload with each library in
// turn, round by round, and the median of the ratios of each round. --once runs the workloads of
// one library once and prints nothing: for callgrind.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "workloads.hpp"

using containers_bench::workload;

namespace {

const workload* named(const std::vector<workload>& all, std::string_view name) {
  for (const workload& one : all)
    if (one.name == name) return &one;
  return nullptr;
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t rounds = 15;
  std::string_view once;
  std::vector<std::string_view> filters;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--rounds" && i + 1 < argc) {
      rounds = std::strtoul(argv[++i], nullptr, 10);
    } else if (argument == "--once" && i + 1 < argc) {
      once = argv[++i];
    } else if (argument.starts_with("--")) {
      std::fputs(
          "usage: containers_benchmark [--rounds N] [--once private|ipcpp|pinned|boost] "
          "[FILTER...]\n",
          stderr);
      return 2;
    } else {
      filters.push_back(argument);
    }
  }
  const auto wanted = [&](std::string_view name) {
    return filters.empty() || std::any_of(filters.begin(), filters.end(), [&](auto filter) {
             return name.find(filter) != name.npos;
           });
  };
  const std::vector<std::pair<std::string_view, const std::vector<workload>*>> libraries{
      {"private", &containers_bench::private_workloads()},
      {"ipcpp", &containers_bench::ipcpp_workloads()},
      {"pinned", &containers_bench::pinned_workloads()},
      {"boost", &containers_bench::boost_workloads()}};
  if (!once.empty()) {
    for (const auto& [name, all] : libraries)
      if (name == once)
        for (const workload& one : *all)
          if (wanted(one.name)) one.run();
    return 0;
  }

  std::printf("%-38s %10s %8s %8s %8s\n", "", "std, ns", "ipcpp", "pinned", "");
  std::printf("%-38s %10s %8s %8s %8s\n", "", "private", "/ std", "/ std", "/ boost");
  for (const workload& reference : *libraries[0].second) {
    if (!wanted(reference.name)) continue;
    std::vector<double> base;
    std::vector<double> ipcpp_ratio;
    std::vector<double> pinned_ratio;
    std::vector<double> boost_ratio;
    const workload* const ours = named(*libraries[1].second, reference.name);
    const workload* const pinned = named(*libraries[2].second, reference.name);
    const workload* const boost = named(*libraries[3].second, reference.name);
    for (std::size_t round = 0; round < rounds; ++round) {
      // Which goes first changes from round to round.
      double reference_time = 0;
      double our_time = 0;
      if (round % 2 == 0) {
        reference_time = reference.run();
        our_time = ours->run();
      } else {
        our_time = ours->run();
        reference_time = reference.run();
      }
      base.push_back(reference_time);
      ipcpp_ratio.push_back(our_time / reference_time);
      pinned_ratio.push_back(pinned->run() / reference.run());
      if (boost != nullptr) boost_ratio.push_back(ours->run() / boost->run());
    }
    std::printf("%-38s %10.2f %8.2f %8.2f %8.2f\n", reference.name, median(base),
                median(ipcpp_ratio), median(pinned_ratio), median(boost_ratio));
    std::fflush(stdout);
  }
}
