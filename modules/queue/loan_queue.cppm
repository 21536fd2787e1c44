// ipcpp.queue:loan_queue - large messages to every subscriber without a copy.
//
//   auto& frames = segment.construct<ipcpp::loan_queue>("frames",
//       ipcpp::loan_queue_options{.chunk_bytes = 4_MiB, .chunks = 16, .capacity = 8});
//   auto publisher = frames.publisher();
//   { auto frame = publisher.loan(n); render(frame.data(), n); frame.publish(); }
//   auto subscriber = frames.subscriber();
//   if (auto frame = subscriber.receive()) show(frame->data(), frame->size());
//
// A publisher writes into a chunk of the pool and hands its number on; subscribers read it there. So
// publishing costs the same for 64 bytes and for 4 MiB, for one subscriber and for twenty. A chunk
// goes back to the pool when the last who reads it is done, or dead.
//
// On overflow as in :broadcast_queue, of the ring of numbers; when the pool is empty, loan() waits and
// try_loan() says full. A pool needs `capacity` + what subscribers hold + what publishers write.
//
// Representation, crash story, quarantine: :loan_ring.
module;

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <utility>

export module ipcpp.queue:loan_queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :awaitable;
import :broadcast_queue;
import :endpoint;
import :loan_ring;
import :queue_object;
import :received;
import :waitable;

namespace ipcpp {

export struct loan_queue_options {
  std::size_t chunk_bytes = 65536;  // of the largest message
  std::uint32_t chunks = 16;        // 1 to 65535
  std::uint32_t capacity = 8;       // messages published and not yet taken by all; a power of two
  ipcpp::overflow overflow = ipcpp::overflow::block;
  std::uint32_t endpoints = detail::default_endpoints;
};

export struct loan_queue_statistics {
  std::uint64_t published = 0;
  std::uint64_t received = 0;
  std::uint64_t lost = 0;
  std::uint32_t chunks_in_use = 0;
  std::uint32_t publishers = 0;  // living
  std::uint32_t subscribers = 0;
};

namespace detail {

export struct loan_state {
  endpoint end;
  loan_ring ring;
  ipcpp::overflow policy = ipcpp::overflow::block;
  std::uint32_t owner = 0;
  std::uint32_t next = 0;     // publishers: where to look for a free chunk
  std::uint64_t slowest = 0;  // publishers
  std::uint64_t cursor = 0;   // subscribers
  std::uint64_t lost = 0;
  bool wants_chunk = false;  // publishers: what is waited for, a chunk or room in the ring

  inline void count(std::uint32_t which, std::uint64_t n) noexcept {
    // Relaxed, and no exchange: the word is this endpoint's alone, and only ever summed.
    const auto word = shared(end.slot().word[which]);
    word.store(word.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  inline queue_state state() const noexcept { return state_of(end.head()); }

  send_result loan_until(std::size_t bytes, platform::steady_time deadline, bool wait,
                         std::uint32_t& chunk);
  send_result publish_until(std::uint32_t chunk, std::size_t bytes, platform::steady_time deadline,
                            bool wait);
  void give_back(std::uint32_t chunk) noexcept;
  [[noreturn]] void refuse(send_result why) const;

  receive_status try_receive(std::uint32_t& hold, std::uint32_t& chunk, std::uint64_t& bytes);
  receive_status receive_until(platform::steady_time deadline, std::uint32_t& hold,
                               std::uint32_t& chunk, std::uint64_t& bytes);
  inline void release(std::uint32_t hold) noexcept {
    ring.release(end.slot(), hold);
    notify_all(end.view(), end.head().senders);
  }
  void leave() noexcept;
  struct wait_source source() noexcept;
};

}  // namespace detail

// A chunk to be written. Goes back to the pool by its destructor unless published.
export class [[nodiscard]] outgoing_loan {
 public:
  inline outgoing_loan(outgoing_loan&& other) noexcept
      : by_(std::exchange(other.by_, nullptr)),
        size_(other.size_),
        chunk_(other.chunk_),
        status_(other.status_) {}
  inline outgoing_loan& operator=(outgoing_loan&& other) noexcept {
    if (this != &other) {
      give_back();
      by_ = std::exchange(other.by_, nullptr);
      size_ = other.size_;
      chunk_ = other.chunk_;
      status_ = other.status_;
    }
    return *this;
  }
  inline ~outgoing_loan() { give_back(); }

