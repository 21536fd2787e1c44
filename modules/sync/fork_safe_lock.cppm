// ipcpp.sync:fork_safe_lock - a process-private spin lock that a fork cannot leave locked.
//
// Representation: one word, 0 when free, else the incarnation (platform::incarnation) of the
// process that locked it. A forked child inherits the word, but no thread of its own ever locked
// it: an incarnation that is not the child's counts as free. For rare and short sections (joining,
// entering a range); it yields while it waits and is not recursive. Exported for the layers above, in detail, not for users.
module;

#include <atomic>
#include <cstdint>
#include <thread>

export module ipcpp.sync:fork_safe_lock;

import ipcpp.platform;

namespace ipcpp::detail {

export class fork_safe_lock {
 public:
  constexpr fork_safe_lock() noexcept = default;

  inline void lock() noexcept {
    const std::uint64_t mine = platform::incarnation();
    for (;;) {
      std::uint64_t seen = word_.load(std::memory_order_relaxed);  // the exchange decides
      if (seen != mine && word_.compare_exchange_weak(seen, mine, std::memory_order_acquire))
        return;  // pairs with unlock
      std::this_thread::yield();
    }
  }
  inline void unlock() noexcept { word_.store(0, std::memory_order_release); }  // pairs with lock

 private:
  std::atomic<std::uint64_t> word_{0};
};

export class fork_safe_guard {
 public:
  inline explicit fork_safe_guard(fork_safe_lock& lock) noexcept : lock_(&lock) { lock_->lock(); }
  fork_safe_guard(const fork_safe_guard&) = delete;
  fork_safe_guard& operator=(const fork_safe_guard&) = delete;
  inline ~fork_safe_guard() { lock_->unlock(); }

 private:
  fork_safe_lock* lock_;
};

}  // namespace ipcpp::detail
