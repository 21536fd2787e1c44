// ipcpp.queue:queue_picture - a queue in shared memory as an outsider sees it: its kind, how full it
// is, how much went through, who sends and receives. For every kind there is; of kinds it does not
// know it says what all have in common.
module;

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

export module ipcpp.queue:queue_picture;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;

namespace ipcpp {

export struct queue_picture {
  std::string_view kind;            // "mpmc_queue"
  std::string_view state;           // open, closing, closed, destroyed
  std::uint64_t capacity = 0;       // messages, or bytes where `in_bytes`
  std::uint64_t message_bytes = 0;  // 0: any size
  bool in_bytes = false;
  std::optional<std::uint64_t> size;      // in units of capacity
  std::optional<std::uint64_t> sent;      // so far
  std::optional<std::uint64_t> received;  // so far, by all receivers together
  std::uint64_t lost = 0;                 // overtaken subscribers
  std::uint64_t repairs = 0;              // what the dead left in the way
  std::uint32_t endpoints = 0;            // that there can be
  struct endpoint {
    participant_id owner{};
    bool sends = false;
    bool alive = false;
  };
  std::vector<endpoint> attached;
};

// The queue object at that distance from the object's first byte; none: it is no queue, or damaged.
export [[nodiscard]] std::optional<queue_picture> look_at_queue(const platform::object_image& image,
                                                                const heap_picture& heap,
                                                                const participants_picture& who,
                                                                std::uint64_t at);

}  // namespace ipcpp
