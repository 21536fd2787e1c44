#include <gtest/gtest.h>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "aware.hpp"
#include "objects.hpp"

import ipcpp;

using ipcpp::pinned_allocator;
using namespace ipcpp::literals;

namespace {

using string = std::basic_string<char, std::char_traits<char>, pinned_allocator<char>>;
template <class T>
using vector = std::vector<T, pinned_allocator<T>>;
struct hash {
  std::size_t operator()(const string& s) const {
    return std::hash<std::string_view>{}(std::string_view(s));
  }
};
template <class V>
using dictionary = std::unordered_map<string, V, hash, std::equal_to<>,
                                      pinned_allocator<std::pair<const string, V>>>;

constexpr const char* long_name = "a name that is longer than any small buffer";

struct person {
  string name;
  vector<string> aliases;
  std::uint32_t age = 0;
};

struct PinnedAllocator : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 8_MiB, .pinned = true});
  ipcpp::segment elsewhere = ipcpp::segment::anonymous({.max_size = 1_MiB});
  ipcpp::heap& heap = segment.heap();
  std::size_t blocks_at_start = heap.statistics().blocks_in_use;

  std::size_t blocks() const { return heap.statistics().blocks_in_use - blocks_at_start; }
};

}  // namespace

TEST_F(PinnedAllocator, ItMeetsTheRequirementsOnAllocatorsWithRawPointers) {
  using A = pinned_allocator<int>;
  using B = pinned_allocator<double>;
  using traits = std::allocator_traits<A>;
  static_assert(std::same_as<traits::pointer, int*> && std::same_as<traits::void_pointer, void*>);
  static_assert(std::same_as<traits::rebind_alloc<double>, B>);
  static_assert(!traits::propagate_on_container_copy_assignment::value &&
                !traits::propagate_on_container_move_assignment::value &&
                !traits::propagate_on_container_swap::value && !traits::is_always_equal::value);
  static_assert(std::is_nothrow_default_constructible_v<A> &&
                std::is_nothrow_copy_constructible_v<A> &&
                std::is_nothrow_constructible_v<A, const B&>);
  static_assert(ipcpp::shareable<A> && ipcpp::shareable<string> && ipcpp::shareable<person>);
  [[maybe_unused]] pinned_allocator<void> of_nothing;

  A a(heap);
  const B b(a);
  EXPECT_EQ(A(b), a);
  EXPECT_NE(A(), a);
  int* const p = a.allocate(100);
  EXPECT_TRUE(segment.contains(p) && segment.contains(p + 99));
  a.deallocate(p, 100);
  EXPECT_THROW((void)a.allocate(std::numeric_limits<std::size_t>::max()),
               std::bad_array_new_length);
  EXPECT_THROW((void)a.allocate(64_MiB), std::bad_alloc);
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(PinnedAllocator, AHeapThatIsNotPinnedIsRefusedWithTheRemedy) {
  EXPECT_ERROR(pinned_allocator<int>(elsewhere.heap()), invalid_argument);
  std::string message;
  (void)ERROR_OF(pinned_allocator<int>(elsewhere.heap()), message);
  EXPECT_NE(message.find("create it with pinned"), std::string::npos) << message;
  EXPECT_ERROR(pinned_allocator<int>(ipcpp::allocator<int>(elsewhere.heap())), invalid_argument);
}

TEST_F(PinnedAllocator, EveryContainerOfTheStandardLibraryWorks) {
  {
    string name(long_name, heap);
    EXPECT_TRUE(segment.contains(name.data()));
    name += name;
    EXPECT_TRUE(segment.contains(name.data()));
    std::unordered_map<int, int, std::hash<int>, std::equal_to<>,
                       pinned_allocator<std::pair<const int, int>>>
        cubes(pinned_allocator<int>{heap});
    for (int i = 0; i < 1000; ++i) cubes[i] = i * i * i;
    EXPECT_EQ(cubes.at(5), 125);
    for (const auto& entry : cubes) ASSERT_TRUE(segment.contains(&entry));
    vector<int*> pointers(heap);  // which is what pinning is for
    pointers.push_back(&cubes[1]);
    EXPECT_EQ(*pointers.front(), 1);
    std::map<int, int, std::less<>, pinned_allocator<std::pair<const int, int>>> sorted(
        cubes.begin(), cubes.end(), heap);
    EXPECT_EQ(sorted.rbegin()->first, 999);
  }
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(PinnedAllocator, ElementsAreBuiltInTheHeapToTheLastCharacter) {
  dictionary<person> people{pinned_allocator<char>(heap)};
  people[string(long_name)].name = long_name;
  people.emplace("another name that is longer than any small buffer",
                 person{long_name, {long_name, long_name}, 7});
  for (const auto& [key, value] : people) {
    EXPECT_TRUE(segment.contains(key.data()) && segment.contains(value.name.data()));
    for (const string& alias : value.aliases) EXPECT_TRUE(segment.contains(alias.data()));
  }
  EXPECT_EQ(people.at("another name that is longer than any small buffer").age, 7u);
  people = dictionary<person>(pinned_allocator<char>(heap));
  EXPECT_EQ(string(long_name).get_allocator(), pinned_allocator<char>());
}

TEST_F(PinnedAllocator, ContainersOfTheOtherKindMayBeInsideAndOutside) {
  using text = test::text<ipcpp::allocator<char>>;
  dictionary<text> outside{pinned_allocator<char>(heap)};
  outside.emplace(long_name, long_name);
  EXPECT_TRUE(segment.contains(outside.begin()->second.data()));
  std::list<person, ipcpp::allocator<person>> inside{heap};
  inside.push_back({long_name, {long_name}, 3});
  EXPECT_TRUE(segment.contains(inside.back().name.data()) &&
              segment.contains(inside.back().aliases.front().data()));
  // In a heap that is not pinned such an element cannot be.
  std::list<person, ipcpp::allocator<person>> wrong{elsewhere.heap()};
  EXPECT_ERROR(wrong.emplace_back(), invalid_argument);
  EXPECT_TRUE(wrong.empty());
}
