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

// Shared with children to come, zeroed, aligned to a page.
void* shared_bytes(std::size_t bytes);

void add_system_subjects(std::vector<subject>& to);
void add_ipcpp_subjects(std::vector<subject>& to);
void add_peer_subjects(std::vector<subject>& to);
std::vector<loner> loners();

}  // namespace bench
