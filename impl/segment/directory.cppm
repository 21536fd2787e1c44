// ipcpp.segment:directory - the table of named objects of a segment. Internal: only the segment's
// bodies import it.
//
// Representation: plain tables in blocks of the segment's heap, found from one root block.
//
//   root    | magic | version | chunks | lock | links to 16 chunks |
//   chunk k | hash words, one per slot | slots |        16 << k slots
//   slot    63       32 31      16 15  8 7     0
//           | generation | owner   |  0   | state |    control; owner is a process slot, or 0
//           | sequence | hash, length, bytes of the name | type | where the object is | links |
//
// What a slot's links lead to is allocated and freed in one step with the link (heap::allocate_to,
// free_from), so whoever dies loses none of it:
//   memory    the object's block
//   text      the type's description
//   ledger    what the constructor has allocated so far; see ledger.cpp
//
// Invariants
//   A free slot's links are null.
//   Names of slots that are not free are all different.
//   Only the holder of the lock takes free slots, or slots whose owner has left; only a slot's owner
//   changes the rest.
//   A chunk that is counted is never moved or given back.
// States, and what they mean when the owner dies there:
//   free -> making -> ready -> unmaking -> free
//   making, unmaking: the links are freed by whoever comes next, then the slot is free. `settling` is
//   `ready` with a ledger that has to go.
// Crash and race stories stand beside the bodies.
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

export module ipcpp.segment:directory;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :type_description;

namespace ipcpp::detail {

inline constexpr std::uint64_t directory_magic = 0x79726f7463657269;  // "irectory"
inline constexpr std::uint32_t directory_version = 1;
inline constexpr std::uint32_t most_chunks = 16;
inline constexpr std::uint32_t first_chunk_slots = 16;
inline constexpr std::size_t longest_object_name = 128;

[[nodiscard]] constexpr std::uint32_t slots_of_chunk(std::uint32_t k) noexcept {
  return first_chunk_slots << k;
}

struct directory_root {
  std::uint64_t magic = 0;
  std::uint32_t version = 0;
  std::uint32_t chunks = 0;  // that can be used; grows
  std::uint64_t lock = 0;    // generation << 32 | process slot + 1; 0: nobody's
  std::uint64_t reserved[5]{};
  offset_ptr<void> chunk[most_chunks];
};
static_assert(sizeof(directory_root) == 192 && offsetof(directory_root, lock) == 16 &&
              offsetof(directory_root, chunk) == 64);

enum class slot_state : std::uint8_t {
  free = 0,
  making = 1,
  ready = 2,
  settling = 3,
  unmaking = 4,
};

struct directory_slot {
  std::uint64_t control = 0;
  std::uint64_t sequence = 0;  // of the uses of this slot; grows
  std::uint64_t type_hash = 0;
  std::uint64_t text_bytes = 0;
  std::uint64_t object_at = 0;  // from the object's first byte
  std::uint64_t object_bytes = 0;
  std::uint64_t object_alignment = 0;
  std::uint64_t thread = 0;        // of the owner; for messages
  std::uint64_t ledger_valid = 0;  // the ledger's first block is initialised
  std::uint64_t reserved[3]{};
  offset_ptr<void> memory;
  offset_ptr<void> text;
  offset_ptr<void> ledger;
  std::uint64_t name_bytes = 0;
  std::uint64_t name[longest_object_name / 8]{};
};
static_assert(sizeof(directory_slot) == 256 && offsetof(directory_slot, memory) == 96 &&
              offsetof(directory_slot, name) == 128);
static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free &&
              std::atomic_ref<std::uint32_t>::is_always_lock_free);

[[nodiscard]] constexpr std::uint64_t pack_slot(slot_state state, participant_id owner) noexcept {
  return std::uint64_t{owner.generation} << 32 | std::uint64_t{owner.slot & 0xffff} << 16 |
         static_cast<std::uint64_t>(state);
}
[[nodiscard]] constexpr slot_state state_of(std::uint64_t control) noexcept {
  return static_cast<slot_state>(control & 0xff);
}
[[nodiscard]] constexpr participant_id owner_of(std::uint64_t control) noexcept {
  return {static_cast<std::uint32_t>(control >> 16 & 0xffff),
          static_cast<std::uint32_t>(control >> 32)};
}

