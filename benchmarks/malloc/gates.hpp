// The project's targets for the heap and whether each is met.
#pragma once

#include <string>
#include <vector>

#include "measure.hpp"

namespace malloc_bench {

struct gate {
  std::string what;
  bool measured = false;
  double value = 0;
  double limit = 0;
  double stretch = 0;     // 0: there is none
  bool at_least = false;  // the value may not be less than the limit, instead of not more
  std::string detail{};

  [[nodiscard]] bool met() const { return measured && within(limit); }
  [[nodiscard]] bool within(double bound) const {
    return at_least ? value >= bound : value <= bound;
  }
  // "met, stretch missed by 7 %", "MISSED by 12 %", "not measured".
  [[nodiscard]] std::string verdict() const;
  [[nodiscard]] std::string in_words(double ratio) const;  // "0.93", "1/31"
  [[nodiscard]] std::string limits() const;                // "<= 1.20 / <= 1.00"
};

[[nodiscard]] std::vector<gate> judge(const std::vector<comparison>& all);
// What has no target but should be known; the same form, without limits.
[[nodiscard]] std::vector<gate> observe(const std::vector<comparison>& all);

// 0.934 is "0.93", 0.0322 is "1/31".
[[nodiscard]] std::string ratio_text(double ratio);

// Bytes a run took from the system: private memory, and of the shared object what is committed, touched
// or not.
[[nodiscard]] double memory_of(const measurement& run);

}  // namespace malloc_bench
