// Thousands of random operations on each container and on the standard's beside it: the same
// elements come out, all of them in the segment, and no block is left at the end.
#include <gtest/gtest.h>

#include <cstddef>
#include <random>
#include <string>
#include <vector>

#include "containers.hpp"

using namespace ipcpp::literals;

namespace {

template <class Type>
struct RandomOperations : testing::Test {};

// Is the text or its elements' in the segment, to the last byte?
bool inside(const ipcpp::segment& segment, const ipcpp::string& text) {
  return segment.contains(&text) && segment.contains(text.data() + text.size());
}
bool inside(const ipcpp::segment& segment, const char& c) {
  return segment.contains(&c);
}
template <class A, class B>
bool inside(const ipcpp::segment& segment, const std::pair<A, B>& both) {
  return inside(segment, both.first) && inside(segment, both.second);
}

}  // namespace
TYPED_TEST_SUITE(RandomOperations, test::all_types);

TYPED_TEST(RandomOperations, GiveWhatTheStandardsContainerGives) {
  const ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 16_MiB});
  const std::size_t blocks = segment.heap().statistics().blocks_in_use;
  using ours_type = typename TypeParam::ours;
  using standard_type = typename TypeParam::standard;
  for (unsigned seed = 0; seed < 8; ++seed) {
    std::mt19937 random(seed);
    ours_type ours(segment.heap());
    standard_type standard;
    for (int i = 0; i < 400; ++i) {
      ours_type ours_other;  // private: what goes in is copied into the segment
      standard_type standard_other;
      for (std::size_t k = random() % 6, n = 0; n < k; ++n) {
        const std::size_t which = random() % 60;
        test::add(ours_other, which);
        test::add(standard_other, which);
      }
      const std::size_t what = random();
      const std::size_t n = random() % 60;
      test::change(ours, what, n, ours_other);
      test::change(standard, what, n, standard_other);
      ASSERT_EQ(test::contents(ours), test::contents(standard)) << what % test::ways_to_change;
      for (const auto& element : ours) ASSERT_TRUE(inside(segment, element));
    }
  }
  EXPECT_EQ(segment.heap().statistics().blocks_in_use, blocks);
  EXPECT_TRUE(segment.heap().check());
}
