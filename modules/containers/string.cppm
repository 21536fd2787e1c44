// ipcpp.containers:string - std::basic_string's interface over memory that processes share.
//
//   struct person { ipcpp::string name; };            in a segment: the name is there too
//   ipcpp::string greeting = "hello";                 private memory: a temporary
//
// Representation: see :string_storage; 32 bytes, no raw pointer, small strings in place.
//
// All of C++20's std::basic_string but for constant evaluation, and from later standards contains()
// and resize_and_overwrite(). Beyond it: strings are made from, and compared with, anything that is
// a string_view, std::string included, and become one; so std::string_view(s) or std::string(s)
// leads to the functions that want those. Comparison and ipcpp::hash are transparent.
//
// As for all our containers: a copy is private unless told otherwise, assignment keeps the memory,
// a move takes it along. Swapping strings of different memories copies.
//
// Positions are plain pointers; the functions that take one are templates, so that a literal 0 is an
// index.
//
// Failure model: std::bad_alloc, std::length_error, std::out_of_range as the standard says, always
// with the strong guarantee. Not for several threads at once, not mended after a death.
module;

#include <compare>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

export module ipcpp.containers:string;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;
import :hash;
import :string_storage;

namespace ipcpp {

namespace detail {

template <class P, class T>
concept pointer_to =
    std::is_pointer_v<P> && std::same_as<std::remove_cv_t<std::remove_pointer_t<P>>, T>;

}  // namespace detail

export template <class Char, class Traits = std::char_traits<Char>,
                 class Allocator = allocator<Char>>
class basic_string {
  using view = std::basic_string_view<Char, Traits>;
  template <class T>
  static constexpr bool is_viewable =
      std::convertible_to<const T&, view> && !std::convertible_to<const T&, const Char*>;
  using memory_traits = std::allocator_traits<Allocator>;

 public:
  using traits_type = Traits;
  using value_type = Char;
  using allocator_type = Allocator;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = Char&;
  using const_reference = const Char&;
  using pointer = Char*;
  using const_pointer = const Char*;
  using iterator = Char*;
  using const_iterator = const Char*;
  using reverse_iterator = std::reverse_iterator<iterator>;
  using const_reverse_iterator = std::reverse_iterator<const_iterator>;
  static constexpr size_type npos = static_cast<size_type>(-1);

  // ---- construction ----
  basic_string() noexcept(noexcept(Allocator())) = default;
  explicit basic_string(const Allocator& memory) noexcept : rep_(memory) {}
  basic_string(const Char* text, const Allocator& memory = Allocator())
      : rep_(text, Traits::length(text), memory) {}
  basic_string(const Char* text, size_type n, const Allocator& memory = Allocator())
      : rep_(text, n, memory) {}
  basic_string(std::nullptr_t) = delete;
  basic_string(size_type n, Char c, const Allocator& memory = Allocator()) : rep_(memory) {
    assign(n, c);
  }
  template <class T>
    requires is_viewable<T>
  basic_string(const T& text, const Allocator& memory = Allocator())
      : basic_string(static_cast<view>(text), memory, from_view()) {}
  template <class T>
    requires is_viewable<T>
  basic_string(const T& text, size_type from, size_type n, const Allocator& memory = Allocator())
      : basic_string(static_cast<view>(text).substr(from, n), memory, from_view()) {}
  template <std::input_iterator It>
  basic_string(It first, It last, const Allocator& memory = Allocator()) : rep_(memory) {
    append(first, last);
  }
  basic_string(std::initializer_list<Char> list, const Allocator& memory = Allocator())
      : rep_(list.begin(), list.size(), memory) {}

