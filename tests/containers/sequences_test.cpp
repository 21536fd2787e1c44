// vector, list and forward_list by hand; what they share with all other containers is in
// random_operations_test.cpp, processes_test.cpp and exhaustion_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <list>
#include <memory>
#include <new>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

import ipcpp;

using ipcpp::allocator;
using ipcpp::forward_list;
using ipcpp::list;
using ipcpp::string;
using ipcpp::vector;
using namespace ipcpp::literals;

namespace {

constexpr const char* long_name = "a name that is longer than any small buffer";

struct Sequences : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 8_MiB});
  ipcpp::heap& heap = segment.heap();
  std::size_t blocks_at_start = heap.statistics().blocks_in_use;

  std::size_t blocks() const { return heap.statistics().blocks_in_use - blocks_at_start; }
};
using Vector = Sequences;
using List = Sequences;
using ForwardList = Sequences;

struct tree {
  int value = 0;
  vector<tree> branches;
  list<tree> others;
  forward_list<tree> more;
};

struct picky {  // may throw when moved, so it is copied
  picky() = default;
  picky(const picky&) = default;
  picky(picky&&) noexcept(false) {}
  picky& operator=(const picky&) = default;
  int value = 7;
};

}  // namespace

template <>
inline constexpr bool ipcpp::vouched_shareable<picky> = true;

TEST_F(Vector, ItIsMadeOfWhatAStdVectorIsMadeOf) {
  const std::list<int> chain{1, 2, 3};
  std::istringstream stream("1 2 3");
  const vector<int> expected{1, 2, 3};
  EXPECT_EQ(vector<int>(), vector<int>{});
  EXPECT_EQ(vector<int>(chain.begin(), chain.end()), expected);
  EXPECT_EQ(vector<int>(std::istream_iterator<int>(stream), {}), expected);
  EXPECT_EQ(vector(chain.begin(), chain.end()), expected);
  EXPECT_EQ(vector({1, 2, 3}), expected);
  EXPECT_EQ(vector<int>(3), (vector<int>{0, 0, 0}));
  EXPECT_EQ(vector<int>(3, 7), (vector<int>{7, 7, 7}));
  EXPECT_EQ(vector<int>(expected), expected);
  EXPECT_LT((vector<int>{1, 2}), expected);
  EXPECT_GT((vector<int>{2}), expected);
  static_assert(std::is_nothrow_move_constructible_v<vector<int>> && sizeof(vector<string>) == 32);
  static_assert(std::contiguous_iterator<vector<int>::iterator>);
  static_assert(std::is_same_v<vector<bool>::reference, bool&>);
  EXPECT_THROW((void)vector<int>{1}.at(1), std::out_of_range);
  EXPECT_THROW(vector<int>().reserve(vector<int>().max_size() + 1), std::length_error);
}

TEST_F(Vector, ItsOwnElementsMayBePutIntoIt) {
  vector<string> names(heap);
  names.push_back(long_name);
  for (int i = 0; i < 100; ++i) names.push_back(names.back());
  for (int i = 0; i < 100; ++i) names.insert(names.begin(), names.back());
  names.shrink_to_fit();
  names.insert(names.begin() + 1, names.front());
  names.insert(names.begin() + 1, 300, names.front());
  names.reserve(1000);
  names.insert(names.begin() + 1, 300, names.front());
  names.resize(names.size() + 5, names[3]);
  names.emplace(names.begin(), names.back());
  for (const string& name : names) {
    ASSERT_EQ(name, long_name);
    ASSERT_TRUE(segment.contains(name.data()));
  }
}

