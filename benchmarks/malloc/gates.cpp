// See gates.hpp.
#include "gates.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

namespace malloc_bench {

namespace {

std::string format(const char* how, double value) {
  char text[64];
  std::snprintf(text, sizeof text, how, value);
  return text;
}

using predicate = std::function<bool(const comparison&)>;

predicate where(std::string mode, std::string peer, std::string peer_mode = "") {
  return [=](const comparison& one) {
    return one.mode == mode && one.peer == peer && one.workload != "pair4" &&
           (peer_mode.empty() || one.peer_mode == peer_mode);
  };
}

// The geometric mean of the median ratios. One comparison that failed makes it unknown: a mean over
// what is left would look better than it is.
gate mean_of(std::string what, const std::vector<comparison>& all, const predicate& chosen) {
  gate result{std::move(what)};
  std::vector<double> medians;
  for (const comparison& one : all) {
    if (!chosen(one)) continue;
    if (!one.ok()) {
      result.detail = one.workload + ": " + one.problem;
      return result;
    }
    medians.push_back(one.ratio().median);
  }
  if (medians.empty()) return result;
  result.measured = true;
  result.value = geometric_mean(medians);
  result.detail = std::to_string(medians.size()) + " workloads, " +
                  ratio_text(*std::min_element(medians.begin(), medians.end())) + " to " +
                  ratio_text(*std::max_element(medians.begin(), medians.end()));
  return result;
}

gate with_limits(gate made, double limit, double stretch) {
  made.limit = limit;
  made.stretch = stretch;
  return made;
}

gate memory_gate(const std::vector<comparison>& all, const std::string& mode) {
  gate result{"resident memory against mimalloc, mstress, " + mode_in_words(mode)};
  for (const comparison& one : all) {
    if (one.mode != mode || one.workload != "mstress" || one.peer != "mimalloc" || !one.ok())
      continue;
    std::vector<double> ours;
    std::vector<double> theirs;
    for (const measurement& run : one.of_subject) ours.push_back(memory_of(run));
    for (const measurement& run : one.of_peer) theirs.push_back(memory_of(run));
    const double mine = statistic_of(ours).median;
    const double his = statistic_of(theirs).median;
    if (his <= 0) continue;
    result.measured = true;
    result.value = mine / his;
    result.detail = format("%.1f MiB", mine / 1048576) + format(" to %.1f MiB", his / 1048576);
  }
  return result;
}

}  // namespace

std::string ratio_text(double ratio) {
  if (ratio <= 0) return "-";
  if (ratio < 0.1) return format("1/%.0f", 1 / ratio);
  return format(ratio < 10 ? "%.2f" : "%.0f", ratio);
}

double memory_of(const measurement& run) {
  const auto value = [&](const char* name) {
    const auto found = run.values.find(name);
    return found == run.values.end() ? 0.0 : found->second;
  };
  return value("private") + std::max(value("shared"), value("footprint"));
}

std::string gate::in_words(double ratio) const {
  return ratio_text(ratio);
}

std::string gate::limits() const {
  if (limit == 0) return "";
  const std::string sign = at_least ? ">= " : "<= ";
  std::string text = sign + ratio_text(limit);
  if (stretch != 0) text += " / " + sign + ratio_text(stretch);
  return text;
}

std::string gate::verdict() const {
  if (!measured) return "not measured";
  if (limit == 0) return "";
  const auto missed_by = [&](double bound) {
    return format(" by %.0f %%", 100 * (at_least ? bound / value - 1 : value / bound - 1));
  };
  if (!met()) return "MISSED" + missed_by(limit);
  if (stretch == 0) return "met";
  return within(stretch) ? "met, stretch too" : "met, stretch missed" + missed_by(stretch);
}

std::vector<gate> judge(const std::vector<comparison>& all) {
  std::vector<gate> gates;
  gates.push_back(with_limits(
      mean_of("time against mimalloc, one thread", all, where("t1", "mimalloc")), 1.20, 1.00));
  gates.push_back(with_limits(mean_of("time against mimalloc, blocks freed elsewhere", all,
                                      [](const comparison& one) {
                                        return one.mode == "t2" && one.peer == "mimalloc" &&
                                               (one.workload == "xmalloc" ||
                                                one.workload == "prodcon");
                                      }),
                              1.00, 0.80));
  gates.push_back(with_limits(mean_of("time against Boost, one thread", all, where("t1", "boost")),
                              1.0 / 25, 1.0 / 40));
  gates.push_back(with_limits(
      mean_of("time against Boost, two processes", all, where("p2", "boost")), 1.0 / 40, 1.0 / 60));
  gate scaling = mean_of("throughput of two processes on one heap, of two private mimallocs", all,
                         where("s2", "mimalloc"));
  if (scaling.measured) scaling.value = 1 / scaling.value;
  scaling.at_least = true;
  scaling.detail.insert(0, scaling.measured ? "time ratios: " : "");
  gates.push_back(with_limits(scaling, 0.95, 0));
  gates.push_back(with_limits(
      mean_of("time against the heap without crash tolerance", all, where("t1", "intolerant")),
      1.10, 0));
  gates.push_back(with_limits(memory_gate(all, "t1"), 1.25, 0));
  gates.push_back(with_limits(memory_gate(all, "t2"), 1.25, 0));
  return gates;
}

namespace {

// What two means of the same workloads say about each other.
gate quotient(std::string what, const gate& above, const gate& below) {
  gate result{std::move(what)};
  result.measured = above.measured && below.measured;
  if (result.measured) result.value = above.value / below.value;
  result.detail = result.measured ? "derived" : "";
  return result;
}

}  // namespace

std::vector<gate> observe(const std::vector<comparison>& all) {
  const auto small_only = [](predicate chosen) {
    return [chosen](const comparison& one) {
      return chosen(one) && one.workload != "large" && one.workload != "realloc";
    };
  };
  std::vector<gate> known;
  known.push_back(mean_of("time against mimalloc, one thread, small blocks only", all,
                          small_only(where("t1", "mimalloc"))));
  known.push_back(mean_of("time against Boost, one thread, small blocks only", all,
                          small_only(where("t1", "boost"))));
  known.push_back(mean_of("time against Boost, two processes, small blocks only", all,
                          small_only(where("p2", "boost"))));
  const gate to_mimalloc = mean_of("", all, where("t1", "mimalloc"));
  known.push_back(quotient("mimalloc's own time against Boost, one thread",
                           mean_of("", all, where("t1", "boost")), to_mimalloc));
  known.push_back(quotient("mimalloc's own time against Boost, one thread, small blocks only",
                           mean_of("", all, small_only(where("t1", "boost"))),
                           mean_of("", all, small_only(where("t1", "mimalloc")))));
  known.push_back(quotient("gain from one thread to two processes (s2), of mimalloc's gain",
                           to_mimalloc, mean_of("", all, where("s2", "mimalloc"))));
  known.push_back(mean_of("time against jemalloc, one thread", all, where("t1", "jemalloc")));
  known.push_back(mean_of("time against glibc, one thread", all, where("t1", "glibc")));
  known.push_back(mean_of("time against mimalloc, two threads", all, where("t2", "mimalloc")));
  known.push_back(mean_of("time against Boost, two threads", all, where("t2", "boost")));
  for (const char* mode : {"t1", "t2", "p2"})
    known.push_back(mean_of("time of the heap against ipcpp::allocator, " + mode_in_words(mode),
                            all, where(mode, "allocator")));
  known.push_back(mean_of("time against mimalloc, each beside a peer that is killed", all,
                          where("k1", "mimalloc")));
  known.push_back(mean_of("time beside a peer that is killed, against beside one that lives", all,
                          where("k1", "heap", "l1")));
  std::erase_if(known, [](const gate& one) { return !one.measured && one.detail.empty(); });
  return known;
}

}  // namespace malloc_bench
