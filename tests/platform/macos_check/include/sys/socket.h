// Declared for the macOS compile check only: bsd/sys/socket.h, sys/uio.h. MSG_NOSIGNAL is left out, as
// in older headers; Apple has no MSG_CMSG_CLOEXEC.
#pragma once
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef uint32_t socklen_t;
struct msghdr {
  void* msg_name;
  socklen_t msg_namelen;
  struct iovec* msg_iov;
  int msg_iovlen;
  void* msg_control;
  socklen_t msg_controllen;
  int msg_flags;
};
struct cmsghdr {
  socklen_t cmsg_len;
  int cmsg_level;
  int cmsg_type;
};
#define SOL_SOCKET 0xffff
#define SO_NOSIGPIPE 0x1022
#define SCM_RIGHTS 0x01
#define CMSG_DATA(cmsg) ((unsigned char*)(cmsg) + sizeof(struct cmsghdr))
#define CMSG_SPACE(l) (sizeof(struct cmsghdr) + (((l) + 3u) & ~3u))
#define CMSG_LEN(l) (sizeof(struct cmsghdr) + (l))

extern "C" {
struct cmsghdr* CMSG_FIRSTHDR(struct msghdr*);
struct cmsghdr* CMSG_NXTHDR(struct msghdr*, struct cmsghdr*);
ssize_t sendmsg(int, const struct msghdr*, int);
ssize_t recvmsg(int, struct msghdr*, int);
int setsockopt(int, int, int, const void*, socklen_t);
}
