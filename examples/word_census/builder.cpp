// The processes that do the work: builders, who count words, and a reader, who looks on while they
// do.
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

#include "census.hpp"

import ipcpp;
import ipcpp.platform;

namespace census {

namespace {

namespace platform = ipcpp::platform;

std::uint64_t pack(ipcpp::handle_id id) {
  return std::uint64_t{id.generation} << 32 | id.slot;
}
ipcpp::handle_id unpack(std::uint64_t word) {
  return {static_cast<std::uint32_t>(word), static_cast<std::uint32_t>(word >> 32)};
}

std::uint32_t hash_of(std::string_view word) {
  std::uint32_t h = 2166136261u;  // FNV-1a
  for (const char c : word) h = (h ^ static_cast<unsigned char>(c)) * 16777619u;
  return h;
}

// Counts file i into its region. Nobody else touches the region while the file is ours.
void count(platform::mapping& place, const view& all, std::size_t i) {
  file& mine = all.at(i);
  if (!place.commit(mine.region_at, view::region_bytes(mine.bytes, mine.table_slots)))
    throw std::bad_alloc();
  const std::string text = read_file(std::string(all.name(i)));
  if (text.size() != mine.bytes)
    throw ipcpp::error(ipcpp::errc::damaged, all.name(i), "the text as it was", "another length",
                       "start again");
  std::memcpy(all.text(i), text.data(), text.size());
  entry* const table = all.table(i);
  std::memset(static_cast<void*>(table), 0,
              mine.table_slots * sizeof(entry));  // a predecessor may have begun
  std::uint64_t words = 0;
  const std::chrono::microseconds pause(all.head().pause_us);
  for_each_word({all.text(i), mine.bytes}, [&](std::string_view word, std::size_t at) {
    const std::uint32_t hash = hash_of(word);
    for (std::uint64_t slot = hash;; ++slot) {
      entry& e = table[slot & (mine.table_slots - 1)];
      if (e.length == 0) {
        e = {static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(word.size()), 1, hash};
        break;
      }
      // The text keeps its capitals: compare as the words were counted.
      if (e.hash == hash && e.length == word.size()) {
        bool same = true;
        for (std::size_t c = 0; c < word.size() && same; ++c)
          same = (all.text(i)[e.text_at + c] | 0x20) == word[c];
        if (same) {
          ++e.count;
          break;
        }
      }
    }
    if (++words % 64 == 0) {
      shared(mine.progress).store(at, std::memory_order_relaxed);  // for the eye only
      if (pause.count() > 0) std::this_thread::sleep_for(pause);
    }
  });
  shared(mine.progress).store(mine.bytes, std::memory_order_relaxed);
  shared(mine.words)
      .store(words + 1, std::memory_order_release);  // pairs with whoever reads the table
}

}  // namespace

int build(const std::string& object_name, std::uint64_t number) {
  platform::mapping place = platform::mapping::map(platform::shared_object::open(object_name));
  ipcpp::participants members = ipcpp::participants::attach(place, table_at);
  const view all(place.base());
  const std::uint64_t files = all.head().files;
  const ipcpp::handle_id me = members.acquire_handle(1);
  platform::parking_slot bed = members.parking_of(me);
  for (;;) {
    std::size_t finished = 0;
    for (std::size_t i = 0; i < files; ++i) {
      file& candidate = all.at(i);
      if (shared(candidate.words).load(std::memory_order_acquire) != 0) {
        ++finished;
        continue;
      }
      std::uint64_t owner = shared(candidate.owner).load(std::memory_order_acquire);
      // Somebody is at it: leave it alone, unless the kernel says that he is dead.
      if (owner != 0 && members.probe(unpack(owner)) == ipcpp::vitality::alive) continue;
      if (!shared(candidate.owner)
               .compare_exchange_strong(owner, pack(me), std::memory_order_acq_rel))
        continue;
      // The owner may have finished between our two looks.
      if (shared(candidate.words).load(std::memory_order_acquire) != 0) continue;
      if (owner != 0) shared(all.head().takeovers).fetch_add(1, std::memory_order_relaxed);
      shared(candidate.builder).store(number, std::memory_order_relaxed);
      count(place, all, i);
    }
    if (finished == files) return 0;
    (void)bed.park(bed.ticket(), std::chrono::steady_clock::now() + std::chrono::milliseconds(20));
  }
}

int read_along(const std::string& object_name) {
  const platform::mapping mapped =
      platform::mapping::map(platform::shared_object::open(object_name));
  platform::mapping& place = const_cast<platform::mapping&>(mapped);
  ipcpp::participants members = ipcpp::participants::attach(place, table_at);
  (void)members.self();
  const view all(place.base());
  const std::uint64_t files = all.head().files;
  for (std::uint64_t seen = 0; seen < files;) {
    seen = 0;
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < files; ++i) {
      file& one = all.at(i);
      if (shared(one.words).load(std::memory_order_acquire) == 0) continue;
      ++seen;
      if (!place.adopt(one.region_at + view::region_bytes(one.bytes, one.table_slots))) return 1;
      // Through the table, to prove that what is published is complete.
      for (std::uint64_t e = 0; e < one.table_slots; ++e) sum += all.table(i)[e].count;
    }
    shared(all.head().reader_sum).store(sum, std::memory_order_relaxed);  // for the eye only
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return 0;
}

}  // namespace census
