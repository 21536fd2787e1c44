// ipcpp.containers:vector - std::vector's interface over memory that processes share.
//
// Representation: 32 bytes, the same from every compiler:
//
//   | memory | link to the elements | size | capacity |
//
// Iterators are plain pointers: begin() turns the link into an address once, and loops over the
// elements run and vectorise as over any array (through offset_ptr they would not: each step would
// depend on the address of the pointer itself).
//
// All of C++20's std::vector but for constant evaluation. vector<bool> is a vector like any other,
// of bytes: its elements have addresses. Elements may be of an incomplete type until they are used.
//
// Failure model: std::bad_alloc, std::length_error, std::out_of_range. The strong guarantee for
// push_back, emplace_back, reserve, shrink_to_fit and resize as in the standard, and for insert and
// emplace of elements whose move cannot throw.
module;

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>

export module ipcpp.containers:vector;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;
import :links;
import :sequence_support;

namespace ipcpp {

export template <class T, class Allocator = allocator<T>>
class vector {
  static_assert(std::is_object_v<T> && !std::is_const_v<T> && !std::is_volatile_v<T>);
  using traits = std::allocator_traits<Allocator>;

 public:
  using value_type = T;
  using allocator_type = Allocator;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using const_reference = const T&;
  using pointer = T*;
  using const_pointer = const T*;
  using iterator = T*;
  using const_iterator = const T*;
  using reverse_iterator = std::reverse_iterator<iterator>;
  using const_reverse_iterator = std::reverse_iterator<const_iterator>;

  // ---- construction ----
  vector() noexcept(noexcept(Allocator())) = default;
  explicit vector(const Allocator& memory) noexcept : allocator_(memory) {}
  explicit vector(size_type n, const Allocator& memory = Allocator()) : vector(memory) {
    resize(n);
  }
  vector(size_type n, const T& value, const Allocator& memory = Allocator()) : vector(memory) {
    insert(cend(), n, value);
  }
  template <std::input_iterator It>
  vector(It first, It last, const Allocator& memory = Allocator()) : vector(memory) {
    insert(cend(), first, last);
  }
  vector(std::initializer_list<T> list, const Allocator& memory = Allocator()) : vector(memory) {
    insert(cend(), list.begin(), list.end());
  }
  vector(const vector& other)
      : vector(traits::select_on_container_copy_construction(other.allocator_)) {
    insert(cend(), other.begin(), other.end());
  }
  vector(const vector& other, const std::type_identity_t<Allocator>& memory) : vector(memory) {
    insert(cend(), other.begin(), other.end());
  }
  vector(vector&& other) noexcept : allocator_(other.allocator_) { take(other); }
  vector(vector&& other, const std::type_identity_t<Allocator>& memory) : vector(memory) {
    if (allocator_ == other.allocator_) {
      take(other);
    } else {
      insert(cend(), std::move_iterator(other.begin()), std::move_iterator(other.end()));
    }
  }
  ~vector() {
    static_assert(
        detail::fits<T, Allocator>,
        "ipcpp::vector: an element of this type would mean nothing to another process: it "
        "holds a raw pointer, or may hide one; see ipcpp::shareable");
    detail::destroy_each(begin(), size());
    free_block();
  }

  vector& operator=(const vector& other) {
    if (this != std::addressof(other)) assign(other.begin(), other.end());
    return *this;
  }
  vector& operator=(vector&& other) {
    if (this == std::addressof(other)) return *this;
    if (allocator_ == other.allocator_) {
      clear();
      free_block();
      become_empty();
      take(other);
    } else {
      assign(std::move_iterator(other.begin()), std::move_iterator(other.end()));
    }
    return *this;
  }
  vector& operator=(std::initializer_list<T> list) {
    assign(list.begin(), list.end());
    return *this;
  }

  template <std::input_iterator It>
  void assign(It first, It last) {
    if constexpr (std::forward_iterator<It>) {
      const auto n = static_cast<size_type>(std::distance(first, last));
      if (n > capacity()) {
        fresh_block made(*this, n);
        made.elements.add_range(first, n);
        clear();
        adopt(made);
        return;
      }
    }
    T* at = begin();
    for (; at != end() && first != last; ++at, ++first) *at = *first;
    if (first != last) {
      insert(cend(), first, last);
    } else {
      truncate(static_cast<size_type>(at - begin()));
    }
  }
  // `value` is no element of this vector.
  void assign(size_type n, const T& value) {
    if (n > capacity()) {
      fresh_block made(*this, n);
      made.elements.add_times(n, value);
      clear();
      adopt(made);
      return;
    }
    const size_type kept = n < size() ? n : size();
    for (size_type i = 0; i < kept; ++i) data()[i] = value;
    if (n > kept) {
      insert(cend(), n - kept, value);
    } else {
      truncate(n);
    }
  }
  void assign(std::initializer_list<T> list) { assign(list.begin(), list.end()); }
  [[nodiscard]] allocator_type get_allocator() const noexcept { return allocator_; }