  basic_string(const basic_string& other)
      : rep_(other.rep_,
             memory_traits::select_on_container_copy_construction(other.rep_.allocator())) {}
  basic_string(const basic_string& other, const Allocator& memory) : rep_(other.rep_, memory) {}
  basic_string(const basic_string& other, size_type from, const Allocator& memory = Allocator())
      : basic_string(other, from, npos, memory) {}
  basic_string(const basic_string& other, size_type from, size_type n,
               const Allocator& memory = Allocator())
      : basic_string(other.part(from, n, "ipcpp::basic_string"), memory, from_view()) {}
  basic_string(basic_string&& other) noexcept : rep_(other.rep_.allocator()) {
    rep_.take(other.rep_);
  }
  basic_string(basic_string&& other, const Allocator& memory) : rep_(memory) {
    if (memory == other.rep_.allocator()) {
      rep_.take(other.rep_);
    } else {
      assign(other.data(), other.size());
    }
  }
  ~basic_string() = default;

  basic_string& operator=(const basic_string& other) {
    if (this != std::addressof(other)) assign(other.data(), other.size());
    return *this;
  }
  basic_string& operator=(basic_string&& other) {
    if (this == std::addressof(other)) return *this;
    if (rep_.allocator() == other.rep_.allocator()) {
      rep_.reset();
      rep_.take(other.rep_);
    } else {
      assign(other.data(), other.size());
    }
    return *this;
  }
  basic_string& operator=(const Char* text) { return assign(text); }
  basic_string& operator=(std::nullptr_t) = delete;
  basic_string& operator=(Char c) { return assign(1, c); }
  basic_string& operator=(std::initializer_list<Char> list) { return assign(list); }
  template <class T>
    requires is_viewable<T>
  basic_string& operator=(const T& text) {
    return assign(text);
  }

  // ---- assign ----
  basic_string& assign(const basic_string& other) { return *this = other; }
  basic_string& assign(basic_string&& other) { return *this = std::move(other); }
  basic_string& assign(const basic_string& other, size_type from, size_type n = npos) {
    const view part = other.part(from, n, "ipcpp::basic_string::assign");
    return assign(part.data(), part.size());
  }
  basic_string& assign(const Char* text, size_type n) { return replace_span(0, size(), text, n); }
  basic_string& assign(const Char* text) { return assign(text, Traits::length(text)); }
  basic_string& assign(size_type n, Char c) { return replace_fill(0, size(), n, c); }
  basic_string& assign(std::initializer_list<Char> list) {
    return assign(list.begin(), list.size());
  }
  template <std::input_iterator It>
  basic_string& assign(It first, It last) {
    return replace(cbegin(), cend(), first, last);
  }
  template <class T>
    requires is_viewable<T>
  basic_string& assign(const T& text) {
    const view other = text;
    return assign(other.data(), other.size());
  }
  template <class T>
    requires is_viewable<T>
  basic_string& assign(const T& text, size_type from, size_type n = npos) {
    return assign(static_cast<view>(text).substr(from, n));
  }
  [[nodiscard]] allocator_type get_allocator() const noexcept { return rep_.allocator(); }

  // ---- elements ----
  [[nodiscard]] reference operator[](size_type i) noexcept { return data()[i]; }
  [[nodiscard]] const_reference operator[](size_type i) const noexcept { return data()[i]; }
  [[nodiscard]] reference at(size_type i) {
    if (i >= size()) detail::throw_out_of_range("ipcpp::basic_string::at");
    return data()[i];
  }
  [[nodiscard]] const_reference at(size_type i) const {
    if (i >= size()) detail::throw_out_of_range("ipcpp::basic_string::at");
    return data()[i];
  }
  [[nodiscard]] reference front() noexcept { return data()[0]; }
  [[nodiscard]] const_reference front() const noexcept { return data()[0]; }
  [[nodiscard]] reference back() noexcept { return data()[size() - 1]; }
  [[nodiscard]] const_reference back() const noexcept { return data()[size() - 1]; }
  [[nodiscard]] Char* data() noexcept { return rep_.characters(); }
  [[nodiscard]] const Char* data() const noexcept { return rep_.characters(); }
  [[nodiscard]] const Char* c_str() const noexcept { return data(); }
  operator view() const noexcept { return view(data(), size()); }

