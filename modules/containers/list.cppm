// ipcpp.containers:list - std::list's interface over memory that processes share.
//
// Representation: 32 bytes, the same from every compiler, and a node per element:
//
//   | memory | ring: next | previous | size |          | next | previous | element |
//
// The ring's own links lie in the container, so its first and last node lead back to it. Iterators
// are the addresses of nodes; end() is the address of the ring.
//
// All of C++20's std::list. Splicing, merging and swapping between lists of different memories, which
// is undefined for std::list, moves the elements one by one (and their iterators become invalid).
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

export module ipcpp.containers:list;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;
import :links;
import :sequence_support;

namespace ipcpp {

namespace detail {

template <bool relative>
struct list_links {
  link<list_links, relative> next;
  link<list_links, relative> previous;
};

template <class T, bool relative>
struct list_node : list_links<relative> {
  alignas(T) std::byte room[sizeof(T)];
  [[nodiscard]] T* value() noexcept { return reinterpret_cast<T*>(room); }
};

template <class T, bool relative, bool constant>
class list_iterator {
  using links = list_links<relative>;

 public:
  using iterator_category = std::bidirectional_iterator_tag;
  using value_type = T;
  using difference_type = std::ptrdiff_t;
  using pointer = std::conditional_t<constant, const T*, T*>;
  using reference = std::conditional_t<constant, const T&, T&>;

  list_iterator() noexcept = default;
  explicit list_iterator(links* at) noexcept : at_(at) {}
  template <bool from>
    requires(constant && !from)
  list_iterator(const list_iterator<T, relative, from>& other) noexcept : at_(other.node()) {}

  [[nodiscard]] reference operator*() const noexcept {
    return *static_cast<list_node<T, relative>*>(at_)->value();
  }
  [[nodiscard]] pointer operator->() const noexcept { return std::addressof(**this); }
  list_iterator& operator++() noexcept {
    at_ = at_->next.target();
    return *this;
  }
  list_iterator& operator--() noexcept {
    at_ = at_->previous.target();
    return *this;
  }
  list_iterator operator++(int) noexcept {
    return list_iterator(std::exchange(at_, at_->next.target()));
  }
  list_iterator operator--(int) noexcept {
    return list_iterator(std::exchange(at_, at_->previous.target()));
  }
  bool operator==(const list_iterator& other) const = default;
  [[nodiscard]] links* node() const noexcept { return at_; }

 private:
  links* at_ = nullptr;
};

}  // namespace detail

export template <class T, class Allocator = allocator<T>>
class list {
  static_assert(std::is_object_v<T> && !std::is_const_v<T> && !std::is_volatile_v<T>);
  static constexpr bool relative = detail::is_relative<Allocator>;
  using links = detail::list_links<relative>;
  using node = detail::list_node<T, relative>;
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
  using iterator = detail::list_iterator<T, relative, false>;
  using const_iterator = detail::list_iterator<T, relative, true>;
  using reverse_iterator = std::reverse_iterator<iterator>;
  using const_reverse_iterator = std::reverse_iterator<const_iterator>;