  // ---- elements ----
  // Precondition: there is such an element.
  [[nodiscard]] reference operator[](size_type i) noexcept { return elements_.target()[i]; }
  [[nodiscard]] const_reference operator[](size_type i) const noexcept {
    return elements_.target()[i];
  }
  [[nodiscard]] reference front() noexcept { return *elements_.target(); }
  [[nodiscard]] const_reference front() const noexcept { return *elements_.target(); }
  [[nodiscard]] reference back() noexcept { return elements_.target()[size() - 1]; }
  [[nodiscard]] const_reference back() const noexcept { return elements_.target()[size() - 1]; }
  [[nodiscard]] reference at(size_type i) {
    if (i >= size()) detail::throw_out_of_range("ipcpp::vector::at");
    return elements_.target()[i];
  }
  [[nodiscard]] const_reference at(size_type i) const {
    if (i >= size()) detail::throw_out_of_range("ipcpp::vector::at");
    return elements_.target()[i];
  }
  [[nodiscard]] T* data() noexcept { return elements_.get(); }
  [[nodiscard]] const T* data() const noexcept { return elements_.get(); }

  [[nodiscard]] iterator begin() noexcept { return elements_.get(); }
  [[nodiscard]] const_iterator begin() const noexcept { return elements_.get(); }
  [[nodiscard]] const_iterator cbegin() const noexcept { return elements_.get(); }
  [[nodiscard]] iterator end() noexcept { return elements_.get() + size(); }
  [[nodiscard]] const_iterator end() const noexcept { return elements_.get() + size(); }
  [[nodiscard]] const_iterator cend() const noexcept { return elements_.get() + size(); }
  [[nodiscard]] reverse_iterator rbegin() noexcept { return reverse_iterator(end()); }
  [[nodiscard]] const_reverse_iterator rbegin() const noexcept {
    return const_reverse_iterator(end());
  }
  [[nodiscard]] const_reverse_iterator crbegin() const noexcept { return rbegin(); }
  [[nodiscard]] reverse_iterator rend() noexcept { return reverse_iterator(begin()); }
  [[nodiscard]] const_reverse_iterator rend() const noexcept {
    return const_reverse_iterator(begin());
  }
  [[nodiscard]] const_reverse_iterator crend() const noexcept { return rend(); }

  // ---- size ----
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] size_type size() const noexcept { return static_cast<size_type>(size_); }
  [[nodiscard]] size_type max_size() const noexcept {
    return static_cast<size_type>(std::numeric_limits<difference_type>::max()) / sizeof(T);
  }
  [[nodiscard]] size_type capacity() const noexcept { return static_cast<size_type>(capacity_); }
  void reserve(size_type n) {
    if (n > capacity()) move_to_block_of(n);
  }
  void shrink_to_fit() {
    if (size() == capacity()) return;
    if (empty()) {
      free_block();
      become_empty();
    } else {
      move_to_block_of(size());
    }
  }
  void clear() noexcept { truncate(0); }
  void resize(size_type n) {
    if (n < size()) {
      truncate(n);
    } else {
      append(n - size(), [&](auto& elements) { elements.add_times(n - size()); });
    }
  }
  void resize(size_type n, const T& value) {
    if (n < size()) {
      truncate(n);
    } else {
      insert(cend(), n - size(), value);
    }
  }

  // ---- append ----
  void push_back(const T& value) { emplace_back(value); }
  void push_back(T&& value) { emplace_back(std::move(value)); }
  template <class... Args>
  reference emplace_back(Args&&... args) {
    if (size_ == capacity_) {
      grow_with(size(), std::forward<Args>(args)...);
    } else {
      traits::construct(allocator_, elements_.target() + size(), std::forward<Args>(args)...);
      ++size_;
    }
    return back();
  }
  void pop_back() noexcept { truncate(size() - 1); }

