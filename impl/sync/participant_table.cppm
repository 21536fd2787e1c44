// ipcpp.sync:participant_table - the bytes of a participant table, and what a process keeps about
// one in private. Internal: only the bodies of participants import it. The picture is in
// :participants, the crash stories are beside the bodies.
module;

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

module ipcpp.sync:participant_table;

import ipcpp.platform;
import :fork_safe_lock;
import :participants;

namespace ipcpp {

namespace detail {

inline constexpr std::uint64_t table_magic = 0x7374726170637069;  // "ipcparts"
inline constexpr std::uint32_t table_version = 1;

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
inline constexpr std::uint64_t pack(std::uint32_t generation, slot_state state) noexcept {
  return std::uint64_t{generation} << 8 | static_cast<std::uint8_t>(state);
}
inline constexpr std::uint32_t generation_of(std::uint64_t control) noexcept {
  return static_cast<std::uint32_t>(control >> 8);
}
inline constexpr slot_state state_of(std::uint64_t control) noexcept {
  return static_cast<slot_state>(control & 0xff);
}
// 0 is nobody's generation.
inline constexpr std::uint32_t next_generation(std::uint32_t g) noexcept {
  return g + 1 == 0 ? 1 : g + 1;
}

// handle control: generation << 32 | owner << 16 | kind << 8 | used
inline constexpr std::uint64_t pack_handle(std::uint32_t generation, std::uint32_t owner,
                                           handle_kind kind) noexcept {
  return std::uint64_t{generation} << 32 | std::uint64_t{owner} << 16 | std::uint64_t{kind} << 8 |
         1;
}
inline constexpr std::uint32_t handle_generation(std::uint64_t control) noexcept {
  return static_cast<std::uint32_t>(control >> 32);
}
inline constexpr std::uint32_t handle_owner(std::uint64_t control) noexcept {
  return control >> 16 & 0xffff;
}
inline constexpr handle_kind handle_kind_of(std::uint64_t control) noexcept {
  return static_cast<handle_kind>(control >> 8 & 0xff);
}
inline constexpr bool handle_used(std::uint64_t control) noexcept {
  return (control & 1) != 0;
}

inline std::atomic_ref<std::uint64_t> shared(std::uint64_t& word) noexcept {
  return std::atomic_ref<std::uint64_t>(word);
}

// Throws limit_reached: all `limit` slots of that kind are in use by the living.
// Between two looks at a full table in which others are burying.
constexpr std::chrono::milliseconds another_look{1};

[[noreturn]] void refuse_limit(const platform::mapping& place, std::string_view what,
                               std::uint32_t limit);

}  // namespace detail

// Private to this process. In a forked child everything but `member` is as good as in the parent;
// `member` belongs to the incarnation it names.
struct participants::state {
  const platform::mapping* place;
  platform::life_line line;
  participant_limits limits;
  std::uint32_t first_life;
  detail::process_slot* processes;
  detail::handle_slot* handles;

  repair_function repair = nullptr;
  void* repair_context = nullptr;

  detail::fork_safe_lock changing;
  platform::life_hold hold;
  // self() without a lock: the incarnation that joined, and as what (slot << 32 | generation).
  std::atomic<std::uint64_t> joined_incarnation{0};
  std::atomic<std::uint64_t> joined_as{0};

  [[nodiscard]] inline bool is_member() const noexcept {
    return joined_incarnation.load(std::memory_order_acquire) ==
           platform::incarnation();  // pairs with join
  }
  [[nodiscard]] inline participant_id member() const noexcept {
    const std::uint64_t packed = joined_as.load(std::memory_order_relaxed);  // after is_member
    return {static_cast<std::uint32_t>(packed >> 32), static_cast<std::uint32_t>(packed)};
  }
  [[nodiscard]] inline platform::process_identity identity(std::uint32_t slot) const noexcept {
    // Relaxed: for messages, or written before the control word that the caller has acquired.
    detail::process_slot& of = processes[slot];
    return {detail::shared(of.pid).load(std::memory_order_relaxed),
            detail::shared(of.start_time).load(std::memory_order_relaxed),
            detail::shared(of.pid_namespace).load(std::memory_order_relaxed)};
  }
  [[nodiscard]] inline platform::life probe_life(std::uint32_t slot,
                                                 detail::slot_state seen) const noexcept {
    // A joiner has not said who it is yet; what stands there is its predecessor.
    return line.probe(first_life + slot, seen == detail::slot_state::live
                                             ? identity(slot)
                                             : platform::process_identity{});
  }

  [[nodiscard]] bool join();
  [[nodiscard]] bool join_slot(std::uint32_t slot, std::uint64_t control);
  void free_handles(participant_id of) noexcept;
  [[nodiscard]] bool bury_slot(std::uint32_t slot, std::uint32_t generation) noexcept;
  [[nodiscard]] std::size_t bury_all() noexcept;
  // Whether somebody, perhaps another undertaker, is at a burial or died at one.
  [[nodiscard]] bool being_buried() const noexcept;
};

}  // namespace ipcpp