  [[nodiscard]] inline explicit operator bool() const noexcept { return by_ != nullptr; }
  [[nodiscard]] inline send_status status() const noexcept { return status_; }

  // Aligned to 64 bytes.
  [[nodiscard]] inline std::byte* data() const noexcept { return by_->ring.payload(chunk_); }
  [[nodiscard]] inline std::size_t size() const noexcept { return size_; }
  [[nodiscard]] inline std::span<std::byte> bytes() const noexcept { return {data(), size_}; }

  // To all subscribers. block: waits for room. drop_newest: false, the chunk goes back. fail: throws
  // limit_reached, and the chunk is still ours. Throws closed.
  inline bool publish() { return publish(size_); }
  bool publish(std::size_t bytes);
  // full: the chunk is still ours.
  send_status try_publish();
  send_status publish_until(platform::steady_time deadline);
  template <class Rep, class Period>
  send_status publish_for(std::chrono::duration<Rep, Period> patience) {
    return publish_until(detail::deadline_after(patience));
  }
  inline void give_back() noexcept {
    if (by_ == nullptr) return;
    std::exchange(by_, nullptr)->give_back(chunk_);
  }

 private:
  friend class loan_publisher;
  inline explicit outgoing_loan(send_result why) noexcept : status_(why) {}
  inline outgoing_loan(detail::loan_state& by, std::uint32_t chunk, std::size_t size) noexcept
      : by_(&by), size_(size), chunk_(chunk), status_(send_result::sent) {}

  detail::loan_state* by_ = nullptr;
  std::size_t size_ = 0;
  std::uint32_t chunk_ = 0;
  send_status status_;
};

// A chunk to be read. Released by its destructor.
export class [[nodiscard]] received_loan {
 public:
  inline received_loan(received_loan&& other) noexcept
      : by_(std::exchange(other.by_, nullptr)),
        size_(other.size_),
        chunk_(other.chunk_),
        hold_(other.hold_),
        status_(other.status_) {}
  inline received_loan& operator=(received_loan&& other) noexcept {
    if (this != &other) {
      release();
      by_ = std::exchange(other.by_, nullptr);
      size_ = other.size_;
      chunk_ = other.chunk_;
      hold_ = other.hold_;
      status_ = other.status_;
    }
    return *this;
  }
  inline ~received_loan() { release(); }

  [[nodiscard]] inline explicit operator bool() const noexcept { return by_ != nullptr; }
  [[nodiscard]] inline receive_status status() const noexcept { return status_; }

  // Preconditions: there is a message, and it was not released. Aligned to 64 bytes.
  [[nodiscard]] inline const std::byte* data() const noexcept { return by_->ring.payload(chunk_); }
  [[nodiscard]] inline std::size_t size() const noexcept { return size_; }
  [[nodiscard]] inline std::span<const std::byte> bytes() const noexcept { return {data(), size_}; }
  [[nodiscard]] inline const received_loan* operator->() const noexcept { return this; }
  [[nodiscard]] inline received_loan* operator->() noexcept { return this; }

  inline void release() noexcept {
    if (by_ == nullptr) return;
    detail::loan_state* const by = std::exchange(by_, nullptr);
    if (by->end.usable()) by->release(hold_);
  }

 private:
  friend class loan_subscriber;
  inline explicit received_loan(receive_status why) noexcept : status_(why) {}
  inline received_loan(detail::loan_state& by, std::uint32_t hold, std::uint32_t chunk,
                       std::uint64_t bytes) noexcept
      : by_(&by),
        size_(static_cast<std::size_t>(bytes)),
        chunk_(chunk),
        hold_(hold),
        status_(receive_status::message) {}

  detail::loan_state* by_ = nullptr;
  std::size_t size_ = 0;
  std::uint32_t chunk_ = 0;
  std::uint32_t hold_ = 0;
  receive_status status_;
};

export class loan_publisher {
 public:
  loan_publisher() noexcept = default;
  loan_publisher(loan_publisher&&) noexcept = default;
  loan_publisher& operator=(loan_publisher&& other) noexcept;
  ~loan_publisher();

