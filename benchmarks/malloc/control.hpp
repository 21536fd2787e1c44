// What the workers of one run share, whether they are threads or processes: a start line, rings and
// tables through which blocks change hands, and a place for the results.
//
// One memfd, mapped by every member wherever the system likes. Blocks travel as 64-bit numbers that
// the backend makes of them (offsets for a shared heap, addresses for a private one). Nothing here is
// measured on purpose, but waiting for one another is part of the time, so it is kept short: spin a
// little, then yield.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <new>

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

namespace malloc_bench {

inline constexpr unsigned most_workers = 2;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits until `done()`; a member that died meanwhile makes the run hang, which the driver ends.
template <class Done>
void wait_until(Done&& done) {
  for (unsigned i = 0; !done(); ++i)
    if (i < 200)
      relax();
    else
      sched_yield();
}

// Blocks on their way from one worker to one other.
class ring {
 public:
  static constexpr std::uint64_t capacity = 1 << 12;

  void push(std::uint64_t block) {
    const std::uint64_t at = tail_.load(std::memory_order_relaxed);
    if (at - seen_head_ == capacity)
      wait_until(
          [&] { return (seen_head_ = head_.load(std::memory_order_acquire)) + capacity > at; });
    items_[at % capacity] = block;
    tail_.store(at + 1, std::memory_order_release);
  }
  std::uint64_t pop() {
    const std::uint64_t at = head_.load(std::memory_order_relaxed);
    if (at == seen_tail_)
      wait_until([&] { return (seen_tail_ = tail_.load(std::memory_order_acquire)) > at; });
    const std::uint64_t block = items_[at % capacity];
    head_.store(at + 1, std::memory_order_release);
    return block;
  }

 private:
  alignas(128) std::atomic<std::uint64_t> head_;
  std::uint64_t seen_tail_;
  alignas(128) std::atomic<std::uint64_t> tail_;
  std::uint64_t seen_head_;
  alignas(128) std::array<std::uint64_t, capacity> items_;
};

struct batch {
  static constexpr std::uint64_t capacity = 128;
  std::array<std::uint64_t, capacity> blocks;
};

// The same for whole batches.
class batch_ring {
 public:
  static constexpr std::uint64_t capacity = 16;

  bool try_push(const batch& full) {
    const std::uint64_t at = tail_.load(std::memory_order_relaxed);
    if (at - head_.load(std::memory_order_acquire) == capacity) return false;
    items_[at % capacity] = full;
    tail_.store(at + 1, std::memory_order_release);
    return true;
  }
  bool try_pop(batch& full) {
    const std::uint64_t at = head_.load(std::memory_order_relaxed);
    if (at == tail_.load(std::memory_order_acquire)) return false;
    full = items_[at % capacity];
    head_.store(at + 1, std::memory_order_release);
    return true;
  }

 private:
  alignas(128) std::atomic<std::uint64_t> head_;
  alignas(128) std::atomic<std::uint64_t> tail_;
  alignas(128) std::array<batch, capacity> items_;
};

// Lets `members` go on together, any number of times.
class barrier {
 public:
  void arrive_and_wait(unsigned members) {
    const std::uint32_t turn = turn_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == members) {
      arrived_.store(0, std::memory_order_relaxed);
      turn_.store(turn + 1, std::memory_order_release);
    } else {
      wait_until([&] { return turn_.load(std::memory_order_acquire) != turn; });
    }
  }

 private:
  alignas(128) std::atomic<std::uint32_t> arrived_;
  alignas(128) std::atomic<std::uint32_t> turn_;
};

// Times of one worker; the clock of all processes is the same one.
struct worker_result {
  static constexpr std::uint32_t most_samples = 1 << 15;
  std::uint64_t started_ns;
  std::uint64_t ended_ns;
  std::uint64_t cpu_ns;
  std::uint64_t allocations;
  std::uint64_t private_kib;                  // anonymous memory of a process that is not the first
  std::array<std::uint32_t, 2> sample_count;  // of allocate, of deallocate
  std::array<std::array<std::uint32_t, most_samples>, 2> samples;  // ticks
};

// Everything begins as zero, which is right for all of it.
struct control {
  static constexpr std::size_t slot_count = 4096;
  static constexpr std::size_t transfer_count = 512;

  barrier line;
  ring passed_on;
  std::array<batch_ring, most_workers> batches;  // batches[i]: to worker i
  std::array<std::array<std::uint64_t, slot_count>, most_workers> slots;
  alignas(128) std::array<std::atomic<std::uint64_t>, transfer_count> transfer;
  alignas(128) std::array<std::atomic<std::uint64_t>, most_workers> gift;
  alignas(128) std::atomic<std::uint32_t> victim_at_work;  // the peer that is going to be killed
  std::array<worker_result, most_workers> results;
};

// The mapping lives as long as the process.
inline control* map_control(int descriptor) {
  void* at = mmap(nullptr, sizeof(control), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
                  descriptor, 0);
  if (at == MAP_FAILED) throw std::bad_alloc();
  return static_cast<control*>(at);
}
// Inherited by the processes this one starts: not close-on-exec.
inline int create_control() {
  const int descriptor = memfd_create("malloc_benchmark", 0);
  if (descriptor < 0 || ftruncate(descriptor, sizeof(control)) != 0) throw std::bad_alloc();
  return descriptor;
}

}  // namespace malloc_bench
