// map, set and their multi forms by hand; see also random_operations_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <new>
#include <random>
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
using ipcpp::map;
using ipcpp::multimap;
using ipcpp::multiset;
using ipcpp::set;
using ipcpp::string;
using ipcpp::vector;
using namespace ipcpp::literals;
using namespace std::literals;

namespace {

constexpr const char* long_name = "a name that is longer than any small buffer";

struct Ordered : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 8_MiB});
  ipcpp::heap& heap = segment.heap();
  std::size_t blocks_at_start = heap.statistics().blocks_in_use;

  std::size_t blocks() const { return heap.statistics().blocks_in_use - blocks_at_start; }
};

int comparisons = 0;
struct counted {
  bool operator()(int a, int b) const {
    ++comparisons;
    return a < b;
  }
};
struct by_remainder {  // has state
  int by = 10;
  bool operator()(int a, int b) const { return a % by < b % by; }
};

}  // namespace

TEST_F(Ordered, ShelvesNestWithoutCeremony) {
  map<string, map<string, vector<int>>> shelves(heap);
  shelves["fruit"]["apples"].push_back(300);
  shelves["fruit"][long_name].push_back(1);
  shelves[std::string(long_name)]["x"sv] = {1, 2, 3};
  EXPECT_EQ(shelves.at("fruit").at(long_name).front(), 1);
  EXPECT_THROW((void)shelves.at("plums"sv), std::out_of_range);
  for (const auto& [name, shelf] : shelves)
    for (const auto& [kind, lots] : shelf)
      EXPECT_TRUE(segment.contains(name.data()) && segment.contains(kind.data()) &&
                  segment.contains(lots.data()));
  const auto& constant = shelves;
  EXPECT_TRUE(constant.contains("fruit"sv) && constant.find("none") == constant.end());
  EXPECT_EQ(shelves.erase("fruit"sv), 1u);
  shelves.clear();
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(Ordered, ItIsMadeOfWhatTheStandardsIsMadeOf) {
  const std::vector<std::pair<int, int>> pairs{{3, 4}, {1, 2}, {1, 5}};
  const map<int, int> expected{{1, 2}, {3, 4}};
  EXPECT_EQ((map<int, int>(pairs.begin(), pairs.end())), expected);
  EXPECT_EQ((map<int, int>(expected)), expected);
  EXPECT_EQ((map<int, int>(expected, allocator<int>(heap))), expected);
  EXPECT_EQ(map(pairs.begin(), pairs.end()), expected);
  map<int, int> moved((map<int, int>(expected)));
  map<int, int> far(std::move(moved), allocator<int>(heap));
  EXPECT_EQ(far, expected);
  EXPECT_TRUE(moved.empty() && moved.begin() == moved.end());
  far = {{7, 8}};
  EXPECT_GT(far, expected);
  far = expected;
  EXPECT_TRUE(segment.contains(&*far.begin()));
  far = map<int, int>{{9, 9}};
  EXPECT_TRUE(segment.contains(&*far.begin()));
  map<int, int> other{{5, 6}};
  swap(far, other);
  EXPECT_TRUE(segment.contains(&*far.begin()) && !segment.contains(&*other.begin()));
  EXPECT_EQ(far.at(5) + other.at(9), 15);
  EXPECT_EQ(set({1, 2, 2}).size(), 2u);
  EXPECT_EQ((multiset<int>{1, 2, 2}.size()), 3u);
  static_assert(std::is_nothrow_move_constructible_v<map<int, int>>);
  static_assert(sizeof(multimap<string, string>) == 32);
  static_assert(std::bidirectional_iterator<map<int, int>::iterator>);
  static_assert(ipcpp::shareable<map<int, int>>);
}

TEST_F(Ordered, Insertions) {
  map<string, int> map(heap);
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
  map.insert({{"h", 9}, {"i", 10}});
  EXPECT_EQ(map.size(), 8u);
  EXPECT_TRUE(std::is_sorted(map.begin(), map.end()));
  EXPECT_EQ(map.lower_bound("d")->first, "ddd");
  EXPECT_EQ(map.upper_bound("ddd"sv)->first, "e");
  multimap<string, int> many(heap);
  for (int i = 0; i < 100; ++i) many.emplace(i % 2 == 0 ? "even" : long_name, i);
  const auto [from, to] = many.equal_range(std::string(long_name));
  EXPECT_EQ(std::distance(from, to), 50);
  EXPECT_TRUE(std::is_sorted(from, to)) << "equal keys stay in the order they came";
  EXPECT_EQ(many.count("even"), 50u);
  EXPECT_EQ(many.erase(from->first), 50u);
  EXPECT_EQ(many.size(), 50u);
}

TEST_F(Ordered, NodesMoveBetweenContainers) {
  map<string, int> map({{"one", 1}, {long_name, 2}}, allocator<char>(heap));
  const auto* const address = &*map.find(long_name);
  auto handle = map.extract(long_name);
  EXPECT_EQ(handle.mapped(), 2);
  handle.key() = "another name that is longer than any small buffer";
  const auto inserted = map.insert(std::move(handle));
  EXPECT_TRUE(inserted.inserted && inserted.node.empty());
  EXPECT_EQ(&*inserted.position, address);
  auto again = map.extract(map.find("one"));
  map["one"] = 11;
  const auto refused = map.insert(std::move(again));
  EXPECT_FALSE(refused.inserted);
  EXPECT_EQ(refused.node.mapped(), 1);
  multimap<string, int> many({{"one", 111}}, allocator<char>(heap));
  many.merge(map);
  EXPECT_TRUE(map.empty());
  EXPECT_EQ(many.count("one"), 2u);
  map.merge(many);
  EXPECT_EQ(many.size(), 1u);
  ipcpp::map<string, int> elsewhere;
  elsewhere.insert(map.extract("another name that is longer than any small buffer"));
  EXPECT_FALSE(segment.contains(&*elsewhere.begin()) ||
               segment.contains(elsewhere.begin()->first.data()));
  map.merge(elsewhere);
  EXPECT_TRUE(elsewhere.empty());
  EXPECT_TRUE(segment.contains(map.begin()->first.data()));
  set<int> set{1, 2};
  auto element = set.extract(1);
  element.value() = 5;
  set.insert(std::move(element));
  EXPECT_EQ(*set.rbegin(), 5);
}

TEST_F(Ordered, ComparisonsMayHaveState) {
  set<int, by_remainder> numbers(by_remainder{7}, allocator<int>(heap));
  for (int i = 0; i < 100; ++i) numbers.insert(i);
  EXPECT_EQ(numbers.size(), 7u);
  const set<int, by_remainder> copy(numbers);
  EXPECT_EQ(copy.key_comp().by, 7);
  EXPECT_EQ(copy, numbers);
}

// If it were not balanced, some search would be longer.
TEST_F(Ordered, SearchesAreShortWhateverTheOrderOfInsertionsAndErasures) {
  std::mt19937 random(3);
  for (const int way : {0, 1, 2}) {
    set<int, counted> numbers(counted{}, allocator<int>(heap));
    std::set<int> expected;
    const auto longest = [&] {
      int most = 0;
      for (const int n : expected) {
        comparisons = 0;
        EXPECT_TRUE(numbers.contains(n));
        most = std::max(most, comparisons);
      }
      return most;
    };
    for (int i = 0; i < 4000; ++i) {
      const int n = way == 0 ? i : way == 1 ? -i : static_cast<int>(random() % 100000);
      numbers.insert(n);
      expected.insert(n);
    }
    EXPECT_LE(longest(), 2 * 12 + 2);
    for (int i = 0; i < 3500; ++i) {
      auto at = way == 0 ? expected.begin()
                         : std::next(expected.begin(),
                                     static_cast<std::ptrdiff_t>(
                                         random() % std::min<std::size_t>(expected.size(), 50)));
      EXPECT_EQ(numbers.erase(*at), 1u);
      expected.erase(at);
    }
    EXPECT_LE(longest(), 2 * static_cast<int>(std::bit_width(expected.size())) + 2);
    EXPECT_TRUE(std::equal(numbers.begin(), numbers.end(), expected.begin(), expected.end()));
    EXPECT_TRUE(std::equal(numbers.rbegin(), numbers.rend(), expected.rbegin(), expected.rend()));
  }
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(Ordered, AHintSavesComparisons) {
  set<int, counted> numbers(counted{}, allocator<int>(heap));
  comparisons = 0;
  for (int i = 0; i < 1000; ++i) numbers.emplace_hint(numbers.end(), i);
  EXPECT_LE(comparisons, 2000);
  for (int i = 0; i < 1000; ++i) numbers.insert(numbers.find(i), i);
  EXPECT_EQ(numbers.size(), 1000u);
  numbers.insert(numbers.begin(), 5000);
  EXPECT_EQ(*numbers.rbegin(), 5000);
}
