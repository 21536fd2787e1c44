// ipcpp.sync:address_map - which mapping of this process does an address lie in?
//
// Process-private: a fixed table of disjoint ranges, each with a pointer to what this
// process knows of the place: who takes part in it, and the heap there, if any. Lookups take no lock and scan the ranges in use (a process maps a handful of
// objects); entering and removing take a spin lock that fork cannot leave locked. A range must not
// be removed while somebody may still look up addresses within it.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>

export module ipcpp.sync:address_map;

import :participants;

namespace ipcpp {

// What begins the owner of every range. A lock or queue that lies in the range finds its
// participants here.
export struct mapped_place {
  participants* who = nullptr;
  // Where a place grows by further mappings (macOS): makes accessible here what others have added so
  // far. Call it after the load that may lead to something new (a lock taken, a link followed).
  // nullptr: what others add is accessible at once.
  void (*catch_up)(mapped_place& place) noexcept = nullptr;
};

export class address_map {
 public:
  static constexpr std::size_t capacity = 1024;

  // The one map of this process.
  [[nodiscard]] static address_map& of_this_process() noexcept;

  // false: no room, an empty range, or one that overlaps another.
  [[nodiscard]] bool enter(const void* begin, std::size_t bytes, mapped_place* owner) noexcept;
  // The range that begins at `begin`, if there is one.
  void remove(const void* begin) noexcept;
  // The owner of the range that holds `address`, nullptr if none does.
  [[nodiscard]] mapped_place* find(const void* address) const noexcept;
  // How many ranges were removed so far: while it stays the same, what find() said holds.
  [[nodiscard]] inline static std::uint64_t removals() noexcept {
    return removals_.load(std::memory_order_acquire);  // pairs with remove
  }

  // A range, and a number that no other range of this process ever had.
  struct range {
    mapped_place* owner = nullptr;
    std::uintptr_t begin = 0;
    std::size_t bytes = 0;
    std::uint64_t serial = 0;
  };
  // owner is nullptr if no range holds `address`.
  [[nodiscard]] range range_of(const void* address) const noexcept;

  // See mapped_place::catch_up; nothing where no place of this process needs it.
  inline static void catch_up_with(const void* address) noexcept {
    // Relaxed: set before anybody can have an address there.
    if (some_grow_by_mappings_.load(std::memory_order_relaxed)) [[unlikely]]
      of_this_process().catch_up(address);
  }

  address_map(const address_map&) = delete;
  address_map& operator=(const address_map&) = delete;

 private:
  address_map() noexcept = default;
  void catch_up(const void* address) const noexcept;

  static inline constinit std::atomic<bool> some_grow_by_mappings_{false};
  static inline constinit std::atomic<std::uint64_t> removals_{0};
};

}  // namespace ipcpp
