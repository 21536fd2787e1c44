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
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
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
  return {queue, static_cast<mpmc_lines*>(static_cast<void*>(queue.own)), ring_slot<T>::stride};
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
    send_result result = push(message);
    if (result == send_result::full && end_.has_bell()) {
      end_.arm_bell();
      result = push(message);
    }
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
    if (why == send_result::full && end_.has_bell()) {
      end_.arm_bell();
      while (sent < messages.size() && (why = push(messages[sent])) == send_result::sent) ++sent;
    }
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
        ring_(end_.view().ring, end_.view().capacity) {}

  [[nodiscard]] send_result push(const T& message) {
    const auto tail = detail::shared(words_.lines->tail);
    const auto intent = detail::shared(end_.slot().intent);
    bool tried = false;
    std::uint64_t t = tail.load(std::memory_order_relaxed);  // the exchange decides
    for (;;) {
      if ((t & detail::closed_bit) != 0) [[unlikely]]
        return gave_up(tried, refused());
      const auto sequence = ring_.sequence(t);
      const std::uint64_t found = sequence.load(std::memory_order_acquire);  // pairs with freeing
      if (found == t) [[likely]] {
        intent.store(detail::intends_to_send | t, std::memory_order_relaxed);  // published next
        tried = true;
        // Release: for the intent, see :intents.
        if (tail.compare_exchange_weak(t, t + 1, std::memory_order_release,
                                       std::memory_order_relaxed)) [[likely]] {
          ring_.write(t, message);
          sequence.store(t + 1, std::memory_order_release);  // pairs with pop
          return send_result::sent;
        }
        continue;
      }
      const std::uint64_t now = tail.load(std::memory_order_relaxed);  // as above
      if (now != t) {
        t = now;
        continue;
      }
      // The slot still holds, or gives up, the message of the lap before.
      const bool behind = (found & detail::taken_bit) != 0 ||
                          static_cast<std::int64_t>((found & detail::position_bits) - t) < 0;
      if (!behind) [[unlikely]]
        detail::refuse_damaged(kind, "a slot of this lap or the one before",
                               "a sequence number of neither");
      return gave_up(tried, send_result::full);
    }
  }
  [[nodiscard]] send_result gave_up(bool tried, send_result why) noexcept {
    // Release: whoever sees it cleared may conclude that we did not win.
    if (tried) detail::shared(end_.slot().intent).store(0, std::memory_order_release);
    return why;
  }
  [[nodiscard]] send_result refused() noexcept {
    return detail::state_of(end_.head()) == detail::queue_state::destroyed ? send_result::destroyed
                                                                           : send_result::closed;
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
};

export template <message T>
class mpmc_receiver : public detail::receiving<mpmc_receiver<T>, T> {
 public:
  static constexpr detail::queue_kind kind = detail::queue_kind::mpmc;

  mpmc_receiver() noexcept = default;  // attached to nothing

