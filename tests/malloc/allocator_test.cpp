#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <forward_list>
#include <functional>
#include <iterator>
#include <limits>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "aware.hpp"

import ipcpp;
import ipcpp.platform;

using ipcpp::allocator;
using namespace ipcpp::literals;
namespace platform = ipcpp::platform;

namespace {

template <class T>
using vector = std::vector<T, allocator<T>>;
template <class T>
using list = std::list<T, allocator<T>>;
template <class K, class V>
using map = std::map<K, V, std::less<>, allocator<std::pair<const K, V>>>;
using text = test::text<allocator<char>>;
using fragile = test::fragile<allocator<char>>;

constexpr const char* long_name = "a name that is longer than any small buffer";
constexpr const char* long_street = "a street whose name is longer than any small buffer";

struct address {
  text street;
  std::uint32_t number = 0;
};
struct person {
  text name;
  vector<address> homes;
};

struct Allocator : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 8_MiB});
  ipcpp::heap& heap = segment.heap();
  std::size_t blocks_at_start = heap.statistics().blocks_in_use;

  std::size_t blocks() const { return heap.statistics().blocks_in_use - blocks_at_start; }
  bool shared(const text& t) const { return segment.contains(t.data()); }
  bool shared(const address& a) const { return shared(a.street); }
  bool shared(const person& p) const {
    return shared(p.name) && p.homes.get_allocator() == allocator<char>(heap) &&
           std::all_of(p.homes.begin(), p.homes.end(), [&](const address& a) { return shared(a); });
  }
};
using AllocatorElements = Allocator;

// libstdc++ 15 and 16 lose the nodes when lists with pointers of their own are swapped or sorted:
// std::__list::_Node_base::swap in bits/stl_list.h takes the first list's address for the second's.
#ifdef _LIBCPP_VERSION
constexpr bool lists_can_be_swapped = true;
#else
constexpr bool lists_can_be_swapped = false;
#endif

template <class T>
concept has_construct = requires(allocator<T> a, T* p) { a.construct(p); };

}  // namespace

// ---- the requirements ----

TEST_F(Allocator, ItMeetsTheRequirementsOnAllocators) {
  using A = allocator<int>;
  using B = allocator<double>;
  using traits = std::allocator_traits<A>;
  static_assert(std::same_as<traits::value_type, int>);
  static_assert(std::same_as<traits::pointer, ipcpp::offset_ptr<int>>);
  static_assert(std::same_as<traits::const_pointer, ipcpp::offset_ptr<const int>>);
  static_assert(std::same_as<traits::void_pointer, ipcpp::offset_ptr<void>>);
  static_assert(std::same_as<traits::const_void_pointer, ipcpp::offset_ptr<const void>>);
  static_assert(std::same_as<traits::rebind_alloc<double>, B>);
  static_assert(std::same_as<std::allocator_traits<B>::rebind_alloc<int>, A>);
  static_assert(std::same_as<traits::size_type, std::size_t> &&
                std::same_as<traits::difference_type, std::ptrdiff_t>);
  static_assert(!traits::propagate_on_container_copy_assignment::value &&
                !traits::propagate_on_container_move_assignment::value &&
                !traits::propagate_on_container_swap::value && !traits::is_always_equal::value);
  static_assert(std::is_nothrow_default_constructible_v<A> &&
                std::is_nothrow_copy_constructible_v<A> &&
                std::is_nothrow_move_constructible_v<A> && std::is_nothrow_copy_assignable_v<A> &&
                std::is_nothrow_constructible_v<A, const B&>);
  static_assert(noexcept(A() == A()) && noexcept(A() != B()));
  static_assert(ipcpp::shareable<A> && ipcpp::shareable<vector<int>> && ipcpp::shareable<person>);
  static_assert(!ipcpp::message<person>);
  [[maybe_unused]] allocator<void> of_nothing;

  const A a(heap);
  A copy(a);
  EXPECT_EQ(copy, a);
  const A moved(std::move(copy));
  EXPECT_EQ(moved, a);
  EXPECT_EQ(copy, a);
  const B b(a);
  EXPECT_EQ(A(b), a);
  EXPECT_TRUE(b == a && !(b != a));
}

