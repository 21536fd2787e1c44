// What victims and their peers do with a heap, and the notes they take: before a step that takes
// effect inside the heap, and after it.
#include <gtest/gtest.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

// clang-format off
#include "heap_frames.hpp"
// clang-format on

import ipcpp;
import ipcpp.platform;

namespace crash {

worker::worker(ipcpp::heap& heap, journal& notes, unsigned who, std::uint64_t seed)
    : heap_(&heap), notes_(&notes), who_(who), state_(seed * 0x9e3779b97f4a7c15U + who + 1) {}

std::uint64_t worker::random(std::uint64_t below) {
  state_ ^= state_ << 13;
  state_ ^= state_ >> 7;
  state_ ^= state_ << 17;
  return (state_ >> 11) % below;
}

std::byte* worker::first() const {
  return reinterpret_cast<std::byte*>(heap_->header());
}

ipcpp::offset_ptr<void>& worker::link_at(unsigned n) const {
  return *reinterpret_cast<ipcpp::offset_ptr<void>*>(first() + notes_->root + n * 8);
}

void worker::fault(const char* what, unsigned i) const {
  if (notes_->fault[0] == 0)
    std::snprintf(notes_->fault, sizeof notes_->fault, "worker %u: %s, block %u", who_, what, i);
}

// ---- notes; the signal fences keep the compiler from moving them ----

void worker::begin(doing what, unsigned i, std::size_t bytes) {
  journal::work& mine = notes_->of[who_];
  mine.index = i;
  mine.bytes = bytes;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  mine.what = what;
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

void worker::end() {
  std::atomic_signal_fence(std::memory_order_seq_cst);
  notes_->of[who_].what = doing::nothing;
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

void worker::calling(const std::function<void()>& f) {
  std::atomic_signal_fence(std::memory_order_seq_cst);
  notes_->of[who_].in_call = 1;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  f();
  std::atomic_signal_fence(std::memory_order_seq_cst);
  notes_->of[who_].in_call = 0;
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

void worker::hurrying(const std::function<void()>& f) {
  notes_->of[who_].hurry = 1;
  puppet::stand_still();
  f();
  notes_->of[who_].hurry = 0;
  puppet::stand_still();
}

void worker::note(unsigned i, void* block, std::size_t bytes, bool tracked) {
  journal::block& entry = notes_->blocks[i];
  entry.bytes = bytes;
  entry.tracked_by = tracked ? who_ + 1 : 0;
  entry.mark = 0;
  std::atomic_signal_fence(std::memory_order_seq_cst);
  entry.at = static_cast<std::uint64_t>(static_cast<std::byte*>(block) - first());
  end();
  const std::uint64_t mark = state_ | 1;
  std::memcpy(block, &mark, 8);
  std::memcpy(static_cast<std::byte*>(block) + bytes - 8, &mark, 8);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  entry.mark = mark;
}

void worker::check_mark(unsigned i) const {
  const journal::block& entry = notes_->blocks[i];
  if (entry.at == 0 || entry.mark == 0) return;
  std::uint64_t head = 0;
  std::uint64_t tail = 0;
  std::memcpy(&head, first() + entry.at, 8);
  std::memcpy(&tail, first() + entry.at + entry.bytes - 8, 8);
  if (head != entry.mark || tail != entry.mark) fault("somebody wrote into a block in use", i);
}

void worker::check_marks() const {
  for (unsigned i = 0; i < journal::workers * journal::region; ++i) {
    bool under_way = false;
    for (const journal::work& one : notes_->of)
      under_way = under_way || (one.what != doing::nothing && one.index == i);
    if (!under_way) check_mark(i);
  }
}

// ---- operations; at least 16 bytes each, so that both marks have room ----

bool worker::allocate(unsigned i, std::size_t bytes, std::size_t alignment) {
  if (has(i)) return false;
  void* block = nullptr;
  begin(doing::allocating, i, bytes);
  calling([&] { block = heap_->try_allocate(bytes, alignment); });
  if (block == nullptr)
    end();
  else
    note(i, block, bytes, false);
  return block != nullptr;
}

bool worker::allocate_tracked(unsigned i, std::size_t bytes) {
  if (has(i)) return false;
  void* block = nullptr;
  calling([&] {
    try {
      block = heap_->allocate_tracked(bytes);
    } catch (const std::bad_alloc&) {
    }
  });
  if (block != nullptr) note(i, block, bytes, true);
  return block != nullptr;
}

void worker::publish(unsigned i) {
  begin(doing::publishing, i, 0);
  if (has(i) && notes_->blocks[i].tracked_by == who_ + 1) {
    calling([&] { heap_->publish(first() + notes_->blocks[i].at); });
    notes_->blocks[i].tracked_by = 0;
  }
  end();
}

void worker::free(unsigned i) {
  begin(doing::freeing, i, 0);
  if (has(i)) {  // looked at after it was said: a peer leaves it alone from then on
    check_mark(i);
    notes_->blocks[i].mark = 0;
    calling([&] { heap_->deallocate(first() + notes_->blocks[i].at); });
    notes_->blocks[i].at = 0;
  }
  end();
}

bool worker::reallocate(unsigned i, std::size_t bytes) {
  begin(doing::replacing, i, bytes);
  bool done = false;
  if (has(i)) {
    check_mark(i);
    notes_->blocks[i].mark = 0;
    void* block = first() + notes_->blocks[i].at;
    calling([&] {
      void* const moved = heap_->try_reallocate(block, bytes);
      done = moved != nullptr;
      if (done) block = moved;
    });
    const bool tracked = notes_->blocks[i].tracked_by != 0;
    note(i, block, done ? bytes : notes_->blocks[i].bytes, tracked);
  }
  end();
  return done;
}

bool worker::resize(unsigned i, std::size_t bytes) {
  begin(doing::replacing, i, bytes);
  bool done = false;
  if (has(i)) {
    check_mark(i);
    notes_->blocks[i].mark = 0;
    void* const block = first() + notes_->blocks[i].at;
    calling([&] { done = heap_->resize_in_place(block, bytes); });
    const bool tracked = notes_->blocks[i].tracked_by != 0;
    note(i, block, done ? bytes : notes_->blocks[i].bytes, tracked);
  }
  end();
  return done;
}

bool worker::link(unsigned n, std::size_t bytes) {
  if (link_at(n)) return false;
  bool done = false;
  calling([&] {
    try {
      (void)heap_->allocate_to(link_at(n), bytes);
      done = true;
    } catch (const std::bad_alloc&) {
    }
  });
  return done;
}

void worker::unlink(unsigned n) {
  begin(doing::taking, journal::first_link + n, 0);
  calling([&] { heap_->free_from(link_at(n)); });
  end();
}

void worker::trim(std::size_t keep) {
  calling([&] { (void)heap_->trim(keep); });
}

void worker::recover() {
  calling([&] { (void)heap_->recover(); });
}

unsigned worker::fill(unsigned from, unsigned to, std::size_t bytes) {
  for (; from < to; ++from)
    if (!has(mine(from)) && !allocate(mine(from), bytes)) break;
  return from;
}

void worker::free_all(unsigned from, unsigned to) {
  for (unsigned i = from; i < to; ++i)
    if (has(mine(i))) free(mine(i));
}

void worker::something(unsigned from, unsigned to, unsigned first_link, bool with_runs) {
  static constexpr std::size_t sizes[] = {16,  24,   40,   100,  100,   200,   200,
                                          500, 1000, 1000, 2000, 3000,  5000,  9000,
                                          600, 700,  48,   64,   12000, 20000, 40000};
  static constexpr std::size_t many = sizeof sizes / sizeof sizes[0];
  const unsigned i = mine(from + static_cast<unsigned>(random(to - from)));
  const std::size_t bytes = sizes[random(with_runs ? many : many - 4)];
  switch (random(with_runs ? 20 : 16)) {
    case 0:
    case 1:
      allocate_tracked(i, bytes);
      break;
    case 2:
      publish(i);
      break;
    case 3:
    case 4:
      link(first_link + static_cast<unsigned>(random(4)), bytes);
      break;
    case 5:
    case 6:
      unlink(first_link + static_cast<unsigned>(random(4)));
      break;
    case 16:
      reallocate(i, bytes);
      break;
    case 17:
      reallocate(i, sizes[random(many)]);
      break;
    case 18:
      resize(i, 4096 * (9 + random(6)));
      break;
    case 19:
      if (random(8) == 0)
        trim();
      else
        allocate(i, bytes, std::size_t{16} << random(11));
      break;
    default:
      if (has(i))
        free(i);
      else
        allocate(i, bytes);
  }
}

}  // namespace crash
