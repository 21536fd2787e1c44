// ipcpp.containers:unordered_map - unordered_map and unordered_multimap over memory that processes
// share.
//
//   ipcpp::unordered_map<ipcpp::string, ipcpp::vector<int>> shelves;
//   shelves["apples"].push_back(300);         no temporary string; the key is built in the segment
//
// Representation, guarantees and most of the interface: :hash_table. Keys are hashed by ipcpp::hash,
// the same in every process, and compared by ==.
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

export module ipcpp.containers:unordered_map;

import ipcpp.platform;
import ipcpp.malloc;
import :checks;
import :hash;
import :hash_table;
import :node_handle;

namespace ipcpp {

export template <class Key, class T, class Hash = hash<Key>, class Equal = std::equal_to<>,
                 class Allocator = allocator<std::pair<const Key, T>>>
class unordered_map
    : public detail::hash_table<detail::map_elements<Key, T>, false, Hash, Equal, Allocator> {
  using base = detail::hash_table<detail::map_elements<Key, T>, false, Hash, Equal, Allocator>;
  template <class Q>
  static constexpr bool makes_key = base::template looks_up<Q> && std::constructible_from<Key, Q>;

 public:
  using mapped_type = T;
  using base::base;
  using typename base::const_iterator;
  using typename base::iterator;
  unordered_map() = default;
  using base::operator=;

  // Value-initialised if absent.
  T& operator[](const Key& key) { return try_emplace(key).first->second; }
  T& operator[](Key&& key) { return try_emplace(std::move(key)).first->second; }
  template <class Q>
    requires makes_key<Q>
  T& operator[](Q&& key) {
    return try_emplace(std::forward<Q>(key)).first->second;
  }
  [[nodiscard]] T& at(const Key& key) { return found(key); }
  [[nodiscard]] const T& at(const Key& key) const { return found(key); }
  template <class Q>
    requires(base::template looks_up<Q>)
  [[nodiscard]] T& at(const Q& key) {
    return found(key);
  }
  template <class Q>
    requires(base::template looks_up<Q>)
  [[nodiscard]] const T& at(const Q& key) const {
    return found(key);
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
  iterator try_emplace(const_iterator, const Key& key, Args&&... args) {
    return emplace_missing(key, std::forward<Args>(args)...).first;
  }
  template <class... Args>
  iterator try_emplace(const_iterator, Key&& key, Args&&... args) {
    return emplace_missing(std::move(key), std::forward<Args>(args)...).first;
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
  void swap(unordered_map& other) { this->exchange(other); }
  friend void swap(unordered_map& a, unordered_map& b) { a.swap(b); }

 private:
  template <class Q>
  [[nodiscard]] T& found(const Q& key) const {
    auto* const at = this->find_node(key);
    if (at == nullptr) detail::throw_out_of_range("ipcpp::unordered_map::at: no such key");
    return at->value()->second;
  }
  template <class Q, class... Args>
  std::pair<iterator, bool> emplace_missing(Q&& key, Args&&... args) {
    return this->emplace_by(key, std::piecewise_construct,
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
static_assert(sizeof(unordered_map<int, int>) == 48);

export template <class Key, class T, class Hash = hash<Key>, class Equal = std::equal_to<>,
                 class Allocator = allocator<std::pair<const Key, T>>>
class unordered_multimap
    : public detail::hash_table<detail::map_elements<Key, T>, true, Hash, Equal, Allocator> {
  using base = detail::hash_table<detail::map_elements<Key, T>, true, Hash, Equal, Allocator>;

 public:
  using mapped_type = T;
  using base::base;
  unordered_multimap() = default;
  using base::operator=;

  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(unordered_multimap& other) { this->exchange(other); }
  friend void swap(unordered_multimap& a, unordered_multimap& b) { a.swap(b); }
};

export template <class It>
unordered_map(It, It)
    -> unordered_map<std::remove_const_t<typename std::iter_value_t<It>::first_type>,
                     typename std::iter_value_t<It>::second_type>;
export template <class Key, class T>
unordered_map(std::initializer_list<std::pair<Key, T>>)
    -> unordered_map<std::remove_const_t<Key>, T>;
export template <class It>
unordered_multimap(It, It)
    -> unordered_multimap<std::remove_const_t<typename std::iter_value_t<It>::first_type>,
                          typename std::iter_value_t<It>::second_type>;

export template <class Key, class T, class Hash, class Equal, class Allocator, class Predicate>
std::size_t erase_if(unordered_map<Key, T, Hash, Equal, Allocator>& from, Predicate predicate) {
  return detail::erase_where(from, predicate);
}
export template <class Key, class T, class Hash, class Equal, class Allocator, class Predicate>
std::size_t erase_if(unordered_multimap<Key, T, Hash, Equal, Allocator>& from,
                     Predicate predicate) {
  return detail::erase_where(from, predicate);
}

}  // namespace ipcpp