// An object as somebody else sees it: a copy, read consistently.
struct object_record {
  std::string name;
  std::string type;
  std::uint64_t type_hash = 0;
  std::uint64_t at = 0;  // from the object's first byte
  std::uint64_t bytes = 0;
  std::uint64_t alignment = 0;
};

// Where a name stands, or would.
struct slot_place {
  directory_slot* slot = nullptr;
  std::uint64_t* hash = nullptr;
};

// The directory as one process sees it. Everything read from shared memory is checked before it is
// used. Usable by several threads at once.
class directory {
 public:
  directory() noexcept = default;
  // `at`: the root's distance from the object's first byte. `memory`: null in a read-only segment.
  // `threads`: keeps this process's threads apart.
  // Throws damaged, wrong_layout.
  directory(platform::mapping& place, heap* memory, fork_safe_lock& threads, std::uint64_t at,
            std::string segment);

  // Makes an empty one. Nobody else sees the segment yet.
  [[nodiscard]] static std::uint64_t make(const platform::mapping& place, heap& memory);

  // What is visible under this name, or in the n-th slot of all. false: nothing.
  [[nodiscard]] bool read(std::string_view name, object_record& into) const;
  [[nodiscard]] bool read(std::uint64_t index, object_record& into) const;
  [[nodiscard]] std::uint64_t slots() const;

  // Takes the name for this process; waits for whoever makes or unmakes an object of that name. No
  // slot: there is one.
  [[nodiscard]] slot_place claim(std::string_view name, const type_facts& type);
  // The block of an object to be made in a claimed slot.
  [[nodiscard]] void* furnish(slot_place claimed, const type_facts& type);
  void settle(slot_place claimed) noexcept;  // making -> ready, when the object is complete
  // making, unmaking -> free. Frees the object's block.
  void give_back(slot_place owned) noexcept;
  // ready -> unmaking, if the type is right. No slot: nothing of that name.
  [[nodiscard]] slot_place unmake(std::string_view name, const type_facts& type, void*& object);
  // Frees what the dead were making or unmaking. Returns how many objects.
  std::size_t recover();

  // The record as an object of that type. Throws wrong_type, damaged.
  [[nodiscard]] void* object_of(const object_record& found, const type_facts& type) const;

 private:
  class lock_guard;
  struct chunk {
    std::uint64_t* hashes = nullptr;
    directory_slot* slots = nullptr;
    std::uint32_t count = 0;
  };

  [[nodiscard]] directory_root& root() const;
  [[nodiscard]] std::uint32_t chunks() const;
  [[nodiscard]] chunk chunk_at(std::uint32_t k) const;
  [[nodiscard]] slot_place find(std::string_view name, std::uint64_t hash) const;
  [[nodiscard]] slot_place find_free();
  [[nodiscard]] bool read_slot(directory_slot& slot, object_record& into) const;
  void grow();
  std::size_t free_the_dead();
  [[nodiscard]] bool has_left(participant_id who);
  void free_links(directory_slot& slot, bool of_the_dead);
  void free_slot(slot_place owned, bool of_the_dead);
  void tidy(directory_slot& settling);
  [[nodiscard]] bool lies_inside(const void* first, std::uint64_t bytes) const noexcept;
  [[nodiscard]] std::uint64_t distance_of(const void* address) const noexcept;
  [[noreturn]] void damaged(std::string_view expected, std::string_view found) const;
  [[nodiscard]] std::string describe(std::string_view name) const;

  platform::mapping* place_ = nullptr;
  heap* memory_ = nullptr;
  fork_safe_lock* threads_ = nullptr;
  std::uint64_t at_ = 0;
  std::string segment_;
};

}  // namespace ipcpp::detail
