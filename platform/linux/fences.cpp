// Bodies of the heavy fence and of fork-private pages on Linux.
//
// membarrier(GLOBAL_EXPEDITED) interrupts every processor that runs a thread of an enrolled process
// (1.4 to 4 us); enrolment is inherited by fork. Kernels before 4.16, emulators and sandboxes
// refuse: then everyone orders their own accesses. The thread sanitizer sees no fence made by the
// kernel, so under it nobody enrols.
module;

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

module ipcpp.platform;

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define IPCPP_UNDER_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define IPCPP_UNDER_TSAN 1
#endif

namespace ipcpp::platform {

bool enrol_in_heavy_fence() noexcept {
#if defined(IPCPP_UNDER_TSAN)
  return false;
#else
#if defined(IPCPP_PLATFORM_VARIANTS)
  const char* const variant = std::getenv("IPCPP_PLATFORM_VARIANT");
  if (variant != nullptr && std::strstr(variant, "no_membarrier") != nullptr) return false;
#endif
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0U, 0) == 0;
#endif
}

bool heavy_fence() noexcept {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0U, 0) == 0;
}

void* fork_private_pages(std::size_t bytes) {
  void* const got = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (got == MAP_FAILED) throw std::bad_alloc();
  if (::madvise(got, bytes, MADV_WIPEONFORK) != 0) {
    ::munmap(got, bytes);
    throw std::bad_alloc();
  }
  return got;
}

void return_fork_private_pages(void* pages, std::size_t bytes) noexcept {
  ::munmap(pages, bytes);
}

}  // namespace ipcpp::platform
