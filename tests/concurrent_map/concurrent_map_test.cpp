// concurrent_map by one thread: each operation, growth, memory given back, other types.
#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <map>
#include <new>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "map_in_heap.hpp"

using namespace ipcpp::literals;

namespace {

using numbers = ipcpp::concurrent_map<std::uint64_t, std::uint64_t>;
using words = ipcpp::concurrent_map<ipcpp::string, std::uint64_t>;

std::size_t blocks_in_use(const ipcpp::heap& heap) {
  return heap.statistics().blocks_in_use;
}

}  // namespace

TEST(ConcurrentMap, BeginsEmpty) {
  object_heap h(8_MiB);
  map_in<numbers> map(h.heap);
  EXPECT_EQ(map->size(), 0u);
  EXPECT_TRUE(map->empty());
  EXPECT_EQ(map->find(1u), std::nullopt);
  EXPECT_FALSE(map->contains(1u));
  EXPECT_FALSE(map->erase(1u));
  EXPECT_FALSE(map->assign(1u, 2u));
  map->for_each([](std::uint64_t, std::uint64_t) { FAIL(); });
}

TEST(ConcurrentMap, EachOperationDoesWhatItSays) {
  object_heap h(8_MiB);
  map_in<numbers> map(h.heap);
  EXPECT_TRUE(map->insert(1u, 10u));
  EXPECT_FALSE(map->insert(1u, 11u));
  EXPECT_EQ(map->find(1u), 10u);
  EXPECT_TRUE(map->assign(1u, 12u));
  EXPECT_EQ(map->find(1u), 12u);
  EXPECT_FALSE(map->insert_or_assign(1u, 13u));
  EXPECT_TRUE(map->insert_or_assign(2u, 20u));
  EXPECT_EQ(map->size(), 2u);
  EXPECT_FALSE(map->update(1u, [](std::uint64_t& v) { ++v; }));
  EXPECT_TRUE(map->update(3u, [](std::uint64_t& v) { v += 7; }));
  EXPECT_EQ(map->find(1u), 14u);
  EXPECT_EQ(map->find(3u), 7u);
  EXPECT_TRUE(map->erase(1u));
  EXPECT_FALSE(map->erase(1u));
  EXPECT_EQ(map->find(1u), std::nullopt);
  EXPECT_EQ(map->size(), 2u);
}

TEST(ConcurrentMap, AgreesWithAStandardMapOverManyRandomOperations) {
  object_heap h(64_MiB);
  map_in<numbers> map(h.heap);
  std::map<std::uint64_t, std::uint64_t> expected;
  std::mt19937_64 dice(1);
  for (int i = 0; i < 60'000; ++i) {
    const std::uint64_t key = dice() % 3000;
    const std::uint64_t value = dice();
    switch (dice() % 6) {
      case 0:
        ASSERT_EQ(map->insert(key, value), expected.emplace(key, value).second);
        break;
      case 1:
        ASSERT_EQ(map->insert_or_assign(key, value), expected.insert_or_assign(key, value).second);
        break;
      case 2:
        ASSERT_EQ(map->erase(key), expected.erase(key) == 1);
        break;
      case 3:
        ASSERT_EQ(map->update(key, [&](std::uint64_t& v) { v = v * 3 + value; }),
                  expected.find(key) == expected.end());
        expected[key] = expected[key] * 3 + value;
        break;
      case 4: {
        const auto at = expected.find(key);
        ASSERT_EQ(map->assign(key, value), at != expected.end());
        if (at != expected.end()) at->second = value;
        break;
      }
      default: {
        const auto at = expected.find(key);
        ASSERT_EQ(map->find(key), at == expected.end() ? std::nullopt : std::optional(at->second));
      }
    }
    ASSERT_EQ(map->size(), expected.size());
  }
  std::map<std::uint64_t, std::uint64_t> found;
  map->for_each([&](std::uint64_t k, std::uint64_t v) { EXPECT_TRUE(found.emplace(k, v).second); });
  EXPECT_EQ(found, expected);
  EXPECT_TRUE(fine(h.heap));
}

TEST(ConcurrentMap, GrowsWithoutLosingAnything) {
  object_heap h(256_MiB);
  map_in<numbers> map(h.heap);
  constexpr std::uint64_t n = 200'000;
  for (std::uint64_t i = 0; i < n; ++i) ASSERT_TRUE(map->insert(i, i * i));
  EXPECT_EQ(map->size(), n);
  for (std::uint64_t i = 0; i < n; ++i) ASSERT_EQ(map->find(i), i * i);
  for (std::uint64_t i = n; i < 2 * n; ++i) ASSERT_FALSE(map->contains(i));
  std::size_t visited = 0;
  map->for_each([&](std::uint64_t k, std::uint64_t v) { visited += v == k * k; });
  EXPECT_EQ(visited, n);
}

