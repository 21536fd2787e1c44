// What a container in a segment keeps is there to the last byte: however it was filled, from
// temporaries, braces, copies or moves, no block of private memory is held in the end. This program
// counts those.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

import ipcpp;

using namespace ipcpp::literals;

namespace {

std::atomic<long> private_blocks = 0;

void* counted(std::size_t bytes, std::size_t alignment) {
#ifdef _WIN32
  void* const block = alignment <= 16 ? std::malloc(bytes == 0 ? 1 : bytes) : nullptr;
#else
  void* const block =
      alignment <= 16
          ? std::malloc(bytes == 0 ? 1 : bytes)
          : std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
#endif
  if (block == nullptr) throw std::bad_alloc();
  ++private_blocks;
  return block;
}
void* counted_or_null(std::size_t bytes, std::size_t alignment = 1) noexcept {
  try {
    return counted(bytes, alignment);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void uncounted(void* block) noexcept {
  if (block == nullptr) return;
  --private_blocks;
  std::free(block);
}

}  // namespace

void* operator new(std::size_t bytes) {
  return counted(bytes, 1);
}
void* operator new[](std::size_t bytes) {
  return counted(bytes, 1);
}
// These need not come to those above: the address sanitizer's do not.
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
  return counted_or_null(bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
  return counted_or_null(bytes);
}
void operator delete(void* block) noexcept {
  uncounted(block);
}
void operator delete[](void* block) noexcept {
  uncounted(block);
}
void operator delete(void* block, std::size_t) noexcept {
  uncounted(block);
}
void operator delete[](void* block, std::size_t) noexcept {
  uncounted(block);
}
void operator delete(void* block, const std::nothrow_t&) noexcept {
  uncounted(block);
}
void operator delete[](void* block, const std::nothrow_t&) noexcept {
  uncounted(block);
}
#ifndef _WIN32
void operator delete(void* block, std::align_val_t, const std::nothrow_t&) noexcept {
  uncounted(block);
}
void operator delete[](void* block, std::align_val_t, const std::nothrow_t&) noexcept {
  uncounted(block);
}
void* operator new(std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment) {
  return counted(bytes, static_cast<std::size_t>(alignment));
}
void* operator new(std::size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return counted_or_null(bytes, static_cast<std::size_t>(alignment));
}
void* operator new[](std::size_t bytes, std::align_val_t alignment,
                     const std::nothrow_t&) noexcept {
  return counted_or_null(bytes, static_cast<std::size_t>(alignment));
}
void operator delete(void* block, std::align_val_t) noexcept {
  uncounted(block);
}
void operator delete[](void* block, std::align_val_t) noexcept {
  uncounted(block);
}
void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
  uncounted(block);
}
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept {
  uncounted(block);
}
#endif

namespace {

using ipcpp::string;

constexpr const char* long_name = "a name that is longer than any small buffer";
constexpr const char* long_street = "a street whose name is longer than any small buffer";

struct address {
  string street;
  std::uint32_t number = 0;
};
struct person {
  string name;
  ipcpp::vector<address> homes;
  ipcpp::map<string, ipcpp::list<string>> notes;
  std::array<string, 2> titles;
  string nicknames[2];
};

struct NothingPrivate : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 8_MiB});
  ipcpp::heap& heap = segment.heap();

  // Makes a C in the segment, fills it, and lets nothing but it stay.
  template <class C, class F>
  void expect(F fill) {
    auto* const place = static_cast<C*>(heap.allocate(sizeof(C)));
    // What this thread notes privately about the heap's slabs is noted in a first round.
    fill(*new (place) C(heap));
    std::destroy_at(place);
    const long before = private_blocks;
    const std::size_t shared = heap.statistics().blocks_in_use;
    C* const made = new (place) C(heap);
    const long empty = private_blocks;
    fill(*made);
    const long filled = private_blocks;
    EXPECT_EQ(empty, before);
    EXPECT_EQ(filled, before);
    EXPECT_GT(heap.statistics().blocks_in_use, shared);
    std::destroy_at(made);
    EXPECT_EQ(heap.statistics().blocks_in_use, shared);
    EXPECT_EQ(private_blocks, before);
    heap.deallocate(place);
  }

  static person someone() {
    return {long_name,
            {{long_street, 1}, {long_street, 2}},
            {{long_name, {long_street, "x"}}},
            {{long_name, long_street}},
            {long_name, long_street}};
  }
};

}  // namespace

