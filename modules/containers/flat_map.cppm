// ipcpp.containers:flat_map - a map that is two vectors, the keys in ascending order and what they
// map to: small, quick to search and walk, slow to change in the middle. After C++23's
// std::flat_map.
//
// Representation: two ipcpp::vectors of the same length (and the comparison, if it has state). An
// iterator holds two plain pointers, good until the next change; what it leads to is a pair of
// references: `for (auto [key, value] : map)`.
//
// Failure model: std::bad_alloc; the strong guarantee for inserting one element whose move does not
// throw.
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

export module ipcpp.containers:flat_map;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;
import :flat_set;
import :functors;
import :vector;

namespace ipcpp {

namespace detail {

template <class Key, class T>
class flat_map_iterator {
 public:
  using iterator_category = std::input_iterator_tag;  // since it gives no true references
  using iterator_concept = std::random_access_iterator_tag;
  using value_type = std::pair<Key, std::remove_const_t<T>>;
  using difference_type = std::ptrdiff_t;
  using reference = std::pair<const Key&, T&>;
  struct pointer {
    reference both;
    [[nodiscard]] reference* operator->() noexcept { return std::addressof(both); }
  };

  flat_map_iterator() noexcept = default;
  flat_map_iterator(const Key* key, T* value) noexcept : key_(key), value_(value) {}
  template <class U>
    requires(std::is_const_v<T> && std::same_as<const U, T>)
  flat_map_iterator(const flat_map_iterator<Key, U>& other) noexcept
      : key_(other.key()), value_(other.value()) {}

  [[nodiscard]] reference operator*() const noexcept { return {*key_, *value_}; }
  [[nodiscard]] pointer operator->() const noexcept { return {**this}; }
  [[nodiscard]] reference operator[](difference_type n) const noexcept {
    return {key_[n], value_[n]};
  }
  flat_map_iterator& operator+=(difference_type n) noexcept {
    key_ += n;
    value_ += n;
    return *this;
  }
  flat_map_iterator& operator-=(difference_type n) noexcept { return *this += -n; }
  flat_map_iterator& operator++() noexcept { return *this += 1; }
  flat_map_iterator& operator--() noexcept { return *this += -1; }
  flat_map_iterator operator++(int) noexcept {
    const flat_map_iterator before = *this;
    *this += 1;
    return before;
  }
  flat_map_iterator operator--(int) noexcept {
    const flat_map_iterator before = *this;
    *this += -1;
    return before;
  }
  [[nodiscard]] friend flat_map_iterator operator+(flat_map_iterator at,
                                                   difference_type n) noexcept {
    return at += n;
  }
  [[nodiscard]] friend flat_map_iterator operator+(difference_type n,
                                                   flat_map_iterator at) noexcept {
    return at += n;
  }
  [[nodiscard]] friend flat_map_iterator operator-(flat_map_iterator at,
                                                   difference_type n) noexcept {
    return at += -n;
  }
  [[nodiscard]] friend difference_type operator-(const flat_map_iterator& a,
                                                 const flat_map_iterator& b) noexcept {
    return a.key_ - b.key_;
  }
  [[nodiscard]] bool operator==(const flat_map_iterator& other) const noexcept {
    return key_ == other.key_;
  }
  [[nodiscard]] std::strong_ordering operator<=>(const flat_map_iterator& other) const noexcept {
    return key_ - other.key_ <=> 0;
  }
  [[nodiscard]] const Key* key() const noexcept { return key_; }
  [[nodiscard]] T* value() const noexcept { return value_; }

 private:
  const Key* key_ = nullptr;
  T* value_ = nullptr;
};

}  // namespace detail

export template <class Key, class T, class Compare = std::less<>,
                 class Allocator = allocator<std::pair<const Key, T>>>
class flat_map : private detail::two_functors<Compare, detail::no_functor> {
  using functors = detail::two_functors<Compare, detail::no_functor>;
  template <class U>
  using rebound = typename std::allocator_traits<Allocator>::template rebind_alloc<U>;
  template <class Q>
  static constexpr bool looks_up =
      detail::transparent<Compare> && !std::same_as<std::remove_cvref_t<Q>, Key>;
  template <class Q>
  static constexpr bool makes_key = looks_up<Q> && std::constructible_from<Key, Q>;