TEST(ConcurrentMap, GivesEverythingBack) {
  object_heap h(64_MiB);
  const std::size_t before = blocks_in_use(h.heap);
  {
    map_in<words> map(h.heap);
    for (int i = 0; i < 5000; ++i)
      map->insert("a key that is too long for any small buffer " + std::to_string(i), 1u);
    for (int i = 0; i < 4000; ++i)
      EXPECT_TRUE(map->erase("a key that is too long for any small buffer " + std::to_string(i)));
    map->recover();
    // 1000 nodes with a key outside, the directory, the records and the map itself
    EXPECT_LT(blocks_in_use(h.heap) - before, 2000 + 16u);
  }
  EXPECT_EQ(blocks_in_use(h.heap), before);
  EXPECT_TRUE(fine(h.heap));
}

TEST(ConcurrentMap, RemovedEntriesAreFreedWhileItIsUsed) {
  object_heap h(4_MiB);
  map_in<numbers> map(h.heap);
  for (std::uint64_t i = 0; i < 300'000; ++i) {  // 19 MB of nodes
    ASSERT_TRUE(map->insert(i, i));
    ASSERT_TRUE(map->erase(i));
  }
  EXPECT_EQ(map->size(), 0u);
}

TEST(ConcurrentMap, StringKeysAreLookedUpByWhateverIsAString) {
  object_heap h(8_MiB);
  map_in<words> map(h.heap);
  const std::string standard = "tree";
  EXPECT_TRUE(map->update(std::string_view("tree"), [](std::uint64_t& n) { ++n; }));
  EXPECT_FALSE(map->update("tree", [](std::uint64_t& n) { ++n; }));
  EXPECT_FALSE(map->update(standard, [](std::uint64_t& n) { ++n; }));
  EXPECT_FALSE(map->update(ipcpp::string("tree"), [](std::uint64_t& n) { ++n; }));
  EXPECT_EQ(map->find("tree"), 4u);
  EXPECT_TRUE(map->contains(standard));
  std::vector<std::pair<std::string, std::uint64_t>> all;
  map->for_each([&](std::string_view word, std::uint64_t n) { all.emplace_back(word, n); });
  EXPECT_EQ(all, (std::vector<std::pair<std::string, std::uint64_t>>{{"tree", 4}}));
}

TEST(ConcurrentMap, ValuesMayBeStringsAndContainers) {
  object_heap h(16_MiB);
  const std::size_t before = blocks_in_use(h.heap);
  {
    map_in<ipcpp::concurrent_map<ipcpp::string, ipcpp::string>> map(h.heap);
    const std::string long_text(100, 'x');
    EXPECT_TRUE(map->insert("a", "short"));
    EXPECT_TRUE(map->update("b", [&](ipcpp::string& s) { s += long_text; }));
    EXPECT_FALSE(map->update("b", [&](ipcpp::string& s) { s += "yz"; }));
    EXPECT_TRUE(map->assign("a", std::string_view(long_text)));
    const auto b = map->find("b");
    ASSERT_TRUE(b);
    EXPECT_EQ(std::string_view(*b), long_text + "yz");
    EXPECT_EQ(b->get_allocator().header(), nullptr);  // a private copy
    map->for_each([&](const ipcpp::string&, const ipcpp::string& value) {
      EXPECT_EQ(value.get_allocator().header(), h.heap.header());
    });
    EXPECT_TRUE(map->erase("a"));
  }
  EXPECT_EQ(blocks_in_use(h.heap), before);
}

namespace {
struct place {
  std::int32_t x = 0, y = 0, z = 0;
  bool operator==(const place&) const = default;
};
struct person {
  ipcpp::string name;
  std::uint32_t age = 0;
};
}  // namespace

TEST(ConcurrentMap, KeysAndValuesMayBeStructs) {
  object_heap h(8_MiB);
  map_in<ipcpp::concurrent_map<std::array<std::uint16_t, 2>, place>> map(h.heap);
  const std::array<std::uint16_t, 2> key{1, 2};
  EXPECT_TRUE(map->update(key, [](place& p) { p.z = 3; }));
  EXPECT_FALSE(map->update(key, [](place& p) { p.x = p.z + 1; }));
  EXPECT_EQ(map->find(key), (place{4, 0, 3}));

  map_in<ipcpp::concurrent_map<std::uint32_t, person>> people(h.heap);
  EXPECT_TRUE(people->insert(7u, person{"a name that is longer than a small buffer can hold", 40}));
  people->update(7u, [](person& p) { ++p.age; });
  EXPECT_EQ(people->find(7u)->age, 41u);
  people->for_each([&](std::uint32_t, const person& p) {
    EXPECT_EQ(p.name.get_allocator().header(), h.heap.header());
  });
}

