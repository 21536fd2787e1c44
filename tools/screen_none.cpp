// No screen: built where there is no ncurses.
#include <stdexcept>

#include "screen.hpp"

namespace tool {

screen::screen(bool) {
  throw std::runtime_error("this ipcpp was built without ncurses; use `ipcpp top --batch`");
}
screen::~screen() = default;
bool screen::available() noexcept {
  return false;
}
int screen::rows() const noexcept {
  return 0;
}
int screen::columns() const noexcept {
  return 0;
}
void screen::begin() noexcept {}
void screen::put(int, std::string_view, style, bool) noexcept {}
void screen::end() noexcept {}
pressed screen::wait(double) noexcept {
  return {};
}

}  // namespace tool