  // Throw invalid_argument for more than max_message_size(), not_a_participant in a forked child.
  // Waits while all chunks are in use. Throws closed.
  [[nodiscard]] outgoing_loan loan(std::size_t bytes);
  [[nodiscard]] outgoing_loan try_loan(std::size_t bytes);
  [[nodiscard]] outgoing_loan loan_until(std::size_t bytes, platform::steady_time deadline);
  template <class Rep, class Period>
  [[nodiscard]] outgoing_loan loan_for(std::size_t bytes,
                                       std::chrono::duration<Rep, Period> patience) {
    return loan_until(bytes, detail::deadline_after(patience));
  }
  [[nodiscard]] inline std::size_t max_message_size() const noexcept {
    return state_->ring.most_bytes();
  }
  [[nodiscard]] inline detail::wait_source wait_source() noexcept { return state_->source(); }
  // For epoll, poll and the like: readable while there may be something to do; see Bells in :endpoint.
  [[nodiscard]] inline auto native_handle() { return state_->end.native_handle(); }

 private:
  friend class loan_queue;
  inline explicit loan_publisher(std::unique_ptr<detail::loan_state> state) noexcept
      : state_(std::move(state)) {}
  std::unique_ptr<detail::loan_state> state_;
};

export class loan_subscriber {
 public:
  // Messages that one subscriber may hold at a time.
  static constexpr std::uint32_t max_held = detail::loan_ring::most_holds;

  loan_subscriber() noexcept = default;
  loan_subscriber(loan_subscriber&&) noexcept = default;
  loan_subscriber& operator=(loan_subscriber&& other) noexcept;
  ~loan_subscriber();

  // Throw limit_reached if max_held messages are not released, not_a_participant, damaged.
  [[nodiscard]] inline received_loan receive() { return receive_until(detail::forever); }
  [[nodiscard]] received_loan try_receive();
  [[nodiscard]] received_loan receive_until(platform::steady_time deadline);
  template <class Rep, class Period>
  [[nodiscard]] received_loan receive_for(std::chrono::duration<Rep, Period> patience) {
    return receive_until(detail::deadline_after(patience));
  }
  // For coroutines: co_await it. Does not block the thread; see :awaitable.
  template <event_loop Loop>
  [[nodiscard]] async_receive_operation<loan_subscriber, Loop> async_receive(Loop& loop) {
    return async_receive_operation<loan_subscriber, Loop>(*this, loop);
  }
  // Messages this subscriber has missed so far (drop_oldest).
  [[nodiscard]] inline std::uint64_t lost() const noexcept { return state_->lost; }
  [[nodiscard]] inline detail::wait_source wait_source() noexcept { return state_->source(); }
  // For epoll, poll and the like: readable while there may be something to do; see Bells in :endpoint.
  [[nodiscard]] inline auto native_handle() { return state_->end.native_handle(); }

 private:
  friend class loan_queue;
  inline explicit loan_subscriber(std::unique_ptr<detail::loan_state> state) noexcept
      : state_(std::move(state)) {}
  std::unique_ptr<detail::loan_state> state_;
};

// The object in shared memory. Construct it in a segment, or with a heap's allocator.
export class loan_queue : public detail::queue_object {
 public:
  using publisher_type = loan_publisher;
  using subscriber_type = loan_subscriber;

  // Throws std::bad_alloc, invalid_argument (also without a heap).
  loan_queue(const loan_queue_options& options, const allocator_type& memory);

  // Endpoints of this process. Throw limit_reached, damaged.
  [[nodiscard]] loan_publisher publisher();
  [[nodiscard]] loan_subscriber subscriber();

  void close();
  void reopen();
  [[nodiscard]] bool is_closed() const;
  // Published, and not yet taken by the slowest living subscriber.
  [[nodiscard]] std::size_t size() const;
  [[nodiscard]] std::size_t capacity() const;
  [[nodiscard]] std::size_t max_message_size() const;
  [[nodiscard]] loan_queue_statistics statistics() const;

 private:
  [[nodiscard]] detail::queue_view view() const;
};

}  // namespace ipcpp
