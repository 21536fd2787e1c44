// ipcpp.segment:state - what a process knows of one segment. Internal: only the segment's bodies
// import it.
//
// Representation of the segment's header, after the platform's prologue:
//
//   256     264       268        272         280         288            296        304
//   | magic | version | lifetime | directory | pinned at | participants | at least | zero | the heap
//
// "At least": so many bytes there were when it was made; an object with fewer was truncated.
//
// All but the lifetime is written before anybody else sees the segment, and never changed.
//
// One segment_state per object and way of access, shared by every segment of this process that
// stands for it; they form a list. Changed under one process-wide lock only, which a fork cannot
// leave locked.
module;

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

export module ipcpp.segment:state;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;
import :directory;

namespace ipcpp::detail {

inline constexpr std::uint64_t segment_magic = 0x746e656d67657365;  // "esegment"
inline constexpr std::uint32_t segment_version = 1;
inline constexpr std::size_t segment_header_at = 256;
inline constexpr std::size_t heap_source_at = 512;

struct segment_header {
  std::uint64_t magic = 0;
  std::uint32_t version = 0;
  std::uint32_t lifetime = 0;  // enum lifetime; anybody may change it
  std::uint64_t directory_at = 0;
  std::uint64_t pinned_at = 0;        // the object's first byte, everywhere; 0: anywhere
  std::uint64_t participants_at = 0;  // the heap's table, from the object's first byte
  std::uint64_t at_least = 0;
  std::uint8_t zero[208]{};
};
static_assert(sizeof(segment_header) == 256 && std::is_standard_layout_v<segment_header>);
static_assert(offsetof(segment_header, lifetime) == 12 &&
              offsetof(segment_header, directory_at) == 16);
static_assert(segment_header_at >= platform::first_usable_byte &&
              heap_source_at == segment_header_at + sizeof(segment_header));

// Never moved. The order matters: each member uses the ones before it.
struct segment_state {
  inline explicit segment_state(platform::mapping mapped) noexcept
      : place(std::move(mapped)), source(place, heap_source_at) {}
  segment_state(const segment_state&) = delete;
  segment_state& operator=(const segment_state&) = delete;

  [[nodiscard]] inline segment_header& header() const noexcept {
    return *reinterpret_cast<segment_header*>(place.base() + segment_header_at);
  }
  [[nodiscard]] inline bool read_only() const noexcept { return !memory; }
  [[nodiscard]] inline std::string describe() const {
    const std::string& name = place.object().name();
    return name.empty() ? "unnamed segment" : "segment '" + name + "'";
  }

  platform::mapping place;
  object_source source;
  std::optional<ipcpp::heap> memory;  // none: read-only
  fork_safe_lock naming;              // the directory's, among this process's threads
  detail::directory names;
  platform::audience who = platform::audience::owner;

  segment_state* next = nullptr;
  std::size_t references = 1;
};

}  // namespace ipcpp::detail
