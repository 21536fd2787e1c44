// ipcpp.queue:spsc_queue - one sender, one receiver, first in first out.
//
//   auto& line = segment.construct<ipcpp::spsc_queue<tick>>("line", 64);
//   auto in = line.sender();                 in one process (or thread)
//   auto out = line.receiver();              in another
//   in.send({1, 9.5});
//   if (auto t = out.receive()) ...
//
// Representation: :endpoint with two slots (0 the sender's, 1 the receiver's), then a lane (:lane).
//
// Guarantees. A message that was sent is received once and in order, whoever dies; only what a
// receiver had in hand when it was killed is delivered again to its successor, flagged. Sending and
// receiving are wait-free and cost one transfer of the message's own cache line. There is one sender
// and one receiver at a time; when one has detached or died, another may take its place and goes on
// where it stopped.
//
// close() is sharp: a message whose send said "sent" comes before the end. A sender that is stopped
// in the middle of a send delays the end until it goes on or dies.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

export module ipcpp.queue:spsc_queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :message;
import :received;
import :endpoint;
import :waitable;
import :ring_slot;
import :lane;
import :blocking;
import :queue_object;

namespace ipcpp {

export template <message T>
class spsc_queue;

export template <message T>
class spsc_sender : public detail::sending<spsc_sender<T>, T> {
 public:
  static constexpr detail::queue_kind kind = detail::queue_kind::spsc;

  spsc_sender() noexcept = default;  // attached to nothing

  // Wait-free. Throws not_a_participant.
  send_status try_send(const T& message) {
    end_.require_usable(kind);
    if (lane_.room() == 0 && !room_after_arming()) [[unlikely]]
      return refused();
    const detail::queue_state state = lane_.claim(end_.head(), 1);
    if (state != detail::queue_state::open) [[unlikely]]
      return refused(state);
    lane_.commit(message);
    detail::notify_one(end_.view(), end_.head().receivers);
    return send_result::sent;
  }
  // What there is room for, and why not the rest.
  [[nodiscard]] std::size_t send_some(std::span<const T> messages, send_result& why) {
    end_.require_usable(kind);
    std::uint64_t n = lane_.room();
    if (n == 0 && room_after_arming()) n = lane_.room();
    if (n >= messages.size()) n = messages.size();
    why = refused().result();
    if (n == 0) return 0;
    const detail::queue_state state = lane_.claim(end_.head(), n);
    if (state != detail::queue_state::open) {
      why = refused(state).result();
      return 0;
    }
    for (std::uint64_t i = 0; i < n; ++i) lane_.commit(messages[static_cast<std::size_t>(i)]);
    detail::notify_one(end_.view(), end_.head().receivers);
    why = n == messages.size() ? send_result::sent : send_result::full;
    return static_cast<std::size_t>(n);
  }

  [[nodiscard]] detail::wait_source wait_source() noexcept {
    return {&end_.head().senders, this,
            [](void* self) {
              auto& me = *static_cast<spsc_sender*>(self);
              return me.lane_.room() != 0 ||
                     detail::state_of(me.end_.head()) != detail::queue_state::open;
            },
            nullptr};
  }
  // For epoll, poll and the like: readable while there may be something to do. When it is, try_send until
  // there is nothing more; that arms it again. Spurious ones come every 50 ms.
  [[nodiscard]] auto native_handle() { return end_.native_handle(); }
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(end_); }
  void detach() noexcept { end_.detach(); }

 private:
  friend class spsc_queue<T>;
  spsc_sender(detail::endpoint end)
      : end_(std::move(end)),
        lane_(kind, *static_cast<detail::lane_lines*>(static_cast<void*>(end_.view().own)),
              detail::ring<T>(end_.view().ring, end_.view().capacity), end_.view().capacity) {}

  // With a bell: it rings when there is room, unless there is already.
  [[nodiscard]] bool room_after_arming() noexcept {
    if (!end_.has_bell()) return false;
    end_.arm_bell();
    return lane_.room() != 0;
  }
  [[nodiscard]] send_status refused() noexcept { return refused(detail::state_of(end_.head())); }
  [[nodiscard]] static send_status refused(detail::queue_state state) noexcept {
    if (state == detail::queue_state::open) return send_result::full;
    return state == detail::queue_state::destroyed ? send_result::destroyed : send_result::closed;
  }

  detail::endpoint end_;
  detail::lane_sender<T> lane_;
};

export template <message T>
class spsc_receiver : public detail::receiving<spsc_receiver<T>, T> {
 public:
  static constexpr detail::queue_kind kind = detail::queue_kind::spsc;

  spsc_receiver() noexcept = default;  // attached to nothing

  // Wait-free. Throws not_a_participant, damaged.
  received<T> try_receive() {
    end_.require_usable(kind);
    if (!lane_.ready()) [[unlikely]] {
      const receive_status why = nothing_after_arming();
      if (why != receive_status::message) return received<T>(why);
    }
    received<T> got = lane_.take();
    detail::notify_one(end_.view(), end_.head().senders);
    return got;
  }
  received_batch try_receive_batch(std::span<T> out) {
    end_.require_usable(kind);
    received_batch got = lane_.take_batch(out);
    if (got.count == 0 && !out.empty()) {
      got.status = nothing_after_arming();
      if (got.status == receive_status::message) got = lane_.take_batch(out);
    }
    if (got.count != 0) detail::notify_one(end_.view(), end_.head().senders);
    return got;
  }

