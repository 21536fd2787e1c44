// Bodies of ipcpp.sync:participants: joining, leaving, probing, burying.
//
// Joining slot i, and what the others see if the process dies after each step:
//   1 find control i free            nothing
//   2 take life i                    a free slot whose life is free again: nothing
//   3 control: free -> joining, g+1  joining, life free: dead, to be buried
//   4 identity                       the same
//   5 control: joining -> live       live, life free: dead, to be buried
// Leaving:
//   1 repair and free each handle    live, life free: dead; the handles already freed are whole
//   2 control: live -> free, g       free; nobody can take the life before 3 or this process's end
//   3 let life i go                  a free slot
// Burying {i, g}:
//   1 take life i                    unchanged: still dead
//   2 control: -> burying, g         burying: dead; whoever takes the life next begins again at 3
//   3 repair, free each handle       the same; a freed handle is not seen again
//   4 repair the process             the same
//   5 control: burying -> free, g    free
//   6 let life i go                  a free slot
//
// Race story. Control words are changed by the owner of the life alone; newcomers, leavers and
// undertakers of one slot follow each other through the kernel's lock on it, which orders their
// memory. Probers only read: generation, then the lock, then the generation again, so that the lock
// they asked about was the lock of that generation.
module;

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

module ipcpp.sync;

import ipcpp.platform;
import :participant_table;

