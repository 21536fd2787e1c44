// Bodies of ipcpp.queue:closing.
module;

#include <cstdint>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;

namespace ipcpp::detail {

void finish_closing(const queue_view& queue) noexcept {
  if (state_of(*queue.head) != queue_state::closing) return;
  static_cast<void>(platform::heavy_fence());
  if (!change_state(*queue.head, queue_state::closing, queue_state::closed)) return;
  notify_all(queue, queue.head->receivers);
  notify_all(queue, queue.head->senders);
}

void close_queue(const queue_view& queue) noexcept {
  static_cast<void>(change_state(*queue.head, queue_state::open, queue_state::closing));
  finish_closing(queue);
}

bool reopen_queue(const queue_view& queue) noexcept {
  finish_closing(queue);
  return change_state(*queue.head, queue_state::closed, queue_state::open);
}

}  // namespace ipcpp::detail
