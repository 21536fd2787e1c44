// ipcpp.queue:call_queue - requests and their answers.
//
//   auto& calls = segment.construct<ipcpp::call_queue<question, answer>>("calls", 64);
//   auto client = calls.client();                       auto server = calls.server();
//   auto reply = client.call({42});                     while (auto request = server.receive())
//   if (reply) use(*reply);                               request->reply(work(request->request()));
//   else if (reply.status() == call_status::server_died) ...
//
// Each request is taken by one server, in no strict order; each answer goes to who asked. At most
// `capacity` calls are under way at a time. A client may have several (start() gives a pending_call)
// and may cancel: what no server has taken yet never happens, else the answer is dropped.
//
// What dies: a server with a request in hand: its client is told server_died within two slices
// (100 ms); whether the server had acted nobody knows, so ask again only what may happen twice. A
// client: its requests are dropped, servers are told by reply() (false). Stopped is alive.
//
// Representation, crash and race story: :call_table.
module;

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

export module ipcpp.queue:call_queue;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :awaitable;
import :call_table;
import :endpoint;
import :message;
import :queue_object;
import :received;
import :waitable;

namespace ipcpp {

export enum class call_status : std::uint8_t {
  answered,
  pending,      // not yet
  timed_out,    // not until the deadline; the call goes on, or was cancelled by call()
  server_died,  // with the request in hand
  refused,      // the server let go of it without an answer
  full,         // no place for another call
  closed,       // closed before it was sent, or destroyed before a server took it
  cancelled,    // by us
};

export struct call_queue_statistics {
  std::uint64_t requests = 0;   // sent so far
  std::uint32_t under_way = 0;  // places in use, from the request to the end of its answer
  std::uint32_t clients = 0;    // living
  std::uint32_t servers = 0;
};

export struct call_queue_options {
  std::uint32_t capacity = 64;  // calls under way at a time, 1 to 65536
  std::uint32_t endpoints = detail::default_endpoints;
};

namespace detail {

export struct call_state {
  endpoint end;
  call_table table;
  std::uint32_t owner = 0;  // slot + 1
  std::uint32_t next = 0;
  std::uint64_t seen = 0;  // servers: requests looked at
  std::uint32_t empties = 0;

  inline queue_state state() const noexcept { return state_of(end.head()); }

  // Clients.
  call_status prepare_until(platform::steady_time deadline, bool wait, std::uint32_t& call,
                            call_word& mine);
  inline void send(std::uint32_t call, call_word& mine) noexcept {
    table.send(call, mine);
    notify_one(end.view(), end.head().receivers);
  }
  call_status poll(std::uint32_t call, call_word mine, bool ask) noexcept;
  call_status wait_until(std::uint32_t call, call_word mine, platform::steady_time deadline);
  void end_call(std::uint32_t call, call_word mine, bool answered) noexcept;

  // Servers.
  receive_status try_receive(std::uint32_t& call, call_word& mine);
  receive_status receive_until(platform::steady_time deadline, std::uint32_t& call,
                               call_word& mine);
  bool reply(std::uint32_t call, call_word mine, call_phase how) noexcept;
  void leave() noexcept;
  struct wait_source source() noexcept;  // servers: a request; clients: a place for a call
};

export [[nodiscard]] queue_plan call_plan(std::size_t request_bytes, std::size_t answer_bytes,
                                          const call_queue_options& options);
export [[nodiscard]] queue_plan any_call_plan(std::size_t request_bytes, std::size_t answer_bytes);
export [[nodiscard]] std::unique_ptr<call_state> attach_call(const queue_view& queue,
                                                             endpoint_role role);
export [[nodiscard]] call_queue_statistics call_statistics(const queue_view& queue);

}  // namespace detail

// What a call brought.
export template <message Answer>
class [[nodiscard]] call_result {
 public:
  explicit call_result(call_status why) noexcept : status_(why) {}
  explicit call_result(const std::byte* answer) noexcept : status_(call_status::answered) {
    std::memcpy(bytes_, answer, sizeof(Answer));
  }
  [[nodiscard]] explicit operator bool() const noexcept { return status_ == call_status::answered; }
  [[nodiscard]] call_status status() const noexcept { return status_; }
  // Precondition: answered.
  [[nodiscard]] const Answer& operator*() const noexcept {
    return *std::launder(static_cast<const Answer*>(static_cast<const void*>(bytes_)));
  }
  [[nodiscard]] const Answer* operator->() const noexcept { return &**this; }

