// Bodies of ipcpp.platform:posix: passing descriptors over Unix sockets (SCM_RIGHTS).
module;

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform::posix {

namespace {

constexpr char mark = 'i';  // a descriptor travels with at least one byte of data

// A peer that is gone is an errno, no signal; what arrives is closed by exec. Linux says so for each
// call; elsewhere a descriptor is told.
#if defined(MSG_NOSIGNAL)
constexpr int no_signal = MSG_NOSIGNAL;
#else
constexpr int no_signal = 0;
#endif
#if defined(MSG_CMSG_CLOEXEC)
constexpr int close_on_exec = MSG_CMSG_CLOEXEC;
#else
constexpr int close_on_exec = 0;
#endif

void tell_no_signal([[maybe_unused]] int socket) noexcept {
#if defined(SO_NOSIGPIPE)
  const int yes = 1;
  (void)::setsockopt(socket, SOL_SOCKET, SO_NOSIGPIPE, &yes, sizeof yes);
#endif
}

}  // namespace

int send_descriptor(int socket, int descriptor) noexcept {
  char data = mark;
  struct iovec vector{&data, 1};
  alignas(struct cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  struct msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = static_cast<decltype(message.msg_controllen)>(control.size());
  struct cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  tell_no_signal(socket);
  for (;;) {
    const ssize_t sent = ::sendmsg(socket, &message, no_signal);
    if (sent == 1) return 0;
    if (sent < 0 && errno != EINTR) return errno;
  }
}

int receive_descriptor(int socket, int& descriptor) noexcept {
  char data = 0;
  struct iovec vector{&data, 1};
  alignas(struct cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * 4)> control{};
  struct msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = static_cast<decltype(message.msg_controllen)>(control.size());
  ssize_t received = 0;
  do {
    received = ::recvmsg(socket, &message, close_on_exec);
  } while (received < 0 && errno == EINTR);
  if (received < 0) return errno;
  descriptor = -1;
  bool several = false;
  for (struct cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr;
       at = CMSG_NXTHDR(&message, at)) {
    if (at->cmsg_level != SOL_SOCKET || at->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (at->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int one = -1;
      std::memcpy(&one, CMSG_DATA(at) + i * sizeof one, sizeof one);
      if (descriptor < 0) {
        descriptor = one;
      } else {
        ::close(one);
        several = true;
      }
    }
  }
  if (close_on_exec == 0 && descriptor >= 0) (void)::fcntl(descriptor, F_SETFD, FD_CLOEXEC);
  if (received == 1 && data == mark && descriptor >= 0 && !several) return 0;
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
  return ENOMSG;
}

}  // namespace ipcpp::platform::posix
