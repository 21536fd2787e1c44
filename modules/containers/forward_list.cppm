// ipcpp.containers:forward_list - std::forward_list's interface over memory that processes share.
//
// Representation: 16 bytes, the same from every compiler, and a node per element:
//
//   | memory | first |          | next | element |
//
// before_begin() is the address of `first`, which is what every node begins with.
//
// All of C++20's std::forward_list. Splicing, merging and swapping between lists of different
// memories, undefined for the standard's, moves the elements one by one.
//
// Failure model: std::bad_alloc; the strong guarantee for every insertion. sort, merge, unique and
// remove_if lose no element if a comparison throws.
module;

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <limits>
#include <memory>
#include <type_traits>
#include <utility>

export module ipcpp.containers:forward_list;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;
import :links;
import :sequence_support;

namespace ipcpp {

namespace detail {

template <bool relative>
struct forward_links {
  link<forward_links, relative> next;
};

template <class T, bool relative>
struct forward_node : forward_links<relative> {
  alignas(T) std::byte room[sizeof(T)];
  [[nodiscard]] T* value() noexcept { return reinterpret_cast<T*>(room); }
};

template <class T, bool relative, bool constant>
class forward_iterator {
  using links = forward_links<relative>;

 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using pointer = std::conditional_t<constant, const T*, T*>;
  using reference = std::conditional_t<constant, const T&, T&>;

  forward_iterator() noexcept = default;
  explicit forward_iterator(links* at) noexcept : at_(at) {}
  template <bool from>
    requires(constant && !from)
  forward_iterator(const forward_iterator<T, relative, from>& other) noexcept : at_(other.node()) {}

  [[nodiscard]] reference operator*() const noexcept {
    return *static_cast<forward_node<T, relative>*>(at_)->value();
  }
  [[nodiscard]] pointer operator->() const noexcept { return std::addressof(**this); }
  forward_iterator& operator++() noexcept {
    at_ = at_->next.get();
    return *this;
  }
  forward_iterator operator++(int) noexcept {
    return forward_iterator(std::exchange(at_, at_->next.get()));
  }
  bool operator==(const forward_iterator& other) const = default;
  [[nodiscard]] links* node() const noexcept { return at_; }

 private:
  links* at_ = nullptr;
};

}  // namespace detail

export template <class T, class Allocator = allocator<T>>
class forward_list {
  static_assert(std::is_object_v<T> && !std::is_const_v<T> && !std::is_volatile_v<T>);
  static constexpr bool relative = detail::is_relative<Allocator>;
  using links = detail::forward_links<relative>;
  using node = detail::forward_node<T, relative>;
  using nodes = detail::nodes<node, Allocator>;

 public:
  using value_type = T;
  using allocator_type = Allocator;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = T&;
  using const_reference = const T&;
  using pointer = T*;
  using const_pointer = const T*;
  using iterator = detail::forward_iterator<T, relative, false>;
  using const_iterator = detail::forward_iterator<T, relative, true>;