  // ---- insert ----
  template <class... Args>
  iterator emplace(const_iterator at, Args&&... args) {
    const size_type i = index_of(at);
    if (i == size()) {
      emplace_back(std::forward<Args>(args)...);
    } else if (size_ == capacity_) {
      grow_with(i, std::forward<Args>(args)...);
    } else {
      detail::temporary<T, Allocator> made(allocator_, std::forward<Args>(args)...);
      insert_with(i, 1, [&](auto& elements) { elements.add(std::move(made.get())); });
    }
    return begin() + i;
  }
  iterator insert(const_iterator at, const T& value) { return emplace(at, value); }
  iterator insert(const_iterator at, T&& value) { return emplace(at, std::move(value)); }
  iterator insert(const_iterator at, size_type n, const T& value) {
    const size_type i = index_of(at);
    if (n == 0) return begin() + i;
    if (capacity() - size() < n || i == size()) {
      insert_with(i, n, [&](auto& elements) { elements.add_times(n, value); });
    } else {  // it may be one of those that give way
      detail::temporary<T, Allocator> copy(allocator_, value);
      insert_with(i, n, [&](auto& elements) { elements.add_times(n, copy.get()); });
    }
    return begin() + i;
  }
  // The range is no part of this vector.
  template <std::input_iterator It>
  iterator insert(const_iterator at, It first, It last) {
    const size_type i = index_of(at);
    if constexpr (std::forward_iterator<It>) {
      const auto n = static_cast<size_type>(std::distance(first, last));
      if (n != 0) insert_with(i, n, [&](auto& elements) { elements.add_range(first, n); });
    } else if (i == size()) {
      for (; first != last; ++first) emplace_back(*first);
    } else {
      vector made(first, last, allocator_);
      insert(begin() + i, std::move_iterator(made.begin()), std::move_iterator(made.end()));
    }
    return begin() + i;
  }
  iterator insert(const_iterator at, std::initializer_list<T> list) {
    return insert(at, list.begin(), list.end());
  }

  // ---- erase ----
  iterator erase(const_iterator at) { return erase(at, at + 1); }
  iterator erase(const_iterator first, const_iterator last) {
    T* const gap = begin() + index_of(first);
    if (first == last) return gap;
    T* to = gap;
    T* from = begin() + index_of(last);
    if constexpr (detail::relocates_as_bytes<T>) {
      const auto behind = static_cast<size_type>(end() - from);
      std::memmove(static_cast<void*>(to), static_cast<const void*>(from), behind * sizeof(T));
      size_ -= static_cast<size_type>(from - to);
    } else {
      for (; from != end(); ++from, ++to) *to = std::move(*from);
      truncate(static_cast<size_type>(to - begin()));
    }
    return gap;
  }

  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(vector& other) {
    if (allocator_ == other.allocator_) {
      vector between(allocator_);
      between.take(*this);
      take(other);
      other.take(between);
    } else {
      vector mine(std::move(other), allocator_);
      vector theirs(std::move(*this), other.allocator_);
      swap(mine);
      other.swap(theirs);
    }
  }
  friend void swap(vector& a, vector& b) { a.swap(b); }