TEST_F(Allocator, ItsPointersAreNullablePointers) {
  using P = allocator<int>::pointer;
  using VP = allocator<int>::void_pointer;
  static_assert(std::equality_comparable<P> && std::is_nothrow_swappable_v<P> && std::copyable<P> &&
                std::default_initializable<P>);
  static_assert(noexcept(P(nullptr)) && noexcept(std::declval<P&>() = nullptr));
  static_assert(std::convertible_to<P, allocator<int>::const_pointer> &&
                std::convertible_to<P, VP> &&
                std::convertible_to<VP, allocator<int>::const_void_pointer>);
  static_assert(std::contiguous_iterator<P> &&
                std::contiguous_iterator<allocator<int>::const_pointer>);
  const P null{};
  EXPECT_TRUE(null == nullptr && nullptr == null && !(null != nullptr) && !null);
  EXPECT_TRUE(std::to_address(null) == nullptr && null + 0 == nullptr && null - null == 0);
  int n = 1;
  int m = 2;
  P p = std::pointer_traits<P>::pointer_to(n);
  P q = std::pointer_traits<P>::pointer_to(m);
  using std::swap;
  swap(p, q);
  EXPECT_EQ(*p, 2);
  EXPECT_EQ(*q, 1);
  EXPECT_EQ(static_cast<P>(VP(p)), p);
  EXPECT_EQ(static_cast<allocator<int>::const_pointer>(allocator<int>::const_void_pointer(p)), p);
  EXPECT_EQ(std::to_address(p), &m);
}

TEST_F(Allocator, WhatItAllocatesLiesInItsHeapAndGoesBackThere) {
  allocator<std::uint64_t> a(heap);
  const auto many = a.allocate(1000);
  const auto none = a.allocate(0);
  EXPECT_TRUE(segment.contains(many.get()) && segment.contains(&many[999]));
  EXPECT_EQ(blocks(), 2u);
  std::iota(many, many + 1000, std::uint64_t{0});
  EXPECT_EQ(many[999], 999u);
  a.deallocate(none, 0);
  allocator<std::uint64_t>(allocator<char>(heap)).deallocate(many, 1000);
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(Allocator, WithoutAHeapItUsesPrivateMemory) {
  allocator<int> a;
  EXPECT_EQ(a.header(), nullptr);
  const auto p = a.allocate(10);
  EXPECT_FALSE(segment.contains(p.get()));
  p[9] = 1;
  a.deallocate(p, 10);
  EXPECT_NE(a, allocator<int>(heap));
  EXPECT_EQ(a, allocator<double>());
}

TEST_F(Allocator, ElementsAreAlignedAsTheyAsk) {
  struct alignas(512) wide {
    std::byte bytes[512];
  };
  for (const auto& memory : {allocator<wide>(heap), allocator<wide>()}) {
    allocator<wide> a(memory);
    const auto p = a.allocate(3);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(p.get()) % 512, 0u);
    a.deallocate(p, 3);
  }
}

TEST_F(Allocator, SizesThatNoMemoryHasAreRefused) {
  allocator<std::uint64_t> a(heap);
  constexpr auto most = std::numeric_limits<std::size_t>::max();
  EXPECT_THROW((void)a.allocate(most), std::bad_array_new_length);
  EXPECT_THROW((void)a.allocate(most / 8 + 1), std::bad_array_new_length);
  EXPECT_THROW((void)allocator<std::uint64_t>().allocate(most / 4), std::bad_array_new_length);
  EXPECT_THROW((void)a.allocate(2_MiB), std::bad_alloc);
}

