// ipcpp.queue:mpmc_queue - many senders, many receivers; each message goes to exactly one receiver.
//
//   auto& inbox = segment.find_or_construct<ipcpp::mpmc_queue<order>>("inbox", 256);
//   auto in = inbox.sender();            each thread that sends has a sender of its own
//   in.send({17, 1});
//   auto out = inbox.receiver();         and each that receives a receiver
//   while (auto next = out.receive()) ...
//
// Representation and protocol: :endpoint, :intents.
//
// Guarantees. First in, first out, in the order in which senders claimed their places. A message that
// was sent is delivered to exactly one living receiver, whoever dies; if a receiver is killed with it
// in hand another one gets it again, flagged as redelivered, out of order. Nobody waits for the dead:
// whoever meets what they left mends it (1 us for asking the kernel), a blocked receiver after at most
// one slice of 50 ms, one that polls after some looks. A sender or receiver that is *stopped* between
// claiming a place and finishing delays those behind it, and is never robbed.
//
// close() is sharp: it is a bit of the tail, so a message is either refused or received before the end.
//
// What a look or a send costs: the usual case is inline, the rest in impl/queue/intents.cpp. A receiver
// that finds nothing touches no line that senders write but the slot it waits for.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

export module ipcpp.queue:mpmc_queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :message;
import :received;
import :endpoint;
import :waitable;
import :ring_slot;
import :intents;
import :blocking;
import :queue_object;

namespace ipcpp {

export template <message T>
class mpmc_queue;

namespace detail {

template <message T>
[[nodiscard]] inline mpmc_words words_of(const queue_view& queue) noexcept {
  return {queue, static_cast<mpmc_lines*>(static_cast<void*>(queue.own)), ring_slot<T>::stride,
          ring_slot<T>::payload_at, sizeof(T)};
}

}  // namespace detail

export template <message T>
class mpmc_sender : public detail::sending<mpmc_sender<T>, T> {
 public:
  static constexpr detail::queue_kind kind = detail::queue_kind::mpmc;

  mpmc_sender() noexcept = default;  // attached to nothing

  // Lock-free. Throws not_a_participant, damaged.
  send_status try_send(const T& message) {
    end_.require_usable(kind);
    const send_result result = push(message);
    if (result == send_result::sent) [[likely]]
      detail::notify_one(end_.view(), end_.head().receivers);
    return result;
  }
  // What there is room for, and why not the rest.
  [[nodiscard]] std::size_t send_some(std::span<const T> messages, send_result& why) {
    end_.require_usable(kind);
    std::size_t sent = 0;
    why = send_result::sent;
    while (sent < messages.size() && (why = push(messages[sent])) == send_result::sent) ++sent;
    if (sent != 0)
      detail::notify(end_.view(), end_.head().receivers, static_cast<std::uint32_t>(sent));
    return sent;
  }

  [[nodiscard]] detail::wait_source wait_source() noexcept {
    return {&end_.head().senders, this,
            [](void* self) { return static_cast<mpmc_sender*>(self)->may_send(); },
            [](void* self) noexcept { static_cast<mpmc_sender*>(self)->tend(); }};
  }
  // For epoll, poll and the like: readable while there may be something to do. When it is, try_send until
  // there is nothing more; that arms it again. Spurious ones come every 50 ms.
  [[nodiscard]] auto native_handle() { return end_.native_handle(); }
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(end_); }
  void detach() noexcept { end_.detach(); }

 private:
  friend class mpmc_queue<T>;
  explicit mpmc_sender(detail::endpoint end)
      : end_(std::move(end)),
        words_(detail::words_of<T>(end_.view())),
        ring_(end_.view().ring, end_.view().capacity),
        intent_(&end_.slot().intent) {}

  // Here only the usual case: there is room, the queue is open, and nobody is faster.
  [[nodiscard]] send_result push(const T& message) {
    const auto tail = detail::shared(words_.lines->tail);
    const std::uint64_t t = tail.load(std::memory_order_relaxed);  // the exchange decides
    const auto slot = ring_.slot(t);
    // Acquire: pairs with freeing. The tail of a closed queue is no slot's sequence.
    if (slot.sequence().load(std::memory_order_acquire) == t) [[likely]] {
      // Relaxed: published by the exchange, whose release is for the intent; see :intents.
      detail::shared(*intent_).store(detail::intends_to_send | t, std::memory_order_relaxed);
      std::uint64_t expected = t;
      if (tail.compare_exchange_weak(expected, t + 1, std::memory_order_release,
                                     std::memory_order_relaxed)) [[likely]] {
        slot.write(message);
        slot.sequence().store(t + 1, std::memory_order_release);  // pairs with receiving
        return send_result::sent;
      }
    }
    return detail::push_slowly(end_, words_, &message);
  }
  [[nodiscard]] bool may_send() const noexcept {
    const std::uint64_t t =
        detail::shared(words_.lines->tail).load(std::memory_order_acquire);  // close
    return (t & detail::closed_bit) != 0 ||
           ring_.sequence(t).load(std::memory_order_acquire) == t;  // freeing
  }
  // Full because a sender died at the head, and no receiver looks?
  void tend() noexcept {
    (void)detail::mend_send(
        words_,
        detail::shared(words_.lines->head).load(std::memory_order_acquire));  // pairs with claiming
  }

