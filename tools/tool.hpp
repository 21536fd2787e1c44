// What the subcommands of `ipcpp` share: how they are called, how they end, how they print.
//
// Include it after everything else and before imports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace tool {

using json = nlohmann::ordered_json;

// How a command ends. Part of its interface: docs/tools.md.
enum status : int {
  fine = 0,
  faulty = 1,   // `check` found damage; `rm`, `clean` could not do all of it
  misused = 2,  // the command line
  missing = 3,  // no segment or object of that name
  refused = 4,  // the system, or the state of the segment, does not allow it
};

struct options {
  bool json = false;
  bool colours = false;
  bool wide = false;  // do not shorten
};

// ---- the commands ----

struct top_options {
  double seconds = 2;
  unsigned rounds = 0;  // 0: until `q`
  bool batch = false;
  std::string sort = "memory";
};
struct map_options {
  std::string name;
  std::string svg;  // a file; "-": standard output; "": in the terminal
  unsigned width = 0;
  unsigned rows = 0;
};
struct dump_options {
  std::string name;
  std::string object;
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;  // 0: all of the object, or the headers
  bool range = false;       // offset was given
};

int ls(const options& how);
int show(const options& how, const std::string& name, double interval);
int top(const options& how, const top_options& what);
int check(const options& how, const std::string& name, bool exact);
int dump(const options& how, const dump_options& what);
int map(const options& how, const map_options& what);
int limits(const options& how);
int clean(const options& how, bool only_tell);
int rm(const options& how, const std::vector<std::string>& names, bool force);
int reclaim(const options& how, const std::string& name);

// ---- text ----

enum class style : std::uint8_t { plain, strong, faint, good, bad, warn, accent };
[[nodiscard]] std::string paint(const options& how, style as, std::string_view text);

// 1536 -> "1.5 KiB".
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);
// 93 -> "1m33s".
[[nodiscard]] std::string seconds_text(double seconds);
// Bytes of a segment as a terminal may see them: control characters and what is no UTF-8 as \xNN.
[[nodiscard]] std::string printable(std::string_view text);
// At most `columns` wide, an ellipsis at the end.
[[nodiscard]] std::string shortened(std::string_view text, std::size_t columns);
// Code points, which stands for columns here.
[[nodiscard]] std::size_t columns_of(std::string_view text) noexcept;
// The terminal's, or 80 (24).
[[nodiscard]] std::size_t terminal_columns() noexcept;
[[nodiscard]] std::size_t terminal_rows() noexcept;
[[nodiscard]] bool stdout_is_terminal() noexcept;

// Columns that line up; numbers are right-aligned.
class table {
 public:
  // A heading that begins with '>' aligns its column to the right.
  explicit table(std::vector<std::string> headings);
  void add(std::vector<std::string> cells);
  // A cell's style, by row and column; rows count from 0.
  void add(std::vector<std::string> cells, std::vector<style> styles);
  [[nodiscard]] std::string text(const options& how, std::string_view indent = "") const;
  [[nodiscard]] bool empty() const noexcept { return rows_.empty(); }

 private:
  std::vector<std::string> headings_;
  std::vector<bool> right_;
  std::vector<std::vector<std::string>> rows_;
  std::vector<std::vector<style>> styles_;
};

// To standard output, in one piece.
void print(std::string_view text);
void print_json(const json& report);
// To standard error, after the program's name.
void complain(std::string_view text);
// A command that ends without what was asked for: `faults`, if there are some, and the message to standard error; with --json the
// same to standard output, as "error" (with what else there is to report). Returns `as`.
int fail(const options& how, const char* kind, const std::string& message, status as,
         const std::vector<std::string>& faults = {}, json report = json::object());

}  // namespace tool
