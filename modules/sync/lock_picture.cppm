// ipcpp.sync:lock_picture - a lock in shared memory as an outsider sees it: who holds it, whether an
// owner has died in it, who waits.
//
// Reads the words that :mutex and :shared_mutex draw, from an image; asks the kernel nothing beyond
// what the picture of the participants already says.
module;

#include <cstddef>
#include <cstdint>
#include <vector>

export module ipcpp.sync:lock_picture;

import ipcpp.platform;
import :participants;
import :participants_picture;

namespace ipcpp {

export struct lock_picture {
  bool held = false;
  bool handed = false;       // to a waiter that has not said yes yet
  bool owner_died = false;   // and nobody has mended yet what it protects
  bool at_the_gate = false;  // shared_mutex: a writer waits for the last readers
  participant_id owner{};    // none: nobody, or somebody who has left
  bool owner_alive = false;
  std::vector<participant_id> waiting;  // one for each thread
  std::vector<participant_id> readers;  // shared_mutex: one for each thread that holds it shared
};

// The mutex, recursive_mutex, shared_mutex, or the lock of a synchronized, whose first byte lies at
// that distance from the object's first byte.
export [[nodiscard]] lock_picture look_at_lock(const platform::object_image& image,
                                               const participants_picture& who, std::uint64_t at);

}  // namespace ipcpp
