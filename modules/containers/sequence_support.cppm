// ipcpp.containers:sequence_support - elements side by side in memory: copied as bytes where that is
// right, moved where it is safe, and always destroyed when something fails half-way.
//
// "Relocating" moves an element to other memory and destroys the old one. It is safe when it cannot
// throw; such an element uses the same memory as before, so no allocator has to be asked. Elements
// that may throw when moved (a pair with a constant string, say) are copied with the allocator.
module;

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstring>
#include <iterator>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

export module ipcpp.containers:sequence_support;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;

namespace ipcpp::detail {

template <class T>
inline constexpr bool relocates_as_bytes = std::is_trivially_copyable_v<T>;
template <class T>
inline constexpr bool relocates_safely =
    relocates_as_bytes<T> || std::is_nothrow_move_constructible_v<T>;

template <class T>
void destroy_each(T* first, std::size_t n) noexcept {
  if constexpr (!std::is_trivially_destructible_v<T>)
    for (std::size_t i = 0; i < n; ++i) std::destroy_at(first + i);
}

// The n elements at `from` to `to`, where none are. The ranges may overlap.
template <class T>
  requires relocates_safely<T>
void relocate(T* to, T* from, std::size_t n) noexcept {
  if constexpr (relocates_as_bytes<T>) {
    if (n != 0) std::memmove(static_cast<void*>(to), static_cast<const void*>(from), n * sizeof(T));
  } else if (to < from) {
    for (std::size_t i = 0; i < n; ++i) {
      std::construct_at(to + i, std::move(from[i]));
      std::destroy_at(from + i);
    }
  } else {
    for (std::size_t i = n; i-- > 0;) {
      std::construct_at(to + i, std::move(from[i]));
      std::destroy_at(from + i);
    }
  }
}

// Elements built one after the other at `first`; they are destroyed again unless keep() is called.
template <class T, class Allocator>
class built_run {
  using traits = std::allocator_traits<Allocator>;

 public:
  built_run(Allocator& memory, T* first) noexcept : memory_(memory), first_(first) {}
  built_run(const built_run&) = delete;
  built_run& operator=(const built_run&) = delete;
  ~built_run() { destroy_each(first_, count_); }

  template <class... Args>
  void add(Args&&... args) {
    traits::construct(memory_, first_ + count_, std::forward<Args>(args)...);
    ++count_;
  }
  template <class... Args>
  void add_times(std::size_t n, const Args&... args) {
    for (; n > 0; --n) add(args...);
  }
  template <class It>
  void add_range(It from, std::size_t n) {
    if constexpr (copies_as_bytes<It>()) {
      if (n != 0)
        std::memcpy(static_cast<void*>(first_ + count_),
                    static_cast<const void*>(std::to_address(from)), n * sizeof(T));
      count_ += n;
    } else {
      for (; n > 0; --n, ++from) add(*from);
    }
  }
  std::size_t keep() noexcept { return std::exchange(count_, 0); }

 private:
  template <class It>
  static consteval bool copies_as_bytes() {
    if constexpr (std::contiguous_iterator<It>) {
      return std::is_same_v<std::iter_value_t<It>, T> && std::is_trivially_copyable_v<T> &&
             !built_by<T, Allocator, const T&>;
    } else {
      return false;
    }
  }

  Allocator& memory_;
  T* first_;
  std::size_t count_ = 0;
};

// An element by itself, built with the container's memory.
template <class T, class Allocator>
class temporary {
  using traits = std::allocator_traits<Allocator>;

 public:
  template <class... Args>
  explicit temporary(Allocator& memory, Args&&... args) : memory_(memory) {
    traits::construct(memory_, address(), std::forward<Args>(args)...);
  }
  temporary(const temporary&) = delete;
  temporary& operator=(const temporary&) = delete;
  ~temporary() { traits::destroy(memory_, address()); }
  [[nodiscard]] T& get() noexcept { return *address(); }

 private:
  [[nodiscard]] T* address() noexcept { return reinterpret_cast<T*>(room_); }

  Allocator& memory_;
  alignas(T) std::byte room_[sizeof(T)];
};

// <=>, or what can be told with <.
struct three_way {
  template <class A, class B>
  [[nodiscard]] constexpr auto operator()(const A& a, const B& b) const {
    if constexpr (std::three_way_comparable_with<A, B>) {
      return a <=> b;
    } else {
      return a < b   ? std::weak_ordering::less
             : b < a ? std::weak_ordering::greater
                     : std::weak_ordering::equivalent;
    }
  }
};
template <class T>
using ordering_of = decltype(three_way{}(std::declval<const T&>(), std::declval<const T&>()));

template <class T, class A, class B>
[[nodiscard]] ordering_of<T> compare_ranges(A a, const A a_end, B b, const B b_end) {
  for (; a != a_end && b != b_end; ++a, ++b)
    if (const auto order = three_way{}(*a, *b); order != 0) return order;
  if (a != a_end) return std::strong_ordering::greater;
  if (b != b_end) return std::strong_ordering::less;
  return std::strong_ordering::equal;
}
template <class A, class B>
[[nodiscard]] bool equal_ranges(A a, const A a_end, B b) {
  for (; a != a_end; ++a, ++b)
    if (!(*a == *b)) return false;
  return true;
}

}  // namespace ipcpp::detail
