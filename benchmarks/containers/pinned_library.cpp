// The standard's containers with ipcpp::pinned_allocator in a pinned segment.
#include <algorithm>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "workloads.hpp"

import ipcpp;

namespace containers_bench {

struct pinned_library {
  template <class T>
  using allocator = ipcpp::pinned_allocator<T>;
  using string = std::basic_string<char, std::char_traits<char>, allocator<char>>;
  struct string_hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>{}(text);
    }
  };
  template <class K>
  using hash_of = std::conditional_t<std::is_same_v<K, string>, string_hash, std::hash<K>>;
  template <class T>
  using vector = std::vector<T, allocator<T>>;
  template <class T>
  using list = std::list<T, allocator<T>>;
  template <class T>
  using deque = std::deque<T, allocator<T>>;
  template <class K, class V>
  using map = std::map<K, V, std::less<>, allocator<std::pair<const K, V>>>;
  template <class K, class V>
  using unordered_map =
      std::unordered_map<K, V, hash_of<K>, std::equal_to<>, allocator<std::pair<const K, V>>>;
  template <class C>
  C make() {
    return C(allocator<char>(segment.heap()));
  }
  string text(const std::string& word) { return string(word.data(), word.size()); }

  ipcpp::segment segment = ipcpp::segment::anonymous({.pinned = true});
};

const std::vector<workload>& pinned_workloads() {
  return workloads<pinned_library>::all();
}

}  // namespace containers_bench
