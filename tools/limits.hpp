// What a machine allows, found out per system: limits_posix.cpp, limits_windows.cpp.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace tool {

struct limit {
  std::string what;
  std::string key;                       // for programs
  std::optional<std::uint64_t> bound{};  // none: unlimited, or unknown (see note)
  std::optional<std::uint64_t> used{};   // of it
  bool bytes = true;                     // else a number
  std::string note{};                    // what stands here instead of a number, or beside it
  std::string matters{};                 // to what in ipcpp
  std::string raise{};                   // how, on this system
  bool tight = false;                    // likely to be felt
};

[[nodiscard]] std::vector<limit> limits_of_this_machine();

// How much address space one mapping can get here: the largest power of two that can be reserved.
[[nodiscard]] std::uint64_t largest_reservation() noexcept;

}  // namespace tool