 public:
  using key_type = Key;
  using mapped_type = T;
  using value_type = std::pair<Key, T>;
  using key_compare = Compare;
  using allocator_type = Allocator;
  using size_type = std::size_t;
  using difference_type = std::ptrdiff_t;
  using reference = std::pair<const Key&, T&>;
  using const_reference = std::pair<const Key&, const T&>;
  using iterator = detail::flat_map_iterator<Key, T>;
  using const_iterator = detail::flat_map_iterator<Key, const T>;
  using key_container_type = vector<Key, rebound<Key>>;
  using mapped_container_type = vector<T, rebound<T>>;

  flat_map() = default;
  explicit flat_map(const Allocator& memory) noexcept : keys_(memory), values_(memory) {}
  explicit flat_map(const Compare& less, const Allocator& memory = Allocator())
      : functors(less, {}), keys_(memory), values_(memory) {}
  template <std::input_iterator It>
  flat_map(It first, It last, const Compare& less = Compare(),
           const Allocator& memory = Allocator())
      : functors(less, {}), keys_(memory), values_(memory) {
    insert(first, last);
  }
  flat_map(std::initializer_list<value_type> all, const Compare& less = Compare(),
           const Allocator& memory = Allocator())
      : flat_map(all.begin(), all.end(), less, memory) {}
  flat_map(std::initializer_list<value_type> all, const Allocator& memory)
      : flat_map(all.begin(), all.end(), Compare(), memory) {}
  flat_map(const flat_map&) = default;
  flat_map(flat_map&&) = default;
  flat_map(const flat_map& other, const std::type_identity_t<Allocator>& memory)
      : functors(other), keys_(other.keys_, memory), values_(other.values_, memory) {}
  flat_map(flat_map&& other, const std::type_identity_t<Allocator>& memory)
      : functors(other), keys_(memory), values_(memory) {
    *this = std::move(other);
  }
  flat_map& operator=(const flat_map& other) {
    if (this != std::addressof(other)) {
      flat_map made(other, get_allocator());
      swap(made);
    }
    return *this;
  }
  flat_map& operator=(flat_map&& other) {
    if (this == std::addressof(other)) return *this;
    static_cast<functors&>(*this) = other;
    // Values first: where that fails keys and values still belong together after the clear.
    clear_unless_kept kept{*this, true};
    clear();
    values_ = std::move(other.values_);
    keys_ = std::move(other.keys_);
    kept.pending = false;
    other.clear();
    return *this;
  }
  flat_map& operator=(std::initializer_list<value_type> all) {
    clear();
    insert(all.begin(), all.end());
    return *this;
  }
  ~flat_map() = default;
  [[nodiscard]] allocator_type get_allocator() const noexcept {
    return Allocator(keys_.get_allocator());
  }
  [[nodiscard]] key_compare key_comp() const { return this->first_functor(); }

  [[nodiscard]] iterator begin() noexcept { return {keys_.data(), values_.data()}; }
  [[nodiscard]] const_iterator begin() const noexcept { return {keys_.data(), values_.data()}; }
  [[nodiscard]] const_iterator cbegin() const noexcept { return begin(); }
  [[nodiscard]] iterator end() noexcept { return at_index(size()); }
  [[nodiscard]] const_iterator end() const noexcept { return at_index(size()); }
  [[nodiscard]] const_iterator cend() const noexcept { return end(); }
  [[nodiscard]] bool empty() const noexcept { return keys_.empty(); }
  [[nodiscard]] size_type size() const noexcept { return keys_.size(); }
  [[nodiscard]] const key_container_type& keys() const noexcept { return keys_; }
  [[nodiscard]] const mapped_container_type& values() const noexcept { return values_; }
  void reserve(size_type n) {
    keys_.reserve(n);
    values_.reserve(n);
  }
  void shrink_to_fit() {
    keys_.shrink_to_fit();
    values_.shrink_to_fit();
  }
  void clear() noexcept {
    keys_.clear();
    values_.clear();
  }