  [[nodiscard]] iterator begin() noexcept { return data(); }
  [[nodiscard]] const_iterator begin() const noexcept { return data(); }
  [[nodiscard]] const_iterator cbegin() const noexcept { return data(); }
  [[nodiscard]] iterator end() noexcept { return data() + size(); }
  [[nodiscard]] const_iterator end() const noexcept { return data() + size(); }
  [[nodiscard]] const_iterator cend() const noexcept { return data() + size(); }
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
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] size_type size() const noexcept { return rep_.size(); }
  [[nodiscard]] size_type length() const noexcept { return rep_.size(); }
  [[nodiscard]] size_type max_size() const noexcept { return storage::max_size; }
  [[nodiscard]] size_type capacity() const noexcept { return rep_.capacity(); }
  void reserve(size_type n) { rep_.reserve(n, false); }
  void shrink_to_fit() { rep_.shrink(); }
  void clear() noexcept { rep_.set_size(0); }
  void resize(size_type n, Char c = Char()) {
    const size_type now = size();
    if (n > now) {
      append(n - now, c);
    } else {
      rep_.set_size(n);
    }
  }
  // f(characters, n) fills up to n characters and returns how many there are now.
  template <class Operation>
  void resize_and_overwrite(size_type n, Operation f) {
    rep_.reserve(n, true);
    rep_.set_size(static_cast<size_type>(std::move(f)(data(), n)));
  }

  // ---- insert ----
  basic_string& insert(size_type at, const basic_string& other) {
    return insert(at, other.data(), other.size());
  }
  basic_string& insert(size_type at, const basic_string& other, size_type from,
                       size_type n = npos) {
    const view some = other.part(from, n, "ipcpp::basic_string::insert");
    return insert(at, some.data(), some.size());
  }
  basic_string& insert(size_type at, const Char* text, size_type n) {
    check_position(at, "ipcpp::basic_string::insert");
    return replace_span(at, 0, text, n);
  }
  basic_string& insert(size_type at, const Char* text) {
    return insert(at, text, Traits::length(text));
  }
  basic_string& insert(size_type at, size_type n, Char c) {
    check_position(at, "ipcpp::basic_string::insert");
    return replace_fill(at, 0, n, c);
  }
  template <class T>
    requires is_viewable<T>
  basic_string& insert(size_type at, const T& text) {
    const view other = text;
    return insert(at, other.data(), other.size());
  }
  template <class T>
    requires is_viewable<T>
  basic_string& insert(size_type at, const T& text, size_type from, size_type n = npos) {
    return insert(at, static_cast<view>(text).substr(from, n));
  }
  template <detail::pointer_to<Char> P>
  iterator insert(P at, Char c) {
    return insert(at, size_type(1), c);
  }
  template <detail::pointer_to<Char> P>
  iterator insert(P at, size_type n, Char c) {
    const size_type i = index_of(at);
    replace_fill(i, 0, n, c);
    return begin() + i;
  }
  template <detail::pointer_to<Char> P, std::input_iterator It>
  iterator insert(P at, It first, It last) {
    const size_type i = index_of(at);
    replace(at, at, first, last);
    return begin() + i;
  }
  template <detail::pointer_to<Char> P>
  iterator insert(P at, std::initializer_list<Char> list) {
    const size_type i = index_of(at);
    replace_span(i, 0, list.begin(), list.size());
    return begin() + i;
  }

  // ---- erase ----
  basic_string& erase(size_type from = 0, size_type n = npos) {
    check_position(from, "ipcpp::basic_string::erase");
    cut(from, at_most(from, n));
    return *this;
  }
  template <detail::pointer_to<Char> P>
  iterator erase(P at) {
    const size_type i = index_of(at);
    cut(i, 1);
    return begin() + i;
  }
  template <detail::pointer_to<Char> P, detail::pointer_to<Char> Q>
  iterator erase(P first, Q last) {
    const size_type i = index_of(first);
    cut(i, static_cast<size_type>(last - first));
    return begin() + i;
  }

