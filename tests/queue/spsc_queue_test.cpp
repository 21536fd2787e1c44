// spsc_queue within one process: what it promises, form by form.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "queues.hpp"

import ipcpp;

using namespace std::chrono_literals;
using ipcpp::receive_status;
using ipcpp::send_result;
using test::object_in;
using test::tick;

namespace {

struct Spsc : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1 << 22});
  object_in<ipcpp::spsc_queue<tick>> line{segment, 4};
};

}  // namespace

TEST_F(Spsc, DeliversInOrderAndReportsFullAndEmpty) {
  auto in = line->sender();
  auto out = line->receiver();
  EXPECT_EQ(line->capacity(), 4u);
  EXPECT_EQ(out.try_receive().status(), receive_status::empty);
  std::uint64_t sent = 0;
  std::uint64_t taken = 0;
  for (int lap = 0; lap < 10; ++lap) {
    while (in.try_send({sent, 0.5})) ++sent;
    EXPECT_EQ(in.try_send({99, 0}).result(), send_result::full);
    EXPECT_EQ(line->size(), 4u);
    while (const auto got = out.try_receive()) {
      EXPECT_EQ(got->sequence, taken++);
      EXPECT_FALSE(got.redelivered());
      if (taken % 3 == 0) break;
    }
  }
  EXPECT_GT(taken, 20u);
  const auto now = line->statistics();
  EXPECT_EQ(now.sent, sent);
  EXPECT_EQ(now.received, taken);
  EXPECT_EQ(now.senders, 1u);
  EXPECT_EQ(now.receivers, 1u);
}

TEST_F(Spsc, TimedFormsKeepTheirDeadlines) {
  auto in = line->sender();
  auto out = line->receiver();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(out.receive_for(20ms).status(), receive_status::timed_out);
  EXPECT_EQ(out.receive_until(begin + 30ms).status(), receive_status::timed_out);
  while (in.try_send({1, 1})) {
  }
  EXPECT_EQ(in.send_for({2, 2}, 20ms).result(), send_result::timed_out);
  EXPECT_EQ(in.send_until({2, 2}, begin).result(), send_result::timed_out);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 50ms);
  EXPECT_TRUE(out.receive_for(1h));
  EXPECT_TRUE(in.send_for({3, 3}, std::chrono::hours::max()));
}

TEST_F(Spsc, BlocksUntilThereIsAMessageOrRoom) {
  constexpr std::uint64_t count = 20000;
  auto out = line->receiver();
  std::thread producer([&] {
    auto in = line->sender();
    for (std::uint64_t i = 0; i < count; ++i) {
      in.send({i, 0});
      if (i % 1000 == 0) std::this_thread::sleep_for(1ms);
    }
  });
  for (std::uint64_t i = 0; i < count; ++i) {
    const auto got = out.receive();
    ASSERT_TRUE(got);
    ASSERT_EQ(got->sequence, i);
    if (i % 1500 == 0) std::this_thread::sleep_for(1ms);
  }
  producer.join();
}

TEST_F(Spsc, BatchesGoAsFarAsThereIsRoom) {
  auto in = line->sender();
  auto out = line->receiver();
  std::array<tick, 6> six{};
  for (std::size_t i = 0; i < six.size(); ++i) six[i].sequence = i;
  EXPECT_EQ(in.try_send_batch(six), 4u);
  EXPECT_EQ(in.try_send_batch(six), 0u);
  std::array<tick, 3> three{};
  auto got = out.try_receive_batch(three);
  EXPECT_EQ(got.count, 3u);
  EXPECT_EQ(got.status, receive_status::message);
  EXPECT_EQ(three[2].sequence, 2u);
  EXPECT_EQ(in.send_batch_for(six, 5ms), 3u);
  EXPECT_EQ(out.receive_batch(three).count, 3u);
  EXPECT_EQ(three[1].sequence, 0u);
  EXPECT_EQ(out.receive_batch(three).count, 1u);
  EXPECT_EQ(out.receive_batch_for(three, 5ms).status, receive_status::timed_out);
}

