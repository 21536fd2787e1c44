// What is compared with what, and the alternating pairs: ours, peer, ours, peer, ... in one run of the
// program, so that whatever slows the machine down slows both.
//
// A contender is an allocator and a way to it. A comparison is one workload in one mode for two
// contenders; its result is the time of the first divided by the time of the second, pair by pair.
// Time is the processor's where one thread is measured, and from the first start to the last end where
// two are.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace malloc_bench {

struct settings {
  std::string programs;                 // where the workers are
  std::string root;                     // the checkout, for --update-docs
  std::string results = ".";            // where malloc_benchmark.json and .csv go
  std::string without_crash_tolerance;  // the worker of the other build; empty: not compared
  unsigned pairs = 9;
  double scale = 1;  // of the number of operations
  bool quick = false;
  bool counts = true;
  bool update_docs = false;
  std::vector<std::string> only;  // workloads
  std::vector<std::string> modes;
  std::vector<std::string> peers;
};

struct contender {
  std::string name;
  std::string program;
  std::vector<std::string> arguments;
  bool shared = false;  // one heap for two processes
};

struct workload_info {
  std::string name;
  std::uint64_t operations;  // per worker, of a fast allocator
  std::uint64_t least;       // what a slow one does at least
  bool exchanges_only;       // makes no sense for one worker, nor for two private heaps
  bool small_blocks;
};
[[nodiscard]] const std::vector<workload_info>& all_workloads();
// In words: "one thread", ...
[[nodiscard]] std::string mode_in_words(const std::string& mode);

// One run of a worker.
struct measurement {
  bool ok = false;
  std::string problem;
  double ns = 0;  // per allocation and its free, all workers together
  std::map<std::string, double> values;
};

struct statistic {
  double median = 0;
  double low = 0;  // quartiles
  double high = 0;
  double least = 0;
  double most = 0;
};
[[nodiscard]] statistic statistic_of(std::vector<double> values);
[[nodiscard]] double geometric_mean(const std::vector<double>& values);

struct comparison {
  std::string mode;
  std::string workload;
  std::string subject;
  std::string peer;
  std::string peer_mode;
  std::vector<double> ratios{};
  std::vector<measurement> of_subject{};
  std::vector<measurement> of_peer{};
  std::string problem{};  // the first one; a comparison with one has no result

  [[nodiscard]] bool ok() const { return problem.empty() && !ratios.empty(); }
  [[nodiscard]] statistic ratio() const { return statistic_of(ratios); }
};

class bench {
 public:
  explicit bench(settings what);

  [[nodiscard]] const settings& asked() const { return settings_; }
  [[nodiscard]] const std::vector<contender>& contenders() const { return contenders_; }
  [[nodiscard]] bool has(const std::string& name) const { return find(name) != nullptr; }
  [[nodiscard]] const std::vector<std::string>& missing() const { return missing_; }

  // All comparisons of one workload in one mode.
  [[nodiscard]] std::vector<comparison> compare(const workload_info& workload,
                                                const std::string& mode);
  // Instructions of "allocate", "free", "remote_free" per operation; negative if it failed.
  [[nodiscard]] double instructions(const std::string& name, const std::string& operation);

 private:
  [[nodiscard]] const contender* find(const std::string& name) const;
  [[nodiscard]] measurement measure(const contender& who, const workload_info& workload,
                                    const std::string& mode);
  [[nodiscard]] std::uint64_t operations_for(const contender& who, const workload_info& workload,
                                             const std::string& mode);
  [[nodiscard]] double count(const contender& who, const std::string& operation);

  settings settings_;
  std::vector<contender> contenders_;
  std::vector<std::string> missing_;
  std::map<std::string, std::uint64_t> operations_;  // by contender, workload and mode
  std::map<std::string, double> nothing_;
};

}  // namespace malloc_bench