  // ---- append ----
  void push_back(Char c) {
    const size_type now = size();
    if (now == capacity()) rep_.reserve(now + 1, true);
    data()[now] = c;
    rep_.set_size(now + 1);
  }
  void pop_back() noexcept { rep_.set_size(size() - 1); }
  basic_string& append(const Char* text, size_type n) {
    const size_type now = size();
    if (n > capacity() - now) return replace_span(now, 0, text, n);
    if (n != 0) std::memmove(data() + now, text, n * sizeof(Char));
    rep_.set_size(now + n);
    return *this;
  }
  basic_string& append(const basic_string& other) { return append(other.data(), other.size()); }
  basic_string& append(const basic_string& other, size_type from, size_type n = npos) {
    const view some = other.part(from, n, "ipcpp::basic_string::append");
    return append(some.data(), some.size());
  }
  basic_string& append(const Char* text) { return append(text, Traits::length(text)); }
  basic_string& append(size_type n, Char c) { return replace_fill(size(), 0, n, c); }
  basic_string& append(std::initializer_list<Char> list) {
    return append(list.begin(), list.size());
  }
  template <std::input_iterator It>
  basic_string& append(It first, It last) {
    return replace(cend(), cend(), first, last);
  }
  template <class T>
    requires is_viewable<T>
  basic_string& append(const T& text) {
    const view other = text;
    return append(other.data(), other.size());
  }
  template <class T>
    requires is_viewable<T>
  basic_string& append(const T& text, size_type from, size_type n = npos) {
    return append(static_cast<view>(text).substr(from, n));
  }
  basic_string& operator+=(const basic_string& other) { return append(other); }
  basic_string& operator+=(const Char* text) { return append(text); }
  basic_string& operator+=(Char c) {
    push_back(c);
    return *this;
  }
  basic_string& operator+=(std::initializer_list<Char> list) { return append(list); }
  template <class T>
    requires is_viewable<T>
  basic_string& operator+=(const T& text) {
    return append(text);
  }

  // ---- replace ----
  basic_string& replace(size_type from, size_type n, const basic_string& by) {
    return replace(from, n, by.data(), by.size());
  }
  basic_string& replace(size_type from, size_type n, const basic_string& by, size_type by_from,
                        size_type by_n = npos) {
    const view some = by.part(by_from, by_n, "ipcpp::basic_string::replace");
    return replace(from, n, some.data(), some.size());
  }
  basic_string& replace(size_type from, size_type n, const Char* by, size_type by_n) {
    check_position(from, "ipcpp::basic_string::replace");
    return replace_span(from, at_most(from, n), by, by_n);
  }
  basic_string& replace(size_type from, size_type n, const Char* by) {
    return replace(from, n, by, Traits::length(by));
  }
  basic_string& replace(size_type from, size_type n, size_type by_n, Char c) {
    check_position(from, "ipcpp::basic_string::replace");
    return replace_fill(from, at_most(from, n), by_n, c);
  }
  template <class T>
    requires is_viewable<T>
  basic_string& replace(size_type from, size_type n, const T& by) {
    const view other = by;
    return replace(from, n, other.data(), other.size());
  }
  template <class T>
    requires is_viewable<T>
  basic_string& replace(size_type from, size_type n, const T& by, size_type by_from,
                        size_type by_n = npos) {
    return replace(from, n, static_cast<view>(by).substr(by_from, by_n));
  }
  template <detail::pointer_to<Char> P, detail::pointer_to<Char> Q>
  basic_string& replace(P first, Q last, const basic_string& by) {
    return replace_span(index_of(first), count(first, last), by.data(), by.size());
  }
  template <detail::pointer_to<Char> P, detail::pointer_to<Char> Q>
  basic_string& replace(P first, Q last, const Char* by, size_type n) {
    return replace_span(index_of(first), count(first, last), by, n);
  }
  template <detail::pointer_to<Char> P, detail::pointer_to<Char> Q>
  basic_string& replace(P first, Q last, const Char* by) {
    return replace_span(index_of(first), count(first, last), by, Traits::length(by));
  }
  template <detail::pointer_to<Char> P, detail::pointer_to<Char> Q>
  basic_string& replace(P first, Q last, size_type n, Char c) {
    return replace_fill(index_of(first), count(first, last), n, c);
  }
  template <detail::pointer_to<Char> P, detail::pointer_to<Char> Q>
  basic_string& replace(P first, Q last, std::initializer_list<Char> by) {
    return replace_span(index_of(first), count(first, last), by.begin(), by.size());
  }
  template <detail::pointer_to<Char> P, detail::pointer_to<Char> Q, class T>
    requires is_viewable<T>
  basic_string& replace(P first, Q last, const T& by) {
    const view other = by;
    return replace_span(index_of(first), count(first, last), other.data(), other.size());
  }
  template <detail::pointer_to<Char> P, detail::pointer_to<Char> Q, std::input_iterator It>
  basic_string& replace(P first, Q last, It by_first, It by_last) {
    if constexpr (std::contiguous_iterator<It> && std::same_as<std::iter_value_t<It>, Char>) {
      return replace_span(index_of(first), count(first, last), std::to_address(by_first),
                          static_cast<size_type>(by_last - by_first));
    } else {
      basic_string made(rep_.allocator());
      if constexpr (std::forward_iterator<It>)
        made.reserve(static_cast<size_type>(std::distance(by_first, by_last)));
      for (; by_first != by_last; ++by_first) made.push_back(static_cast<Char>(*by_first));
      return replace_span(index_of(first), count(first, last), made.data(), made.size());
    }
  }

