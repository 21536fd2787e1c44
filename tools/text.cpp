// Text for terminals: tables, sizes, colours, and bytes that nobody vouches for.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#if defined(_WIN32)
#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <io.h>
#include <windows.h>
#else
#include <sys/ioctl.h>
#include <unistd.h>
#endif

#include "tool.hpp"

namespace tool {

namespace {

// Length of the well-formed UTF-8 sequence that begins here; 0: none does.
[[nodiscard]] std::size_t sequence_at(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) -> unsigned {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0;
  };
  const auto continues = [&](std::size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const unsigned first = byte(0);
  if (first < 0x80) return 1;
  if (first >= 0xc2 && first <= 0xdf && continues(1))
    return first == 0xc2 && byte(1) < 0xa0 ? 0 : 2;
  if (first >= 0xe0 && first <= 0xef && continues(1) && continues(2)) {
    if ((first == 0xe0 && byte(1) < 0xa0) || (first == 0xed && byte(1) >= 0xa0)) return 0;
    // Marks that turn the direction of text.
    if (first == 0xe2 && byte(1) == 0x80 && byte(2) >= 0xaa && byte(2) <= 0xae) return 0;
    if (first == 0xe2 && byte(1) == 0x81 && byte(2) >= 0xa6 && byte(2) <= 0xa9) return 0;
    return 3;
  }
  if (first >= 0xf0 && first <= 0xf4 && continues(1) && continues(2) && continues(3)) {
    if ((first == 0xf0 && byte(1) < 0x90) || (first == 0xf4 && byte(1) >= 0x90)) return 0;
    return 4;
  }
  return 0;
}

}  // namespace

std::string paint(const options& how, style as, std::string_view text) {
  constexpr std::array<std::string_view, 7> codes{"", "1", "2", "32", "31;1", "33", "36"};
  if (!how.colours || as == style::plain) return std::string(text);
  return "\x1b[" + std::string(codes[static_cast<std::size_t>(as)]) + "m" + std::string(text) +
         "\x1b[0m";
}

std::string bytes_text(std::uint64_t bytes) {
  constexpr std::array<const char*, 7> units{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; value >= 1024 && unit + 1 < units.size(); ++unit) value /= 1024;
  std::array<char, 40> text{};
  const bool whole = unit == 0 || value >= 100 || std::floor(value) == value;
  std::snprintf(text.data(), text.size(), whole ? "%.0f %s" : "%.1f %s", value, units[unit]);
  return text.data();
}

std::string seconds_text(double seconds) {
  std::array<char, 40> text{};
  if (seconds < 0) return "-";
  const auto whole = static_cast<unsigned long long>(seconds);
  if (seconds < 10)
    std::snprintf(text.data(), text.size(), "%.1fs", seconds);
  else if (whole < 60)
    std::snprintf(text.data(), text.size(), "%llus", whole);
  else if (whole < 3600)
    std::snprintf(text.data(), text.size(), "%llum%02llus", whole / 60, whole % 60);
  else if (whole < 86400)
    std::snprintf(text.data(), text.size(), "%lluh%02llum", whole / 3600, whole / 60 % 60);
  else
    std::snprintf(text.data(), text.size(), "%llud%02lluh", whole / 86400, whole / 3600 % 24);
  return text.data();
}

std::string printable(std::string_view text) {
  std::string safe;
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const std::size_t length = byte < 0x20 || byte == 0x7f ? 0 : sequence_at(text, at);
    if (length == 0) {
      std::array<char, 8> escaped{};
      std::snprintf(escaped.data(), escaped.size(), "\\x%02x", byte);
      safe += escaped.data();
      ++at;
    } else {
      safe += text.substr(at, length);
      at += length;
    }
  }
  return safe;
}

std::size_t columns_of(std::string_view text) noexcept {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

std::string shortened(std::string_view text, std::size_t columns) {
  if (columns_of(text) <= columns) return std::string(text);
  std::size_t at = 0;
  for (std::size_t column = 0; at < text.size() && column + 1 < columns; ++column) {
    ++at;
    while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) ++at;
  }
  return std::string(text.substr(0, at)) + "\u2026";
}

