// What a Linux or other POSIX machine allows.
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "limits.hpp"
#include "tool.hpp"

import ipcpp;
import ipcpp.platform;

namespace tool {

namespace {

using namespace ipcpp::literals;

[[nodiscard]] std::optional<std::uint64_t> resource(int which) {
  rlimit found{};
  if (::getrlimit(static_cast<decltype(RLIMIT_AS)>(which), &found) != 0 ||
      found.rlim_cur == RLIM_INFINITY)
    return std::nullopt;
  return found.rlim_cur;
}

[[nodiscard]] std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

[[nodiscard]] std::optional<std::uint64_t> number_in(const char* path) {
  const std::string line = first_line(path);
  if (line.empty() || line[0] < '0' || line[0] > '9') return std::nullopt;
  return std::strtoull(line.c_str(), nullptr, 10);
}

// "always within_size [advise] never": the word in brackets.
[[nodiscard]] std::string chosen(const char* path) {
  const std::string line = first_line(path);
  const auto begin = line.find('[');
  const auto end = line.find(']');
  return begin == line.npos || end == line.npos ? line : line.substr(begin + 1, end - begin - 1);
}

// A line of /proc/meminfo, in bytes.
[[nodiscard]] std::optional<std::uint64_t> memory_info(std::string_view key) {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ':') continue;
    std::istringstream words(line.substr(key.size() + 1));
    std::uint64_t value = 0;
    std::string unit;
    words >> value >> unit;
    return unit == "kB" ? value * 1024 : value;
  }
  return std::nullopt;
}

}  // namespace

std::uint64_t largest_reservation() noexcept {
  for (std::uint64_t bytes = std::uint64_t{1} << 47; bytes >= 1_MiB; bytes /= 2) {
    void* const got =
        ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) continue;
    ::munmap(got, bytes);
    return bytes;
  }
  return 0;
}

