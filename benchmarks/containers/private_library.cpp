// The standard's containers in private memory: what everything is compared with.
#include <deque>
#include <list>
#include <map>
#include <string>
#include <unordered_map>
#include <vector>

#include "workloads.hpp"

namespace containers_bench {

struct private_library {
  using string = std::string;
  template <class T>
  using vector = std::vector<T>;
  template <class T>
  using list = std::list<T>;
  template <class T>
  using deque = std::deque<T>;
  template <class K, class V>
  using map = std::map<K, V>;
  template <class K, class V>
  using unordered_map = std::unordered_map<K, V>;
  template <class C>
  C make() {
    return C();
  }
  const std::string& text(const std::string& word) { return word; }
};

const std::vector<workload>& private_workloads() {
  return workloads<private_library>::all();
}

}  // namespace containers_bench