  // ---- other ----
  size_type copy(Char* to, size_type n, size_type from = 0) const {
    const view some = part(from, n, "ipcpp::basic_string::copy");
    Traits::copy(to, some.data(), some.size());
    return some.size();
  }
  // In private memory.
  [[nodiscard]] basic_string substr(size_type from = 0, size_type n = npos) const {
    return basic_string(part(from, n, "ipcpp::basic_string::substr"));
  }
  // Between different memories it copies, and may throw std::bad_alloc.
  void swap(basic_string& other) {
    if (rep_.allocator() == other.rep_.allocator()) {
      rep_.swap(other.rep_);
    } else {
      basic_string mine(other, rep_.allocator());
      basic_string theirs(*this, other.rep_.allocator());
      rep_.swap(mine.rep_);
      other.rep_.swap(theirs.rep_);
    }
  }
  friend void swap(basic_string& a, basic_string& b) { a.swap(b); }

  // ---- search: as std::basic_string_view ----
  template <class T>
    requires std::convertible_to<const T&, view>
  [[nodiscard]] size_type find(const T& text, size_type from = 0) const noexcept {
    return as_view().find(static_cast<view>(text), from);
  }
  [[nodiscard]] size_type find(const Char* text, size_type from, size_type n) const noexcept {
    return as_view().find(text, from, n);
  }
  [[nodiscard]] size_type find(Char c, size_type from = 0) const noexcept {
    return as_view().find(c, from);
  }
  template <class T>
    requires std::convertible_to<const T&, view>
  [[nodiscard]] size_type rfind(const T& text, size_type from = npos) const noexcept {
    return as_view().rfind(static_cast<view>(text), from);
  }
  [[nodiscard]] size_type rfind(const Char* text, size_type from, size_type n) const noexcept {
    return as_view().rfind(text, from, n);
  }
  [[nodiscard]] size_type rfind(Char c, size_type from = npos) const noexcept {
    return as_view().rfind(c, from);
  }
  template <class T>
    requires std::convertible_to<const T&, view>
  [[nodiscard]] size_type find_first_of(const T& set, size_type from = 0) const noexcept {
    return as_view().find_first_of(static_cast<view>(set), from);
  }
  [[nodiscard]] size_type find_first_of(const Char* set, size_type from,
                                        size_type n) const noexcept {
    return as_view().find_first_of(set, from, n);
  }
  [[nodiscard]] size_type find_first_of(Char c, size_type from = 0) const noexcept {
    return as_view().find_first_of(c, from);
  }
  template <class T>
    requires std::convertible_to<const T&, view>
  [[nodiscard]] size_type find_last_of(const T& set, size_type from = npos) const noexcept {
    return as_view().find_last_of(static_cast<view>(set), from);
  }
  [[nodiscard]] size_type find_last_of(const Char* set, size_type from,
                                       size_type n) const noexcept {
    return as_view().find_last_of(set, from, n);
  }
  [[nodiscard]] size_type find_last_of(Char c, size_type from = npos) const noexcept {
    return as_view().find_last_of(c, from);
  }
  template <class T>
    requires std::convertible_to<const T&, view>
  [[nodiscard]] size_type find_first_not_of(const T& set, size_type from = 0) const noexcept {
    return as_view().find_first_not_of(static_cast<view>(set), from);
  }
  [[nodiscard]] size_type find_first_not_of(const Char* set, size_type from,
                                            size_type n) const noexcept {
    return as_view().find_first_not_of(set, from, n);
  }
  [[nodiscard]] size_type find_first_not_of(Char c, size_type from = 0) const noexcept {
    return as_view().find_first_not_of(c, from);
  }
  template <class T>
    requires std::convertible_to<const T&, view>
  [[nodiscard]] size_type find_last_not_of(const T& set, size_type from = npos) const noexcept {
    return as_view().find_last_not_of(static_cast<view>(set), from);
  }
  [[nodiscard]] size_type find_last_not_of(const Char* set, size_type from,
                                           size_type n) const noexcept {
    return as_view().find_last_not_of(set, from, n);
  }
  [[nodiscard]] size_type find_last_not_of(Char c, size_type from = npos) const noexcept {
    return as_view().find_last_not_of(c, from);
  }
  template <class T>
    requires std::convertible_to<const T&, view>
  [[nodiscard]] int compare(const T& other) const noexcept {
    return as_view().compare(static_cast<view>(other));
  }
  template <class T>
    requires std::convertible_to<const T&, view>
  [[nodiscard]] int compare(size_type from, size_type n, const T& other) const {
    return part(from, n, "ipcpp::basic_string::compare").compare(static_cast<view>(other));
  }
  [[nodiscard]] int compare(size_type from, size_type n, const Char* other,
                            size_type other_n) const {
    return part(from, n, "ipcpp::basic_string::compare").compare(view(other, other_n));
  }
  template <class T>
    requires std::convertible_to<const T&, view>
  [[nodiscard]] int compare(size_type from, size_type n, const T& other, size_type other_from,
                            size_type other_n = npos) const {
    return part(from, n, "ipcpp::basic_string::compare")
        .compare(static_cast<view>(other).substr(other_from, other_n));
  }
  [[nodiscard]] bool starts_with(view text) const noexcept { return as_view().starts_with(text); }
  [[nodiscard]] bool starts_with(Char c) const noexcept { return as_view().starts_with(c); }
  [[nodiscard]] bool starts_with(const Char* text) const { return as_view().starts_with(text); }
  [[nodiscard]] bool ends_with(view text) const noexcept { return as_view().ends_with(text); }
  [[nodiscard]] bool ends_with(Char c) const noexcept { return as_view().ends_with(c); }
  [[nodiscard]] bool ends_with(const Char* text) const { return as_view().ends_with(text); }
  [[nodiscard]] bool contains(view text) const noexcept { return as_view().find(text) != npos; }
  [[nodiscard]] bool contains(Char c) const noexcept { return as_view().find(c) != npos; }
  [[nodiscard]] bool contains(const Char* text) const { return as_view().find(text) != npos; }

