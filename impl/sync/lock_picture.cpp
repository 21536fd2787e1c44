// Bodies of ipcpp.sync:lock_picture.
module;

#include <cstddef>
#include <cstdint>
#include <vector>

module ipcpp.sync;

import ipcpp.platform;
import :lock_picture;
import :lock_word;
import :mutex;
import :participants;
import :participants_picture;
import :seats;
import :waiting;

namespace ipcpp {

using namespace detail;

lock_picture look_at_lock(const platform::object_image& image, const participants_picture& who,
                          std::uint64_t at) {
  lock_picture seen;
  const auto word = image.get<std::uint64_t>(at);
  if (!word) return seen;
  seen.owner_died = (*word & broken_flag) != 0;
  seen.handed = (*word & handed_flag) != 0;
  seen.at_the_gate = (*word & gate_flag) != 0;
  seen.held = owner_in(*word) != 0;
  const handle_id owner = unpack_seat_id(owner_in(*word));
  // Points are counted from the table's process slots (seats: roster). A lock held shared goes by the
  // point where a writer waits for the last reader.
  const auto means = [&](std::uint64_t point, std::uint64_t offset) {
    return point != 0 && (point & by_range_flag) == 0 &&
           (point & (by_range_flag - 1)) ==
               ((at + offset - (who.at + platform::line_stride)) & (by_range_flag - 1));
  };
  for (const participants_picture::handle& handle : who.handles) {
    const participants_picture::process* const process = who.in_slot(handle.owner);
    if (process == nullptr) continue;
    if (seen.held && handle.id == owner) {
      seen.owner = process->id;
      seen.owner_alive = process->alive;
    }
    if (handle.kind != seat_kind) continue;
    if (means(handle.words.word[point_word], waiters_offset) ||
        (seen.at_the_gate && means(handle.words.word[point_word], last_out_offset)))
      seen.waiting.push_back(process->id);
    for (std::size_t i = first_read_word; i < end_read_word; ++i)
      if (means(handle.words.word[i], last_out_offset)) seen.readers.push_back(process->id);
  }
  // Held by nobody who is there: its owner is dead and buried, and the next to look marks it.
  if (seen.held && !seen.owner_alive && !seen.handed && !seen.at_the_gate) seen.owner_died = true;
  return seen;
}

}  // namespace ipcpp
