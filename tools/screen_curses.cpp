// A screen by ncurses.
#include <algorithm>
#include <clocale>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <unistd.h>

#define NCURSES_NOMACROS 1
#include <curses.h>

#include "screen.hpp"

namespace tool {

namespace {

constexpr short colour_of(style as) noexcept {
  switch (as) {
    case style::good:
      return COLOR_GREEN;
    case style::bad:
      return COLOR_RED;
    case style::warn:
      return COLOR_YELLOW;
    case style::accent:
      return COLOR_CYAN;
    default:
      return -1;
  }
}

}  // namespace

screen::screen(bool colours) {
  if (::isatty(0) == 0 || ::isatty(1) == 0)
    throw std::runtime_error("`ipcpp top` needs a terminal; `ipcpp top --batch` does not");
  std::setlocale(LC_CTYPE, "");
  // initscr() would end the program.
  const char* const kind = std::getenv("TERM");
  SCREEN* const made = ::newterm(kind, stdout, stdin);
  if (made == nullptr)
    throw std::runtime_error("unknown terminal '" + std::string(kind == nullptr ? "" : kind) +
                             "': set TERM, or use `ipcpp top --batch`");
  ::set_term(made);
  ::cbreak();
  ::noecho();
  ::curs_set(0);
  ::keypad(stdscr, TRUE);
  ::set_escdelay(25);
  if (colours && ::has_colors()) {
    ::start_color();
    ::use_default_colors();
    for (const style as : {style::good, style::bad, style::warn, style::accent})
      ::init_pair(static_cast<short>(as), colour_of(as), -1);
  }
}

screen::~screen() {
  ::endwin();
}

bool screen::available() noexcept {
  return true;
}
int screen::rows() const noexcept {
  return ::getmaxy(stdscr);
}
int screen::columns() const noexcept {
  return ::getmaxx(stdscr);
}
void screen::begin() noexcept {
  ::werase(stdscr);
}
void screen::end() noexcept {
  ::wrefresh(stdscr);
}

void screen::put(int row, std::string_view text, style as, bool reversed) noexcept {
  if (row < 0 || row >= rows()) return;
  attr_t how = A_NORMAL;
  if (as == style::strong) how |= A_BOLD;
  if (as == style::faint) how |= A_DIM;
  if (reversed) how |= A_REVERSE;
  ::wattr_set(stdscr, how, colour_of(as) >= 0 ? static_cast<short>(as) : short{0}, nullptr);
  const std::string line = shortened(text, static_cast<std::size_t>(columns()));
  ::wmove(stdscr, row, 0);
  ::waddnstr(stdscr, line.c_str(), static_cast<int>(line.size()));
  if (reversed)
    for (int column = ::getcurx(stdscr); column + 1 < columns() && ::getcury(stdscr) == row;
         ++column)
      ::waddch(stdscr, ' ');
  ::wattr_set(stdscr, A_NORMAL, 0, nullptr);
}

pressed screen::wait(double seconds) noexcept {
  ::wtimeout(stdscr, static_cast<int>(std::clamp(seconds, 0.0, 3600.0) * 1000));
  const int found = ::wgetch(stdscr);
  switch (found) {
    case ERR:
      return {};
    case KEY_UP:
      return {.special = key::up};
    case KEY_DOWN:
      return {.special = key::down};
    case KEY_RESIZE:
      return {.special = key::resized};
    case KEY_ENTER:
    case '\n':
    case '\r':
      return {.special = key::enter};
    default:
      return {.letter = found > 0 && found < 128 ? static_cast<char>(found) : char{0}};
  }
}

}  // namespace tool