std::vector<limit> limits_of_this_machine() {
  std::vector<limit> all;
  const std::string place = ipcpp::platform::place_of_names();

  limit memory{.what = "shared memory (" + place + ")", .key = "shared_memory"};
  memory.matters = "all segments together";
  memory.raise = "mount -o remount,size=16G " + place;
  struct statvfs facts{};
  if (::statvfs(place.c_str(), &facts) == 0) {
    memory.bound = std::uint64_t{facts.f_blocks} * facts.f_frsize;
    memory.used = std::uint64_t{facts.f_blocks - facts.f_bfree} * facts.f_frsize;
    memory.tight = *memory.bound < 256_MiB || *memory.used > *memory.bound / 10 * 9;
    limit files{.what = "files there", .key = "shared_memory_files", .bytes = false};
    files.bound = facts.f_files;
    files.used = facts.f_files - facts.f_ffree;
    files.matters = "segments, one or more files each";
    files.raise = "mount -o remount,nr_inodes=1M " + place;
    files.tight = facts.f_files != 0 && files.used > facts.f_files / 10 * 9;
    all.push_back(memory);
    all.push_back(files);
  } else {
    memory.note = "no such place";
    memory.tight = true;
    memory.raise = "mount -t tmpfs tmpfs " + place;
    all.push_back(memory);
  }

  limit total{.what = "memory", .key = "memory"};
  total.bound = memory_info("MemTotal");
  if (const auto available = memory_info("MemAvailable"); available && total.bound)
    total.used = *total.bound - *available;
  total.matters = "what is committed stays in it, or in swap";
  total.raise = "add memory or swap";
  all.push_back(total);
  limit swap{.what = "swap", .key = "swap"};
  swap.bound = memory_info("SwapTotal");
  if (const auto free = memory_info("SwapFree"); free && swap.bound)
    swap.used = *swap.bound - *free;
  swap.matters = "the same";
  swap.raise = "swapon";
  all.push_back(swap);

  limit group{.what = "control group's memory", .key = "cgroup_memory"};
  group.bound = number_in("/sys/fs/cgroup/memory.max");
  if (!group.bound) group.bound = number_in("/sys/fs/cgroup/memory/memory.limit_in_bytes");
  if (group.bound && *group.bound > std::uint64_t{1} << 60) group.bound.reset();
  group.used = number_in("/sys/fs/cgroup/memory.current");
  group.matters = "beyond it the kernel kills, shared memory counts for who touched it first";
  group.raise = "systemd: MemoryMax=; docker run --memory";
  all.push_back(group);

  limit reserve{.what = "address space, one mapping", .key = "address_space"};
  reserve.bound = largest_reservation();
  reserve.matters =
      "the largest max_size; the default is " + bytes_text(ipcpp::platform::default_capacity());
  reserve.raise = "ulimit -v unlimited; sysctl vm.overcommit_memory=0";
  reserve.tight = *reserve.bound < 1_TiB;
  all.push_back(reserve);
  limit space{.what = "address space, a process", .key = "address_space_limit"};
  space.bound = resource(RLIMIT_AS);
  space.matters = "the same (ulimit -v)";
  space.raise = "ulimit -v unlimited";
  space.tight = space.bound.has_value();
  all.push_back(space);
  limit file{.what = "size of a file", .key = "file_size"};
  file.bound = resource(RLIMIT_FSIZE);
  file.matters = "how far a segment can grow (ulimit -f)";
  file.raise = "ulimit -f unlimited";
  file.tight = file.bound.has_value();
  all.push_back(file);
  limit locked{.what = "locked memory", .key = "locked_memory"};
  locked.bound = resource(RLIMIT_MEMLOCK);
  locked.matters = "programs that mlock; ipcpp does not (ulimit -l)";
  locked.raise = "ulimit -l unlimited";
  all.push_back(locked);
  limit descriptors{.what = "open files, a process", .key = "open_files", .bytes = false};
  descriptors.bound = resource(RLIMIT_NOFILE);
  descriptors.matters = "two or three for each open segment (ulimit -n)";
  descriptors.raise = "ulimit -n 65536";
  descriptors.tight = descriptors.bound && *descriptors.bound < 256;
  all.push_back(descriptors);

#if defined(__linux__)
  limit maps{.what = "mappings, a process", .key = "mappings", .bytes = false};
  maps.bound = number_in("/proc/sys/vm/max_map_count");
  maps.matters = "three for each open segment";
  maps.raise = "sysctl vm.max_map_count=1048576";
  all.push_back(maps);
  limit overcommit{.what = "overcommit", .key = "overcommit", .bytes = false};
  overcommit.note = first_line("/proc/sys/vm/overcommit_memory");
  overcommit.matters = "0, 1: reserving address space is free; 2: it may be refused";
  overcommit.raise = "sysctl vm.overcommit_memory=0";
  overcommit.tight = overcommit.note == "2";
  all.push_back(overcommit);
  limit huge{.what = "huge pages for shared memory", .key = "huge_pages", .bytes = false};
  huge.note = chosen("/sys/kernel/mm/transparent_hugepage/shmem_enabled");
  if (huge.note.empty()) huge.note = "none";
  huge.matters = "segment_options::huge_pages; works with advise, within_size, always";
  huge.raise = "echo advise > /sys/kernel/mm/transparent_hugepage/shmem_enabled";
  all.push_back(huge);
  limit reserved{.what = "reserved huge pages", .key = "reserved_huge_pages", .bytes = false};
  reserved.bound = memory_info("HugePages_Total");
  if (const auto free = memory_info("HugePages_Free"); free && reserved.bound)
    reserved.used = *reserved.bound - *free;
  reserved.matters = "not to ipcpp, which takes transparent ones";
  reserved.raise = "sysctl vm.nr_hugepages=512";
  all.push_back(reserved);
  limit system_v{.what = "System V segment", .key = "kernel_shmmax"};
  system_v.bound = number_in("/proc/sys/kernel/shmmax");
  if (system_v.bound && *system_v.bound > std::uint64_t{1} << 60) system_v.bound.reset();
  system_v.matters = "not to ipcpp: `ipcs -lm` speaks of another kind of shared memory";
  system_v.raise = "sysctl kernel.shmmax";
  all.push_back(system_v);
#endif
  return all;
}

}  // namespace tool
