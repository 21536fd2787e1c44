// ipcpp.platform:size_literals - 4_MiB and friends: sizes in bytes, in powers of 1024.
module;

#include <cstddef>

export module ipcpp.platform:size_literals;

namespace ipcpp::inline literals {

export consteval std::size_t operator""_KiB(unsigned long long n) {
  return static_cast<std::size_t>(n) << 10;
}
export consteval std::size_t operator""_MiB(unsigned long long n) {
  return static_cast<std::size_t>(n) << 20;
}
export consteval std::size_t operator""_GiB(unsigned long long n) {
  return static_cast<std::size_t>(n) << 30;
}
export consteval std::size_t operator""_TiB(unsigned long long n) {
  return static_cast<std::size_t>(n) << 40;
}

}  // namespace ipcpp::inline literals
