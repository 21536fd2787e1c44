// Bodies of doorbell on Linux: a datagram socket with an abstract name, and a timer, in one epoll.
//
// An abstract name is the kernel's: it goes with the socket, however its process ends, so nothing is
// ever left in a directory. Names belong to a network namespace; from another one nobody can ring,
// and the timer is all there is. Anybody in the same namespace can ring: that costs a look.
//
// Crash story. A ringer that dies before sendto has not rung: the timer makes the bell readable within
// one slice of the last answer.
module;

#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform {

namespace {

struct bell_name {
  sockaddr_un address{};
  socklen_t bytes = 0;
};

bell_name name_of_bell(const object_id& of, std::uint32_t number) {
  bell_name name;
  name.address.sun_family = AF_UNIX;
  // sun_path[0] stays 0: an abstract name.
  const std::string text = "ipcpp." + of.text() + ".bell." + std::to_string(number);
  std::memcpy(name.address.sun_path + 1, text.data(), text.size());
  name.bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + text.size());
  return name;
}

}  // namespace

doorbell doorbell::make(const object_id& of, std::uint32_t number) {
  doorbell made;
  const bell_name name = name_of_bell(of, number);
  made.socket_ = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (made.socket_ < 0 ||
      ::bind(made.socket_, reinterpret_cast<const sockaddr*>(&name.address), name.bytes) != 0)
    throw system_error_of("doorbell", "a socket with an abstract name", errno);
  made.timer_ = ::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  constexpr auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(wait_slice).count();
  static_assert(ns < 1'000'000'000);
  const itimerspec every{{0, static_cast<long>(ns)}, {0, static_cast<long>(ns)}};
  if (made.timer_ < 0 || ::timerfd_settime(made.timer_, 0, &every, nullptr) != 0)
    throw system_error_of("doorbell", "timerfd", errno);
  made.both_ = ::epoll_create1(EPOLL_CLOEXEC);
  epoll_event readable{};
  readable.events = EPOLLIN;
  if (made.both_ < 0 || ::epoll_ctl(made.both_, EPOLL_CTL_ADD, made.socket_, &readable) != 0 ||
      ::epoll_ctl(made.both_, EPOLL_CTL_ADD, made.timer_, &readable) != 0)
    throw system_error_of("doorbell", "epoll", errno);
  return made;
}

doorbell::~doorbell() {
  for (const int descriptor : {both_, timer_, socket_})
    if (descriptor >= 0) ::close(descriptor);
}

void doorbell::answer() noexcept {
  char rung[16];
  while (::recv(socket_, rung, sizeof rung, MSG_DONTWAIT) >= 0) {
  }
  std::uint64_t expired = 0;
  (void)!::read(timer_, &expired, sizeof expired);
}

void doorbell::ring(const object_id& of, std::uint32_t number) noexcept {
  // A socket for each ring: a descriptor kept for later could be closed by the program, and be
  // something else by then.
  const int from = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (from < 0) return;
  try {
    const bell_name name = name_of_bell(of, number);
    // Full means that it has been rung; refused, that it is gone.
    (void)!::sendto(from, "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL,
                    reinterpret_cast<const sockaddr*>(&name.address), name.bytes);
  } catch (const std::bad_alloc&) {  // the timer will do
  }
  ::close(from);
}

}  // namespace ipcpp::platform
