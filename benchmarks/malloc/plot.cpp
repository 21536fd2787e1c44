// See plot.hpp. A panel for each mode, a row for each workload, a dot for each peer at the heap's time
// divided by the peer's, on a logarithmic axis; the whisker spans the quartiles. Left of the line at 1
// the heap is faster. Colours are of middle lightness, text follows the reader's light or dark theme.
#include "plot.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

namespace malloc_bench {

namespace {

struct mark {
  const char* peer;
  const char* colour;
  const char* name;
};
constexpr mark marks[] = {{"mimalloc", "#3a86c8", "mimalloc"},
                          {"jemalloc", "#d98324", "jemalloc"},
                          {"glibc", "#4f9d69", "glibc"},
                          {"boost", "#b5508f", "Boost.Interprocess"}};

constexpr double width = 860;
constexpr double left = 130;
constexpr double right = 30;
constexpr double dot_distance = 6;
constexpr double least = 1.0 / 128;
constexpr double most = 4;

double x_of(double ratio) {
  const double clamped = std::clamp(ratio, least, most);
  return left + (width - left - right) * std::log(clamped / least) / std::log(most / least);
}

std::string axis_label(double ratio) {
  std::ostringstream text;
  if (ratio < 1)
    text << "1/" << std::lround(1 / ratio);
  else
    text << std::lround(ratio);
  return text.str();
}

void draw_dot(std::ostream& to, const comparison& one, const mark& how, double y) {
  const statistic ratio = one.ratio();
  to << "<g stroke=\"" << how.colour << "\" fill=\"" << how.colour << "\"><title>" << one.workload
     << ", " << how.name << ": " << ratio.median << " (" << ratio.low << " to " << ratio.high
     << ")</title><line stroke-width=\"2\" x1=\"" << x_of(ratio.low) << "\" x2=\""
     << x_of(ratio.high) << "\" y1=\"" << y << "\" y2=\"" << y << "\"/>";
  for (const double end : {ratio.low, ratio.high})
    to << "<line x1=\"" << x_of(end) << "\" x2=\"" << x_of(end) << "\" y1=\"" << y - 2.5
       << "\" y2=\"" << y + 2.5 << "\"/>";
  to << "<circle cx=\"" << x_of(ratio.median) << "\" cy=\"" << y << "\" r=\"3.4\"/></g>\n";
}

// Returns the panel's lower edge.
double draw_panel(std::ostream& to, const std::vector<comparison>& all, const std::string& mode,
                  double top) {
  std::vector<std::string> rows;
  for (const workload_info& workload : all_workloads())
    if (std::any_of(all.begin(), all.end(), [&](const comparison& one) {
          return one.mode == mode && one.workload == workload.name && one.ok() &&
                 std::any_of(std::begin(marks), std::end(marks),
                             [&](const mark& how) { return one.peer == how.peer; });
        }))
      rows.push_back(workload.name);
  if (rows.empty()) return top;
  std::vector<mark> shown;
  for (const mark& how : marks)
    if (std::any_of(all.begin(), all.end(), [&](const comparison& one) {
          return one.mode == mode && one.peer == how.peer;
        }))
      shown.push_back(how);
  const double row_height = dot_distance * static_cast<double>(shown.size()) + 10;
  const double first = top + 40;
  const double bottom = first + row_height * static_cast<double>(rows.size());
  to << "<text class=\"head\" x=\"10\" y=\"" << top + 22 << "\">" << mode_in_words(mode)
     << "</text>\n";
  for (double tick = least; tick <= most * 1.01; tick *= 2) {
    const bool even = std::abs(tick - 1) < 0.01;
    to << "<line class=\"" << (even ? "one" : "grid") << "\" x1=\"" << x_of(tick) << "\" x2=\""
       << x_of(tick) << "\" y1=\"" << first - 4 << "\" y2=\"" << bottom << "\"/><text x=\""
       << x_of(tick) << "\" y=\"" << bottom + 15 << "\" text-anchor=\"middle\">" << axis_label(tick)
       << "</text>\n";
  }
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double middle = first + row_height * (static_cast<double>(i) + 0.5);
    to << "<text x=\"" << left - 10 << "\" y=\"" << middle + 4 << "\" text-anchor=\"end\">"
       << rows[i] << "</text>\n";
    if (i != 0)
      to << "<line class=\"grid\" x1=\"" << left << "\" x2=\"" << width - right << "\" y1=\""
         << middle - row_height / 2 << "\" y2=\"" << middle - row_height / 2 << "\"/>\n";
    double offset = -dot_distance * static_cast<double>(shown.size() - 1) / 2;
    for (const mark& how : shown) {
      for (const comparison& one : all)
        if (one.mode == mode && one.workload == rows[i] && one.peer == how.peer && one.ok())
          draw_dot(to, one, how, middle + offset);
      offset += dot_distance;
    }
  }
  return bottom + 30;
}

}  // namespace

bool write_plot(const std::string& path, const std::vector<comparison>& all) {
  std::ostringstream body;
  body.precision(4);
  double y = 66;
  for (const char* mode : {"t1", "t2", "p2", "s2", "k1"}) y = draw_panel(body, all, mode, y);
  std::ofstream to(path);
  to << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << width << ' ' << y
     << "\" width=\"" << width << "\" height=\"" << y
     << "\" font-family=\"sans-serif\" font-size=\"12\">\n"
     << "<style>text{fill:#444}.head{font-weight:bold;font-size:13px}.grid{stroke:#999;"
        "stroke-opacity:.3}.one{stroke:#666;stroke-width:1.5}@media (prefers-color-scheme:dark)"
        "{text{fill:#ccc}.one{stroke:#aaa}}</style>\n"
     << "<text class=\"head\" x=\"10\" y=\"22\">Time of the heap divided by the time of others "
        "(left of 1: the heap is faster)</text>\n";
  double x = 10;
  for (const mark& how : marks) {
    to << "<circle cx=\"" << x + 5 << "\" cy=\"44\" r=\"4\" fill=\"" << how.colour
       << "\"/><text x=\"" << x + 14 << "\" y=\"48\">" << how.name << "</text>\n";
    x += 100;
  }
  to << "<text x=\"" << x + 60 << "\" y=\"48\">dot: median, whisker: quartiles</text>\n";
  to << body.str() << "</svg>\n";
  return to.flush().good();
}

}  // namespace malloc_bench
