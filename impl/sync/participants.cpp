// Bodies of ipcpp.sync:participants.
//
// Joining slot i, and what the others see if the process dies after each step:
//   1 find control i free            nothing
//   2 take life i                    a free slot whose life is free again: nothing
//   3 control: free -> joining, g+1  joining, life free: dead, to be buried
//   4 identity                       the same
//   5 control: joining -> live       live, life free: dead, to be buried
// Leaving:
//   1 repair and free each handle    live, life free: dead; the handles already freed are whole
//   2 control: live -> free, g       free; nobody can take the life before 3, or before this
//   process is gone 3 let life i go                  a free slot
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
#include <type_traits>
#include <utility>

module ipcpp.sync;

import ipcpp.platform;

namespace ipcpp {

namespace {

constexpr std::uint64_t table_magic = 0x7374726170637069;  // "ipcparts"
constexpr std::uint32_t table_version = 1;

enum class slot_state : std::uint8_t { free = 0, joining = 1, live = 2, burying = 3 };

struct table_header {
  std::uint64_t magic;
  std::uint32_t version;
  std::uint32_t processes;
  std::uint32_t handles;
  std::uint32_t first_life;
  std::uint8_t zero[104];
};

struct process_slot {
  std::uint64_t control;
  std::uint64_t pid;
  std::uint64_t start_time;
  std::uint64_t pid_namespace;
  std::int64_t joined_ns;  // steady clock
  std::uint8_t zero[88];
};

struct handle_slot {
  std::uint64_t control;
  platform::parking_cell cell;
  handle_words words;
  std::uint64_t zero;
};

static_assert(sizeof(table_header) == platform::line_stride &&
              std::is_standard_layout_v<table_header>);
static_assert(sizeof(process_slot) == platform::line_stride &&
              std::is_standard_layout_v<process_slot>);
static_assert(sizeof(handle_slot) == platform::line_stride &&
              std::is_standard_layout_v<handle_slot>);
static_assert(offsetof(process_slot, control) == 0 && offsetof(handle_slot, control) == 0);
static_assert(offsetof(handle_slot, cell) == 8 && offsetof(handle_slot, words) == 16);
static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic_ref<std::uint64_t>::required_alignment == alignof(std::uint64_t));

// process control: generation << 8 | state
constexpr std::uint64_t pack(std::uint32_t generation, slot_state state) noexcept {
  return std::uint64_t{generation} << 8 | static_cast<std::uint8_t>(state);
}
constexpr std::uint32_t generation_of(std::uint64_t control) noexcept {
  return static_cast<std::uint32_t>(control >> 8);
}
constexpr slot_state state_of(std::uint64_t control) noexcept {
  return static_cast<slot_state>(control & 0xff);
}
// 0 is nobody's generation.
constexpr std::uint32_t next_generation(std::uint32_t g) noexcept {
  return g + 1 == 0 ? 1 : g + 1;
}

// handle control: generation << 32 | owner << 16 | kind << 8 | used
constexpr std::uint64_t pack_handle(std::uint32_t generation, std::uint32_t owner,
                                    handle_kind kind) noexcept {
  return std::uint64_t{generation} << 32 | std::uint64_t{owner} << 16 | std::uint64_t{kind} << 8 |
         1;
}
constexpr std::uint32_t handle_generation(std::uint64_t control) noexcept {
  return static_cast<std::uint32_t>(control >> 32);
}
constexpr std::uint32_t handle_owner(std::uint64_t control) noexcept {
  return control >> 16 & 0xffff;
}
constexpr handle_kind handle_kind_of(std::uint64_t control) noexcept {
  return static_cast<handle_kind>(control >> 8 & 0xff);
}
constexpr bool handle_used(std::uint64_t control) noexcept {
  return (control & 1) != 0;
}

std::atomic_ref<std::uint64_t> shared(std::uint64_t& word) noexcept {
  return std::atomic_ref<std::uint64_t>(word);
}

[[noreturn]] void refuse_limit(const platform::mapping& place, std::string_view what,
                               std::uint32_t limit) {
  const std::string& name = place.object().name();
  throw error(errc::limit_reached,
              "participants of " + (name.empty() ? "an unnamed object" : "'" + name + "'"),
              "a free " + std::string(what) + " slot",
              "all " + std::to_string(limit) + " in use by living processes",
              "create the object with a higher limit (128 bytes each)");
}

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

// Private to this process. In a forked child everything but `member` is as good as in the parent;
// `member` belongs to the incarnation it names.
struct participants::state {
  const platform::mapping* place;
  platform::life_line line;
  participant_limits limits;
  std::uint32_t first_life;
  process_slot* processes;
  handle_slot* handles;

  repair_function repair = nullptr;
  void* repair_context = nullptr;

