// The figure of docs/benchmarks.md.
#pragma once

#include <string>
#include <vector>

#include "measure.hpp"

namespace malloc_bench {

// Median ratios with their quartiles as an SVG; false if it cannot be written.
[[nodiscard]] bool write_plot(const std::string& path, const std::vector<comparison>& all);

}  // namespace malloc_bench
