// ipcpp.sync:lock_word - the owner word of a lock, for those who change it (:mutex) and those who only
// look at it from outside (:lock_picture).
//
//   63                    16 15      3   2    1      0
//   | seat of the owner, 0: none | 0 | gate | handed | broken |
//
// What the flags mean, and who sets them when, stands in :mutex.
module;

#include <cstddef>
#include <cstdint>

module ipcpp.sync:lock_word;

namespace ipcpp::detail {

inline constexpr std::uint64_t broken_flag = 1;
inline constexpr std::uint64_t handed_flag = 2;
inline constexpr std::uint64_t gate_flag = 4;
inline constexpr std::uint64_t lock_flags = 0xffff;

// Where the waiting points of a lock lie in it; asserted beside the bodies of the locks.
inline constexpr std::size_t waiters_offset = 8;
inline constexpr std::size_t last_out_offset = 24;  // shared_mutex

[[nodiscard]] constexpr std::uint64_t owner_in(std::uint64_t word) noexcept {
  return word & ~lock_flags;
}

}  // namespace ipcpp::detail
