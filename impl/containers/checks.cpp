// What the containers throw, out of line.
module;

#include <cstddef>
#include <stdexcept>

module ipcpp.containers;

namespace ipcpp::detail {

void throw_out_of_range(const char* what) {
  throw std::out_of_range(what);
}

void throw_length_error(const char* what) {
  throw std::length_error(what);
}

}  // namespace ipcpp::detail
