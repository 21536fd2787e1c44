#include <gtest/gtest.h>

#include <algorithm>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <forward_list>
#include <functional>
#include <iterator>
#include <list>
#include <memory>
#include <new>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

import ipcpp;

using ipcpp::string;
using namespace std::literals;
using namespace ipcpp::literals;

namespace {

constexpr const char* long_text = "a text that is longer than any small buffer";

struct String : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 8_MiB});
  ipcpp::heap& heap = segment.heap();
  std::size_t blocks_at_start = heap.statistics().blocks_in_use;

  std::size_t blocks() const { return heap.statistics().blocks_in_use - blocks_at_start; }
};

}  // namespace

TEST_F(String, ShortOnesNeedNoBlockAndLongOnesOne) {
  string text(heap);
  for (std::size_t n = 0; n < 100; ++n) {
    EXPECT_EQ(text.size(), n);
    EXPECT_EQ(text.c_str()[n], '\0');
    EXPECT_EQ(blocks(), n > 23 ? 1u : 0u) << n;
    EXPECT_EQ(std::string(text), std::string(n, 'x'));
    text.push_back('x');
  }
  EXPECT_TRUE(segment.contains(text.data()));
  text.resize(10);
  text.shrink_to_fit();
  EXPECT_EQ(blocks(), 0u);
  EXPECT_EQ(text, "xxxxxxxxxx");
}

TEST_F(String, ItIsMadeOfWhatAStdStringIsMadeOf) {
  const std::vector<char> row{'r', 'o', 'w'};
  const std::list<char> chain{'l', 'i', 's', 't'};
  std::istringstream stream("a stream");
  const string original(long_text);
  EXPECT_EQ(string(), "");
  EXPECT_EQ(string("abc"), "abc");
  EXPECT_EQ(string("abcdef", 3), "abc");
  EXPECT_EQ(string(3, 'x'), "xxx");
  EXPECT_EQ(string("abc"sv), "abc");
  EXPECT_EQ(string("abc"s), "abc");
  EXPECT_EQ(string("abcdef"sv, 1, 3), "bcd");
  EXPECT_EQ(string(row.begin(), row.end()), "row");
  EXPECT_EQ(string(chain.begin(), chain.end()), "list");
  EXPECT_EQ(string(std::istreambuf_iterator<char>(stream), {}), "a stream");
  EXPECT_EQ((string{'a', 'b'}), "ab");
  EXPECT_EQ(string(original), long_text);
  EXPECT_EQ(string(original, 2), long_text + 2);
  EXPECT_EQ(string(original, 2, 4), "text");
  EXPECT_EQ(string(string(long_text)), long_text);
  EXPECT_THROW(string(original, 1000), std::out_of_range);
  static_assert(!std::is_constructible_v<string, std::nullptr_t>);
  static_assert(std::is_nothrow_default_constructible_v<string> &&
                std::is_nothrow_move_constructible_v<string>);
  static_assert(sizeof(string) == 32 && ipcpp::shareable<string>);
  static_assert(sizeof(ipcpp::u32string) == 32 && sizeof(ipcpp::wstring) == 32);
}

TEST_F(String, ACopyIsPrivateAndAMoveTakesTheMemoryAlong) {
  string here(long_text, heap);
  const string copy(here);
  EXPECT_FALSE(segment.contains(copy.data()));
  const string told(here, heap);
  EXPECT_TRUE(segment.contains(told.data()));
  const char* const data = here.data();
  const string moved(std::move(here));
  EXPECT_EQ(moved.data(), data);
  EXPECT_TRUE(here.empty());
  string assigned(heap);
  assigned = copy;
  EXPECT_TRUE(segment.contains(assigned.data()));
  assigned = string("another text that is longer than any small buffer");
  EXPECT_TRUE(segment.contains(assigned.data()));
  EXPECT_EQ(assigned, "another text that is longer than any small buffer");
}

TEST_F(String, SwappingBetweenMemoriesLeavesEachItsOwn) {
  string here(long_text, heap);
  string there("another text that is longer than any small buffer");
  swap(here, there);
  EXPECT_EQ(there, long_text);
  EXPECT_TRUE(segment.contains(here.data()));
  EXPECT_FALSE(segment.contains(there.data()));
  string also("short", heap);
  also.swap(here);
  EXPECT_EQ(here, "short");
  EXPECT_EQ(also, "another text that is longer than any small buffer");
}

TEST_F(String, ZeroIsAnIndex) {
  string text = "bcd";
  text.insert(0, 1, 'a');
  text.insert(0, "<");
  EXPECT_EQ(text, "<abcd");
  text.erase(0, 0);
  text.replace(0, 0, "<");
  text.replace(0, 1, 0, 'x');
  EXPECT_EQ(text, "<abcd");
  text.erase(0);
  EXPECT_EQ(text, "");
}

