// Bodies of ipcpp.queue:queue_object: closing and reopening.
//
// Killed in close(): before the first exchange nothing happened; between the two the queue is closing:
// it refuses senders, and the first receiver whose slice is over finishes it; afterwards it is closed,
// and whoever sleeps finds out when its slice is over.
//
// Where the closer has no heavy fence (a sandbox) a sender without fence of its own that was just
// between its two steps may commit a message after the end: it is delivered by the next receive.
module;

#include <atomic>
#include <cstdint>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;

namespace ipcpp::detail {

void finish_closing(const queue_view& queue) noexcept {
  if (state_of(*queue.head) != queue_state::closing) return;
  (void)platform::heavy_fence();
  if (!change_state(*queue.head, queue_state::closing, queue_state::closed)) return;
  notify_all(queue, queue.head->receivers);
  notify_all(queue, queue.head->senders);
}

void close_queue(const queue_view& queue) noexcept {
  (void)change_state(*queue.head, queue_state::open, queue_state::closing);
  finish_closing(queue);
}

bool reopen_queue(const queue_view& queue) noexcept {
  return change_state(*queue.head, queue_state::closed, queue_state::open) ||
         change_state(*queue.head, queue_state::closing, queue_state::open) ||
         state_of(*queue.head) == queue_state::open;
}

}  // namespace ipcpp::detail