  // ---- construction ----
  forward_list() noexcept(noexcept(Allocator())) = default;
  explicit forward_list(const Allocator& memory) noexcept : allocator_(memory) {}
  explicit forward_list(size_type n, const Allocator& memory = Allocator()) : forward_list(memory) {
    resize(n);
  }
  forward_list(size_type n, const T& value, const Allocator& memory = Allocator())
      : forward_list(memory) {
    insert_after(cbefore_begin(), n, value);
  }
  template <std::input_iterator It>
  forward_list(It first, It last, const Allocator& memory = Allocator()) : forward_list(memory) {
    append_after(before_begin(), first, last);
  }
  forward_list(std::initializer_list<T> all, const Allocator& memory = Allocator())
      : forward_list(all.begin(), all.end(), memory) {}
  forward_list(const forward_list& other)
      : forward_list(other.begin(), other.end(),
                     std::allocator_traits<Allocator>::select_on_container_copy_construction(
                         other.get_allocator())) {}
  forward_list(const forward_list& other, const std::type_identity_t<Allocator>& memory)
      : forward_list(other.begin(), other.end(), memory) {}
  forward_list(forward_list&& other) noexcept : forward_list(other.get_allocator()) { take(other); }
  forward_list(forward_list&& other, const std::type_identity_t<Allocator>& memory)
      : forward_list(memory) {
    splice_after(cbefore_begin(), other);
  }
  ~forward_list() {
    static_assert(detail::fits<T, Allocator>,
                  "ipcpp::forward_list: an element of this type would mean nothing to another "
                  "process: it holds a raw pointer, or may hide one; see ipcpp::shareable");
    clear();
  }
  forward_list& operator=(const forward_list& other) {
    if (this != std::addressof(other)) assign(other.begin(), other.end());
    return *this;
  }
  forward_list& operator=(forward_list&& other) {
    if (this == std::addressof(other)) return *this;
    if (allocator_ == other.allocator_) {
      clear();
      take(other);
    } else {
      assign(std::move_iterator(other.begin()), std::move_iterator(other.end()));
    }
    return *this;
  }
  forward_list& operator=(std::initializer_list<T> all) {
    assign(all.begin(), all.end());
    return *this;
  }
  template <std::input_iterator It>
  void assign(It first, It last) {
    iterator before = before_begin();
    for (; after(before) != end() && first != last; ++before, ++first) *after(before) = *first;
    erase_after(before, end());
    insert_after(before, first, last);
  }
  void assign(size_type n, const T& value) {
    iterator before = before_begin();
    for (; after(before) != end() && n != 0; ++before, --n) *after(before) = value;
    erase_after(before, end());
    insert_after(before, n, value);
  }
  void assign(std::initializer_list<T> all) { assign(all.begin(), all.end()); }
  [[nodiscard]] allocator_type get_allocator() const noexcept { return Allocator(allocator_); }

  // ---- elements ----
  [[nodiscard]] reference front() noexcept { return *begin(); }
  [[nodiscard]] const_reference front() const noexcept { return *begin(); }
  [[nodiscard]] iterator before_begin() noexcept { return iterator(head()); }
  [[nodiscard]] const_iterator before_begin() const noexcept { return const_iterator(head()); }
  [[nodiscard]] const_iterator cbefore_begin() const noexcept { return const_iterator(head()); }
  [[nodiscard]] iterator begin() noexcept { return iterator(head_.next.get()); }
  [[nodiscard]] const_iterator begin() const noexcept { return const_iterator(head_.next.get()); }
  [[nodiscard]] const_iterator cbegin() const noexcept { return begin(); }
  [[nodiscard]] iterator end() noexcept { return iterator(); }
  [[nodiscard]] const_iterator end() const noexcept { return const_iterator(); }
  [[nodiscard]] const_iterator cend() const noexcept { return const_iterator(); }
  [[nodiscard]] bool empty() const noexcept { return head_.next.get() == nullptr; }
  [[nodiscard]] size_type max_size() const noexcept {
    return static_cast<size_type>(std::numeric_limits<difference_type>::max()) / sizeof(node);
  }

