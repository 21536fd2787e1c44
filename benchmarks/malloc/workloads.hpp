// Programs that allocate and free by themselves: what each worker does with its own blocks.
//
// A session is one worker's way to the allocator (see worker.hpp). A workload is made once per worker,
// run(n) makes about n allocations and as many frees, its destructor frees what is left. Modelled on
// what the usual allocator benchmarks are described to do; written anew.
//
//   pair         one block of 64 bytes, allocated and freed at once
//   pair4        the same, in four heaps (or allocators) in turn
//   threadtest   10,000 blocks of 64 bytes, then all freed in order
//   sh6          waves of blocks of one size; half is freed newest first, the rest much later
//   sh8          mostly small, some large blocks in 3000 slots, runs of one size
//   realloc      256 buffers that grow by steps up to 32 KiB, some up to 1 MiB, then begin anew
//   large        16 blocks of 32 KiB to 4 MiB, replaced at random, each page touched
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "control.hpp"

namespace malloc_bench {

// A worker's place in the run.
struct place_in_run {
  control* shared;
  unsigned me;
  unsigned workers;
  bool exchange;  // blocks change hands between workers
};

class random_numbers {
 public:
  explicit random_numbers(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15u + 1) {}
  std::uint64_t next() {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_;
  }
  std::size_t below(std::size_t bound) {
    return static_cast<std::size_t>(((next() >> 32) * bound) >> 32);
  }

 private:
  std::uint64_t state_;
};

// One write that no compiler removes, so that no allocation is removed either.
inline void touch(void* block) {
  *static_cast<volatile unsigned char*>(block) = 1;
}
inline void touch_pages(void* block, std::size_t bytes) {
  for (std::size_t at = 0; at < bytes; at += 4096)
    static_cast<volatile unsigned char*>(block)[at] = 1;
}

template <class Session>
class pair_workload {
 public:
  pair_workload(Session& session, place_in_run) : session_(session) {}
  void run(std::uint64_t n) {
    for (; n != 0; --n) {
      void* block = session_.allocate(64);
      touch(block);
      session_.deallocate(block);
    }
  }

 private:
  Session& session_;
};

template <class Session>
class pair4_workload {
 public:
  pair4_workload(Session& session, place_in_run) : session_(session) {}
  void run(std::uint64_t n) {
    for (; n != 0; --n) {
      void* block = session_.allocate_from(n % 4, 64);
      touch(block);
      session_.deallocate_to(n % 4, block);
    }
  }

 private:
  Session& session_;
};

template <class Session>
class threadtest_workload {
 public:
  threadtest_workload(Session& session, place_in_run) : session_(session) {}
  void run(std::uint64_t n) {
    for (std::uint64_t rounds = n / blocks_.size() + 1; rounds != 0; --rounds) {
      for (void*& block : blocks_) touch(block = session_.allocate(64));
      for (void* block : blocks_) session_.deallocate(block);
    }
  }

 private:
  Session& session_;
  std::array<void*, 10'000> blocks_;
};

template <class Session>
class sh6_workload {
 public:
  sh6_workload(Session& session, place_in_run place) : session_(session), random_(place.me + 7) {}
  ~sh6_workload() {
    for (void* block : kept_)
      if (block != nullptr) session_.deallocate(block);
  }
  void run(std::uint64_t n) {
    for (std::uint64_t made = 0; made < n; made += wave) {
      const std::size_t bytes = 16 + random_.below(63) * 16;
      for (void*& block : fresh_) touch(block = session_.allocate(bytes));
      for (std::size_t i = wave; i-- > wave / 2;) session_.deallocate(fresh_[i]);
      for (std::size_t i = 0; i < wave / 2; ++i) {
        void*& oldest = kept_[next_++ % kept_.size()];
        if (oldest != nullptr) session_.deallocate(oldest);
        oldest = fresh_[i];
      }
    }
  }

 private:
  static constexpr std::size_t wave = 96;
  Session& session_;
  random_numbers random_;
  std::array<void*, wave> fresh_;
  std::array<void*, 4096> kept_{};
  std::size_t next_ = 0;
};

// 16 to 128 bytes mostly, at times up to 1 KiB, rarely up to 16 KiB.
inline std::size_t skewed_size(random_numbers& random) {
  const std::size_t draw = random.below(100);
  if (draw < 85) return 16 + random.below(112);
  if (draw < 98) return 128 + random.below(896);
  return 1024 + random.below(15 * 1024);
}

template <class Session>
class sh8_workload {
 public:
  sh8_workload(Session& session, place_in_run place) : session_(session), random_(place.me + 11) {}
  ~sh8_workload() {
    for (void* block : slots_)
      if (block != nullptr) session_.deallocate(block);
  }
  void run(std::uint64_t n) {
    for (std::uint64_t made = 0; made < n; made += run_length) {
      const std::size_t bytes = skewed_size(random_);
      const std::size_t from = random_.below(slots_.size() - run_length);
      for (std::size_t i = from; i < from + run_length; ++i) {
        if (slots_[i] != nullptr) session_.deallocate(slots_[i]);
        touch(slots_[i] = session_.allocate(bytes));
      }
    }
  }

 private:
  static constexpr std::size_t run_length = 6;
  Session& session_;
  random_numbers random_;
  std::array<void*, 3000> slots_{};
};

template <class Session>
class realloc_workload {
 public:
  realloc_workload(Session& session, place_in_run place)
      : session_(session), random_(place.me + 13) {}
  ~realloc_workload() {
    for (const buffer& one : buffers_)
      if (one.block != nullptr) session_.deallocate(one.block);
  }
  void run(std::uint64_t n) {
    for (; n != 0; --n) {
      buffer& one = buffers_[random_.below(buffers_.size())];
      if (one.block == nullptr) {
        one.bytes = 16 + random_.below(112);
        one.limit = random_.below(64) == 0 ? 1024 * 1024 : 32 * 1024;
        one.block = static_cast<unsigned char*>(session_.allocate(one.bytes));
      } else if (one.bytes > one.limit) {
        session_.deallocate(one.block);
        one = {};
        continue;
      } else {
        const std::size_t bytes = one.bytes + one.bytes / 4 + random_.below(one.bytes);
        one.block = static_cast<unsigned char*>(session_.reallocate(one.block, one.bytes, bytes));
        one.bytes = bytes;
      }
      touch(one.block + one.bytes - 1);
    }
  }

 private:
  struct buffer {
    unsigned char* block = nullptr;
    std::size_t bytes = 0;
    std::size_t limit = 0;
  };
  Session& session_;
  random_numbers random_;
  std::array<buffer, 256> buffers_{};
};

template <class Session>
class large_workload {
 public:
  large_workload(Session& session, place_in_run place)
      : session_(session), random_(place.me + 17) {}
  ~large_workload() {
    for (void* block : slots_)
      if (block != nullptr) session_.deallocate(block);
  }
  void run(std::uint64_t n) {
    for (; n != 0; --n) {
      void*& slot = slots_[random_.below(slots_.size())];
      if (slot != nullptr) session_.deallocate(slot);
      const std::size_t least = std::size_t{32 * 1024} << random_.below(7);
      const std::size_t bytes = least + random_.below(least);
      touch_pages(slot = session_.allocate(bytes), bytes);
    }
  }

 private:
  Session& session_;
  random_numbers random_;
  std::array<void*, 16> slots_{};
};

}  // namespace malloc_bench
