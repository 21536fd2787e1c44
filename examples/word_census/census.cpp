// Where things lie in the census, and the texts.
#include "census.hpp"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>

import ipcpp;

namespace census {

std::size_t header_at() {
  return table_at +
         ipcpp::participants::bytes_needed({.processes = max_processes, .handles = max_handles});
}

header& view::head() const {
  return *reinterpret_cast<header*>(base_ + header_at());
}

file& view::at(std::size_t i) const {
  return *reinterpret_cast<file*>(base_ + header_at() + 128 + i * sizeof(file));
}

std::string_view view::name(std::size_t i) const {
  return reinterpret_cast<const char*>(base_ + at(i).name_at);
}

char* view::text(std::size_t i) const {
  return reinterpret_cast<char*>(base_ + at(i).region_at);
}

entry* view::table(std::size_t i) const {
  return reinterpret_cast<entry*>(base_ + at(i).region_at + (at(i).bytes + 15) / 16 * 16);
}

std::size_t view::done() const {
  std::size_t n = 0;
  for (std::size_t i = 0; i < head().files; ++i)
    if (shared(at(i).words).load(std::memory_order_acquire) != 0)
      ++n;  // pairs with the builder's store
  return n;
}

std::size_t view::region_bytes(std::uint64_t text_bytes, std::uint64_t table_slots) {
  return ((text_bytes + 15) / 16 * 16 + table_slots * sizeof(entry) + 4095) / 4096 * 4096;
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace census
