// ipcpp.queue:message_queue - messages of any size, written and read where they lie.
//
//   auto& mail = segment.construct<ipcpp::message_queue>("mail", 64 * 1024);
//   auto out = mail.sender();
//   { auto letter = out.claim(n); fill(letter.data(), n); letter.commit(); }
//   auto in = mail.receiver();
//   if (auto letter = in.receive()) use(letter->data(), letter->size());
//
// Representation: a block as :endpoint describes, of kind message; its own lines are the ring_lines of
// each priority, its ring is, priority by priority,
//
//   | bytes: capacity granules of 64 | claims: a word each | takes: a word each |      (:letter_ring)
//
// and slot words 0 to 4 count what an endpoint has done (never cleared: their sum is the queue's).
//
// Guarantees. Letters of one priority are received in the order in which they were claimed, each by
// one receiver. A claim that is not yet committed holds back those behind it, as long as its owner
// lives; if he is killed it is skipped. A letter whose receiver is killed before releasing it is
// handed out again, flagged redelivered(), and then out of order. Letters may be released in any
// order; space is free again in the order of the ring.
//
// Limits. A letter takes its size + 16 bytes, rounded up to 64, in one piece, so the largest is half
// the capacity (max_message_size); a larger one is invalid_argument, whatever call was used.
//
// Threads: an endpoint is for one thread at a time. A received letter may be released by another one.
// Letters must not outlive their endpoint. Failure model: see :letter_ring and :endpoint.
module;

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

export module ipcpp.queue:message_queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :awaitable;
import :endpoint;
import :letter_ring;
import :queue_object;
import :received;
import :waitable;

namespace ipcpp {

export enum class users : std::uint8_t { one, many };

export struct message_queue_options {
  std::size_t capacity = 65536;  // bytes for each priority; rounded up to a power of two, >= 1 KiB
  std::uint32_t priorities = 1;  // 1 to 8; the highest number is received first
  users senders = users::many;   // `one` at a time is a little faster, and enforced
  users receivers = users::many;
  std::uint32_t endpoints = detail::default_endpoints;  // senders and receivers at a time
};

export struct message_queue_statistics {
  std::uint64_t sent = 0;  // letters committed; exact but for one per killed endpoint
  std::uint64_t sent_bytes = 0;
  std::uint64_t received = 0;
  std::uint64_t redelivered = 0;
  std::uint64_t withdrawn = 0;
  std::uint32_t senders = 0;  // living
  std::uint32_t receivers = 0;
  std::size_t bytes_in_use = 0;  // claimed and not yet free again, all priorities
};

namespace detail {

// What an endpoint knows: private to its process, at a fixed address.
export struct mail_state {
  static constexpr std::uint32_t most_priorities = 8;

  endpoint end;
  letter_ring rings[most_priorities];
  std::uint64_t freed[most_priorities] = {};  // senders: how far each ring was free
  std::uint32_t priorities = 0;
  std::uint32_t owner = 0;       // slot + 1
  std::uint32_t empties = 0;     // receivers: tries in vain since the last look after the dead
  std::uint32_t fulls = 0;       // senders: tries in vain since the last look at what is ours
  std::uint32_t unfinished = 0;  // senders: claims neither committed nor withdrawn
  std::size_t wanted_bytes = 0;  // senders: what is waited for
  std::uint32_t wanted_priority = 0;