  detail::endpoint end_;
  detail::mpmc_words words_;
  detail::ring<T> ring_;
  std::uint64_t* intent_ = nullptr;  // our slot's
};

export template <message T>
class mpmc_receiver : public detail::receiving<mpmc_receiver<T>, T> {
 public:
  static constexpr detail::queue_kind kind = detail::queue_kind::mpmc;

  mpmc_receiver() noexcept = default;  // attached to nothing

  // Lock-free. Throws not_a_participant, damaged.
  received<T> try_receive() {
    received<T> got(receive_status::empty);
    end_.require_usable(kind);
    if (take_at_once(detail::inside<T>::bytes(got))) [[likely]] {
      detail::inside<T>::set(got, receive_status::message, false);
    } else {
      const detail::mpmc_taken taken =
          detail::take_slowly(end_, words_, memory_, detail::inside<T>::bytes(got));
      detail::inside<T>::set(got, taken.status, taken.again);
      if (taken.status != receive_status::message) return got;
    }
    detail::notify_one(end_.view(), end_.head().senders);
    return got;
  }
  received_batch try_receive_batch(std::span<T> out) {
    end_.require_usable(kind);
    received_batch got;
    while (got.count < out.size()) {
      detail::mpmc_taken taken{receive_status::message, false};
      if (!take_at_once(&out[got.count]))
        taken = detail::take_slowly(end_, words_, memory_, &out[got.count]);
      got.status = got.count == 0 ? taken.status : receive_status::message;
      if (taken.status != receive_status::message) break;
      // The flagged ones have to come first.
      if (taken.again) {
        if (got.redelivered != got.count) std::swap(out[got.redelivered], out[got.count]);
        ++got.redelivered;
      }
      ++got.count;
    }
    if (got.count != 0)
      detail::notify(end_.view(), end_.head().senders, static_cast<std::uint32_t>(got.count));
    return got;
  }

  [[nodiscard]] detail::wait_source wait_source() noexcept {
    return {&end_.head().receivers, this,
            [](void* self) { return static_cast<mpmc_receiver*>(self)->may_receive(); },
            [](void* self) noexcept { static_cast<mpmc_receiver*>(self)->tend(); }};
  }
  // For epoll, poll and the like: readable while there may be something to do. When it is, try_receive until
  // there is nothing more; that arms it again. Spurious ones come every 50 ms.
  [[nodiscard]] auto native_handle() { return end_.native_handle(); }
  [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(end_); }
  void detach() noexcept { end_.detach(); }

 private:
  friend class mpmc_queue<T>;
  explicit mpmc_receiver(detail::endpoint end)
      : end_(std::move(end)),
        words_(detail::words_of<T>(end_.view())),
        ring_(end_.view().ring, end_.view().capacity),
        intent_(&end_.slot().intent) {}

  // Copies a message to `to`. The usual case: there is one, and nobody is faster.
  [[nodiscard]] bool take_at_once(void* to) noexcept {
    if (end_.inherited()) [[unlikely]]
      return false;
    const auto head = detail::shared(words_.lines->head);
    const std::uint64_t h = head.load(std::memory_order_relaxed);  // the exchange decides
    const std::uint64_t lap = words_.queue.capacity;
    const auto slot = ring_.slot(h);
    // Acquire: pairs with sending.
    if (slot.sequence().load(std::memory_order_acquire) != h + 1) return false;
    // Relaxed: published by the exchange, whose release is for the intent; see :intents.
    detail::shared(*intent_).store(detail::intends_to_receive | h, std::memory_order_relaxed);
    std::uint64_t expected = h;
    if (!head.compare_exchange_weak(expected, h + 1, std::memory_order_release,
                                    std::memory_order_relaxed)) [[unlikely]]
      return false;
    slot.read(to);
    slot.sequence().store(h + lap, std::memory_order_release);  // pairs with sending
    memory_.looks = 0;
    return true;
  }

  void tend() noexcept { detail::look_after_the_dead(end_, words_, memory_); }
  [[nodiscard]] bool may_receive() const noexcept {
    return end_.inherited() || detail::may_take(words_, memory_);
  }

  detail::endpoint end_;
  detail::mpmc_words words_;
  detail::ring<T> ring_;
  std::uint64_t* intent_ = nullptr;  // our slot's
  detail::mpmc_memory memory_;
};

