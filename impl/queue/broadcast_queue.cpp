// Bodies of ipcpp.queue:broadcast_queue that do not depend on the message.
module;

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <utility>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;

namespace ipcpp::detail {

namespace {

// Some microseconds of polling: a look costs the other side transfers of its lines.
constexpr std::uint32_t empties_between_looks = 1024;

broadcast_state& broadcast_at(void* object) noexcept {
  return *static_cast<broadcast_state*>(object);
}

ipcpp::overflow overflow_of(const queue_view& queue) {
  if (queue.option[0] > static_cast<std::uint64_t>(ipcpp::overflow::fail))
    refuse_damaged(queue_kind::broadcast, "one of four ways to overflow",
                   std::to_string(queue.option[0]));
  return static_cast<ipcpp::overflow>(queue.option[0]);
}

endpoint::verdict resolve_broadcast(const queue_view& queue, std::uint32_t slot,
                                    std::uint64_t control) noexcept {
  try {
    broadcast_ring ring = broadcast_ring_of(queue, static_cast<std::uint32_t>(queue.option[1]));
    ring.retire(queue, slot, control);
  } catch (const error&) {
    return endpoint::verdict::not_yet;
  }
  notify_all(queue, queue.head->receivers);
  notify_all(queue, queue.head->senders);
  return endpoint::verdict::settled;
}

bool over(const broadcast_state& me, queue_state now) noexcept {
  return (now == queue_state::closed || now == queue_state::destroyed) &&
         me.ring.drained(me.cursor);
}

}  // namespace

broadcast_ring broadcast_ring_of(const queue_view& queue, std::uint32_t stride) {
  if (!std::has_single_bit(queue.capacity) || queue.capacity < 2 || queue.endpoints > 1000 ||
      queue.option[1] != stride || stride < 16 || queue.ring_bytes / stride < queue.capacity)
    refuse_damaged(
        queue_kind::broadcast, "a power of two of slots that fit the block",
        std::to_string(queue.capacity) + " of " + std::to_string(queue.option[1]) + " bytes");
  return broadcast_ring(reinterpret_cast<std::uint64_t*>(queue.own), queue.ring, queue.capacity,
                        stride, overflow_of(queue) == ipcpp::overflow::drop_oldest);
}

queue_head* make_broadcast(heap_header* heap, queue_plan plan,
                           const broadcast_queue_options& options) {
  constexpr std::size_t most = std::size_t{1} << 40;
  if (options.capacity < 1 || options.capacity > most || options.endpoints < 1 ||
      options.endpoints > 1000)
    throw error(errc::invalid_argument, name_of(queue_kind::broadcast),
                "1 to 2^40 messages, 1 to 1000 endpoints",
                std::to_string(options.capacity) + ", " + std::to_string(options.endpoints), "");
  plan.capacity = std::bit_ceil(options.capacity < 2 ? 2 : options.capacity);
  plan.endpoints = options.endpoints;
  plan.ring_bytes = plan.capacity * plan.stride;
  plan.option[0] = static_cast<std::uint64_t>(options.overflow);
  plan.option[1] = plan.stride;
  return make_queue(heap, plan);
}

std::unique_ptr<broadcast_state> attach_broadcast(const queue_view& queue, std::uint32_t stride,
                                                  endpoint_role role, begin_with where) {
  auto state = std::make_unique<broadcast_state>();
  state->ring = broadcast_ring_of(queue, stride);
  state->policy = overflow_of(queue);
  state->end = endpoint::attach(queue, role, 0, queue.endpoints, resolve_broadcast);
  state->owner = state->end.index() + 1;
  if (role == endpoint_role::receiver)
    state->cursor = state->ring.join(state->end.slot().word[0], where == begin_with::oldest);
  return state;
}

// ---- publishers ----

send_result broadcast_state::try_claim(std::uint64_t& position) {
  end.require_usable(queue_kind::broadcast);
  const queue_state before = state();
  if (before != queue_state::open) [[unlikely]]
    return before == queue_state::destroyed ? send_result::destroyed : send_result::closed;
  cell_result result = ring.try_claim(end.view(), owner, slowest, position);
  if (result == cell_result::full && end.has_bell()) {
    end.arm_bell();
    result = ring.try_claim(end.view(), owner, slowest, position);
  }
  if (result == cell_result::full) return send_result::full;
  if (result == cell_result::damaged)
    refuse_damaged(queue_kind::broadcast, "slots that follow each other", "something else");
  fence_after_claim();
  const queue_state after = state();
  if (after == queue_state::open) return send_result::sent;
  ring.withdraw(position);
  notify_all(end.view(), end.head().receivers);
  return after == queue_state::destroyed ? send_result::destroyed : send_result::closed;
}

send_result broadcast_state::claim_until(platform::steady_time deadline, std::uint64_t& position) {
  for (;;) {
    const send_result result = try_claim(position);
    if (result != send_result::full) return result;
    if (!wait_for(source(), deadline)) return send_result::timed_out;
  }
}

void broadcast_state::refuse(send_result why) const {
  if (why == send_result::full)
    throw error(errc::limit_reached, name_of(queue_kind::broadcast), "subscribers that keep up",
                "one that is a whole ring behind", "a larger capacity, or another overflow");
  refuse_closed(queue_kind::broadcast,
                why == send_result::destroyed ? queue_state::destroyed : queue_state::closed);
}

// ---- subscribers ----

receive_status broadcast_state::nothing(cell_result why) {
  if (why == cell_result::damaged)
    refuse_damaged(queue_kind::broadcast, "slots that follow each other", "something else");
  if (++empties >= empties_between_looks) {
    empties = 0;
    finish_closing(end.view());
    ring.repair_at(end.view(), cursor);
    if (ring.astray(cursor))
      refuse_damaged(queue_kind::broadcast, "a tail that never goes back", "one that did");
  }
  ring.publish_cursor(end.slot().word[0], cursor);  // it may have passed hollow positions
  const queue_state now = state();
  if (!over(*this, now)) return receive_status::empty;
  return now == queue_state::destroyed ? receive_status::destroyed : receive_status::closed;
}

void broadcast_state::leave() noexcept {
  if (!end || !end.usable()) return;
  const queue_view queue = end.view();
  if (role_of(end.control()) == endpoint_role::receiver) {
    ring.leave(end.slot().word[0]);
    notify_all(queue, queue.head->senders);
  }
  end.detach();
}

wait_source broadcast_state::source() noexcept {
  wait_source source;
  source.object = this;
  source.tend = [](void* object) noexcept { broadcast_at(object).empties = empties_between_looks; };
  if (role_of(end.control()) == endpoint_role::sender) {
    source.point = &end.head().senders;
    source.ready = [](void* object) {
      broadcast_state& me = broadcast_at(object);
      return me.state() != queue_state::open || me.policy == ipcpp::overflow::drop_oldest ||
             me.ring.has_room(me.end.view(), me.slowest);
    };
  } else {
    source.point = &end.head().receivers;
    source.ready = [](void* object) {
      broadcast_state& me = broadcast_at(object);
      if (me.ring.readable(me.cursor)) return true;
      if (me.empties >= empties_between_looks) {
        me.empties = 0;
        finish_closing(me.end.view());
        if (me.ring.repair_at(me.end.view(), me.cursor)) return true;
        if (me.ring.is_astray(me.cursor)) {
          me.empties = empties_between_looks;
          return true;  // receiving will say what is wrong
        }
      }
      return over(me, me.state());
    };
  }
  return source;
}

// ---- looking in ----

broadcast_ring look_read_only(const queue_head* at, std::span<const std::byte> memory,
                              const queue_plan& expected) {
  const auto first = reinterpret_cast<std::uintptr_t>(memory.data());
  const auto head_at = reinterpret_cast<std::uintptr_t>(at);
  if (head_at % platform::line_stride != 0 || head_at < first ||
      memory.size() < sizeof(queue_head) || head_at - first > memory.size() - sizeof(queue_head))
    refuse_damaged(queue_kind::broadcast, "its block in the mapping", "an address elsewhere");
  queue_head found;  // read once, then checked, then used
  std::memcpy(static_cast<void*>(&found), at, platform::line_stride);
  const std::uint64_t most = memory.size() - (head_at - first);
  const std::uint64_t before = sizeof(queue_head) +
                               std::uint64_t{found.endpoints} * sizeof(endpoint_slot) +
                               std::uint64_t{found.own_lines} * platform::line_stride;
  if (found.kind != static_cast<std::uint32_t>(queue_kind::broadcast) ||
      found.message_bytes != expected.message_bytes || found.stride != expected.stride ||
      found.own_lines != expected.own_lines || found.bytes > most || before > found.bytes)
    refuse_damaged(queue_kind::broadcast, "a broadcast_queue of this message", "something else");
  queue_view view;
  // Through the view nothing is written: a poller only reads.
  view.own = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(at)) + before -
             std::size_t{found.own_lines} * platform::line_stride;
  view.ring = view.own + std::size_t{found.own_lines} * platform::line_stride;
  view.ring_bytes = found.bytes - before;
  view.capacity = found.capacity;
  view.endpoints = found.endpoints;
  std::memcpy(view.option, found.option, sizeof view.option);
  if (view.option[0] != static_cast<std::uint64_t>(ipcpp::overflow::drop_oldest))
    throw error(errc::invalid_argument, name_of(queue_kind::broadcast),
                "overflow::drop_oldest for who only polls", "another overflow",
                "subscribe, so that publishers know of you");
  return broadcast_ring_of(view, expected.stride);
}

broadcast_queue_statistics broadcast_statistics(const queue_view& queue) {
  broadcast_queue_statistics sum;
  for (std::uint32_t i = 0; i < queue.endpoints; ++i) {
    const auto at = [&](std::uint32_t which) {
      return shared(queue.slots[i].word[which]).load(std::memory_order_relaxed);  // only a sum
    };
    sum.lost += at(1);
    sum.received += at(2);
    sum.published += at(3);
    sum.dropped += at(4);
  }
  sum.publishers = count_endpoints(queue, endpoint_role::sender);
  sum.subscribers = count_endpoints(queue, endpoint_role::receiver);
  return sum;
}

}  // namespace ipcpp::detail
