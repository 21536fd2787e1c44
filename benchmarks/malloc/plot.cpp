// See plot.hpp. A panel for each mode, a row for each workload, a dot for each peer at the heap's time
// divided by the peer's; the whisker spans the quartiles. Left of the line at 1 the heap is faster.
#include "plot.hpp"

#include "../support/ratio_plot.hpp"

namespace malloc_bench {

namespace {

constexpr const char* peers[] = {"mimalloc", "jemalloc", "glibc", "boost"};

}  // namespace

bool write_plot(const std::string& path, const std::vector<comparison>& all) {
  bench_support::ratio_plot plot;
  plot.title = "Time of the heap divided by the time of others (left of 1: the heap is faster)";
  plot.note = "dot: median, whisker: quartiles";
  plot.least = 1.0 / 128;
  plot.most = 4;
  plot.series = {{"mimalloc", "#3a86c8"},
                 {"jemalloc", "#d98324"},
                 {"glibc", "#4f9d69"},
                 {"Boost.Interprocess", "#b5508f"}};
  for (const char* mode : {"t1", "t2", "p2", "s2", "k1"}) {
    bench_support::plot_panel panel;
    panel.title = mode_in_words(mode);
    for (const workload_info& workload : all_workloads()) panel.rows.push_back(workload.name);
    for (const comparison& one : all)
      for (std::size_t i = 0; i < std::size(peers); ++i) {
        if (one.mode != mode || one.peer != peers[i] || !one.ok()) continue;
        const statistic ratio = one.ratio();
        panel.dots.push_back({one.workload, i, ratio.median, ratio.low, ratio.high});
      }
    plot.panels.push_back(std::move(panel));
  }
  return bench_support::write_plot(path, plot);
}

}  // namespace malloc_bench
