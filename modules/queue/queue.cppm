// ipcpp.queue - messages between processes. For now: what may be a message. The queues themselves
// come with their issue.
module;

#include <type_traits>

export module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import ipcpp.segment;

namespace ipcpp {

// A message is copied as bytes from one process to another: trivially copyable, and meaning the
// same there.
export template <class T>
concept message = std::is_trivially_copyable_v<T> && shareable<T>;

}  // namespace ipcpp