  // ---- insert and erase ----
  template <class... Args>
  iterator emplace_after(const_iterator before, Args&&... args) {
    node* const made = nodes::make(allocator_, std::forward<Args>(args)...);
    made->next.set(before.node()->next.get());
    before.node()->next.lead_to(made);
    return iterator(made);
  }
  iterator insert_after(const_iterator before, const T& value) {
    return emplace_after(before, value);
  }
  iterator insert_after(const_iterator before, T&& value) {
    return emplace_after(before, std::move(value));
  }
  iterator insert_after(const_iterator before, size_type n, const T& value) {
    forward_list made(get_allocator());
    iterator last = made.before_begin();
    for (; n > 0; --n) last = made.emplace_after(last, value);
    return put(before, made, last);
  }
  template <std::input_iterator It>
  iterator insert_after(const_iterator before, It first, It last) {
    forward_list made(get_allocator());
    return put(before, made, made.append_after(made.before_begin(), first, last));
  }
  iterator insert_after(const_iterator before, std::initializer_list<T> all) {
    return insert_after(before, all.begin(), all.end());
  }
  template <class... Args>
  reference emplace_front(Args&&... args) {
    return *emplace_after(cbefore_begin(), std::forward<Args>(args)...);
  }
  void push_front(const T& value) { emplace_front(value); }
  void push_front(T&& value) { emplace_front(std::move(value)); }
  void pop_front() noexcept { erase_after(cbefore_begin()); }
  iterator erase_after(const_iterator before) noexcept {
    links* const old = before.node()->next.target();
    before.node()->next.set(old->next.get());
    nodes::drop(allocator_, static_cast<node*>(old));
    return iterator(before.node()->next.get());
  }
  iterator erase_after(const_iterator before, const_iterator last) noexcept {
    while (before.node()->next.get() != last.node()) erase_after(before);
    return iterator(last.node());
  }
  void clear() noexcept {
    while (!empty()) pop_front();
  }
  void resize(size_type n) {
    if (const iterator last = shortened(n); n != 0) {
      forward_list made(get_allocator());
      iterator at = made.before_begin();
      for (; n > 0; --n) at = made.emplace_after(at);
      put(last, made, at);
    }
  }
  void resize(size_type n, const T& value) {
    if (const iterator last = shortened(n); n != 0) insert_after(last, n, value);
  }
  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(forward_list& other) {
    if (allocator_ == other.allocator_) {
      links* const mine = head_.next.get();
      head_.next.set(other.head_.next.get());
      other.head_.next.set(mine);
    } else {
      forward_list mine(std::move(other), get_allocator());
      forward_list theirs(std::move(*this), other.get_allocator());
      swap(mine);
      other.swap(theirs);
    }
  }
  friend void swap(forward_list& a, forward_list& b) { a.swap(b); }

  // ---- operations ----
  void splice_after(const_iterator before, forward_list& other) {
    splice_after(before, other, other.cbefore_begin(), other.cend());
  }
  void splice_after(const_iterator before, forward_list&& other) { splice_after(before, other); }
  // The one after `one`.
  void splice_after(const_iterator before, forward_list& other, const_iterator one) {
    const const_iterator moved = std::next(one);
    if (before == one || before == moved) return;
    splice_after(before, other, one, std::next(moved));
  }
  void splice_after(const_iterator before, forward_list&& other, const_iterator one) {
    splice_after(before, other, one);
  }
  // Those between `first` and `last`, neither included.
  void splice_after(const_iterator before, forward_list& other, const_iterator first,
                    const_iterator last) {
    if (before == first || after(first) == last) return;
    if (allocator_ == other.allocator_) {
      const_iterator final = first;
      while (after(final) != last) ++final;
      links* const moved = first.node()->next.get();
      first.node()->next.set(last.node());
      final.node()->next.set(before.node()->next.get());
      before.node()->next.lead_to(moved);
    } else {
      insert_after(before, std::move_iterator(iterator(first.node()->next.get())),
                   std::move_iterator(iterator(last.node())));
      other.erase_after(first, last);
    }
  }
  void splice_after(const_iterator before, forward_list&& other, const_iterator first,
                    const_iterator last) {
    splice_after(before, other, first, last);
  }
  void merge(forward_list& other) { merge(other, std::less<>()); }
  void merge(forward_list&& other) { merge(other, std::less<>()); }
  template <class Less>
  void merge(forward_list&& other, Less less) {
    merge(other, std::move(less));
  }
  template <class Less>
  void merge(forward_list& other, Less less) {
    if (std::addressof(other) == this) return;
    if (allocator_ != other.allocator_) {
      forward_list here(std::move(other), get_allocator());
      other.clear();
      return merge(here, std::move(less));
    }
    const_iterator mine = cbefore_begin();
    while (after(mine) != cend() && !other.empty()) {
      if (less(other.front(), *after(mine))) splice_after(mine, other, other.cbefore_begin());
      ++mine;
    }
    if (!other.empty()) splice_after(mine, other);
  }
  void sort() { sort(std::less<>()); }
  // Stable; n log n comparisons; allocates nothing.
  template <class Less>
  void sort(Less less) {
    size_type n = 0;
    for (const_iterator at = cbegin(); at != cend(); ++at) ++n;
    sort_after(cbefore_begin(), n, less);
  }
  void reverse() noexcept {
    links* done = nullptr;
    for (links* at = head_.next.get(); at != nullptr;) {
      links* const next = at->next.get();
      at->next.set(done);
      done = at;
      at = next;
    }
    head_.next.set(done);
  }
  size_type remove(const T& value) {
    return remove_if([&](const T& element) { return element == value; });
  }
  template <class Predicate>
  size_type remove_if(Predicate predicate) {
    forward_list gone(get_allocator());  // `value` may be one of them
    size_type n = 0;
    for (const_iterator before = cbefore_begin(); after(before) != cend();) {
      if (predicate(*after(before))) {
        gone.splice_after(gone.cbefore_begin(), *this, before);
        ++n;
      } else {
        ++before;
      }
    }
    return n;
  }
  size_type unique() { return unique(std::equal_to<>()); }
  template <class Equal>
  size_type unique(Equal equal) {
    size_type n = 0;
    if (empty()) return n;
    for (const_iterator at = cbegin(); after(at) != cend();) {
      if (equal(*at, *after(at))) {
        erase_after(at);
        ++n;
      } else {
        ++at;
      }
    }
    return n;
  }