  // ---- construction ----
  list() : list(Allocator()) {}
  explicit list(const Allocator& memory) noexcept : allocator_(memory) { become_empty(); }
  explicit list(size_type n, const Allocator& memory = Allocator()) : list(memory) { resize(n); }
  list(size_type n, const T& value, const Allocator& memory = Allocator()) : list(memory) {
    insert(cend(), n, value);
  }
  template <std::input_iterator It>
  list(It first, It last, const Allocator& memory = Allocator()) : list(memory) {
    for (; first != last; ++first) emplace_back(*first);
  }
  list(std::initializer_list<T> all, const Allocator& memory = Allocator())
      : list(all.begin(), all.end(), memory) {}
  list(const list& other)
      : list(other.begin(), other.end(),
             std::allocator_traits<Allocator>::select_on_container_copy_construction(
                 other.get_allocator())) {}
  list(const list& other, const std::type_identity_t<Allocator>& memory)
      : list(other.begin(), other.end(), memory) {}
  list(list&& other) noexcept : list(other.get_allocator()) { take(other); }
  list(list&& other, const std::type_identity_t<Allocator>& memory) : list(memory) {
    splice(cend(), other);
  }
  ~list() {
    static_assert(detail::fits<T, Allocator>,
                  "ipcpp::list: an element of this type would mean nothing to another process: it "
                  "holds a raw pointer, or may hide one; see ipcpp::shareable");
    clear();
  }
  list& operator=(const list& other) {
    if (this != std::addressof(other)) assign(other.begin(), other.end());
    return *this;
  }
  list& operator=(list&& other) {
    if (this == std::addressof(other)) return *this;
    if (allocator_ == other.allocator_) {
      clear();
      take(other);
    } else {
      assign(std::move_iterator(other.begin()), std::move_iterator(other.end()));
    }
    return *this;
  }
  list& operator=(std::initializer_list<T> all) {
    assign(all.begin(), all.end());
    return *this;
  }
  template <std::input_iterator It>
  void assign(It first, It last) {
    iterator at = begin();
    for (; at != end() && first != last; ++at, ++first) *at = *first;
    if (first != last) {
      insert(cend(), first, last);
    } else {
      erase(at, end());
    }
  }
  void assign(size_type n, const T& value) {
    iterator at = begin();
    for (; at != end() && n != 0; ++at, --n) *at = value;
    if (n != 0) {
      insert(cend(), n, value);
    } else {
      erase(at, end());
    }
  }
  void assign(std::initializer_list<T> all) { assign(all.begin(), all.end()); }
  [[nodiscard]] allocator_type get_allocator() const noexcept { return Allocator(allocator_); }

  // ---- elements ----
  [[nodiscard]] reference front() noexcept { return *begin(); }
  [[nodiscard]] const_reference front() const noexcept { return *begin(); }
  [[nodiscard]] reference back() noexcept { return *--end(); }
  [[nodiscard]] const_reference back() const noexcept { return *--end(); }
  [[nodiscard]] iterator begin() noexcept { return iterator(ring_.next.target()); }
  [[nodiscard]] const_iterator begin() const noexcept {
    return const_iterator(ring_.next.target());
  }
  [[nodiscard]] const_iterator cbegin() const noexcept { return begin(); }
  [[nodiscard]] iterator end() noexcept { return iterator(ring()); }
  [[nodiscard]] const_iterator end() const noexcept { return const_iterator(ring()); }
  [[nodiscard]] const_iterator cend() const noexcept { return end(); }
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
  [[nodiscard]] bool empty() const noexcept { return size_ == 0; }
  [[nodiscard]] size_type size() const noexcept { return static_cast<size_type>(size_); }
  [[nodiscard]] size_type max_size() const noexcept {
    return static_cast<size_type>(std::numeric_limits<difference_type>::max()) / sizeof(node);
  }

  // ---- insert and erase ----
  template <class... Args>
  iterator emplace(const_iterator at, Args&&... args) {
    node* const made = nodes::make(allocator_, std::forward<Args>(args)...);
    links* const after = at.node();
    join(after->previous.target(), made);
    join(made, after);
    ++size_;
    return iterator(made);
  }
  iterator insert(const_iterator at, const T& value) { return emplace(at, value); }
  iterator insert(const_iterator at, T&& value) { return emplace(at, std::move(value)); }
  iterator insert(const_iterator at, size_type n, const T& value) {
    list made(get_allocator());
    for (; n > 0; --n) made.emplace_back(value);
    return put(at, made);
  }
  template <std::input_iterator It>
  iterator insert(const_iterator at, It first, It last) {
    list made(first, last, get_allocator());
    return put(at, made);
  }
  iterator insert(const_iterator at, std::initializer_list<T> all) {
    return insert(at, all.begin(), all.end());
  }
  template <class... Args>
  reference emplace_back(Args&&... args) {
    return *emplace(cend(), std::forward<Args>(args)...);
  }
  template <class... Args>
  reference emplace_front(Args&&... args) {
    return *emplace(cbegin(), std::forward<Args>(args)...);
  }
  void push_back(const T& value) { emplace(cend(), value); }
  void push_back(T&& value) { emplace(cend(), std::move(value)); }
  void push_front(const T& value) { emplace(cbegin(), value); }
  void push_front(T&& value) { emplace(cbegin(), std::move(value)); }
  void pop_back() noexcept { erase(--end()); }
  void pop_front() noexcept { erase(begin()); }
  iterator erase(const_iterator at) noexcept {
    links* const old = at.node();
    links* const after = old->next.target();
    join(old->previous.target(), after);
    --size_;
    nodes::drop(allocator_, static_cast<node*>(old));
    return iterator(after);
  }
  iterator erase(const_iterator first, const_iterator last) noexcept {
    while (first != last) first = erase(first);
    return iterator(last.node());
  }
  void clear() noexcept {
    links* at = ring_.next.target();
    become_empty();
    while (at != ring()) {
      links* const after = at->next.target();
      nodes::drop(allocator_, static_cast<node*>(at));
      at = after;
    }
  }
  void resize(size_type n) {
    if (n < size()) return shorten(n);
    list made(get_allocator());
    for (size_type more = n - size(); more > 0; --more) made.emplace_back();
    put(cend(), made);
  }
  void resize(size_type n, const T& value) {
    if (n < size()) return shorten(n);
    insert(cend(), n - size(), value);
  }
  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(list& other) {
    if (allocator_ == other.allocator_) {
      list between(get_allocator());
      between.take(*this);
      take(other);
      other.take(between);
    } else {
      list mine(std::move(other), get_allocator());
      list theirs(std::move(*this), other.get_allocator());
      swap(mine);
      other.swap(theirs);
    }
  }
  friend void swap(list& a, list& b) { a.swap(b); }

