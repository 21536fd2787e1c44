// What a Windows machine allows.
#include <cstdint>
#include <string>
#include <vector>

#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include "limits.hpp"
#include "tool.hpp"

import ipcpp;
import ipcpp.platform;

namespace tool {

std::uint64_t largest_reservation() noexcept {
  for (std::uint64_t bytes = std::uint64_t{1} << 47; bytes >= 1 << 20; bytes /= 2) {
    void* const got = ::VirtualAlloc(nullptr, bytes, MEM_RESERVE, PAGE_NOACCESS);
    if (got == nullptr) continue;
    ::VirtualFree(got, 0, MEM_RELEASE);
    return bytes;
  }
  return 0;
}

std::vector<limit> limits_of_this_machine() {
  std::vector<limit> all;
  MEMORYSTATUSEX now{};
  now.dwLength = sizeof now;
  if (::GlobalMemoryStatusEx(&now) != FALSE) {
    limit commit{.what = "commit limit", .key = "shared_memory"};
    commit.bound = now.ullTotalPageFile;
    commit.used = now.ullTotalPageFile - now.ullAvailPageFile;
    commit.matters = "all segments together: committed pages need memory or page file";
    commit.raise = "a larger page file (System, Advanced, Performance, Virtual memory)";
    commit.tight = *commit.used > *commit.bound / 10 * 9;
    all.push_back(commit);
    limit memory{.what = "memory", .key = "memory"};
    memory.bound = now.ullTotalPhys;
    memory.used = now.ullTotalPhys - now.ullAvailPhys;
    memory.matters = "what is committed stays in it, or in the page file";
    memory.raise = "add memory";
    all.push_back(memory);
  }
  limit reserve{.what = "address space, one mapping", .key = "address_space"};
  reserve.bound = largest_reservation();
  reserve.matters =
      "the largest max_size; the default is " + bytes_text(ipcpp::platform::default_capacity());
  reserve.raise = "a 64-bit program";
  all.push_back(reserve);
  limit large{.what = "large pages", .key = "huge_pages"};
  large.bound = ::GetLargePageMinimum();
  large.matters = "not to ipcpp yet";
  large.raise = "right 'Lock pages in memory' (secpol.msc)";
  all.push_back(large);
  return all;
}

}  // namespace tool