  inline void count(std::uint32_t which, std::uint64_t n = 1) noexcept {
    // Relaxed, and no exchange: the word is this endpoint's alone, and only ever summed.
    const auto word = shared(end.slot().word[which]);
    word.store(word.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  inline queue_state state() const noexcept { return state_of(end.head()); }

  // Senders.
  inline send_result try_claim(std::uint32_t priority, std::size_t bytes, record& out) {
    end.require_usable(queue_kind::message);
    check(priority, bytes);
    if (state() != queue_state::open) [[unlikely]]
      return closed_result();
    const ring_result result = rings[priority].try_claim(owner, bytes, freed[priority], out);
    if (result != ring_result::done) [[unlikely]] {
      const send_result why = claim_after_all(result, priority, bytes, out);
      if (why != send_result::sent) return why;
    }
    ++unfinished;
    // The claim, then the state: see :queue_object.
    fence_after_claim();
    if (state() != queue_state::open) [[unlikely]] {
      withdraw(priority, out);
      return closed_result();
    }
    return send_result::sent;
  }
  // With a bell, or after many tries in vain, once more. Throws damaged.
  send_result claim_after_all(ring_result result, std::uint32_t priority, std::size_t bytes,
                              record& out);
  [[nodiscard]] send_result closed_result() const noexcept;
  inline void commit(std::uint32_t priority, const record& of, std::size_t bytes) noexcept {
    finish(priority, of, bytes);
    notify_one(end.view(), end.head().receivers);
  }
  inline void finish(std::uint32_t priority, const record& of, std::size_t bytes) noexcept {
    rings[priority].commit(of, bytes);
    --unfinished;
    count(0);
    count(1, bytes);
  }
  // Nothing is unfinished, yet the ring says so: somebody wrote over a commit. Gives it up.
  void give_up_unfinished() noexcept;
  void withdraw(std::uint32_t priority, const record& of) noexcept;
  send_result claim_until(std::uint32_t priority, std::size_t bytes, platform::steady_time deadline,
                          record& out);
  [[noreturn]] void refuse(send_result why) const;
  // Throws invalid_argument.
  inline void check(std::uint32_t priority, std::size_t bytes) const {
    if (priority >= priorities || bytes > rings[0].most_bytes()) [[unlikely]]
      refuse_letter(priority, bytes);
  }
  [[noreturn]] void refuse_letter(std::uint32_t priority, std::size_t bytes) const;

  // Receivers.
  inline receive_status try_receive(std::uint32_t& priority, record& out) {
    end.require_usable(queue_kind::message);
    for (std::uint32_t p = priorities; p-- > 0;) {
      const ring_result found = rings[p].try_take(owner, out);
      if (found == ring_result::done) {
        priority = p;
        count(2);
        return receive_status::message;
      }
      if (found == ring_result::damaged) [[unlikely]]
        refuse_damage();
    }
    return nothing(priority, out);
  }
  receive_status nothing(std::uint32_t& priority, record& out);
  receive_status receive_until(platform::steady_time deadline, std::uint32_t& priority,
                               record& out);
  inline void release(std::uint32_t priority, const record& of) noexcept {
    rings[priority].release(of);
    notify_all(end.view(), end.head().senders);
  }
  [[noreturn]] void refuse_damage() const;
  void tend() noexcept;
  // Gives back whatever letters are still out, and detaches.
  void leave() noexcept;

  struct wait_source source() noexcept;
};

}  // namespace detail

// A claimed place in the ring, to be written. Withdrawn by its destructor unless committed.
export class [[nodiscard]] outgoing_letter {
 public:
  inline outgoing_letter(outgoing_letter&& other) noexcept
      : by_(std::exchange(other.by_, nullptr)),
        record_(other.record_),
        size_(other.size_),
        priority_(other.priority_),
        status_(other.status_) {}
  inline outgoing_letter& operator=(outgoing_letter&& other) noexcept {
    if (this != &other) {
      withdraw();
      by_ = std::exchange(other.by_, nullptr);
      record_ = other.record_;
      size_ = other.size_;
      priority_ = other.priority_;
      status_ = other.status_;
    }
    return *this;
  }
  inline ~outgoing_letter() { withdraw(); }

  // Is there a place to write to (try_claim and timed claims: or not)?
  [[nodiscard]] inline explicit operator bool() const noexcept { return by_ != nullptr; }
  [[nodiscard]] inline send_status status() const noexcept { return status_; }

  // Aligned to 16 bytes. What stands there is undefined until it is written.
  [[nodiscard]] inline std::byte* data() const noexcept { return record_.data; }
  [[nodiscard]] inline std::size_t size() const noexcept { return size_; }
  [[nodiscard]] inline std::span<std::byte> bytes() const noexcept { return {data(), size_}; }
  inline operator std::span<std::byte>() const noexcept { return bytes(); }

