// ipcpp.queue:mpsc_queue - many senders, one receiver, a lane for each sender: the sharded form.
//
//   auto& log = segment.construct<ipcpp::mpsc_queue<line>>("log", 256, ipcpp::mpsc_limits{.senders = 32});
//
// Representation: :endpoint with slot 0 for the receiver and slot i for the sender of lane i; then a
// lane (:lane) for each slot, of which the first is not used; then the lanes' rings, one after the
// other, each of `capacity` messages. Word 0 of the receiver's slot: the lane it is reading from.
//
// Guarantees. What one sender sent arrives in order; between senders there is no order, but no lane
// is passed over for long: the receiver goes round, at most 16 messages at a time. Senders never meet:
// each send is wait-free and costs one transfer of the message's line, as in spsc_queue, and what a
// dead sender leaves unfinished is in nobody's way. Its lane goes to the next sender, which goes on
// behind the messages that are there. The receiver looks at every lane when there is nothing to do:
// with hundreds of senders mpmc_queue is the better choice.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

export module ipcpp.queue:mpsc_queue;

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

export struct mpsc_limits {
  std::uint32_t senders = 16;  // at a time; each costs a ring
};

export template <message T>
class mpsc_queue;

namespace detail {

template <message T>
[[nodiscard]] inline lane_lines& lines_of_lane(const queue_view& queue, std::uint32_t i) noexcept {
  return static_cast<lane_lines*>(static_cast<void*>(queue.own))[i];
}
template <message T>
[[nodiscard]] inline ring<T> ring_of_lane(const queue_view& queue, std::uint32_t i) noexcept {
  return ring<T>(queue.ring + (i - 1) * queue.capacity * ring_slot<T>::stride, queue.capacity);
}

}  // namespace detail

export template <message T>
class mpsc_sender : public detail::sending<mpsc_sender<T>, T> {
 public:
  static constexpr detail::queue_kind kind = detail::queue_kind::mpsc;

  mpsc_sender() noexcept = default;  // attached to nothing

  // Wait-free. Throws not_a_participant.
  send_status try_send(const T& message) {
    end_.require_usable(kind);
    if (lane_.room() == 0 && !room_after_arming()) [[unlikely]]
      return refused(detail::state_of(end_.head()));
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
    why = refused(detail::state_of(end_.head())).result();
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
              auto& me = *static_cast<mpsc_sender*>(self);
              return me.lane_.room() != 0 ||
                     detail::state_of(me.end_.head()) != detail::queue_state::open;
            },
            nullptr};
  }
  // For epoll, poll and the like; see spsc_sender.
  [[nodiscard]] auto native_handle() { return end_.native_handle(); }
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(end_); }
  void detach() noexcept { end_.detach(); }

 private:
  friend class mpsc_queue<T>;
  explicit mpsc_sender(detail::endpoint end)
      : end_(std::move(end)),
        lane_(kind, detail::lines_of_lane<T>(end_.view(), end_.index()),
              detail::ring_of_lane<T>(end_.view(), end_.index()), end_.view().capacity) {}

  [[nodiscard]] bool room_after_arming() noexcept {
    if (!end_.has_bell()) return false;
    end_.arm_bell();
    return lane_.room() != 0;
  }
  [[nodiscard]] static send_status refused(detail::queue_state state) noexcept {
    if (state == detail::queue_state::open) return send_result::full;
    return state == detail::queue_state::destroyed ? send_result::destroyed : send_result::closed;
  }

  detail::endpoint end_;
  detail::lane_sender<T> lane_;
};

export template <message T>
class mpsc_receiver : public detail::receiving<mpsc_receiver<T>, T> {
 public:
  static constexpr detail::queue_kind kind = detail::queue_kind::mpsc;

  mpsc_receiver() noexcept = default;  // attached to nothing