  [[nodiscard]] friend bool operator==(const vector& a, const vector& b) {
    return a.size() == b.size() && detail::equal_ranges(a.begin(), a.end(), b.begin());
  }
  [[nodiscard]] friend auto operator<=>(const vector& a, const vector& b)
    requires requires(const T& t) { t < t; }
  {
    return detail::compare_ranges<T>(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  // A block that is not the vector's yet, and the elements in it from some place on.
  struct raw_block {
    raw_block(vector& of, size_type n)
        : owner(of),
          at(std::to_address(traits::allocate(of.allocator_, of.checked(n)))),
          capacity(n) {}
    raw_block(const raw_block&) = delete;
    raw_block& operator=(const raw_block&) = delete;
    ~raw_block() {
      if (at != nullptr) owner.deallocate(at, capacity);
    }
    vector& owner;
    T* at;
    size_type capacity;
  };
  struct fresh_block {
    fresh_block(vector& of, size_type n, size_type from = 0)
        : raw(of, n), elements(of.allocator_, raw.at + from) {}
    raw_block raw;
    detail::built_run<T, Allocator> elements;
  };

  [[nodiscard]] size_type checked(size_type n) const {
    if (n > max_size()) detail::throw_length_error("ipcpp::vector: more than max_size()");
    return n;
  }
  // For `more` elements on top, and at least twice what there was.
  [[nodiscard]] size_type grown_by(size_type more) const {
    if (more > max_size() - size())
      detail::throw_length_error("ipcpp::vector: more than max_size()");
    constexpr size_type least = sizeof(T) < 32 ? 32 / sizeof(T) : 1;
    size_type n = capacity() > max_size() / 2 ? max_size() : 2 * capacity();
    if (n < size() + more) n = size() + more;
    return n < least ? least : n;
  }
  [[nodiscard]] size_type index_of(const_iterator at) const noexcept {
    return static_cast<size_type>(at - begin());
  }

  void deallocate(T* block, size_type n) noexcept {
    traits::deallocate(allocator_, typename traits::pointer(block), n);
  }
  void free_block() noexcept {
    if (capacity_ != 0) deallocate(elements_.target(), capacity());
  }
  void become_empty() noexcept {
    elements_.set(nullptr);
    size_ = 0;
    capacity_ = 0;
  }
  // Precondition: equal allocators, this is empty and has no block.
  void take(vector& other) noexcept {
    elements_.set(other.elements_.get());
    size_ = other.size_;
    capacity_ = other.capacity_;
    other.become_empty();
  }
  void truncate(size_type n) noexcept {
    detail::destroy_each(begin() + n, size() - n);
    size_ = n;
  }

  // The new block takes the place of the old one, all of whose elements are gone.
  void adopt(fresh_block& made, size_type size) noexcept {
    free_block();
    elements_.lead_to(made.raw.at);
    capacity_ = made.raw.capacity;
    size_ = size;
    made.raw.at = nullptr;
  }
  void adopt(fresh_block& made) noexcept { adopt(made, made.elements.keep()); }

  // The present elements into the new block, with a gap of n at i which is filled already.
  void adopt_around(fresh_block& made, size_type i, size_type n) {
    const size_type before = size();
    T* const old = begin();
    if constexpr (detail::relocates_safely<T>) {
      detail::relocate(made.raw.at, old, i);
      detail::relocate(made.raw.at + i + n, old + i, before - i);
    } else {
      detail::built_run<T, Allocator> first(allocator_, made.raw.at);
      for (size_type k = 0; k < i; ++k) first.add(std::move_if_noexcept(old[k]));
      detail::built_run<T, Allocator> second(allocator_, made.raw.at + i + n);
      for (size_type k = i; k < before; ++k) second.add(std::move_if_noexcept(old[k]));
      first.keep();
      second.keep();
      detail::destroy_each(old, before);
    }
    made.elements.keep();
    adopt(made, before + n);
  }
  void move_to_block_of(size_type n) {
    fresh_block made(*this, n);
    adopt_around(made, size(), 0);
  }
  template <class... Args>
  void grow_with(size_type i, Args&&... args) {
    fresh_block made(*this, grown_by(1), i);
    made.elements.add(std::forward<Args>(args)...);
    adopt_around(made, i, 1);
  }
  template <class Build>
  void append(size_type n, Build&& build) {
    insert_with(size(), n, std::forward<Build>(build));
  }
  // n new elements at i, which build(run) builds; what they are made of is not in this vector, or
  // the block has no room for them.
  template <class Build>
  void insert_with(size_type i, size_type n, Build&& build) {
    if (capacity() - size() < n || (!detail::relocates_safely<T> && i != size())) {
      fresh_block made(*this, capacity() - size() < n ? grown_by(n) : capacity(), i);
      build(made.elements);
      adopt_around(made, i, n);
      return;
    }
    if (n == 0) return;
    T* const gap = elements_.target() + i;
    if constexpr (detail::relocates_safely<T>) {
      tail_aside aside(gap, size() - i, n);
      detail::built_run<T, Allocator> made(allocator_, gap);
      build(made);
      made.keep();
      aside.keep();
    } else {
      detail::built_run<T, Allocator> made(allocator_, gap);
      build(made);
      made.keep();
    }
    size_ += n;
  }
  // Makes a gap of n before the `behind` elements at `gap`, and closes it again unless keep() is
  // called.
  class tail_aside {
   public:
    tail_aside(T* gap, size_type behind, size_type n) noexcept : gap_(gap), behind_(behind), n_(n) {
      detail::relocate(gap_ + n_, gap_, behind_);
    }
    tail_aside(const tail_aside&) = delete;
    tail_aside& operator=(const tail_aside&) = delete;
    ~tail_aside() { detail::relocate(gap_, gap_ + n_, behind_); }
    void keep() noexcept { behind_ = 0; }

   private:
    T* gap_;
    size_type behind_;
    size_type n_;
  };

  Allocator allocator_;
  detail::link<T, detail::is_relative<Allocator>> elements_;
  std::uint64_t size_ = 0;
  std::uint64_t capacity_ = 0;
};
static_assert(sizeof(vector<int>) == 32 && alignof(vector<int>) == 8);

export template <class It, class Allocator = allocator<std::iter_value_t<It>>>
vector(It, It, Allocator = Allocator()) -> vector<std::iter_value_t<It>, Allocator>;

export template <class T, class Allocator, class Predicate>
std::size_t erase_if(vector<T, Allocator>& from, Predicate predicate) {
  T* kept = from.begin();
  for (T& element : from) {
    if (predicate(element)) continue;
    if (kept != std::addressof(element)) *kept = std::move(element);
    ++kept;
  }
  const auto erased = static_cast<std::size_t>(from.end() - kept);
  from.erase(kept, from.end());
  return erased;
}
export template <class T, class Allocator, class U>
std::size_t erase(vector<T, Allocator>& from, const U& value) {
  return erase_if(from, [&](const T& element) { return element == value; });
}

}  // namespace ipcpp
