// Images of segments, to be damaged and looked at. Includes come before imports: include it last.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <iterator>
#include <new>
#include <string>
#include <string_view>
#include <vector>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

import ipcpp;

namespace image {

using numbers = std::vector<std::uint32_t, ipcpp::allocator<std::uint32_t>>;

inline std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

inline void write(const std::string& path, std::string_view bytes) {
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  const bool written =
      file >= 0 && ::fchmod(file, 0600) == 0 &&
      ::write(file, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
  if (file >= 0) ::close(file);
  if (!written) std::abort();
}

// A segment with objects of several kinds in it, as it lies in its file.
inline std::string make(const std::string& path) {
  ::unlink(path.c_str());
  {
    auto one = ipcpp::segment::create_file(path, {.max_size = 256 << 10, .participants = {4, 8}});
    (void)one.construct<int>("n", 42);
    one.construct<numbers>("numbers").assign(100, 7);
    one.construct<numbers>("large").assign(20'000, 7);
    (void)one.construct<double>("gone", 1.0);
    (void)one.destroy<double>("gone");
  }
  std::string bytes = read(path);
  ::unlink(path.c_str());
  return bytes;
}

// How a look at a damaged image may end. Anything else is a crash.
struct outcome {
  int opened = 0;
  int refused = 0;
};

// Opens, finds, checks, iterates, makes, destroys. Every error is an ipcpp::error or bad_alloc; what
// they say must name something.
inline void look_at(const std::string& path, outcome& so_far) {
  const auto attempt = [&](auto&& what) {
    try {
      what();
    } catch (const ipcpp::error& e) {
      if (std::string_view(e.what()).empty()) std::abort();
    } catch (const std::bad_alloc&) {
    }
  };
  try {
    const auto looking = ipcpp::segment::open_file_read_only(path);
    attempt([&] { (void)looking.find<int>("n"); });
    attempt([&] { looking.for_each_object([](const ipcpp::object_info&) {}); });
  } catch (const ipcpp::error&) {
  } catch (const std::bad_alloc&) {
  }
  try {
    auto one = ipcpp::segment::open_file(path);
    ++so_far.opened;
    attempt([&] { (void)one.find<int>("n"); });
    attempt([&] { (void)one.find<numbers>("numbers"); });
    attempt([&] { one.for_each_object([](const ipcpp::object_info&) {}); });
    attempt([&] { (void)one.processes(); });
    attempt([&] { (void)one.attached_processes(); });
    attempt([&] { (void)one.heap().check().message(); });
    attempt([&] { (void)one.recover(); });
    attempt([&] { (void)one.construct<std::uint64_t>("new", 1u); });
    attempt([&] { (void)one.construct<numbers>("newer", std::size_t{50}, 1u); });
    attempt([&] { (void)one.destroy<int>("n"); });
    attempt([&] { (void)one.find_or_construct<int>("n", 1); });
  } catch (const ipcpp::error& e) {
    ++so_far.refused;
    if (std::string_view(e.what()).empty()) std::abort();
  } catch (const std::bad_alloc&) {
    ++so_far.refused;
  }
}

}  // namespace image
