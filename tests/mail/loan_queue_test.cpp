// loan_queue as one process sees it: chunks are lent, published, read in place and come back.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "objects.hpp"

import ipcpp;
import ipcpp.platform;

using namespace std::chrono_literals;
using namespace ipcpp::literals;
using ipcpp::loan_queue;
using ipcpp::loan_queue_options;
using ipcpp::overflow;
using ipcpp::receive_status;
using ipcpp::send_result;

namespace {

struct LoanQueue : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 64_MiB});
  loan_queue& make(const loan_queue_options& options) {
    return segment.construct<loan_queue>("frames", options);
  }
  static void write(ipcpp::outgoing_loan& loan, std::uint64_t n) {
    for (std::size_t i = 0; i + 8 <= loan.size(); i += 8) std::memcpy(loan.data() + i, &n, 8);
  }
  static std::uint64_t read(const ipcpp::received_loan& loan) {
    std::uint64_t first = 0;
    std::memcpy(&first, loan.data(), 8);
    for (std::size_t i = 0; i + 8 <= loan.size(); i += 8) {
      std::uint64_t n = 0;
      std::memcpy(&n, loan.data() + i, 8);
      if (n != first) return ~std::uint64_t{0};
    }
    return first;
  }
};

}  // namespace

TEST_F(LoanQueue, WhatIsPublishedIsReadWhereItWasWritten) {
  loan_queue& frames = make({.chunk_bytes = 100'000, .chunks = 4, .capacity = 4});
  auto publisher = frames.publisher();
  auto a = frames.subscriber();
  auto b = frames.subscriber();
  const std::byte* where = nullptr;
  {
    auto loan = publisher.loan(100'000);
    ASSERT_TRUE(loan);
    where = loan.data();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(where) % 64, 0u);
    write(loan, 7);
    EXPECT_TRUE(loan.publish());
    EXPECT_FALSE(loan);
  }
  auto first = a.try_receive();
  auto second = b.try_receive();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first.data(), where);
  EXPECT_EQ(second.data(), where);
  EXPECT_EQ(first.size(), 100'000u);
  EXPECT_EQ(read(first), 7u);
  EXPECT_EQ(a.try_receive().status(), receive_status::empty);
  EXPECT_EQ(frames.statistics().chunks_in_use, 1u);
  first.release();
  EXPECT_EQ(frames.statistics().chunks_in_use, 1u);
  second.release();
  EXPECT_EQ(frames.statistics().chunks_in_use, 0u);
}

TEST_F(LoanQueue, ChunksAreLentUntilThereAreNoneAndComeBack) {
  loan_queue& frames = make({.chunk_bytes = 1000, .chunks = 3, .capacity = 8});
  auto publisher = frames.publisher();
  auto subscriber = frames.subscriber();
  {
    auto a = publisher.try_loan(10);
    auto b = publisher.try_loan(10);
    auto c = publisher.try_loan(10);
    ASSERT_TRUE(a && b && c);
    EXPECT_EQ(publisher.try_loan(10).status().result(), send_result::full);
    EXPECT_EQ(publisher.loan_for(10, 1ms).status().result(), send_result::timed_out);
    b.give_back();
    EXPECT_TRUE(publisher.try_loan(10));
  }
  EXPECT_ERROR(publisher.try_loan(publisher.max_message_size() + 1), invalid_argument);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    auto loan = publisher.try_loan(64);
    ASSERT_TRUE(loan) << i;
    write(loan, i);
    EXPECT_TRUE(loan.publish());
    auto got = subscriber.try_receive();
    ASSERT_TRUE(got);
    EXPECT_EQ(read(got), i);
  }
}

TEST_F(LoanQueue, WhatASubscriberHoldsIsNotWrittenOver) {
  loan_queue& frames =
      make({.chunk_bytes = 1000, .chunks = 5, .capacity = 2, .overflow = overflow::drop_oldest});
  auto publisher = frames.publisher();
  auto subscriber = frames.subscriber();
  auto first = publisher.loan(64);
  write(first, 1);
  first.publish();
  auto held = subscriber.try_receive();
  ASSERT_TRUE(held);
  for (std::uint64_t i = 2; i < 200; ++i) {
    auto loan = publisher.try_loan(64);
    ASSERT_TRUE(loan) << i;
    EXPECT_NE(loan.data(), held.data());
    write(loan, i);
    loan.publish();
  }
  EXPECT_EQ(read(held), 1u);
  auto late = subscriber.try_receive();
  ASSERT_TRUE(late);
  EXPECT_EQ(read(late), subscriber.lost() + 2);
  EXPECT_GT(subscriber.lost(), 190u);
}

TEST_F(LoanQueue, SomeMayBeHeldAtATimeAndOneMoreIsAnError) {
  loan_queue& frames = make({.chunk_bytes = 100, .chunks = 20, .capacity = 16});
  auto publisher = frames.publisher();
  auto subscriber = frames.subscriber();
  std::vector<ipcpp::received_loan> held;
  for (std::uint32_t i = 0; i < ipcpp::loan_subscriber::max_held; ++i) {
    publisher.loan(8).publish();
    held.push_back(subscriber.try_receive());
    ASSERT_TRUE(held.back());
  }
  publisher.loan(8).publish();
  EXPECT_ERROR(subscriber.try_receive(), limit_reached);
  held.erase(held.begin() + 3);
  EXPECT_TRUE(subscriber.try_receive());
}

TEST_F(LoanQueue, OverflowIsAsChosen) {
  for (const overflow what : {overflow::drop_newest, overflow::fail, overflow::block}) {
    loan_queue& frames = make({.chunk_bytes = 100, .chunks = 8, .capacity = 2, .overflow = what});
    auto publisher = frames.publisher();
    auto subscriber = frames.subscriber();
    for (int i = 0; i < 2; ++i) EXPECT_TRUE(publisher.loan(8).publish());
    auto third = publisher.loan(8);
    EXPECT_EQ(third.try_publish().result(), send_result::full);
    EXPECT_EQ(third.publish_for(1ms).result(), send_result::timed_out);
    if (what == overflow::drop_newest) EXPECT_FALSE(third.publish());
    if (what == overflow::fail) {
      EXPECT_ERROR(third.publish(), limit_reached);
    }
    third.give_back();
    EXPECT_TRUE(subscriber.try_receive());
    EXPECT_TRUE(publisher.loan(8).publish());
    segment.destroy<loan_queue>("frames");
  }
}

TEST_F(LoanQueue, PublishersAndSubscribersWaitForEachOther) {
  loan_queue& frames = make({.chunk_bytes = 4096, .chunks = 4, .capacity = 2});
  constexpr std::uint64_t each = 3000;
  std::atomic<int> subscribed{0};
  std::vector<std::thread> threads;
  for (int s = 0; s < 2; ++s) {
    threads.emplace_back([&] {
      auto subscriber = frames.subscriber();
      ++subscribed;
      std::uint64_t next[2] = {0, 0};
      for (std::uint64_t n = 0; n < 2 * each; ++n) {
        auto loan = subscriber.receive();
        ASSERT_TRUE(loan);
        const std::uint64_t number = read(loan);
        const auto from = static_cast<std::size_t>(number >> 32);
        ASSERT_LT(from, 2u) << "torn";
        ASSERT_EQ(number & 0xffffffff, next[from]++);
      }
      EXPECT_FALSE(subscriber.receive());
    });
  }
  while (subscribed < 2) std::this_thread::yield();
  std::vector<std::thread> publishers;
  for (std::uint64_t p = 0; p < 2; ++p) {
    publishers.emplace_back([&, p] {
      auto publisher = frames.publisher();
      for (std::uint64_t i = 0; i < each; ++i) {
        auto loan = publisher.loan(8 + i % 4000);
        write(loan, p << 32 | i);
        loan.publish();
      }
    });
  }
  for (auto& t : publishers) t.join();
  frames.close();
  for (auto& t : threads) t.join();
  EXPECT_EQ(frames.statistics().chunks_in_use, 0u);
}

TEST_F(LoanQueue, WhoHoldsADestroyedOneIsTold) {
  loan_queue& frames = make({.chunk_bytes = 100, .chunks = 4});
  auto publisher = frames.publisher();
  auto subscriber = frames.subscriber();
  publisher.loan(8).publish();
  auto unpublished = publisher.loan(8);
  segment.destroy<loan_queue>("frames");
  EXPECT_EQ(unpublished.try_publish().result(), send_result::destroyed);
  EXPECT_ERROR(publisher.loan(8), closed);
  EXPECT_TRUE(subscriber.receive());
  EXPECT_EQ(subscriber.receive().status(), receive_status::destroyed);
}