  // ---- operations ----
  void splice(const_iterator at, list& other) {
    if (allocator_ == other.allocator_) {
      if (!other.empty())
        transfer(at.node(), other.ring_.next.target(), other.ring(), other, other.size());
    } else {
      insert(at, std::move_iterator(other.begin()), std::move_iterator(other.end()));
      other.clear();
    }
  }
  void splice(const_iterator at, list&& other) { splice(at, other); }
  void splice(const_iterator at, list& other, const_iterator one) {
    const const_iterator after = std::next(one);
    if (at == one || at == after) return;
    splice_counted(at, other, one, after, 1);
  }
  void splice(const_iterator at, list&& other, const_iterator one) { splice(at, other, one); }
  void splice(const_iterator at, list& other, const_iterator first, const_iterator last) {
    if (first == last) return;
    const size_type n =
        std::addressof(other) == this ? 0 : static_cast<size_type>(std::distance(first, last));
    splice_counted(at, other, first, last, n);
  }
  void splice(const_iterator at, list&& other, const_iterator first, const_iterator last) {
    splice(at, other, first, last);
  }
  void merge(list& other) { merge(other, std::less<>()); }
  void merge(list&& other) { merge(other, std::less<>()); }
  template <class Less>
  void merge(list&& other, Less less) {
    merge(other, std::move(less));
  }
  template <class Less>
  void merge(list& other, Less less) {
    if (std::addressof(other) == this) return;
    if (allocator_ != other.allocator_) {
      list here(std::move(other), get_allocator());
      other.clear();
      return merge(here, std::move(less));
    }
    iterator mine = begin();
    while (mine != end() && !other.empty()) {
      if (less(other.front(), *mine)) {
        splice(mine, other, other.begin());
      } else {
        ++mine;
      }
    }
    splice(end(), other);
  }
  void sort() { sort(std::less<>()); }
  // Stable; n log n comparisons; allocates nothing.
  template <class Less>
  void sort(Less less) {
    if (size() < 2) return;
    // sorted[i] is empty or holds 2^i elements; where a comparison throws all of them come back.
    struct parts {
      list& owner;
      list sorted[64];
      explicit parts(list& of) : owner(of) {
        for (list& part : sorted) part.allocator_ = of.allocator_;
      }
      parts(const parts&) = delete;
      parts& operator=(const parts&) = delete;
      ~parts() {
        for (list& part : sorted) owner.splice(owner.end(), part);
      }
    } all(*this);
    list carried(get_allocator());
    struct returned {
      list& owner;
      list& part;
      ~returned() { owner.splice(owner.end(), part); }
    } carry{*this, carried};
    std::size_t used = 0;
    while (!empty()) {
      carried.splice(carried.begin(), *this, begin());
      std::size_t i = 0;
      for (; i < used && !all.sorted[i].empty(); ++i) {
        all.sorted[i].merge(carried, less);
        carried.take(all.sorted[i]);
      }
      all.sorted[i].take(carried);
      if (i == used) ++used;
    }
    for (std::size_t i = 0; i < used; ++i) {
      all.sorted[i].merge(carried, less);
      carried.take(all.sorted[i]);
    }
  }
  void reverse() noexcept {
    links* at = ring();
    do {
      links* const after = at->next.target();
      at->next.lead_to(at->previous.target());
      at->previous.lead_to(after);
      at = after;
    } while (at != ring());
  }
  size_type remove(const T& value) {
    return remove_if([&](const T& element) { return element == value; });
  }
  template <class Predicate>
  size_type remove_if(Predicate predicate) {
    list gone(get_allocator());  // `value` may be one of them
    for (iterator at = begin(); at != end();) {
      const iterator one = at++;
      if (predicate(*one)) gone.splice(gone.end(), *this, one);
    }
    return gone.size();
  }
  size_type unique() { return unique(std::equal_to<>()); }
  template <class Equal>
  size_type unique(Equal equal) {
    list gone(get_allocator());
    if (empty()) return 0;
    for (iterator before = begin(), at = std::next(before); at != end();) {
      const iterator one = at++;
      if (equal(*before, *one)) {
        gone.splice(gone.end(), *this, one);
      } else {
        before = one;
      }
    }
    return gone.size();
  }

