// ipcpp.segment:segment_picture - a segment as an outsider sees it: what it says of itself, its named
// objects, its processes, its heap, and everything that is wrong with it.
//
//   auto image = ipcpp::platform::object_image::open("shop");
//   const ipcpp::segment_picture seen = ipcpp::look_at_segment(image);
//
// Nobody is disturbed, and nothing that is read is trusted: a damaged segment gives a picture with
// faults. Faults of one picture may be somebody at work; faults that stay are damage
// (look_until_sure).
module;

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

export module ipcpp.segment:segment_picture;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;

namespace ipcpp {

export struct segment_picture {
  struct object {
    std::uint64_t index = 0;  // of its slot
    std::string name;         // as it stands there: any bytes
    std::string type;
    std::string_view state;  // making, ready, settling, unmaking
    std::uint64_t at = 0;    // from the object's first byte
    std::uint64_t bytes = 0;
    std::uint64_t alignment = 0;
    participant_id owner{};     // who makes or unmakes it
    bool left_by_dead = false;  // that owner is no more
    bool inside = false;        // its bytes lie in a block in use: they may be read
  };

  bool readable = false;      // it is a segment of a layout this program knows
  bool other_layout = false;  // it is a segment, but of a layout this program does not know
  std::uint32_t prologue_version = 0;
  std::uint32_t version = 0;
  std::string id;
  std::uint64_t capacity_bytes = 0;
  bool several_objects = false;
  std::uint32_t lifetime = 0;  // enum lifetime
  std::uint64_t pinned_at = 0;
  std::uint64_t directory_at = 0;
  std::uint64_t slots = 0;            // of the directory
  participant_id directory_holder{};  // of the directory's lock
  std::vector<object> objects;
  participants_picture participants;
  heap_picture heap;
  std::vector<std::string> faults;  // all of them, the heap's and the participants' included

  [[nodiscard]] inline const object* find(std::string_view name) const noexcept {
    for (const object& one : objects)
      if (one.name == name) return &one;
    return nullptr;
  }
};

// Never throws for what it reads; std::bad_alloc for want of memory.
export [[nodiscard]] segment_picture look_at_segment(const platform::object_image& image);

// Only prologue, header and participants, for lists.
export [[nodiscard]] segment_picture glance_at_segment(const platform::object_image& image);

// Looks again until the faults are stable: only what stands in every one of `looks` pictures counts.
// A damaged segment nobody uses takes one look. Naps between looks, `nap_ms` each.
export [[nodiscard]] segment_picture look_until_sure(const platform::object_image& image,
                                                     unsigned looks = 6, unsigned nap_ms = 20);

// The object's prologue, the segment's header and the directory's root, for dumps.
export [[nodiscard]] std::vector<layout_field> fields_of(const segment_picture& seen);

export [[nodiscard]] constexpr std::string_view name_of_lifetime(std::uint32_t lifetime) noexcept {
  return lifetime == 0 ? "last_user" : lifetime == 1 ? "persistent" : "unknown";
}

}  // namespace ipcpp
