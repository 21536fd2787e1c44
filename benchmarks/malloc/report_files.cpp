// See report.hpp. What is written to files: csv, json, and the tables of docs/benchmarks.md.
#include <algorithm>
#include <ctime>
#include <fstream>
#include <map>
#include <sstream>

#include "report.hpp"

namespace malloc_bench {

namespace {

std::string fixed(double value, int digits) {
  std::ostringstream text;
  text.setf(std::ios::fixed);
  text.precision(digits);
  text << value;
  return text.str();
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += static_cast<unsigned char>(c) < 32 ? ' ' : c;
  }
  return result + "\"";
}

void write_csv(std::ostream& to, const std::vector<comparison>& all) {
  const std::vector<std::string> values{"wall",    "cpu",    "operations", "p50a",  "p99a",
                                        "p999a",   "p50f",   "p99f",       "p999f", "kills",
                                        "private", "shared", "footprint"};
  to << "mode,workload,comparison,pair,contender,ns";
  for (const std::string& value : values) to << ',' << value;
  to << '\n';
  for (const comparison& one : all) {
    const auto write = [&](const std::vector<measurement>& runs, const std::string& who,
                           const std::string& mode) {
      for (std::size_t i = 0; i < runs.size(); ++i) {
        if (!runs[i].ok) continue;
        to << mode << ',' << one.workload << ",heap/" << column_of(one) << ',' << i << ',' << who
           << ',' << runs[i].ns;
        for (const std::string& value : values) {
          const auto found = runs[i].values.find(value);
          to << ',' << fixed(found == runs[i].values.end() ? 0 : found->second, 1);
        }
        to << '\n';
      }
    };
    write(one.of_subject, one.subject, one.mode);
    write(one.of_peer, one.peer, one.peer_mode);
  }
}

void write_json(std::ostream& to, const std::vector<comparison>& all,
                const std::vector<gate>& gates, const std::vector<instruction_row>& counts) {
  to << "{\n\"comparisons\": [";
  const char* separator = "\n";
  for (const comparison& one : all) {
    const statistic ratio = one.ratio();
    to << separator << "{\"mode\": " << quoted(one.mode)
       << ", \"workload\": " << quoted(one.workload) << ", \"peer\": " << quoted(column_of(one))
       << ", \"pairs\": " << one.ratios.size() << ", \"median\": " << ratio.median
       << ", \"quartiles\": [" << ratio.low << ", " << ratio.high << "], \"range\": ["
       << ratio.least << ", " << ratio.most << "]";
    if (!one.problem.empty()) to << ", \"problem\": " << quoted(one.problem);
    to << "}";
    separator = ",\n";
  }
  to << "\n],\n\"gates\": [";
  separator = "\n";
  for (const gate& one : gates) {
    to << separator << "{\"what\": " << quoted(one.what)
       << ", \"measured\": " << (one.measured ? "true" : "false") << ", \"value\": " << one.value
       << ", \"gate\": " << one.limit << ", \"stretch\": " << one.stretch
       << ", \"met\": " << (one.met() ? "true" : "false")
       << ", \"verdict\": " << quoted(one.verdict()) << "}";
    separator = ",\n";
  }
  to << "\n],\n\"instructions\": [";
  separator = "\n";
  for (const instruction_row& row : counts) {
    to << separator << "{\"contender\": " << quoted(row.contender)
       << ", \"allocate\": " << row.allocate << ", \"free\": " << row.free
       << ", \"remote_free\": " << row.remote_free << "}";
    separator = ",\n";
  }
  to << "\n]\n}\n";
}

std::string markdown_ratio(const comparison& one) {
  if (!one.ok()) return "failed";
  const statistic ratio = one.ratio();
  return ratio_text(ratio.median) + " (" + ratio_text(ratio.low) + " - " + ratio_text(ratio.high) +
         ")";
}

// A table for each mode: ns and p99 of the heap, then the ratios.
void write_mode_tables(std::ostream& to, const std::vector<comparison>& all) {
  for (const char* mode : {"t1", "t2", "p2", "s2", "k1"}) {
    std::vector<std::string> peers;
    for (const std::string& peer : column_order())
      if (std::any_of(all.begin(), all.end(), [&](const comparison& one) {
            return one.mode == mode && column_of(one) == peer;
          }))
        peers.push_back(peer);
    if (peers.empty()) continue;
    to << "\n### " << mode_in_words(mode) << "\n\n| workload | ns | p99 allocate/free, ns |";
    for (const std::string& peer : peers) to << ' ' << peer_in_words(peer) << " |";
    to << "\n|---|---|---|";
    for (std::size_t i = 0; i < peers.size(); ++i) to << "---|";
    to << '\n';
    for (const workload_info& workload : all_workloads()) {
      std::map<std::string, const comparison*> row;
      for (const comparison& one : all)
        if (one.mode == mode && one.workload == workload.name) row[column_of(one)] = &one;
      if (row.empty()) continue;
      std::vector<measurement> ours;
      for (const auto& [peer, one] : row)
        ours.insert(ours.end(), one->of_subject.begin(), one->of_subject.end());
      std::vector<double> times;
      for (const measurement& run : ours)
        if (run.ok) times.push_back(run.ns);
      to << "| " << workload.name << " | " << fixed(statistic_of(times).median, 1) << " | "
         << fixed(median_value(ours, "p99a"), 0) << "/" << fixed(median_value(ours, "p99f"), 0)
         << " |";
      for (const std::string& peer : peers)
        to << ' ' << (row.contains(peer) ? markdown_ratio(*row[peer]) : "") << " |";
      to << '\n';
    }
  }
}

void write_gates(std::ostream& to, const std::vector<gate>& gates, const std::vector<gate>& known) {
  to << "\n### Targets\n\n| what | measured | gate / stretch | |\n|---|---|---|---|\n";
  for (const gate& one : gates)
    to << "| " << one.what << " | " << (one.measured ? ratio_text(one.value) : "-") << " | "
       << one.limits() << " | " << one.verdict() << " |\n";
  to << "\n| also | measured | |\n|---|---|---|\n";
  for (const gate& one : known)
    to << "| " << one.what << " | " << (one.measured ? ratio_text(one.value) : "-") << " | "
       << one.detail << " |\n";
}

void write_counts(std::ostream& to, const std::vector<instruction_row>& counts) {
  if (counts.empty()) return;
  to << "\n### Instructions per operation (callgrind, 64 bytes)\n\n"
        "| | allocate | free | remote free |\n|---|---|---|---|\n";
  const auto text = [](double value) { return value < 0 ? std::string("-") : fixed(value, 1); };
  for (const instruction_row& row : counts)
    to << "| " << peer_in_words(row.contender) << " | " << text(row.allocate) << " | "
       << text(row.free) << " | " << text(row.remote_free) << " |\n";
}

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown processor";
}

}  // namespace