  T& operator[](const Key& key) { return try_emplace(key).first->second; }
  T& operator[](Key&& key) { return try_emplace(std::move(key)).first->second; }
  template <class Q>
    requires makes_key<Q>
  T& operator[](Q&& key) {
    return try_emplace(std::forward<Q>(key)).first->second;
  }
  template <class Q>
    requires(looks_up<Q> || std::same_as<Q, Key>)
  [[nodiscard]] T& at(const Q& key) {
    return values_[checked(key)];
  }
  template <class Q>
    requires(looks_up<Q> || std::same_as<Q, Key>)
  [[nodiscard]] const T& at(const Q& key) const {
    return values_[checked(key)];
  }

  std::pair<iterator, bool> insert(const value_type& both) {
    return try_emplace(both.first, both.second);
  }
  std::pair<iterator, bool> insert(value_type&& both) {
    return try_emplace(std::move(both.first), std::move(both.second));
  }
  template <std::input_iterator It>
  void insert(It first, It last) {
    for (; first != last; ++first) {
      auto&& both = *first;
      try_emplace(both.first, both.second);
    }
  }
  void insert(std::initializer_list<value_type> all) { insert(all.begin(), all.end()); }
  template <class... Args>
  std::pair<iterator, bool> emplace(Args&&... args) {
    return insert(value_type(std::forward<Args>(args)...));
  }
  template <class Q, class... Args>
    requires(makes_key<Q> || std::same_as<std::remove_cvref_t<Q>, Key>)
  std::pair<iterator, bool> try_emplace(Q&& key, Args&&... args) {
    const size_type i = index_of_lower(key);
    if (is_at(i, key)) return {at_index(i), false};
    keys_.emplace(keys_.cbegin() + i, std::forward<Q>(key));
    struct guard {
      flat_map& owner;
      size_type i;
      bool pending;
      ~guard() {
        if (pending) owner.keys_.erase(owner.keys_.cbegin() + i);
      }
    } kept{*this, i, true};
    values_.emplace(values_.cbegin() + i, std::forward<Args>(args)...);
    kept.pending = false;
    return {at_index(i), true};
  }
  template <class Q, class M>
    requires(makes_key<Q> || std::same_as<std::remove_cvref_t<Q>, Key>)
  std::pair<iterator, bool> insert_or_assign(Q&& key, M&& mapped) {
    const size_type i = index_of_lower(key);
    if (!is_at(i, key)) return try_emplace(std::forward<Q>(key), std::forward<M>(mapped));
    values_[i] = std::forward<M>(mapped);
    return {at_index(i), false};
  }
  iterator erase(const_iterator at) { return erase(at, at + 1); }
  iterator erase(iterator at) { return erase(const_iterator(at)); }
  iterator erase(const_iterator first, const_iterator last) {
    const auto i = static_cast<size_type>(first - cbegin());
    const auto n = static_cast<size_type>(last - first);
    keys_.erase(keys_.cbegin() + i, keys_.cbegin() + i + n);
    values_.erase(values_.cbegin() + i, values_.cbegin() + i + n);
    return at_index(i);
  }
  template <class Q>
    requires(looks_up<Q> || std::same_as<Q, Key>)
  size_type erase(const Q& key) {
    const size_type i = index_of_lower(key);
    if (!is_at(i, key)) return 0;
    erase(cbegin() + static_cast<difference_type>(i));
    return 1;
  }

