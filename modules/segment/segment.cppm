// ipcpp.segment - named, anonymous and file-backed shared memory with a heap and a directory of
// named objects.
//
// So far: anonymous segments and their heap. Names, lifetime and the directory come with the segment
// issue.
//
//   auto segment = ipcpp::segment::anonymous({.max_size = 64_MiB});
//   ipcpp::allocator<int> ints(segment.heap());
//
// Representation: one shared object, mapped over its whole capacity:
//
//   | prologue 256 B (platform) | the heap ................................. capacity |
//
// Invariant: mapping, memory source and heap stay where they are while the segment lives, however it
// is moved: the heap keeps pointers to the other two.
//
// Failure model: everything is reserved and the first pages are committed when the segment is made,
// so what this process or system cannot give is an exception then. A killed process leaves nothing:
// the system frees an anonymous object with its last user.
module;

#include <cstddef>
#include <memory>

export module ipcpp.segment;

import ipcpp.platform;
import ipcpp.sync;
import ipcpp.malloc;

namespace ipcpp {

export struct segment_options {
  std::size_t max_size = 0;  // bytes, for ever; 0 takes the system's default. Rounded up to 64 KiB
  bool pinned = false;       // mapped at the same address by everyone: for pinned_allocator
};

export class segment {
 public:
  // Shared memory without a name: whoever forks shares it with the child. Throws std::bad_alloc if
  // the system refuses the first pages, no_address_space, invalid_argument.
  [[nodiscard]] static segment anonymous(const segment_options& options = {});

  segment(segment&& other) noexcept;
  segment& operator=(segment&& other) noexcept;
  ~segment();

  // Lives as long as the segment, also when that is moved.
  [[nodiscard]] ipcpp::heap& heap() const noexcept;
  // Does the address lie in the segment's range, used or not?
  [[nodiscard]] bool contains(const void* address) const noexcept;

 private:
  struct state;
  explicit segment(std::unique_ptr<state> made) noexcept;

  std::unique_ptr<state> state_;
};

}  // namespace ipcpp
