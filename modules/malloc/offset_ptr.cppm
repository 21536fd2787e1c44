// ipcpp.malloc:offset_ptr - a pointer that holds the distance from itself to what it points at.
//
// Representation: one signed 64-bit word, target minus address of the offset_ptr itself, both in
// bytes. Two objects keep their distance wherever a heap is mapped, so a heap full of these needs
// no common address. Null is 1: nothing that is aligned lies one byte behind a pointer, while 0
// must stay "points at itself" (the sentinel of an empty list).
//
// Dereferencing adds and nothing else; only get(), to_address, adding, the comparisons and the
// conversion to bool look for null. Copying recomputes the distance, so the type is not trivially
// copyable: no memcpy, no std::atomic, no messages (heap_ptr is for those). Meets the requirements on
// an allocator's pointer: a contiguous iterator, rebindable, convertible to offset_ptr<const T> and
// to and from offset_ptr<void>.
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

namespace detail {

// The word itself, one class whatever it leads to: only so may an offset_ptr<int> be read as an
// offset_ptr<const int>, which is what a pointer to it that became a pointer to const does.
class distance_word {
 public:
  static constexpr std::int64_t null = 1;

  [[nodiscard]] inline std::int64_t get() const noexcept { return distance_; }
  inline void set(std::int64_t distance) noexcept { distance_ = distance; }

 private:
  std::int64_t distance_ = null;
};

// int* for offset_ptr<int>, and so on inside.
template <class T>
struct raw_type {
  using type = T;
};
template <class T>
  requires requires { typename T::is_offset_ptr_to; }
struct raw_type<T> {
  using type = typename raw_type<typename T::is_offset_ptr_to>::type*;
};
template <class T>
struct raw_type<const T> {
  using type = const typename raw_type<T>::type;
};

}  // namespace detail

export template <class T>
class offset_ptr {
  static constexpr std::int64_t null = detail::distance_word::null;

 public:
  using is_offset_ptr_to = T;
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
  // offset_ptr<offset_ptr<int>> to offset_ptr<const offset_ptr<const int>>, as int** to
  // const int* const*.
  template <class U>
    requires(!std::convertible_to<U*, T*> &&
             std::convertible_to<typename detail::raw_type<U>::type*,
                                 typename detail::raw_type<T>::type*>)
  offset_ptr(const offset_ptr<U>& other) noexcept {
    point_at(reinterpret_cast<T*>(other.get()));
  }
  // What static_cast does for raw pointers: from void to T, from base to derived.
  template <class U>
    requires(!std::convertible_to<U*, T*> && requires(U* p) { static_cast<T*>(p); })
#if defined(__clang__)
  // The maps of libc++ (19) cast their end down to a node, which it is not: see cmake/sanitizer_ignore.txt.
  __attribute__((no_sanitize("object-size")))
#endif
  explicit offset_ptr(const offset_ptr<U>& other) noexcept {
    point_at(static_cast<T*>(other.get()));
  }

  offset_ptr& operator=(const offset_ptr& other) noexcept {
    point_at(other.get());
    return *this;
  }
  offset_ptr& operator=(std::nullptr_t) noexcept {
    word_.set(null);
    return *this;
  }
  ~offset_ptr() = default;

  template <class U = T>
    requires(!std::is_void_v<U>)
  [[nodiscard]] static offset_ptr pointer_to(U& target) noexcept {
    return offset_ptr(std::addressof(target));
  }

  [[nodiscard]] T* get() const noexcept { return word_.get() == null ? nullptr : unchecked(); }
  explicit operator bool() const noexcept { return word_.get() != null; }

  // Precondition of these three: not null.
  [[nodiscard]] reference operator*() const noexcept
    requires(!std::is_void_v<T>)
  {
    return *unchecked();
  }
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
    word_.set(word_.get() + n * static_cast<std::int64_t>(sizeof(T)));
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
  // Null plus 0 is null: containers compute the position in an empty vector like that.
  friend offset_ptr operator+(const offset_ptr& p, difference_type n) noexcept {
    return offset_ptr(p.get() + n);
  }
  friend offset_ptr operator+(difference_type n, const offset_ptr& p) noexcept {
    return offset_ptr(p.get() + n);
  }
  friend offset_ptr operator-(const offset_ptr& p, difference_type n) noexcept {
    return offset_ptr(p.get() - n);
  }

 private:
  // Through integers: the two addresses belong to different objects, which pointer arithmetic must not cross.
  void point_at(T* target) noexcept {
    const auto to = reinterpret_cast<std::uintptr_t>(target);
    word_.set(to == 0 ? null
                      : static_cast<std::int64_t>(to - reinterpret_cast<std::uintptr_t>(this)));
  }
  [[nodiscard]] T* unchecked() const noexcept {
    return reinterpret_cast<T*>(reinterpret_cast<std::uintptr_t>(this) +
                                static_cast<std::uintptr_t>(word_.get()));
  }

  detail::distance_word word_;
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

// For the sake of to_address, which libraries call on the null pointers of empty containers, while
// operator-> does not look for null.
template <class T>
struct std::pointer_traits<ipcpp::offset_ptr<T>> {
  using pointer = ipcpp::offset_ptr<T>;
  using element_type = T;
  using difference_type = std::ptrdiff_t;
  template <class U>
  using rebind = ipcpp::offset_ptr<U>;

  template <class U = T>
    requires(!std::is_void_v<U>)
  [[nodiscard]] static pointer pointer_to(U& target) noexcept {
    return pointer::pointer_to(target);
  }
  [[nodiscard]] static T* to_address(const pointer& p) noexcept { return p.get(); }
};

template <class T>
struct std::hash<ipcpp::offset_ptr<T>> {
  std::size_t operator()(const ipcpp::offset_ptr<T>& p) const noexcept {
    return std::hash<T*>{}(p.get());
  }
};
