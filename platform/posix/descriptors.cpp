// Bodies of ipcpp.platform:posix: passing descriptors over Unix sockets (SCM_RIGHTS).
module;

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

module ipcpp.platform;

namespace ipcpp::platform::posix {

namespace {

constexpr char mark = 'i';  // a descriptor travels with at least one byte of data

}  // namespace

int send_descriptor(int socket, int descriptor) noexcept {
  char data = mark;
  struct iovec vector{&data, 1};
  alignas(struct cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  struct msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  struct cmsghdr* const header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &descriptor, sizeof descriptor);
  for (;;) {
    const ssize_t sent = ::sendmsg(socket, &message, MSG_NOSIGNAL);
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
  message.msg_controllen = control.size();
  ssize_t received = 0;
  do {
    received = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
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
  if (received == 1 && data == mark && descriptor >= 0 && !several) return 0;
  if (descriptor >= 0) ::close(descriptor);
  descriptor = -1;
  return ENOMSG;
}

}  // namespace ipcpp::platform::posix
