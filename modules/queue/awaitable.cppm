// ipcpp.queue:awaitable - receiving in a coroutine, on whatever event loop the program has.
//
//   task handle(receiver& orders, my_loop& loop) {
//     while (auto next = co_await orders.async_receive(loop)) ...     ends when the queue is closed
//   }
//
// The loop is the program's: it has a member `start(ipcpp::async_operation&)`, which keeps the
// operation until it is complete. Whenever op.native_handle() is readable (epoll, poll, kqueue,
// WaitForMultipleObjects), or just every now and then, it calls op.try_complete(); once that returns
// true, it forgets the operation and calls op.resume(), in this thread. An operation that is dropped
// before it is complete (its coroutine destroyed) has to be forgotten as well.
//
//   void start(ipcpp::async_operation& op) { pending.push_back(&op); }
//
// One thread uses an endpoint at a time, and one coroutine waits on it.
module;

#include <coroutine>
#include <cstddef>
#include <optional>
#include <utility>

export module ipcpp.queue:awaitable;

import ipcpp.platform;
import :received;

namespace ipcpp {

export class async_operation {
 public:
  using native_handle_type = platform::doorbell::native_handle_type;

  async_operation(const async_operation&) = delete;
  async_operation& operator=(const async_operation&) = delete;

  // Stays the same for one endpoint.
  [[nodiscard]] inline native_handle_type native_handle() const noexcept { return handle_; }
  // Tries once, without blocking. true: complete, resume() it. What the operation throws is thrown
  // in the coroutine.
  [[nodiscard]] inline bool try_complete() noexcept { return try_(*this); }
  inline void resume() const { waiting_.resume(); }

 protected:
  using try_function = bool (*)(async_operation&) noexcept;
  inline explicit async_operation(try_function how) noexcept : try_(how) {}
  ~async_operation() = default;

  inline void suspended(std::coroutine_handle<> waiting, native_handle_type handle) noexcept {
    waiting_ = waiting;
    handle_ = handle;
  }

 private:
  try_function try_;
  std::coroutine_handle<> waiting_;
  native_handle_type handle_{};
};

export template <class Loop>
concept event_loop = requires(Loop& loop, async_operation& operation) { loop.start(operation); };

// What async_receive returns. Await it at once; the result is what try_receive gives.
export template <class Receiver, event_loop Loop>
class [[nodiscard]] async_receive_operation : public async_operation {
 public:
  using result_type = decltype(std::declval<Receiver&>().try_receive());

  async_receive_operation(Receiver& from, Loop& loop) noexcept
      : async_operation(&attempt), from_(&from), loop_(&loop) {}

  [[nodiscard]] bool await_ready() {
    result_.emplace(from_->try_receive());
    return result_->status() != receive_status::empty;
  }
  void await_suspend(std::coroutine_handle<> waiting) {
    suspended(waiting, from_->native_handle());
    loop_->start(*this);
  }
  [[nodiscard]] result_type await_resume() {
    if (failed_) return from_->try_receive();  // throws what it threw before
    return std::move(*result_);
  }

 private:
  static bool attempt(async_operation& base) noexcept {
    auto& self = static_cast<async_receive_operation&>(base);
    try {
      return self.await_ready();
    } catch (...) {
      self.failed_ = true;
      return true;
    }
  }

  Receiver* from_;
  Loop* loop_;
  std::optional<result_type> result_;
  bool failed_ = false;
};

}  // namespace ipcpp
