// Bodies of ipcpp.queue:queue_picture. Counters are read one after the other while others count on:
// a size may be off by what went through meanwhile.
module;

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :endpoint;
import :intents;
import :lane;
import :queue_object;
import :queue_picture;

namespace ipcpp {

using namespace detail;

namespace {

// As make_queue writes it.
constexpr std::uint64_t queue_magic = 0x7565757170637069;  // "ipcpqueu"
constexpr std::uint64_t granule = 64;
constexpr std::uint64_t most_priorities = 16;
constexpr std::uint64_t lines_of_letter_ring = 3 * platform::line_stride;

[[nodiscard]] std::string_view text_of(std::uint64_t state) noexcept {
  switch (static_cast<queue_state>(state & 0xff)) {
    case queue_state::open:
      return "open";
    case queue_state::closing:
      return "closing";
    case queue_state::closed:
      return "closed";
    case queue_state::destroyed:
      return "destroyed";
  }
  return "unknown";
}

struct painter {
  const platform::object_image& image;
  const queue_head& head;
  std::uint64_t own;  // where the queue's own lines begin
  const std::vector<endpoint_slot>& slots;
  queue_picture& seen;

  [[nodiscard]] std::uint64_t word(std::uint64_t at) const {
    return image.get<std::uint64_t>(at).value_or(0);
  }
  void add_lane(std::uint64_t lane) {
    const std::uint64_t claimed = word(lane + offsetof(lane_lines, claimed));
    const std::uint64_t taken = word(lane + offsetof(lane_lines, head));
    const std::uint64_t size = claimed - taken <= head.capacity ? claimed - taken : 0;
    seen.size = seen.size.value_or(0) + size;
    seen.received = seen.received.value_or(0) + taken;
    seen.sent = seen.sent.value_or(0) + taken + size;
  }
  [[nodiscard]] std::uint64_t sum(std::size_t which) const {
    std::uint64_t all = 0;
    for (const endpoint_slot& slot : slots) all += slot.word[which];
    return all;
  }

  void paint() {
    switch (static_cast<queue_kind>(head.kind)) {
      case queue_kind::spsc:
        add_lane(own);
        break;
      case queue_kind::mpsc:  // a lane for each slot, the first is the receiver's and not used
        for (std::uint64_t i = 1; i < head.endpoints; ++i) add_lane(own + i * sizeof(lane_lines));
        break;
      case queue_kind::mpmc: {
        seen.received = word(own + offsetof(mpmc_lines, head)) & position_bits;
        seen.sent = word(own + offsetof(mpmc_lines, tail)) & position_bits;
        seen.size = *seen.sent - *seen.received <= head.capacity ? *seen.sent - *seen.received : 0;
        break;
      }
      case queue_kind::latest:
        seen.sent = word(own + 8);
        break;
      case queue_kind::broadcast: {
        seen.sent = word(own);
        seen.received = sum(2);
        seen.lost = sum(1);
        std::uint64_t furthest = 0;  // behind
        for (const endpoint_slot& slot : slots)
          if (role_of(slot.control) == endpoint_role::receiver && slot.word[0] != 0 &&
              *seen.sent - (slot.word[0] - 1) <= *seen.sent)
            furthest = std::max(furthest, *seen.sent - (slot.word[0] - 1));
        seen.size = std::min(furthest, head.capacity);
        break;
      }
      case queue_kind::message: {
        seen.sent = sum(0);
        seen.received = sum(2);
        seen.in_bytes = true;
        std::uint64_t bytes = 0;
        for (std::uint64_t p = 0; p < std::min(head.option[0], most_priorities); ++p) {
          const std::uint64_t ring = own + p * lines_of_letter_ring;
          const std::uint64_t tail = word(ring) >> 1;
          const std::uint64_t freed = word(ring + 2 * platform::line_stride);
          if (tail - freed < std::uint64_t{1} << 32) bytes += (tail - freed) * granule;
        }
        seen.size = bytes;
        break;
      }
      default:
        break;
    }
  }
};

}  // namespace

std::optional<queue_picture> look_at_queue(const platform::object_image& image,
                                           const heap_picture& heap,
                                           const participants_picture& who, std::uint64_t at) {
  // | allocator | offset to the head |, see :queue_object
  const auto distance = image.get<std::uint64_t>(at + 8);
  if (!distance || *distance == 1) return std::nullopt;
  const std::uint64_t block = at + 8 + *distance;
  const auto place = heap.find(block);
  if (!place || !place->in_use || place->bytes - (block - place->at) < sizeof(queue_head))
    return std::nullopt;
  const auto head = image.get<queue_head>(block);
  if (!head || head->magic != queue_magic) return std::nullopt;
  const std::uint64_t room = place->bytes - (block - place->at);
  const std::uint64_t before =
      sizeof(queue_head) +
      (std::uint64_t{head->endpoints} + head->own_lines) * platform::line_stride;
  if (head->endpoints > max_endpoints || before > room || head->bytes > room) return std::nullopt;

  queue_picture seen;
  seen.kind = name_of(static_cast<queue_kind>(head->kind));
  seen.state = text_of(head->state);
  seen.capacity = head->capacity;
  seen.message_bytes = head->message_bytes;
  seen.repairs = head->repairs;
  seen.endpoints = head->endpoints;
  std::vector<endpoint_slot> slots(head->endpoints);
  if (!image.read(block + sizeof(queue_head), slots.data(), slots.size() * sizeof(endpoint_slot)))
    return std::nullopt;
  for (const endpoint_slot& slot : slots) {
    if (role_of(slot.control) == endpoint_role::none) continue;
    queue_picture::endpoint one;
    one.owner = owner_of(slot.control);
    one.sends = role_of(slot.control) == endpoint_role::sender;
    const participants_picture::process* const process = who.find(one.owner);
    one.alive = process != nullptr && process->alive;
    seen.attached.push_back(one);
  }
  const std::uint64_t own =
      block + sizeof(queue_head) + std::uint64_t{head->endpoints} * platform::line_stride;
  painter{image, *head, own, slots, seen}.paint();
  return seen;
}

}  // namespace ipcpp
