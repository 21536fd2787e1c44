// Runs a worker and takes its answer; one that hangs is ended, with all it started.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <vector>

namespace malloc_bench {

struct process_output {
  bool ok = false;
  std::string output;   // standard output
  std::string errors;   // standard error
  std::string problem;  // in words, if not ok
};

// arguments[0] is the program.
[[nodiscard]] process_output run_process(const std::vector<std::string>& arguments,
                                         std::chrono::seconds limit);

// "a=1 b=2" as numbers.
[[nodiscard]] std::map<std::string, double> parse_values(const std::string& line);

}  // namespace malloc_bench
