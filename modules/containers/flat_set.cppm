// ipcpp.containers:flat_set - a set that is a sorted vector: small, quick to search and walk, slow to
// change in the middle. After C++23's std::flat_set.
//
// Representation: an ipcpp::vector of the keys, ascending, no two equal (and the comparison, if it
// has state). Iterators are plain pointers, good until the next change.
//
// Failure model: std::bad_alloc; the strong guarantee for inserting one key whose move does not
// throw; a failed insertion of a range leaves what came before in the set.
module;

#include <compare>
#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <type_traits>
#include <utility>

export module ipcpp.containers:flat_set;

import ipcpp.platform;
import ipcpp.malloc;
import :functors;
import :vector;

namespace ipcpp {

namespace detail {

// Where in [first, last), ascending, `which` belongs: before the equal ones, or behind.
template <class Key, class Q, class Compare>
[[nodiscard]] const Key* lower_bound_in(const Key* first, const Key* last, const Q& which,
                                        const Compare& less) {
  for (std::ptrdiff_t n = last - first; n > 0;) {
    const std::ptrdiff_t half = n / 2;
    if (less(first[half], which)) {
      first += half + 1;
      n -= half + 1;
    } else {
      n = half;
    }
  }
  return first;
}

}  // namespace detail

export template <class Key, class Compare = std::less<>, class Allocator = allocator<Key>>
class flat_set : private detail::two_functors<Compare, detail::no_functor> {
  using functors = detail::two_functors<Compare, detail::no_functor>;
  template <class Q>
  static constexpr bool looks_up =
      detail::transparent<Compare> && !std::same_as<std::remove_cvref_t<Q>, Key>;

 public:
  using key_type = Key;
  using value_type = Key;
  using key_compare = Compare;
  using value_compare = Compare;
  using container_type = vector<Key, Allocator>;
  using allocator_type = Allocator;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = const Key&;
  using const_reference = const Key&;
  using iterator = const Key*;
  using const_iterator = const Key*;
  using reverse_iterator = std::reverse_iterator<iterator>;
  using const_reverse_iterator = std::reverse_iterator<const_iterator>;

  flat_set() = default;
  explicit flat_set(const Allocator& memory) noexcept : keys_(memory) {}
  explicit flat_set(const Compare& less, const Allocator& memory = Allocator())
      : functors(less, {}), keys_(memory) {}
  template <std::input_iterator It>
  flat_set(It first, It last, const Compare& less = Compare(),
           const Allocator& memory = Allocator())
      : functors(less, {}), keys_(memory) {
    insert(first, last);
  }
  flat_set(std::initializer_list<Key> all, const Compare& less = Compare(),
           const Allocator& memory = Allocator())
      : flat_set(all.begin(), all.end(), less, memory) {}
  flat_set(std::initializer_list<Key> all, const Allocator& memory)
      : flat_set(all.begin(), all.end(), Compare(), memory) {}
  flat_set(const flat_set&) = default;
  flat_set(flat_set&&) = default;
  flat_set(const flat_set& other, const std::type_identity_t<Allocator>& memory)
      : functors(other), keys_(other.keys_, memory) {}
  flat_set(flat_set&& other, const std::type_identity_t<Allocator>& memory)
      : functors(other), keys_(std::move(other.keys_), memory) {
    other.clear();
  }
  flat_set& operator=(const flat_set&) = default;
  flat_set& operator=(flat_set&& other) {
    static_cast<functors&>(*this) = other;
    keys_ = std::move(other.keys_);
    if (this != std::addressof(other)) other.clear();
    return *this;
  }
  flat_set& operator=(std::initializer_list<Key> all) {
    clear();
    insert(all.begin(), all.end());
    return *this;
  }
  ~flat_set() = default;
  [[nodiscard]] allocator_type get_allocator() const noexcept { return keys_.get_allocator(); }
  [[nodiscard]] key_compare key_comp() const { return this->first_functor(); }
  [[nodiscard]] value_compare value_comp() const { return this->first_functor(); }

  [[nodiscard]] iterator begin() const noexcept { return keys_.begin(); }
  [[nodiscard]] iterator cbegin() const noexcept { return keys_.begin(); }
  [[nodiscard]] iterator end() const noexcept { return keys_.end(); }
  [[nodiscard]] iterator cend() const noexcept { return keys_.end(); }
  [[nodiscard]] reverse_iterator rbegin() const noexcept { return reverse_iterator(end()); }
  [[nodiscard]] reverse_iterator crbegin() const noexcept { return reverse_iterator(end()); }
  [[nodiscard]] reverse_iterator rend() const noexcept { return reverse_iterator(begin()); }
  [[nodiscard]] reverse_iterator crend() const noexcept { return reverse_iterator(begin()); }
  [[nodiscard]] bool empty() const noexcept { return keys_.empty(); }
  [[nodiscard]] size_type size() const noexcept { return keys_.size(); }
  [[nodiscard]] size_type max_size() const noexcept { return keys_.max_size(); }
  void reserve(size_type n) { keys_.reserve(n); }
  void shrink_to_fit() { keys_.shrink_to_fit(); }
  void clear() noexcept { keys_.clear(); }
  // The keys, which leave the set.
  [[nodiscard]] container_type extract() && {
    container_type taken(std::move(keys_));
    keys_.clear();
    return taken;
  }
  // Precondition: ascending, no two equal.
  void replace(container_type&& keys) { keys_ = std::move(keys); }

