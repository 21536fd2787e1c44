// ipcpp's containers in a segment.
#include <algorithm>
#include <compare>
#include <cstddef>
#include <functional>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "workloads.hpp"

import ipcpp;

namespace containers_bench {

struct ipcpp_library {
  using string = ipcpp::string;
  template <class T>
  using vector = ipcpp::vector<T>;
  template <class T>
  using list = ipcpp::list<T>;
  template <class T>
  using deque = ipcpp::deque<T>;
  template <class K, class V>
  using map = ipcpp::map<K, V>;
  template <class K, class V>
  using unordered_map = ipcpp::unordered_map<K, V>;
  template <class C>
  C make() {
    return C(segment.heap());
  }
  std::string_view text(const std::string& word) { return word; }

  ipcpp::segment segment = ipcpp::segment::anonymous();
};

const std::vector<workload>& ipcpp_workloads() {
  return workloads<ipcpp_library>::all();
}

}  // namespace containers_bench
