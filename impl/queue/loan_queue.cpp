// Bodies of ipcpp.queue:loan_queue.
module;

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;

namespace ipcpp {

namespace detail {

namespace {

queue_plan any_loan_plan() {
  queue_plan plan;
  plan.kind = queue_kind::loan;
  plan.own_lines = 1;
  return plan;
}

// Option 0: overflow; 1: chunks; 2: bytes from one chunk to the next.
std::size_t words_bytes(std::uint64_t capacity, std::uint64_t chunks) {
  return static_cast<std::size_t>((capacity + chunks) * 8 + 127) / 128 * 128;
}

loan_ring loan_ring_of(const queue_view& queue) {
  const std::uint64_t chunks = queue.option[1];
  const std::uint64_t stride = queue.option[2];
  const bool small = std::has_single_bit(queue.capacity) && queue.capacity >= 2 &&
                     queue.capacity <= (1u << 30) && chunks >= 1 &&
                     chunks < loan_ring::most_chunks && stride >= 2 * 64 && stride % 64 == 0 &&
                     queue.endpoints <= 1000 && queue.option[0] <= 3;
  const std::uint64_t before = small ? words_bytes(queue.capacity, chunks) : 0;
  if (!small || before > queue.ring_bytes || (queue.ring_bytes - before) / stride < chunks)
    refuse_damaged(queue_kind::loan, "chunks that fit the block",
                   std::to_string(chunks) + " of " + std::to_string(stride) + " bytes");
  auto* const cells = reinterpret_cast<std::uint64_t*>(queue.ring);
  return loan_ring(reinterpret_cast<std::uint64_t*>(queue.own), cells, queue.capacity,
                   cells + queue.capacity, static_cast<std::uint32_t>(chunks), queue.ring + before,
                   static_cast<std::size_t>(stride));
}

endpoint::verdict resolve_loan(const queue_view& queue, std::uint32_t slot,
                               std::uint64_t control) noexcept {
  try {
    loan_ring ring = loan_ring_of(queue);
    ring.retire(queue, slot, control);
  } catch (const error&) {
    return endpoint::verdict::not_yet;
  }
  notify_all(queue, queue.head->senders);
  return endpoint::verdict::settled;
}

std::unique_ptr<loan_state> attach_loan(const queue_view& queue, endpoint_role role) {
  auto state = std::make_unique<loan_state>();
  state->ring = loan_ring_of(queue);
  state->policy = static_cast<ipcpp::overflow>(queue.option[0]);
  state->end = endpoint::attach(queue, role, 0, queue.endpoints, resolve_loan);
  state->owner = state->end.index() + 1;
  if (role == endpoint_role::receiver) state->cursor = state->ring.join(state->end.slot());
  return state;
}

loan_state& loan_at(void* object) noexcept {
  return *static_cast<loan_state*>(object);
}

send_result not_open(queue_state state) noexcept {
  return state == queue_state::destroyed ? send_result::destroyed : send_result::closed;
}

}  // namespace

send_result loan_state::loan_until(std::size_t bytes, platform::steady_time deadline, bool wait,
                                   std::uint32_t& chunk) {
  for (;;) {
    end.require_usable(queue_kind::loan);
    if (bytes > ring.most_bytes())
      throw error(errc::invalid_argument, name_of(queue_kind::loan),
                  "at most " + std::to_string(ring.most_bytes()) + " bytes", std::to_string(bytes),
                  "create it with larger chunks");
    if (state() != queue_state::open) return not_open(state());
    if (ring.try_loan(end.view(), owner, next, chunk) == loan_result::done)
      return send_result::sent;
    if (end.has_bell()) {
      end.arm_bell();
      if (ring.try_loan(end.view(), owner, next, chunk) == loan_result::done)
        return send_result::sent;
    }
    if (!wait) return send_result::full;
    wants_chunk = true;
    if (!wait_for(source(), deadline)) return send_result::timed_out;
  }
}

send_result loan_state::publish_until(std::uint32_t chunk, std::size_t bytes,
                                      platform::steady_time deadline, bool wait) {
  for (;;) {
    end.require_usable(queue_kind::loan);
    if (state() != queue_state::open) return not_open(state());
    const loan_result result =
        ring.try_publish(end.view(), chunk, bytes, policy == ipcpp::overflow::drop_oldest, slowest);
    if (result == loan_result::done) {
      count(3, 1);
      notify_all(end.view(), end.head().receivers);
      return send_result::sent;
    }
    if (result == loan_result::damaged)
      refuse_damaged(queue_kind::loan, "cells that follow each other", "something else");
    if (!wait) return send_result::full;
    wants_chunk = false;
    if (!wait_for(source(), deadline)) return send_result::timed_out;
  }
}

void loan_state::give_back(std::uint32_t chunk) noexcept {
  if (!end.usable()) return;
  ring.give_back(chunk);
  notify_all(end.view(), end.head().senders);
}

void loan_state::refuse(send_result why) const {
  if (why == send_result::full)
    throw error(errc::limit_reached, name_of(queue_kind::loan), "subscribers that keep up",
                "one that is a whole ring behind", "a larger capacity, or another overflow");
  refuse_closed(queue_kind::loan,
                why == send_result::destroyed ? queue_state::destroyed : queue_state::closed);
}

receive_status loan_state::try_receive(std::uint32_t& hold, std::uint32_t& chunk,
                                       std::uint64_t& bytes) {
  end.require_usable(queue_kind::loan);
  const std::uint64_t missed = lost;
  loan_result result = ring.try_take(end.slot(), cursor, lost, hold, chunk, bytes);
  if (result == loan_result::empty && end.has_bell()) {
    end.arm_bell();
    result = ring.try_take(end.slot(), cursor, lost, hold, chunk, bytes);
  }
  if (lost != missed) count(1, lost - missed);
  switch (result) {
    case loan_result::done:
      count(2, 1);
      notify_all(end.view(), end.head().senders);
      return receive_status::message;
    case loan_result::too_many:
      throw error(errc::limit_reached, name_of(queue_kind::loan),
                  "at most " + std::to_string(loan_ring::most_holds) + " messages held at a time",
                  "one more", "release some first");
    case loan_result::damaged:
      refuse_damaged(queue_kind::loan, "cells that follow each other", "something else");
    case loan_result::empty:
    case loan_result::full:
      break;
  }
  const queue_state now = state();
  if (now == queue_state::closing) finish_closing(end.view());
  if (now == queue_state::open || now == queue_state::closing || ring.readable(cursor))
    return receive_status::empty;
  return now == queue_state::destroyed ? receive_status::destroyed : receive_status::closed;
}

receive_status loan_state::receive_until(platform::steady_time deadline, std::uint32_t& hold,
                                         std::uint32_t& chunk, std::uint64_t& bytes) {
  for (;;) {
    const receive_status status = try_receive(hold, chunk, bytes);
    if (status != receive_status::empty) return status;
    if (!wait_for(source(), deadline)) return receive_status::timed_out;
  }
}

void loan_state::leave() noexcept {
  if (!end || !end.usable()) return;
  const queue_view queue = end.view();
  if (role_of(end.control()) == endpoint_role::receiver) {
    for (std::uint32_t h = 0; h < loan_ring::most_holds; ++h) ring.release(end.slot(), h);
    shared(end.slot().word[0]).store(0, std::memory_order_release);  // pairs with look_round
  } else {
    ring.retire(queue, end.index(), end.control());
  }
  notify_all(queue, queue.head->senders);
  end.detach();
}

wait_source loan_state::source() noexcept {
  wait_source source;
  source.object = this;
  if (role_of(end.control()) == endpoint_role::sender) {
    source.point = &end.head().senders;
    source.ready = [](void* object) {
      loan_state& me = loan_at(object);
      return me.state() != queue_state::open ||
             (me.wants_chunk ? me.ring.some_chunk(me.end.view())
                             : me.policy == ipcpp::overflow::drop_oldest ||
                                   me.ring.has_room(me.end.view(), me.slowest));
    };
  } else {
    source.point = &end.head().receivers;
    source.ready = [](void* object) {
      loan_state& me = loan_at(object);
      if (me.ring.readable(me.cursor)) return true;
      if (me.state() == queue_state::closing) finish_closing(me.end.view());
      return me.state() == queue_state::closed || me.state() == queue_state::destroyed;
    };
  }
  return source;
}

}  // namespace detail

using namespace detail;

// ---- outgoing_loan ----

bool outgoing_loan::publish(std::size_t bytes) {
  if (by_ == nullptr) return false;
  if (bytes > size_) bytes = size_;
  const send_result result =
      by_->publish_until(chunk_, bytes, forever, by_->policy == overflow::block);
  if (result == send_result::sent) {
    by_ = nullptr;
    return true;
  }
  if (result != send_result::full || by_->policy != overflow::drop_newest) by_->refuse(result);
  give_back();
  return false;
}

send_status outgoing_loan::try_publish() {
  if (by_ == nullptr) return status_;
  const send_result result = by_->publish_until(chunk_, size_, forever, false);
  if (result == send_result::sent) by_ = nullptr;
  return result;
}

send_status outgoing_loan::publish_until(platform::steady_time deadline) {
  if (by_ == nullptr) return status_;
  const send_result result = by_->publish_until(chunk_, size_, deadline, true);
  if (result == send_result::sent) by_ = nullptr;
  return result;
}

// ---- loan_publisher, loan_subscriber ----

loan_publisher& loan_publisher::operator=(loan_publisher&& other) noexcept {
  if (this != &other) {
    if (state_) state_->leave();
    state_ = std::move(other.state_);
  }
  return *this;
}
loan_publisher::~loan_publisher() {
  if (state_) state_->leave();
}

outgoing_loan loan_publisher::loan(std::size_t bytes) {
  std::uint32_t chunk = 0;
  const send_result result = state_->loan_until(bytes, forever, true, chunk);
  if (result != send_result::sent) state_->refuse(result);
  return outgoing_loan(*state_, chunk, bytes);
}
outgoing_loan loan_publisher::try_loan(std::size_t bytes) {
  std::uint32_t chunk = 0;
  const send_result result = state_->loan_until(bytes, forever, false, chunk);
  if (result != send_result::sent) return outgoing_loan(result);
  return outgoing_loan(*state_, chunk, bytes);
}
outgoing_loan loan_publisher::loan_until(std::size_t bytes, platform::steady_time deadline) {
  std::uint32_t chunk = 0;
  const send_result result = state_->loan_until(bytes, deadline, true, chunk);
  if (result != send_result::sent) return outgoing_loan(result);
  return outgoing_loan(*state_, chunk, bytes);
}

loan_subscriber& loan_subscriber::operator=(loan_subscriber&& other) noexcept {
  if (this != &other) {
    if (state_) state_->leave();
    state_ = std::move(other.state_);
  }
  return *this;
}
loan_subscriber::~loan_subscriber() {
  if (state_) state_->leave();
}

received_loan loan_subscriber::try_receive() {
  std::uint32_t hold = 0;
  std::uint32_t chunk = 0;
  std::uint64_t bytes = 0;
  const receive_status status = state_->try_receive(hold, chunk, bytes);
  if (status != receive_status::message) return received_loan(status);
  return received_loan(*state_, hold, chunk, bytes);
}
received_loan loan_subscriber::receive_until(platform::steady_time deadline) {
  std::uint32_t hold = 0;
  std::uint32_t chunk = 0;
  std::uint64_t bytes = 0;
  const receive_status status = state_->receive_until(deadline, hold, chunk, bytes);
  if (status != receive_status::message) return received_loan(status);
  return received_loan(*state_, hold, chunk, bytes);
}

// ---- loan_queue ----

namespace {

queue_plan loan_plan(const loan_queue_options& options) {
  constexpr std::size_t most_bytes = std::size_t{1} << 40;
  if (options.chunk_bytes > most_bytes || options.chunks < 1 ||
      options.chunks >= loan_ring::most_chunks || options.capacity < 1 ||
      options.capacity > (1u << 30) || options.endpoints < 1 || options.endpoints > 1000)
    throw error(errc::invalid_argument, name_of(queue_kind::loan),
                "chunks of at most 2^40 bytes, 1 to 65535 of them, a capacity of 1 to 2^30, 1 to "
                "1000 endpoints",
                std::to_string(options.chunk_bytes) + ", " + std::to_string(options.chunks) + ", " +
                    std::to_string(options.capacity) + ", " + std::to_string(options.endpoints),
                "");
  queue_plan plan = any_loan_plan();
  plan.capacity = std::bit_ceil(options.capacity < 2 ? 2 : options.capacity);
  plan.endpoints = options.endpoints;
  // Strides of one line more than a page's multiple, so that chunks do not share cache sets.
  const std::size_t stride = (options.chunk_bytes + loan_ring::chunk_head_bytes + 127) / 128 * 128;
  plan.ring_bytes = words_bytes(plan.capacity, options.chunks) + stride * options.chunks;
  plan.option[0] = static_cast<std::uint64_t>(options.overflow);
  plan.option[1] = options.chunks;
  plan.option[2] = stride;
  return plan;
}

}  // namespace

loan_queue::loan_queue(const loan_queue_options& options, const allocator_type& memory)
    : queue_object(loan_plan(options), memory) {}

queue_view loan_queue::view() const {
  return look(any_loan_plan(), 0);
}

loan_publisher loan_queue::publisher() {
  return loan_publisher(attach_loan(view(), endpoint_role::sender));
}
loan_subscriber loan_queue::subscriber() {
  return loan_subscriber(attach_loan(view(), endpoint_role::receiver));
}

void loan_queue::close() {
  close_queue(view());
}
void loan_queue::reopen() {
  static_cast<void>(reopen_queue(view()));
}
bool loan_queue::is_closed() const {
  return state_of(*view().head) != queue_state::open;
}
std::size_t loan_queue::size() const {
  const queue_view queue = view();
  return static_cast<std::size_t>(loan_ring_of(queue).untaken(queue));
}
std::size_t loan_queue::capacity() const {
  return static_cast<std::size_t>(view().capacity);
}
std::size_t loan_queue::max_message_size() const {
  return loan_ring_of(view()).most_bytes();
}

loan_queue_statistics loan_queue::statistics() const {
  const queue_view queue = view();
  loan_queue_statistics sum;
  for (std::uint32_t i = 0; i < queue.endpoints; ++i) {
    const auto at = [&](std::uint32_t which) {
      return shared(queue.slots[i].word[which]).load(std::memory_order_relaxed);  // only a sum
    };
    sum.lost += at(1);
    sum.received += at(2);
    sum.published += at(3);
  }
  loan_ring ring = loan_ring_of(queue);
  sum.chunks_in_use = ring.chunks_in_use(queue);
  sum.publishers = count_endpoints(queue, endpoint_role::sender);
  sum.subscribers = count_endpoints(queue, endpoint_role::receiver);
  return sum;
}

}  // namespace ipcpp
