// ipcpp.containers:links - how the parts of a container point at each other, and how its nodes come
// and go.
//
// A link is one word: with our allocator the distance from the link itself (null is 1, as in
// offset_ptr: 0 is a ring of one), with allocators whose pointers are raw the address. It is read
// into and written from raw pointers, so the algorithms of the containers work on those and only
// what is stored is relative. Links are not copied or moved: they mean something where they lie.
//
//   nodes<Node, Allocator>    allocates nodes and builds elements in them
//
// Failure model: a node whose element cannot be built is freed again; nothing else is touched.
module;

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

export module ipcpp.containers:links;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;

namespace ipcpp::detail {

template <class T>
class relative_link {
 public:
  relative_link() noexcept = default;
  relative_link(const relative_link&) = delete;
  relative_link& operator=(const relative_link&) = delete;

  [[nodiscard]] T* get() const noexcept { return distance_ == null ? nullptr : target(); }
  // Precondition: not null.
  [[nodiscard]] T* target() const noexcept {
    return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(this) +
                                static_cast<std::uintptr_t>(distance_));
  }
  void set(T* target) noexcept { distance_ = target == nullptr ? null : distance_to(target); }
  // Precondition: not null.
  void lead_to(T* target) noexcept { distance_ = distance_to(target); }

 private:
  static constexpr std::int64_t null = 1;
  [[nodiscard]] std::int64_t distance_to(T* target) const noexcept {
    return static_cast<std::int64_t>(reinterpret_cast<std::uintptr_t>(target) -
                                     reinterpret_cast<std::uintptr_t>(this));
  }

  std::int64_t distance_ = null;
};

template <class T>
class raw_link {
 public:
  raw_link() noexcept = default;
  raw_link(const raw_link&) = delete;
  raw_link& operator=(const raw_link&) = delete;

  [[nodiscard]] T* get() const noexcept { return target_; }
  [[nodiscard]] T* target() const noexcept { return target_; }
  void set(T* target) noexcept { target_ = target; }
  void lead_to(T* target) noexcept { target_ = target; }

 private:
  T* target_ = nullptr;
};

template <class T, bool relative>
using link = std::conditional_t<relative, relative_link<T>, raw_link<T>>;

template <class Allocator>
inline constexpr bool is_relative =
    !std::is_pointer_v<typename std::allocator_traits<Allocator>::pointer>;

static_assert(sizeof(relative_link<int>) == 8 && alignof(relative_link<int>) == 8);

// Node has a member function value() that returns the address of its room for a Value. It is an
// aggregate of links and such: making one and dropping it is nothing.
template <class Node, class Allocator>
struct nodes {
  using traits = typename std::allocator_traits<Allocator>::template rebind_traits<Node>;
  using allocator_type = typename traits::allocator_type;

  [[nodiscard]] static Node* allocate(allocator_type& memory) {
    return ::new (static_cast<void*>(std::to_address(traits::allocate(memory, 1)))) Node;
  }
  static void deallocate(allocator_type& memory, Node* node) noexcept {
    std::destroy_at(node);
    traits::deallocate(memory, typename traits::pointer(node), 1);
  }
  template <class... Args>
  [[nodiscard]] static Node* make(allocator_type& memory, Args&&... args) {
    Node* const node = allocate(memory);
    try {
      traits::construct(memory, node->value(), std::forward<Args>(args)...);
    } catch (...) {
      deallocate(memory, node);
      throw;
    }
    return node;
  }
  static void drop(allocator_type& memory, Node* node) noexcept {
    traits::destroy(memory, node->value());
    deallocate(memory, node);
  }
};

}  // namespace ipcpp::detail
