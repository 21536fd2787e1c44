// Bodies of ipcpp.sync:participants: handles, and looking around.
//
// Acquiring is one exchange: from then on the handle is buried with its owner. Releasing, killed after
// each step: 1 the words zeroed (what they stood for was given up before), 2 the control word (free).
// Invariant: the words of a free handle are zero, so an undertaker never takes what an earlier owner
// wrote for what the dead one did.
module;

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <thread>

module ipcpp.sync;

import ipcpp.platform;
import :participant_table;

namespace ipcpp {

using namespace detail;

void detail::refuse_limit(const platform::mapping& place, std::string_view what,
                          std::uint32_t limit) {
  const std::string& name = place.object().name();
  throw error(errc::limit_reached,
              "participants of " + (name.empty() ? "an unnamed object" : "'" + name + "'"),
              "a free " + std::string(what) + " slot",
              "all " + std::to_string(limit) + " in use by living processes",
              "create the object with a higher limit (128 bytes each)");
}

namespace {

// By its owner, or its owner's undertaker.
void free_handle(handle_slot& handle, std::uint32_t generation) noexcept {
  for (std::uint64_t& word : handle.words.word)
    shared(word).store(0, std::memory_order_relaxed);  // published by the control word
  // Release: pairs with acquire_handle.
  shared(handle.control).store(std::uint64_t{generation} << 32, std::memory_order_release);
}

}  // namespace

void participants::state::free_handles(participant_id of) noexcept {
  for (std::uint32_t i = 0; i < limits.handles; ++i) {
    handle_slot& handle = handles[i];
    const std::uint64_t control =
        shared(handle.control).load(std::memory_order_relaxed);  // ordered by the life
    if (!handle_used(control) || handle_owner(control) != of.slot) continue;
    if (repair != nullptr)
      repair(repair_context,
             remains{of, {i, handle_generation(control)}, handle_kind_of(control), &handle.words});
    free_handle(handle, handle_generation(control));
  }
}

handle_id participants::acquire_handle(handle_kind kind) {
  const participant_id me = self();
  int vain = 0;  // as in join
  for (int look = 0; look < 100; ++look) {
    for (std::uint32_t i = 0; i < self_->limits.handles; ++i) {
      handle_slot& handle = self_->handles[i];
      std::uint64_t seen =
          shared(handle.control).load(std::memory_order_relaxed);  // the exchange decides
      if (handle_used(seen)) continue;
      const std::uint32_t generation = next_generation(handle_generation(seen));
      // Acquire: pairs with release_handle and free_handles. Release: pairs with owner_of.
      if (!shared(handle.control)
               .compare_exchange_strong(seen, pack_handle(generation, me.slot, kind),
                                        std::memory_order_acq_rel))
        continue;
      return {i, generation};
    }
    if (bury_dead() != 0) continue;
    if (!self_->being_buried() && ++vain == 2) break;
    std::this_thread::sleep_for(another_look);
  }
  refuse_limit(*self_->place, "handle", self_->limits.handles);
}

void participants::release_handle(handle_id handle) noexcept {
  if (!self_->is_member() || owner_of(handle) != self_->member()) return;
  free_handle(self_->handles[handle.slot], handle.generation);
}

participant_id participants::owner_of(handle_id handle) const noexcept {
  if (handle.slot >= self_->limits.handles || !handle) return {};
  const std::uint64_t control = shared(self_->handles[handle.slot].control)
                                    .load(std::memory_order_acquire);  // pairs with acquire_handle
  const std::uint32_t owner = handle_owner(control);
  if (!handle_used(control) || handle_generation(control) != handle.generation ||
      owner >= self_->limits.processes)
    return {};
  // The handle is used, so its owner's slot still has the generation that acquired it.
  const std::uint64_t process =
      shared(self_->processes[owner].control).load(std::memory_order_acquire);
  return {owner, generation_of(process)};
}

handle_words* participants::words_of(handle_id handle) const noexcept {
  return owner_of(handle) ? &self_->handles[handle.slot].words : nullptr;
}

handle_info participants::handle_at(std::uint32_t slot) const noexcept {
  const std::uint64_t control =
      shared(self_->handles[slot].control).load(std::memory_order_acquire);  // acquire_handle
  const std::uint32_t owner = handle_owner(control);
  if (!handle_used(control) || owner >= self_->limits.processes) return {};
  const std::uint64_t process =
      shared(self_->processes[owner].control).load(std::memory_order_acquire);  // join_slot
  return {{slot, handle_generation(control)},
          {owner, generation_of(process)},
          handle_kind_of(control),
          &self_->handles[slot].words};
}

platform::parking_slot participants::parking_of(handle_id handle) const noexcept {
  return platform::parking_slot(*self_->place, self_->first_life + handle.slot,
                                self_->handles[handle.slot].cell);
}

// ---- looking around ----

std::uint32_t participants::size() const noexcept {
  std::uint32_t n = 0;
  for (std::uint32_t slot = 0; slot < self_->limits.processes; ++slot)
    if (state_of(shared(self_->processes[slot].control).load(std::memory_order_relaxed)) !=
        slot_state::free)
      ++n;  // relaxed: a number that may be old the moment it is returned
  return n;
}

participant_info participants::info_of(std::uint32_t slot) const noexcept {
  participant_info info;
  const std::uint64_t control =
      shared(self_->processes[slot].control).load(std::memory_order_acquire);  // join_slot
  if (state_of(control) == slot_state::free) return info;
  info.id = {slot, generation_of(control)};
  info.identity = self_->identity(slot);
  info.joined = std::chrono::steady_clock::time_point(
      std::chrono::duration_cast<std::chrono::steady_clock::duration>(std::chrono::nanoseconds(
          std::atomic_ref(self_->processes[slot].joined_ns).load(std::memory_order_relaxed))));
  info.state = probe(info.id);
  for (std::uint32_t i = 0; i < self_->limits.handles; ++i) {
    const std::uint64_t handle =
        shared(self_->handles[i].control).load(std::memory_order_relaxed);  // just a count
    if (handle_used(handle) && handle_owner(handle) == slot) ++info.handles;
  }
  if (info.state == vitality::left) info = {};
  return info;
}

}  // namespace ipcpp
