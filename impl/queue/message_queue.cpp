// Bodies of ipcpp.queue:message_queue.
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

namespace ipcpp {

namespace detail {

namespace {

constexpr std::uint32_t lines_per_ring = sizeof(ring_lines) / platform::line_stride;
constexpr std::uint32_t own_lines = lines_per_ring * mail_state::most_priorities;
constexpr std::size_t bytes_per_granule = granule_bytes + 2 * sizeof(std::uint64_t);
constexpr std::uint64_t one_sender = 1;
constexpr std::uint64_t one_receiver = 2;
// Some microseconds of polling: a look costs senders a transfer of their lines.
constexpr std::uint32_t empties_between_looks = 1024;
constexpr std::uint32_t fulls_between_looks = 64;

queue_plan plan_of_any() {
  queue_plan plan;
  plan.kind = queue_kind::message;
  plan.own_lines = own_lines;
  return plan;
}

void set_up_rings(const queue_view& queue, letter_ring (&rings)[mail_state::most_priorities],
                  std::uint32_t& priorities) {
  const std::uint64_t granules = queue.capacity;
  priorities = static_cast<std::uint32_t>(queue.option[0]);
  if (queue.option[0] < 1 || queue.option[0] > mail_state::most_priorities || granules < 4 ||
      granules > most_granules || !std::has_single_bit(granules) ||
      queue.ring_bytes < priorities * granules * bytes_per_granule)
    refuse_damaged(
        queue_kind::message, "1 to 8 rings that fit their block",
        std::to_string(queue.option[0]) + " of " + std::to_string(granules) + " granules");
  for (std::uint32_t p = 0; p < priorities; ++p) {
    std::byte* const at = queue.ring + p * granules * bytes_per_granule;
    auto* const claims = reinterpret_cast<std::uint64_t*>(at + granules * granule_bytes);
    rings[p] =
        letter_ring(reinterpret_cast<ring_lines*>(queue.own + p * sizeof(ring_lines)), claims,
                    claims + granules, at, static_cast<std::uint32_t>(granules),
                    (queue.option[1] & one_sender) == 0, (queue.option[1] & one_receiver) == 0);
  }
}

endpoint::verdict resolve_mail(const queue_view& queue, std::uint32_t slot,
                               std::uint64_t control) noexcept {
  letter_ring rings[mail_state::most_priorities];
  std::uint32_t priorities = 0;
  try {
    set_up_rings(queue, rings, priorities);
  } catch (const error&) {
    return endpoint::verdict::not_yet;
  }
  for (std::uint32_t p = 0; p < priorities; ++p) {
    rings[p].retire(queue, slot, control);
    rings[p].advance_freed();
  }
  notify_all(queue, queue.head->receivers);
  notify_all(queue, queue.head->senders);
  return endpoint::verdict::settled;
}

std::unique_ptr<mail_state> attach_mail(const queue_view& queue, endpoint_role role) {
  auto state = std::make_unique<mail_state>();
  set_up_rings(queue, state->rings, state->priorities);
  // A single one has a slot of its own.
  const bool sends = role == endpoint_role::sender;
  const bool single = (queue.option[1] & (sends ? one_sender : one_receiver)) != 0;
  const std::uint32_t own = sends ? 0 : 1;
  state->end = endpoint::attach(queue, role, single ? own : 2, single ? own + 1 : queue.endpoints,
                                resolve_mail);
  state->owner = state->end.index() + 1;
  state->empties = empties_between_looks;  // perhaps somebody died with letters in hand
  return state;
}

mail_state& state_at(void* object) noexcept {
  return *static_cast<mail_state*>(object);
}

}  // namespace

// ---- senders ----

send_result mail_state::claim_after_all(ring_result result, std::uint32_t priority,
                                        std::size_t bytes, record& out) {
  const auto once_more = [&] {
    return rings[priority].try_claim(owner, bytes, freed[priority], out);
  };
  if (result == ring_result::full && end.has_bell()) {
    end.arm_bell();
    result = once_more();
  }
  if (result == ring_result::full && unfinished == 0 && ++fulls >= fulls_between_looks) {
    fulls = 0;
    give_up_unfinished();
    result = once_more();
  }
  if (result == ring_result::damaged) refuse_damage();
  return result == ring_result::done ? send_result::sent : send_result::full;
}

send_result mail_state::closed_result() const noexcept {
  return state() == queue_state::destroyed ? send_result::destroyed : send_result::closed;
}

void mail_state::give_up_unfinished() noexcept {
  for (std::uint32_t p = 0; p < priorities; ++p) {
    rings[p].retire(end.view(), owner - 1, end.control());
    rings[p].advance_freed();
  }
  notify_one(end.view(), end.head().receivers);
}

void mail_state::withdraw(std::uint32_t priority, const record& of) noexcept {
  rings[priority].withdraw(of);
  --unfinished;
  count(4);
  // What lies behind it can be received now, and receivers are who frees its place.
  notify_one(end.view(), end.head().receivers);
}

void mail_state::refuse(send_result why) const {
  refuse_closed(queue_kind::message,
                why == send_result::destroyed ? queue_state::destroyed : queue_state::closed);
}

void mail_state::refuse_letter(std::uint32_t priority, std::size_t bytes) const {
  if (priority >= priorities)
    throw error(errc::invalid_argument, name_of(queue_kind::message),
                "a priority below " + std::to_string(priorities), std::to_string(priority),
                "create the queue with more priorities");
  throw error(errc::invalid_argument, name_of(queue_kind::message),
              "at most " + std::to_string(rings[0].most_bytes()) + " bytes", std::to_string(bytes),
              "create the queue with a capacity of twice the largest message");
}

void mail_state::refuse_damage() const {
  refuse_damaged(queue_kind::message, "records that fit the ring", "something else");
}

// ---- receivers ----

receive_status mail_state::nothing(std::uint32_t& priority, record& out) {
  if (end.has_bell()) {
    end.arm_bell();
    for (std::uint32_t p = priorities;
         p-- > 0;) {  // once more: the bell rings for what comes later
      if (rings[p].try_take(owner, out) != ring_result::done) continue;
      priority = p;
      count(2);
      return receive_status::message;
    }
  }
  if (++empties >= empties_between_looks) {
    empties = 0;
    finish_closing(end.view());
    for (std::uint32_t p = priorities; p-- > 0;) {
      if (rings[p].letters_are_out() && rings[p].take_returned(end.view(), owner, out)) {
        empties = empties_between_looks;  // there may be more
        priority = p;
        count(2);
        count(3);
        return receive_status::message;
      }
      for (int mended = 0; mended < 64 && rings[p].repair_head(end.view()); ++mended) {
        const ring_result found = rings[p].try_take(owner, out);
        if (found == ring_result::damaged) refuse_damage();
        if (found != ring_result::done) continue;
        priority = p;
        count(2);
        return receive_status::message;
      }
    }
  }
  const queue_state now = state();
  if (now == queue_state::open || now == queue_state::closing) return receive_status::empty;
  for (std::uint32_t p = 0; p < priorities; ++p)
    if (!rings[p].drained()) return receive_status::empty;
  return now == queue_state::destroyed ? receive_status::destroyed : receive_status::closed;
}

receive_status mail_state::receive_until(platform::steady_time deadline, std::uint32_t& priority,
                                         record& out) {
  receive_status status = try_receive(priority, out);
  bool waited = false;
  while (status == receive_status::empty) {
    const bool woken = wait_for(source(), deadline);
    waited = true;
    status = try_receive(priority, out);
    if (!woken && status == receive_status::empty) return receive_status::timed_out;
  }
  // A wake-up was for one: pass it on if there is more.
  if (waited && status == receive_status::message && rings[priority].ready())
    notify_one(end.view(), end.head().receivers);
  return status;
}

void mail_state::tend() noexcept {
  empties = empties_between_looks;  // the next try looks after the dead
  fulls = fulls_between_looks;
  if (role_of(end.control()) == endpoint_role::sender)
    for (std::uint32_t p = 0; p < priorities; ++p) rings[p].advance_freed();
}

void mail_state::leave() noexcept {
  if (!end || !end.usable()) return;
  for (std::uint32_t p = 0; p < priorities; ++p) {
    rings[p].retire(end.view(), owner - 1, end.control());
    rings[p].advance_freed();
  }
  notify_all(end.view(), end.head().receivers);
  notify_all(end.view(), end.head().senders);
  end.detach();
}

wait_source mail_state::source() noexcept {
  wait_source source;
  source.object = this;
  source.tend = [](void* object) noexcept { state_at(object).tend(); };
  if (role_of(end.control()) == endpoint_role::sender) {
    source.point = &end.head().senders;
    source.ready = [](void* object) {
      mail_state& me = state_at(object);
      return me.state() != queue_state::open ||
             me.rings[me.wanted_priority].has_room(me.wanted_bytes);
    };
  } else {
    source.point = &end.head().receivers;
    source.ready = [](void* object) {
      mail_state& me = state_at(object);
      for (std::uint32_t p = 0; p < me.priorities; ++p)
        if (me.rings[p].ready()) return true;
      if (me.empties >= empties_between_looks) {
        me.empties = 0;
        finish_closing(me.end.view());
        for (std::uint32_t p = 0; p < me.priorities; ++p)
          if (me.rings[p].repair_head(me.end.view()) ||
              (me.rings[p].letters_are_out() && me.rings[p].some_returned(me.end.view()))) {
            me.empties = empties_between_looks;
            return true;
          }
      }
      const queue_state now = me.state();
      if (now == queue_state::open || now == queue_state::closing) return false;
      for (std::uint32_t p = 0; p < me.priorities; ++p)
        if (!me.rings[p].drained()) return false;
      return true;
    };
  }
  return source;
}

}  // namespace detail

using namespace detail;

// ---- message_sender ----

message_sender& message_sender::operator=(message_sender&& other) noexcept {
  if (this != &other) {
    if (state_) state_->leave();
    state_ = std::move(other.state_);
  }
  return *this;
}
message_sender::~message_sender() {
  if (state_) state_->leave();
}

send_result message_sender::claim_until(std::size_t bytes, std::uint32_t priority,
                                        platform::steady_time deadline, record& out) {
  for (;;) {
    const send_result result = state_->try_claim(priority, bytes, out);
    if (result != send_result::full) return result;
    state_->wanted_bytes = bytes;
    state_->wanted_priority = priority;
    if (!wait_for(state_->source(), deadline)) {
      const send_result last = state_->try_claim(priority, bytes, out);
      return last == send_result::full ? send_result::timed_out : last;
    }
  }
}

void message_sender::send(std::span<const std::byte> message, std::uint32_t priority) {
  record record;
  const send_result result = claim_until(message.size(), priority, forever, record);
  if (result != send_result::sent) state_->refuse(result);
  if (!message.empty()) std::memcpy(record.data, message.data(), message.size());
  state_->commit(priority, record, message.size());
}

send_status message_sender::try_send(std::span<const std::byte> message, std::uint32_t priority) {
  record record;
  const send_result result = state_->try_claim(priority, message.size(), record);
  if (result != send_result::sent) return result;
  if (!message.empty()) std::memcpy(record.data, message.data(), message.size());
  state_->commit(priority, record, message.size());
  return send_result::sent;
}

send_status message_sender::send_until(std::span<const std::byte> message,
                                       platform::steady_time deadline, std::uint32_t priority) {
  record record;
  const send_result result = claim_until(message.size(), priority, deadline, record);
  if (result != send_result::sent) return result;
  if (!message.empty()) std::memcpy(record.data, message.data(), message.size());
  state_->commit(priority, record, message.size());
  return send_result::sent;
}

std::size_t message_sender::try_send_batch(std::span<const std::span<const std::byte>> messages,
                                           std::uint32_t priority) {
  std::size_t sent = 0;
  for (const std::span<const std::byte> message : messages) {
    record record;
    if (state_->try_claim(priority, message.size(), record) != send_result::sent) break;
    if (!message.empty()) std::memcpy(record.data, message.data(), message.size());
    state_->finish(priority, record, message.size());
    ++sent;
  }
  if (sent == 1) {
    notify_one(state_->end.view(), state_->end.head().receivers);
  } else if (sent > 1) {
    notify_all(state_->end.view(), state_->end.head().receivers);
  }
  return sent;
}

void message_sender::send_batch(std::span<const std::span<const std::byte>> messages,
                                std::uint32_t priority) {
  while (!messages.empty()) {
    messages = messages.subspan(try_send_batch(messages, priority));
    if (messages.empty()) return;
    send(messages.front(), priority);
    messages = messages.subspan(1);
  }
}

std::size_t message_sender::send_batch_until(std::span<const std::span<const std::byte>> messages,
                                             platform::steady_time deadline,
                                             std::uint32_t priority) {
  std::size_t sent = 0;
  for (;;) {
    sent += try_send_batch(messages.subspan(sent), priority);
    if (sent == messages.size() || !send_until(messages[sent], deadline, priority)) return sent;
    ++sent;
  }
}

// ---- message_receiver ----

message_receiver& message_receiver::operator=(message_receiver&& other) noexcept {
  if (this != &other) {
    if (state_) state_->leave();
    state_ = std::move(other.state_);
  }
  return *this;
}
message_receiver::~message_receiver() {
  if (state_) state_->leave();
}

received_letter message_receiver::receive_until(platform::steady_time deadline) {
  std::uint32_t priority = 0;
  record record;
  const receive_status status = state_->receive_until(deadline, priority, record);
  if (status != receive_status::message) return received_letter(status);
  return incoming_letter(*state_, record, priority);
}

// ---- message_queue ----

message_queue::message_queue(std::size_t capacity, const allocator_type& memory)
    : message_queue(message_queue_options{.capacity = capacity}, memory) {}

message_queue::message_queue(const message_queue_options& options, const allocator_type& memory)
    : memory_(memory) {
  constexpr std::size_t most_bytes = std::size_t{most_granules} * granule_bytes;
  if (options.capacity < 1 || options.capacity > most_bytes || options.priorities < 1 ||
      options.priorities > mail_state::most_priorities || options.endpoints < 1 ||
      options.endpoints > 1000)
    throw error(errc::invalid_argument, name_of(queue_kind::message),
                "1 to 268435456 bytes, 1 to 8 priorities, 1 to 1000 endpoints",
                std::to_string(options.capacity) + ", " + std::to_string(options.priorities) +
                    ", " + std::to_string(options.endpoints),
                "");
  const std::size_t bytes = std::bit_ceil(options.capacity < 1024 ? 1024 : options.capacity);
  queue_plan plan = plan_of_any();
  plan.capacity = bytes / granule_bytes;
  plan.endpoints = options.endpoints + 2;
  plan.ring_bytes = options.priorities * plan.capacity * bytes_per_granule;
  plan.option[0] = options.priorities;
  plan.option[1] = (options.senders == users::one ? one_sender : 0) |
                   (options.receivers == users::one ? one_receiver : 0);
  queue_head* const made = make_queue(memory.header(), plan);
  head_ = offset_ptr<queue_head>(made);
  const queue_view queue = look();
  letter_ring rings[mail_state::most_priorities];
  std::uint32_t priorities = 0;
  set_up_rings(queue, rings, priorities);
  for (std::uint32_t p = 0; p < priorities; ++p) rings[p].begin();
}

message_queue::~message_queue() {
  destroy_queue(head_.get(), memory_.header());
}

queue_view message_queue::look() const {
  return look_at(head_.get(), memory_.header(), plan_of_any(), 0);
}

message_sender message_queue::sender() {
  return message_sender(attach_mail(look(), endpoint_role::sender));
}
message_receiver message_queue::receiver() {
  return message_receiver(attach_mail(look(), endpoint_role::receiver));
}

void message_queue::close() {
  close_queue(look());
}
void message_queue::reopen() {
  static_cast<void>(reopen_queue(look()));
}

bool message_queue::is_closed() const {
  return state_of(*look().head) != queue_state::open;
}

std::size_t message_queue::capacity() const {
  return static_cast<std::size_t>(look().capacity * granule_bytes);
}

std::size_t message_queue::max_message_size() const {
  return static_cast<std::size_t>(look().capacity / 2 * granule_bytes) - letter_head_bytes;
}

std::size_t message_queue::size() const {
  letter_ring rings[mail_state::most_priorities];
  std::uint32_t priorities = 0;
  set_up_rings(look(), rings, priorities);
  std::uint64_t letters = 0;
  for (std::uint32_t p = 0; p < priorities; ++p) letters += rings[p].committed_letters();
  return static_cast<std::size_t>(letters);
}

message_queue_statistics message_queue::statistics() const {
  const queue_view queue = look();
  letter_ring rings[mail_state::most_priorities];
  std::uint32_t priorities = 0;
  set_up_rings(queue, rings, priorities);
  message_queue_statistics sum;
  for (std::uint32_t i = 0; i < queue.endpoints; ++i) {
    const auto at = [&](std::uint32_t which) {
      return shared(queue.slots[i].word[which]).load(std::memory_order_relaxed);  // only a sum
    };
    sum.sent += at(0);
    sum.sent_bytes += at(1);
    sum.received += at(2);
    sum.redelivered += at(3);
    sum.withdrawn += at(4);
  }
  for (std::uint32_t p = 0; p < priorities; ++p) {
    rings[p].advance_freed();  // what was released last may not have been counted
    sum.bytes_in_use += static_cast<std::size_t>(rings[p].claimed_granules() * granule_bytes);
  }
  sum.senders = count_endpoints(queue, endpoint_role::sender);
  sum.receivers = count_endpoints(queue, endpoint_role::receiver);
  return sum;
}

}  // namespace ipcpp