  // From here on it is the receivers'. Never blocks.
  inline void commit() noexcept { commit(size_); }
  // Only the first `bytes` of it, at most size().
  inline void commit(std::size_t bytes) noexcept {
    if (by_ == nullptr) return;
    detail::mail_state* const by = std::exchange(by_, nullptr);
    if (!by->end.usable()) return;
    by->commit(priority_, record_, bytes < size_ ? bytes : size_);
  }
  inline void withdraw() noexcept {
    if (by_ == nullptr) return;
    detail::mail_state* const by = std::exchange(by_, nullptr);
    if (by->end.usable()) by->withdraw(priority_, record_);
  }

 private:
  friend class message_sender;
  inline explicit outgoing_letter(send_result why) noexcept : status_(why) {}
  inline outgoing_letter(detail::mail_state& by, const detail::record& claimed, std::size_t size,
                         std::uint32_t priority) noexcept
      : by_(&by), record_(claimed), size_(size), priority_(priority), status_(send_result::sent) {}

  detail::mail_state* by_ = nullptr;
  detail::record record_;
  std::size_t size_ = 0;
  std::uint32_t priority_ = 0;
  send_status status_;
};

// A letter in the ring, to be read. Released by its destructor.
export class [[nodiscard]] incoming_letter {
 public:
  incoming_letter() noexcept = default;
  inline incoming_letter(incoming_letter&& other) noexcept
      : by_(std::exchange(other.by_, nullptr)),
        record_(other.record_),
        priority_(other.priority_) {}
  inline incoming_letter& operator=(incoming_letter&& other) noexcept {
    if (this != &other) {
      release();
      by_ = std::exchange(other.by_, nullptr);
      record_ = other.record_;
      priority_ = other.priority_;
    }
    return *this;
  }
  inline ~incoming_letter() { release(); }

  // Aligned to 16 bytes.
  [[nodiscard]] inline const std::byte* data() const noexcept { return record_.data; }
  [[nodiscard]] inline std::size_t size() const noexcept { return record_.bytes; }
  [[nodiscard]] inline std::span<const std::byte> bytes() const noexcept {
    return {data(), size()};
  }
  inline operator std::span<const std::byte>() const noexcept { return bytes(); }
  [[nodiscard]] inline std::uint32_t priority() const noexcept { return priority_; }

  // The view is over; its place may be written again.
  inline void release() noexcept {
    if (by_ == nullptr) return;
    detail::mail_state* const by = std::exchange(by_, nullptr);
    if (by->end.usable()) by->release(priority_, record_);
  }

 private:
  friend class message_receiver;
  friend class received_letter;
  inline incoming_letter(detail::mail_state& by, const detail::record& taken,
                         std::uint32_t priority) noexcept
      : by_(&by), record_(taken), priority_(priority) {}

  detail::mail_state* by_ = nullptr;
  detail::record record_;
  std::uint32_t priority_ = 0;
};

// What receiving says; like received<T>, but the letter stays where it is.
export class [[nodiscard]] received_letter {
 public:
  inline explicit received_letter(receive_status why) noexcept : status_(why) {}
  inline received_letter(incoming_letter letter) noexcept
      : letter_(std::move(letter)), status_(receive_status::message) {}

  [[nodiscard]] inline bool has_value() const noexcept {
    return status_ == receive_status::message;
  }
  [[nodiscard]] inline explicit operator bool() const noexcept { return has_value(); }
  [[nodiscard]] inline receive_status status() const noexcept { return status_; }
  [[nodiscard]] inline bool redelivered() const noexcept { return letter_.record_.again; }

  // Precondition: has_value().
  [[nodiscard]] inline const incoming_letter& operator*() const& noexcept { return letter_; }
  [[nodiscard]] inline incoming_letter& operator*() & noexcept { return letter_; }
  [[nodiscard]] inline incoming_letter&& operator*() && noexcept { return std::move(letter_); }
  [[nodiscard]] inline const incoming_letter* operator->() const noexcept { return &letter_; }
  [[nodiscard]] inline incoming_letter* operator->() noexcept { return &letter_; }

 private:
  friend class message_receiver;
  incoming_letter letter_;
  receive_status status_;
};

export class message_sender {
 public:
  message_sender() noexcept = default;
  message_sender(message_sender&& other) noexcept = default;
  message_sender& operator=(message_sender&& other) noexcept;
  ~message_sender();

