// ipcpp.queue:received - what sending and receiving say.
//
//   if (auto order = inbox.receive()) use(*order);          like an optional
//   else if (order.status() == receive_status::closed) ...  and why there is none
//
// Representation: private to the receiver; a copy of the message's bytes, a status, a flag.
module;

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>

export module ipcpp.queue:received;

import ipcpp.platform;
import :message;

namespace ipcpp {

export enum class receive_status : std::uint8_t {
  message,    // there is one
  empty,      // nothing now; a sender may be in the middle of sending
  timed_out,  // nothing until the deadline
  closed,     // closed and drained: nothing more will come, unless somebody reopens
  destroyed,  // the queue object is gone, and what was left has been drained
};

export enum class send_result : std::uint8_t { sent, full, timed_out, closed, destroyed };

// Converts to true if the message was sent.
export class [[nodiscard]] send_status {
 public:
  constexpr send_status(send_result what) noexcept : what_(what) {}
  [[nodiscard]] constexpr explicit operator bool() const noexcept {
    return what_ == send_result::sent;
  }
  [[nodiscard]] constexpr send_result result() const noexcept { return what_; }
  constexpr bool operator==(send_result other) const noexcept { return what_ == other; }

 private:
  send_result what_;
};

namespace detail {
export template <message T>
struct inside;
}

export template <message T>
class [[nodiscard]] received {
 public:
  using value_type = T;

  // None, because of `why`.
  received(receive_status why) noexcept : status_(why) {}
  // A copy of sizeof(T) bytes.
  received(const void* bytes, bool again) noexcept
      : status_(receive_status::message), redelivered_(again) {
    std::memcpy(bytes_, bytes, sizeof(T));
  }

  [[nodiscard]] bool has_value() const noexcept { return status_ == receive_status::message; }
  [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }
  [[nodiscard]] receive_status status() const noexcept { return status_; }
  // An earlier receiver died with this message in hand; it may have acted on it, or not.
  [[nodiscard]] bool redelivered() const noexcept { return redelivered_; }

  // Precondition: has_value().
  [[nodiscard]] const T& operator*() const noexcept { return *object(); }
  [[nodiscard]] T& operator*() noexcept { return *object(); }
  [[nodiscard]] const T* operator->() const noexcept { return object(); }
  [[nodiscard]] T* operator->() noexcept { return object(); }
  // Throws not_found if there is none.
  [[nodiscard]] const T& value() const {
    if (!has_value())
      throw error(errc::not_found, "received", "a message", "none", "look at status() first");
    return *object();
  }
  [[nodiscard]] T value_or(T other) const noexcept { return has_value() ? *object() : other; }

 private:
  friend detail::inside<T>;
  [[nodiscard]] const T* object() const noexcept {
    return std::launder(static_cast<const T*>(static_cast<const void*>(bytes_)));
  }
  [[nodiscard]] T* object() noexcept {
    return std::launder(static_cast<T*>(static_cast<void*>(bytes_)));
  }

  alignas(T) std::byte bytes_[sizeof(T)];
  receive_status status_;
  bool redelivered_ = false;
};

namespace detail {

// For queues: fills in a message where it is returned, without another copy.
export template <message T>
struct inside {
  [[nodiscard]] static std::byte* bytes(received<T>& of) noexcept { return of.bytes_; }
  static void set(received<T>& of, receive_status status, bool again) noexcept {
    of.status_ = status;
    of.redelivered_ = again;
  }
};

}  // namespace detail
}  // namespace ipcpp
