// ipcpp.malloc:offset_ptr - a pointer that holds the distance from itself to what it points at.
//
// Representation: one signed 64-bit word, target minus address of the offset_ptr itself, both in
// bytes. Two objects keep their distance wherever a heap is mapped, so a heap full of these needs
// no common address. Null is 1: nothing that is aligned lies one byte behind a pointer, while 0
// must stay "points at itself" (the sentinel of an empty list).
//
// Dereferencing adds and nothing else; only get(), the comparisons and the conversion to bool look
// for null. Copying recomputes the distance, so the type is not trivially copyable: no memcpy, no
// std::atomic, no messages (heap_ptr is for those). Meets the requirements on an allocator's
// pointer: a contiguous iterator, rebindable, convertible to offset_ptr<const T> and to and from
// offset_ptr<void>.
module;

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <type_traits>

export module ipcpp.malloc:offset_ptr;

namespace ipcpp {

export template <class T>
class offset_ptr {
  static constexpr std::int64_t null = 1;

 public:
  using element_type = T;
  using value_type = std::remove_cv_t<T>;
  using difference_type = std::ptrdiff_t;
  using pointer = offset_ptr;
  using reference = std::add_lvalue_reference_t<T>;
  using iterator_category = std::random_access_iterator_tag;
  using iterator_concept = std::contiguous_iterator_tag;
  template <class U>
  using rebind = offset_ptr<U>;
  static constexpr bool is_ipcpp_shareable = true;

  offset_ptr() noexcept = default;
  offset_ptr(std::nullptr_t) noexcept {}
  explicit offset_ptr(T* target) noexcept { point_at(target); }
  offset_ptr(const offset_ptr& other) noexcept { point_at(other.get()); }
  template <class U>
    requires(std::convertible_to<U*, T*> && !std::same_as<U, T>)
  offset_ptr(const offset_ptr<U>& other) noexcept {
    point_at(other.get());
  }
  // What static_cast does for raw pointers: from void to T, from base to derived.
  template <class U>
    requires(!std::convertible_to<U*, T*> && requires(U* p) { static_cast<T*>(p); })
  explicit offset_ptr(const offset_ptr<U>& other) noexcept {
    point_at(static_cast<T*>(other.get()));
  }

  offset_ptr& operator=(const offset_ptr& other) noexcept {
    point_at(other.get());
    return *this;
  }
  offset_ptr& operator=(std::nullptr_t) noexcept {
    distance_ = null;
    return *this;
  }
  ~offset_ptr() = default;

  template <class U = T>
    requires(!std::is_void_v<U>)
  [[nodiscard]] static offset_ptr pointer_to(U& target) noexcept {
    return offset_ptr(std::addressof(target));
  }

  [[nodiscard]] T* get() const noexcept { return distance_ == null ? nullptr : unchecked(); }
  explicit operator bool() const noexcept { return distance_ != null; }

  // Precondition of these three: not null.
  [[nodiscard]] reference operator*() const noexcept
    requires(!std::is_void_v<T>)
  {
    return *unchecked();
  }
  // Also called by std::to_address on a pointer past the end, never on null by conforming code.
  [[nodiscard]] T* operator->() const noexcept
    requires(!std::is_void_v<T>)
  {
    return unchecked();
  }
  template <class U = T>
    requires(!std::is_void_v<U>)
  [[nodiscard]] U& operator[](difference_type n) const noexcept {
    return unchecked()[n];
  }

  offset_ptr& operator+=(difference_type n) noexcept
    requires(!std::is_void_v<T>)
  {
    distance_ += n * static_cast<std::int64_t>(sizeof(T));
    return *this;
  }
  offset_ptr& operator-=(difference_type n) noexcept
    requires(!std::is_void_v<T>)
  {
    return *this += -n;
  }
  offset_ptr& operator++() noexcept { return *this += 1; }
  offset_ptr& operator--() noexcept { return *this -= 1; }
  offset_ptr operator++(int) noexcept {
    offset_ptr before(*this);
    ++*this;
    return before;
  }
  offset_ptr operator--(int) noexcept {
    offset_ptr before(*this);
    --*this;
    return before;
  }
  friend offset_ptr operator+(const offset_ptr& p, difference_type n) noexcept {
    return offset_ptr(p.unchecked() + n);
  }
  friend offset_ptr operator+(difference_type n, const offset_ptr& p) noexcept {
    return offset_ptr(p.unchecked() + n);
  }
  friend offset_ptr operator-(const offset_ptr& p, difference_type n) noexcept {
    return offset_ptr(p.unchecked() - n);
  }

 private:
  // Through integers: the two addresses belong to different objects, which pointer arithmetic must not cross.
  void point_at(T* target) noexcept {
    const auto to = reinterpret_cast<std::uintptr_t>(target);
    distance_ =
        to == 0 ? null : static_cast<std::int64_t>(to - reinterpret_cast<std::uintptr_t>(this));
  }
  [[nodiscard]] T* unchecked() const noexcept {
    return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(this) +
                                static_cast<std::uintptr_t>(distance_));
  }

  std::int64_t distance_ = null;
};
static_assert(sizeof(offset_ptr<int>) == 8 && std::is_standard_layout_v<offset_ptr<int>>);

export template <class T, class U>
[[nodiscard]] bool operator==(const offset_ptr<T>& a, const offset_ptr<U>& b) noexcept {
  return a.get() == b.get();
}
export template <class T>
[[nodiscard]] bool operator==(const offset_ptr<T>& a, std::nullptr_t) noexcept {
  return !a;
}
export template <class T, class U>
[[nodiscard]] std::strong_ordering operator<=>(const offset_ptr<T>& a,
                                               const offset_ptr<U>& b) noexcept {
  return std::compare_three_way{}(a.get(), b.get());
}
export template <class T, class U>
[[nodiscard]] std::ptrdiff_t operator-(const offset_ptr<T>& a, const offset_ptr<U>& b) noexcept {
  return a.get() - b.get();
}

}  // namespace ipcpp

template <class T>
struct std::hash<ipcpp::offset_ptr<T>> {
  std::size_t operator()(const ipcpp::offset_ptr<T>& p) const noexcept {
    return std::hash<T*>{}(p.get());
  }
};
