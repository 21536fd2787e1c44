// flat_set and flat_map.
#include <gtest/gtest.h>

#include <algorithm>
#include <compare>
#include <cstddef>
#include <functional>
#include <initializer_list>
#include <iterator>
#include <map>
#include <memory>
#include <new>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

import ipcpp;

using ipcpp::flat_map;
using ipcpp::flat_set;
using ipcpp::string;
using namespace ipcpp::literals;
using namespace std::literals;

namespace {

constexpr const char* long_name = "a name that is longer than any small buffer";

struct Flat : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 8_MiB});
  ipcpp::heap& heap = segment.heap();
};

}  // namespace

TEST_F(Flat, RandomOperationsGiveWhatTheStandardsSetAndMapGive) {
  flat_set<string> set(heap);
  flat_map<string, string> map(heap);
  std::set<std::string> expected_set;
  std::map<std::string, std::string> expected_map;
  std::mt19937 random(5);
  for (int i = 0; i < 5000; ++i) {
    const std::string key =
        std::string(random() % 2 == 0 ? "" : long_name) + std::to_string(random() % 100);
    const std::string value = std::to_string(i);
    switch (random() % 6) {
      case 0:
      case 1:
        EXPECT_EQ(set.insert(key).second, expected_set.insert(key).second);
        EXPECT_EQ(map.try_emplace(key, value).second, expected_map.try_emplace(key, value).second);
        break;
      case 2:
        EXPECT_EQ(set.erase(key), expected_set.erase(key));
        EXPECT_EQ(map.erase(key), expected_map.erase(key));
        break;
      case 3:
        EXPECT_EQ(set.contains(key), expected_set.contains(key));
        map[key] = value;
        expected_map[key] = value;
        break;
      case 4:
        EXPECT_EQ(set.lower_bound(key) - set.begin(),
                  std::distance(expected_set.begin(), expected_set.lower_bound(key)));
        EXPECT_EQ(map.upper_bound(key) - map.begin(),
                  std::distance(expected_map.begin(), expected_map.upper_bound(key)));
        break;
      default:
        map.insert_or_assign(key, value);
        expected_map.insert_or_assign(key, value);
        break;
    }
  }
  EXPECT_TRUE(std::equal(set.begin(), set.end(), expected_set.begin(), expected_set.end()));
  EXPECT_TRUE(std::equal(
      map.begin(), map.end(), expected_map.begin(), expected_map.end(),
      [](const auto& a, const auto& b) { return a.first == b.first && a.second == b.second; }));
  for (const string& key : set) EXPECT_TRUE(segment.contains(key.data()));
  for (const auto& [key, value] : map)
    EXPECT_TRUE(segment.contains(key.data()) && segment.contains(value.data()));
}

TEST_F(Flat, TheyNestAndMoveBetweenMemories) {
  flat_map<string, flat_set<string>> all(heap);
  all[long_name].insert(long_name);
  all["short"].insert("x"sv);
  all.emplace("emplaced, and longer than any small buffer", flat_set<string>{long_name, "b", "a"});
  EXPECT_EQ(all.at(long_name).size(), 1u);
  EXPECT_THROW((void)all.at("none"), std::out_of_range);
  for (const auto& [key, texts] : all)
    for (const string& text : texts) EXPECT_TRUE(segment.contains(text.data()));
  flat_map<string, flat_set<string>> copy(all);
  EXPECT_EQ(copy, all);
  EXPECT_EQ(erase_if(copy, [](const auto& both) { return both.first == "short"; }), 1u);
  swap(all, copy);
  EXPECT_EQ(all.size(), 2u);
  EXPECT_EQ(copy.size(), 3u);
  EXPECT_TRUE(segment.contains(all.begin()->first.data()));
  all = std::move(copy);
  EXPECT_EQ(all.size(), 3u);
  EXPECT_TRUE(copy.empty() && segment.contains(all.begin()->second.begin()));
  flat_set<int> numbers{3, 1, 2};
  EXPECT_EQ(erase_if(numbers, [](int n) { return n == 2; }), 1u);
  EXPECT_EQ(numbers, (flat_set<int>{1, 3}));
  EXPECT_LT(numbers, (flat_set<int>{1, 4}));
}