  template <class Q>
    requires(looks_up<Q> || std::same_as<Q, Key>)
  [[nodiscard]] iterator find(const Q& key) {
    const size_type i = index_of_lower(key);
    return is_at(i, key) ? at_index(i) : end();
  }
  template <class Q>
    requires(looks_up<Q> || std::same_as<Q, Key>)
  [[nodiscard]] const_iterator find(const Q& key) const {
    const size_type i = index_of_lower(key);
    return is_at(i, key) ? at_index(i) : end();
  }
  template <class Q>
    requires(looks_up<Q> || std::same_as<Q, Key>)
  [[nodiscard]] bool contains(const Q& key) const {
    return is_at(index_of_lower(key), key);
  }
  template <class Q>
    requires(looks_up<Q> || std::same_as<Q, Key>)
  [[nodiscard]] size_type count(const Q& key) const {
    return contains(key) ? 1 : 0;
  }
  template <class Q>
    requires(looks_up<Q> || std::same_as<Q, Key>)
  [[nodiscard]] iterator lower_bound(const Q& key) {
    return at_index(index_of_lower(key));
  }
  template <class Q>
    requires(looks_up<Q> || std::same_as<Q, Key>)
  [[nodiscard]] const_iterator lower_bound(const Q& key) const {
    return at_index(index_of_lower(key));
  }
  template <class Q>
    requires(looks_up<Q> || std::same_as<Q, Key>)
  [[nodiscard]] iterator upper_bound(const Q& key) {
    const size_type i = index_of_lower(key);
    return at_index(is_at(i, key) ? i + 1 : i);
  }
  template <class Q>
    requires(looks_up<Q> || std::same_as<Q, Key>)
  [[nodiscard]] const_iterator upper_bound(const Q& key) const {
    const size_type i = index_of_lower(key);
    return at_index(is_at(i, key) ? i + 1 : i);
  }

  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(flat_map& other) {
    if (keys_.get_allocator() == other.keys_.get_allocator()) {
      std::swap(static_cast<functors&>(*this), static_cast<functors&>(other));
      keys_.swap(other.keys_);
      values_.swap(other.values_);
    } else {
      flat_map mine(other, get_allocator());
      flat_map theirs(*this, other.get_allocator());
      swap(mine);
      other.swap(theirs);
    }
  }
  friend void swap(flat_map& a, flat_map& b) { a.swap(b); }
  [[nodiscard]] friend bool operator==(const flat_map& a, const flat_map& b) {
    return a.keys_ == b.keys_ && a.values_ == b.values_;
  }

 private:
  struct clear_unless_kept {
    flat_map& owner;
    bool pending;
    ~clear_unless_kept() {
      if (pending) owner.clear();
    }
  };

  template <class Q>
  [[nodiscard]] size_type index_of_lower(const Q& key) const {
    return static_cast<size_type>(
        detail::lower_bound_in(keys_.begin(), keys_.end(), key, this->first_functor()) -
        keys_.begin());
  }
  template <class Q>
  [[nodiscard]] bool is_at(size_type i, const Q& key) const {
    return i < size() && !this->first_functor()(key, keys_[i]);
  }
  template <class Q>
  [[nodiscard]] size_type checked(const Q& key) const {
    const size_type i = index_of_lower(key);
    if (!is_at(i, key)) detail::throw_out_of_range("ipcpp::flat_map::at: no such key");
    return i;
  }
  [[nodiscard]] iterator at_index(size_type i) noexcept {
    return {keys_.data() + i, values_.data() + i};
  }
  [[nodiscard]] const_iterator at_index(size_type i) const noexcept {
    return {keys_.data() + i, values_.data() + i};
  }

  key_container_type keys_;
  mapped_container_type values_;
};
static_assert(sizeof(flat_map<int, int>) == 64);

export template <class Key, class T, class Compare, class Allocator, class Predicate>
std::size_t erase_if(flat_map<Key, T, Compare, Allocator>& from, Predicate predicate) {
  std::size_t erased = 0;
  for (auto at = from.begin(); at != from.end();) {
    if (predicate(*at)) {
      at = from.erase(at);
      ++erased;
    } else {
      ++at;
    }
  }
  return erased;
}

}  // namespace ipcpp
