// ipcpp.queue:broadcast_queue - each message to every subscriber.
//
//   auto& feed = segment.construct<ipcpp::broadcast_queue<tick>>("feed", 1024, overflow::drop_oldest);
//   auto publisher = feed.publisher();      publisher.publish({1, 2.0});
//   auto subscriber = feed.subscriber();    while (auto t = subscriber.receive()) use(*t);
//
// Representation: a block as :endpoint describes, of kind broadcast; option 0 is what happens on
// overflow; its one own line is the tail, its ring that of :broadcast_ring.
//
// What happens when the slowest living subscriber is a whole ring behind, chosen per queue:
//   block         publish waits; try_publish says full
//   drop_oldest   nobody waits; the slow one misses messages, and lost() counts them
//   drop_newest   the new message goes to nobody; publish says so, statistics count it
//   fail          publish throws limit_reached, try_publish says full
// A dead subscriber holds nobody back. With drop_oldest any number of pollers may read along, also
// in a mapping without the right to write; they cannot sleep.
//
// Guarantees. All subscribers see the same order, each publisher's messages in its own. Nobody sees
// a torn message. A subscriber sees what is published after it subscribed; or, oldest first, also
// what the ring still holds. Received messages are copies.
module;

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <utility>

export module ipcpp.queue:broadcast_queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :blocking;
import :broadcast_ring;
import :endpoint;
import :message;
import :queue_object;
import :received;
import :waitable;

namespace ipcpp {

export enum class overflow : std::uint8_t { block, drop_oldest, drop_newest, fail };

export enum class begin_with : std::uint8_t { newest, oldest };

export struct broadcast_queue_options {
  std::size_t capacity = 1024;  // messages; rounded up to a power of two, at least 2
  ipcpp::overflow overflow = ipcpp::overflow::block;
  std::uint32_t endpoints = detail::default_endpoints;  // publishers and subscribers at a time
};

export struct broadcast_queue_statistics {
  std::uint64_t published = 0;  // sums over all endpoints there ever were; approximate after kills
  std::uint64_t dropped = 0;    // drop_newest
  std::uint64_t received = 0;
  std::uint64_t lost = 0;        // drop_oldest
  std::uint32_t publishers = 0;  // living
  std::uint32_t subscribers = 0;
};

namespace detail {

// What an endpoint knows: private to its process, at a fixed address.
export struct broadcast_state {
  endpoint end;
  broadcast_ring ring;
  ipcpp::overflow policy = ipcpp::overflow::block;
  std::uint32_t owner = 0;  // slot + 1
  std::uint32_t empties = 0;
  std::uint64_t slowest = 0;  // publishers
  std::uint64_t cursor = 0;   // subscribers
  std::uint64_t lost = 0;