 private:
  using storage = detail::string_storage<Char, Allocator>;
  struct from_view {};

  basic_string(view text, const Allocator& memory, from_view)
      : rep_(text.data(), text.size(), memory) {}

  [[nodiscard]] view as_view() const noexcept { return view(data(), size()); }
  void check_position(size_type at, const char* function) const {
    if (at > size()) detail::throw_out_of_range(function);
  }
  [[nodiscard]] size_type at_most(size_type from, size_type n) const noexcept {
    return n < size() - from ? n : size() - from;
  }
  [[nodiscard]] view part(size_type from, size_type n, const char* function) const {
    check_position(from, function);
    return view(data() + from, at_most(from, n));
  }
  [[nodiscard]] size_type index_of(const_iterator at) const noexcept {
    return static_cast<size_type>(at - data());
  }
  [[nodiscard]] static size_type count(const_iterator first, const_iterator last) noexcept {
    return static_cast<size_type>(last - first);
  }
  static void shift(Char* to, const Char* from, size_type n) noexcept {
    if (n != 0) std::memmove(static_cast<void*>(to), from, n * sizeof(Char));
  }

  void cut(size_type from, size_type n) noexcept {
    const size_type now = size();
    shift(data() + from, data() + from + n, now - from - n);
    rep_.set_size(now - n);
  }

