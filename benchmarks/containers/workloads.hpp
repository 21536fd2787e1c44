// What the containers are measured with. Each workload is a template over a library of containers:
//
//   struct library {
//     using string = ...;  template <class T> using vector = ...;  ... list, deque, map, unordered_map
//     template <class C> C make();              an empty container in the library's memory
//     auto text(std::string_view);              a string as the library's users would pass it
//   };
//
// and returns the nanoseconds per element of the part that is of interest.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace containers_bench {

using measured = double (*)();
struct workload {
  const char* name;
  measured run;  // nullptr: this library has no such container
};

// The libraries, one translation unit each.
const std::vector<workload>& private_workloads();
const std::vector<workload>& ipcpp_workloads();
const std::vector<workload>& pinned_workloads();
const std::vector<workload>& boost_workloads();  // empty without Boost

inline void keep(std::uint64_t value) {
  asm volatile("" : : "r"(value) : "memory");
}

template <class F>
double nanoseconds_per(std::size_t n, F f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
  return taken.count() / static_cast<double>(n);
}

inline std::uint64_t scattered(std::uint64_t i) {
  return i * 0x9E3779B97F4A7C15u >> 40;
}
inline const std::vector<std::string>& words() {
  static const std::vector<std::string> all = [] {
    std::vector<std::string> made;
    for (std::uint64_t i = 0; i < 20'000; ++i) {
      std::string word = "word" + std::to_string(scattered(i));
      if (i % 4 == 0) word += " which is longer than any small buffer is";
      made.push_back(word);
    }
    return made;
  }();
  return all;
}

template <class Library>
struct workloads {
  static constexpr std::size_t many = 100'000;
  static Library& lib() {
    static Library one;
    return one;
  }
  template <class T>
  using vector = typename Library::template vector<T>;
  template <class T>
  using list = typename Library::template list<T>;
  template <class T>
  using deque = typename Library::template deque<T>;
  template <class K, class V>
  using map = typename Library::template map<K, V>;
  template <class K, class V>
  using table = typename Library::template unordered_map<K, V>;
  using string = typename Library::string;

