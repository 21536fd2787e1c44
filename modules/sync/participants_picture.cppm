// ipcpp.sync:participants_picture - a participant table as an outsider sees it: read from an image
// of the object, checked, and never followed where it cannot be right.
//
// Takes no part and leaves no trace. The kernel is asked who lives, as participants::probe does.
module;

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

export module ipcpp.sync:participants_picture;

import ipcpp.platform;
import :participants;

namespace ipcpp {

export struct participants_picture {
  struct process {
    participant_id id;
    platform::process_identity identity;
    std::int64_t joined_ns = 0;  // steady clock
    std::string_view state;      // joining, live, burying
    bool alive = false;          // false: dead, to be buried
    std::uint32_t handles = 0;
  };
  struct handle {
    handle_id id;
    std::uint32_t owner = 0;  // process slot
    handle_kind kind = 0;
    handle_words words{};
  };

  std::uint64_t at = 0;
  participant_limits limits{0, 0};
  std::uint32_t first_life = 0;
  std::vector<process> processes;
  std::vector<handle> handles;
  std::vector<std::string> faults;

  [[nodiscard]] inline const process* find(participant_id id) const noexcept {
    for (const process& one : processes)
      if (one.id == id) return &one;
    return nullptr;
  }
  [[nodiscard]] inline const process* in_slot(std::uint32_t slot) const noexcept {
    for (const process& one : processes)
      if (one.id.slot == slot) return &one;
    return nullptr;
  }
  [[nodiscard]] inline std::size_t living() const noexcept {
    std::size_t n = 0;
    for (const process& one : processes) n += one.alive ? 1 : 0;
    return n;
  }
};

// The table at that distance from the object's first byte. Never throws for what it reads.
export [[nodiscard]] participants_picture look_at_participants(const platform::object_image& image,
                                                               std::uint64_t at);

}  // namespace ipcpp
