// Which process this is, which others are, and what the machine is like.
module;

#include <cstddef>
#include <cstdint>

#define NOMINMAX 1
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

// 100 ns since 1601: together with the pid never the same again. 0 if the system will not say.
std::uint64_t creation_time(HANDLE process) noexcept {
  FILETIME created{};
  FILETIME ignored{};
  if (::GetProcessTimes(process, &created, &ignored, &ignored, &ignored) == FALSE) return 0;
  return std::uint64_t{created.dwHighDateTime} << 32 | created.dwLowDateTime;
}

SYSTEM_INFO system_facts() noexcept {
  SYSTEM_INFO facts{};
  ::GetSystemInfo(&facts);
  return facts;
}

}  // namespace

// No process inherits another one's memory here.
std::uint64_t incarnation() noexcept {
  return 1;
}

process_identity current_process() noexcept {
  static const std::uint64_t created = creation_time(::GetCurrentProcess());
  return {::GetCurrentProcessId(), created, 0};
}

bool same_process_lives(const process_identity& identity) noexcept {
  if (identity.pid == 0 || identity.pid > MAXDWORD || identity.pid_namespace != 0)
    return true;  // not ours to see
  const windows::handle process(::OpenProcess(SYNCHRONIZE | PROCESS_QUERY_LIMITED_INFORMATION,
                                              FALSE, static_cast<DWORD>(identity.pid)));
  if (!process)
    return ::GetLastError() != ERROR_INVALID_PARAMETER;  // what is said of a pid nobody has
  const std::uint64_t created = creation_time(process.get());
  if (identity.start_time != 0 && created != 0 && created != identity.start_time) return false;
  // A process that has ended is there as long as anybody has a handle to it.
  return ::WaitForSingleObject(process.get(), 0) != WAIT_OBJECT_0;
}

std::size_t page_bytes() noexcept {
  static const std::size_t bytes = system_facts().dwPageSize;
  return bytes;
}

std::size_t default_capacity() noexcept {
  static const std::size_t chosen = [] {
    // Address space is plenty, but a section may cost the kernel eight bytes for each page of it,
    // used or not.
    std::size_t bytes = sizeof(void*) == 8 ? 16_GiB : 256_MiB;
    // Job objects and emulators may allow less.
    for (; bytes > 64_MiB; bytes /= 2) {
      void* const tried = ::VirtualAlloc(nullptr, bytes, MEM_RESERVE, PAGE_NOACCESS);
      if (tried == nullptr) continue;
      ::VirtualFree(tried, 0, MEM_RELEASE);
      break;
    }
    return bytes;
  }();
  return chosen;
}

}  // namespace ipcpp::platform