  std::pair<iterator, bool> insert(const Key& key) { return add(key, key); }
  std::pair<iterator, bool> insert(Key&& key) { return add(key, std::move(key)); }
  iterator insert(const_iterator, const Key& key) { return insert(key).first; }
  iterator insert(const_iterator, Key&& key) { return insert(std::move(key)).first; }
  template <std::input_iterator It>
  void insert(It first, It last) {
    for (; first != last; ++first) emplace(*first);
  }
  void insert(std::initializer_list<Key> all) { insert(all.begin(), all.end()); }
  template <class... Args>
  std::pair<iterator, bool> emplace(Args&&... args) {
    Key made(std::forward<Args>(args)...);
    return add(made, std::move(made));
  }
  template <class... Args>
  iterator emplace_hint(const_iterator, Args&&... args) {
    return emplace(std::forward<Args>(args)...).first;
  }
  iterator erase(const_iterator at) { return keys_.erase(at); }
  iterator erase(const_iterator first, const_iterator last) { return keys_.erase(first, last); }
  size_type erase(const Key& which) { return erase_equal(which); }
  template <class Q>
    requires(looks_up<Q> && !std::convertible_to<Q &&, const_iterator>)
  size_type erase(Q&& which) {
    return erase_equal(which);
  }

  [[nodiscard]] iterator find(const Key& which) const { return found(which); }
  [[nodiscard]] bool contains(const Key& which) const { return found(which) != end(); }
  [[nodiscard]] size_type count(const Key& which) const { return contains(which) ? 1 : 0; }
  [[nodiscard]] iterator lower_bound(const Key& which) const { return lower(which); }
  [[nodiscard]] iterator upper_bound(const Key& which) const { return upper(which); }
  [[nodiscard]] std::pair<iterator, iterator> equal_range(const Key& which) const {
    return {lower(which), upper(which)};
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] iterator find(const Q& which) const {
    return found(which);
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] bool contains(const Q& which) const {
    return found(which) != end();
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] size_type count(const Q& which) const {
    return static_cast<size_type>(upper(which) - lower(which));
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] iterator lower_bound(const Q& which) const {
    return lower(which);
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] iterator upper_bound(const Q& which) const {
    return upper(which);
  }
  template <class Q>
    requires looks_up<Q>
  [[nodiscard]] std::pair<iterator, iterator> equal_range(const Q& which) const {
    return {lower(which), upper(which)};
  }

  // Between different memories it moves the keys, and may throw std::bad_alloc.
  void swap(flat_set& other) {
    std::swap(static_cast<functors&>(*this), static_cast<functors&>(other));
    keys_.swap(other.keys_);
  }
  friend void swap(flat_set& a, flat_set& b) { a.swap(b); }
  [[nodiscard]] friend bool operator==(const flat_set& a, const flat_set& b) {
    return a.keys_ == b.keys_;
  }
  [[nodiscard]] friend auto operator<=>(const flat_set& a, const flat_set& b)
    requires requires(const Key& k) { k < k; }
  {
    return a.keys_ <=> b.keys_;
  }

 private:
  template <class Q>
  [[nodiscard]] iterator lower(const Q& which) const {
    return detail::lower_bound_in(begin(), end(), which, this->first_functor());
  }
  template <class Q>
  [[nodiscard]] iterator upper(const Q& which) const {
    const auto less = this->first_functor();
    iterator at = lower(which);
    while (at != end() && !less(which, *at)) ++at;
    return at;
  }
  template <class Q>
  [[nodiscard]] iterator found(const Q& which) const {
    const iterator at = lower(which);
    return at != end() && !this->first_functor()(which, *at) ? at : end();
  }
  template <class Made>
  std::pair<iterator, bool> add(const Key& which, Made&& made) {
    const iterator at = lower(which);
    if (at != end() && !this->first_functor()(which, *at)) return {at, false};
    return {keys_.insert(at, std::forward<Made>(made)), true};
  }
  template <class Q>
  size_type erase_equal(const Q& which) {
    const iterator from = lower(which);
    const iterator to = upper(which);
    const auto n = static_cast<size_type>(to - from);
    keys_.erase(from, to);
    return n;
  }

  container_type keys_;
};
static_assert(sizeof(flat_set<int>) == 32);

export template <class Key, class Compare, class Allocator, class Predicate>
std::size_t erase_if(flat_set<Key, Compare, Allocator>& from, Predicate predicate) {
  auto keys = std::move(from).extract();
  const std::size_t erased = erase_if(keys, predicate);
  from.replace(std::move(keys));
  return erased;
}

}  // namespace ipcpp
