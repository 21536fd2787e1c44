// Memory runs out at each single allocation of each operation, by an allocator that counts: nothing
// but std::bad_alloc comes out, the container is whole, unchanged where the standard promises that,
// and nothing is lost. And once with a heap that is really full.
#include <gtest/gtest.h>

#include <concepts>
#include <cstddef>
#include <memory>
#include <new>
#include <random>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "containers.hpp"

using namespace ipcpp::literals;

namespace {

// How many more allocations succeed; blocks that are out.
int allocations_left = -1;
int blocks_out = 0;

// As ipcpp::allocator, and fails when told to. Its pointers are offset_ptrs, it passes itself on.
template <class T>
class failing {
 public:
  using value_type = T;
  using pointer = ipcpp::offset_ptr<T>;
  using const_pointer = ipcpp::offset_ptr<const T>;
  using void_pointer = ipcpp::offset_ptr<void>;
  using const_void_pointer = ipcpp::offset_ptr<const void>;
  using is_always_equal = std::true_type;
  template <class U>
  struct rebind {
    using other = failing<U>;
  };
  static constexpr bool is_ipcpp_shareable = true;
  failing() = default;
  template <class U>
    requires(!std::same_as<U, T>)
  failing(const failing<U>&) noexcept {}
  pointer allocate(std::size_t n) {
    if (allocations_left == 0) throw std::bad_alloc();
    if (allocations_left > 0) --allocations_left;
    ++blocks_out;
    return pointer(static_cast<T*>(::operator new(n * sizeof(T))));
  }
  void deallocate(pointer p, std::size_t) noexcept {
    --blocks_out;
    ::operator delete(p.get());
  }
  template <class U>
  bool operator==(const failing<U>&) const noexcept {
    return true;
  }
};

using text = ipcpp::basic_string<char, std::char_traits<char>, failing<char>>;
using entry = std::pair<const text, text>;

// [strong]: has a change of this kind the strong guarantee?
template <class C>
bool strong(std::size_t what) {
  if constexpr (test::associative<C>) {
    return what % 10 != 7 && what % 10 != 9;
  } else if constexpr (test::forward_only<C>) {
    return what % 10 != 9;
  } else {
    switch (what % test::ways_to_change) {
      case 3:
      case 4:
      case 5:
      case 12:
      case 13:
        return test::listed<C> || std::same_as<C, ipcpp::vector<text, failing<text>>>;
      case 10:
      case 11:
      case 16:
      case 19:
        return false;
      default:
        return true;
    }
  }
}

template <class C>
struct Exhaustion : testing::Test {};
using types = testing::Types<
    ipcpp::vector<text, failing<text>>, ipcpp::deque<text, failing<text>>,
    ipcpp::list<text, failing<text>>, ipcpp::forward_list<text, failing<text>>,
    ipcpp::map<text, text, std::less<>, failing<entry>>,
    ipcpp::multimap<text, text, std::less<>, failing<entry>>,
    ipcpp::set<text, std::less<>, failing<text>>, ipcpp::multiset<text, std::less<>, failing<text>>,
    ipcpp::unordered_map<text, text, ipcpp::hash<text>, std::equal_to<>, failing<entry>>,
    ipcpp::unordered_multimap<text, text, ipcpp::hash<text>, std::equal_to<>, failing<entry>>,
    ipcpp::unordered_set<text, ipcpp::hash<text>, std::equal_to<>, failing<text>>,
    ipcpp::unordered_multiset<text, ipcpp::hash<text>, std::equal_to<>, failing<text>>>;

}  // namespace
TYPED_TEST_SUITE(Exhaustion, types);

TYPED_TEST(Exhaustion, AtEveryAllocationLeavesTheContainerWhole) {
  std::size_t failures = 0;
  const int blocks_before = blocks_out;
  for (std::size_t what = 0; what < test::ways_to_change; ++what) {
    for (const std::size_t n : {0u, 1u, 2u, 9u, 13u, 33u}) {
      for (int until = 0;; ++until) {
        ASSERT_LT(until, 1000) << "never succeeds";
        TypeParam all;
        TypeParam other;
        for (std::size_t i = 0; i < 16; ++i) test::add(all, 3 * i);
        for (std::size_t i = 0; i < 5; ++i) test::add(other, 2 * i + 1);
        const std::vector<std::string> before = test::contents(all);
        bool failed = false;
        allocations_left = until;
        try {
          test::change(all, what, n, other);
        } catch (const std::bad_alloc&) {
          failed = true;
        }
        allocations_left = -1;
        const std::vector<std::string> after = test::contents(all);
        if (failed) {
          ++failures;
          if (strong<TypeParam>(what)) {
            EXPECT_EQ(after, before) << what << ' ' << n << ' ' << until;
          }
        }
        // Whole: it can be walked, changed and copied.
        test::add(all, 77);
        EXPECT_EQ(test::contents(TypeParam(all)), test::contents(all));
        if (!failed) break;
      }
    }
  }
  EXPECT_GT(failures, 100u);
  EXPECT_EQ(blocks_out, blocks_before);
}

TYPED_TEST(Exhaustion, InAConstructorLosesNothing) {
  const int blocks_before = blocks_out;
  {
    TypeParam original;
    for (std::size_t i = 0; i < 16; ++i) test::add(original, i);
    for (const int way : {0, 1, 2}) {
      for (int until = 0;; ++until) {
        ASSERT_LT(until, 1000) << "never succeeds";
        allocations_left = until;
        try {
          if (way == 0) const TypeParam copy(original);
          if (way == 1) const TypeParam copy(original.begin(), original.end());
          if (way == 2) TypeParam() = original;
          allocations_left = -1;
          break;
        } catch (const std::bad_alloc&) {
          allocations_left = -1;
        }
      }
    }
  }
  EXPECT_EQ(blocks_out, blocks_before);
}

TEST(ExhaustionOfAHeap, LeavesEveryContainerAndTheHeapWhole) {
  const auto fill = []<class C>(std::type_identity<C>) {
    const ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1_MiB});
    const std::size_t blocks = segment.heap().statistics().blocks_in_use;
    {
      C all(segment.heap());
      std::size_t added = 0;
      try {
        for (;; ++added) test::add(all, 2 * added + 1);
      } catch (const std::bad_alloc&) {
      }
      EXPECT_GT(added, 1000u);
      EXPECT_EQ(test::contents(all).size(), added);
      EXPECT_TRUE(segment.heap().check());
      all.clear();
      test::add(all, 1);
      EXPECT_EQ(test::contents(all).size(), 1u);
    }
    EXPECT_EQ(segment.heap().statistics().blocks_in_use, blocks);
    EXPECT_TRUE(segment.heap().check());
  };
  using ipcpp::string;
  fill(std::type_identity<ipcpp::vector<string>>());
  fill(std::type_identity<ipcpp::deque<string>>());
  fill(std::type_identity<ipcpp::list<string>>());
  fill(std::type_identity<ipcpp::forward_list<string>>());
  fill(std::type_identity<ipcpp::map<string, string>>());
  fill(std::type_identity<ipcpp::multiset<string>>());
  fill(std::type_identity<ipcpp::unordered_map<string, string>>());
  fill(std::type_identity<ipcpp::unordered_multiset<string>>());
}
