// ipcpp.malloc:allocator - the heap as an allocator, for containers that live in it.
//
//   std::vector<int, ipcpp::allocator<int>> numbers(segment.heap());
//
// Representation: an offset_ptr to the heap's shared header, or null, which means private memory
// (operator new). So an allocator inside a container inside the heap means the same to every
// process, and the heap finds this thread's own state from the header alone, also with several
// heaps in use.
//
// Its pointers are offset_ptrs. The containers of libc++ and of the MSVC library honour that, as do
// libstdc++'s from 15 on except unordered ones. A node linked by raw pointers is refused where it is
// allocated, std::basic_string at once, both with a message that says what to use instead.
//
// Rules for containers
//   An element and all that is in it use the container's memory: see :construction.
//   A container keeps its memory for life: assignment and swap never change it, and swapping
//   between different memories is undefined, as with all allocators that do not propagate.
//   A copy of a container is in private memory unless it is told where: it is a temporary far more
//   often than not, and must not be lost in the heap if the process dies. A moved container takes
//   its memory along.
//
// Failure model: allocate throws std::bad_alloc as heap::allocate does, std::bad_array_new_length
// for sizes that no memory has. Elements that mean nothing to another process do not compile.
module;

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

export module ipcpp.malloc:allocator;

import ipcpp.platform;
import ipcpp.sync;
import :construction;
import :heap;
import :offset_ptr;

namespace ipcpp {

namespace detail {

// operator new and its counterpart.
export [[nodiscard]] void* private_allocate(std::size_t bytes, std::size_t alignment);
export void private_deallocate(void* block, std::size_t alignment) noexcept;

// Is this a node of a standard container that holds raw pointers to others? By the names that the
// members have in libstdc++ (hash tables; trees and lists before 15) and in libc++.
template <class T>
concept linked_by_raw_pointers =
    requires(T& node) { requires std::is_pointer_v<decltype(node._M_nxt)>; } ||
    requires(T& node) { requires std::is_pointer_v<decltype(node._M_next)>; } ||
    requires(T& node) { requires std::is_pointer_v<decltype(node._M_parent)>; } ||
    requires(T& node) { requires std::is_pointer_v<decltype(node.__next_)>; } ||
    requires(T& node) { requires std::is_pointer_v<decltype(node.__left_)>; };

template <class>
inline constexpr bool std_string_can = false;

// From the heap, or private memory if that is null.
template <class T>
[[nodiscard]] T* allocate_objects(heap_header* of, std::size_t n) {
  if (n > static_cast<std::size_t>(std::numeric_limits<std::ptrdiff_t>::max()) / sizeof(T))
    throw std::bad_array_new_length();
  constexpr std::size_t usual_alignment = 16;
  void* block = nullptr;
  if (of == nullptr) {
    block = private_allocate(n * sizeof(T), alignof(T));
  } else if constexpr (alignof(T) > usual_alignment) {
    block = heap_allocate(of, n * sizeof(T), alignof(T));
  } else {
    block = heap_allocate(of, n * sizeof(T));
  }
  return static_cast<T*>(block);
}
template <class T>
void deallocate_objects(heap_header* of, T* objects) {
  void* const block = const_cast<std::remove_cv_t<T>*>(objects);
  if (of == nullptr) {
    private_deallocate(block, alignof(T));
  } else {
    heap_deallocate(of, block);
  }
}

}  // namespace detail

export template <class T>
class allocator {
 public:
  using value_type = T;
  using pointer = offset_ptr<T>;
  using const_pointer = offset_ptr<const T>;
  using void_pointer = offset_ptr<void>;
  using const_void_pointer = offset_ptr<const void>;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using propagate_on_container_copy_assignment = std::false_type;
  using propagate_on_container_move_assignment = std::false_type;
  using propagate_on_container_swap = std::false_type;
  using is_always_equal = std::false_type;
  template <class U>
  struct rebind {
    using other = allocator<U>;
  };
  static constexpr bool is_ipcpp_shareable = true;

  // Written out because GCC 16 stumbles over implicit ones of a specialisation that a module used.
  allocator() noexcept = default;  // private memory
  allocator(const allocator& other) noexcept = default;
  allocator& operator=(const allocator& other) noexcept = default;
  ~allocator() = default;
  allocator(heap& of) noexcept : heap_(of.header()) {}
  explicit allocator(heap_header* of) noexcept : heap_(of) {}
  template <class U>
    requires(!std::same_as<U, T>)
  allocator(const allocator<U>& other) noexcept : heap_(other.header()) {}

  [[nodiscard]] pointer allocate(std::size_t n) {
    static_assert(
        !detail::linked_by_raw_pointers<T>,
        "ipcpp::allocator: in this standard library this container links its nodes by raw "
        "pointers, which mean nothing to another process; use ipcpp::unordered_map, map, "
        "list, ... instead, or ipcpp::pinned_allocator in a pinned segment");
    return pointer(detail::allocate_objects<T>(header(), n));
  }
  void deallocate(pointer objects, std::size_t) {
    detail::deallocate_objects(header(), objects.get());
  }

  // Takes part only where the ordinary way, a constructor call, would not do; that leaves the
  // containers free to copy plain elements as bytes.
  template <class U, class... Args>
    requires(!shareable<U> || detail::carries<U, allocator<std::byte>>())
  void construct(U* at, Args&&... args) const {
    static_assert(shareable<U>,
                  "ipcpp::allocator: an element of this type would mean nothing to another "
                  "process: it holds a raw pointer, or may hide one; see ipcpp::shareable");
    if constexpr (shareable<U>)
      detail::builder(allocator<std::byte>(*this)).build(at, std::forward<Args>(args)...);
  }

  [[nodiscard]] allocator select_on_container_copy_construction() const noexcept { return {}; }

  // The heap's, nullptr for private memory.
  [[nodiscard]] heap_header* header() const noexcept { return heap_.get(); }

 private:
  offset_ptr<heap_header> heap_;
};

export template <class T, class U>
[[nodiscard]] bool operator==(const allocator<T>& a, const allocator<U>& b) noexcept {
  return a.header() == b.header();
}
static_assert(sizeof(allocator<int>) == 8);

namespace detail {

// synchronized<T>::reset and its own constructors: a T that allocates uses the memory of the heap it
// lies in, or private memory.
template <class T>
  requires(carries<T, allocator<std::byte>>())
struct value_builder<T> {
  template <class... Args>
  static void build(T* at, Args&&... args) {
    builder(allocator<std::byte>(heap_header_at(at))).build(at, std::forward<Args>(args)...);
  }
};

}  // namespace detail

}  // namespace ipcpp

// Strings of the standard libraries keep raw pointers or do not compile at all.
template <class Char, class Traits, class T>
class std::basic_string<Char, Traits, ipcpp::allocator<T>> {
  static_assert(ipcpp::detail::std_string_can<Char>,
                "std::basic_string cannot use ipcpp::allocator: not every standard library's can; "
                "use ipcpp::basic_string (ipcpp::string) instead, or ipcpp::pinned_allocator in a "
                "pinned segment");
};
