// ipcpp.sync:participants - one table that says who takes part in something shared, and who of them
// is dead.
//
// Representation, at any offset of a mapped object that is a multiple of 128 (every slot a line of
// its own):
//
//   | header 128 B | process slot 0 | process slot 1 | ... | handle slot 0 | handle slot 1 | ...
//
//   process slot   63      40 39       8 7     0
//                  |   0     | generation | state |  pid, start time, namespace, time of joining
//                                                    (for messages, and systems without lock bytes)
//   handle slot    63       32 31  16 15   8 7   0
//                  | generation | owner | kind | used |  parking cell, 13 words of the owner's
//
// A process slot stands for one process, a handle slot for one of its threads or endpoints that
// needs a line of its own (a heap's cache, a queue's intent, a place to park). An id is a slot and
// its generation, so it never means a successor.
//
// Invariants
//   Whoever holds life i (platform::life_line) owns process slot i, and only the owner changes its
//   control word: the process itself while it lives, its undertaker afterwards, a newcomer when it
//   is free.
//   A slot is free only if nothing of its last owner is left: no handle names it.
//   The words of a free handle are zero.
// States of a process slot, and what they mean when its owner dies there:
//   free -> joining -> live -> free       joining, live: dead, to be buried
//   live, joining -> burying -> free      burying: the undertaker died; the next one begins again
// Failure model: a process may die, stop or be forked at any instruction; memory written by a buggy
// peer is checked on attach (header) and masked on use (owner, slot). The crash story of each
// operation stands beside its body.
module;

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <utility>

export module ipcpp.sync:participants;

import ipcpp.platform;

namespace ipcpp {

namespace detail {
struct roster;
}

// Fixed when a table is made. Each process or handle costs 128 bytes.
export struct participant_limits {
  std::uint32_t processes = 64;
  std::uint32_t handles = 256;

  bool operator==(const participant_limits&) const = default;
};

export struct participant_id {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;  // 0: nobody

  bool operator==(const participant_id&) const = default;
  inline explicit operator bool() const noexcept { return generation != 0; }
};

export struct handle_id {
  std::uint32_t slot = 0;
  std::uint32_t generation = 0;  // 0: none

  bool operator==(const handle_id&) const = default;
  inline explicit operator bool() const noexcept { return generation != 0; }
};

export enum class vitality : std::uint8_t {
  alive,  // also when it is stopped
  dead,   // died without leaving, and is not buried yet
  left,   // no longer takes part: it left, or was buried
};

// What a handle is for; the number is the upper layer's own.
export using handle_kind = std::uint8_t;

// The words of a handle that belong to its owner, and after its death to its undertaker.
export struct handle_words {
  static constexpr std::size_t count = 13;
  std::uint64_t word[count];
};

// What a repair function is told: first every handle of the dead, then the dead process itself
// (handle == handle_id{}).
export struct remains {
  participant_id process;
  handle_id handle;
  handle_kind kind = 0;
  handle_words* words = nullptr;
};

// A handle as somebody else sees it.
export struct handle_info {
  handle_id id;  // none: the slot is free
  participant_id owner;
  handle_kind kind = 0;
  handle_words* words = nullptr;
};

export struct participant_info {
  participant_id id;
  platform::process_identity identity;
  std::chrono::steady_clock::time_point joined;
  vitality state = vitality::left;
  std::uint32_t handles = 0;
};

export class participants {
 public:
  static constexpr std::uint32_t max_processes = 4096;
  static constexpr std::uint32_t max_handles = 65536;

  // Bytes of a table with these limits.
  [[nodiscard]] static constexpr std::size_t bytes_needed(participant_limits limits) noexcept {
    return platform::line_stride * (1 + std::size_t{limits.processes} + limits.handles);
  }

