// The machine itself: cache lines bouncing, a futex, and what the system offers for messages.
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <fcntl.h>
#include <linux/futex.h>
#include <mqueue.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "subject.hpp"

namespace bench {

namespace {

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::_Exit(1);
}

struct two_lines {
  alignas(128) std::atomic<std::uint64_t> there;
  alignas(128) std::atomic<std::uint64_t> back;
};

// The least that any message can cost: a line there, a line back.
subject raw_bounce() {
  auto* const lines = static_cast<two_lines*>(shared_bytes(sizeof(two_lines)));
  subject s;
  s.name = "raw two-line bounce";
  // Where it stopped the last time, perhaps in another child, stands in the lines.
  s.ping = [lines](std::uint64_t n) {
    std::uint64_t sent = lines->there.load();
    for (std::uint64_t i = 0; i < n; ++i) {
      lines->there.store(++sent, std::memory_order_release);
      while (lines->back.load(std::memory_order_acquire) != sent) {
      }
    }
  };
  s.pong = [lines](std::uint64_t n) {
    std::uint64_t got = lines->back.load();
    for (std::uint64_t i = 0; i < n; ++i) {
      ++got;
      while (lines->there.load(std::memory_order_acquire) != got) {
      }
      lines->back.store(got, std::memory_order_release);
    }
  };
  return s;
}

struct futexes {
  alignas(128) std::atomic<std::uint32_t> there;
  alignas(128) std::atomic<std::uint32_t> back;
};
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t while_it_is) {
  ::syscall(SYS_futex, &word, FUTEX_WAIT, while_it_is, nullptr, nullptr, 0);
}
void futex_wake(std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, &word, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

subject bare_futex() {
  auto* const words = static_cast<futexes*>(shared_bytes(sizeof(futexes)));
  subject s;
  s.name = "bare futex";
  s.blocking = true;
  s.ping = [words](std::uint64_t n) {
    std::uint32_t sent = words->there.load();
    for (std::uint64_t i = 0; i < n; ++i) {
      ++sent;
      words->there.store(sent, std::memory_order_release);
      futex_wake(words->there);
      while (words->back.load(std::memory_order_acquire) != sent) futex_wait(words->back, sent - 1);
    }
  };
  s.pong = [words](std::uint64_t n) {
    std::uint32_t got = words->back.load();
    for (std::uint64_t i = 0; i < n; ++i) {
      ++got;
      while (words->there.load(std::memory_order_acquire) != got) futex_wait(words->there, got - 1);
      words->back.store(got, std::memory_order_release);
      futex_wake(words->back);
    }
  };
  return s;
}

// Anything with two descriptors that are read and written.
template <std::size_t bytes>
subject descriptors(std::string name, const int (&there)[2], const int (&back)[2]) {
  subject s;
  s.name = std::move(name) + ", " + std::to_string(bytes) + " B";
  s.bytes = bytes;
  s.blocking = true;
  const int there_in = there[1];
  const int there_out = there[0];
  const int back_in = back[1];
  const int back_out = back[0];
  s.ping = [=](std::uint64_t n) {
    char text[bytes] = {};
    for (std::uint64_t i = 0; i < n; ++i)
      if (::write(there_in, text, bytes) != bytes || ::read(back_out, text, bytes) != bytes)
        fail("ping");
  };
  s.pong = [=](std::uint64_t n) {
    char text[bytes];
    for (std::uint64_t i = 0; i < n; ++i)
      if (::read(there_out, text, bytes) != bytes || ::write(back_in, text, bytes) != bytes)
        fail("pong");
  };
  s.push = [=](std::uint64_t n) {
    char text[bytes] = {};
    for (std::uint64_t i = 0; i < n; ++i)
      if (::write(there_in, text, bytes) != bytes) fail("push");
  };
  s.pull = [=](std::uint64_t n) {
    char text[bytes];
    for (std::uint64_t i = 0; i < n; ++i)
      if (::read(there_out, text, bytes) != bytes) fail("pull");
  };
  return s;
}

template <std::size_t bytes>
subject pipes() {
  int there[2];
  int back[2];
  if (::pipe2(there, O_CLOEXEC) != 0 || ::pipe2(back, O_CLOEXEC) != 0) fail("pipe");
  return descriptors<bytes>("pipe", there, back);
}
template <std::size_t bytes>
subject unix_sockets() {
  int there[2];
  int back[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, there) != 0 ||
      ::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, back) != 0)
    fail("socketpair");
  return descriptors<bytes>("unix socket", there, back);
}

template <std::size_t bytes>
void add_posix_queue(std::vector<subject>& to) {
  mqd_t queues[2];
  for (int i = 0; i < 2; ++i) {
    const std::string name = "/ipcpp.bench." + std::to_string(::getpid()) + "." +
                             std::to_string(bytes) + "." + std::to_string(i);
    mq_attr shape{};
    shape.mq_maxmsg = 10;
    shape.mq_msgsize = bytes;
    queues[i] = ::mq_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600, &shape);
    if (queues[i] == static_cast<mqd_t>(-1)) return;  // not mounted here
    ::mq_unlink(name.c_str());
  }
  const mqd_t there = queues[0];
  const mqd_t back = queues[1];
  subject s;
  s.name = "POSIX mq, " + std::to_string(bytes) + " B";
  s.bytes = bytes;
  s.blocking = true;
  s.ping = [=](std::uint64_t n) {
    char text[bytes] = {};
    for (std::uint64_t i = 0; i < n; ++i)
      if (::mq_send(there, text, bytes, 0) != 0 || ::mq_receive(back, text, bytes, nullptr) < 0)
        fail("mq");
  };
  s.pong = [=](std::uint64_t n) {
    char text[bytes];
    for (std::uint64_t i = 0; i < n; ++i)
      if (::mq_receive(there, text, bytes, nullptr) < 0 || ::mq_send(back, text, bytes, 0) != 0)
        fail("mq");
  };
  s.push = [=](std::uint64_t n) {
    char text[bytes] = {};
    for (std::uint64_t i = 0; i < n; ++i)
      if (::mq_send(there, text, bytes, 0) != 0) fail("mq");
  };
  s.pull = [=](std::uint64_t n) {
    char text[bytes];
    for (std::uint64_t i = 0; i < n; ++i)
      if (::mq_receive(there, text, bytes, nullptr) < 0) fail("mq");
  };
  to.push_back(std::move(s));
}

}  // namespace

void* shared_bytes(std::size_t bytes) {
  void* const got =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (got == MAP_FAILED) fail("mmap");
  return got;
}

void add_system_subjects(std::vector<subject>& to) {
  to.push_back(raw_bounce());
  to.push_back(bare_futex());
  // A pipe takes up to 4096 bytes in one piece.
  to.push_back(pipes<48>());
  to.push_back(pipes<1024>());
  to.push_back(pipes<4096>());
  to.push_back(unix_sockets<48>());
  to.push_back(unix_sockets<1024>());
  to.push_back(unix_sockets<4096>());
  add_posix_queue<48>(to);
  add_posix_queue<1024>(to);
  add_posix_queue<4096>(to);
}

}  // namespace bench
