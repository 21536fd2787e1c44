// What the benchmark says: a line for each workload as soon as it is measured, the tables at the end,
// and the files for programs to read.
#pragma once

#include <string>
#include <vector>

#include "gates.hpp"
#include "measure.hpp"

namespace malloc_bench {

// Instructions per operation; negative: could not be counted.
struct instruction_row {
  std::string contender;
  double allocate = -1;
  double free = -1;
  double remote_free = -1;
};

void print_mode_heading(const std::string& mode, const std::vector<std::string>& peers);
// The peers' ratios of one workload, on one line; problems below it.
void print_row(const std::vector<comparison>& of_one_workload,
               const std::vector<std::string>& peers);
void print_latency(const std::vector<comparison>& all);
void print_counts(const std::vector<instruction_row>& counts);
void print_gates(const std::vector<gate>& gates, const std::vector<gate>& known);

// malloc_benchmark.csv: every run. malloc_benchmark.json: medians, gates, counts.
[[nodiscard]] bool write_files(const std::string& folder, const std::vector<comparison>& all,
                               const std::vector<gate>& gates,
                               const std::vector<instruction_row>& counts);
// Replaces what stands between the markers in docs/benchmarks.md.
[[nodiscard]] bool update_document(const std::string& path, const settings& asked,
                                   const std::vector<comparison>& all,
                                   const std::vector<gate>& gates, const std::vector<gate>& known,
                                   const std::vector<instruction_row>& counts);

// The peers in the order of the columns.
[[nodiscard]] const std::vector<std::string>& column_order();
// "allocator" as a heading: what the heap's time is divided by.
[[nodiscard]] std::string peer_in_words(const std::string& peer);
// "heap l1" is the column of the comparison with peer_mode l1.
[[nodiscard]] std::string column_of(const comparison& one);
// Medians of a value ("p99a") over the runs.
[[nodiscard]] double median_value(const std::vector<measurement>& runs, const std::string& name);

}  // namespace malloc_bench
