// ipcpp.sync:seats - where a thread sleeps in a place, and the table of seats that notifiers look at.
// Internal. The picture of a seat's words and the protocol are in :waiting.
//
// Roles
//   roster   the handles of one place, or the private table of this process: what a notifier sees
//   seat     one thread's handle in one place; private, in pages that a forked child sees zeroed, so
//            a child never takes its parent's seat for its own
//
// An id is a seat's slot and generation, packed as locks keep it in their owner words, or a process's:
//
//   63         32 31  16 15     0
//   | generation | slot | 0      |     0: nobody
//
// Words of a seat beside those of :waiting: 3 to 12 name the shared locks that its thread holds, by the
// same numbers as points (:shared_mutex).
module;

#include <atomic>
#include <cstddef>
#include <cstdint>
#if defined(_MSC_VER)
#include <intrin.h>
#endif

module ipcpp.sync:seats;

import ipcpp.platform;
import :address_map;
import :participants;
import :participant_table;
import :waiting;

namespace ipcpp::detail {

inline constexpr std::size_t point_word = 0;
inline constexpr std::size_t since_word = 1;
inline constexpr std::size_t tag_word = 2;
inline constexpr std::size_t first_read_word = 3;
inline constexpr std::size_t end_read_word = handle_words::count;

inline constexpr std::uint64_t chosen_flag = std::uint64_t{1} << 63;
inline constexpr std::uint64_t by_range_flag = std::uint64_t{1} << 62;  // see roster::point_of
inline constexpr std::uint64_t several_points = ~std::uint64_t{0} >> 1;

inline constexpr std::uint64_t fences_flag = std::uint64_t{1} << 63;
inline constexpr std::uint32_t mark_count = 63;

[[nodiscard]] constexpr std::uint64_t pack_seat_id(handle_id h) noexcept {
  return std::uint64_t{h.generation} << 32 | std::uint64_t{h.slot} << 16;
}
[[nodiscard]] constexpr handle_id unpack_seat_id(std::uint64_t id) noexcept {
  return {static_cast<std::uint32_t>(id >> 16 & 0xffff), static_cast<std::uint32_t>(id >> 32)};
}

struct private_slot;

// What a notifier knows of a place. Copied freely.
struct roster {
  participants* who = nullptr;           // nullptr: the private table, as the next
  participants::state* table = nullptr;  // nullptr: the private table
  std::uintptr_t origin = 0;             // points are counted from here,
  std::uint64_t origin_flag = 0;         // and this says from where

  roster() noexcept = default;
  roster(participants& of, std::uintptr_t begin, std::size_t bytes) noexcept;
  [[nodiscard]] static roster at(const void* address) noexcept;

  // Counted from the table, which lies at the same distance in every process; if the table lies in
  // another object than the range, from the range's first byte. Never 0.
  [[nodiscard]] inline std::uint64_t point_of(const waiting_point& at) const noexcept {
    return ((reinterpret_cast<std::uintptr_t>(&at) - origin) & (by_range_flag - 1)) | origin_flag;
  }

  [[nodiscard]] std::uint32_t limit() const noexcept;
  // nullptr: nobody ever sat there.
  [[nodiscard]] std::uint64_t* words(std::uint32_t slot) const noexcept;
  void unpark(std::uint32_t slot) const noexcept;
  // Who sits there now; 0: nobody.
  [[nodiscard]] std::uint64_t id_at(std::uint32_t slot) const noexcept;
  // Is that process dead, or has it left? Likewise.
  [[nodiscard]] bool process_gone(std::uint64_t process) const noexcept;
  // Is that seat empty, or its process dead? About 1 us. Whoever hears true sees everything that
  // the gone one wrote. who must be known.
  [[nodiscard]] bool gone(std::uint64_t id) const noexcept;
};

struct seat {
  // What the fast paths look at. In a forked child all of it is zero.
  std::uintptr_t begin;
  std::size_t bytes;  // 0: no seat here
  std::uint64_t removals;
  std::uint64_t id;

  mapped_place* grows_by_mappings;  // the place, if catching up with it is needed; else nullptr

  std::uint64_t process;  // this one, as an id
  std::uint64_t serial;   // of the range
  roster in;
  handle_id handle;
  std::uint64_t* words;
  private_slot* own;  // in the private table
  alignas(platform::parking_slot) std::byte cell[sizeof(platform::parking_slot)];

  [[nodiscard]] inline platform::parking_slot& parking() noexcept {
    return *reinterpret_cast<platform::parking_slot*>(cell);
  }
  // What others stored before what this thread just acquired is accessible here from now on.
  inline void catch_up() const noexcept {
    if (grows_by_mappings != nullptr) [[unlikely]]
      grows_by_mappings->catch_up(*grows_by_mappings);
  }
  [[nodiscard]] std::uint32_t ticket() noexcept;
  platform::park_outcome park(std::uint32_t ticket, platform::steady_time deadline) noexcept;
};

// The seat this thread used last, or one that covers nothing; never null.
extern thread_local constinit seat* recent_seat;

// This thread's seat at that address if it is the one it used last, else nullptr.
[[nodiscard]] inline seat* recent_seat_at(const void* address) noexcept {
  seat* const s = recent_seat;
  const bool here = reinterpret_cast<std::uintptr_t>(address) - s->begin < s->bytes &&
                    s->removals == address_map::removals();  // else look it up again
  return here ? s : nullptr;
}

// nullptr: this thread has none there (and gets none).
[[nodiscard]] seat* find_seat(const void* address) noexcept;

[[nodiscard]] inline seat* my_seat(const void* address) noexcept {
  seat* const s = recent_seat_at(address);
  return s != nullptr ? s : find_seat(address);
}

// Gives the handle back if its range is still in the address map.
void release_seat(const seat& of) noexcept;

// Lets give() make the waiter with that id the next owner, if the one that has waited longest at this
// point began before `since` (steady ns), and wakes it. false: nothing was given, or the heir left
// just then: the caller has to take it back.
using give_function = void (*)(void* context, std::uint64_t id) noexcept;
[[nodiscard]] bool hand_over(waiting_point& at, std::uint64_t since, give_function give,
                             void* context) noexcept;

// ---- the private table (private_seats.cpp) ----

inline constexpr std::uint32_t most_private_seats = 4096;

struct private_seat_id {
  private_slot* slot;
  handle_id handle;
  std::uint64_t* words;
};
[[nodiscard]] private_seat_id take_private_slot();  // throws limit_reached, std::bad_alloc
void free_private_slot(private_slot& slot) noexcept;
[[nodiscard]] std::uint32_t private_limit() noexcept;
[[nodiscard]] std::uint64_t* private_words(std::uint32_t slot) noexcept;
[[nodiscard]] std::uint64_t private_id_at(std::uint32_t slot) noexcept;
void private_unpark(std::uint32_t slot) noexcept;
[[nodiscard]] std::uint32_t private_ticket(private_slot& slot) noexcept;
platform::park_outcome private_park(private_slot& slot, std::uint32_t ticket,
                                    platform::steady_time deadline) noexcept;

// ---- spinning ----

inline void relax() noexcept {
#if defined(_MSC_VER) && (defined(_M_X64) || defined(_M_IX86))
  _mm_pause();
#elif defined(_MSC_VER)
  __yield();
#elif defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__) || defined(__arm__)
  asm volatile("yield");
#endif
}
// How often to look before sleeping: 0 on one processor, where nobody else can run meanwhile.
[[nodiscard]] std::uint32_t spins() noexcept;

}  // namespace ipcpp::detail
