// ipcpp.containers:unordered_set - unordered_set and unordered_multiset over memory that processes
// share.
//
// Representation, guarantees and most of the interface: :hash_table. Elements are hashed by
// ipcpp::hash, the same in every process, and compared by ==.
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

export module ipcpp.containers:unordered_set;

import ipcpp.platform;
import ipcpp.malloc;
import :hash;
import :hash_table;
import :node_handle;

namespace ipcpp {

export template <class Key, class Hash = hash<Key>, class Equal = std::equal_to<>,
                 class Allocator = allocator<Key>>
class unordered_set
    : public detail::hash_table<detail::set_elements<Key>, false, Hash, Equal, Allocator> {
  using base = detail::hash_table<detail::set_elements<Key>, false, Hash, Equal, Allocator>;

 public:
  using base::base;
  unordered_set() = default;
  using base::operator=;

  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(unordered_set& other) { this->exchange(other); }
  friend void swap(unordered_set& a, unordered_set& b) { a.swap(b); }
};

export template <class Key, class Hash = hash<Key>, class Equal = std::equal_to<>,
                 class Allocator = allocator<Key>>
class unordered_multiset
    : public detail::hash_table<detail::set_elements<Key>, true, Hash, Equal, Allocator> {
  using base = detail::hash_table<detail::set_elements<Key>, true, Hash, Equal, Allocator>;

 public:
  using base::base;
  unordered_multiset() = default;
  using base::operator=;

  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(unordered_multiset& other) { this->exchange(other); }
  friend void swap(unordered_multiset& a, unordered_multiset& b) { a.swap(b); }
};
static_assert(sizeof(unordered_set<int>) == 48);

export template <class It>
unordered_set(It, It) -> unordered_set<std::iter_value_t<It>>;
export template <class Key>
unordered_set(std::initializer_list<Key>) -> unordered_set<Key>;
export template <class Key, class Hash, class Equal, class Allocator, class Predicate>
std::size_t erase_if(unordered_set<Key, Hash, Equal, Allocator>& from, Predicate predicate) {
  return detail::erase_where(from, predicate);
}

export template <class It>
unordered_multiset(It, It) -> unordered_multiset<std::iter_value_t<It>>;
export template <class Key>
unordered_multiset(std::initializer_list<Key>) -> unordered_multiset<Key>;
export template <class Key, class Hash, class Equal, class Allocator, class Predicate>
std::size_t erase_if(unordered_multiset<Key, Hash, Equal, Allocator>& from, Predicate predicate) {
  return detail::erase_where(from, predicate);
}

}  // namespace ipcpp