  // ---- vector ----
  static double vector_push_back() {
    auto v = lib().template make<vector<std::uint64_t>>();
    return nanoseconds_per(many * 5, [&] {
      for (std::size_t i = 0; i < many * 5; ++i) v.push_back(i);
      keep(v.back());
    });
  }
  static double vector_range_for() {
    auto v = lib().template make<vector<std::uint32_t>>();
    v.resize(4096, 3);
    return nanoseconds_per(4096 * 2000, [&] {
      for (int round = 0; round < 2000; ++round) {
        std::uint32_t sum = 0;
        for (const std::uint32_t n : v) sum += n;
        keep(sum);
      }
    });
  }
  static double vector_index() {
    auto v = lib().template make<vector<std::uint32_t>>();
    v.resize(4096, 3);
    return nanoseconds_per(4096 * 1000, [&] {
      for (int round = 0; round < 1000; ++round) {
        for (std::size_t i = 0; i < v.size(); ++i) v[i] += static_cast<std::uint32_t>(i);
        keep(v[7]);
      }
    });
  }
  static double vector_sort() {
    auto v = lib().template make<vector<std::uint64_t>>();
    for (std::size_t i = 0; i < many; ++i) v.push_back(scattered(i));
    return nanoseconds_per(many, [&] { std::sort(v.begin(), v.end()); });
  }
  static double vector_erase() {
    auto v = lib().template make<vector<std::uint64_t>>();
    v.resize(10'000, 1);
    return nanoseconds_per(10'000, [&] {
      while (!v.empty()) v.erase(v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2));
    });
  }

  // ---- string ----
  static double string_append() {
    auto s = lib().template make<string>();
    return nanoseconds_per(many * 10, [&] {
      for (std::size_t i = 0; i < many * 10; ++i) s.push_back(static_cast<char>('a' + i % 26));
      keep(s.size());
    });
  }
  static double string_append_words() {
    auto s = lib().template make<string>();
    return nanoseconds_per(words().size(), [&] {
      for (const std::string& word : words()) s.append(word.data(), word.size());
      keep(s.size());
    });
  }
  static double string_build() {
    auto v = lib().template make<vector<string>>();
    v.reserve(words().size());
    return nanoseconds_per(words().size(), [&] {
      for (const std::string& word : words()) v.emplace_back(word.data(), word.size());
      v.clear();
    });
  }
  static double string_sort() {
    auto v = lib().template make<vector<string>>();
    for (const std::string& word : words()) v.emplace_back(word.data(), word.size());
    return nanoseconds_per(words().size(), [&] { std::sort(v.begin(), v.end()); });
  }
  static double string_compare() {
    auto v = lib().template make<vector<string>>();
    for (const std::string& word : words()) v.emplace_back(word.data(), word.size());
    return nanoseconds_per(words().size() * 10, [&] {
      std::uint64_t less = 0;
      for (int round = 0; round < 10; ++round)
        for (std::size_t i = 1; i < v.size(); ++i) less += (v[i - 1] < v[i]) + (v[i - 1] == v[i]);
      keep(less);
    });
  }

  // ---- list and deque ----
  static double list_insert() {
    auto l = lib().template make<list<std::uint64_t>>();
    return nanoseconds_per(many, [&] {
      for (std::size_t i = 0; i < many; ++i) l.push_back(scattered(i));
    });
  }
  static double list_iterate() {
    auto l = lib().template make<list<std::uint64_t>>();
    for (std::size_t i = 0; i < many / 10; ++i) l.push_back(i);
    return nanoseconds_per(many * 2, [&] {
      for (int round = 0; round < 20; ++round) {
        std::uint64_t sum = 0;
        for (const std::uint64_t n : l) sum += n;
        keep(sum);
      }
    });
  }
  static double list_sort() {
    auto l = lib().template make<list<std::uint64_t>>();
    for (std::size_t i = 0; i < many / 2; ++i) l.push_back(scattered(i));
    return nanoseconds_per(many / 2, [&] { l.sort(); });
  }
  static double list_erase() {
    auto l = lib().template make<list<std::uint64_t>>();
    for (std::size_t i = 0; i < many; ++i) l.push_back(i);
    return nanoseconds_per(many, [&] {
      while (!l.empty()) l.pop_front();
    });
  }
  static double deque_push_pop() {
    auto d = lib().template make<deque<std::uint64_t>>();
    return nanoseconds_per(many * 5, [&] {
      for (std::size_t i = 0; i < many * 5; ++i) {
        d.push_back(i);
        if (i % 3 == 2) d.pop_front();
      }
      keep(d.size());
    });
  }
  static double deque_iterate() {
    auto d = lib().template make<deque<std::uint64_t>>();
    for (std::size_t i = 0; i < many; ++i) d.push_back(i);
    return nanoseconds_per(many * 10, [&] {
      for (int round = 0; round < 10; ++round) {
        std::uint64_t sum = 0;
        for (const std::uint64_t n : d) sum += n;
        keep(sum);
      }
    });
  }

  // ---- maps ----
  template <class Map>
  static double insert_numbers() {
    auto m = lib().template make<Map>();
    return nanoseconds_per(many, [&] {
      for (std::size_t i = 0; i < many; ++i) m.emplace(scattered(i), i);
    });
  }
  template <class Map>
  static double find_numbers() {
    auto m = lib().template make<Map>();
    for (std::size_t i = 0; i < many; ++i) m.emplace(scattered(i), i);
    return nanoseconds_per(many * 2, [&] {
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < many * 2; ++i) {
        const auto at = m.find(scattered(i));
        if (at != m.end()) sum += at->second;
      }
      keep(sum);
    });
  }
  template <class Map>
  static double iterate_numbers() {
    auto m = lib().template make<Map>();
    for (std::size_t i = 0; i < many / 10; ++i) m.emplace(scattered(i), i);
    return nanoseconds_per(many, [&] {
      for (int round = 0; round < 10; ++round) {
        std::uint64_t sum = 0;
        for (const auto& [key, value] : m) sum += value;
        keep(sum);
      }
    });
  }
  template <class Map>
  static double erase_numbers() {
    auto m = lib().template make<Map>();
    for (std::size_t i = 0; i < many; ++i) m.emplace(scattered(i), i);
    return nanoseconds_per(many, [&] {
      for (std::size_t i = 0; i < many; ++i) m.erase(scattered(i));
    });
  }
  template <class Map>
  static double insert_words() {
    auto m = lib().template make<Map>();
    return nanoseconds_per(words().size(), [&] {
      for (const std::string& word : words()) ++m[lib().text(word)];
    });
  }
  template <class Map>
  static double find_words() {
    auto m = lib().template make<Map>();
    for (const std::string& word : words()) ++m[lib().text(word)];
    std::vector<std::decay_t<decltype(lib().text(words()[0]))>> keys;
    for (const std::string& word : words()) keys.push_back(lib().text(word));
    return nanoseconds_per(words().size() * 5, [&] {
      std::uint64_t sum = 0;
      for (int round = 0; round < 5; ++round)
        for (const auto& key : keys) sum += m.find(key)->second;
      keep(sum);
    });
  }

  static const std::vector<workload>& all() {
    using numbers = map<std::uint64_t, std::uint64_t>;
    using hashed = table<std::uint64_t, std::uint64_t>;
    using counts = map<string, std::uint64_t>;
    using hashed_counts = table<string, std::uint64_t>;
    static const std::vector<workload> list{
        {"vector<uint64>: push_back", vector_push_back},
        {"vector<uint32>: range-for", vector_range_for},
        {"vector<uint32>: v[i] += i", vector_index},
        {"vector<uint64>: sort", vector_sort},
        {"vector<uint64>: erase in the middle", vector_erase},
        {"string: push_back", string_append},
        {"string: append words", string_append_words},
        {"string: build and drop", string_build},
        {"string: < and ==", string_compare},
        {"vector<string>: sort", string_sort},
        {"list: push_back", list_insert},
        {"list: iterate", list_iterate},
        {"list: sort", list_sort},
        {"list: pop_front", list_erase},
        {"deque: push and pop", deque_push_pop},
        {"deque: iterate", deque_iterate},
        {"map<uint64>: insert", insert_numbers<numbers>},
        {"map<uint64>: find", find_numbers<numbers>},
        {"map<uint64>: iterate", iterate_numbers<numbers>},
        {"map<uint64>: erase", erase_numbers<numbers>},
        {"map<string>: count words", insert_words<counts>},
        {"map<string>: find", find_words<counts>},
        {"unordered_map<uint64>: insert", insert_numbers<hashed>},
        {"unordered_map<uint64>: find", find_numbers<hashed>},
        {"unordered_map<uint64>: iterate", iterate_numbers<hashed>},
        {"unordered_map<uint64>: erase", erase_numbers<hashed>},
        {"unordered_map<string>: count words", insert_words<hashed_counts>},
        {"unordered_map<string>: find", find_words<hashed_counts>},
    };
    return list;
  }
};

}  // namespace containers_bench