  // Throws not_a_participant, damaged.
  received<T> try_receive() {
    end_.require_usable(kind);
    if (!at_a_message()) [[unlikely]] {
      const receive_status why = nothing_after_arming();
      if (why != receive_status::message) return received<T>(why);
    }
    received<T> got = lanes_[at_].take();
    --turn_;
    detail::notify_all(end_.view(), end_.head().senders);
    return got;
  }
  // From one lane or from several; the redelivered ones first.
  received_batch try_receive_batch(std::span<T> out) {
    end_.require_usable(kind);
    received_batch got;
    if (out.empty()) return got;
    if (!at_a_message()) {
      got.status = nothing_after_arming();
      if (got.status != receive_status::message) return got;
    }
    turn_ = 0;  // the next one begins with the next lane
    got = lanes_[at_].take_batch(out);
    detail::notify_all(end_.view(), end_.head().senders);
    return got;
  }

  [[nodiscard]] detail::wait_source wait_source() noexcept {
    return {&end_.head().receivers, this,
            [](void* self) {
              return static_cast<mpsc_receiver*>(self)->nothing() != receive_status::empty;
            },
            [](void* self) noexcept {
              detail::finish_closing(static_cast<mpsc_receiver*>(self)->end_.view());
            }};
  }
  // For epoll, poll and the like; see spsc_receiver.
  [[nodiscard]] auto native_handle() { return end_.native_handle(); }
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(end_); }
  void detach() noexcept { end_.detach(); }

 private:
  friend class mpsc_queue<T>;
  explicit mpsc_receiver(detail::endpoint end) : end_(std::move(end)) {
    const detail::queue_view& queue = end_.view();
    const std::uint64_t reading =
        detail::shared(end_.slot().word[0]).load(std::memory_order_relaxed);  // its owner is gone
    lanes_.reserve(queue.endpoints - 1);
    for (std::uint32_t i = 1; i < queue.endpoints; ++i)
      lanes_.emplace_back(detail::lines_of_lane<T>(queue, i), detail::ring_of_lane<T>(queue, i),
                          queue.capacity, end_.took_over() && reading == i);
  }

  // Settles on a lane with a message, its turn not over.
  [[nodiscard]] bool at_a_message() noexcept {
    if (turn_ != 0 && lanes_[at_].ready()) [[likely]]
      return true;
    for (std::size_t i = 0; i < lanes_.size(); ++i) {
      at_ = at_ + 1 == lanes_.size() ? 0 : at_ + 1;
      if (!lanes_[at_].ready()) continue;
      turn_ = longest_turn;
      // For a successor, which sees it because we are dead; before the first look at a payload.
      detail::shared(end_.slot().word[0]).store(at_ + 1, std::memory_order_relaxed);
      std::atomic_signal_fence(std::memory_order_seq_cst);
      return true;
    }
    return false;
  }
  [[nodiscard]] receive_status nothing_after_arming() {
    const receive_status why = nothing();
    if (why != receive_status::empty || !end_.has_bell()) return why;
    end_.arm_bell();
    return nothing();
  }
  // Why there is nothing, or message if there is something after all.
  [[nodiscard]] receive_status nothing() {
    if (at_a_message()) return receive_status::message;
    const detail::queue_state state = detail::state_of(end_.head());
    if (state == detail::queue_state::open || state == detail::queue_state::closing) [[likely]] {
      if (++looks_ % 1024 == 0) look_for_damage();
      return receive_status::empty;
    }
    for (std::size_t i = 0; i < lanes_.size(); ++i)
      if (lanes_[i].in_flight() && !lanes_[i].ready() && sender_lives(i + 1))
        return receive_status::empty;
    // Nothing is in flight: what was sent is committed, and visible by now.
    if (at_a_message()) return receive_status::message;
    return state == detail::queue_state::destroyed ? receive_status::destroyed
                                                   : receive_status::closed;
  }
  [[nodiscard]] bool sender_lives(std::size_t slot) const noexcept {
    const std::uint64_t control =
        detail::shared(end_.view().slots[slot].control).load(std::memory_order_acquire);  // detach
    return detail::role_of(control) != detail::endpoint_role::none &&
           !detail::owner_is_gone(end_.view(), control);
  }
  void look_for_damage() const {
    for (const auto& lane : lanes_)
      if (lane.damaged())
        detail::refuse_damaged(kind, "a message or an empty slot", "a sequence number of neither");
  }

  static constexpr std::uint32_t longest_turn = 16;

  detail::endpoint end_;
  std::vector<detail::lane_receiver<T>> lanes_;
  std::size_t at_ = 0;
  std::uint32_t turn_ = 0;
  std::uint32_t looks_ = 0;
};