  [[nodiscard]] friend bool operator==(const forward_list& a, const forward_list& b) {
    const_iterator i = a.begin();
    const_iterator j = b.begin();
    for (; i != a.end() && j != b.end(); ++i, ++j)
      if (!(*i == *j)) return false;
    return i == a.end() && j == b.end();
  }
  [[nodiscard]] friend auto operator<=>(const forward_list& a, const forward_list& b)
    requires requires(const T& t) { t < t; }
  {
    return detail::compare_ranges<T>(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  [[nodiscard]] links* head() const noexcept { return const_cast<links*>(std::addressof(head_)); }
  static iterator after(const_iterator at) noexcept { return iterator(at.node()->next.get()); }
  // Precondition: equal allocators, this is empty.
  void take(forward_list& other) noexcept {
    head_.next.set(other.head_.next.get());
    other.head_.next.set(nullptr);
  }
  // Returns the last one added.
  template <class It>
  iterator append_after(iterator before, It first, It last) {
    for (; first != last; ++first) before = emplace_after(before, *first);
    return before;
  }
  // All of `made`, which ends with `last`. Returns `last` or, if there is none, `before`.
  iterator put(const_iterator before, forward_list& made, iterator last) noexcept {
    if (made.empty()) return iterator(before.node());
    last.node()->next.set(before.node()->next.get());
    before.node()->next.lead_to(made.head_.next.get());
    made.head_.next.set(nullptr);
    return last;
  }
  // Erases what is beyond n; n becomes the number of those missing. Returns the last one.
  iterator shortened(size_type& n) noexcept {
    iterator last = before_begin();
    for (; n > 0 && after(last) != end(); --n) ++last;
    if (n == 0) erase_after(last, end());
    return last;
  }
  // Sorts the n elements after `before`, returns the last of them.
  template <class Less>
  const_iterator sort_after(const_iterator before, size_type n, Less& less) {
    if (n < 2) return n == 0 ? before : const_iterator(after(before));
    const_iterator middle = sort_after(before, n / 2, less);
    const_iterator last = sort_after(middle, n - n / 2, less);
    const links* const end = last.node()->next.get();
    while (before != middle && after(middle).node() != end) {
      if (less(*after(middle), *after(before))) {
        links* const moved = middle.node()->next.target();
        if (moved == last.node()) last = middle;
        middle.node()->next.set(moved->next.get());
        moved->next.set(before.node()->next.get());
        before.node()->next.lead_to(moved);
      }
      ++before;
    }
    return last;
  }

  typename nodes::allocator_type allocator_;
  links head_;
};
static_assert(sizeof(forward_list<int>) == 16 && alignof(forward_list<int>) == 8);

export template <class It, class Allocator = allocator<std::iter_value_t<It>>>
forward_list(It, It, Allocator = Allocator()) -> forward_list<std::iter_value_t<It>, Allocator>;

export template <class T, class Allocator, class Predicate>
std::size_t erase_if(forward_list<T, Allocator>& from, Predicate predicate) {
  return from.remove_if(std::move(predicate));
}
export template <class T, class Allocator, class U>
std::size_t erase(forward_list<T, Allocator>& from, const U& value) {
  return from.remove_if([&](const T& element) { return element == value; });
}

}  // namespace ipcpp
