// unordered_map, unordered_set and their multi forms by hand; see also random_operations_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <new>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

import ipcpp;

using ipcpp::allocator;
using ipcpp::string;
using ipcpp::unordered_map;
using ipcpp::unordered_multimap;
using ipcpp::unordered_multiset;
using ipcpp::unordered_set;
using ipcpp::vector;
using namespace ipcpp::literals;
using namespace std::literals;

namespace {

constexpr const char* long_name = "a name that is longer than any small buffer";

struct Unordered : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 8_MiB});
  ipcpp::heap& heap = segment.heap();
  std::size_t blocks_at_start = heap.statistics().blocks_in_use;

  std::size_t blocks() const { return heap.statistics().blocks_in_use - blocks_at_start; }
};

struct modulo {  // has state, does not avalanche, collides
  std::size_t by = 10;
  std::size_t operator()(int n) const { return static_cast<std::size_t>(n) % by; }
};

}  // namespace

TEST_F(Unordered, ShelvesNestWithoutCeremony) {
  unordered_map<string, vector<std::uint32_t>> shelves(heap);
  shelves["apples"].push_back(300);
  shelves["apples"].push_back(1200);
  shelves[long_name].push_back(1);
  shelves[string(long_name)].push_back(2);
  shelves[std::string("pears")] = {1, 2, 3};
  EXPECT_EQ(shelves.size(), 3u);
  EXPECT_EQ(shelves.at("apples").back(), 1200u);
  EXPECT_EQ(shelves.at(long_name).size(), 2u);
  EXPECT_THROW((void)shelves.at("plums"sv), std::out_of_range);
  for (const auto& [name, lots] : shelves) {
    EXPECT_TRUE(segment.contains(name.data()) && segment.contains(lots.data()));
  }
  const auto& constant = shelves;
  EXPECT_EQ(constant.at("pears").size(), 3u);
  EXPECT_TRUE(constant.contains("pears"sv) && !constant.contains("plums"s));
  EXPECT_EQ(constant.find("apples")->second.front(), 300u);
  EXPECT_EQ(shelves.erase("apples"sv), 1u);
  EXPECT_EQ(shelves.count(long_name), 1u);
  shelves.clear();
  shelves.rehash(0);
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(Unordered, ItIsMadeOfWhatTheStandardsIsMadeOf) {
  const std::vector<std::pair<int, int>> pairs{{1, 2}, {3, 4}, {1, 5}};
  const unordered_map<int, int> expected{{1, 2}, {3, 4}};
  EXPECT_EQ((unordered_map<int, int>(pairs.begin(), pairs.end())), expected);
  EXPECT_EQ((unordered_map<int, int>(pairs.begin(), pairs.end(), 100)), expected);
  EXPECT_EQ((unordered_map<int, int>(expected)), expected);
  EXPECT_EQ((unordered_map<int, int>(expected, allocator<int>(heap))), expected);
  EXPECT_EQ(unordered_map(pairs.begin(), pairs.end()), expected);
  unordered_map<int, int> moved((unordered_map<int, int>(expected)));
  EXPECT_EQ(moved, expected);
  unordered_map<int, int> far(std::move(moved), allocator<int>(heap));
  EXPECT_EQ(far, expected);
  far = {{7, 8}};
  EXPECT_EQ(far.at(7), 8);
  EXPECT_NE(far, expected);
  far = expected;
  EXPECT_TRUE(segment.contains(&*far.begin()));
  far = unordered_map<int, int>{{9, 9}};
  EXPECT_TRUE(segment.contains(&*far.begin()));
  unordered_map<int, int> other{{5, 6}};
  swap(far, other);
  EXPECT_TRUE(segment.contains(&*far.begin()) && !segment.contains(&*other.begin()));
  EXPECT_EQ(far.at(5) + other.at(9), 15);
  EXPECT_EQ(unordered_set({1, 2, 2}).size(), 2u);
  EXPECT_EQ((unordered_multiset<int>{1, 2, 2}.size()), 3u);
  static_assert(std::is_nothrow_move_constructible_v<unordered_map<int, int>>);
  static_assert(sizeof(unordered_multimap<string, string>) == 48);
  static_assert(std::forward_iterator<unordered_map<int, int>::iterator> &&
                std::forward_iterator<unordered_set<int>::local_iterator>);
  static_assert(ipcpp::shareable<unordered_map<int, int>>);
}

TEST_F(Unordered, Insertions) {
  unordered_map<string, int> map(heap);
  EXPECT_TRUE(map.insert({"a", 1}).second);
  EXPECT_FALSE(map.insert({"a", 2}).second);
  EXPECT_TRUE(map.insert(std::pair<const char*, int>("b", 2)).second);
  EXPECT_TRUE(map.emplace("c", 3).second);
  EXPECT_FALSE(map.emplace(string("c"), 4).second);
  EXPECT_TRUE(
      map.emplace(std::piecewise_construct, std::forward_as_tuple(3, 'd'), std::forward_as_tuple(5))
          .second);
  EXPECT_FALSE(map.try_emplace("b", 9).second);
  EXPECT_FALSE(map.insert_or_assign("b", 10).second);
  EXPECT_EQ(map.insert(map.end(), {"b", 4})->second, 10);
  EXPECT_EQ(map.try_emplace(map.end(), "e", 6)->second, 6);
  EXPECT_EQ(map.emplace_hint(map.begin(), "f", 7)->second, 7);
  const std::pair<const string, int> lvalue("g", 8);
  map.insert(lvalue);
  map.insert({{"h", 9}, {"i", 10}});
  EXPECT_EQ(map.size(), 9u);
  EXPECT_EQ(map["ddd"], 5);
  unordered_multimap<string, int> many(heap);
  for (int i = 0; i < 100; ++i) many.emplace(i % 2 == 0 ? "even" : long_name, i);
  EXPECT_EQ(many.count("even"), 50u);
  const auto [from, to] = many.equal_range(std::string(long_name));
  EXPECT_EQ(std::distance(from, to), 50);
  EXPECT_TRUE(std::all_of(from, to, [](const auto& entry) { return entry.second % 2 == 1; }));
  EXPECT_EQ(many, (unordered_multimap<string, int>(many)));
  EXPECT_EQ(many.erase(from->first), 50u);
  EXPECT_EQ(many.size(), 50u);
}

TEST_F(Unordered, NodesMoveBetweenContainers) {
  unordered_map<string, int> map({{"one", 1}, {long_name, 2}}, allocator<char>(heap));
  const auto* const address = &*map.find(long_name);
  auto handle = map.extract(long_name);
  EXPECT_EQ(handle.mapped(), 2);
  handle.key() = "another name that is longer than any small buffer";
  EXPECT_EQ(map.size(), 1u);
  const auto inserted = map.insert(std::move(handle));
  EXPECT_TRUE(inserted.inserted && inserted.node.empty());
  EXPECT_EQ(&*inserted.position, address);
  EXPECT_TRUE(map.contains("another name that is longer than any small buffer"));
  auto again = map.extract(map.find("one"));
  map["one"] = 11;
  const auto refused = map.insert(std::move(again));
  EXPECT_FALSE(refused.inserted);
  EXPECT_EQ(refused.node.mapped(), 1);

  unordered_multimap<string, int> many({{"one", 111}}, allocator<char>(heap));
  many.merge(map);
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(many.count("one"), 2u);
  map.merge(many);
  EXPECT_EQ(many.size(), 1u);
  EXPECT_EQ(map.size(), 2u);

  unordered_map<string, int> elsewhere;
  elsewhere.insert(map.extract("another name that is longer than any small buffer"));
  EXPECT_FALSE(segment.contains(&*elsewhere.begin()) ||
               segment.contains(elsewhere.begin()->first.data()));
  map.merge(elsewhere);
  EXPECT_TRUE(elsewhere.empty());
  for (const auto& entry : map)
    EXPECT_TRUE(segment.contains(entry.first.data()) || entry.first == "one");
  unordered_set<int> set{1, 2};
  auto element = set.extract(1);
  element.value() = 5;
  set.insert(std::move(element));
  EXPECT_TRUE(set.contains(5));
  EXPECT_TRUE(set.extract(77).empty());
}

TEST_F(Unordered, FunctorsMayHaveStateAndCollide) {
  unordered_set<int, modulo> set(10, modulo{3}, {}, allocator<int>(heap));
  for (int i = 0; i < 300; ++i) set.insert(i);
  EXPECT_EQ(set.size(), 300u);
  for (int i = 0; i < 300; i += 2) EXPECT_EQ(set.erase(i), 1u);
  for (int i = 0; i < 300; ++i) EXPECT_EQ(set.contains(i), i % 2 == 1);
  EXPECT_EQ(set.hash_function().by, 3u);
  const unordered_set<int, modulo> copy(set);
  EXPECT_EQ(copy, set);
  EXPECT_EQ(copy.hash_function().by, 3u);
}

TEST_F(Unordered, Buckets) {
  unordered_multiset<int> set(heap);
  EXPECT_EQ(set.bucket_count(), 0u);
  EXPECT_EQ(set.load_factor(), 0.0f);
  for (int i = 0; i < 1000; ++i) set.insert(i / 2);
  EXPECT_LE(set.load_factor(), set.max_load_factor());
  std::size_t seen = 0;
  for (std::size_t i = 0; i < set.bucket_count(); ++i) {
    seen += set.bucket_size(i);
    for (auto at = set.cbegin(i); at != set.cend(i); ++at) EXPECT_EQ(set.bucket(*at), i);
  }
  EXPECT_EQ(seen, 1000u);
  set.max_load_factor(0.25f);
  set.rehash(0);
  EXPECT_GE(set.bucket_count(), 4000u);
  const std::size_t buckets = set.bucket_count();
  set.max_load_factor(4.0f);
  set.reserve(set.size());
  EXPECT_LT(set.bucket_count(), buckets);
  EXPECT_EQ(std::distance(set.begin(), set.end()), 1000);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(set.count(i), 2u);
  EXPECT_EQ(erase_if(set, [](int n) { return n % 2 == 0; }), 500u);
}
