// A full screen of text and single keys, for `ipcpp top`: screen_curses.cpp, screen_none.cpp.
#pragma once

#include <string_view>

#include "tool.hpp"

namespace tool {

enum class key : std::uint8_t { none, up, down, enter, resized };

struct pressed {
  key special = key::none;
  char letter = 0;  // 0: none
};

class screen {
 public:
  // Throws std::runtime_error: standard output is no terminal, or none that it knows.
  explicit screen(bool colours);
  screen(const screen&) = delete;
  screen& operator=(const screen&) = delete;
  ~screen();

  [[nodiscard]] static bool available() noexcept;
  [[nodiscard]] int rows() const noexcept;
  [[nodiscard]] int columns() const noexcept;
  void begin() noexcept;  // an empty picture
  void put(int row, std::string_view text, style as, bool reversed = false) noexcept;
  void end() noexcept;  // shows it
  // Waits for a key, at most so long. Also returns when the terminal was resized.
  [[nodiscard]] pressed wait(double seconds) noexcept;
};

}  // namespace tool
