// See report.hpp. The tables on the terminal.
#include "report.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <set>

namespace malloc_bench {

namespace {

double median_time(const std::vector<measurement>& runs) {
  std::vector<double> values;
  for (const measurement& run : runs)
    if (run.ok) values.push_back(run.ns);
  return statistic_of(values).median;
}

// "0.93 ±4%": the median, and half of what lies between the quartiles.
std::string cell(const comparison& one) {
  if (!one.ok()) return "failed";
  const statistic ratio = one.ratio();
  char text[64];
  std::snprintf(text, sizeof text, "%s ±%.0f%%", ratio_text(ratio.median).c_str(),
                50 * (ratio.high - ratio.low) / ratio.median);
  return text;
}

// Columns are counted in characters, not bytes.
void print_cell(const std::string& text, int width) {
  int characters = 0;
  for (const char c : text) characters += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  std::printf("%*s%s", std::max(width - characters, 1), "", text.c_str());
}

}  // namespace

const std::vector<std::string>& column_order() {
  static const std::vector<std::string> order{"mimalloc",  "jemalloc",   "glibc",  "boost",
                                              "allocator", "intolerant", "heap l1"};
  return order;
}

std::string peer_in_words(const std::string& peer) {
  if (peer == "heap l1") return "living peer";
  if (peer == "intolerant") return "no tolerance";
  return peer;
}

std::string column_of(const comparison& one) {
  return one.peer_mode == "l1" ? one.peer + " l1" : one.peer;
}

double median_value(const std::vector<measurement>& runs, const std::string& name) {
  std::vector<double> values;
  for (const measurement& run : runs)
    if (const auto found = run.values.find(name); run.ok && found != run.values.end())
      values.push_back(found->second);
  return statistic_of(values).median;
}

void print_mode_heading(const std::string& mode, const std::vector<std::string>& peers) {
  std::printf("\n%s (%s)\n%-14s%9s", mode_in_words(mode).c_str(), mode.c_str(), "  workload", "ns");
  for (const std::string& peer : peers) print_cell(peer_in_words(peer), 14);
  std::printf("\n");
  std::fflush(stdout);
}

void print_row(const std::vector<comparison>& rows, const std::vector<std::string>& peers) {
  if (rows.empty()) return;
  std::vector<measurement> ours;
  for (const comparison& one : rows)
    ours.insert(ours.end(), one.of_subject.begin(), one.of_subject.end());
  std::printf("  %-12s%9.1f", rows.front().workload.c_str(), median_time(ours));
  for (const std::string& peer : peers) {
    const auto found = std::find_if(rows.begin(), rows.end(),
                                    [&](const comparison& one) { return column_of(one) == peer; });
    print_cell(found == rows.end() ? "" : cell(*found), 14);
  }
  std::printf("\n");
  std::set<std::string> problems;
  for (const comparison& one : rows)
    if (!one.problem.empty()) problems.insert(one.problem);
  for (const std::string& problem : problems) std::printf("      failed: %s\n", problem.c_str());
  std::fflush(stdout);
}

void print_latency(const std::vector<comparison>& all) {
  // Medians over the runs of each contender, by mode and workload.
  std::map<std::string, std::map<std::string, std::string>> rows;
  std::vector<std::string> order;
  const auto note = [&](const comparison& one, const std::string& who, const std::string& mode,
                        const std::vector<measurement>& runs) {
    if (mode != one.mode) return;
    const std::string row = one.mode + " " + one.workload;
    if (!rows.contains(row)) order.push_back(row);
    char text[64];
    std::snprintf(text, sizeof text, "%.0f/%.0f", median_value(runs, "p99a"),
                  median_value(runs, "p99f"));
    rows[row].try_emplace(who, text);
  };
  for (const comparison& one : all) {
    if (!one.ok()) continue;
    note(one, one.subject, one.mode, one.of_subject);
    note(one, one.peer, one.peer_mode, one.of_peer);
  }
  if (order.empty()) return;
  const std::vector<std::string> columns{"heap",     "allocator", "mimalloc",
                                         "jemalloc", "glibc",     "boost"};
  std::printf("\np99 of single operations, ns, allocate/free\n%-18s", "");
  for (const std::string& column : columns) print_cell(column, 14);
  std::printf("\n");
  for (const std::string& row : order) {
    std::printf("  %-16s", row.c_str());
    for (const std::string& column : columns) print_cell(rows[row][column], 14);
    std::printf("\n");
  }
}

void print_counts(const std::vector<instruction_row>& counts) {
  if (counts.empty()) return;
  std::printf("\ninstructions per operation (callgrind, 64 bytes)\n%-18s%14s%14s%14s\n", "",
              "allocate", "free", "remote free");
  for (const instruction_row& row : counts) {
    std::printf("  %-16s", peer_in_words(row.contender).c_str());
    for (const double value : {row.allocate, row.free, row.remote_free})
      if (value < 0)
        std::printf("%14s", "-");
      else
        std::printf("%14.1f", value);
    std::printf("\n");
  }
}

void print_gates(const std::vector<gate>& gates, const std::vector<gate>& known) {
  std::printf("\ngates (gate / stretch; ratios are geometric means of the medians)\n");
  for (const gate& one : gates) {
    std::printf("  %-66s", one.what.c_str());
    std::printf("%7s  %-20s %s", one.measured ? ratio_text(one.value).c_str() : "-",
                one.limits().c_str(), one.verdict().c_str());
    if (!one.detail.empty()) std::printf("  (%s)", one.detail.c_str());
    std::printf("\n");
  }
  std::printf("\nalso\n");
  for (const gate& one : known)
    std::printf("  %-66s%7s  (%s)\n", one.what.c_str(),
                one.measured ? ratio_text(one.value).c_str() : "-", one.detail.c_str());
  std::fflush(stdout);
}

}  // namespace malloc_bench
