// ipcpp.malloc:pinned_allocator - the allocator with raw pointers, for heaps that lie at the same
// address in every process.
//
//   auto pinned = ipcpp::segment::anonymous({.pinned = true});
//   std::unordered_map<int, int, std::hash<int>, std::equal_to<int>,
//                      ipcpp::pinned_allocator<std::pair<const int, int>>> cubes(pinned.heap());
//
// Representation: the address of the heap's shared header, or null, which means private memory. Both
// it and the pointers it hands out are plain T*, so every container of any library works with it,
// strings and unordered ones included, at full speed.
//
// The rules for containers are those of ipcpp::allocator, with one exception: elements are not
// checked for raw pointers, since a pointer into a pinned heap is what this allocator is for.
// The two convert into each other, so a container of the one kind may hold containers of the other.
//
// Failure model: using it on a heap that is not pinned is an invalid_argument at construction, also
// where that is a conversion. Otherwise as ipcpp::allocator.
module;

#include <concepts>
#include <cstddef>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

export module ipcpp.malloc:pinned_allocator;

import ipcpp.platform;
import :allocator;
import :construction;
import :heap;

namespace ipcpp {

namespace detail {

// `of` again; throws invalid_argument unless it is null or a pinned heap's.
export [[nodiscard]] heap_header* pinned_header(heap_header* of);

}  // namespace detail

export template <class T>
class pinned_allocator {
 public:
  using value_type = T;
  using pointer = T*;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using propagate_on_container_copy_assignment = std::false_type;
  using propagate_on_container_move_assignment = std::false_type;
  using propagate_on_container_swap = std::false_type;
  using is_always_equal = std::false_type;
  template <class U>
  struct rebind {
    using other = pinned_allocator<U>;
  };
  static constexpr bool is_ipcpp_shareable = true;

  pinned_allocator() noexcept = default;  // private memory
  pinned_allocator(const pinned_allocator& other) noexcept = default;
  pinned_allocator& operator=(const pinned_allocator& other) noexcept = default;
  ~pinned_allocator() = default;
  pinned_allocator(heap& of) : heap_(detail::pinned_header(of.header())) {}
  template <class U>
    requires(!std::same_as<U, T>)
  pinned_allocator(const pinned_allocator<U>& other) noexcept : heap_(other.header()) {}
  template <class U>
  pinned_allocator(const allocator<U>& other) : heap_(detail::pinned_header(other.header())) {}
  template <class U>
  operator allocator<U>() const noexcept {
    return allocator<U>(heap_);
  }

  [[nodiscard]] T* allocate(std::size_t n) { return detail::allocate_objects<T>(heap_, n); }
  void deallocate(T* objects, std::size_t) { detail::deallocate_objects(heap_, objects); }

  template <class U, class... Args>
    requires(detail::carries<U, pinned_allocator<std::byte>>())
  void construct(U* at, Args&&... args) const {
    detail::builder(pinned_allocator<std::byte>(*this)).build(at, std::forward<Args>(args)...);
  }

  [[nodiscard]] pinned_allocator select_on_container_copy_construction() const noexcept {
    return {};
  }

  // The heap's, nullptr for private memory.
  [[nodiscard]] heap_header* header() const noexcept { return heap_; }

 private:
  heap_header* heap_ = nullptr;
};

export template <class T, class U>
[[nodiscard]] bool operator==(const pinned_allocator<T>& a, const pinned_allocator<U>& b) noexcept {
  return a.header() == b.header();
}
static_assert(sizeof(pinned_allocator<int>) == sizeof(void*));

}  // namespace ipcpp
