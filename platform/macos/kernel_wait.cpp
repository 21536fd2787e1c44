// The kernel's wait on an address that several processes map.
//
// os_sync_wait_on_address is public since macOS 14.4; before, the same is reached by __ulock_wait2,
// which it is made of (both meet in one queue, under the opcode "compare and wait, shared"). Neither
// is linked: they are looked up once, so the library loads wherever it runs. Were both missing,
// sleepers would look every millisecond.
//
// What the kernel may answer, and what follows:
//   0, ETIMEDOUT, EINTR    look again; the caller does in any case
//   EFAULT                 the page was not resident: touch it, ask again
//   ENOMEM                 no room for a waiter: a short sleep instead
//   EINVAL, EDOM           the address is not what we think it is; likewise, rather than spinning
//   ENOENT when waking     nobody sleeps there any more
module;

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <dlfcn.h>
#include <time.h>

module ipcpp.platform;

namespace ipcpp::platform::posix {

namespace {

using wait_call = int (*)(void* address, std::uint64_t value, std::size_t size, std::uint32_t flags,
                          std::uint32_t clock, std::uint64_t ns);
using wake_call = int (*)(void* address, std::size_t size, std::uint32_t flags);
using ulock_wait_call = int (*)(std::uint32_t operation, void* address, std::uint64_t value,
                                std::uint64_t ns, std::uint64_t value2);
using ulock_wake_call = int (*)(std::uint32_t operation, void* address, std::uint64_t value);

constexpr std::uint32_t os_sync_shared = 1;
constexpr std::uint32_t os_clock_mach_absolute_time = 32;
constexpr std::uint32_t ul_compare_and_wait_shared = 3;
constexpr std::uint32_t ulf_wake_all = 0x100;

// A symbol, looked up once. Relaxed: everybody finds the same.
class symbol {
 public:
  explicit constexpr symbol(const char* name) noexcept : name_(name) {}

  template <class Call>
  [[nodiscard]] Call get() noexcept {
    void* known = found_.load(std::memory_order_relaxed);
    if (known == this) return nullptr;
    if (known == nullptr) {
      known = ::dlsym(RTLD_DEFAULT, name_);
      found_.store(known == nullptr ? this : known, std::memory_order_relaxed);
    }
    return reinterpret_cast<Call>(known);
  }

 private:
  const char* name_;
  std::atomic<void*> found_{nullptr};  // this: there is none
};

constinit symbol os_sync_wait("os_sync_wait_on_address_with_timeout");
constinit symbol os_sync_wake("os_sync_wake_by_address_all");
constinit symbol ulock_wait("__ulock_wait2");
constinit symbol ulock_wake("__ulock_wake");

void nap(std::int64_t ns) noexcept {
  const timespec pause{0, static_cast<long>(ns < 1'000'000 ? ns : 1'000'000)};
  ::nanosleep(&pause, nullptr);
}

}  // namespace

void sleep_on(std::uint32_t& word, std::uint32_t seen, std::chrono::nanoseconds at_most,
              steady_time) noexcept {
  if (at_most.count() <= 0) return;  // 0 would be for ever
  const auto ns = static_cast<std::uint64_t>(at_most.count());
  for (int attempt = 0; attempt < 8; ++attempt) {
    int answer = -1;
    if (const auto call = os_sync_wait.get<wait_call>()) {
      answer = call(&word, seen, sizeof word, os_sync_shared, os_clock_mach_absolute_time, ns);
    } else if (const auto older = ulock_wait.get<ulock_wait_call>()) {
      answer = older(ul_compare_and_wait_shared, &word, seen, ns, 0);
    } else {
      errno = ENOSYS;
    }
    if (answer >= 0 || errno == ETIMEDOUT || errno == EINTR) return;
    if (errno != EFAULT) break;
    // Relaxed: only to have the page there.
    if (std::atomic_ref(word).load(std::memory_order_relaxed) != seen) return;
  }
  nap(at_most.count());
}

void wake_all(std::uint32_t& word) noexcept {
  for (int attempt = 0; attempt < 8; ++attempt) {
    int answer = 0;
    if (const auto call = os_sync_wake.get<wake_call>()) {
      answer = call(&word, sizeof word, os_sync_shared);
    } else if (const auto older = ulock_wake.get<ulock_wake_call>()) {
      answer = older(ul_compare_and_wait_shared | ulf_wake_all, &word, 0);
    }
    if (answer >= 0 || errno != EINTR) return;  // ENOENT, or what the next slice makes good
  }
}

}  // namespace ipcpp::platform::posix