  // Lock-free. Throws not_a_participant, damaged.
  received<T> try_receive() {
    end_.require_usable(kind);
    received<T> got = end_.inherited() ? inheritance() : pop();
    if (got.status() == receive_status::empty && end_.has_bell()) {
      end_.arm_bell();
      got = pop();
    }
    if (got) [[likely]]
      detail::notify_one(end_.view(), end_.head().senders);
    return got;
  }
  received_batch try_receive_batch(std::span<T> out) {
    end_.require_usable(kind);
    received_batch got;
    while (got.count < out.size()) {
      received<T> one = end_.inherited() ? inheritance() : pop();
      if (one.status() == receive_status::empty && got.count == 0 && end_.has_bell()) {
        end_.arm_bell();
        one = pop();
      }
      got.status = got.count == 0 ? one.status() : receive_status::message;
      if (!one) break;
      // The flagged ones have to come first.
      std::memcpy(&out[got.count], &*one, sizeof(T));
      if (one.redelivered()) {
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
        ring_(end_.view().ring, end_.view().capacity) {}

  [[nodiscard]] received<T> pop() {
    const auto head = detail::shared(words_.lines->head);
    const auto intent = detail::shared(end_.slot().intent);
    bool tried = false;
    std::uint64_t h = head.load(std::memory_order_relaxed);  // the exchange decides
    for (;;) {
      const auto sequence = ring_.sequence(h);
      const std::uint64_t found = sequence.load(std::memory_order_acquire);  // pairs with push
      if ((found & ~detail::tomb_bit) == h + 1) [[likely]] {
        intent.store(detail::intends_to_receive | h, std::memory_order_relaxed);  // published next
        tried = true;
        // Release: for the intent, see :intents.
        if (!head.compare_exchange_weak(h, h + 1, std::memory_order_release,
                                        std::memory_order_relaxed))
          continue;
        if ((found & detail::tomb_bit) == 0) [[likely]] {
          received<T> got(ring_.payload(h), false);
          sequence.store(h + end_.view().capacity, std::memory_order_release);  // pairs with push
          looks_ = 0;
          return got;
        }
        sequence.store(h + end_.view().capacity, std::memory_order_release);  // pairs with push
        detail::notify_one(end_.view(), end_.head().senders);
        h = head.load(std::memory_order_relaxed);  // as above
        continue;
      }
      const std::uint64_t now = head.load(std::memory_order_relaxed);  // as above
      if (now != h) {
        h = now;
        continue;
      }
      // Not sent yet, or the slot is still held by the lap before.
      const bool behind = (found & detail::taken_bit) != 0 ||
                          static_cast<std::int64_t>((found & detail::position_bits) - (h + 1)) < 0;
      if (!behind) [[unlikely]]
        detail::refuse_damaged(kind, "a slot of this lap or the one before",
                               "a sequence number of neither");
      // Release: whoever sees it cleared may conclude that we did not win.
      if (tried) intent.store(0, std::memory_order_release);
      if (!look_after_the_dead(h)) return nothing(h);
      if (orphan_ != detail::no_position) {
        received<T> again = take_orphan();
        if (again) return again;
      }
      h = head.load(std::memory_order_relaxed);  // as above
    }
  }

  // Every so many looks in vain: is somebody dead in the way? true: look again.
  [[nodiscard]] bool look_after_the_dead(std::uint64_t h) noexcept {
    if (orphan_ != detail::no_position) return true;
    if (++looks_ % looks_between != 0) return false;
    return tend_at(h);
  }
  [[nodiscard]] bool tend_at(std::uint64_t h) noexcept {
    const std::uint64_t tail =
        detail::shared(words_.lines->tail).load(std::memory_order_acquire);  // pairs with claiming
    bool mended = false;
    if ((tail & detail::position_bits) > h &&
        ring_.sequence(h).load(std::memory_order_acquire) == h)  // claimed, not committed
      mended = detail::mend_send(words_, h);
    orphan_ = detail::find_orphan(words_, end_.index());
    return mended || orphan_ != detail::no_position;
  }
  void tend() noexcept {
    (void)tend_at(
        detail::shared(words_.lines->head).load(std::memory_order_acquire));  // pairs with claiming
  }
  [[nodiscard]] received<T> take_orphan() noexcept {
    const std::uint64_t position = std::exchange(orphan_, detail::no_position);
    if (!detail::take_orphan(words_, position, end_.index(), end_.control()))
      return received<T>(receive_status::empty);
    received<T> again(ring_.payload(position), true);
    detail::finish_orphan(words_, position, end_.index());
    return again;
  }
  // What the last owner of this endpoint had in hand, unless somebody living is at it.
  [[nodiscard]] received<T> inheritance() {
    const std::uint64_t intent =
        detail::shared(end_.slot().intent).load(std::memory_order_relaxed);  // ours by now
    end_.inheritance_settled();
    orphan_ = intent & detail::position_bits;
    received<T> again = take_orphan();
    return again ? again : pop();
  }

  [[nodiscard]] received<T> nothing(std::uint64_t h) noexcept {
    const std::uint64_t t =
        detail::shared(words_.lines->tail).load(std::memory_order_acquire);  // close
    if (t != (h | detail::closed_bit)) [[likely]]
      return received<T>(receive_status::empty);
    // Before the end: what dead receivers had in hand.
    if (tend_at(h) && orphan_ != detail::no_position) {
      received<T> again = take_orphan();
      if (again) return again;
    }
    return received<T>(detail::state_of(end_.head()) == detail::queue_state::destroyed
                           ? receive_status::destroyed
                           : receive_status::closed);
  }
  [[nodiscard]] bool may_receive() const noexcept {
    if (orphan_ != detail::no_position || end_.inherited()) return true;
    const std::uint64_t h =
        detail::shared(words_.lines->head).load(std::memory_order_acquire);  // claiming
    if ((ring_.sequence(h).load(std::memory_order_acquire) & ~detail::tomb_bit) == h + 1)
      return true;
    return detail::shared(words_.lines->tail).load(std::memory_order_acquire) ==
           (h | detail::closed_bit);  // close
  }

  static constexpr std::uint32_t looks_between = 64;

  detail::endpoint end_;
  detail::mpmc_words words_;
  detail::ring<T> ring_;
  std::uint64_t orphan_ = detail::no_position;
  std::uint32_t looks_ = 0;
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
  ~mpmc_queue() { set_closed(); }

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
  void close() {
    set_closed();
    const detail::queue_view v = view();
    detail::notify_all(v, v.head->receivers);
    detail::notify_all(v, v.head->senders);
  }
  void reopen() {
    const detail::queue_view v = view();
    if (detail::state_of(*v.head) == detail::queue_state::destroyed) return;
    // Release: pairs with the loads of tail.
    detail::shared(lines(v).tail).fetch_and(~detail::closed_bit, std::memory_order_release);
    detail::notify_all(v, v.head->senders);
  }
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
  void set_closed() {
    // Acquire, release: what was claimed before is before the end; pairs with the loads of tail.
    detail::shared(lines(view()).tail).fetch_or(detail::closed_bit, std::memory_order_acq_rel);
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