TEST_F(Spsc, ClosingDrainsThenEnds) {
  auto in = line->sender();
  auto out = line->receiver();
  ASSERT_TRUE(in.try_send({1, 0}));
  line->close();
  EXPECT_TRUE(line->closed());
  EXPECT_EQ(in.try_send({2, 0}).result(), send_result::closed);
  EXPECT_ERROR(in.send({2, 0}), closed);
  EXPECT_EQ(out.receive()->sequence, 1u);
  EXPECT_EQ(out.receive().status(), receive_status::closed);
  EXPECT_EQ(out.receive_for(1h).status(), receive_status::closed);
  line->reopen();
  EXPECT_TRUE(in.try_send({3, 0}));
  EXPECT_EQ(out.receive()->sequence, 3u);
}

TEST_F(Spsc, ClosingWakesWhoeverSleeps) {
  auto out = line->receiver();
  std::thread closer([&] {
    std::this_thread::sleep_for(20ms);
    line->close();
  });
  EXPECT_EQ(out.receive().status(), receive_status::closed);
  closer.join();
}

TEST_F(Spsc, OneSenderAndOneReceiverAtATime) {
  auto in = line->sender();
  auto out = line->receiver();
  EXPECT_ERROR((void)line->sender(), limit_reached);
  EXPECT_ERROR((void)line->receiver(), limit_reached);
  ASSERT_TRUE(in.try_send({7, 0}));
  in.detach();
  EXPECT_ERROR(in.try_send({8, 0}), not_a_participant);
  auto moved = std::move(out);
  auto next = line->sender();
  ASSERT_TRUE(next.try_send({8, 0}));
  EXPECT_EQ(moved.receive()->sequence, 7u);
  moved.detach();
  const auto got = line->receiver().receive();
  EXPECT_EQ(got->sequence, 8u);
  EXPECT_FALSE(got.redelivered()) << "the last receiver detached, it did not die";
}

TEST_F(Spsc, DestroyingAQueueIsReportedToItsHolders) {
  auto in = line->sender();
  auto out = line->receiver();
  ASSERT_TRUE(in.try_send({1, 0}));
  const auto before = segment.heap().statistics().blocks_in_use;
  line.destroy();
  EXPECT_EQ(in.try_send({2, 0}).result(), send_result::destroyed);
  EXPECT_ERROR(in.send({2, 0}), closed);
  EXPECT_EQ(out.receive()->sequence, 1u);
  EXPECT_EQ(out.receive().status(), receive_status::destroyed);
  in.detach();
  out.detach();
  EXPECT_LT(segment.heap().statistics().blocks_in_use, before) << "the last one frees the ring";
  EXPECT_TRUE(segment.heap().check());
}

TEST_F(Spsc, MessagesOfEverySizeKeepTheirBytes) {
  const auto check = [&]<std::size_t n>() {
    struct text {
      std::array<unsigned char, n> bytes;
    };
    object_in<ipcpp::spsc_queue<text>> queue{segment, 3};
    EXPECT_EQ(queue->capacity(), 4u);
    auto in = queue->sender();
    auto out = queue->receiver();
    for (unsigned lap = 0; lap < 9; ++lap) {
      text sent{};
      for (std::size_t i = 0; i < n; ++i) sent.bytes[i] = static_cast<unsigned char>(i * 7 + lap);
      ASSERT_TRUE(in.try_send(sent));
      EXPECT_EQ(out.try_receive()->bytes, sent.bytes) << n;
    }
  };
  check.operator()<1>();
  check.operator()<8>();
  check.operator()<9>();
  check.operator()<24>();
  check.operator()<48>();
  check.operator()<56>();
  check.operator()<57>();
  check.operator()<64>();
  check.operator()<120>();
  check.operator()<4096>();
}
