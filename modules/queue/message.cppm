// ipcpp.queue:message - what may be sent.
//
// A message is copied as bytes from one process to another, so it has to be trivially copyable and to
// mean the same over there: no pointers, no references, no views (see ipcpp::shareable). To send
// something that owns memory, construct it in the segment and send an ipcpp::heap_ptr to it.
module;

#include <type_traits>

export module ipcpp.queue:message;

import ipcpp.platform;

namespace ipcpp {

export template <class T>
concept message = std::is_trivially_copyable_v<T> && std::is_object_v<T> && !std::is_const_v<T> &&
                  !std::is_volatile_v<T> && shareable<T>;

}  // namespace ipcpp