  [[nodiscard]] detail::wait_source wait_source() noexcept {
    return {&end_.head().receivers, this,
            [](void* self) {
              auto& me = *static_cast<spsc_receiver*>(self);
              return me.nothing() != receive_status::empty;
            },
            [](void* self) noexcept {
              detail::finish_closing(static_cast<spsc_receiver*>(self)->end_.view());
            }};
  }
  // For epoll, poll and the like: readable while there may be something to do. When it is, try_receive until
  // there is nothing more; that arms it again. Spurious ones come every 50 ms.
  [[nodiscard]] auto native_handle() { return end_.native_handle(); }
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(end_); }
  void detach() noexcept { end_.detach(); }

 private:
  friend class spsc_queue<T>;
  spsc_receiver(detail::endpoint end)
      : end_(std::move(end)),
        lane_(*static_cast<detail::lane_lines*>(static_cast<void*>(end_.view().own)),
              detail::ring<T>(end_.view().ring, end_.view().capacity), end_.view().capacity,
              end_.took_over()) {}

  [[nodiscard]] receive_status nothing_after_arming() {
    const receive_status why = nothing();
    if (why != receive_status::empty || !end_.has_bell()) return why;
    end_.arm_bell();
    return nothing();
  }
  // Why there is nothing, or message if there is something after all.
  [[nodiscard]] receive_status nothing() {
    if (lane_.ready()) return receive_status::message;
    if (lane_.damaged()) [[unlikely]]
      detail::refuse_damaged(kind, "a message or an empty slot", "a sequence number of neither");
    const detail::queue_state state = detail::state_of(end_.head());
    if (state == detail::queue_state::open || state == detail::queue_state::closing) [[likely]]
      return receive_status::empty;
    if (lane_.in_flight() && !lane_.ready() && sender_lives()) return receive_status::empty;
    // Nothing is in flight: what was sent is committed, and visible by now.
    if (lane_.ready()) return receive_status::message;
    return state == detail::queue_state::destroyed ? receive_status::destroyed
                                                   : receive_status::closed;
  }
  [[nodiscard]] bool sender_lives() const noexcept {
    const std::uint64_t control =
        detail::shared(end_.view().slots[0].control).load(std::memory_order_acquire);  // detach
    return detail::role_of(control) != detail::endpoint_role::none &&
           !detail::owner_is_gone(end_.view(), control);
  }

  detail::endpoint end_;
  detail::lane_receiver<T> lane_;
};

export template <message T>
class spsc_queue : public detail::queue_object {
 public:
  using value_type = T;
  using sender_type = spsc_sender<T>;
  using receiver_type = spsc_receiver<T>;

  // Room for at least `capacity` messages: rounded up to a power of two, at least 2. Throws
  // bad_alloc, invalid_argument.
  explicit spsc_queue(std::size_t capacity, const allocator_type& where)
      : queue_object(plan(capacity), where) {}

  // The one sender, or receiver. Throws limit_reached while a living one is attached.
  [[nodiscard]] spsc_sender<T> sender() {
    return detail::endpoint::attach(view(), detail::endpoint_role::sender, 0, 1, nullptr);
  }
  [[nodiscard]] spsc_receiver<T> receiver() {
    return detail::endpoint::attach(view(), detail::endpoint_role::receiver, 1, 2, nullptr);
  }

  // No more messages from now on; those sent before can still be received. By anybody.
  void close() { detail::close_queue(view()); }
  void reopen() { detail::reopen_queue(view()); }
  [[nodiscard]] bool closed() const {
    return detail::state_of(*view().head) != detail::queue_state::open;
  }

  [[nodiscard]] std::size_t size() const {
    const detail::queue_view v = view();
    return static_cast<std::size_t>(detail::lane_size(lines(v), v.capacity));
  }
  [[nodiscard]] bool empty() const { return size() == 0; }
  [[nodiscard]] std::size_t capacity() const { return static_cast<std::size_t>(view().capacity); }
  [[nodiscard]] queue_statistics statistics() const {
    const detail::queue_view v = view();
    detail::lane_lines& of = lines(v);
    queue_statistics now;
    now.size = detail::lane_size(of, v.capacity);
    now.received = detail::shared(of.head).load(std::memory_order_relaxed);  // just numbers
    now.sent = now.received + now.size;
    now.capacity = v.capacity;
    now.senders = detail::count_endpoints(v, detail::endpoint_role::sender);
    now.receivers = detail::count_endpoints(v, detail::endpoint_role::receiver);
    return now;
  }

 private:
  [[nodiscard]] static detail::queue_plan plan(std::size_t capacity) {
    detail::queue_plan p = shape();
    p.capacity = detail::ring_capacity(p.kind, capacity);
    p.endpoints = 2;
    p.ring_bytes = p.capacity * p.stride;
    return p;
  }
  [[nodiscard]] static detail::queue_plan shape() noexcept {
    detail::queue_plan p = detail::ring_plan<T>(detail::queue_kind::spsc);
    p.own_lines = sizeof(detail::lane_lines) / platform::line_stride;
    return p;
  }
  [[nodiscard]] detail::queue_view view() const {
    const detail::queue_plan expected = shape();
    return detail::look_ring(look(expected, expected.stride), 2);
  }
  [[nodiscard]] static detail::lane_lines& lines(const detail::queue_view& v) noexcept {
    return *static_cast<detail::lane_lines*>(static_cast<void*>(v.own));
  }
};

}  // namespace ipcpp
