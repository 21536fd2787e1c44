// latest: the newest value, whole, whoever writes.
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "queues.hpp"

import ipcpp;

using namespace std::chrono_literals;
using ipcpp::receive_status;
using test::object_in;
using test::tick;

namespace {

struct Latest : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1 << 24});
};

template <std::size_t n>
struct block {
  std::array<std::uint64_t, n> words;
};

// Writers that never rest; every value that is loaded must be one that was stored.
template <std::size_t n>
void expect_whole_values(ipcpp::segment& segment) {
  object_in<ipcpp::latest<block<n>>> value{segment, block<n>{}};
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (std::uint64_t w = 1; w <= 2; ++w)
    writers.emplace_back([&, w] {
      for (std::uint64_t i = 0; !stop; ++i) {
        block<n> b;
        b.words.fill(w << 32 | i);
        value->store(b);
      }
    });
  for (int i = 0; i < 3000; ++i) {
    const block<n> seen = value->load();
    for (const std::uint64_t word : seen.words) ASSERT_EQ(word, seen.words[0]) << "torn";
  }
  stop = true;
  for (auto& w : writers) w.join();
}

}  // namespace

TEST_F(Latest, LoadsWhatWasStoredLast) {
  object_in<ipcpp::latest<tick>> price{segment, tick{0, 1.0}};
  EXPECT_EQ(price->load().price, 1.0);
  for (std::uint64_t i = 1; i <= 100; ++i) {
    price->store({i, 2.0});
    EXPECT_EQ(price->load().sequence, i);
    EXPECT_EQ(price->try_load()->sequence, i);
  }
  EXPECT_EQ(price->stores(), 101u);
}

TEST_F(Latest, ReadersSeeEachValueOnceAndTheNewest) {
  object_in<ipcpp::latest<tick>> price{segment, tick{0, 1.0}};
  auto news = price->reader();
  EXPECT_EQ(news.try_receive()->sequence, 0u);
  EXPECT_EQ(news.try_receive().status(), receive_status::empty);
  for (std::uint64_t i = 1; i <= 5; ++i) price->store({i, 0});
  EXPECT_EQ(news.receive()->sequence, 5u);
  EXPECT_EQ(news.load().sequence, 5u);
  EXPECT_EQ(news.receive_for(5ms).status(), receive_status::timed_out);
  std::thread writer([&] {
    std::this_thread::sleep_for(10ms);
    price->store({6, 0});
  });
  EXPECT_EQ(news.receive()->sequence, 6u);
  writer.join();
}

TEST_F(Latest, ClosingAndDestroyingAreReported) {
  object_in<ipcpp::latest<tick>> price{segment, tick{0, 1.0}};
  auto news = price->reader();
  price->close();
  EXPECT_ERROR(price->store({1, 0}), closed);
  EXPECT_EQ(news.receive()->sequence, 0u);
  EXPECT_EQ(news.receive().status(), receive_status::closed);
  price->reopen();
  price->store({2, 0});
  EXPECT_EQ(news.receive()->sequence, 2u);
  price.destroy();
  EXPECT_EQ(news.receive().status(), receive_status::destroyed);
}

TEST_F(Latest, ValuesAreWholeUnderWritersThatNeverRest) {
  expect_whole_values<1>(segment);
  expect_whole_values<16>(segment);
  expect_whole_values<128>(segment);   // 1 KiB: two cells would fail nine tries of ten (Q6)
  expect_whole_values<4096>(segment);  // 32 KiB
}

TEST_F(Latest, OddSizesKeepTheirBytes) {
  struct odd {
    char text[13];
  };
  object_in<ipcpp::latest<odd>> value{segment, odd{"hello, world"}};
  EXPECT_STREQ(value->load().text, "hello, world");
}
