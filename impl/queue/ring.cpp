// Bodies of ipcpp.queue:ring_slot: which capacities there are.
module;

#include <bit>
#include <cstdint>
#include <string>

module ipcpp.queue;

import ipcpp.platform;

namespace ipcpp::detail {

namespace {

constexpr std::uint64_t largest_capacity = std::uint64_t{1} << 36;

}  // namespace

std::uint64_t ring_capacity(queue_kind kind, std::uint64_t asked) {
  if (asked < 1 || asked > largest_capacity)
    throw error(errc::invalid_argument, std::string(name_of(kind)),
                "a capacity from 1 to 2^36 messages", std::to_string(asked), "");
  return asked < 2 ? 2 : std::bit_ceil(asked);
}

queue_view look_ring(const queue_view& queue, std::uint32_t endpoints) {
  if (queue.capacity < 2 || !std::has_single_bit(queue.capacity) || queue.endpoints < endpoints)
    refuse_damaged(
        static_cast<queue_kind>(queue.head->kind), "a capacity that is a power of two",
        std::to_string(queue.capacity) + " and " + std::to_string(queue.endpoints) + " endpoints");
  return queue;
}

}  // namespace ipcpp::detail
