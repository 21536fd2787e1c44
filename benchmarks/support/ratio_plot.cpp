#include "ratio_plot.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <ostream>
#include <sstream>
#include <system_error>

namespace bench_support {

namespace {

constexpr double width = 860;
constexpr double right = 30;
constexpr double dot_distance = 6;

class painter {
 public:
  explicit painter(const ratio_plot& plot) : plot_(plot) { body_.precision(4); }

  void draw(std::ostream& to) {
    double y = 66;
    for (const plot_panel& panel : plot_.panels) y = draw_panel(panel, y);
    to << "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 " << width << ' ' << y
       << "\" width=\"" << width << "\" height=\"" << y
       << "\" font-family=\"sans-serif\" font-size=\"12\">\n"
       << "<style>text{fill:#444}.head{font-weight:bold;font-size:13px}.grid{stroke:#999;"
          "stroke-opacity:.3}.one{stroke:#666;stroke-width:1.5}@media (prefers-color-scheme:dark)"
          "{text{fill:#ccc}.one{stroke:#aaa}}</style>\n"
       << "<text class=\"head\" x=\"10\" y=\"22\">" << escaped(plot_.title) << "</text>\n";
    double x = 10;
    for (const plot_series& series : plot_.series) {
      to << "<circle cx=\"" << x + 5 << "\" cy=\"44\" r=\"4\" fill=\"" << series.colour
         << "\"/><text x=\"" << x + 14 << "\" y=\"48\">" << escaped(series.name) << "</text>\n";
      x += std::max(100.0, 30 + 7 * static_cast<double>(series.name.size()));
    }
    to << "<text x=\"" << x + 60 << "\" y=\"48\">" << escaped(plot_.note) << "</text>\n"
       << body_.str() << "</svg>\n";
  }

 private:
  static std::string escaped(const std::string& text) {
    std::string result;
    for (const char c : text) {
      if (c == '&') {
        result += "&amp;";
      } else if (c == '<') {
        result += "&lt;";
      } else {
        result += c;
      }
    }
    return result;
  }
  double x_of(double ratio) const {
    const double clamped = std::clamp(ratio, plot_.least, plot_.most);
    return plot_.left + (width - plot_.left - right) * std::log(clamped / plot_.least) /
                            std::log(plot_.most / plot_.least);
  }
  static std::string axis_label(double ratio) {
    std::ostringstream text;
    if (ratio < 0.99)
      text << "1/" << std::lround(1 / ratio);
    else
      text << std::lround(ratio);
    return text.str();
  }
  void draw_dot(const plot_dot& dot, double y) {
    const plot_series& series = plot_.series[dot.series];
    body_ << "<g stroke=\"" << series.colour << "\" fill=\"" << series.colour << "\"><title>"
          << escaped(dot.row) << ", " << escaped(series.name) << ": " << dot.median << " ("
          << dot.low << " to " << dot.high << ")</title><line stroke-width=\"2\" x1=\""
          << x_of(dot.low) << "\" x2=\"" << x_of(dot.high) << "\" y1=\"" << y << "\" y2=\"" << y
          << "\"/>";
    for (const double end : {dot.low, dot.high})
      body_ << "<line x1=\"" << x_of(end) << "\" x2=\"" << x_of(end) << "\" y1=\"" << y - 2.5
            << "\" y2=\"" << y + 2.5 << "\"/>";
    body_ << "<circle cx=\"" << x_of(dot.median) << "\" cy=\"" << y << "\" r=\"3.4\"/></g>\n";
  }
  // Returns the panel's lower edge.
  double draw_panel(const plot_panel& panel, double top) {
    std::vector<std::string> rows;
    for (const std::string& row : panel.rows)
      if (std::any_of(panel.dots.begin(), panel.dots.end(),
                      [&](const plot_dot& dot) { return dot.row == row; }))
        rows.push_back(row);
    if (rows.empty()) return top;
    std::vector<std::size_t> shown;
    for (std::size_t i = 0; i < plot_.series.size(); ++i)
      if (std::any_of(panel.dots.begin(), panel.dots.end(),
                      [&](const plot_dot& dot) { return dot.series == i; }))
        shown.push_back(i);
    // Where each row has a dot of one series only, the dots need no places of their own.
    bool alone = true;
    for (const std::string& row : rows)
      alone = alone && std::count_if(panel.dots.begin(), panel.dots.end(),
                                     [&](const plot_dot& d) { return d.row == row; }) == 1;
    const std::size_t places = alone ? 1 : shown.size();
    const double row_height = dot_distance * static_cast<double>(places) + 10;
    const double first = top + 40;
    const double bottom = first + row_height * static_cast<double>(rows.size());
    body_ << "<text class=\"head\" x=\"10\" y=\"" << top + 22 << "\">" << escaped(panel.title)
          << "</text>\n";
    for (double tick = plot_.least; tick <= plot_.most * 1.01; tick *= 2) {
      const bool even = std::abs(tick - 1) < 0.01;
      body_ << "<line class=\"" << (even ? "one" : "grid") << "\" x1=\"" << x_of(tick) << "\" x2=\""
            << x_of(tick) << "\" y1=\"" << first - 4 << "\" y2=\"" << bottom << "\"/><text x=\""
            << x_of(tick) << "\" y=\"" << bottom + 15 << "\" text-anchor=\"middle\">"
            << axis_label(tick) << "</text>\n";
    }
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const double middle = first + row_height * (static_cast<double>(i) + 0.5);
      body_ << "<text x=\"" << plot_.left - 10 << "\" y=\"" << middle + 4
            << "\" text-anchor=\"end\">" << escaped(rows[i]) << "</text>\n";
      if (i != 0)
        body_ << "<line class=\"grid\" x1=\"" << plot_.left << "\" x2=\"" << width - right
              << "\" y1=\"" << middle - row_height / 2 << "\" y2=\"" << middle - row_height / 2
              << "\"/>\n";
      double offset = -dot_distance * static_cast<double>(places - 1) / 2;
      for (const std::size_t series : shown) {
        for (const plot_dot& dot : panel.dots)
          if (dot.row == rows[i] && dot.series == series) draw_dot(dot, middle + offset);
        if (!alone) offset += dot_distance;
      }
    }
    return bottom + 30;
  }

  const ratio_plot& plot_;
  std::ostringstream body_;
};

}  // namespace

bool write_plot(const std::string& path, const ratio_plot& plot) {
  std::error_code ignored;  // opening the file will say it
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  std::ofstream to(path);
  painter(plot).draw(to);
  return to.flush().good();
}

}  // namespace bench_support
