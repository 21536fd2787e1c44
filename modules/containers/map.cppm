// ipcpp.containers:map - map and multimap over memory that processes share.
//
// Representation, guarantees and most of the interface: :search_tree. Keys are compared by <, and
// looked up by anything that compares with them.
module;

#include <concepts>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>

export module ipcpp.containers:map;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;
import :node_handle;
import :search_tree;

namespace ipcpp {

export template <class Key, class T, class Compare = std::less<>,
                 class Allocator = allocator<std::pair<const Key, T>>>
class map : public detail::search_tree<detail::map_elements<Key, T>, false, Compare, Allocator> {
  using base = detail::search_tree<detail::map_elements<Key, T>, false, Compare, Allocator>;
  template <class Q>
  static constexpr bool makes_key = base::template looks_up<Q> && std::constructible_from<Key, Q>;

 public:
  using mapped_type = T;
  using base::base;
  using typename base::const_iterator;
  using typename base::iterator;
  map() = default;
  using base::operator=;

  // Value-initialised if absent.
  T& operator[](const Key& key) { return try_emplace(key).first->second; }
  T& operator[](Key&& key) { return try_emplace(std::move(key)).first->second; }
  template <class Q>
    requires makes_key<Q>
  T& operator[](Q&& key) {
    return try_emplace(std::forward<Q>(key)).first->second;
  }
  [[nodiscard]] T& at(const Key& key) { return mapped_at(key); }
  [[nodiscard]] const T& at(const Key& key) const { return mapped_at(key); }
  template <class Q>
    requires(base::template looks_up<Q>)
  [[nodiscard]] T& at(const Q& key) {
    return mapped_at(key);
  }
  template <class Q>
    requires(base::template looks_up<Q>)
  [[nodiscard]] const T& at(const Q& key) const {
    return mapped_at(key);
  }

  template <class... Args>
  std::pair<iterator, bool> try_emplace(const Key& key, Args&&... args) {
    return emplace_missing(key, std::forward<Args>(args)...);
  }
  template <class... Args>
  std::pair<iterator, bool> try_emplace(Key&& key, Args&&... args) {
    return emplace_missing(std::move(key), std::forward<Args>(args)...);
  }
  template <class Q, class... Args>
    requires(makes_key<Q> && !std::convertible_to<Q &&, const_iterator>)
  std::pair<iterator, bool> try_emplace(Q&& key, Args&&... args) {
    return emplace_missing(std::forward<Q>(key), std::forward<Args>(args)...);
  }
  template <class... Args>
  iterator try_emplace(const_iterator hint, const Key& key, Args&&... args) {
    return emplace_missing_near(hint, key, std::forward<Args>(args)...);
  }
  template <class... Args>
  iterator try_emplace(const_iterator hint, Key&& key, Args&&... args) {
    return emplace_missing_near(hint, std::move(key), std::forward<Args>(args)...);
  }
  template <class M>
  std::pair<iterator, bool> insert_or_assign(const Key& key, M&& mapped) {
    return assign(key, std::forward<M>(mapped));
  }
  template <class M>
  std::pair<iterator, bool> insert_or_assign(Key&& key, M&& mapped) {
    return assign(std::move(key), std::forward<M>(mapped));
  }
  template <class Q, class M>
    requires makes_key<Q>
  std::pair<iterator, bool> insert_or_assign(Q&& key, M&& mapped) {
    return assign(std::forward<Q>(key), std::forward<M>(mapped));
  }
  template <class M>
  iterator insert_or_assign(const_iterator, const Key& key, M&& mapped) {
    return assign(key, std::forward<M>(mapped)).first;
  }
  template <class M>
  iterator insert_or_assign(const_iterator, Key&& key, M&& mapped) {
    return assign(std::move(key), std::forward<M>(mapped)).first;
  }

  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(map& other) { this->exchange(other); }
  friend void swap(map& a, map& b) { a.swap(b); }

 private:
  template <class Q>
  [[nodiscard]] T& mapped_at(const Q& key) const {
    auto* const at = base::found(key);
    if (at == this->the_end()) detail::throw_out_of_range("ipcpp::map::at: no such key");
    return base::node_at(at)->value()->second;
  }
  template <class Q, class... Args>
  std::pair<iterator, bool> emplace_missing(Q&& key, Args&&... args) {
    return this->emplace_by(key, std::piecewise_construct,
                            std::forward_as_tuple(std::forward<Q>(key)),
                            std::forward_as_tuple(std::forward<Args>(args)...));
  }
  template <class Q, class... Args>
  iterator emplace_missing_near(const_iterator hint, Q&& key, Args&&... args) {
    return this->emplace_near(hint, key, std::piecewise_construct,
                              std::forward_as_tuple(std::forward<Q>(key)),
                              std::forward_as_tuple(std::forward<Args>(args)...));
  }
  template <class Q, class M>
  std::pair<iterator, bool> assign(Q&& key, M&& mapped) {
    const auto result = this->emplace_by(key, std::forward<Q>(key), std::forward<M>(mapped));
    if (!result.second) result.first->second = std::forward<M>(mapped);
    return result;
  }
};
static_assert(sizeof(map<int, int>) == 32);

export template <class Key, class T, class Compare = std::less<>,
                 class Allocator = allocator<std::pair<const Key, T>>>
class multimap
    : public detail::search_tree<detail::map_elements<Key, T>, true, Compare, Allocator> {
  using base = detail::search_tree<detail::map_elements<Key, T>, true, Compare, Allocator>;

 public:
  using mapped_type = T;
  using base::base;
  multimap() = default;
  using base::operator=;

  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(multimap& other) { this->exchange(other); }
  friend void swap(multimap& a, multimap& b) { a.swap(b); }
};

export template <class It>
map(It, It) -> map<std::remove_const_t<typename std::iter_value_t<It>::first_type>,
                   typename std::iter_value_t<It>::second_type>;
export template <class Key, class T>
map(std::initializer_list<std::pair<Key, T>>) -> map<std::remove_const_t<Key>, T>;
export template <class Key, class T, class Compare, class Allocator, class Predicate>
std::size_t erase_if(map<Key, T, Compare, Allocator>& from, Predicate predicate) {
  return detail::erase_where(from, predicate);
}

export template <class It>
multimap(It, It) -> multimap<std::remove_const_t<typename std::iter_value_t<It>::first_type>,
                             typename std::iter_value_t<It>::second_type>;
export template <class Key, class T>
multimap(std::initializer_list<std::pair<Key, T>>) -> multimap<std::remove_const_t<Key>, T>;
export template <class Key, class T, class Compare, class Allocator, class Predicate>
std::size_t erase_if(multimap<Key, T, Compare, Allocator>& from, Predicate predicate) {
  return detail::erase_where(from, predicate);
}

}  // namespace ipcpp
