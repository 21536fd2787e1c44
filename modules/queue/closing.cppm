// ipcpp.queue:closing - closing a queue so that "closed and empty" is the end.
//
// Closer: 1 state open -> closing   2 heavy fence   3 closing -> closed   4 wakes everybody.
// Sender: claims a place, fence_after_claim(), looks at the state; unless it is open, the claim is
// withdrawn. Receiver: an empty queue that is closed (not closing) is the end.
//
// Why: a sender that saw open had claimed before the closer's fence was over, so its claim is visible
// to whoever sees closed. The fence costs the sender nothing where there are heavy fences.
// Crash story: a closer killed before 3 leaves closing; whoever next looks after the dead finishes.
module;

#include <atomic>
#include <cstdint>

export module ipcpp.queue:closing;

import ipcpp.platform;
import ipcpp.sync;
import :endpoint;
import :waitable;

namespace ipcpp::detail {

export inline void fence_after_claim() noexcept {
  if (notifies_without_fence.load(std::memory_order_relaxed)) [[likely]] {  // never false again
    std::atomic_signal_fence(std::memory_order_seq_cst);
  } else {
    std::atomic_thread_fence(std::memory_order_seq_cst);
  }
}
export void finish_closing(const queue_view& queue) noexcept;
export void close_queue(const queue_view& queue) noexcept;
export bool reopen_queue(const queue_view& queue) noexcept;

}  // namespace ipcpp::detail