bool write_files(const std::string& folder, const std::vector<comparison>& all,
                 const std::vector<gate>& gates, const std::vector<instruction_row>& counts) {
  std::ofstream csv(folder + "/malloc_benchmark.csv");
  write_csv(csv, all);
  std::ofstream json(folder + "/malloc_benchmark.json");
  write_json(json, all, gates, counts);
  return csv.flush().good() && json.flush().good();
}

bool update_document(const std::string& path, const settings& asked,
                     const std::vector<comparison>& all, const std::vector<gate>& gates,
                     const std::vector<gate>& known, const std::vector<instruction_row>& counts) {
  static constexpr std::string_view begin_mark =
      "<!-- figures: ./dev bench malloc --update-docs -->";
  static constexpr std::string_view end_mark = "<!-- end of figures -->";
  std::stringstream old;
  {
    std::ifstream from(path);
    old << from.rdbuf();
  }
  const std::string text = old.str();
  const std::size_t begin = text.find(begin_mark);
  const std::size_t end = text.find(end_mark);
  if (begin == std::string::npos || end == std::string::npos || end < begin) return false;
  std::ostringstream figures;
  const std::time_t now = std::time(nullptr);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%d", std::localtime(&now));
  figures << "\n\nMeasured " << date << " on " << processor_name() << ", " << asked.pairs
          << " pairs; median ratios with their quartiles.\n";
  write_gates(figures, gates, known);
  write_mode_tables(figures, all);
  write_counts(figures, counts);
  figures << '\n';
  std::ofstream to(path);
  to << text.substr(0, begin + begin_mark.size()) << figures.str() << text.substr(end);
  return to.flush().good();
}

}  // namespace malloc_bench