  // Makes a table of zeroed, committed bytes at `offset` of an object that nobody else can see yet.
  // Several tables of one object need disjoint ranges of lives: this one uses first_life to
  // first_life + processes. The mapping stays alive and in its place while the table is used.
  // Throws invalid_argument.
  [[nodiscard]] static participants create(const platform::mapping& place, std::size_t offset,
                                           participant_limits limits = {},
                                           std::uint32_t first_life = 0);
  // Looks at an existing table. Throws damaged or wrong_layout. Does not join.
  [[nodiscard]] static participants attach(const platform::mapping& place, std::size_t offset);

  inline participants(participants&& other) noexcept : self_(std::exchange(other.self_, nullptr)) {}
  inline participants& operator=(participants&& other) noexcept {
    std::swap(self_, other.self_);
    return *this;
  }
  // Leaves, if this process joined.
  ~participants();

  // This process as a participant. Joins at the first call, and again in a forked child, which is
  // nobody before. Throws limit_reached when the table is full of living processes; the dead are
  // buried first. A few nanoseconds afterwards.
  [[nodiscard]] participant_id self();
  [[nodiscard]] bool joined() const noexcept;
  // Gives up every handle and the slot. Harmless when not joined.
  void leave() noexcept;

  // Whether somebody acts for this participant: itself, or its undertaker while it buries. false:
  // both are dead. What a lock asks about its holder. About 1 us.
  [[nodiscard]] bool attended(participant_id who) const noexcept;

  // Never takes a living process for dead. May say alive for an instant while an undertaker begins.
  // About 1 us.
  [[nodiscard]] vitality probe(participant_id who) const noexcept;
  [[nodiscard]] vitality probe(handle_id handle) const noexcept;

  // What has to be mended when a participant dies, called for handles and processes under burial.
  // It must be idempotent: an undertaker that dies is followed by another, from the top. It must
  // not throw. Also called for the handles a leaving process still has. Kept per process; `context`
  // outlives this object.
  using repair_function = void (*)(void* context, const remains& of) noexcept;
  void set_repair(repair_function repair, void* context) noexcept;

  // Buries one dead participant: repairs, frees its handles and its slot. false: it lives, has
  // left, or somebody else is at it.
  bool bury(participant_id who) noexcept;
  // Buries whoever is dead; returns how many.
  std::size_t bury_dead() noexcept;

  // A handle of this process, joining if necessary. Its words are zero. Throws limit_reached when
  // none is free after the dead were buried.
  [[nodiscard]] handle_id acquire_handle(handle_kind kind);
  // Give up first what its words stand for: they are zeroed, then the handle is free.
  void release_handle(handle_id handle) noexcept;
  // nullptr for an id that is not current.
  [[nodiscard]] handle_words* words_of(handle_id handle) const noexcept;
  [[nodiscard]] participant_id owner_of(handle_id handle) const noexcept;
  // Whatever stands in that slot now. Precondition: below the limit.
  [[nodiscard]] handle_info handle_at(std::uint32_t slot) const noexcept;
  // Where that handle's owner sleeps. Precondition: handle.slot is below the limit.
  [[nodiscard]] platform::parking_slot parking_of(handle_id handle) const noexcept;

  [[nodiscard]] participant_limits limits() const noexcept;
  // Where the table lies.
  [[nodiscard]] const platform::mapping& place() const noexcept;
  // Participants that are not buried and have not left, dead or alive.
  [[nodiscard]] std::uint32_t size() const noexcept;
  template <std::invocable<const participant_info&> F>
  void for_each(F&& f) const {
    const std::uint32_t n = limits().processes;
    for (std::uint32_t slot = 0; slot < n; ++slot) {
      const participant_info info = info_of(slot);
      if (info.id) f(info);
    }
  }

 private:
  friend struct detail::roster;
  struct state;
  inline explicit participants(state* self) noexcept : self_(self) {}
  [[nodiscard]] participant_info info_of(std::uint32_t slot) const noexcept;

  state* self_ = nullptr;
};

}  // namespace ipcpp