  detail::fork_safe_lock changing;
  platform::life_hold hold;
  // self() without a lock: the incarnation that joined, and as what (slot << 32 | generation).
  std::atomic<std::uint64_t> joined_incarnation{0};
  std::atomic<std::uint64_t> joined_as{0};

  [[nodiscard]] bool is_member() const noexcept {
    return joined_incarnation.load(std::memory_order_acquire) ==
           platform::incarnation();  // pairs with join
  }
  [[nodiscard]] participant_id member() const noexcept {
    const std::uint64_t packed = joined_as.load(std::memory_order_relaxed);  // after is_member
    return {static_cast<std::uint32_t>(packed >> 32), static_cast<std::uint32_t>(packed)};
  }
  [[nodiscard]] platform::process_identity identity(std::uint32_t slot) const noexcept {
    // Relaxed: for messages, or written before the control word that the caller has acquired.
    process_slot& of = processes[slot];
    return {shared(of.pid).load(std::memory_order_relaxed),
            shared(of.start_time).load(std::memory_order_relaxed),
            shared(of.pid_namespace).load(std::memory_order_relaxed)};
  }
  [[nodiscard]] platform::life probe_life(std::uint32_t slot, slot_state seen) const noexcept {
    // A joiner has not said who it is yet; what stands there is its predecessor.
    return line.probe(first_life + slot,
                      seen == slot_state::live ? identity(slot) : platform::process_identity{});
  }

  [[nodiscard]] bool join();
  [[nodiscard]] bool join_slot(std::uint32_t slot, std::uint64_t control);
  void free_handles(participant_id of) noexcept;
  [[nodiscard]] bool bury_slot(std::uint32_t slot, std::uint32_t generation) noexcept;
  [[nodiscard]] std::size_t bury_all() noexcept;
};

// ---- making and attaching
// ------------------------------------------------------------------------------------------

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

void participants::set_repair(repair_function repair, void* context) noexcept {
  self_->repair = repair;
  self_->repair_context = context;
}

// ---- joining and leaving
// -------------------------------------------------------------------------------------------

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
  // A free slot whose life is held belongs to somebody who is just leaving: worth a few more looks.
  for (int look = 0; look < 100; ++look) {
    bool leaving = false;
    for (std::uint32_t slot = 0; slot < limits.processes; ++slot) {
      const std::uint64_t control =
          shared(processes[slot].control).load(std::memory_order_acquire);  // leave, bury_slot
      if (state_of(control) != slot_state::free) continue;
      if (join_slot(slot, control)) return true;
      leaving = true;
    }
    if (bury_all() == 0 && !leaving) return false;
    if (leaving) std::this_thread::yield();
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

// ---- the living and the dead
// ---------------------------------------------------------------------------------------

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

void participants::state::free_handles(participant_id of) noexcept {
  for (std::uint32_t i = 0; i < limits.handles; ++i) {
    handle_slot& handle = handles[i];
    const std::uint64_t control =
        shared(handle.control).load(std::memory_order_relaxed);  // ordered by the life
    if (!handle_used(control) || handle_owner(control) != of.slot) continue;
    if (repair != nullptr)
      repair(repair_context,
             remains{of, {i, handle_generation(control)}, handle_kind_of(control), &handle.words});
    // Release: pairs with acquire_handle.
    shared(handle.control)
        .store(std::uint64_t{handle_generation(control)} << 32, std::memory_order_release);
  }
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

bool participants::bury(participant_id who) noexcept {
  if (probe(who) != vitality::dead) return false;
  const detail::fork_safe_guard guard(self_->changing);
  return self_->bury_slot(who.slot, who.generation);
}

std::size_t participants::bury_dead() noexcept {
  const detail::fork_safe_guard guard(self_->changing);
  return self_->bury_all();
}

// ---- handles
// -------------------------------------------------------------------------------------------------------
//
// Acquiring, killed after each step: 1 the exchange (the handle is the dead's, to be buried with
// it), 2 the words zeroed (the same). Releasing is one store.

handle_id participants::acquire_handle(handle_kind kind) {
  const participant_id me = self();
  for (int attempt = 0; attempt < 2; ++attempt) {
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
      for (std::uint64_t& word : handle.words.word)
        shared(word).store(0, std::memory_order_relaxed);  // only ours
      return {i, generation};
    }
    if (bury_dead() == 0) break;
  }
  refuse_limit(*self_->place, "handle", self_->limits.handles);
}

void participants::release_handle(handle_id handle) noexcept {
  if (!self_->is_member() || owner_of(handle) != self_->member()) return;
  // Release: pairs with acquire_handle.
  shared(self_->handles[handle.slot].control)
      .store(std::uint64_t{handle.generation} << 32, std::memory_order_release);
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

platform::parking_slot participants::parking_of(handle_id handle) const noexcept {
  return platform::parking_slot(*self_->place, self_->first_life + handle.slot,
                                self_->handles[handle.slot].cell);
}

// ---- looking around
// ------------------------------------------------------------------------------------------------

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
