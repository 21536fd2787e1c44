// The shared words of a queue, for tests that look at them or damage them. After queues.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "queues.hpp"

import ipcpp;

namespace test {

// A queue object is an allocator and an offset to its block.
template <class Queue>
ipcpp::detail::queue_head* head_of(Queue& queue) {
  struct object {
    ipcpp::allocator<std::byte> where;
    ipcpp::offset_ptr<ipcpp::detail::queue_head> head;
  };
  static_assert(sizeof(Queue) == sizeof(object));
  return static_cast<object*>(static_cast<void*>(&queue))->head.get();
}

template <class Queue>
std::span<std::byte> block_of(Queue& queue) {
  auto* const head = head_of(queue);
  return {static_cast<std::byte*>(static_cast<void*>(head)), static_cast<std::size_t>(head->bytes)};
}

}  // namespace test