  inline void count(std::uint32_t which, std::uint64_t n) noexcept {
    // Relaxed, and no exchange: the word is this endpoint's alone, and only ever summed.
    const auto word = shared(end.slot().word[which]);
    word.store(word.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  inline queue_state state() const noexcept { return state_of(end.head()); }

  // Publishers. full also when the message is to be dropped.
  send_result try_claim(std::uint64_t& position);
  inline void commit(std::uint64_t position) noexcept {
    ring.commit(position);
    count(3, 1);
    notify_all(end.view(), end.head().receivers);
  }
  send_result claim_until(platform::steady_time deadline, std::uint64_t& position);
  [[noreturn]] void refuse(send_result why) const;

  // Subscribers.
  inline receive_status try_receive(std::uint64_t* payload, std::size_t words) {
    end.require_usable(queue_kind::broadcast);
    const std::uint64_t missed = lost;
    cell_result found = ring.try_read(cursor, lost, payload, words);
    if (found == cell_result::empty && end.has_bell()) {
      end.arm_bell();
      found = ring.try_read(cursor, lost, payload, words);
    }
    if (found == cell_result::done) [[likely]] {
      ring.publish_cursor(end.slot().word[0], cursor);
      count(2, 1);
      if (lost != missed) count(1, lost - missed);
      // Whoever publishes until a deadline waits for room, whatever the policy.
      if (policy != ipcpp::overflow::drop_oldest) notify_one(end.view(), end.head().senders);
      return receive_status::message;
    }
    return nothing(found);
  }
  receive_status nothing(cell_result why);
  void leave() noexcept;
  struct wait_source source() noexcept;
};

export [[nodiscard]] std::unique_ptr<broadcast_state> attach_broadcast(const queue_view& queue,
                                                                       std::uint32_t stride,
                                                                       endpoint_role role,
                                                                       begin_with where);
export [[nodiscard]] queue_head* make_broadcast(heap_header* heap, queue_plan plan,
                                                const broadcast_queue_options& options);
export [[nodiscard]] broadcast_ring broadcast_ring_of(const queue_view& queue,
                                                      std::uint32_t stride);
// For who may only read: `memory` is what it has mapped, the head lies in it.
export [[nodiscard]] broadcast_ring look_read_only(const queue_head* at,
                                                   std::span<const std::byte> memory,
                                                   const queue_plan& expected);
export [[nodiscard]] broadcast_queue_statistics broadcast_statistics(const queue_view& queue);

export template <class T>
struct cell_of {
  static constexpr std::size_t words = (sizeof(T) + 7) / 8;
  static constexpr std::size_t raw_bytes = 8 + words * 8;
  static constexpr std::uint32_t stride = raw_bytes <= 16   ? 16
                                          : raw_bytes <= 32 ? 32
                                                            : (raw_bytes + 63) / 64 * 64;
  static queue_plan plan() noexcept {
    queue_plan plan;
    plan.kind = queue_kind::broadcast;
    plan.own_lines = 1;
    plan.message_bytes = sizeof(T);
    plan.message_alignment = alignof(T);
    plan.stride = stride;
    return plan;
  }
};

}  // namespace detail

export template <message T>
class broadcast_publisher {
 public:
  broadcast_publisher() noexcept = default;
  broadcast_publisher(broadcast_publisher&&) noexcept = default;
  broadcast_publisher& operator=(broadcast_publisher&& other) noexcept {
    if (this != &other) {
      if (state_) state_->leave();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~broadcast_publisher() {
    if (state_) state_->leave();
  }

  // To all subscribers, or to none. block: waits for room. drop_newest: false if it was dropped.
  // fail: throws limit_reached. Throws closed, not_a_participant (forked child), damaged.
  bool publish(const T& message) {
    std::uint64_t position = 0;
    const send_result result = state_->policy == overflow::block
                                   ? state_->claim_until(detail::forever, position)
                                   : state_->try_claim(position);
    if (result == send_result::full && state_->policy == overflow::drop_newest) {
      state_->count(4, 1);
      return false;
    }
    if (result != send_result::sent) state_->refuse(result);
    finish(position, message);
    return true;
  }
  // Never waits. full, whatever the policy, unless that is drop_oldest.
  send_status try_publish(const T& message) {
    std::uint64_t position = 0;
    const send_result result = state_->try_claim(position);
    if (result == send_result::sent) finish(position, message);
    return result;
  }
  send_status publish_until(const T& message, platform::steady_time deadline) {
    std::uint64_t position = 0;
    const send_result result = state_->claim_until(deadline, position);
    if (result == send_result::sent) finish(position, message);
    return result;
  }
  template <class Rep, class Period>
  send_status publish_for(const T& message, std::chrono::duration<Rep, Period> patience) {
    return publish_until(message, detail::deadline_after(patience));
  }
  // As many of the first ones as there is room for. Subscribers are notified once.
  [[nodiscard]] std::size_t try_publish_batch(std::span<const T> messages) {
    std::size_t n = 0;
    for (const T& message : messages) {
      std::uint64_t position = 0;
      if (state_->try_claim(position) != send_result::sent) break;
      write(position, message);
      state_->ring.commit(position);
      ++n;
    }
    if (n != 0) {
      state_->count(3, n);
      detail::notify_all(state_->end.view(), state_->end.head().receivers);
    }
    return n;
  }

  // One after the other, as publish(); how many were published (drop_newest drops some).
  std::size_t publish_batch(std::span<const T> messages) {
    std::size_t n = 0;
    while (!messages.empty()) {
      const std::size_t at_once = try_publish_batch(messages);
      n += at_once;
      messages = messages.subspan(at_once);
      if (messages.empty()) break;
      n += publish(messages.front()) ? 1 : 0;
      messages = messages.subspan(1);
    }
    return n;
  }
  // How many were published before the deadline, or before the queue was closed.
  [[nodiscard]] std::size_t publish_batch_until(std::span<const T> messages,
                                                platform::steady_time deadline) {
    std::size_t n = 0;
    for (;;) {
      n += try_publish_batch(messages.subspan(n));
      if (n == messages.size() || !publish_until(messages[n], deadline)) return n;
      ++n;
    }
  }
  template <class Rep, class Period>
  [[nodiscard]] std::size_t publish_batch_for(std::span<const T> messages,
                                              std::chrono::duration<Rep, Period> patience) {
    return publish_batch_until(messages, detail::deadline_after(patience));
  }

  // Ready when there is room.
  [[nodiscard]] detail::wait_source wait_source() noexcept { return state_->source(); }
  // For epoll, poll and the like: readable while there may be something to do; see Bells in :endpoint.
  [[nodiscard]] auto native_handle() { return state_->end.native_handle(); }

 private:
  template <message U>
  friend class broadcast_queue;
  explicit broadcast_publisher(std::unique_ptr<detail::broadcast_state> state) noexcept
      : state_(std::move(state)) {}
  void write(std::uint64_t position, const T& message) noexcept {
    std::uint64_t words[detail::cell_of<T>::words];
    words[detail::cell_of<T>::words - 1] = 0;
    std::memcpy(words, std::addressof(message), sizeof(T));
    state_->ring.write(position, words, detail::cell_of<T>::words);
  }
  void finish(std::uint64_t position, const T& message) noexcept {
    write(position, message);
    state_->commit(position);
  }

  std::unique_ptr<detail::broadcast_state> state_;
};

export template <message T>
class broadcast_subscriber : public detail::receiving<broadcast_subscriber<T>, T> {
 public:
  broadcast_subscriber() noexcept = default;
  broadcast_subscriber(broadcast_subscriber&&) noexcept = default;
  broadcast_subscriber& operator=(broadcast_subscriber&& other) noexcept {
    if (this != &other) {
      if (state_) state_->leave();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~broadcast_subscriber() {
    if (state_) state_->leave();
  }

  [[nodiscard]] received<T> try_receive() {
    std::uint64_t words[detail::cell_of<T>::words];
    const receive_status status = state_->try_receive(words, detail::cell_of<T>::words);
    if (status != receive_status::message) return received<T>(status);
    return received<T>(words, false);
  }
  [[nodiscard]] received_batch try_receive_batch(std::span<T> out) {
    received_batch batch;
    for (; batch.count < out.size(); ++batch.count) {
      std::uint64_t words[detail::cell_of<T>::words];
      batch.status = state_->try_receive(words, detail::cell_of<T>::words);
      if (batch.status != receive_status::message) break;
      std::memcpy(std::addressof(out[batch.count]), words, sizeof(T));
    }
    if (batch.count != 0) batch.status = receive_status::message;
    return batch;
  }

  // Messages this subscriber has missed so far (drop_oldest).
  [[nodiscard]] std::uint64_t lost() const noexcept { return state_->lost; }

  // Ready when there is a message, or the queue is closed and drained.
  [[nodiscard]] detail::wait_source wait_source() noexcept { return state_->source(); }
  // For epoll, poll and the like: readable while there may be something to do; see Bells in :endpoint.
  [[nodiscard]] auto native_handle() { return state_->end.native_handle(); }

 private:
  template <message U>
  friend class broadcast_queue;
  explicit broadcast_subscriber(std::unique_ptr<detail::broadcast_state> state) noexcept
      : state_(std::move(state)) {}

  std::unique_ptr<detail::broadcast_state> state_;
};

// Reads along without being known to anybody: writes nothing, cannot sleep, is not waited for. The
// mapping has to outlive it.
export template <message T>
class broadcast_poller {
 public:
  // Throws damaged.
  [[nodiscard]] received<T> try_receive() {
    std::uint64_t words[detail::cell_of<T>::words];
    const detail::cell_result found =
        ring_.try_read(cursor_, lost_, words, detail::cell_of<T>::words);
    if (found == detail::cell_result::done) return received<T>(words, false);
    if (found == detail::cell_result::damaged || ring_.astray(cursor_))
      detail::refuse_damaged(detail::queue_kind::broadcast, "slots that follow each other",
                             "something else");
    return received<T>(receive_status::empty);
  }
  [[nodiscard]] std::uint64_t lost() const noexcept { return lost_; }

 private:
  template <message U>
  friend class broadcast_queue;
  explicit broadcast_poller(const detail::broadcast_ring& ring) noexcept
      : ring_(ring), cursor_(ring.tail()) {}

  detail::broadcast_ring ring_;
  std::uint64_t cursor_ = 0;
  std::uint64_t lost_ = 0;
};

// The object in shared memory. Construct it in a segment, or with a heap's allocator.
export template <message T>
class broadcast_queue {
 public:
  static constexpr bool is_ipcpp_shareable = true;
  using value_type = T;
  using allocator_type = allocator<std::byte>;
  using publisher_type = broadcast_publisher<T>;
  using subscriber_type = broadcast_subscriber<T>;

  // Throws std::bad_alloc, invalid_argument (also without a heap).
  broadcast_queue(std::size_t capacity, const allocator_type& memory)
      : broadcast_queue(broadcast_queue_options{.capacity = capacity}, memory) {}
  broadcast_queue(std::size_t capacity, ipcpp::overflow what, const allocator_type& memory)
      : broadcast_queue(broadcast_queue_options{.capacity = capacity, .overflow = what}, memory) {}
  broadcast_queue(const broadcast_queue_options& options, const allocator_type& memory)
      : memory_(memory),
        head_(detail::make_broadcast(memory.header(), detail::cell_of<T>::plan(), options)) {}
  broadcast_queue(const broadcast_queue&) = delete;
  broadcast_queue& operator=(const broadcast_queue&) = delete;
  // Whoever holds an endpoint finds the queue destroyed, after what was left in it.
  ~broadcast_queue() { detail::destroy_queue(head_.get(), memory_.header()); }

  // Endpoints of this process. Throw limit_reached, damaged.
  [[nodiscard]] broadcast_publisher<T> publisher() {
    return broadcast_publisher<T>(detail::attach_broadcast(
        look(), detail::cell_of<T>::stride, detail::endpoint_role::sender, begin_with::newest));
  }
  [[nodiscard]] broadcast_subscriber<T> subscriber(begin_with where = begin_with::newest) {
    return broadcast_subscriber<T>(detail::attach_broadcast(
        look(), detail::cell_of<T>::stride, detail::endpoint_role::receiver, where));
  }
  // From now on, of a drop_oldest queue only (else invalid_argument). `memory` is the mapping this
  // object lies in, which may be read-only.
  [[nodiscard]] broadcast_poller<T> poller(std::span<const std::byte> memory) const {
    return broadcast_poller<T>(
        detail::look_read_only(head_.get(), memory, detail::cell_of<T>::plan()));
  }
  [[nodiscard]] broadcast_poller<T> poller() const {
    return poller(detail::heap_range(memory_.header()));
  }

  // Nothing can be published any more; what is in the ring can be received.
  void close() { detail::close_queue(look()); }
  void reopen() { static_cast<void>(detail::reopen_queue(look())); }
  [[nodiscard]] bool is_closed() const {
    return detail::state_of(*look().head) != detail::queue_state::open;
  }

  // Messages in the ring.
  [[nodiscard]] std::size_t size() const {
    const std::uint64_t published =
        detail::broadcast_ring_of(look(), detail::cell_of<T>::stride).tail();
    const std::uint64_t most = look().capacity;
    return static_cast<std::size_t>(published < most ? published : most);
  }
  [[nodiscard]] std::size_t capacity() const { return static_cast<std::size_t>(look().capacity); }
  [[nodiscard]] broadcast_queue_statistics statistics() const {
    return detail::broadcast_statistics(look());
  }

 private:
  [[nodiscard]] detail::queue_view look() const {
    return detail::look_at(head_.get(), memory_.header(), detail::cell_of<T>::plan(),
                           detail::cell_of<T>::stride);
  }

  allocator_type memory_;
  offset_ptr<detail::queue_head> head_;
};

}  // namespace ipcpp
