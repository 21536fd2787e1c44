// Programs in which blocks change hands: what one worker allocates, another frees. Beside
// workloads.hpp, with the same rules.
//
//   larson          4096 slots of 16 to 511 bytes, replaced at random; now and then the workers swap
//                   their slots, so that each frees what the other allocated
//   xmalloc         every worker sends batches of mixed small blocks to the other and frees what it gets
//   prodcon         one worker allocates 64 bytes at a time, the other one frees them
//   cache_scratch   each worker gets a small block from the first one, frees it, and goes on
//                   allocating, writing and freeing its own: slow where the two share a cache line
//   mstress         mixed sizes up to 64 KiB, some die young and some are kept; now and then a block is
//                   left in a table that everybody takes from. Its memory is what is looked at
//
// Where blocks cannot change hands (one worker, private heaps in two processes), larson,
// cache_scratch and mstress keep their own; xmalloc and prodcon are not run.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "control.hpp"
#include "workloads.hpp"

namespace malloc_bench {

template <class Session>
class larson_workload {
 public:
  larson_workload(Session& session, place_in_run place)
      : session_(session), place_(place), random_(place.me + 19), mine_(place.me) {
    // After swaps, the other worker may still be emptying what is filled now.
    if (place_.exchange) place_.shared->line.arrive_and_wait(place_.workers);
    for (std::uint64_t& slot : slots()) slot = fresh();
  }
  ~larson_workload() {
    if (place_.exchange) place_.shared->line.arrive_and_wait(place_.workers);
    for (std::uint64_t& slot : slots()) session_.deallocate(session_.block_of(slot));
  }
  void run(std::uint64_t n) {
    constexpr std::uint64_t between_swaps = 50'000;
    while (n != 0) {
      std::uint64_t some = std::min(n, between_swaps);
      n -= some;
      for (auto& table = slots(); some != 0; --some) {
        std::uint64_t& slot = table[random_.below(table.size())];
        session_.deallocate(session_.block_of(slot));
        slot = fresh();
      }
      if (!place_.exchange) continue;
      place_.shared->line.arrive_and_wait(place_.workers);
      mine_ = (mine_ + 1) % place_.workers;
    }
  }

 private:
  auto& slots() { return place_.shared->slots[mine_]; }
  std::uint64_t fresh() {
    void* block = session_.allocate(16 + random_.below(496));
    touch(block);
    return session_.number_of(block);
  }

  Session& session_;
  place_in_run place_;
  random_numbers random_;
  unsigned mine_;
};

template <class Session>
class xmalloc_workload {
 public:
  xmalloc_workload(Session& session, place_in_run place)
      : session_(session), place_(place), random_(place.me + 23) {}
  // Each worker sends as many batches as it gets.
  void run(std::uint64_t n) {
    std::uint64_t to_send = n / batch::capacity + 1;
    std::uint64_t to_get = to_send;
    batch_ring& out = place_.shared->batches[(place_.me + 1) % place_.workers];
    batch_ring& in = place_.shared->batches[place_.me];
    bool filled = false;
    while (to_send != 0 || to_get != 0) {
      bool moved = false;
      if (to_send != 0) {
        if (!filled) fill();
        filled = !out.try_push(outgoing_);
        if (!filled) --to_send, moved = true;
      }
      if (to_get != 0 && in.try_pop(incoming_)) {
        for (const std::uint64_t block : incoming_.blocks)
          session_.deallocate(session_.block_of(block));
        --to_get, moved = true;
      }
      if (!moved) sched_yield();
    }
  }

 private:
  void fill() {
    for (std::uint64_t& number : outgoing_.blocks) {
      void* block = session_.allocate(16 + random_.below(496));
      touch(block);
      number = session_.number_of(block);
    }
  }

  Session& session_;
  place_in_run place_;
  random_numbers random_;
  batch outgoing_;
  batch incoming_;
};

template <class Session>
class prodcon_workload {
 public:
  prodcon_workload(Session& session, place_in_run place) : session_(session), place_(place) {}
  void run(std::uint64_t n) {
    ring& way = place_.shared->passed_on;
    if (place_.me == 0) {
      for (; n != 0; --n) {
        void* block = session_.allocate(64);
        touch(block);
        way.push(session_.number_of(block));
      }
    } else {
      for (; n != 0; --n) {
        void* block = session_.block_of(way.pop());
        touch(block);
        session_.deallocate(block);
      }
    }
  }

 private:
  Session& session_;
  place_in_run place_;
};

template <class Session>
class cache_scratch_workload {
 public:
  cache_scratch_workload(Session& session, place_in_run place) : session_(session), place_(place) {
    if (!place_.exchange) return;
    control& shared = *place_.shared;
    if (place_.me == 0)
      for (unsigned i = 0; i < place_.workers; ++i)
        shared.gift[i].store(session_.number_of(session_.allocate(size)));
    shared.line.arrive_and_wait(place_.workers);
    session_.deallocate(session_.block_of(shared.gift[place_.me].load()));
  }
  void run(std::uint64_t n) {
    for (; n != 0; --n) {
      void* block = session_.allocate(size);
      auto* bytes = static_cast<volatile unsigned char*>(block);
      for (unsigned i = 0; i < 4 * size; ++i) bytes[i % size] = static_cast<unsigned char>(i);
      session_.deallocate(block);
    }
  }

 private:
  static constexpr std::size_t size = 16;
  Session& session_;
  place_in_run place_;
};

template <class Session>
class mstress_workload {
 public:
  mstress_workload(Session& session, place_in_run place)
      : session_(session), place_(place), random_(place.me + 29) {}
  ~mstress_workload() {
    for (void* block : young_)
      if (block != nullptr) session_.deallocate(block);
    for (void* block : kept_)
      if (block != nullptr) session_.deallocate(block);
    if (place_.exchange) place_.shared->line.arrive_and_wait(place_.workers);
    if (place_.me == 0)
      for (std::atomic<std::uint64_t>& left : place_.shared->transfer)
        if (const std::uint64_t number = left.exchange(0); number != 0)
          session_.deallocate(session_.block_of(number));
  }
  void run(std::uint64_t n) {
    for (; n != 0; --n) {
      void*& slot = young_[random_.below(young_.size())];
      if (slot != nullptr) dispose(slot);
      const std::size_t bytes = size();
      touch_pages(slot = session_.allocate(bytes), bytes);
    }
  }

 private:
  // 16 bytes to 64 KiB, half as many with each factor of four.
  std::size_t size() {
    const int factors = std::min(__builtin_ctzll(random_.next() | 32), 5);
    const std::size_t least = std::size_t{16} << 2 * factors;
    return least + random_.below(3 * least);
  }
  void dispose(void* block) {
    const std::size_t draw = random_.below(16);
    if (draw < 10) {
      session_.deallocate(block);
    } else if (draw < 14 || !place_.exchange) {
      void*& oldest = kept_[next_++ % kept_.size()];
      if (oldest != nullptr) session_.deallocate(oldest);
      oldest = block;
    } else {
      auto& left = place_.shared->transfer[random_.below(control::transfer_count)];
      const std::uint64_t number =
          left.exchange(session_.number_of(block), std::memory_order_acq_rel);
      if (number != 0) session_.deallocate(session_.block_of(number));
    }
  }

  Session& session_;
  place_in_run place_;
  random_numbers random_;
  std::array<void*, 4096> young_{};
  std::array<void*, 8 * 1024> kept_{};
  std::size_t next_ = 0;
};

}  // namespace malloc_bench
