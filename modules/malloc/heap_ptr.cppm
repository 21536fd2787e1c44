// ipcpp.malloc:heap_ptr - a reference to an object of a heap that is nothing but a number.
//
//   heap_ptr<person> who(segment.heap(), people.back());     in one process
//   person* p = who.in(segment.heap());                      in another
//
// Representation: one unsigned 64-bit word, the object's distance from the heap's header in bytes.
// 0 is null: the header itself is nobody's object. Trivially copyable and the same in every process,
// so it fits a message, an atomic and a file, all of which offset_ptr, being relative to itself,
// does not; the price is that dereferencing takes the heap.
//
// Failure model: a heap_ptr may come from a buggy peer, from another heap or from a freed object.
// in() gives null for null, the address of a properly aligned range of the heap's committed memory,
// or an error, never anything else. What lies there now, nobody checks.
module;

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>

export module ipcpp.malloc:heap_ptr;

import ipcpp.platform;
import :heap;

namespace ipcpp {

namespace detail {

// Throws invalid_argument if the `bytes` at `target` are not all of the heap's.
export [[nodiscard]] std::uint64_t heap_offset_of(const heap& of, const void* target,
                                                  std::size_t bytes);
// Throws damaged if they are not all of the heap's, or if the address is misaligned.
export [[nodiscard]] void* heap_address_at(const heap& of, std::uint64_t offset, std::size_t bytes,
                                           std::size_t alignment);

// Only in a base that is not virtual does every object have its base at the same distance.
template <class Derived, class Base>
concept at_fixed_distance_in = std::convertible_to<Derived*, Base*> && requires(Base* base) {
  static_cast<Derived*>(const_cast<std::remove_cv_t<Base>*>(base));
};

}  // namespace detail

export template <class T>
class heap_ptr {
 public:
  using element_type = T;
  static constexpr bool is_ipcpp_shareable = true;

  constexpr heap_ptr() noexcept = default;
  constexpr heap_ptr(std::nullptr_t) noexcept {}
  // Throws invalid_argument if `target` is not an object of the heap.
  heap_ptr(const heap& of, T& target)
      : offset_(detail::heap_offset_of(of, std::addressof(target), sizeof(T))) {}
  // To const T, to a base.
  template <class U>
    requires(!std::same_as<U, T> && detail::at_fixed_distance_in<U, T>)
  heap_ptr(const heap_ptr<U>& other) noexcept
      : offset_(other ? other.offset() + distance_in<U>() : 0) {}

  // Throws damaged.
  [[nodiscard]] T* in(const heap& of) const {
    if (offset_ == 0) return nullptr;
    return static_cast<T*>(detail::heap_address_at(of, offset_, sizeof(T), alignof(T)));
  }

  // From the heap's header, in bytes; 0 if null.
  [[nodiscard]] constexpr std::uint64_t offset() const noexcept { return offset_; }
  constexpr explicit operator bool() const noexcept { return offset_ != 0; }
  // Means something between pointers into one heap.
  bool operator==(const heap_ptr&) const = default;

 private:
  // Where in a U its base T lies. Asked of an address where no U is, since there is none at hand:
  // the conversion to a non-virtual base adds a constant and looks at nothing.
  template <class U>
  [[nodiscard]] static std::uint64_t distance_in() noexcept {
    const auto whole = static_cast<std::uintptr_t>(alignof(U));
    const T* const part = reinterpret_cast<const U*>(whole);
    return reinterpret_cast<std::uintptr_t>(part) - whole;
  }

  std::uint64_t offset_ = 0;
};
static_assert(sizeof(heap_ptr<int>) == 8 && std::is_trivially_copyable_v<heap_ptr<int>>);
static_assert(std::is_standard_layout_v<heap_ptr<int>>);

}  // namespace ipcpp

template <class T>
struct std::hash<ipcpp::heap_ptr<T>> {
  std::size_t operator()(const ipcpp::heap_ptr<T>& p) const noexcept {
    return std::hash<std::uint64_t>{}(p.offset());
  }
};
