// Ratios as a figure: panels of rows, in each row a dot for each of several series on a logarithmic
// axis, with a whisker. Scalable vector graphics; text follows the reader's light or dark theme.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace bench_support {

struct plot_series {
  std::string name;
  std::string colour;  // of middle lightness, for both themes
};

struct plot_dot {
  std::string row;
  std::size_t series = 0;
  double median = 1;
  double low = 1;
  double high = 1;
};

struct plot_panel {
  std::string title;
  std::vector<std::string> rows;  // those without a dot are left out
  std::vector<plot_dot> dots;
};

struct ratio_plot {
  std::string title;
  std::string note;  // what dot and whisker mean
  double least = 0.5;
  double most = 2;
  double left = 130;  // room for the rows' names
  std::vector<plot_series> series;
  std::vector<plot_panel> panels;
};

// Makes the folder if there is none. false if it cannot be written.
[[nodiscard]] bool write_plot(const std::string& path, const ratio_plot& plot);

}  // namespace bench_support
