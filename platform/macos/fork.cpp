// Children: which incarnation this is, and private pages that read zero in a child.
//
// The handlers are registered before main, once. Before a fork the list is locked, so the child finds
// it whole; there each range is replaced, at its address, by fresh pages, in one call for each. A
// range that cannot be replaced ends the child: it would take its parent's state for its own.
// What runs in the child before our handler (others' handlers, registered earlier) still sees the
// old pages; incarnation() already knows by the pid.
module;

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

struct wiped_range {
  void* pages;
  std::size_t bytes;
  wiped_range* next;
};

pthread_mutex_t changing = PTHREAD_MUTEX_INITIALIZER;
constinit wiped_range* wiped = nullptr;

// | number, counted on in children | pid |; 0: none yet. The pid alone would do but for its reuse by
// a grandchild, and the handler alone but for what runs before it.
constinit std::atomic<std::uint64_t> current{0};
constinit std::atomic<std::uint64_t> last_number{0};

void* fresh_pages(void* at, std::size_t bytes) noexcept {
  const int where = at == nullptr ? 0 : MAP_FIXED;
  return ::mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE | where,
                -1, 0);
}

void in_child() {
  // Relaxed: the child has one thread yet.
  current.store(0, std::memory_order_relaxed);
  for (const wiped_range* range = wiped; range != nullptr; range = range->next)
    if (fresh_pages(range->pages, range->bytes) == MAP_FAILED) std::abort();
  ::pthread_mutex_unlock(&changing);
}

const bool handlers_are_registered =
    ::pthread_atfork([] { ::pthread_mutex_lock(&changing); },
                     [] { ::pthread_mutex_unlock(&changing); }, in_child) == 0;

}  // namespace

std::uint64_t incarnation() noexcept {
  const auto pid = static_cast<std::uint32_t>(::getpid());  // from memory, no system call
  // Relaxed: only threads of one process meet here, and the number orders nothing else.
  std::uint64_t now = current.load(std::memory_order_relaxed);
  while (static_cast<std::uint32_t>(now) != pid) {
    const std::uint64_t next =
        (last_number.fetch_add(1, std::memory_order_relaxed) + 1) << 32 | pid;
    if (current.compare_exchange_weak(now, next, std::memory_order_relaxed)) return next;
  }
  return now;
}

void* fork_private_pages(std::size_t bytes) {
  void* const got = fresh_pages(nullptr, bytes);
  if (got == MAP_FAILED) throw std::bad_alloc();
  if (posix::wipe_in_children(got, bytes) != 0) {
    ::munmap(got, bytes);
    throw std::bad_alloc();
  }
  return got;
}

void return_fork_private_pages(void* pages, std::size_t bytes) noexcept {
  posix::forget_wiped(pages);
  ::munmap(pages, bytes);
}

// There is no call that makes other processors' stores visible, so everyone orders their own.
bool enrol_in_heavy_fence() noexcept {
  return false;
}

bool heavy_fence() noexcept {
  return false;
}

namespace posix {

int wipe_in_children(void* pages, std::size_t bytes) noexcept {
  if (!handlers_are_registered) return ENOMEM;
  auto* const range = new (std::nothrow) wiped_range{pages, bytes, nullptr};
  if (range == nullptr) return ENOMEM;
  ::pthread_mutex_lock(&changing);
  range->next = wiped;
  wiped = range;
  ::pthread_mutex_unlock(&changing);
  return 0;
}

void forget_wiped(void* pages) noexcept {
  ::pthread_mutex_lock(&changing);
  wiped_range** link = &wiped;
  while (*link != nullptr && (*link)->pages != pages) link = &(*link)->next;
  wiped_range* const found = *link;
  if (found != nullptr) *link = found->next;
  ::pthread_mutex_unlock(&changing);
  delete found;
}

}  // namespace posix
}  // namespace ipcpp::platform