TEST_F(Vector, AnAssignmentKeepsTheMemory) {
  vector<string> here({long_name}, heap);
  const vector<string> there{long_name, long_name};
  here = there;
  EXPECT_TRUE(segment.contains(here.data()) && segment.contains(here[1].data()));
  here = vector<string>{long_name, "b", "c"};
  EXPECT_TRUE(segment.contains(here.data()) && segment.contains(here[0].data()));
  vector<string> other{long_name};
  swap(here, other);
  EXPECT_TRUE(segment.contains(here.data()) && segment.contains(here[0].data()));
  EXPECT_FALSE(segment.contains(other.data()) || segment.contains(other[0].data()));
  EXPECT_EQ(here.size(), 1u);
  EXPECT_EQ(other.size(), 3u);
  EXPECT_EQ(blocks(), 2u);
}

TEST_F(Vector, BoolsHaveAddresses) {
  vector<bool> flags(100, heap);
  bool& flag = flags[5];
  flag = true;
  EXPECT_EQ(std::count(flags.begin(), flags.end(), true), 1);
}

TEST_F(Vector, ElementsThatMayThrowWhenMovedAreCopied) {
  vector<picky> all(heap);
  for (int i = 0; i < 100; ++i) all.emplace_back();
  all.insert(all.begin() + 3, 5, picky{});
  all.insert(all.begin(), picky{});
  for (const picky& one : all) EXPECT_EQ(one.value, 7);
}

TEST_F(Sequences, AStructMayHoldContainersOfItself) {
  auto* const root = new (heap.allocate(sizeof(tree))) tree{};
  vector<tree> forest(heap);
  forest.emplace_back();
  forest[0].branches.push_back({1, {}, {}, {}});
  forest[0].branches[0].others.push_back({2, {}, {}, {}});
  forest[0].branches[0].others.front().more.push_front({3, {{4, {}, {}, {}}}, {}, {}});
  const tree& leaf = forest[0].branches[0].others.front().more.front().branches[0];
  EXPECT_EQ(leaf.value, 4);
  EXPECT_TRUE(segment.contains(&leaf));
  forest.clear();
  forest.shrink_to_fit();
  heap.deallocate(root);
  EXPECT_EQ(blocks(), 0u);
}

namespace {

template <class L>
std::vector<int> all_of(const L& l) {
  return {l.begin(), l.end()};
}

}  // namespace

TEST_F(List, Operations) {
  using ints = std::vector<int>;
  list<int> a({5, 3, 9, 1, 3}, heap);
  list<int> b({4, 8}, heap);
  a.sort();
  EXPECT_EQ(all_of(a), (ints{1, 3, 3, 5, 9}));
  EXPECT_EQ(a.unique(), 1u);
  a.merge(b);
  EXPECT_EQ(all_of(a), (ints{1, 3, 4, 5, 8, 9}));
  EXPECT_TRUE(b.empty());
  a.reverse();
  EXPECT_EQ(all_of(a), (ints{9, 8, 5, 4, 3, 1}));
  EXPECT_EQ(a.remove(a.front()), 1u);
  EXPECT_EQ(a.remove_if([](int n) { return n % 2 == 0; }), 2u);
  EXPECT_EQ(all_of(a), (ints{5, 3, 1}));
  b.splice(b.end(), a, std::next(a.begin()));
  EXPECT_EQ(all_of(b), (ints{3}));
  a.splice(a.begin(), b);
  a.splice(a.begin(), a, std::next(a.begin(), 1), a.end());
  EXPECT_EQ(all_of(a), (ints{5, 1, 3}));
  swap(a, b);
  EXPECT_EQ(all_of(b), (ints{5, 1, 3}));
  EXPECT_TRUE(a.empty() && a.begin() == a.end());
  EXPECT_EQ(std::distance(b.rbegin(), b.rend()), 3);
  list<int> c(std::move(b));
  EXPECT_TRUE(b.empty());
  b = {7, 8};
  b.resize(4, 9);
  b.resize(3);
  EXPECT_EQ(all_of(b), (ints{7, 8, 9}));
  EXPECT_EQ(erase(b, 8), 1u);
  EXPECT_LT(b, (list<int>{7, 10}));
  EXPECT_EQ(*c.insert(c.end(), {11, 12}), 11);
}