TEST_F(String, ItComparesWithAllThatIsText) {
  const string b = "b";
  EXPECT_TRUE(b == "b" && "b" == b && b == "b"s && "b"s == b && b == "b"sv && "b"sv == b);
  EXPECT_TRUE(b != "c" && "c" != b && b != "c"s && "c"sv != b);
  EXPECT_TRUE(b < "c" && "a" < b && b > "a"s && "c"sv > b && b <= "b" && "b"s >= b);
  EXPECT_TRUE(b < string("c") && string("a") < b && b == string("b"));
  EXPECT_TRUE((b <=> "c") < 0 && b.compare("a") > 0 && b.compare(0, 1, "abc", 1, 1) == 0);
  EXPECT_TRUE(std::less<>{}(b, "c"sv) && std::equal_to<>{}("b", b));
  EXPECT_TRUE(string("ab") < string("abc"));
  EXPECT_TRUE(string("a\xFF") > string("ab"));
}

TEST_F(String, SumsArePrivateUnlessTheyTakeOverATemporary) {
  const string a(long_text, heap);
  EXPECT_FALSE(segment.contains((a + "!").data()));
  EXPECT_EQ(a + "!", std::string(long_text) + "!");
  EXPECT_EQ("<" + a + '>', "<"s + long_text + '>');
  EXPECT_EQ('<' + string("a") + string("b") + "c"s + "d"sv, "<abcd");
  EXPECT_EQ("x"sv + string("y"), "xy");
  EXPECT_TRUE(segment.contains((string(long_text, heap) + "!").data()));
}

TEST_F(String, ItIsReadFromAndWrittenToStreams) {
  std::ostringstream out;
  out << string("words") << ' ' << string(long_text);
  EXPECT_EQ(out.str(), std::string("words ") + long_text);
  std::istringstream in("  word another,line one\nline two;three");
  string word(heap);
  in >> word;
  EXPECT_EQ(word, "word");
  getline(in, word);
  EXPECT_EQ(word, " another,line one");
  getline(in, word, ';');
  EXPECT_EQ(word, "line two");
  in >> word;
  EXPECT_FALSE(in >> word);
}

TEST_F(String, ItsPartsMayBePutIntoItself) {
  for (const std::size_t spare : {0, 1, 30, 200}) {
    const std::string start = "0123456789abcdefghijklmnopqrstuvwxyz";
    for (std::size_t from = 0; from <= start.size(); from += 3)
      for (std::size_t n = 0; n <= start.size() - from; n += 4)
        for (std::size_t by_from = 0; by_from <= start.size(); by_from += 2)
          for (std::size_t by_n = 0; by_n <= start.size() - by_from; by_n += 3) {
            string text(start, heap);
            if (spare != 0) text.reserve(start.size() + spare);
            text.replace(from, n, text.data() + by_from, by_n);
            std::string expected = start;
            expected.replace(from, n, start.substr(by_from, by_n));
            ASSERT_EQ(text, expected) << from << ' ' << n << ' ' << by_from << ' ' << by_n;
          }
  }
  string text(long_text, heap);
  text.append(text);
  text += text;
  text.insert(3, text);
  text = text.c_str() + 5;
  std::string expected = long_text;
  expected.append(std::string(expected));
  expected.append(std::string(expected));
  expected.insert(3, std::string(expected));
  expected = std::string(expected.c_str() + 5);
  EXPECT_EQ(text, expected);
}

namespace {

// One operation on both, chosen by the numbers. Returns whether both threw out_of_range alike.
template <class Text>
bool change(Text& text, const std::vector<std::size_t>& n, const std::string& by) {
  const std::size_t at = n[1] % (text.size() + 3);  // sometimes behind the end
  const std::size_t in = text.empty() ? 0 : n[1] % text.size();
  const std::size_t length = n[2] % 40;
  const std::list<char> chain(by.begin(), by.end());
  try {
    switch (n[0] % 24) {
      case 0:
        text.push_back('p');
        break;
      case 1:
        if (!text.empty()) text.pop_back();
        break;
      case 2:
        text.append(by.c_str());
        break;
      case 3:
        text.append(length, 'a');
        break;
      case 4:
        text.insert(at, by.c_str());
        break;
      case 5:
        text.insert(at, length, 'i');
        break;
      case 6:
        text.erase(at, length);
        break;
      case 7:
        text.replace(at, length, by.data(), by.size());
        break;
      case 8:
        text.replace(at, length, n[3] % 40, 'r');
        break;
      case 9:
        text.resize(length, 'z');
        break;
      case 10:
        text.assign(by.c_str());
        break;
      case 11:
        text.assign(length, 'q');
        break;
      case 12:
        text.insert(text.begin() + static_cast<std::ptrdiff_t>(in), chain.begin(), chain.end());
        break;
      case 13:
        if (!text.empty()) text.erase(text.begin() + static_cast<std::ptrdiff_t>(in));
        break;
      case 14:
        text.reserve(n[3] % 200);
        break;
      case 15:
        text.shrink_to_fit();
        break;
      case 16:
        text = text.substr(at, length);
        break;
      case 17:
        text.append(by.begin(), by.end());
        break;
      case 18:
        text.replace(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(in), chain.begin(),
                     chain.end());
        break;
      case 19:
        text.clear();
        break;
      case 20:
        text.insert(text.end(), {'l', 'i', 's', 't'});
        break;
      case 21:
        text += by;
        break;
      case 22:
        text = Text(text);
        break;
      default:
        text.append(text);
        if (text.size() > 500) text.resize(5);
        break;
    }
    return true;
  } catch (const std::out_of_range&) {
    return false;
  }
}

}  // namespace

