// ipcpp.sync:address_map - which mapping of this process does an address lie in?
//
// Process-private: a fixed table of disjoint ranges, each with a pointer that belongs to whoever
// entered it. Lookups take no lock and scan the ranges in use (a process maps a handful of
// objects); entering and removing take a spin lock that fork cannot leave locked. A range must not
// be removed while somebody may still look up addresses within it.
module;

#include <cstddef>

export module ipcpp.sync:address_map;

namespace ipcpp {

export class address_map {
 public:
  static constexpr std::size_t capacity = 1024;

  // The one map of this process.
  [[nodiscard]] static address_map& of_this_process() noexcept;

  // false: no room, an empty range, or one that overlaps another.
  [[nodiscard]] bool enter(const void* begin, std::size_t bytes, void* owner) noexcept;
  // The range that begins at `begin`, if there is one.
  void remove(const void* begin) noexcept;
  // The owner of the range that holds `address`, nullptr if none does.
  [[nodiscard]] void* find(const void* address) const noexcept;

  address_map(const address_map&) = delete;
  address_map& operator=(const address_map&) = delete;

 private:
  address_map() noexcept = default;
};

}  // namespace ipcpp
