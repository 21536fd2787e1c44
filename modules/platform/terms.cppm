// ipcpp.platform:terms - the vocabulary of the platform contract that is the same on every system.
//
// Representation: every shared object begins with this prologue, written before the object gets a
// name and never changed afterwards; whoever opens an object copies it once, checks the copy and
// trusts nothing else.
//
//   0       8         12      16          32         40           48       52     256
//   | magic | layout  | word, | object id | capacity | first step | growth | zero | yours ...
//   |       | version | (*)   | 128 bits  | bytes    | bytes      |        |      |
//
//   (*) bytes per word, endianness, line stride
//
// Failure model: a prologue that is short, foreign or of another layout is an ipcpp::error that says
// what differs.
module;

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

export module ipcpp.platform:terms;

import :size_literals;

namespace ipcpp::platform {

// Two words that different parties write belong this many bytes apart: Apple's lines have 128
// bytes, x86 fetches lines of 64 in pairs. Part of the shared layout, therefore the same on every
// machine.
export inline constexpr std::size_t line_stride = 128;

// No wait in the kernel is longer than this, so a wake-up lost with a killed notifier is made good.
export inline constexpr std::chrono::milliseconds wait_slice{50};

// Public names: 1 to 128 of [A-Za-z0-9._-], the first no dot.
export inline constexpr std::size_t max_name_bytes = 128;

// Proofs of life per object; see life_line.
export inline constexpr std::uint32_t max_lives = 1u << 16;

// Capacities are multiples of this, which every system's pages and mapping granularity divide, and at
// most that.
export inline constexpr std::size_t capacity_unit = 64_KiB;
export inline constexpr std::size_t largest_capacity = std::size_t{1} << 46;

export using steady_time = std::chrono::steady_clock::time_point;

export enum class access : std::uint8_t { read_write, read_only };

// Who may open an object besides its creator (and root): nobody, or the creator's group.
export enum class audience : std::uint8_t { owner, group };

// How an object grows: one sparse object, or one more object per step, each placed inside the same
// reservation.
export enum class growth : std::uint32_t { one_object = 1, several_objects = 2 };

export enum class life : std::uint8_t { alive, dead };

export enum class park_outcome : std::uint8_t { woken, slice_over, deadline_passed };

// 128 random bits: two objects never share one, whatever their names.
export struct object_id {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  bool operator==(const object_id&) const = default;
  // 26 characters of [a-z2-7]. Allocates.
  [[nodiscard]] std::string text() const;
};
export [[nodiscard]] object_id fresh_object_id();

// Which process, beyond doubt where it can be seen at all: a pid is reused, a pid with its start
// time is not. Zero means unknown. For messages and for systems without lock bytes; what is shared
// keeps it in fixed-width words.
export struct process_identity {
  std::uint64_t pid = 0;
  std::uint64_t start_time =
      0;  // system's own unit, comparable on one machine until it is rebooted
  std::uint64_t pid_namespace = 0;

  bool operator==(const process_identity&) const = default;
};

export struct object_options {
  std::size_t capacity_bytes = 0;  // address space, fixed for ever; 0 takes default_capacity()
  audience who = audience::owner;
  std::string directory{};  // where it will get its name as a file; empty: it will be no file
};

export struct object_prologue {
  std::uint64_t magic;
  std::uint32_t layout_version;
  std::uint8_t word_bytes;
  std::uint8_t endianness;  // 1 little, 2 big
  std::uint16_t line_stride;
  std::uint64_t id_high;
  std::uint64_t id_low;
  std::uint64_t capacity_bytes;
  std::uint64_t first_step_bytes;  // 0 with growth::one_object
  growth how;
  std::uint8_t zero[204];
};
static_assert(sizeof(object_prologue) == 256 && alignof(object_prologue) == 8);
static_assert(offsetof(object_prologue, id_high) == 16 && offsetof(object_prologue, how) == 48);
static_assert(std::is_trivially_copyable_v<object_prologue> &&
              std::is_standard_layout_v<object_prologue>);

export inline constexpr std::uint32_t layout_version = 1;

// The first byte of an object that its user may write.
export inline constexpr std::size_t first_usable_byte = sizeof(object_prologue);

// `asked` rounded up to capacity_unit. Throws invalid_argument beyond largest_capacity.
export [[nodiscard]] std::size_t rounded_capacity(std::size_t asked);

// A prologue for a new object.
export [[nodiscard]] object_prologue make_prologue(object_id id, std::uint64_t capacity_bytes,
                                                   growth how,
                                                   std::uint64_t first_step_bytes) noexcept;

// Throws wrong_layout or damaged, naming `object` and the first thing that differs. `bytes_found`:
// how much of the prologue could be read.
export void check_prologue(const object_prologue& found, std::size_t bytes_found,
                           std::string_view object);

// A file's absolute path in its one spelling; names of files begin with a slash, and only those.
// Throws invalid_argument. Allocates.
export [[nodiscard]] std::string checked_path(std::string_view path);

// Throws invalid_argument, saying which rule `name` breaks.
export void check_name(std::string_view name);

// Where a sleeper sleeps. 0 is the right initial value; anybody may map it anywhere.
//
//     31                      1   0
//     | wake-ups, modulo 2^31 | S |     S: somebody sleeps here, so the next wake-up needs a system
//     call
export struct parking_cell {
  std::uint32_t word = 0;
  std::uint32_t reserved = 0;
};
static_assert(sizeof(parking_cell) == 8 && std::is_trivially_copyable_v<parking_cell>);

// Every process that maps an object puts its first byte at a multiple of this, so that an offset
// aligned to it is an aligned address everywhere: the largest power of two within the capacity, at
// least 4 KiB and at most 1 GiB.
export [[nodiscard]] constexpr std::size_t base_alignment(std::size_t capacity_bytes) noexcept {
  std::size_t alignment = 4_KiB;
  while (alignment < 1_GiB && alignment * 2 <= capacity_bytes) alignment *= 2;
  return alignment;
}

// How much address space fork_private_pages may be asked for when little of it will be touched.
#if defined(_WIN32)
export inline constexpr std::size_t largest_sparse_private_bytes = 16_MiB;  // it is all charged
#else
export inline constexpr std::size_t largest_sparse_private_bytes = 4_GiB;
#endif

// Private memory directly below a mapping's first byte: zero at first, this process's own, zero
// again in a forked child.
export inline constexpr std::size_t private_area_bytes = 4_KiB;

}  // namespace ipcpp::platform
