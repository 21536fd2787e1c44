// Bodies of ipcpp.queue:latest: storing into the cells, loading from them.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>

module ipcpp.queue;

import ipcpp.platform;
import ipcpp.sync;

namespace ipcpp::detail {

namespace {

constexpr std::uint64_t being_written = std::uint64_t{1} << 63;

std::uint64_t writing_word(participant_id by, std::uint64_t number) noexcept {
  return being_written | std::uint64_t{by.slot & 0xfff} << 51 | std::uint64_t{by.generation} << 19 |
         (number & 0x7ffff);
}
participant_id writer_of(std::uint64_t word) noexcept {
  return {static_cast<std::uint32_t>(word >> 51 & 0xfff),
          static_cast<std::uint32_t>(word >> 19 & 0xffffffff)};
}

// Word by word, so that a copy that is overtaken is old or new in each word, and known to be useless.
void copy_in(std::uint64_t* to, const void* from, std::uint64_t bytes) noexcept {
  const auto* at = static_cast<const std::byte*>(from);
  for (; bytes > 0; ++to) {
    std::uint64_t word = 0;
    const std::uint64_t n = bytes < 8 ? bytes : 8;
    std::memcpy(&word, at, static_cast<std::size_t>(n));
    std::atomic_ref(*to).store(word, std::memory_order_relaxed);  // between the fences
    at += n;
    bytes -= n;
  }
}
void copy_out(void* to, std::uint64_t* from, std::uint64_t bytes) noexcept {
  auto* at = static_cast<std::byte*>(to);
  for (; bytes > 0; ++from) {
    const std::uint64_t word =
        std::atomic_ref(*from).load(std::memory_order_relaxed);  // between the fences
    const std::uint64_t n = bytes < 8 ? bytes : 8;
    std::memcpy(at, &word, static_cast<std::size_t>(n));
    at += n;
    bytes -= n;
  }
}

// current = number, unless it is newer.
void advance(latest_line& line, std::uint64_t number) noexcept {
  const auto current = shared(line.current);
  std::uint64_t seen = current.load(std::memory_order_relaxed);  // the exchange decides
  // Release: the cell's word comes before; pairs with load_latest.
  while (seen < number && !current.compare_exchange_weak(seen, number, std::memory_order_acq_rel)) {
  }
}

// Claims a cell for a store; its number.
std::uint64_t claim(const latest_cells& in, participant_id me) {
  for (std::uint64_t attempt = 0;; ++attempt) {
    const std::uint64_t number =
        shared(in.line->next).fetch_add(1, std::memory_order_relaxed) + 1;  // unique, that is all
    const auto word = shared(*in.cell(number));
    std::uint64_t seen = word.load(std::memory_order_acquire);  // pairs with 5 of its last store
    if ((seen & being_written) != 0) {
      const participant_id writer = writer_of(seen);
      // A thread of ours is alive. So is whoever is stopped: the next cell.
      if (writer == me || in.queue.who->probe(writer) == vitality::alive) {
        if (attempt % 64 == 63) std::this_thread::yield();
        continue;
      }
    } else {
      const std::uint64_t current = shared(in.line->current).load(std::memory_order_acquire);
      if (seen > number) {
        // Its store drew its number before it wrote it, and we have acquired that.
        if (seen > shared(in.line->next).load(std::memory_order_relaxed))
          refuse_damaged(queue_kind::latest, "the number of a store", std::to_string(seen));
        continue;  // lapped
      }
      if (seen > current) advance(*in.line, seen);  // its writer died, or has not come to it yet
      if (seen >= current && seen != 0) continue;   // what readers are being led to
    }
    // Acquire: whoever read or wrote here before. The fence in store_latest orders what follows.
    if (word.compare_exchange_strong(seen, writing_word(me, number), std::memory_order_acq_rel))
      return number;
  }
}

}  // namespace

void store_latest(const latest_cells& in, const void* value) {
  const std::uint64_t number = claim(in, in.queue.who->self());
  std::uint64_t* const cell = in.cell(number);
  std::atomic_thread_fence(std::memory_order_release);  // pairs with the fence in load_latest
  copy_in(cell + 1, value, in.value_bytes);
  shared(*cell).store(number, std::memory_order_release);  // pairs with load_latest
  advance(*in.line, number);
}

std::uint64_t load_latest(const latest_cells& in, void* value, std::uint64_t tries) {
  std::uint64_t stuck_at = 0;
  std::uint64_t stuck = 0;
  for (; tries > 0; --tries) {
    const std::uint64_t current =
        shared(in.line->current).load(std::memory_order_acquire);  // pairs with advance
    std::uint64_t* const cell = in.cell(current);
    if (shared(*cell).load(std::memory_order_acquire) == current) {  // pairs with store_latest
      copy_out(value, cell + 1, in.value_bytes);
      std::atomic_thread_fence(std::memory_order_acquire);  // pairs with the fence in store_latest
      if (shared(*cell).load(std::memory_order_relaxed) == current) return current;  // as above
    } else if (current != stuck_at) {
      stuck_at = current;
      stuck = 0;
    } else if (++stuck == 1000) {
      refuse_damaged(queue_kind::latest, "the newest value in its cell", "another number there");
    }
  }
  return 0;
}

}  // namespace ipcpp::detail
