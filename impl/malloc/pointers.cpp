// Bodies of ipcpp.malloc:heap_ptr, :allocator and :pinned_allocator: what their templates share.
//
// Nothing here keeps state. The checks of heap_ptr compare numbers only and form an address last, so
// that an offset from a buggy peer is never computed with as a pointer.
module;

#include <cstddef>
#include <cstdint>
#include <new>
#include <span>
#include <string>

module ipcpp.malloc;

import ipcpp.platform;

namespace ipcpp::detail {

std::uint64_t heap_offset_of(const heap& of, const void* target, std::size_t bytes) {
  const auto* const first = static_cast<const std::byte*>(target);
  if (!of.contains(first) || !of.contains(first + (bytes - 1)))
    throw error(errc::invalid_argument, "heap_ptr", "an object of the heap", "one elsewhere",
                "construct it in the heap and refer to that");
  return reinterpret_cast<std::uintptr_t>(target) - reinterpret_cast<std::uintptr_t>(of.header());
}

void* heap_address_at(const heap& of, std::uint64_t offset, std::size_t bytes,
                      std::size_t alignment) {
  const std::span<std::byte> range = heap_range(of.header());
  auto* const header = reinterpret_cast<std::byte*>(of.header());
  const auto behind_header = static_cast<std::uint64_t>(range.data() + range.size() - header);
  if (offset > behind_header || bytes > behind_header - offset || !of.contains(header + offset) ||
      !of.contains(header + offset + (bytes - 1)))
    throw error(errc::damaged, "heap_ptr",
                std::to_string(bytes) + " bytes within the heap's committed memory",
                "offset " + std::to_string(offset),
                "it refers to another heap, or was overwritten");
  if (reinterpret_cast<std::uintptr_t>(header + offset) % alignment != 0)
    throw error(errc::damaged, "heap_ptr",
                "an object aligned to " + std::to_string(alignment) + " bytes",
                "offset " + std::to_string(offset),
                "it refers to an object of another type, or was overwritten");
  return header + offset;
}

void* private_allocate(std::size_t bytes, std::size_t alignment) {
  if (alignment > __STDCPP_DEFAULT_NEW_ALIGNMENT__)
    return ::operator new(bytes, std::align_val_t{alignment});
  return ::operator new(bytes);
}

void private_deallocate(void* block, std::size_t alignment) noexcept {
  if (alignment > __STDCPP_DEFAULT_NEW_ALIGNMENT__) {
    ::operator delete(block, std::align_val_t{alignment});
  } else {
    ::operator delete(block);
  }
}

heap_header* pinned_header(heap_header* of) {
  if (of != nullptr && !heap_is_pinned(of))
    throw error(errc::invalid_argument, "pinned_allocator",
                "a heap that every process maps at the same address", "one that is not pinned",
                "create it with pinned = true, or use ipcpp::allocator");
  return of;
}

}  // namespace ipcpp::detail
