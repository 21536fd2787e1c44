// ipcpp.queue:blocking - from try_send and try_receive to their blocking, deadline and duration forms,
// the same for every kind of queue.
//
//   try_   at once, no exception for full, empty or closed     send      until there is room
//   _for   at most so long                                     receive   until there is a message
//   _until at most until then, on the steady clock
//
// All throw not_a_participant in a process that did not attach the endpoint, damaged when another
// process wrote over the queue. Blocking ones throw limit_reached if this thread has nowhere to sleep
// (participant table full). Waiting looks a moment before it sleeps; nobody pays for a sleeper that
// is not there.
module;

#include <chrono>
#include <cstddef>
#include <span>

export module ipcpp.queue:blocking;

import ipcpp.platform;
import :message;
import :received;
import :endpoint;
import :waitable;
import :awaitable;

namespace ipcpp {

// What a batch brought: out[0, count), of which the first `redelivered` may have been seen by a
// receiver that died.
export struct received_batch {
  std::size_t count = 0;
  std::size_t redelivered = 0;
  receive_status status = receive_status::empty;  // message if count > 0

  [[nodiscard]] inline explicit operator bool() const noexcept { return count != 0; }
};

namespace detail {

// Endpoint has: send_status try_send(const T&); std::size_t try_send_batch(std::span<const T>,
// send_result& why); wait_source wait_source(); queue_kind kind().
export template <class Endpoint, message T>
class sending {
 public:
  // Blocks while the queue is full. Throws errc::closed.
  void send(const T& message) {
    const send_status status = send_until_ready(message, forever);
    if (!status) refuse(status.result());
  }
  // full is reported as timed_out.
  send_status send_until(const T& message, std::chrono::steady_clock::time_point deadline) {
    return send_until_ready(message, deadline);
  }
  template <class Rep, class Period>
  send_status send_for(const T& message, std::chrono::duration<Rep, Period> duration) {
    const send_status at_once = self().try_send(message);
    if (at_once || at_once.result() != send_result::full) return at_once;
    return send_until_ready(message, deadline_after(duration));
  }

  // As many of the first ones as there is room for. Receivers are notified once.
  [[nodiscard]] std::size_t try_send_batch(std::span<const T> messages) {
    send_result why{};
    return self().send_some(messages, why);
  }
  // All of them, in order, though not necessarily next to each other. Throws errc::closed; how many
  // went before is not told.
  void send_batch(std::span<const T> messages) {
    while (!messages.empty()) {
      send_result why{};
      const std::size_t sent = self().send_some(messages, why);
      messages = messages.subspan(sent);
      if (messages.empty()) return;
      if (why == send_result::full) {
        (void)wait_for(self().wait_source(), forever);
      } else {
        refuse(why);
      }
    }
  }
  // How many were sent before the deadline, or before the queue was closed.
  [[nodiscard]] std::size_t send_batch_until(std::span<const T> messages,
                                             std::chrono::steady_clock::time_point deadline) {
    std::size_t sent = 0;
    for (bool waited = false;; waited = true) {
      send_result why{};
      sent += self().send_some(messages.subspan(sent), why);
      if (sent == messages.size() || why != send_result::full) return sent;
      if ((waited && passed(deadline)) || !wait_for(self().wait_source(), deadline)) return sent;
    }
  }
  template <class Rep, class Period>
  [[nodiscard]] std::size_t send_batch_for(std::span<const T> messages,
                                           std::chrono::duration<Rep, Period> duration) {
    return send_batch_until(messages, deadline_after(duration));
  }

 protected:
  sending() noexcept = default;
  ~sending() = default;
  sending(sending&&) noexcept = default;
  sending& operator=(sending&&) noexcept = default;

 private:
  [[nodiscard]] Endpoint& self() noexcept { return static_cast<Endpoint&>(*this); }
  [[nodiscard]] send_status send_until_ready(const T& message, platform::steady_time deadline) {
    for (bool waited = false;; waited = true) {
      const send_status status = self().try_send(message);
      if (status || status.result() != send_result::full) return status;
      if ((waited && passed(deadline)) || !wait_for(self().wait_source(), deadline))
        return send_result::timed_out;
    }
  }
  [[noreturn]] void refuse(send_result why) {
    refuse_closed(Endpoint::kind,
                  why == send_result::destroyed ? queue_state::destroyed : queue_state::closed);
  }
};

// Endpoint has: received<T> try_receive(); received_batch try_receive_batch(std::span<T>);
// wait_source wait_source().
export template <class Endpoint, message T>
class receiving {
 public:
  // Blocks while the queue is empty and open; then the status is closed or destroyed.
  received<T> receive() { return receive_until(forever); }
  received<T> receive_until(std::chrono::steady_clock::time_point deadline) {
    for (bool waited = false;; waited = true) {
      {  // of its own, so that it is returned where it is made
        received<T> got = self().try_receive();
        if (got.status() != receive_status::empty) return got;
      }
      if ((waited && passed(deadline)) || !wait_for(self().wait_source(), deadline))
        return received<T>(receive_status::timed_out);
    }
  }
  template <class Rep, class Period>
  received<T> receive_for(std::chrono::duration<Rep, Period> duration) {
    {
      received<T> got = self().try_receive();
      if (got.status() != receive_status::empty) return got;
    }
    return receive_until(deadline_after(duration));
  }

  // For coroutines: co_await it. Does not block the thread; see :awaitable.
  template <event_loop Loop>
  [[nodiscard]] async_receive_operation<Endpoint, Loop> async_receive(Loop& loop) {
    return async_receive_operation<Endpoint, Loop>(self(), loop);
  }

  // Blocks until there is at least one.
  received_batch receive_batch(std::span<T> out) { return receive_batch_until(out, forever); }
  received_batch receive_batch_until(std::span<T> out,
                                     std::chrono::steady_clock::time_point deadline) {
    for (bool waited = false;; waited = true) {
      received_batch got = self().try_receive_batch(out);
      if (got.status != receive_status::empty || out.empty()) return got;
      if ((waited && passed(deadline)) || !wait_for(self().wait_source(), deadline)) {
        got.status = receive_status::timed_out;
        return got;
      }
    }
  }
  template <class Rep, class Period>
  received_batch receive_batch_for(std::span<T> out, std::chrono::duration<Rep, Period> duration) {
    return receive_batch_until(out, deadline_after(duration));
  }

 protected:
  receiving() noexcept = default;
  ~receiving() = default;
  receiving(receiving&&) noexcept = default;
  receiving& operator=(receiving&&) noexcept = default;

 private:
  [[nodiscard]] Endpoint& self() noexcept { return static_cast<Endpoint&>(*this); }
};

}  // namespace detail
}  // namespace ipcpp
