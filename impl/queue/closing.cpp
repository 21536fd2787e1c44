// Bodies of ipcpp.queue:closing.
module;

#include <cstdint>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;

namespace ipcpp::detail {

void finish_closing(queue_head& head) noexcept {
  if (state_of(head) != queue_state::closing) return;
  static_cast<void>(platform::heavy_fence());
  change_state(head, queue_state::closing, queue_state::closed);
}

void close_queue(const queue_view& queue) noexcept {
  change_state(*queue.head, queue_state::open, queue_state::closing);
  finish_closing(*queue.head);
  notify_all(queue, queue.head->receivers);
  notify_all(queue, queue.head->senders);
}

void reopen_queue(const queue_view& queue) noexcept {
  finish_closing(*queue.head);
  change_state(*queue.head, queue_state::closed, queue_state::open);
}

}  // namespace ipcpp::detail
