// Bodies of the heavy fence and of fork-private pages on Windows. FlushProcessWriteBuffers reaches
// the processors of one process only, so there is no heavy fence across processes: everyone orders
// their own accesses. Nothing forks.
module;

#include <cstddef>
#include <new>
#include <windows.h>

module ipcpp.platform;

namespace ipcpp::platform {

bool enrol_in_heavy_fence() noexcept {
  return false;
}

bool heavy_fence() noexcept {
  return false;
}

void* fork_private_pages(std::size_t bytes) {
  void* const got = ::VirtualAlloc(nullptr, bytes, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
  if (got == nullptr) throw std::bad_alloc();
  return got;
}

void return_fork_private_pages(void* pages, std::size_t) noexcept {
  ::VirtualFree(pages, 0, MEM_RELEASE);
}

}  // namespace ipcpp::platform
