#include <gtest/gtest.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

import ipcpp;

using namespace std::literals;

namespace {

enum class colour : std::uint8_t { red, green };
struct named {
  int id;
  bool operator==(const named&) const = default;
};

template <class T>
concept avalanches = requires { typename ipcpp::hash<T>::is_avalanching; };

}  // namespace

template <>
struct std::hash<named> {
  std::size_t operator()(const named& n) const noexcept { return static_cast<std::size_t>(n.id); }
};

TEST(Hash, TheValuesArePartOfTheLayout) {
  EXPECT_EQ(ipcpp::hash<int>{}(0), 0x7a7f4014f9e08e15u);
  EXPECT_EQ(ipcpp::hash<int>{}(42), 0xcc8965717b6c7ce4u);
  EXPECT_EQ(ipcpp::hash<int>{}(-1), 0x7c7fb694f5e6af55u);
  const ipcpp::hash<ipcpp::string> of;
  EXPECT_EQ(of(""), 0xd301700234a84afeu);
  EXPECT_EQ(of("abc"), 0xecf74bd83e36f1e6u);
  EXPECT_EQ(of("apples"), 0x5dbf4a662e4276dbu);
  EXPECT_EQ(of("twelve bytes"), 0xe46787fae9731730u);
  EXPECT_EQ(of("a text that is longer than any small buffer"), 0xda5a5003648c34ccu);
}

TEST(Hash, AStringHashesAsItsView) {
  for (std::size_t n = 0; n < 200; ++n) {
    const std::string text(n, 'x');
    EXPECT_EQ(ipcpp::hash<ipcpp::string>{}(text), ipcpp::hash<std::string_view>{}(text));
    EXPECT_EQ(std::hash<ipcpp::string>{}(ipcpp::string(text)), ipcpp::hash<ipcpp::string>{}(text));
  }
  EXPECT_EQ(ipcpp::hash<ipcpp::string>{}("abc"),
            ipcpp::hash<ipcpp::string>{}(ipcpp::string("abc")));
  static_assert(requires { typename ipcpp::hash<ipcpp::string>::is_transparent; });
}

TEST(Hash, EveryByteAndTheLengthCount) {
  std::set<std::size_t> seen;
  for (std::size_t n = 0; n < 100; ++n) {
    std::string text(n, '\0');
    EXPECT_TRUE(seen.insert(ipcpp::hash<std::string_view>{}(text)).second) << n;
    for (std::size_t i = 0; i < n; ++i) {
      text[i] = 1;
      EXPECT_TRUE(seen.insert(ipcpp::hash<std::string_view>{}(text)).second) << n << ' ' << i;
      text[i] = 0;
    }
  }
}

TEST(Hash, NumbersInARowSpreadInTheLowestAndHighestBits) {
  std::set<std::size_t> low;
  std::set<std::size_t> high;
  for (std::uint64_t i = 0; i < 1024; ++i) {
    low.insert(ipcpp::hash<std::uint64_t>{}(i << 20) % 4096);
    high.insert(ipcpp::hash<std::uint64_t>{}(i) >> 52);
  }
  EXPECT_GT(low.size(), 800u);
  EXPECT_GT(high.size(), 800u);
}

TEST(Hash, EqualNumbersHashEqually) {
  EXPECT_EQ(ipcpp::hash<double>{}(0.0), ipcpp::hash<double>{}(-0.0));
  EXPECT_NE(ipcpp::hash<double>{}(1.0), ipcpp::hash<double>{}(2.0));
  EXPECT_EQ(ipcpp::hash<colour>{}(colour::green), ipcpp::hash<int>{}(1));
  EXPECT_EQ(ipcpp::hash<std::int32_t>{}(-1), ipcpp::hash<std::int64_t>{}(-1));
}

TEST(Hash, PairsTuplesAndArraysAreHashedByTheirParts) {
  using pair = std::pair<int, ipcpp::string>;
  EXPECT_EQ(ipcpp::hash<pair>{}({1, "one"}), ipcpp::hash<pair>{}({1, "one"}));
  EXPECT_NE(ipcpp::hash<pair>{}({1, "one"}), ipcpp::hash<pair>{}({2, "one"}));
  EXPECT_NE((ipcpp::hash<std::pair<int, int>>{}({1, 2})),
            (ipcpp::hash<std::pair<int, int>>{}({2, 1})));
  EXPECT_EQ((ipcpp::hash<std::tuple<int, int>>{}({1, 2})),
            (ipcpp::hash<std::array<int, 2>>{}({1, 2})));
}

TEST(Hash, OtherTypesUseTheirStdHash) {
  EXPECT_EQ(ipcpp::hash<named>{}({7}), 7u);
  static_assert(!avalanches<named> && avalanches<int> && avalanches<ipcpp::string>);
}
