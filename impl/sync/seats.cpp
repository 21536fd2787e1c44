// Bodies of ipcpp.sync:seats: how a thread comes by a seat and gives it up.
//
// A thread's seats lie in fork-private pages of its own, a list of pages. They are given up when the
// thread ends; a lock it still held then has lost its owner. Seats in places that are gone from the
// address map have gone with them.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <thread>

module ipcpp.sync;

import ipcpp.platform;
import :address_map;
import :participant_table;
import :participants;
import :seats;
import :waiting;

namespace ipcpp::detail {

namespace {

constinit seat nobodys_seat{};

struct seat_page {
  seat_page* next;
  seat first[1];
};

[[nodiscard]] std::size_t seats_per_page() noexcept {
  return (platform::page_bytes() - offsetof(seat_page, first)) / sizeof(seat);
}

thread_local constinit seat_page* pages = nullptr;
// In a forked child it lies in a wiped page and is nobody's.
thread_local constinit seat* private_seat = &nobodys_seat;

void give_up(seat& s) noexcept {
  if (s.own != nullptr) {
    free_private_slot(*s.own);
  } else if (s.in.who != nullptr) {
    release_seat(s);
    std::destroy_at(&s.parking());
  }
  s = seat{};
}

struct thread_end {
  ~thread_end() {
    recent_seat = private_seat = &nobodys_seat;
    while (pages != nullptr) {
      seat_page* const page = pages;
      pages = page->next;
      for (std::size_t i = 0; i < seats_per_page(); ++i) give_up(page->first[i]);
      platform::return_fork_private_pages(page, platform::page_bytes());
    }
  }
  void needed() noexcept {}
};
thread_local thread_end at_thread_end;

// An empty seat of this thread. Throws std::bad_alloc.
seat& unused_seat() {
  at_thread_end.needed();
  const std::size_t n = seats_per_page();
  for (seat_page* page = pages; page != nullptr; page = page->next)
    for (std::size_t i = 0; i < n; ++i)
      if (page->first[i].serial == 0 && page->first[i].own == nullptr) return page->first[i];
  auto* const page =
      static_cast<seat_page*>(platform::fork_private_pages(platform::page_bytes()));  // zeroed
  page->next = pages;
  pages = page;
  return page->first[0];
}

// Drops the seats in ranges that are no more: their participants are gone, handles and all.
void drop_stale_seats() noexcept {
  const std::size_t n = seats_per_page();
  for (seat_page* page = pages; page != nullptr; page = page->next)
    for (std::size_t i = 0; i < n; ++i) {
      seat& s = page->first[i];
      if (s.serial == 0) continue;
      const auto found =
          address_map::of_this_process().range_of(reinterpret_cast<const void*>(s.begin));
      if (found.serial == s.serial) continue;
      std::destroy_at(&s.parking());
      s = seat{};
    }
}

seat* sits_already(std::uint64_t serial) noexcept {
  const std::size_t n = seats_per_page();
  for (seat_page* page = pages; page != nullptr; page = page->next)
    for (std::size_t i = 0; i < n; ++i)
      if (page->first[i].bytes != 0 && page->first[i].serial == serial) return &page->first[i];
  return nullptr;
}
seat* sits_privately() noexcept {
  return private_seat->own != nullptr ? private_seat : nullptr;
}

void enrol() noexcept {
  if (notifies_without_fence.load(std::memory_order_relaxed)) return;  // children inherit it
  // Relaxed: a thread that reads false exchanges, which is always right.
  if (platform::enrol_in_heavy_fence())
    notifies_without_fence.store(true, std::memory_order_relaxed);
}

seat& take_seat(const void* address) {
  const address_map::range found = address_map::of_this_process().range_of(address);
  enrol();
  if (found.owner == nullptr || found.owner->who == nullptr) {
    seat& s = unused_seat();
    const private_seat_id taken = take_private_slot();
    s.own = taken.slot;
    s.handle = taken.handle;
    s.words = taken.words;
    s.id = pack_seat_id(taken.handle);
    s.process = pack_seat_id({0, 1});
    private_seat = &s;
    return s;
  }
  drop_stale_seats();
  seat& s = unused_seat();
  participants& who = *found.owner->who;
  const handle_id handle = who.acquire_handle(seat_kind);
  s.handle = handle;
  s.in = roster(who, found.begin, found.bytes);
  s.words = who.words_of(handle)->word;
  ::new (static_cast<void*>(s.cell)) platform::parking_slot(who.parking_of(handle));
  s.id = pack_seat_id(handle);
  const participant_id process = who.owner_of(handle);
  s.process = pack_seat_id({process.slot, process.generation});
  s.serial = found.serial;
  s.removals = address_map::removals();
  s.grows_by_mappings = found.owner->catch_up != nullptr ? found.owner : nullptr;
  s.begin = found.begin;
  s.bytes = found.bytes;
  recent_seat = &s;
  return s;
}

}  // namespace

thread_local constinit seat* recent_seat = &nobodys_seat;
constinit std::atomic<bool> notifies_without_fence{false};

seat* find_seat(const void* address) noexcept {
  if (seat* const s = recent_seat_at(address); s != nullptr) return s;
  // Before the look: a range that goes afterwards makes us look again.
  const std::uint64_t removals = address_map::removals();
  const address_map::range found = address_map::of_this_process().range_of(address);
  if (found.owner == nullptr || found.owner->who == nullptr) return sits_privately();
  seat* const s = sits_already(found.serial);
  if (s == nullptr) return nullptr;
  s->removals = removals;
  recent_seat = s;
  return s;
}

seat& seat_at(const void* address) {
  if (seat* const s = find_seat(address); s != nullptr) return *s;
  return take_seat(address);
}

std::uint32_t seat::ticket() noexcept {
  return own != nullptr ? private_ticket(*own) : parking().ticket();
}

platform::park_outcome seat::park(std::uint32_t expected, platform::steady_time deadline) noexcept {
  return own != nullptr ? private_park(*own, expected, deadline)
                        : parking().park(expected, deadline);
}

// ---- rosters ----

roster::roster(participants& of, std::uintptr_t begin, std::size_t bytes) noexcept
    : who(&of), table(of.self_) {
  origin = reinterpret_cast<std::uintptr_t>(table->processes);
  if (origin - begin < bytes) return;
  origin = begin;
  origin_flag = by_range_flag;
}

roster roster::at(const void* address) noexcept {
  const address_map::range found = address_map::of_this_process().range_of(address);
  if (found.owner == nullptr || found.owner->who == nullptr) return {};
  return roster(*found.owner->who, found.begin, found.bytes);
}

std::uint32_t roster::limit() const noexcept {
  return table != nullptr ? table->limits.handles : private_limit();
}
std::uint64_t* roster::words(std::uint32_t slot) const noexcept {
  return table != nullptr ? table->handles[slot].words.word : private_words(slot);
}
void roster::unpark(std::uint32_t slot) const noexcept {
  if (table == nullptr) return private_unpark(slot);
  platform::parking_slot(*table->place, table->first_life + slot, table->handles[slot].cell)
      .unpark();
}
std::uint64_t roster::id_at(std::uint32_t slot) const noexcept {
  if (table == nullptr) return private_id_at(slot);
  const std::uint64_t control =
      shared(table->handles[slot].control).load(std::memory_order_acquire);  // acquire_handle
  return handle_used(control) ? pack_seat_id({slot, handle_generation(control)}) : 0;
}
bool roster::gone(std::uint64_t id) const noexcept {
  const handle_id handle = unpack_seat_id(id);
  if (table == nullptr) return private_id_at(handle.slot) != id;
  return who->probe(handle) != vitality::alive;
}

bool roster::process_gone(std::uint64_t process) const noexcept {
  const handle_id id = unpack_seat_id(process);
  return table != nullptr && who->probe(participant_id{id.slot, id.generation}) != vitality::alive;
}

std::uint32_t spins() noexcept {
  // Relaxed: everybody finds the same.
  static constinit std::atomic<std::uint32_t> known{~std::uint32_t{0}};
  std::uint32_t n = known.load(std::memory_order_relaxed);
  if (n == ~std::uint32_t{0}) {
    n = std::thread::hardware_concurrency() > 1 ? 40 : 0;
    known.store(n, std::memory_order_relaxed);
  }
  return n;
}

}  // namespace ipcpp::detail