  // A gap of `by_n` characters instead of the n at `from`, in a new block.
  [[nodiscard]] typename storage::fresh with_gap(size_type from, size_type n, size_type by_n) {
    const size_type now = size();
    if (by_n > storage::max_size - (now - n))
      detail::throw_length_error("ipcpp::basic_string: longer than max_size()");
    const auto made = rep_.allocate(now - n + by_n, now != 0);
    shift(made.characters, data(), from);
    shift(made.characters + from + by_n, data() + from + n, now - from - n);
    return made;
  }
  // `by` may be part of this string.
  basic_string& replace_span(size_type from, size_type n, const Char* by, size_type by_n) {
    const size_type now = size();
    if (by_n > n && by_n - n > capacity() - now) {
      const auto made = with_gap(from, n, by_n);
      shift(made.characters + from, by, by_n);
      rep_.adopt(made, now - n + by_n);
      return *this;
    }
    Char* const gap = data() + from;
    const size_type behind = now - from - n;
    if (by_n <= n || behind == 0) {
      shift(gap, by, by_n);
      if (by_n != n) shift(gap + by_n, gap + n, behind);
    } else {
      const auto first = reinterpret_cast<std::uintptr_t>(by);
      const auto last = reinterpret_cast<std::uintptr_t>(by + by_n);
      const auto old_tail = reinterpret_cast<std::uintptr_t>(gap + n);
      const bool inside = last > old_tail && first < reinterpret_cast<std::uintptr_t>(data() + now);
      shift(gap + by_n, gap + n, behind);
      if (!inside) {
        shift(gap, by, by_n);
      } else if (first >= old_tail) {  // what is to be inserted has just moved with the tail
        shift(gap, by + (by_n - n), by_n);
      } else {  // or the latter part of it has
        const size_type before = (old_tail - first) / sizeof(Char);
        shift(gap, by, before);
        shift(gap + before, gap + by_n, by_n - before);
      }
    }
    rep_.set_size(now - n + by_n);
    return *this;
  }
  basic_string& replace_fill(size_type from, size_type n, size_type by_n, Char c) {
    const size_type now = size();
    if (by_n > n && by_n - n > capacity() - now) {
      const auto made = with_gap(from, n, by_n);
      Traits::assign(made.characters + from, by_n, c);
      rep_.adopt(made, now - n + by_n);
      return *this;
    }
    Char* const gap = data() + from;
    if (by_n != n) shift(gap + by_n, gap + n, now - from - n);
    Traits::assign(gap, by_n, c);
    rep_.set_size(now - n + by_n);
    return *this;
  }

  storage rep_;
};

export using string = basic_string<char>;
export using wstring = basic_string<wchar_t>;  // 2 or 4 bytes: what the system has
export using u8string = basic_string<char8_t>;
export using u16string = basic_string<char16_t>;
export using u32string = basic_string<char32_t>;
static_assert(sizeof(string) == 32 && alignof(string) == 8);

template <class Char, class Traits, class Allocator>
struct hash<basic_string<Char, Traits, Allocator>> : detail::text_hash<Char> {};

}  // namespace ipcpp

template <class Char, class Traits, class Allocator>
struct std::hash<ipcpp::basic_string<Char, Traits, Allocator>> {
  std::size_t operator()(const ipcpp::basic_string<Char, Traits, Allocator>& text) const noexcept {
    return ipcpp::hash<ipcpp::basic_string<Char, Traits, Allocator>>{}(
        std::basic_string_view<Char>(text.data(), text.size()));
  }
};
