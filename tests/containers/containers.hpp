// What the tests of all containers share: the containers by name, ways to put something in, and
// random operations on one of ours and on the standard's beside it. Include it last: it imports.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <forward_list>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

import ipcpp;
import ipcpp.platform;

namespace test {

// Every second one is too long for any small buffer.
inline std::string text_of(std::size_t n) {
  std::string text = "text " + std::to_string(n);
  if (n % 2 == 1) text += " which is longer than any small buffer";
  return text;
}

template <class C>
concept a_map = requires { typename C::mapped_type; };
template <class C>
concept associative = requires { typename C::key_type; };
template <class C>
concept forward_only = requires(C c) { c.before_begin(); };
template <class C>
concept double_ended = requires(C c) {
  c.pop_front();
  c.pop_back();
};
template <class C>
concept listed = requires(C c) { c.sort(); };

// The n-th element of any container of texts.
template <class C>
typename C::value_type element_of(std::size_t n) {
  if constexpr (a_map<C>) {
    return typename C::value_type(text_of(n), text_of(n + 1));
  } else if constexpr (std::constructible_from<typename C::value_type, std::string>) {
    return typename C::value_type(text_of(n));
  } else {
    return static_cast<typename C::value_type>('a' + n % 26);
  }
}

// All elements as text, in order, or sorted where the container has none.
inline std::string as_text(std::string_view text) {
  return std::string(text);
}
inline std::string as_text(char c) {
  return std::string(1, c);
}
template <class A, class B>
std::string as_text(const std::pair<A, B>& both) {
  return as_text(both.first) + "=" + as_text(both.second);
}
template <class C>
std::vector<std::string> contents(const C& all) {
  std::vector<std::string> texts;
  for (const auto& element : all) texts.push_back(as_text(element));
  if constexpr (requires { all.bucket_count(); }) std::sort(texts.begin(), texts.end());
  return texts;
}

template <class C>
void add(C& to, std::size_t n) {
  if constexpr (associative<C>) {
    to.insert(element_of<C>(n));
  } else if constexpr (forward_only<C>) {
    to.push_front(element_of<C>(n));
  } else {
    to.push_back(element_of<C>(n));
  }
}

template <class C>
auto nth(C& all, std::size_t n) {
  auto at = all.begin();
  for (; n > 0 && at != all.end(); --n) ++at;
  return at;
}

// libstdc++'s deque (seen in 16.2) moves elements onto themselves when nothing is inserted before its
// middle, which empties a std::string.
template <class C>
inline constexpr bool loses_by_inserting_nothing = false;
template <class T>
inline constexpr bool loses_by_inserting_nothing<std::deque<T>> = true;

inline constexpr std::size_t ways_to_change = 20;

// One of several changes, chosen by `what` and `n`. The same on both containers gives the same.
template <class C>
void change(C& all, std::size_t what, std::size_t n, const C& other) {
  if constexpr (associative<C>) {
    using key = typename C::key_type;
    switch (what % 10) {
      case 0:
      case 1:
      case 2:
        add(all, n);
        break;
      case 3:
        all.erase(key(text_of(n)));
        break;
      case 4:
        all.emplace(element_of<C>(n));
        break;
      case 5:
        all.emplace_hint(all.find(key(text_of(n + 1))), element_of<C>(n));
        break;
      case 6: {
        auto handle = all.extract(key(text_of(n)));
        if (handle) all.insert(std::move(handle));
        break;
      }
      case 7: {
        C more(other, all.get_allocator());
        all.merge(more);
        break;
      }
      case 8: {
        const auto [from, to] = all.equal_range(key(text_of(n)));
        all.erase(from, to);
        break;
      }
      default:
        if constexpr (requires { all[key(text_of(n))]; }) all[key(text_of(n))] = text_of(n + 7);
        if (n % 50 == 0) all.clear();
        if (n % 50 == 1) all = other;
        if (n % 50 == 2) all = C(other, all.get_allocator());
        break;
    }
  } else if constexpr (forward_only<C>) {
    switch (what % 10) {
      case 0:
      case 1:
        all.push_front(element_of<C>(n));
        break;
      case 2:
        if (all.begin() != all.end()) all.pop_front();
        break;
      case 3:
        if (all.begin() != all.end()) all.insert_after(all.begin(), 3, element_of<C>(n));
        break;
      case 4:
        all.insert_after(all.before_begin(), other.begin(), other.end());
        break;
      case 5:
        all.remove(element_of<C>(n));
        break;
      case 6:
        all.sort();
        break;
      case 7:
        all.reverse();
        break;
      case 8:
        all.unique();
        break;
      default:
        if (n % 4 == 0) all = other;
        if (n % 4 == 1) all.resize(n % 30);
        if (n % 4 == 2) all.assign(n % 10, element_of<C>(n));
        break;
    }
  } else {
    const std::size_t at = n % (all.size() + 1);
    switch (what % ways_to_change) {
      case 0:
      case 1:
        all.push_back(element_of<C>(n));
        break;
      case 2:
        if (!all.empty()) all.pop_back();
        break;
      case 3:
        all.insert(nth(all, at), element_of<C>(n));
        break;
      case 4:
        if (n % 7 != 0 || !loses_by_inserting_nothing<C>)
          all.insert(nth(all, at), n % 7, element_of<C>(n));
        break;
      case 5:
        if (!other.empty() || !loses_by_inserting_nothing<C>)
          all.insert(nth(all, at), other.begin(), other.end());
        break;
      case 6:
        if (at < all.size()) all.erase(nth(all, at));
        break;
      case 7:
        all.erase(nth(all, at), nth(all, std::min(all.size(), at + n % 9)));
        break;
      case 8:
        all.resize(n % 40);
        break;
      case 9:
        all.resize(n % 40, element_of<C>(n));
        break;
      case 10:
        all.assign(n % 30, element_of<C>(n));
        break;
      case 11:
        all.assign(other.begin(), other.end());
        break;
      case 12:
        all.emplace(nth(all, at), element_of<C>(n));
        break;
      case 13:
        if (!all.empty()) all.insert(nth(all, at), typename C::value_type(all.back()));
        break;
      case 14:
        if constexpr (double_ended<C>) {
          if (n % 3 == 0 && !all.empty()) all.pop_front();
          if (n % 3 != 0) all.push_front(element_of<C>(n));
        }
        break;
      case 15:
        if constexpr (listed<C>) all.sort();
        if constexpr (requires { all.shrink_to_fit(); }) all.shrink_to_fit();
        break;
      case 16:
        if (n % 5 == 0) all = other;
        break;
      case 17: {
        C copy(other, all.get_allocator());
        using std::swap;
        if (n % 3 == 0) swap(all, copy);
        break;
      }
      case 18:
        if (n % 20 == 0) all.clear();
        break;
      default:
        if constexpr (listed<C>) {
          C copy(other, all.get_allocator());
          all.splice(nth(all, at), copy);
          all.remove(element_of<C>(n));
        } else if constexpr (requires { all.reserve(n % 100); }) {
          all.reserve(n % 100);
        }
        break;
    }
    while (all.size() > 400) all.pop_back();
  }
}

// The containers under test, with the standard's beside each.
struct type_of_vector {
  using ours = ipcpp::vector<ipcpp::string>;
  using standard = std::vector<std::string>;
};
struct type_of_bytes {
  using ours = ipcpp::vector<char>;
  using standard = std::vector<char>;
};
struct type_of_deque {
  using ours = ipcpp::deque<ipcpp::string>;
  using standard = std::deque<std::string>;
};
struct type_of_list {
  using ours = ipcpp::list<ipcpp::string>;
  using standard = std::list<std::string>;
};
struct type_of_forward_list {
  using ours = ipcpp::forward_list<ipcpp::string>;
  using standard = std::forward_list<std::string>;
};
struct type_of_map {
  using ours = ipcpp::map<ipcpp::string, ipcpp::string>;
  using standard = std::map<std::string, std::string>;
};
struct type_of_multimap {
  using ours = ipcpp::multimap<ipcpp::string, ipcpp::string>;
  using standard = std::multimap<std::string, std::string>;
};
struct type_of_set {
  using ours = ipcpp::set<ipcpp::string>;
  using standard = std::set<std::string>;
};
struct type_of_multiset {
  using ours = ipcpp::multiset<ipcpp::string>;
  using standard = std::multiset<std::string>;
};
struct type_of_unordered_map {
  using ours = ipcpp::unordered_map<ipcpp::string, ipcpp::string>;
  using standard = std::unordered_map<std::string, std::string>;
};
struct type_of_unordered_multimap {
  using ours = ipcpp::unordered_multimap<ipcpp::string, ipcpp::string>;
  using standard = std::unordered_multimap<std::string, std::string>;
};
struct type_of_unordered_set {
  using ours = ipcpp::unordered_set<ipcpp::string>;
  using standard = std::unordered_set<std::string>;
};
struct type_of_unordered_multiset {
  using ours = ipcpp::unordered_multiset<ipcpp::string>;
  using standard = std::unordered_multiset<std::string>;
};
using all_types =
    testing::Types<type_of_vector, type_of_bytes, type_of_deque, type_of_list, type_of_forward_list,
                   type_of_map, type_of_multimap, type_of_set, type_of_multiset,
                   type_of_unordered_map, type_of_unordered_multimap, type_of_unordered_set,
                   type_of_unordered_multiset>;

}  // namespace test
