// What the queue benchmark measures: things that carry a message there and back, between two parties
// that are processes (or, for peers that know no other, threads).
//
//   ping(n)   in the first party:  n times send a message and wait for the answer
//   pong(n)   in the second party: n times wait for a message and answer it
//
// Both are made before the second party starts, so that a fork shares what they hold; an ipcpp endpoint
// is attached in its own party, by the first call.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace bench {

struct subject {
  std::string name;
  std::size_t bytes = 8;
  bool blocking = false;  // sleeps in the kernel: also measured on one processor
  bool threads = false;   // the second party is a thread
  std::function<void(std::uint64_t n)> ping;
  std::function<void(std::uint64_t n)> pong;
  // A stream: push(n) and pull(n) one way. May be empty.
  std::function<void(std::uint64_t n)> push;
  std::function<void(std::uint64_t n)> pull;
  // In the first party, before a second one starts. May be empty.
  std::function<void()> begin;
};

// Many at once: each of some senders pushes n messages, each of some receivers pulls its share.
struct crowd {
  std::string name;
  bool threads = false;
  std::size_t most_receivers = ~std::size_t{0};
  std::function<void(std::uint64_t n)> push;
  std::function<void(std::uint64_t n)> pull;
};

// Large messages copied in and out, against two copies of the same size within one process.
struct copy_case {
  std::size_t bytes;
  subject through;  // a stream
  std::function<void(std::uint64_t n)> two_copies;
};

// One thread sends and receives: what an operation costs when nobody is in the way.
struct loner {
  std::string name;
  std::function<void(std::uint64_t n)> run;
};

template <std::size_t n>
struct letter {
  std::uint64_t number;
  std::byte rest[n - 8];
};
template <>
struct letter<8> {
  std::uint64_t number;
};

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Looks until there is something; lets others run when that takes long, which it does where there are
// more parties than processors.
template <class Look>
void until(Look look) {
  for (unsigned turns = 0; !look(); ++turns) {
    if (turns % 64 == 63)
      std::this_thread::yield();
    else
      relax();
  }
}

// Shared with children to come, zeroed, aligned to a page.
void* shared_bytes(std::size_t bytes);

void add_system_subjects(std::vector<subject>& to);
void add_ipcpp_subjects(std::vector<subject>& to);
void add_mail_subjects(std::vector<subject>& to);
void add_peer_subjects(std::vector<subject>& to);
void add_ipcpp_crowds(std::vector<crowd>& to);
void add_peer_crowds(std::vector<crowd>& to);
std::vector<copy_case> copy_cases();
// The same through a loan_queue, with 64 bytes and with 4 MiB.
std::pair<subject, subject> loans();
std::vector<loner> loners();
void add_mail_loners(std::vector<loner>& to);

}  // namespace bench