TEST_F(List, BetweenMemoriesElementsAreMovedOneByOne) {
  list<string> here(heap);
  list<string> there{long_name, "short"};
  here.splice(here.begin(), there);
  EXPECT_TRUE(there.empty());
  EXPECT_TRUE(segment.contains(&here.front()) && segment.contains(here.front().data()));
  there.splice(there.begin(), here, here.begin());
  EXPECT_FALSE(segment.contains(&there.front()) || segment.contains(there.front().data()));
  here.merge(there);
  EXPECT_EQ(here.size(), 2u);
  for (const string& name : here) EXPECT_TRUE(segment.contains(name.data()));
  there = {"x"};
  swap(here, there);
  EXPECT_TRUE(segment.contains(&here.front()));
  EXPECT_EQ(there.front(), long_name);
  EXPECT_FALSE(segment.contains(there.front().data()));
}

TEST_F(List, SortingIsStableAndLosesNothingWhenAComparisonThrows) {
  for (int until = 0; until < 4000; until += 37) {
    list<std::pair<int, int>> all(heap);
    for (int i = 0; i < 300; ++i) all.push_back({i * 7919 % 50, i});
    int left = until;
    try {
      all.sort([&](const auto& a, const auto& b) {
        if (left-- == 0) throw std::runtime_error("tired");
        return a.first < b.first;
      });
      EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
    } catch (const std::runtime_error&) {
    }
    EXPECT_EQ(all.size(), 300u);
    EXPECT_EQ(std::distance(all.begin(), all.end()), 300);
    EXPECT_EQ(std::accumulate(all.begin(), all.end(), 0,
                              [](int sum, const auto& p) { return sum + p.second; }),
              300 * 299 / 2);
  }
}

TEST_F(ForwardList, Operations) {
  using ints = std::vector<int>;
  forward_list<int> a({5, 3, 9, 1, 3}, heap);
  forward_list<int> b({4, 8}, heap);
  a.sort();
  EXPECT_EQ(all_of(a), (ints{1, 3, 3, 5, 9}));
  EXPECT_EQ(a.unique(), 1u);
  a.merge(b);
  EXPECT_EQ(all_of(a), (ints{1, 3, 4, 5, 8, 9}));
  EXPECT_TRUE(b.empty());
  a.reverse();
  EXPECT_EQ(a.remove(a.front()), 1u);
  EXPECT_EQ(a.remove_if([](int n) { return n % 2 == 0; }), 2u);
  EXPECT_EQ(all_of(a), (ints{5, 3, 1}));
  b.splice_after(b.before_begin(), a, a.before_begin());
  EXPECT_EQ(all_of(b), (ints{5}));
  b.splice_after(b.begin(), a);
  EXPECT_EQ(all_of(b), (ints{5, 3, 1}));
  a = {1, 2, 3};
  a.splice_after(a.before_begin(), a, a.begin(), a.end());
  EXPECT_EQ(all_of(a), (ints{2, 3, 1}));
  swap(a, b);
  a.resize(2);
  a.resize(4, 6);
  EXPECT_EQ(all_of(a), (ints{5, 3, 6, 6}));
  a.assign({1, 2});
  EXPECT_EQ(a, (forward_list<int>{1, 2}));
  EXPECT_LT(a, (forward_list<int>{1, 2, 3}));
  EXPECT_EQ(*a.insert_after(a.before_begin(), {8, 9}), 9);
  forward_list<int> many(heap);
  for (int i = 0; i < 1000; ++i) many.push_front(i * 7919 % 1000);
  many.sort([](int x, int y) { return y < x; });
  EXPECT_TRUE(std::is_sorted(many.begin(), many.end(), [](int x, int y) { return y < x; }));
  EXPECT_EQ(std::distance(many.begin(), many.end()), 1000);
  forward_list<string> names{long_name};
  forward_list<string> here(heap);
  here.splice_after(here.before_begin(), names);
  EXPECT_TRUE(segment.contains(here.front().data()));
}