 private:
  alignas(Answer) std::byte bytes_[sizeof(Answer)];
  call_status status_;
};

// A call under way. Cancelled by its destructor unless its result was taken. Must not outlive its
// client.
export template <message Answer>
class [[nodiscard]] pending_call {
 public:
  pending_call(pending_call&& other) noexcept
      : by_(std::exchange(other.by_, nullptr)),
        word_(other.word_),
        call_(other.call_),
        status_(other.status_) {}
  pending_call& operator=(pending_call&& other) noexcept {
    if (this != &other) {
      cancel();
      by_ = std::exchange(other.by_, nullptr);
      word_ = other.word_;
      call_ = other.call_;
      status_ = other.status_;
    }
    return *this;
  }
  ~pending_call() { cancel(); }

  // Was it sent? Else status() of any result says why not.
  [[nodiscard]] explicit operator bool() const noexcept { return by_ != nullptr; }

  // The result, once; pending or timed_out leave the call under way.
  [[nodiscard]] call_result<Answer> try_get() {
    if (by_ == nullptr) return call_result<Answer>(status_);
    return take(by_->poll(call_, word_, false));
  }
  [[nodiscard]] call_result<Answer> get() { return get_until(detail::forever); }
  [[nodiscard]] call_result<Answer> get_until(platform::steady_time deadline) {
    if (by_ == nullptr) return call_result<Answer>(status_);
    return take(by_->wait_until(call_, word_, deadline));
  }
  template <class Rep, class Period>
  [[nodiscard]] call_result<Answer> get_for(std::chrono::duration<Rep, Period> patience) {
    return get_until(detail::deadline_after(patience));
  }
  void cancel() noexcept {
    if (by_ == nullptr) return;
    detail::call_state* const by = std::exchange(by_, nullptr);
    status_ = call_status::cancelled;
    if (by->end.usable()) by->end_call(call_, word_, false);
  }

 private:
  template <message Q, message A>
  friend class call_client;
  explicit pending_call(call_status why) noexcept : status_(why) {}
  pending_call(detail::call_state& by, std::uint32_t call, detail::call_word word) noexcept
      : by_(&by), word_(word), call_(call), status_(call_status::pending) {}

  call_result<Answer> take(call_status status) {
    if (status == call_status::pending || status == call_status::timed_out)
      return call_result<Answer>(status);
    detail::call_state* const by = std::exchange(by_, nullptr);
    status_ = status;
    if (status == call_status::answered) {
      call_result<Answer> result(by->table.answer(call_));
      by->end_call(call_, word_, true);
      return result;
    }
    by->end_call(call_, word_, status == call_status::refused);
    return call_result<Answer>(status);
  }

