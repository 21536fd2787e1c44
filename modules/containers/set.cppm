// ipcpp.containers:set - set and multiset over memory that processes share.
//
// Representation, guarantees and most of the interface: :search_tree. Elements are compared by <,
// and looked up by anything that compares with them.
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

export module ipcpp.containers:set;

import ipcpp.platform;
import ipcpp.malloc;
import :node_handle;
import :search_tree;

namespace ipcpp {

export template <class Key, class Compare = std::less<>, class Allocator = allocator<Key>>
class set : public detail::search_tree<detail::set_elements<Key>, false, Compare, Allocator> {
  using base = detail::search_tree<detail::set_elements<Key>, false, Compare, Allocator>;

 public:
  using base::base;
  set() = default;
  using base::operator=;

  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(set& other) { this->exchange(other); }
  friend void swap(set& a, set& b) { a.swap(b); }
};
export template <class It>
set(It, It) -> set<std::iter_value_t<It>>;
export template <class Key>
set(std::initializer_list<Key>) -> set<Key>;
export template <class Key, class Compare, class Allocator, class Predicate>
std::size_t erase_if(set<Key, Compare, Allocator>& from, Predicate predicate) {
  return detail::erase_where(from, predicate);
}

export template <class Key, class Compare = std::less<>, class Allocator = allocator<Key>>
class multiset : public detail::search_tree<detail::set_elements<Key>, true, Compare, Allocator> {
  using base = detail::search_tree<detail::set_elements<Key>, true, Compare, Allocator>;

 public:
  using base::base;
  multiset() = default;
  using base::operator=;

  // Between different memories it moves the elements, and may throw std::bad_alloc.
  void swap(multiset& other) { this->exchange(other); }
  friend void swap(multiset& a, multiset& b) { a.swap(b); }
};
export template <class It>
multiset(It, It) -> multiset<std::iter_value_t<It>>;
export template <class Key>
multiset(std::initializer_list<Key>) -> multiset<Key>;
export template <class Key, class Compare, class Allocator, class Predicate>
std::size_t erase_if(multiset<Key, Compare, Allocator>& from, Predicate predicate) {
  return detail::erase_where(from, predicate);
}
static_assert(sizeof(set<int>) == 32 && sizeof(multiset<int>) == 32);

}  // namespace ipcpp