bool stdout_is_terminal() noexcept {
#if defined(_WIN32)
  return ::_isatty(1) != 0;
#else
  return ::isatty(1) != 0;
#endif
}

namespace {

[[nodiscard]] std::pair<std::size_t, std::size_t> terminal_size() noexcept {
#if defined(_WIN32)
  CONSOLE_SCREEN_BUFFER_INFO facts{};
  if (::GetConsoleScreenBufferInfo(::GetStdHandle(STD_OUTPUT_HANDLE), &facts) != FALSE)
    return {static_cast<std::size_t>(facts.srWindow.Right - facts.srWindow.Left + 1),
            static_cast<std::size_t>(facts.srWindow.Bottom - facts.srWindow.Top + 1)};
#else
  winsize size{};
  if (::ioctl(1, TIOCGWINSZ, &size) == 0 && size.ws_col != 0) return {size.ws_col, size.ws_row};
#endif
  return {80, 24};
}

}  // namespace

std::size_t terminal_columns() noexcept {
  if (const char* const wish = std::getenv("COLUMNS"); wish != nullptr)
    if (const long columns = std::strtol(wish, nullptr, 10); columns >= 20 && columns <= 1000)
      return static_cast<std::size_t>(columns);
  return terminal_size().first;
}
std::size_t terminal_rows() noexcept {
  return terminal_size().second;
}

table::table(std::vector<std::string> headings) : headings_(std::move(headings)) {
  for (std::string& heading : headings_) {
    right_.push_back(heading.starts_with('>'));
    if (right_.back()) heading.erase(0, 1);
  }
}

void table::add(std::vector<std::string> cells) {
  add(std::move(cells), {});
}

void table::add(std::vector<std::string> cells, std::vector<style> styles) {
  cells.resize(headings_.size());
  styles.resize(headings_.size(), style::plain);
  rows_.push_back(std::move(cells));
  styles_.push_back(std::move(styles));
}

std::string table::text(const options& how, std::string_view indent) const {
  std::vector<std::size_t> widths;
  for (std::size_t column = 0; column < headings_.size(); ++column) {
    std::size_t width = columns_of(headings_[column]);
    for (const auto& row : rows_) width = std::max(width, columns_of(row[column]));
    widths.push_back(width);
  }
  std::string all;
  const auto line = [&](const std::vector<std::string>& cells, const auto& style_of) {
    std::string text(indent);
    for (std::size_t column = 0; column < cells.size(); ++column) {
      const std::string gap(widths[column] - columns_of(cells[column]), ' ');
      const bool last = column + 1 == cells.size();
      if (right_[column]) text += gap;
      text += paint(how, style_of(column), cells[column]);
      if (!right_[column] && !last) text += gap;
      if (!last) text += "  ";
    }
    while (text.ends_with(' ')) text.pop_back();
    all += text + "\n";
  };
  line(headings_, [](std::size_t) { return style::faint; });
  for (std::size_t row = 0; row < rows_.size(); ++row)
    line(rows_[row], [&](std::size_t column) { return styles_[row][column]; });
  return all;
}

void print(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

void print_json(const json& report) {
  // Names may be any bytes; JSON is UTF-8.
  print(report.dump(2, ' ', false, json::error_handler_t::replace) + "\n");
}

void complain(std::string_view text) {
  const std::string line = "ipcpp: " + std::string(text) + "\n";
  std::fwrite(line.data(), 1, line.size(), stderr);
}

int fail(const options& how, const char* kind, const std::string& message, status as,
         const std::vector<std::string>& faults, json report) {
  if (how.json) {
    report["error"] = {{"kind", kind}, {"message", message}};
    if (!faults.empty()) report["faults"] = faults;
    print_json(report);
  }
  for (const std::string& fault : faults) complain(printable(fault));
  complain(printable(message));
  return as;
}

}  // namespace tool