  // ---- in place. All throw invalid_argument for more than max_message_size() bytes or a priority
  // the queue does not have, not_a_participant in a forked child, damaged.
  // Blocks while there is no room. Throws closed.
  [[nodiscard]] inline outgoing_letter claim(std::size_t bytes, std::uint32_t priority = 0) {
    detail::record record;
    const send_result result = claim_until(bytes, priority, detail::forever, record);
    if (result != send_result::sent) state_->refuse(result);
    return outgoing_letter(*state_, record, bytes, priority);
  }
  // These give an empty letter whose status() says why.
  [[nodiscard]] inline outgoing_letter try_claim(std::size_t bytes, std::uint32_t priority = 0) {
    outgoing_letter letter(send_result::full);  // filled in where it is returned
    const send_result result = state_->try_claim(priority, bytes, letter.record_);
    letter.status_ = result;
    if (result != send_result::sent) [[unlikely]]
      return letter;
    letter.by_ = state_.get();
    letter.size_ = bytes;
    letter.priority_ = priority;
    return letter;
  }
  [[nodiscard]] inline outgoing_letter claim_until(std::size_t bytes,
                                                   platform::steady_time deadline,
                                                   std::uint32_t priority = 0) {
    detail::record record;
    const send_result result = claim_until(bytes, priority, deadline, record);
    if (result != send_result::sent) return outgoing_letter(result);
    return outgoing_letter(*state_, record, bytes, priority);
  }
  template <class Rep, class Period>
  [[nodiscard]] outgoing_letter claim_for(std::size_t bytes,
                                          std::chrono::duration<Rep, Period> patience,
                                          std::uint32_t priority = 0) {
    return claim_until(bytes, detail::deadline_after(patience), priority);
  }

  // ---- by copying
  void send(std::span<const std::byte> message, std::uint32_t priority = 0);
  send_status try_send(std::span<const std::byte> message, std::uint32_t priority = 0);
  send_status send_until(std::span<const std::byte> message, platform::steady_time deadline,
                         std::uint32_t priority = 0);
  template <class Rep, class Period>
  send_status send_for(std::span<const std::byte> message,
                       std::chrono::duration<Rep, Period> patience, std::uint32_t priority = 0) {
    return send_until(message, detail::deadline_after(patience), priority);
  }
  // In their order, as many as there is room for; how many. One wake-up for all.
  std::size_t try_send_batch(std::span<const std::span<const std::byte>> messages,
                             std::uint32_t priority = 0);
  // All of them, in order, though not necessarily next to each other. Throws closed; how many went
  // before is not told.
  void send_batch(std::span<const std::span<const std::byte>> messages, std::uint32_t priority = 0);
  // How many were sent before the deadline, or before the queue was closed.
  [[nodiscard]] std::size_t send_batch_until(std::span<const std::span<const std::byte>> messages,
                                             platform::steady_time deadline,
                                             std::uint32_t priority = 0);
  template <class Rep, class Period>
  [[nodiscard]] std::size_t send_batch_for(std::span<const std::span<const std::byte>> messages,
                                           std::chrono::duration<Rep, Period> patience,
                                           std::uint32_t priority = 0) {
    return send_batch_until(messages, detail::deadline_after(patience), priority);
  }

  [[nodiscard]] inline std::size_t max_message_size() const noexcept {
    return state_->rings[0].most_bytes();
  }

  // Ready when there is room for the letter asked for last, or the queue is closed.
  [[nodiscard]] inline detail::wait_source wait_source() noexcept { return state_->source(); }
  // For epoll, poll and the like: readable while there may be something to do; see Bells in :endpoint.
  [[nodiscard]] inline auto native_handle() { return state_->end.native_handle(); }

 private:
  friend class message_queue;
  inline explicit message_sender(std::unique_ptr<detail::mail_state> state) noexcept
      : state_(std::move(state)) {}
  send_result claim_until(std::size_t bytes, std::uint32_t priority, platform::steady_time deadline,
                          detail::record& out);

  std::unique_ptr<detail::mail_state> state_;
};

export class message_receiver {
 public:
  message_receiver() noexcept = default;
  message_receiver(message_receiver&& other) noexcept = default;
  message_receiver& operator=(message_receiver&& other) noexcept;
  ~message_receiver();