TEST_F(Allocator, AFullHeapLeavesTheContainerAsItWas) {
  vector<std::uint64_t> numbers(heap);
  try {
    for (;;) numbers.push_back(numbers.size());
  } catch (const std::bad_alloc&) {
  }
  EXPECT_GT(numbers.size(), 100'000u);
  EXPECT_EQ(numbers.back(), numbers.size() - 1);
  numbers = vector<std::uint64_t>(heap);
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(Allocator, OneHeapIsOneAllocatorWhoeverHoldsIt) {
  const ipcpp::segment other = ipcpp::segment::anonymous({.max_size = 1_MiB});
  EXPECT_EQ(allocator<int>(heap), allocator<char>(heap));
  EXPECT_NE(allocator<int>(heap), allocator<int>(other.heap()));
  EXPECT_EQ(allocator<int>(heap).header(), heap.header());
  EXPECT_EQ(allocator<int>(heap.header()), allocator<int>(heap));
}

// ---- containers ----

TEST_F(Allocator, AContainerKeepsItsMemoryForLife) {
  const ipcpp::segment other = ipcpp::segment::anonymous({.max_size = 1_MiB});
  const vector<int> here({1, 2, 3}, heap);
  vector<int> there({4}, other.heap());
  there = here;
  EXPECT_EQ(there.get_allocator(), allocator<int>(other.heap()));
  EXPECT_TRUE(other.contains(there.data()));
  EXPECT_EQ(there, here);
  there = vector<int>({7, 8}, heap);
  EXPECT_TRUE(other.contains(there.data()));
  EXPECT_EQ(there, (vector<int>{7, 8}));
  vector<int> also_there({9}, other.heap());
  swap(there, also_there);
  EXPECT_EQ(there.front(), 9);
}

TEST_F(Allocator, ACopyIsPrivateUnlessToldOtherwiseAndAMoveTakesTheMemoryAlong) {
  vector<int> original({1, 2, 3}, heap);
  const vector<int> copy(original);
  EXPECT_FALSE(segment.contains(copy.data()));
  const vector<int> told(original, heap);
  EXPECT_TRUE(segment.contains(told.data()));
  const int* const data = std::to_address(original.begin());
  const vector<int> moved(std::move(original));
  EXPECT_EQ(std::to_address(moved.begin()), data);
  EXPECT_EQ(moved.get_allocator(), allocator<int>(heap));
}

namespace {

template <class Container>
struct Containers : Allocator {};
using containers = testing::Types<vector<int>, std::deque<int, allocator<int>>, list<int>,
                                  std::set<int, std::less<>, allocator<int>>,
                                  std::multiset<int, std::greater<>, allocator<int>>>;

}  // namespace
TYPED_TEST_SUITE(Containers, containers);

TYPED_TEST(Containers, AllOfItLiesInTheHeapAndGoesWithIt) {
  {
    TypeParam numbers(this->heap);
    for (int i = 0; i < 3000; ++i) numbers.insert(numbers.end(), i * 7919 % 3000);
    EXPECT_EQ(numbers.size(), 3000u);
    EXPECT_EQ(std::accumulate(numbers.begin(), numbers.end(), 0), 3000 * 2999 / 2);
    for (const int& n : numbers) ASSERT_TRUE(this->segment.contains(&n));
    numbers.erase(std::next(numbers.begin(), 100), std::prev(numbers.end(), 100));
    EXPECT_EQ(numbers.size(), 200u);
    TypeParam copy(numbers, this->heap);
    EXPECT_EQ(copy, numbers);
    copy.clear();
    copy = numbers;
    EXPECT_TRUE(std::equal(copy.begin(), copy.end(), numbers.begin()));
    TypeParam moved(std::move(copy), this->heap);
    EXPECT_EQ(moved, numbers);
    if (lists_can_be_swapped || !std::same_as<TypeParam, list<int>>) swap(moved, numbers);
    EXPECT_EQ(moved, numbers);
    EXPECT_GT(this->blocks(), 0u);
  }
  EXPECT_EQ(this->blocks(), 0u);
}

// Two mappings of one object: what one of them builds, the other reads at other addresses.
TYPED_TEST(Containers, AnotherMappingReadsTheSame) {
  platform::mapping here =
      platform::mapping::map(platform::shared_object::create({.capacity_bytes = 4_MiB}));
  platform::mapping there = platform::mapping::map(here.object().again());
  ipcpp::object_source source(here);
  ipcpp::heap own = ipcpp::heap::create(source);
  auto* const place = static_cast<std::byte*>(own.allocate(sizeof(TypeParam)));
  auto* const numbers = new (place) TypeParam(own);
  for (int i = 0; i < 1000; ++i) numbers->insert(numbers->end(), i * 7919 % 1000);

  std::size_t end = 0;
  own.visit([&](const ipcpp::block_info& block) {
    const auto* const behind = static_cast<const std::byte*>(block.address) + block.bytes;
    if (block.in_use) end = std::max(end, static_cast<std::size_t>(behind - here.base()));
  });
  ASSERT_TRUE(there.adopt(end));
  auto& theirs = *reinterpret_cast<TypeParam*>(there.base() + (place - here.base()));
  ASSERT_NE(&theirs, numbers);
  ASSERT_EQ(theirs.size(), 1000u);
  EXPECT_TRUE(std::equal(theirs.begin(), theirs.end(), numbers->begin(), numbers->end()));
  EXPECT_EQ(std::distance(theirs.rbegin(), theirs.rend()), 1000);
  const auto* const first = reinterpret_cast<const std::byte*>(&*theirs.begin());
  EXPECT_TRUE(first >= there.base() && first < there.base() + 4_MiB);
  std::destroy_at(numbers);
  own.deallocate(place);
}

// A library may ask an empty vector's null pointers for their addresses, to move nothing from there.
TEST_F(Allocator, TheFirstElementOfAnEmptyVectorIsNotOverwritten) {
  for (int n = 1; n < 5; ++n) {
    vector<std::uint8_t> bytes(heap);
    vector<std::uint8_t> inserted(heap);
    for (int i = 0; i < n; ++i) {
      bytes.push_back(0x77);
      inserted.insert(inserted.end(), 0x77);
    }
    EXPECT_EQ(bytes, vector<std::uint8_t>(static_cast<std::size_t>(n), 0x77));
    EXPECT_EQ(inserted, bytes);
  }
}

TEST_F(Allocator, ListsCanBeMergedSplicedAndReversed) {
  list<int> a({1, 3, 5}, heap);
  list<int> b({2, 4, 6}, heap);
  a.merge(b);
  EXPECT_TRUE(std::is_sorted(a.begin(), a.end()) && a.size() == 6 && b.empty());
  b.splice(b.begin(), a, std::next(a.begin(), 2), a.end());
  a.reverse();
  EXPECT_EQ(a, (list<int>{2, 1}));
  if (lists_can_be_swapped) {
    a.swap(b);
    a.sort(std::greater<>());
    EXPECT_EQ(a, (list<int>{6, 5, 4, 3}));
    a.swap(b);
  }
  std::forward_list<int, allocator<int>> forward({3, 1, 2}, heap);
  forward.sort();
  forward.push_front(0);
  forward.remove(2);
  EXPECT_EQ(forward, (std::forward_list<int, allocator<int>>{0, 1, 3}));
  for (const int& n : forward) EXPECT_TRUE(segment.contains(&n));
}

TEST_F(Allocator, MapsCanBeSearchedAndTheirNodesMoved) {
  map<int, int> squares{allocator<int>(heap)};
  for (int i = 0; i < 1000; ++i) squares.emplace(i, i * i);
  EXPECT_EQ(squares.at(30), 900);
  EXPECT_EQ(squares.lower_bound(500)->first, 500);
  EXPECT_EQ(squares.erase(500), 1u);
  map<int, int> others{allocator<int>(heap)};
  others.insert(squares.extract(7));
  EXPECT_EQ(others.begin()->second, 49);
  others.merge(squares);
  EXPECT_TRUE(squares.empty());
  EXPECT_EQ(others.size(), 999u);
}

#ifdef _LIBCPP_VERSION
TEST_F(Allocator, UnorderedContainersOfThisLibraryHonourItsPointers) {
  using table = std::unordered_map<int, int, std::hash<int>, std::equal_to<>,
                                   allocator<std::pair<const int, int>>>;
  table cubes(allocator<int>{heap});
  for (int i = 0; i < 1000; ++i) cubes[i] = i * i * i;
  EXPECT_EQ(cubes.at(9), 729);
  for (const auto& entry : cubes) ASSERT_TRUE(segment.contains(&entry));
  cubes.erase(9);
  EXPECT_FALSE(cubes.contains(9));
}
#endif

TEST_F(Allocator, BitsArePackedThere) {
  std::vector<bool, allocator<bool>> bits(1000, false, heap);
  bits[999] = true;
  bits.resize(100'000, true);
  EXPECT_TRUE(bits[999] && bits[99'999] && !bits[998]);
  EXPECT_GT(blocks(), 0u);
}

// ---- elements ----

TEST_F(AllocatorElements, ThoseThatTakeAnAllocatorGetIt) {
  vector<text> names(heap);
  names.push_back(long_name);
  names.emplace_back("another name that is longer than any small buffer");
  names.resize(10);
  names.insert(names.begin(), text(long_street));
  for (const text& name : names) EXPECT_EQ(name.get_allocator(), allocator<char>(heap));
  EXPECT_TRUE(shared(names[0]) && shared(names[1]) && shared(names[2]));
  EXPECT_EQ(names[1].view(), long_name);

  vector<vector<vector<int>>> deep(heap);
  deep.resize(2);
  deep[1].resize(2);
  deep[1][1].assign({1, 2, 3});
  EXPECT_TRUE(segment.contains(deep[1][1].data()));
}

TEST_F(AllocatorElements, GrowthMovesThemAndDoesNotCopy) {
  vector<person> people(heap);
  people.push_back({long_name, {}});
  const char* const name = people.front().name.data();
  for (int i = 0; i < 100; ++i) people.emplace_back();
  EXPECT_EQ(people.front().name.data(), name);
  people.erase(people.begin() + 1, people.end());
  people.shrink_to_fit();
  EXPECT_EQ(people.front().name.data(), name);
}

TEST_F(AllocatorElements, PairsAndTuplesPassItOn) {
  map<text, text> words{allocator<char>(heap)};
  words[long_name] = long_street;
  words.emplace("emplaced, and longer than any small buffer", long_street);
  words.emplace(std::piecewise_construct,
                std::forward_as_tuple("piecewise, longer than any buffer"),
                std::forward_as_tuple(long_street));
  words.try_emplace(text("tried, and longer than any small buffer"), long_street);
  words.insert({"inserted, and longer than any small buffer", long_street});
  words.insert(
      std::pair<const char*, const char*>("converted, longer than any buffer", long_street));
  EXPECT_EQ(words.size(), 6u);
  for (const auto& [key, value] : words) EXPECT_TRUE(shared(key) && shared(value)) << key.view();

  vector<std::tuple<text, int, text>> rows(heap);
  rows.emplace_back(long_name, 1, long_street);
  rows.push_back(rows.front());
  for (const auto& row : rows) EXPECT_TRUE(shared(std::get<0>(row)) && shared(std::get<2>(row)));
}

TEST_F(AllocatorElements, StructsAreBuiltFieldByField) {
  list<person> people(heap);
  people.push_back({long_name, {}});
  people.back().homes.push_back({long_street, 7});
  EXPECT_TRUE(shared(people.back()));
  EXPECT_EQ(people.back().name.view(), long_name);
  EXPECT_EQ(people.back().homes.front().number, 7u);

  const person temporary{long_name, {{long_street, 1}, {long_street, 2}}};
  EXPECT_FALSE(shared(temporary.name));
  people.push_back(temporary);                      // copied
  people.push_back(person(temporary));              // moved
  people.emplace_back(long_name, temporary.homes);  // from what the braces would take
  people.emplace_back(long_name);                   // or the first of it
  people.emplace_back().name = long_name;           // from nothing
  people.insert(people.begin(), 2, temporary);
  people.resize(10);
  for (const person& p : people) EXPECT_TRUE(shared(p) || p.name.view().empty());
  EXPECT_EQ(std::next(people.begin(), 3)->homes[1].street.view(), long_street);

  if (lists_can_be_swapped)
    people.sort([](const person& a, const person& b) { return a.homes.size() < b.homes.size(); });
  vector<person> row(people.begin(), people.end(), heap);
  std::sort(row.begin(), row.end(),
            [](const person& a, const person& b) { return b.homes.size() < a.homes.size(); });
  for (const person& p : row) EXPECT_TRUE(shared(p) || p.name.view().empty());
  people.clear();
  row.clear();
  row.shrink_to_fit();
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(AllocatorElements, StructsInPairsAndTuplesAreToo) {
  map<text, person> book{allocator<char>(heap)};
  const person value{long_name, {{long_street, 1}}};
  book["subscripted, and longer than any small buffer"] = value;
  book[text("the same with a temporary, longer than any buffer")].name = long_name;
  book.emplace("emplaced, and longer than any small buffer", value);
  book.emplace("moved, and longer than any small buffer", person(value));
  book.emplace(std::piecewise_construct, std::forward_as_tuple("piecewise, longer than any buffer"),
               std::forward_as_tuple(long_name, value.homes));
  book.insert({"inserted, and longer than any small buffer", value});
  book.insert(std::pair<const char*, person>("converted, longer than any buffer", value));
  book.insert_or_assign("assigned, and longer than any small buffer", value);
  book.try_emplace("tried, and longer than any small buffer", long_name);
  EXPECT_EQ(book.size(), 9u);
  for (const auto& [key, entry] : book) EXPECT_TRUE(shared(key) && shared(entry)) << key.view();
  const map<text, person> copy(book, allocator<char>(heap));
  for (const auto& [key, entry] : copy) EXPECT_TRUE(shared(key) && shared(entry)) << key.view();

  person lvalue = value;
  vector<std::pair<int, person>> pairs(heap);
  pairs.emplace_back(std::pair<int, person&>(1, lvalue));  // a reference is copied from, not moved
  EXPECT_EQ(lvalue.name.view(), long_name);
  pairs.emplace_back();
  EXPECT_TRUE(shared(pairs.front().second));

  vector<std::tuple<int, person, person>> rows(heap);
  rows.emplace_back(1, value, value);
  rows.push_back(rows.front());
  rows.emplace_back();
  rows.push_back({2, value, value});
  for (const auto& [number, a, b] : rows) EXPECT_TRUE(number == 0 || (shared(a) && shared(b)));
}

TEST_F(AllocatorElements, ArraysOfThemAreToo) {
  struct board {
    text lines[2][2];
    std::array<person, 2> players;
    char title[64] = "untitled";
    std::array<text, 0> none;
  };
  vector<board> boards(heap);
  board& made = boards.emplace_back();
  EXPECT_STREQ(made.title, "untitled");
  made.lines[1][1] = long_name;
  made.players[1].name = long_name;
  EXPECT_TRUE(shared(made.lines[1][1]) && shared(made.players[1].name));
  const board temporary{{{long_name, long_name}, {long_name, long_name}},
                        {{{long_name, {}}, {long_name, {}}}},
                        "a title",
                        {}};
  boards.push_back(temporary);
  boards.push_back(board(temporary));
  for (std::size_t i = 1; i < 3; ++i) {
    EXPECT_STREQ(boards[i].title, "a title");
    for (const auto& line : boards[i].lines)
      for (const text& cell : line) EXPECT_TRUE(shared(cell) && cell.view() == long_name);
    for (const person& player : boards[i].players) EXPECT_TRUE(shared(player));
  }
  vector<std::array<text, 3>> triples(heap);
  triples.push_back({long_name, long_name, long_name});
  triples.emplace_back();
  EXPECT_TRUE(shared(triples.front()[2]));
}

TEST_F(AllocatorElements, DefaultMemberInitialisersAreKept) {
  struct settings {
    text name = "a default that is longer than any small buffer";
    int level = 5;
    const text fixed = "a constant that is longer than any small buffer";
    person owner{long_name, {{long_street, 3}}};
  };
  list<settings> all(heap);
  for (const settings* s :
       {&all.emplace_back(), &all.emplace_back("a given name, long as it is")}) {
    EXPECT_EQ(s->level, 5);
    EXPECT_EQ(s->fixed.view(), "a constant that is longer than any small buffer");
    EXPECT_TRUE(shared(s->name) && shared(s->fixed) && shared(s->owner));
  }
  EXPECT_EQ(all.front().name.view(), "a default that is longer than any small buffer");
  EXPECT_EQ(all.back().name.view(), "a given name, long as it is");
}

namespace {

// As a lock around a container might be: takes an allocator, stays where it is.
class immovable {
 public:
  using allocator_type = allocator<char>;
  immovable() = default;
  explicit immovable(const allocator_type& memory) : text_(long_name, memory) {}
  immovable(immovable&&) = delete;
  const text& inside() const { return text_; }

 private:
  text text_;
};
struct account {
  std::atomic<int> balance = 5;
  text owner = long_name;
  immovable journal;
};
struct [[maybe_unused]] nothing {};
struct overlapping {
  text name;
  [[no_unique_address]] nothing tag;
  char letter = 'x';
};

}  // namespace

template <>
inline constexpr bool ipcpp::vouched_shareable<std::atomic<int>> = true;

TEST_F(AllocatorElements, FieldsThatCannotMoveAreMadeInPlace) {
  list<account> accounts(heap);
  const account& a = accounts.emplace_back();
  EXPECT_EQ(a.balance.load(), 5);
  EXPECT_TRUE(shared(a.owner) && shared(a.journal.inside()));
  EXPECT_EQ(a.journal.inside().view(), long_name);
}

TEST_F(AllocatorElements, FieldsWithoutBytesTouchNoOthers) {
  vector<overlapping> all(heap);
  all.push_back({long_name, {}, 'y'});
  all.emplace_back();
  all.push_back(all.front());
  EXPECT_EQ(all[0].letter, 'y');
  EXPECT_EQ(all[1].letter, 'x');
  EXPECT_EQ(all[2].letter, 'y');
}

TEST_F(AllocatorElements, PlainOnesAreCopiedAsBytes) {
  struct point {
    double x, y;
  };
  // No construct() of ours stands between the container and memmove.
  using traits = std::allocator_traits<allocator<point>>;
  static_assert(!has_construct<point> && !has_construct<char> && has_construct<text>);
  vector<point> points(heap);
  points.emplace_back(1.0, 2.0);
  allocator<point> a(heap);
  traits::construct(a, &points.front(), 3.0, 4.0);
  EXPECT_EQ(points.front().y, 4.0);
}

TEST_F(AllocatorElements, AFailureLeavesNothingBehind) {
  struct crate {
    fragile first;
    fragile pair[2];
    std::pair<const fragile, int> both;
    std::array<fragile, 2> more;
    struct inner {
      fragile deep;
      std::tuple<fragile, int> row;
    } nested;
  };
  using crates = list<crate>;
  fragile::living = 0;
  {
    const crate original{};
    const int in_one = fragile::living;
    const auto every_failure = [&](auto&& add) {
      for (int until = 0;; ++until) {
        ASSERT_LT(until, 100) << "never succeeds";
        crates all(heap);
        fragile::until_failure = until;
        try {
          add(all);
          fragile::until_failure = -1;
          EXPECT_EQ(fragile::living, 2 * in_one);
          return;
        } catch (const std::runtime_error&) {
          fragile::until_failure = -1;
          EXPECT_TRUE(all.empty());
          EXPECT_EQ(fragile::living, in_one) << until;
          all.~crates();
          EXPECT_EQ(blocks(), 0u) << until;
          new (&all) crates(heap);
        }
      }
    };
    every_failure([&](crates& all) { all.push_back(original); });
    every_failure([&](crates& all) { all.emplace_back(); });
    every_failure([&](crates& all) { all.emplace_back(original.first); });
    every_failure([&](crates& all) { all.emplace_back(crate(original)); });
  }
  EXPECT_EQ(fragile::living, 0);
  EXPECT_EQ(blocks(), 0u);
}

TEST_F(AllocatorElements, AFullHeapIsABadAllocHoweverDeep) {
  list<person> people(heap);
  const person temporary{long_name, {{long_street, 1}, {long_street, 2}}};
  try {
    for (;;) people.push_back(temporary);
  } catch (const std::bad_alloc&) {
  }
  EXPECT_GT(people.size(), 5'000u);
  for (const person& p : people) ASSERT_TRUE(shared(p) && p.homes.size() == 2);
  people.clear();
  EXPECT_EQ(blocks(), 0u);
}
