// What every mutex is put through, the same code for each: made in shared memory, locked and unlocked
// alone, and fought over by processes.
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace locks {

struct contended_result {
  double per_second = 0;
  double p99_us = 0;
  double worst_us = 0;
  double least_share = 0;  // of the process that got it least often, 1 is fair
};

// A candidate: T has lock() and unlock(), and lies in memory that forked children share.
struct candidate {
  std::string name;
  std::uint64_t (*alone)(void* mutex, std::uint64_t rounds) = nullptr;  // ns
  contended_result (*contended)(void* mutex, int processes) = nullptr;
  void* mutex = nullptr;
};

inline std::uint64_t now_ns() {
  return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                        std::chrono::steady_clock::now().time_since_epoch())
                                        .count());
}

template <class T>
std::uint64_t alone(void* mutex, std::uint64_t rounds) {
  T& lock = *static_cast<T*>(mutex);
  const std::uint64_t start = now_ns();
  for (std::uint64_t i = 0; i < rounds; ++i) {
    lock.lock();
    lock.unlock();
  }
  return now_ns() - start;
}

inline constexpr int most_processes = 16;

// Nanoseconds counted over the whole run, with 1/32 of resolution: below 64 each value has its own
// place, from there on 32 places share each power of two.
struct histogram {
  static constexpr std::size_t places = 64 + 26 * 32;
  std::uint32_t of[places] = {};

  void add(std::uint64_t ns) {
    const std::uint32_t n = static_cast<std::uint32_t>(std::min<std::uint64_t>(ns, 0xffff'ffff));
    if (n < 64) {
      ++of[n];
      return;
    }
    const int shift = std::bit_width(n) - 6;  // n >> shift is 32 to 63
    ++of[64 + static_cast<std::size_t>(shift - 1) * 32 + ((n >> shift) - 32)];
  }
  // The largest value of a place.
  static std::uint64_t most(std::size_t place) {
    if (place < 64) return place;
    const std::size_t shift = (place - 64) / 32 + 1;
    return (((place - 64) % 32 + 33) << shift) - 1;
  }
};

struct board {
  std::atomic<int> ready{0};
  std::atomic<bool> go{false};
  std::atomic<bool> stop{false};
  std::uint64_t protected_counters[8] = {};
  std::uint64_t rounds[most_processes] = {};
  histogram latency_ns[most_processes];
};

template <class T>
contended_result contended(void* mutex, int processes) {
  T& lock = *static_cast<T*>(mutex);
  void* const memory =
      ::mmap(nullptr, sizeof(board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  board& b = *new (memory) board;
  std::vector<pid_t> children;
  for (int p = 0; p < processes; ++p) {
    const pid_t pid = ::fork();
    if (pid != 0) {
      children.push_back(pid);
      continue;
    }
    lock.lock();  // whatever the first time costs
    lock.unlock();
    ++b.ready;
    while (!b.go) ::usleep(100);
    std::uint64_t n = 0;
    while (!b.stop.load(std::memory_order_relaxed)) {
      const bool sample = n % 16 == 0;
      const std::uint64_t start = sample ? now_ns() : 0;
      lock.lock();
      if (sample) b.latency_ns[p].add(now_ns() - start);
      for (std::uint64_t& counter : b.protected_counters) ++counter;
      lock.unlock();
      for (volatile int pause = 0; pause < 20; pause = pause + 1) {
      }
      ++n;
    }
    b.rounds[p] = n;
    ::_exit(0);
  }
  while (b.ready != processes) ::usleep(100);
  const std::uint64_t start = now_ns();
  b.go = true;
  ::usleep(300'000);
  b.stop = true;
  const std::uint64_t took = now_ns() - start;
  for (const pid_t pid : children) ::waitpid(pid, nullptr, 0);
  histogram all;
  std::uint64_t sum = 0;
  std::uint64_t least = ~std::uint64_t{0};
  for (int p = 0; p < processes; ++p) {
    sum += b.rounds[p];
    least = std::min(least, b.rounds[p]);
    for (std::size_t i = 0; i < histogram::places; ++i) all.of[i] += b.latency_ns[p].of[i];
  }
  contended_result r;
  r.per_second = static_cast<double>(sum) * 1e9 / static_cast<double>(took);
  std::uint64_t samples = 0;
  for (const std::uint32_t n : all.of) samples += n;
  std::uint64_t below = 0;
  for (std::size_t i = 0; i < histogram::places; ++i) {
    if (all.of[i] == 0) continue;
    below += all.of[i];
    if (r.p99_us == 0 && below * 100 >= samples * 99)
      r.p99_us = static_cast<double>(histogram::most(i)) / 1e3;
    r.worst_us = static_cast<double>(histogram::most(i)) / 1e3;
  }
  if (sum != 0) r.least_share = static_cast<double>(least) * processes / static_cast<double>(sum);
  ::munmap(memory, sizeof(board));
  return r;
}

// pthread plain and robust, Boost's where there is Boost; in shared memory that is never given back.
std::vector<candidate> peers();

}  // namespace locks