  detail::call_state* by_ = nullptr;
  detail::call_word word_;
  std::uint32_t call_ = 0;
  call_status status_;
};

export template <message Request, message Answer>
class call_client {
 public:
  call_client() noexcept = default;
  call_client(call_client&&) noexcept = default;
  call_client& operator=(call_client&& other) noexcept {
    if (this != &other) {
      if (state_) state_->leave();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~call_client() {
    if (state_) state_->leave();
  }

  // All throw not_a_participant in a forked child. Asks and waits for the answer.
  [[nodiscard]] call_result<Answer> call(const Request& request) {
    return call_until(request, detail::forever);
  }
  // timed_out: the call was cancelled.
  [[nodiscard]] call_result<Answer> call_until(const Request& request,
                                               platform::steady_time deadline) {
    pending_call<Answer> under_way = begin(request, deadline, true);
    return under_way.get_until(deadline);
  }
  template <class Rep, class Period>
  [[nodiscard]] call_result<Answer> call_for(const Request& request,
                                             std::chrono::duration<Rep, Period> patience) {
    return call_until(request, detail::deadline_after(patience));
  }
  // Asks; the answer is fetched later. start() waits for a place, try_start() does not.
  [[nodiscard]] pending_call<Answer> start(const Request& request) {
    return begin(request, detail::forever, true);
  }
  [[nodiscard]] pending_call<Answer> try_start(const Request& request) {
    return begin(request, detail::forever, false);
  }
  [[nodiscard]] detail::wait_source wait_source() noexcept { return state_->source(); }
  // For epoll, poll and the like: readable while there may be something to do; see Bells in :endpoint.
  [[nodiscard]] auto native_handle() { return state_->end.native_handle(); }

 private:
  template <message Q, message A>
  friend class call_queue;
  explicit call_client(std::unique_ptr<detail::call_state> state) noexcept
      : state_(std::move(state)) {}
  pending_call<Answer> begin(const Request& request, platform::steady_time deadline, bool wait) {
    std::uint32_t call = 0;
    detail::call_word word;
    const call_status status = state_->prepare_until(deadline, wait, call, word);
    if (status != call_status::pending) return pending_call<Answer>(status);
    std::memcpy(state_->table.request(call), std::addressof(request), sizeof(Request));
    state_->send(call, word);
    return pending_call<Answer>(*state_, call, word);
  }

  std::unique_ptr<detail::call_state> state_;
};

// A request in a server's hands. Without a reply the client is told that it was refused.
export template <message Request, message Answer>
class [[nodiscard]] incoming_call {
 public:
  explicit incoming_call(receive_status why) noexcept : status_(why) {}
  incoming_call(detail::call_state& by, std::uint32_t call, detail::call_word word) noexcept
      : by_(&by), word_(word), call_(call), status_(receive_status::message) {
    std::memcpy(bytes_, by.table.request(call), sizeof(Request));
  }
  incoming_call(incoming_call&& other) noexcept
      : by_(std::exchange(other.by_, nullptr)),
        word_(other.word_),
        call_(other.call_),
        status_(other.status_) {
    std::memcpy(bytes_, other.bytes_, sizeof(Request));
  }
  incoming_call& operator=(incoming_call&& other) noexcept {
    if (this != &other) {
      drop();
      by_ = std::exchange(other.by_, nullptr);
      word_ = other.word_;
      call_ = other.call_;
      status_ = other.status_;
      std::memcpy(bytes_, other.bytes_, sizeof(Request));
    }
    return *this;
  }
  ~incoming_call() { drop(); }

  [[nodiscard]] explicit operator bool() const noexcept {
    return status_ == receive_status::message;
  }
  [[nodiscard]] receive_status status() const noexcept { return status_; }
  [[nodiscard]] incoming_call* operator->() noexcept { return this; }
  // Precondition: there is one.
  [[nodiscard]] const Request& request() const noexcept {
    return *std::launder(static_cast<const Request*>(static_cast<const void*>(bytes_)));
  }
  // false: nobody waits for it any more (cancelled, or the client died).
  bool reply(const Answer& answer) noexcept {
    if (by_ == nullptr) return false;
    detail::call_state* const by = std::exchange(by_, nullptr);
    if (!by->end.usable()) return false;
    std::memcpy(by->table.answer(call_), std::addressof(answer), sizeof(Answer));
    return by->reply(call_, word_, detail::call_phase::answered);
  }

 private:
  void drop() noexcept {
    if (by_ == nullptr) return;
    detail::call_state* const by = std::exchange(by_, nullptr);
    if (by->end.usable()) by->reply(call_, word_, detail::call_phase::refused);
  }

  alignas(Request) std::byte bytes_[sizeof(Request)];
  detail::call_state* by_ = nullptr;
  detail::call_word word_;
  std::uint32_t call_ = 0;
  receive_status status_;
};

export template <message Request, message Answer>
class call_server {
 public:
  call_server() noexcept = default;
  call_server(call_server&&) noexcept = default;
  call_server& operator=(call_server&& other) noexcept {
    if (this != &other) {
      if (state_) state_->leave();
      state_ = std::move(other.state_);
    }
    return *this;
  }
  ~call_server() {
    if (state_) state_->leave();
  }

  // All throw not_a_participant in a forked child.
  [[nodiscard]] incoming_call<Request, Answer> try_receive() {
    std::uint32_t call = 0;
    detail::call_word word;
    // A statement of its own: arguments are evaluated in any order.
    const receive_status status = state_->try_receive(call, word);
    return got(status, call, word);
  }
  [[nodiscard]] incoming_call<Request, Answer> receive() { return receive_until(detail::forever); }
  [[nodiscard]] incoming_call<Request, Answer> receive_until(platform::steady_time deadline) {
    std::uint32_t call = 0;
    detail::call_word word;
    const receive_status status = state_->receive_until(deadline, call, word);
    return got(status, call, word);
  }
  template <class Rep, class Period>
  [[nodiscard]] incoming_call<Request, Answer> receive_for(
      std::chrono::duration<Rep, Period> patience) {
    return receive_until(detail::deadline_after(patience));
  }
  // For coroutines: co_await it. Does not block the thread; see :awaitable.
  template <event_loop Loop>
  [[nodiscard]] async_receive_operation<call_server, Loop> async_receive(Loop& loop) {
    return async_receive_operation<call_server, Loop>(*this, loop);
  }
  [[nodiscard]] detail::wait_source wait_source() noexcept { return state_->source(); }
  // For epoll, poll and the like: readable while there may be something to do; see Bells in :endpoint.
  [[nodiscard]] auto native_handle() { return state_->end.native_handle(); }

 private:
  template <message Q, message A>
  friend class call_queue;
  explicit call_server(std::unique_ptr<detail::call_state> state) noexcept
      : state_(std::move(state)) {}
  incoming_call<Request, Answer> got(receive_status status, std::uint32_t call,
                                     detail::call_word word) {
    if (status != receive_status::message) return incoming_call<Request, Answer>(status);
    return incoming_call<Request, Answer>(*state_, call, word);
  }

  std::unique_ptr<detail::call_state> state_;
};

// The object in shared memory. Construct it in a segment, or with a heap's allocator.
export template <message Request, message Answer>
class call_queue : public detail::queue_object {
 public:
  static_assert(alignof(Request) <= 64 && alignof(Answer) <= 64);
  using client_type = call_client<Request, Answer>;
  using server_type = call_server<Request, Answer>;

  // Throws std::bad_alloc, invalid_argument (also without a heap).
  call_queue(std::uint32_t capacity, const allocator_type& memory)
      : call_queue(call_queue_options{.capacity = capacity}, memory) {}
  call_queue(const call_queue_options& options, const allocator_type& memory)
      : queue_object(detail::call_plan(sizeof(Request), sizeof(Answer), options), memory) {}

  // Endpoints of this process. Throw limit_reached, damaged.
  [[nodiscard]] client_type client() {
    return client_type(detail::attach_call(view(), detail::endpoint_role::sender));
  }
  [[nodiscard]] server_type server() {
    return server_type(detail::attach_call(view(), detail::endpoint_role::receiver));
  }

  // No new calls; those under way go on.
  void close() { detail::close_queue(view()); }
  void reopen() { static_cast<void>(detail::reopen_queue(view())); }
  [[nodiscard]] bool is_closed() const {
    return detail::state_of(*view().head) != detail::queue_state::open;
  }
  [[nodiscard]] std::size_t capacity() const { return static_cast<std::size_t>(view().capacity); }
  // Calls under way.
  [[nodiscard]] std::size_t size() const { return statistics().under_way; }
  [[nodiscard]] call_queue_statistics statistics() const { return detail::call_statistics(view()); }

 private:
  [[nodiscard]] detail::queue_view view() const {
    const detail::queue_plan plan = detail::any_call_plan(sizeof(Request), sizeof(Answer));
    return look(plan, plan.stride);
  }
};

}  // namespace ipcpp
