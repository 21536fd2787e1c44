// Boost.Interprocess with the containers of Boost.Container and Boost.Unordered, in shared memory.
#include <cstdio>
#include <functional>
#include <string>
#include <utility>
#include <vector>
#include <unistd.h>

#include <boost/container/deque.hpp>
#include <boost/container/list.hpp>
#include <boost/container/map.hpp>
#include <boost/container/string.hpp>
#include <boost/container/vector.hpp>
#include <boost/interprocess/allocators/allocator.hpp>
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/unordered_map.hpp>

#include "workloads.hpp"

namespace containers_bench {

namespace bip = boost::interprocess;
namespace bc = boost::container;

// The name goes as soon as the memory is mapped, so that nothing is left, however this ends.
struct boost_segment {
  boost_segment()
      : name("containers_benchmark." + std::to_string(::getpid())),
        memory(bip::create_only, name.c_str(), std::size_t{1} << 28) {
    bip::shared_memory_object::remove(name.c_str());
  }
  std::string name;
  bip::managed_shared_memory memory;
};

struct boost_library {
  template <class T>
  using allocator = bip::allocator<T, bip::managed_shared_memory::segment_manager>;
  using string = bc::basic_string<char, std::char_traits<char>, allocator<char>>;
  struct hash_of_string {
    std::size_t operator()(const string& text) const {
      return std::hash<std::string_view>{}(std::string_view(text.data(), text.size()));
    }
  };
  template <class K>
  using hash_of = std::conditional_t<std::is_same_v<K, string>, hash_of_string, std::hash<K>>;
  template <class T>
  using vector = bc::vector<T, allocator<T>>;
  template <class T>
  using list = bc::list<T, allocator<T>>;
  template <class T>
  using deque = bc::deque<T, allocator<T>>;
  template <class K, class V>
  using map = bc::map<K, V, std::less<K>, allocator<std::pair<const K, V>>>;
  template <class K, class V>
  using unordered_map =
      boost::unordered_map<K, V, hash_of<K>, std::equal_to<K>, allocator<std::pair<const K, V>>>;
  template <class C>
  C make() {
    return C(typename C::allocator_type(segment.memory.get_segment_manager()));
  }
  string text(const std::string& word) {
    return string(word.data(), word.size(), allocator<char>(segment.memory.get_segment_manager()));
  }
  boost_segment segment;
};

// What would need ceremony: elements of a vector of strings get their allocator by hand.
struct boost_workloads_of : workloads<boost_library> {
  using base = workloads<boost_library>;
  static void fill(vector<string>& v) {
    for (const std::string& word : words()) v.push_back(lib().text(word));
  }
  static double build() {
    auto v = lib().make<vector<string>>();
    v.reserve(words().size());
    return nanoseconds_per(words().size(), [&] {
      fill(v);
      v.clear();
    });
  }
  static double compare() {
    auto v = lib().make<vector<string>>();
    fill(v);
    return nanoseconds_per(words().size() * 10, [&] {
      std::uint64_t less = 0;
      for (int round = 0; round < 10; ++round)
        for (std::size_t i = 1; i < v.size(); ++i) less += (v[i - 1] < v[i]) + (v[i - 1] == v[i]);
      keep(less);
    });
  }
  static double sort() {
    auto v = lib().make<vector<string>>();
    fill(v);
    return nanoseconds_per(words().size(), [&] { std::sort(v.begin(), v.end()); });
  }
};

const std::vector<workload>& boost_workloads() {
  using numbers = boost_library::map<std::uint64_t, std::uint64_t>;
  using hashed = boost_library::unordered_map<std::uint64_t, std::uint64_t>;
  using counts = boost_library::map<boost_library::string, std::uint64_t>;
  using hashed_counts = boost_library::unordered_map<boost_library::string, std::uint64_t>;
  using w = boost_workloads_of;
  static const std::vector<workload> list{
      {"vector<uint64>: push_back", w::vector_push_back},
      {"vector<uint32>: range-for", w::vector_range_for},
      {"vector<uint32>: v[i] += i", w::vector_index},
      {"vector<uint64>: sort", w::vector_sort},
      {"vector<uint64>: erase in the middle", w::vector_erase},
      {"string: push_back", w::string_append},
      {"string: append words", w::string_append_words},
      {"string: build and drop", w::build},
      {"string: < and ==", w::compare},
      {"vector<string>: sort", w::sort},
      {"list: push_back", w::list_insert},
      {"list: iterate", w::list_iterate},
      {"list: sort", w::list_sort},
      {"list: pop_front", w::list_erase},
      {"deque: push and pop", w::deque_push_pop},
      {"deque: iterate", w::deque_iterate},
      {"map<uint64>: insert", w::insert_numbers<numbers>},
      {"map<uint64>: find", w::find_numbers<numbers>},
      {"map<uint64>: iterate", w::iterate_numbers<numbers>},
      {"map<uint64>: erase", w::erase_numbers<numbers>},
      {"map<string>: count words", w::insert_words<counts>},
      {"map<string>: find", w::find_words<counts>},
      {"unordered_map<uint64>: insert", w::insert_numbers<hashed>},
      {"unordered_map<uint64>: find", w::find_numbers<hashed>},
      {"unordered_map<uint64>: iterate", w::iterate_numbers<hashed>},
      {"unordered_map<uint64>: erase", w::erase_numbers<hashed>},
      {"unordered_map<string>: count words", w::insert_words<hashed_counts>},
      {"unordered_map<string>: find", w::find_words<hashed_counts>},
  };
  return list;
}

}  // namespace containers_bench
