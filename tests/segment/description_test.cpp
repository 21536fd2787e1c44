// What a segment keeps of a type is the same text from every compiler, and says which standard library
// where that matters. The texts are written out here: each compiler of the matrix has to make them.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

import ipcpp;

namespace desk {

enum class colour : std::uint8_t { red };

struct point {
  std::int32_t x;
  double y;
};

struct drawing {
  point corner;
  colour paint;
  std::array<char, 3> tag;
};

class counted {
 public:
  static constexpr bool is_ipcpp_shareable = true;
  std::uint64_t read() const { return n_; }

 private:
  std::uint64_t n_ = 0;
};

}  // namespace desk

namespace {

struct hidden {
  bool yes;
};

template <class T>
std::string text() {
  return std::string(ipcpp::type_description<T>());
}

}  // namespace

TEST(TypeDescription, NumbersAreTheirKindAndBits) {
  EXPECT_EQ(text<int>(), "i32");
  EXPECT_EQ(text<unsigned char>(), "u8");
  EXPECT_EQ(text<long long>(), "i64");
  EXPECT_EQ(text<bool>(), "bool");
  EXPECT_EQ(text<char>(), "char");
  EXPECT_EQ(text<float>(), "f32");
  EXPECT_EQ(text<double[4]>(), "f64[4]");
}

TEST(TypeDescription, AStructIsItsNameFieldsSizeAndAlignment) {
  EXPECT_EQ(text<desk::colour>(), "desk::colour:u8");
  EXPECT_EQ(text<desk::point>(), "desk::point{i32,f64}:16/8");
  EXPECT_EQ(text<desk::drawing>(),
            "desk::drawing{desk::point{i32,f64}:16/8,desk::colour:u8,char[3]}:24/8");
  EXPECT_EQ(text<desk::counted>(), "desk::counted:8/8");
  EXPECT_EQ(text<hidden>(), "(anonymous)::hidden{bool}:1/1");
}

TEST(TypeDescription, OursAreTheSameFromEveryCompiler) {
  EXPECT_EQ(text<ipcpp::mutex>(), "ipcpp::mutex:16/8");
  EXPECT_EQ(text<ipcpp::mpmc_queue<desk::point>>().substr(0, 17), "ipcpp::mpmc_queue");
  EXPECT_EQ(text<ipcpp::vector<int>>(), "ipcpp::vector<i32,ipcpp::allocator<i32>:8/8>:32/8");
  for (const std::string& ours :
       {text<ipcpp::string>(), text<ipcpp::map<int, ipcpp::string>>(),
        text<ipcpp::unordered_map<ipcpp::string, ipcpp::vector<desk::point>>>()}) {
    EXPECT_EQ(ours.find(" by "), std::string::npos) << ours << " depends on no standard library";
    EXPECT_EQ(ours.find('@'), std::string::npos) << ours;
    EXPECT_EQ(ours.find("[with"), std::string::npos) << ours;
  }
}

TEST(TypeDescription, OnlyWhatTheStandardLibraryLaysOutNamesIt) {
  EXPECT_EQ(text<std::atomic<std::uint32_t>>(), "std::atomic<u32>:4/4");
  EXPECT_EQ((text<std::pair<int, int>>()), "std::pair<i32,i32>:8/4");
  EXPECT_NE((text<std::vector<int, ipcpp::allocator<int>>>().find(" by ")), std::string::npos);
}

TEST(TypeDescription, TheDifferenceNamesBothLibraries) {
  const std::string said = ipcpp::detail::difference_of("std::map<i32>:24/8 by libc++",
                                                        "std::map<i32>:48/8 by libstdc++");
  EXPECT_NE(said.find("this program was built with libc++"), std::string::npos) << said;
  EXPECT_NE(said.find("made the object with libstdc++"), std::string::npos) << said;
  EXPECT_NE(ipcpp::detail::difference_of("point{i32}:4/4", "point{f32}:4/4").find("'i32'"),
            std::string::npos);
}