TEST_F(String, RandomOperationsGiveWhatAStdStringGives) {
  std::mt19937 random(1);
  for (int round = 0; round < 40; ++round) {
    string ours(heap);
    std::string theirs;
    for (int i = 0; i < 500; ++i) {
      const std::vector<std::size_t> n{random(), random(), random(), random()};
      const std::string by(random() % 40, static_cast<char>('A' + i % 26));
      ASSERT_EQ(change(ours, n, by), change(theirs, n, by)) << n[0] % 24;
      ASSERT_EQ(ours, theirs) << n[0] % 24;
      ASSERT_EQ(ours.c_str()[ours.size()], '\0');
      ASSERT_GE(ours.capacity(), ours.size());
      const std::size_t from = random() % 50;
      const std::string some = by.substr(0, 2);
      ASSERT_EQ(ours.find(some, from), theirs.find(some, from));
      ASSERT_EQ(ours.rfind(some, from), theirs.rfind(some, from));
      ASSERT_EQ(ours.find_first_of("pqr", from), theirs.find_first_of("pqr", from));
      ASSERT_EQ(ours.find_last_of("pqr", from), theirs.find_last_of("pqr", from));
      ASSERT_EQ(ours.find_first_not_of("pqr", from), theirs.find_first_not_of("pqr", from));
      ASSERT_EQ(ours.find_last_not_of('p', from), theirs.find_last_not_of('p', from));
      ASSERT_EQ(ours.starts_with(some), theirs.starts_with(some));
      ASSERT_EQ(ours.ends_with(some), theirs.ends_with(some));
    }
  }
  EXPECT_EQ(blocks(), 0u);
  EXPECT_TRUE(heap.check());
}

TEST_F(String, OtherOperations) {
  string text = "a b c d";
  EXPECT_EQ(erase(text, ' '), 3u);
  EXPECT_EQ(text, "abcd");
  EXPECT_EQ(erase_if(text, [](char c) { return c > 'b'; }), 2u);
  EXPECT_EQ(text, "ab");
  char buffer[4] = {};
  EXPECT_EQ(text.copy(buffer, 3, 1), 1u);
  EXPECT_STREQ(buffer, "b");
  text.resize_and_overwrite(40, [](char* to, std::size_t n) {
    std::fill_n(to, n, 'w');
    return n / 2;
  });
  EXPECT_EQ(text, std::string(20, 'w'));
  EXPECT_TRUE(text.contains("ww") && !text.contains('x'));
  EXPECT_THROW((void)text.at(20), std::out_of_range);
  EXPECT_THROW(text.reserve(text.max_size() + 1), std::length_error);
  EXPECT_THROW(text.append(text.max_size(), 'x'), std::length_error);
  EXPECT_EQ(std::string(text.rbegin(), text.rend()), std::string(20, 'w'));
  const ipcpp::u16string wide = u"wide, and longer than any small buffer";
  EXPECT_TRUE(wide == u"wide, and longer than any small buffer"sv);
  const ipcpp::u32string wider = U"wide!";
  EXPECT_EQ(wider.size(), 5u);
  EXPECT_EQ(wider.capacity(), 5u);
  EXPECT_TRUE(wider + U"!" == U"wide!!");
}

TEST_F(String, AFullHeapLeavesItAsItWas) {
  const ipcpp::segment small = ipcpp::segment::anonymous({.max_size = 256_KiB});
  string text(small.heap());
  const auto full = [&](auto&& grow) {
    text = long_text;
    try {
      for (;;) grow();
    } catch (const std::bad_alloc&) {
    }
    const std::string before(text);
    EXPECT_THROW(grow(), std::bad_alloc);
    EXPECT_EQ(text, before);
  };
  full([&] { text.append(text); });
  full([&] { text.insert(5, text); });
  full([&] { text.replace(1, 1, text); });
  full([&] { text.push_back('x'); });
  EXPECT_TRUE(small.heap().check());
}