export template <message T>
class mpmc_queue : public detail::queue_object {
 public:
  using value_type = T;
  using sender_type = mpmc_sender<T>;
  using receiver_type = mpmc_receiver<T>;

  // Room for at least `capacity` messages: rounded up to a power of two, at least 2. Throws
  // bad_alloc, invalid_argument.
  explicit mpmc_queue(std::size_t capacity, const allocator_type& where)
      : mpmc_queue(capacity, queue_limits{}, where) {}
  mpmc_queue(std::size_t capacity, const queue_limits& limits, const allocator_type& where)
      : queue_object(plan(capacity, limits), where) {
    const detail::queue_view v = view();
    const detail::ring<T> slots(v.ring, v.capacity);
    for (std::uint64_t i = 0; i < v.capacity; ++i)
      slots.sequence(i).store(i, std::memory_order_relaxed);  // nobody else sees it yet
  }
  ~mpmc_queue() {
    try {
      (void)detail::shared(lines(view()).tail)
          .fetch_or(detail::closed_bit, std::memory_order_acq_rel);  // as close
    } catch (const error&) {  // damaged: queue_object leaves it alone as well
    }
  }

  // Throws limit_reached when all endpoints are in use by the living.
  [[nodiscard]] mpmc_sender<T> sender() {
    const detail::queue_view v = view();
    return mpmc_sender<T>(detail::endpoint::attach(
        v, detail::endpoint_role::sender, 0, v.endpoints,
        [](const auto& queue, std::uint32_t slot, std::uint64_t control) noexcept {
          return resolve(queue, slot, control, false);
        }));
  }
  [[nodiscard]] mpmc_receiver<T> receiver() {
    const detail::queue_view v = view();
    return mpmc_receiver<T>(detail::endpoint::attach(
        v, detail::endpoint_role::receiver, 0, v.endpoints,
        [](const auto& queue, std::uint32_t slot, std::uint64_t control) noexcept {
          return resolve(queue, slot, control, true);
        }));
  }

  // No more messages from now on; those sent before can still be received. By anybody.
  void close() { detail::close_mpmc(detail::words_of<T>(view())); }
  void reopen() { detail::reopen_mpmc(detail::words_of<T>(view())); }
  [[nodiscard]] bool closed() const {
    return (detail::shared(lines(view()).tail).load(std::memory_order_acquire) &
            detail::closed_bit) != 0;  // close
  }

  [[nodiscard]] std::size_t size() const { return static_cast<std::size_t>(statistics_now().size); }
  [[nodiscard]] bool empty() const { return size() == 0; }
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
    detail::queue_plan p = detail::ring_plan<T>(detail::queue_kind::mpmc);
    p.own_lines = sizeof(detail::mpmc_lines) / platform::line_stride;
    return p;
  }
  [[nodiscard]] static detail::queue_plan plan(std::size_t capacity, const queue_limits& limits) {
    detail::queue_plan p = shape();
    p.capacity = detail::ring_capacity(p.kind, capacity);
    p.endpoints = limits.endpoints;
    p.ring_bytes = p.capacity * p.stride;
    return p;
  }
  [[nodiscard]] detail::queue_view view() const {
    const detail::queue_plan expected = shape();
    return detail::look_ring(look(expected, expected.stride), 1);
  }
  [[nodiscard]] static detail::mpmc_lines& lines(const detail::queue_view& v) noexcept {
    return *static_cast<detail::mpmc_lines*>(static_cast<void*>(v.own));
  }
  [[nodiscard]] static detail::endpoint::verdict resolve(const detail::queue_view& queue,
                                                         std::uint32_t slot, std::uint64_t control,
                                                         bool for_receiver) noexcept {
    using enum detail::endpoint::verdict;
    switch (detail::settle(detail::words_of<T>(queue), slot, control)) {
      case detail::leftovers::none:
        return settled;
      case detail::leftovers::message_in_hand:
        return for_receiver ? inheritable : not_yet;
      case detail::leftovers::unsettled:
        break;
    }
    return not_yet;
  }
  [[nodiscard]] queue_statistics statistics_now() const {
    const detail::queue_view v = view();
    queue_statistics now;
    // Acquire: tail is not older than head.
    now.received = detail::shared(lines(v).head).load(std::memory_order_acquire);
    now.sent =
        detail::shared(lines(v).tail).load(std::memory_order_relaxed) & detail::position_bits;
    now.size = now.sent - now.received <= v.capacity ? now.sent - now.received : 0;
    now.capacity = v.capacity;
    now.repairs = detail::shared(v.head->repairs).load(std::memory_order_relaxed);  // a number
    return now;
  }
};

}  // namespace ipcpp