  [[nodiscard]] friend bool operator==(const list& a, const list& b) {
    return a.size() == b.size() && detail::equal_ranges(a.begin(), a.end(), b.begin());
  }
  [[nodiscard]] friend auto operator<=>(const list& a, const list& b)
    requires requires(const T& t) { t < t; }
  {
    return detail::compare_ranges<T>(a.begin(), a.end(), b.begin(), b.end());
  }

 private:
  [[nodiscard]] links* ring() const noexcept { return const_cast<links*>(std::addressof(ring_)); }
  static void join(links* a, links* b) noexcept {
    a->next.lead_to(b);
    b->previous.lead_to(a);
  }
  void become_empty() noexcept {
    join(ring(), ring());
    size_ = 0;
  }
  // Precondition: equal allocators, this is empty.
  void take(list& other) noexcept {
    if (other.empty()) return;
    join(ring(), other.ring_.next.target());
    join(other.ring_.previous.target(), ring());
    size_ = other.size_;
    other.become_empty();
  }
  // [first, last) of `other`, n of them, before `at`.
  void transfer(links* at, links* first, links* last, list& other, size_type n) noexcept {
    links* const final = last->previous.target();
    join(first->previous.target(), last);
    join(at->previous.target(), first);
    join(final, at);
    other.size_ -= n;
    size_ += n;
  }
  void splice_counted(const_iterator at, list& other, const_iterator first, const_iterator last,
                      size_type n) {
    if (allocator_ == other.allocator_) {
      transfer(at.node(), first.node(), last.node(), other, n);
    } else {
      insert(at, std::move_iterator(iterator(first.node())),
             std::move_iterator(iterator(last.node())));
      other.erase(first, last);
    }
  }
  iterator put(const_iterator at, list& made) noexcept {
    if (made.empty()) return iterator(at.node());
    links* const first = made.ring_.next.target();
    transfer(at.node(), first, made.ring(), made, made.size());
    return iterator(first);
  }
  void shorten(size_type n) noexcept {
    while (size() > n) pop_back();
  }

  typename nodes::allocator_type allocator_;
  links ring_;
  std::uint64_t size_ = 0;
};
static_assert(sizeof(list<int>) == 32 && alignof(list<int>) == 8);

export template <class It, class Allocator = allocator<std::iter_value_t<It>>>
list(It, It, Allocator = Allocator()) -> list<std::iter_value_t<It>, Allocator>;

export template <class T, class Allocator, class Predicate>
std::size_t erase_if(list<T, Allocator>& from, Predicate predicate) {
  return from.remove_if(std::move(predicate));
}
export template <class T, class Allocator, class U>
std::size_t erase(list<T, Allocator>& from, const U& value) {
  return from.remove_if([&](const T& element) { return element == value; });
}

}  // namespace ipcpp
