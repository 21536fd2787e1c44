// ipcpp.platform:os_linux - the platform contract on Linux. What every member promises is said once,
// in :contract.
//
// How it is met here (shared_object, mapping and parking_slot are declared in :posix_objects):
//   shared_object   a file in /dev/shm (or IPCPP_DIRECTORY), see :posix
//   commit          fallocate: what it granted is there; what it refused is no SIGBUS later
//   parking_slot    a futex on the cell
//   doorbell        a socket with an abstract name and a timer, in one epoll
//   life_hold       an open-file-description lock whose description only a VMA refers to. The VMA
//                   goes with the last thread of the process and with exec; no close(),
//                   close_range() or daemon() can drop it; and since the VMA is MADV_DONTFORK, no
//                   child, forked or raw-cloned, can keep it.
//   incarnation     a MADV_WIPEONFORK page that reads zero in any child
module;

#include <cstdint>
#include <utility>

export module ipcpp.platform:os_linux;

import :posix;
import :posix_objects;
import :terms;

namespace ipcpp::platform {

export class doorbell {
 public:
  using native_handle_type = int;

  [[nodiscard]] static doorbell make(const object_id& of, std::uint32_t number);
  static void ring(const object_id& of, std::uint32_t number) noexcept;

  inline doorbell(doorbell&& other) noexcept
      : socket_(std::exchange(other.socket_, -1)),
        timer_(std::exchange(other.timer_, -1)),
        both_(std::exchange(other.both_, -1)) {}
  inline doorbell& operator=(doorbell&& other) noexcept {
    std::swap(socket_, other.socket_);
    std::swap(timer_, other.timer_);
    std::swap(both_, other.both_);
    return *this;
  }
  ~doorbell();

  [[nodiscard]] inline native_handle_type native_handle() const noexcept { return both_; }
  void answer() noexcept;

 private:
  doorbell() noexcept = default;
  int socket_ = -1;
  int timer_ = -1;
  int both_ = -1;
};

export class life_hold {
 public:
  life_hold() noexcept = default;
  inline life_hold(life_hold&& other) noexcept
      : page_(std::exchange(other.page_, nullptr)), incarnation_(other.incarnation_) {}
  inline life_hold& operator=(life_hold&& other) noexcept {
    std::swap(page_, other.page_);
    std::swap(incarnation_, other.incarnation_);
    return *this;
  }
  ~life_hold();

  // In a forked child: false, the parent's proof is not its own.
  inline explicit operator bool() const noexcept {
    return page_ != nullptr && incarnation_ == incarnation();
  }

 private:
  friend class life_line;
  void* page_ = nullptr;
  std::uint64_t incarnation_ = 0;
};

export class life_line {
 public:
  [[nodiscard]] static life_line of(const mapping& place);

  [[nodiscard]] life_hold take(std::uint32_t slot);
  [[nodiscard]] life probe(std::uint32_t slot, const process_identity& recorded) const noexcept;

 private:
  inline explicit life_line(shared_object object) noexcept : object_(std::move(object)) {}
  shared_object object_;
};

}  // namespace ipcpp::platform
