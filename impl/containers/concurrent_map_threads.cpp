// Bodies of ipcpp.containers:concurrent_map_core: how a thread comes by its record of a map, and gives
// it back.
//
// What a thread keeps (map_thread) lies in pages that read zero in a forked child, so a child never
// takes its parent's record for its own. It is believed only while nothing was unmapped in this process
// since it was checked, the map at that address has the same random id, and the record is in the same
// use. A thread that ends gives its records back; those of a process that died or left are taken by
// whoever comes next.
module;

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <new>

module ipcpp.containers;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :concurrent_map_core;

namespace ipcpp::detail {

namespace {

constexpr std::size_t page_of_threads = 4096;

constinit map_thread nobody{};

[[nodiscard]] constexpr map_thread_table empty_table() noexcept {
  map_thread_table table{};
  for (map_thread*& t : table.at) t = &nobody;
  return table;
}

struct page {
  page* next;
  std::array<map_thread, (page_of_threads - sizeof(page*)) / sizeof(map_thread)> threads;
};
static_assert(sizeof(page) <= page_of_threads);

[[nodiscard]] std::uint64_t as_holder(participant_id id) noexcept {
  return std::uint64_t{id.generation} << 32 | (id.slot + 1);
}

}  // namespace

constinit thread_local map_thread_table recent_map_threads = empty_table();

// What a thread has to do with maps, and their friend on its behalf.
struct map_threads {
  page* first = nullptr;

  constexpr map_threads() noexcept = default;
  map_threads(const map_threads&) = delete;
  map_threads& operator=(const map_threads&) = delete;
  ~map_threads() {
    for (page* p = first; p != nullptr;) {
      page* const next = p->next;
      for (map_thread& t : p->threads)
        if (is_current(t)) give_back(t);
      platform::return_fork_private_pages(p, page_of_threads);
      p = next;
    }
    first = nullptr;
    recent_map_threads = empty_table();
  }

  // Is the map still there, and this its record in it?
  static bool is_current(map_thread& t) noexcept {
    if (t.map == nullptr) return false;
    const std::uint64_t removals = address_map::removals();
    if (t.removals != removals) {
      mapped_place* const place = address_map::of_this_process().find(t.map);
      if (place == nullptr || place->who == nullptr || !place->who->joined()) return false;
      // Another heap may lie there by now, with fewer pages.
      if (!heap_contains(t.heap, t.map) || t.map->id_ != t.id ||
          as_holder(place->who->self()) != t.me)
        return false;
      know_place(t, *place);
      t.removals = removals;
    }
    return t.map->id_ == t.id &&
           shared_word(t.record->use).load(std::memory_order_relaxed) == t.use;  // ours, if it is
  }

  static void know_place(map_thread& t, mapped_place& place) noexcept {
    t.who = place.who;
    t.grows_by_mappings = place.catch_up != nullptr ? &place : nullptr;
    t.readings = t.depth() |
                 (t.grows_by_mappings != nullptr || t.self_fencing != 0 ? map_thread::careful : 0);
  }
  [[nodiscard]] static map_thread*& recent(const map_core& map) noexcept {
    return recent_map_threads.at[map_core::place_in_table(&map)];
  }

  static void give_back(map_thread& t) noexcept {
    shared_word(t.record->lower).store(0, std::memory_order_release);
    shared_word(t.record->self_fencing).store(0, std::memory_order_release);
    shared_word(t.record->use).store(0, std::memory_order_release);  // pairs with take_record
    t = {};
  }

  [[nodiscard]] map_thread& unused() {
    page** last = &first;
    for (; *last != nullptr; last = &(*last)->next)
      for (map_thread& t : (*last)->threads) {
        if (t.map != nullptr && t.depth() == 0 && !is_current(t)) t = {};
        if (t.map == nullptr) return t;
      }
    *last = new (platform::fork_private_pages(page_of_threads)) page{};
    return (*last)->threads[0];
  }

  [[nodiscard]] map_thread& find_or_make(map_core& map) {
    for (page* p = first; p != nullptr; p = p->next)
      for (map_thread& t : p->threads)
        if (t.map == &map && is_current(t)) return recent(map) = &t, t;
    mapped_place* const place = address_map::of_this_process().find(&map);
    if (place == nullptr || place->who == nullptr)
      throw error(errc::not_a_participant, "concurrent_map", "a map in a segment that is open here",
                  "an address that is in none", "keep the segment object open meanwhile");
    map_thread made{};
    made.map = &map;
    made.id = map.id_;
    made.removals = address_map::removals();
    know_place(made, *place);
    made.me = as_holder(place->who->self());
    made.heap = map.heap();
    // A cache of the heap, so that nothing that has to be done under a lock can fail for want of one.
    (void)heap_set_tag(made.heap, heap_set_tag(made.heap, 0));
    if (!platform::enrol_in_heavy_fence()) {
      made.no_heavy_fence = 1;
      shared_word(map.fences_needed_).store(1, std::memory_order_seq_cst);
    }
    if (shared_word(map.fences_needed_).load(std::memory_order_seq_cst) != 0) made.self_fencing = 1;
    map_thread& t = unused();
    map.take_record(made);
    if (made.self_fencing != 0) made.readings = map_thread::careful;
    t = made;
    return recent(map) = &t, t;
  }
};

namespace {
constinit thread_local map_threads this_thread_maps;
}

map_thread& map_core::find_or_make_thread() {
  return this_thread_maps.find_or_make(*this);
}

}  // namespace ipcpp::detail
