// Bodies of ipcpp.sync:address_map.
//
// Race story: an entry is (begin, end, owner). enter() stores owner and end before begin (release);
// find() loads begin (acquire) before them. remove() stores begin = 0 first. The rule that nobody
// removes a range in use does the rest.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>

module ipcpp.sync;

import ipcpp.platform;
import :seats;

namespace ipcpp {

namespace {

struct entry {
  std::atomic<std::uintptr_t> begin{0};
  std::atomic<std::uintptr_t> end{0};
  std::atomic<mapped_place*> owner{nullptr};
  std::atomic<std::uint64_t> serial{0};
};

constinit entry entries[address_map::capacity];
constinit std::atomic<std::size_t> used{0};
constinit std::atomic<std::uint64_t> last_serial{0};
constinit detail::fork_safe_lock entering;

}  // namespace

address_map& address_map::of_this_process() noexcept {
  static address_map only;
  return only;
}

bool address_map::enter(const void* begin, std::size_t bytes, mapped_place* owner) noexcept {
  const auto first = reinterpret_cast<std::uintptr_t>(begin);
  if (begin == nullptr || bytes == 0 || first + bytes < first) return false;
  const detail::fork_safe_guard guard(entering);
  if (owner != nullptr && owner->catch_up != nullptr)
    some_grow_by_mappings_.store(true, std::memory_order_relaxed);
  entry* place = nullptr;
  const std::size_t n = used.load(std::memory_order_relaxed);  // changed under the lock only
  for (std::size_t i = 0; i < n; ++i) {
    const std::uintptr_t other = entries[i].begin.load(std::memory_order_relaxed);
    if (other == 0) {
      place = &entries[i];
    } else if (first < entries[i].end.load(std::memory_order_relaxed) && other < first + bytes) {
      return false;
    }
  }
  if (place == nullptr && n == capacity) return false;
  if (place == nullptr) place = &entries[n];
  place->owner.store(owner, std::memory_order_relaxed);  // published by begin
  place->serial.store(last_serial.fetch_add(1, std::memory_order_relaxed) + 1,
                      std::memory_order_relaxed);
  place->end.store(first + bytes, std::memory_order_relaxed);
  place->begin.store(first, std::memory_order_release);  // pairs with find
  if (place == &entries[n]) used.store(n + 1, std::memory_order_release);
  return true;
}

void address_map::remove(const void* begin) noexcept {
  const detail::fork_safe_guard guard(entering);
  for (std::size_t i = 0; i < used.load(std::memory_order_relaxed); ++i)
    if (begin != nullptr && entries[i].begin.load(std::memory_order_relaxed) ==
                                reinterpret_cast<std::uintptr_t>(begin)) {
      entries[i].begin.store(0, std::memory_order_release);
      // Every thread looks again before it uses what it found here before (a seat, a map).
      removals_.fetch_add(1, std::memory_order_release);  // pairs with removals
    }
}

void detail::release_seat(const seat& of) noexcept {
  const fork_safe_guard guard(entering);  // nobody removes the range meanwhile
  const std::size_t n = used.load(std::memory_order_relaxed);
  for (std::size_t i = 0; i < n; ++i)
    if (entries[i].begin.load(std::memory_order_relaxed) != 0 &&
        entries[i].serial.load(std::memory_order_relaxed) == of.serial)
      of.in.who->release_handle(of.handle);
}

address_map::range address_map::range_of(const void* address) const noexcept {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  const std::size_t n = used.load(std::memory_order_acquire);  // pairs with enter
  for (std::size_t i = 0; i < n; ++i) {
    const entry& e = entries[i];
    const std::uintptr_t begin = e.begin.load(std::memory_order_acquire);  // pairs with enter
    const std::uintptr_t end = e.end.load(std::memory_order_relaxed);      // as the rest: by begin
    if (begin != 0 && begin <= wanted && wanted < end)
      return {e.owner.load(std::memory_order_relaxed), begin, end - begin,
              e.serial.load(std::memory_order_relaxed)};
  }
  return {};
}

void address_map::catch_up(const void* address) const noexcept {
  mapped_place* const place = find(address);
  if (place != nullptr && place->catch_up != nullptr) place->catch_up(*place);
}

mapped_place* address_map::find(const void* address) const noexcept {
  const auto wanted = reinterpret_cast<std::uintptr_t>(address);
  const std::size_t n = used.load(std::memory_order_acquire);  // pairs with enter
  for (std::size_t i = 0; i < n; ++i) {
    const std::uintptr_t begin =
        entries[i].begin.load(std::memory_order_acquire);  // pairs with enter
    if (begin != 0 && begin <= wanted && wanted < entries[i].end.load(std::memory_order_relaxed))
      return entries[i].owner.load(std::memory_order_relaxed);
  }
  return nullptr;
}

}  // namespace ipcpp