TEST(ConcurrentMap, LargeValuesMayTakeWholePages) {
  object_heap h(64_MiB);
  const std::size_t before = blocks_in_use(h.heap);
  {
    map_in<ipcpp::concurrent_map<std::uint32_t, ipcpp::string>> map(h.heap);
    for (int round = 0; round < 20; ++round)
      map->update(1u, [](ipcpp::string& s) { s.append(20'000, 'x'); });
    EXPECT_EQ(map->find(1u)->size(), 400'000u);
  }
  EXPECT_EQ(blocks_in_use(h.heap), before);
  EXPECT_TRUE(fine(h.heap));
}

TEST(ConcurrentMap, AnExceptionFromTheFunctionChangesNothing) {
  object_heap h(8_MiB);
  map_in<numbers> map(h.heap);
  map->insert(1u, 5u);
  const auto fails = [](std::uint64_t& v) {
    v = 9;
    throw std::runtime_error("no");
  };
  EXPECT_THROW(map->update(1u, fails), std::runtime_error);
  EXPECT_THROW(map->update(2u, fails), std::runtime_error);
  EXPECT_EQ(map->find(1u), 5u);
  EXPECT_FALSE(map->contains(2u));
  EXPECT_TRUE(map->update(3u, [](std::uint64_t& v) { v = 1; }));
}

TEST(ConcurrentMap, FunctionsMayUseTheMap) {
  object_heap h(8_MiB);
  map_in<numbers> map(h.heap);
  for (std::uint64_t i = 0; i < 100; ++i) map->insert(i, i);
  map->update(1000u, [&](std::uint64_t& v) {
    v = *map->find(5u);
    map->update(6u, [](std::uint64_t& w) { w += 100; });
  });
  EXPECT_EQ(map->find(1000u), 5u);
  EXPECT_EQ(map->find(6u), 106u);
  std::size_t erased = 0;
  map->for_each([&](std::uint64_t k, std::uint64_t) { erased += map->erase(k); });
  EXPECT_EQ(erased, 101u);
  EXPECT_TRUE(map->empty());
}

TEST(ConcurrentMap, MemoryIsExhaustedWithoutHarm) {
  object_heap h(1_MiB);
  map_in<ipcpp::concurrent_map<std::uint64_t, ipcpp::string>> map(h.heap);
  const std::string text(3000, 'x');
  std::uint64_t n = 0;
  EXPECT_THROW(for (;; ++n) map->insert(n, std::string_view(text)), std::bad_alloc);
  EXPECT_GT(n, 100u);
  EXPECT_EQ(map->size(), n);
  for (std::uint64_t i = 0; i < n; ++i) ASSERT_EQ(map->find(i)->size(), text.size());
  // What is removed can be used again, whoever asks.
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_TRUE(map->erase(i));
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_TRUE(map->insert(n + i, std::string_view(text)));
  EXPECT_TRUE(fine(h.heap));
}

TEST(ConcurrentMap, BadHashesOnlyMakeItSlow) {
  struct constant_hash {
    std::uint64_t operator()(std::uint64_t) const { return 42; }
  };
  object_heap h(8_MiB);
  map_in<ipcpp::concurrent_map<std::uint64_t, std::uint64_t, constant_hash>> map(h.heap);
  for (std::uint64_t i = 0; i < 500; ++i) EXPECT_TRUE(map->insert(i, i));
  for (std::uint64_t i = 0; i < 500; i += 2) EXPECT_TRUE(map->erase(i));
  for (std::uint64_t i = 0; i < 500; ++i) EXPECT_EQ(map->contains(i), i % 2 == 1);
  EXPECT_EQ(map->size(), 250u);
}

TEST(ConcurrentMap, OutsideSharedMemoryItIsAnError) {
  EXPECT_THROW(numbers{ipcpp::allocator<std::byte>()}, ipcpp::error);
  object_heap h(8_MiB);
  numbers on_the_stack{ipcpp::allocator<std::byte>(h.heap)};
  EXPECT_THROW(on_the_stack.insert(1u, 1u), ipcpp::error);
}

TEST(ConcurrentMap, OneMapAfterAnotherAtTheSameAddress) {
  for (int round = 0; round < 20; ++round) {
    object_heap h(2_MiB);
    for (int i = 0; i < 3; ++i) {
      map_in<numbers> map(h.heap);
      EXPECT_FALSE(map->contains(1u));
      EXPECT_TRUE(map->insert(1u, 1u));
    }
    EXPECT_TRUE(fine(h.heap));
  }
}