namespace ipcpp {

using namespace detail;

namespace {

void check_limits(participant_limits limits, std::uint32_t first_life) {
  if (limits.processes >= 1 && limits.processes <= participants::max_processes &&
      limits.handles >= 1 && limits.handles <= participants::max_handles &&
      first_life <= platform::max_lives - limits.processes)
    return;
  throw error(errc::invalid_argument, "participants",
              "1 to " + std::to_string(participants::max_processes) + " processes and 1 to " +
                  std::to_string(participants::max_handles) + " handles",
              std::to_string(limits.processes) + " and " + std::to_string(limits.handles), "");
}

}  // namespace

// ---- making and attaching ----

participants participants::create(const platform::mapping& place, std::size_t offset,
                                  participant_limits limits, std::uint32_t first_life) {
  check_limits(limits, first_life);
  if (offset % platform::line_stride != 0 || offset < platform::first_usable_byte ||
      offset > place.capacity() || bytes_needed(limits) > place.capacity() - offset)
    throw error(errc::invalid_argument, "participants",
                "a multiple of 128 that leaves room in the object",
                "offset " + std::to_string(offset), "");
  auto* const header = reinterpret_cast<table_header*>(place.base() + offset);
  header->version = table_version;
  header->processes = limits.processes;
  header->handles = limits.handles;
  header->first_life = first_life;
  header->magic = table_magic;
  return attach(place, offset);
}

participants participants::attach(const platform::mapping& place, std::size_t offset) {
  constexpr std::string_view what = "participants";
  if (offset % platform::line_stride != 0 || offset > place.capacity() - sizeof(table_header))
    throw error(errc::invalid_argument, what, "the offset of a table", std::to_string(offset), "");
  std::byte* const at = place.base() + offset;
  const table_header found =
      *reinterpret_cast<const table_header*>(at);  // read once, then checked, then used
  if (found.magic != table_magic)
    throw error(errc::damaged, what, "a table at offset " + std::to_string(offset),
                "something else", "");
  if (found.version != table_version)
    throw error(errc::wrong_layout, what, "table version " + std::to_string(table_version),
                std::to_string(found.version), "build all programs with the same ipcpp");
  const participant_limits limits{found.processes, found.handles};
  if (limits.processes < 1 || limits.processes > max_processes || limits.handles < 1 ||
      limits.handles > max_handles || found.first_life > platform::max_lives - limits.processes ||
      bytes_needed(limits) > place.capacity() - offset)
    throw error(errc::damaged, what, "limits that fit the object",
                std::to_string(limits.processes) + " processes, " + std::to_string(limits.handles) +
                    " handles",
                "");
  auto* const processes = reinterpret_cast<process_slot*>(at + platform::line_stride);
  auto* const handles = reinterpret_cast<handle_slot*>(
      at + platform::line_stride * (1 + std::size_t{limits.processes}));
  return participants(new state{.place = &place,
                                .line = platform::life_line::of(place),
                                .limits = limits,
                                .first_life = found.first_life,
                                .processes = processes,
                                .handles = handles,
                                .changing = {},
                                .hold = {}});
}

participants::~participants() {
  if (self_ == nullptr) return;
  leave();
  delete self_;
}

participant_limits participants::limits() const noexcept {
  return self_->limits;
}

const platform::mapping& participants::place() const noexcept {
  return *self_->place;
}

void participants::set_repair(repair_function repair, void* context) noexcept {
  self_->repair = repair;
  self_->repair_context = context;
}

// ---- joining and leaving ----

bool participants::state::join_slot(std::uint32_t slot, std::uint64_t control) {
  platform::life_hold taken = line.take(first_life + slot);
  if (!taken) return false;
  process_slot& of = processes[slot];
  const std::uint32_t generation = next_generation(generation_of(control));
  // Acquire, release: pairs with leave and bury_slot, which freed the slot; probers pair with the
  // store below.
  if (!shared(of.control)
           .compare_exchange_strong(control, pack(generation, slot_state::joining),
                                    std::memory_order_acq_rel))
    return false;
  const platform::process_identity me = platform::current_process();
  shared(of.pid).store(me.pid, std::memory_order_relaxed);  // published by the control word
  shared(of.start_time).store(me.start_time, std::memory_order_relaxed);
  shared(of.pid_namespace).store(me.pid_namespace, std::memory_order_relaxed);
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  std::atomic_ref(of.joined_ns)
      .store(std::chrono::duration_cast<std::chrono::nanoseconds>(now).count(),
             std::memory_order_relaxed);
  shared(of.control)
      .store(pack(generation, slot_state::live),
             std::memory_order_release);  // pairs with probe, info_of
  hold = std::move(taken);
  joined_as.store(std::uint64_t{slot} << 32 | generation, std::memory_order_relaxed);
  joined_incarnation.store(platform::incarnation(),
                           std::memory_order_release);  // pairs with is_member
  return true;
}

bool participants::state::join() {
  // A free slot whose life is held belongs to somebody who is just leaving, and what another
  // undertaker is at will be free soon: worth a few more looks. Where there is neither, two more all
  // the same: an undertaker that has just begun, or has just ended, looks like one of the living.
  int vain = 0;
  for (int look = 0; look < 100; ++look) {
    bool leaving = false;
    for (std::uint32_t slot = 0; slot < limits.processes; ++slot) {
      const std::uint64_t control =
          shared(processes[slot].control).load(std::memory_order_acquire);  // leave, bury_slot
      if (state_of(control) != slot_state::free) continue;
      if (join_slot(slot, control)) return true;
      leaving = true;
    }
    if (bury_all() != 0) continue;
    if (leaving) {
      std::this_thread::yield();
    } else {
      if (!being_buried() && ++vain == 3) return false;
      std::this_thread::sleep_for(another_look);
    }
  }
  return false;
}

participant_id participants::self() {
  if (self_->is_member()) return self_->member();
  const detail::fork_safe_guard guard(self_->changing);
  if (!self_->is_member() && !self_->join())
    refuse_limit(*self_->place, "process", self_->limits.processes);
  return self_->member();
}

bool participants::joined() const noexcept {
  return self_->is_member();
}

void participants::leave() noexcept {
  const detail::fork_safe_guard guard(self_->changing);
  if (!self_->is_member()) return;
  const participant_id me = self_->member();
  self_->joined_incarnation.store(0, std::memory_order_relaxed);  // only this process reads it
  self_->free_handles(me);
  // Release: pairs with join_slot; whoever takes the slot sees it empty.
  shared(self_->processes[me.slot].control)
      .store(pack(me.generation, slot_state::free), std::memory_order_release);
  self_->hold = {};
}

// ---- the living and the dead ----

vitality participants::probe(participant_id who) const noexcept {
  if (who.slot >= self_->limits.processes || !who) return vitality::left;
  if (self_->is_member() && self_->member() == who) return vitality::alive;
  const auto control = shared(self_->processes[who.slot].control);
  const std::uint64_t before = control.load(std::memory_order_acquire);  // pairs with join_slot
  if (generation_of(before) != who.generation || state_of(before) == slot_state::free)
    return vitality::left;
  if (state_of(before) == slot_state::burying) return vitality::dead;
  const platform::life held = self_->probe_life(who.slot, state_of(before));
  // The kernel's lock ordered this load after whatever the holder did last.
  const std::uint64_t after = control.load(std::memory_order_acquire);
  if (generation_of(after) != who.generation || state_of(after) == slot_state::free)
    return vitality::left;
  if (state_of(after) == slot_state::burying) return vitality::dead;
  return held == platform::life::alive ? vitality::alive : vitality::dead;
}

vitality participants::probe(handle_id handle) const noexcept {
  const participant_id owner = owner_of(handle);
  if (!owner) return vitality::left;
  const vitality found = probe(owner);
  return owner_of(handle) == owner ? found : vitality::left;
}

bool participants::attended(participant_id who) const noexcept {
  if (who.slot >= self_->limits.processes || !who) return true;  // nobody can say it is not
  if (self_->is_member() && self_->member() == who) return true;
  const auto control = shared(self_->processes[who.slot].control);
  const std::uint64_t before = control.load(std::memory_order_acquire);  // pairs with join_slot
  if (generation_of(before) != who.generation || state_of(before) == slot_state::free)
    return true;  // gone: what it held was passed on
  const platform::life held = self_->probe_life(who.slot, state_of(before));
  const std::uint64_t after = control.load(std::memory_order_acquire);  // ordered by the lock
  return after != before || held == platform::life::alive;
}

bool participants::state::bury_slot(std::uint32_t slot, std::uint32_t generation) noexcept {
  try {
    const platform::life_hold taken = line.take(first_life + slot);
    if (!taken) return false;
    const auto control = shared(processes[slot].control);
    const std::uint64_t found =
        control.load(std::memory_order_acquire);  // pairs with the last owner
    if (generation_of(found) != generation || state_of(found) == slot_state::free) return false;
    control.store(pack(generation, slot_state::burying),
                  std::memory_order_release);  // pairs with probe
    const participant_id dead{slot, generation};
    free_handles(dead);
    if (repair != nullptr) repair(repair_context, remains{dead, {}, 0, nullptr});
    control.store(pack(generation, slot_state::free),
                  std::memory_order_release);  // pairs with join_slot
    return true;
  } catch (const error&) {
  } catch (const std::bad_alloc&) {
  }
  return false;  // the system would not let us look: somebody else will
}

std::size_t participants::state::bury_all() noexcept {
  std::size_t buried = 0;
  for (std::uint32_t slot = 0; slot < limits.processes; ++slot) {
    const std::uint64_t control =
        shared(processes[slot].control).load(std::memory_order_acquire);  // join_slot
    const slot_state seen = state_of(control);
    if (seen == slot_state::free) continue;
    if (is_member() && member() == participant_id{slot, generation_of(control)}) continue;
    if (seen != slot_state::burying && probe_life(slot, seen) == platform::life::alive) continue;
    if (bury_slot(slot, generation_of(control))) ++buried;
  }
  return buried;
}

bool participants::state::being_buried() const noexcept {
  for (std::uint32_t slot = 0; slot < limits.processes; ++slot)
    // Acquire: pairs with bury_slot.
    if (state_of(shared(processes[slot].control).load(std::memory_order_acquire)) ==
        slot_state::burying)
      return true;
  return false;
}

bool participants::bury(participant_id who) noexcept {
  if (probe(who) != vitality::dead) return false;
  const detail::fork_safe_guard guard(self_->changing);
  return self_->bury_slot(who.slot, who.generation);
}

std::size_t participants::bury_dead() noexcept {
  const detail::fork_safe_guard guard(self_->changing);
  return self_->bury_all();
}

}  // namespace ipcpp
