// Clocks, and the time of single operations: every 64th one of each kind is timed.
//
// A tick is the processor's time stamp where there is one, fenced on both sides so that the operation
// lies between the two readings; what two readings with nothing between them take is subtracted. The
// samples come from a pass of their own, so that the measured pass is not slowed down by them.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <time.h>

#include "control.hpp"

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace malloc_bench {

inline std::uint64_t clock_ns(clockid_t which) {
  timespec now{};
  clock_gettime(which, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

inline std::uint64_t tick() {
#if defined(__x86_64__)
  _mm_lfence();
  const std::uint64_t now = __rdtsc();
  _mm_lfence();
  return now;
#else
  return clock_ns(CLOCK_MONOTONIC);
#endif
}

// Nanoseconds of one tick.
inline double tick_ns() {
#if defined(__x86_64__)
  const std::uint64_t ns = clock_ns(CLOCK_MONOTONIC);
  const std::uint64_t ticks = tick();
  std::uint64_t ns_now = ns;
  while (ns_now - ns < 2'000'000) ns_now = clock_ns(CLOCK_MONOTONIC);
  return static_cast<double>(ns_now - ns) / static_cast<double>(tick() - ticks);
#else
  return 1;
#endif
}

inline std::uint64_t empty_ticks() {
  std::uint64_t least = ~std::uint64_t{0};
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t begin = tick();
    least = std::min(least, tick() - begin);
  }
  return least;
}

// A session that times every 64th call of each kind.
template <class Session>
class sampled {
 public:
  sampled(Session& session, worker_result& result)
      : session_(&session), result_(&result), empty_(empty_ticks()) {}

  void* allocate(std::size_t bytes) {
    if (++allocations_ % 64 != 0) return session_->allocate(bytes);
    const std::uint64_t begin = tick();
    void* block = session_->allocate(bytes);
    keep(0, tick() - begin);
    return block;
  }
  void deallocate(void* block) {
    if (++deallocations_ % 64 != 0) return session_->deallocate(block);
    const std::uint64_t begin = tick();
    session_->deallocate(block);
    keep(1, tick() - begin);
  }
  void* reallocate(void* block, std::size_t old_bytes, std::size_t bytes) {
    if (++allocations_ % 64 != 0) return session_->reallocate(block, old_bytes, bytes);
    const std::uint64_t begin = tick();
    void* moved = session_->reallocate(block, old_bytes, bytes);
    keep(0, tick() - begin);
    return moved;
  }
  void* allocate_from(unsigned heap, std::size_t bytes) {
    if (++allocations_ % 64 != 0) return session_->allocate_from(heap, bytes);
    const std::uint64_t begin = tick();
    void* block = session_->allocate_from(heap, bytes);
    keep(0, tick() - begin);
    return block;
  }
  void deallocate_to(unsigned heap, void* block) {
    if (++deallocations_ % 64 != 0) return session_->deallocate_to(heap, block);
    const std::uint64_t begin = tick();
    session_->deallocate_to(heap, block);
    keep(1, tick() - begin);
  }
  [[nodiscard]] std::uint64_t number_of(void* block) const { return session_->number_of(block); }
  [[nodiscard]] void* block_of(std::uint64_t number) const { return session_->block_of(number); }

 private:
  void keep(unsigned kind, std::uint64_t ticks) {
    std::uint32_t& count = result_->sample_count[kind];
    if (count == worker_result::most_samples) return;
    ticks -= std::min(ticks, empty_);
    result_->samples[kind][count++] =
        static_cast<std::uint32_t>(std::min<std::uint64_t>(ticks, ~std::uint32_t{0}));
  }

  Session* session_;
  worker_result* result_;
  std::uint64_t empty_;
  unsigned allocations_ = 0;
  unsigned deallocations_ = 0;
};

// The sample below which `share` of them lie, in nanoseconds; 0 without samples.
inline double percentile(const control& shared, unsigned kind, double share, double ns_of_tick) {
  std::vector<std::uint32_t> all;
  for (const worker_result& result : shared.results)
    all.insert(all.end(), result.samples[kind].begin(),
               result.samples[kind].begin() + result.sample_count[kind]);
  if (all.empty()) return 0;
  const auto at = static_cast<std::size_t>(share * static_cast<double>(all.size() - 1));
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(at), all.end());
  return all[at] * ns_of_tick;
}

}  // namespace malloc_bench