export template <message T>
class mpsc_queue : public detail::queue_object {
 public:
  using value_type = T;
  using sender_type = mpsc_sender<T>;
  using receiver_type = mpsc_receiver<T>;

  // Room for at least `capacity` messages of each sender: rounded up to a power of two, at least 2.
  // Throws bad_alloc, invalid_argument.
  explicit mpsc_queue(std::size_t capacity, const allocator_type& where)
      : mpsc_queue(capacity, mpsc_limits{}, where) {}
  mpsc_queue(std::size_t capacity, const mpsc_limits& limits, const allocator_type& where)
      : queue_object(plan(capacity, limits), where) {}

  // Throws limit_reached when all lanes have living senders.
  [[nodiscard]] mpsc_sender<T> sender() {
    const detail::queue_view v = view();
    return mpsc_sender<T>(
        detail::endpoint::attach(v, detail::endpoint_role::sender, 1, v.endpoints, nullptr));
  }
  // The one receiver. Throws limit_reached while a living one is attached.
  [[nodiscard]] mpsc_receiver<T> receiver() {
    return mpsc_receiver<T>(
        detail::endpoint::attach(view(), detail::endpoint_role::receiver, 0, 1, nullptr));
  }

  // No more messages from now on; those sent before can still be received. By anybody.
  void close() { detail::close_queue(view()); }
  void reopen() { detail::reopen_queue(view()); }
  [[nodiscard]] bool closed() const {
    return detail::state_of(*view().head) != detail::queue_state::open;
  }

  [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(statistics_now().size); }
  [[nodiscard]] bool empty() const { return size() == 0; }
  // Of each sender.
  [[nodiscard]] std::size_t capacity() const { return static_cast<std::size_t>(view().capacity); }
  [[nodiscard]] queue_statistics statistics() const {
    const detail::queue_view v = view();
    queue_statistics now = statistics_now();
    now.senders = detail::count_endpoints(v, detail::endpoint_role::sender);
    now.receivers = detail::count_endpoints(v, detail::endpoint_role::receiver);
    return now;
  }

 private:
  [[nodiscard]] static detail::queue_plan shape() noexcept {
    detail::queue_plan p = detail::ring_plan<T>(detail::queue_kind::mpsc);
    p.lines_per_endpoint = sizeof(detail::lane_lines) / platform::line_stride;
    return p;
  }
  [[nodiscard]] static detail::queue_plan plan(std::size_t capacity, const mpsc_limits& limits) {
    detail::queue_plan p = shape();
    if (limits.senders < 1 || limits.senders >= detail::max_endpoints)
      throw error(errc::invalid_argument, "mpsc_queue", "1 to 4095 senders",
                  std::to_string(limits.senders), "");
    p.capacity = detail::ring_capacity(p.kind, capacity);
    p.endpoints = limits.senders + 1;
    p.ring_bytes = p.capacity * p.stride * limits.senders;
    return p;
  }
  [[nodiscard]] detail::queue_view view() const {
    const detail::queue_plan expected = shape();
    const detail::queue_view v = detail::look_ring(look(expected, expected.stride), 2);
    if (v.ring_bytes / (v.endpoints - 1) / expected.stride < v.capacity)
      detail::refuse_damaged(expected.kind, "a ring for each sender", "less");
    return v;
  }
  [[nodiscard]] queue_statistics statistics_now() const {
    const detail::queue_view v = view();
    queue_statistics now;
    now.capacity = v.capacity;
    for (std::uint32_t i = 1; i < v.endpoints; ++i) {
      detail::lane_lines& of = detail::lines_of_lane<T>(v, i);
      now.size += detail::lane_size(of, v.capacity);
      now.received += detail::shared(of.head).load(std::memory_order_relaxed);  // just numbers
    }
    now.sent = now.received + now.size;
    return now;
  }
};

}  // namespace ipcpp
