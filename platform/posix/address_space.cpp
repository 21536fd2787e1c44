// How large pages are, and how much address space one object should take.
module;

#include <atomic>
#include <cstddef>
#include <sys/mman.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform {

std::size_t page_bytes() noexcept {
  static constinit std::atomic<std::size_t> known{0};  // relaxed: everybody finds the same
  std::size_t bytes = known.load(std::memory_order_relaxed);
  if (bytes == 0) {
    bytes = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    known.store(bytes, std::memory_order_relaxed);
  }
  return bytes;
}

std::size_t default_capacity() noexcept {
  static constinit std::atomic<std::size_t> known{0};  // relaxed: any finding will do
  if (const std::size_t chosen = known.load(std::memory_order_relaxed); chosen != 0) return chosen;
  const std::size_t chosen = [] {
    std::size_t bytes = posix::generous_capacity();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    if (bytes > 16_GiB) bytes = 16_GiB;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    if (bytes > 16_GiB) bytes = 16_GiB;
#endif
#endif
    // Emulators, valgrind and RLIMIT_AS allow less: try, and leave three quarters of what there is
    // to others.
    bool halved = false;
    for (; bytes > 64_MiB; bytes /= 2, halved = true) {
      void* const tried =
          ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (tried == MAP_FAILED) continue;
      ::munmap(tried, bytes);
      break;
    }
    return halved && bytes > 256_MiB ? bytes / 4 : bytes;
  }();
  known.store(chosen, std::memory_order_relaxed);
  return chosen;
}

}  // namespace ipcpp::platform