  // All throw not_a_participant in a forked child, damaged.
  [[nodiscard]] inline received_letter receive() { return receive_until(detail::forever); }
  [[nodiscard]] inline received_letter try_receive() {
    received_letter got(receive_status::empty);  // filled in where it is returned
    got.status_ = state_->try_receive(got.letter_.priority_, got.letter_.record_);
    if (got.status_ == receive_status::message) [[likely]]
      got.letter_.by_ = state_.get();
    return got;
  }
  [[nodiscard]] received_letter receive_until(platform::steady_time deadline);
  template <class Rep, class Period>
  [[nodiscard]] received_letter receive_for(std::chrono::duration<Rep, Period> patience) {
    return receive_until(detail::deadline_after(patience));
  }
  // Calls `use` with each letter that is there, at most `most`, and releases it; how many. A letter is
  // released even if `use` throws.
  template <class Use>
  std::size_t try_receive_batch(std::size_t most, Use&& use) {
    std::size_t n = 0;
    for (; n < most; ++n) {
      received_letter letter = try_receive();
      if (!letter) break;
      use(std::as_const(*letter));
    }
    return n;
  }
  // The same after waiting for the first one. 0: nothing more will come, or the time is over.
  template <class Use>
  std::size_t receive_batch(std::size_t most, Use&& use) {
    return receive_batch_until(most, detail::forever, std::forward<Use>(use));
  }
  template <class Use>
  std::size_t receive_batch_until(std::size_t most, platform::steady_time deadline, Use&& use) {
    if (most == 0) return 0;
    {
      received_letter first = receive_until(deadline);
      if (!first) return 0;
      use(std::as_const(*first));
    }
    return 1 + try_receive_batch(most - 1, use);
  }
  template <class Rep, class Period, class Use>
  std::size_t receive_batch_for(std::size_t most, std::chrono::duration<Rep, Period> patience,
                                Use&& use) {
    return receive_batch_until(most, detail::deadline_after(patience), std::forward<Use>(use));
  }
  // For coroutines: co_await it. Does not block the thread; see :awaitable.
  template <event_loop Loop>
  [[nodiscard]] async_receive_operation<message_receiver, Loop> async_receive(Loop& loop) {
    return async_receive_operation<message_receiver, Loop>(*this, loop);
  }

  // Ready when there is a letter, or the queue is closed and drained.
  [[nodiscard]] inline detail::wait_source wait_source() noexcept { return state_->source(); }
  // For epoll, poll and the like: readable while there may be something to do; see Bells in :endpoint.
  [[nodiscard]] inline auto native_handle() { return state_->end.native_handle(); }

 private:
  friend class message_queue;
  inline explicit message_receiver(std::unique_ptr<detail::mail_state> state) noexcept
      : state_(std::move(state)) {}

  std::unique_ptr<detail::mail_state> state_;
};

// The object in shared memory. Construct it in a segment, or with a heap's allocator.
export class message_queue {
 public:
  static constexpr bool is_ipcpp_shareable = true;
  using allocator_type = allocator<std::byte>;
  using sender_type = message_sender;
  using receiver_type = message_receiver;

  // `capacity` in bytes. Throws std::bad_alloc, invalid_argument (also without a heap).
  message_queue(std::size_t capacity, const allocator_type& memory);
  message_queue(const message_queue_options& options, const allocator_type& memory);
  message_queue(const message_queue&) = delete;
  message_queue& operator=(const message_queue&) = delete;
  // Whoever holds an endpoint finds the queue destroyed, after what was left in it.
  ~message_queue();

  // Endpoints of this process. Throw limit_reached, closed (destroyed), damaged.
  [[nodiscard]] message_sender sender();
  [[nodiscard]] message_receiver receiver();

  // Nothing can be sent any more; what is in the queue can be received.
  void close();
  void reopen();
  [[nodiscard]] bool is_closed() const;

  // Letters that nobody has taken. Walks along them; approximate while others are at work.
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] inline bool empty() const { return size() == 0; }
  [[nodiscard]] std::size_t capacity() const;  // bytes of each priority's ring
  [[nodiscard]] std::size_t max_message_size() const;
  [[nodiscard]] message_queue_statistics statistics() const;

 private:
  [[nodiscard]] detail::queue_view look() const;

  allocator_type memory_;
  offset_ptr<detail::queue_head> head_;
};
static_assert(sizeof(message_queue) == 16);

}  // namespace ipcpp