TEST_F(NothingPrivate, InSequences) {
  const auto fill = [](auto& people) {
    people.push_back(someone());
    const person copied = someone();
    people.push_back(copied);
    people.emplace_back();
    people.emplace_back(long_name);
    people.back().homes.push_back({long_street, 3});
    people.back() = copied;
    people.back() = someone();
    people.insert(people.begin(), someone());
    people.insert(people.begin(), 3, copied);
    people.insert(people.end(), {copied, copied});
    people.resize(20);
    for (person& one : people) one.notes[long_name].push_back(long_name);
    people.erase(people.begin());
    auto copy = people;
    people = copy;
    people = std::move(copy);
    std::remove_reference_t<decltype(people)> other;
    other.push_back(someone());
    swap(people, other);
    people.insert(people.end(), other.begin(), other.end());
  };
  expect<ipcpp::vector<person>>(fill);
  expect<ipcpp::deque<person>>(fill);
  expect<ipcpp::list<person>>(fill);
  expect<ipcpp::forward_list<person>>([](auto& people) {
    people.push_front(someone());
    people.insert_after(people.begin(), 3, someone());
    people.resize(10);
    auto copy = people;
    people = std::move(copy);
  });
}

TEST_F(NothingPrivate, InMaps) {
  const auto fill = [](auto& book) {
    book[long_name] = someone();
    book["short"].homes.push_back({long_street, 1});
    book[string("moved, and longer than any small buffer")] = someone();
    book.insert({"inserted, and longer than any small buffer", someone()});
    book.emplace("emplaced, and longer than any small buffer", someone());
    book.emplace(std::piecewise_construct, std::forward_as_tuple(50, 'x'),
                 std::forward_as_tuple(long_name));
    book.try_emplace("tried, and longer than any small buffer", long_name);
    book.insert_or_assign(long_name, someone());
    auto copy = book;
    copy["copied, and longer than any small buffer"] = someone();
    book.merge(copy);
    book = copy;
    book = std::move(copy);
    auto handle = book.extract(long_name);
    handle.key() = "renamed, and longer than any small buffer";
    book.insert(std::move(handle));
    std::remove_reference_t<decltype(book)> other;
    other[long_name] = someone();
    swap(book, other);
    book.insert(other.begin(), other.end());
    book.insert(other.extract(other.begin()));
  };
  expect<ipcpp::map<string, person>>(fill);
  expect<ipcpp::unordered_map<string, person>>(fill);
}

TEST_F(NothingPrivate, InPairsAndTuplesAtAnyDepth) {
  using deep = ipcpp::unordered_map<
      string, ipcpp::vector<std::pair<string, ipcpp::deque<std::tuple<int, string, person>>>>>;
  expect<deep>([](deep& all) {
    for (int i = 0; i < 10; ++i) {
      auto& row = all[std::string(40, static_cast<char>('a' + i))];
      row.emplace_back();
      row.push_back({long_name, {}});
      row.back().second.emplace_back(i, long_name, someone());
      row.back().second.push_back({i, long_name, someone()});
    }
    const deep copy = all;
    all.clear();
    all = copy;
  });
}

TEST_F(NothingPrivate, InStrings) {
  expect<string>([](string& text) {
    text = long_name;
    text = std::string(100, 'x');
    text += string(long_name) + long_street;
    string other(long_street);
    swap(text, other);
    text = other + other;
    text = other.substr(1);
  });
}
