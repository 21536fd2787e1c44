// mpsc_queue within one process: a lane for each sender.
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
using ipcpp::send_result;
using test::object_in;
using test::tick;

namespace {

struct Mpsc : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1 << 22});
  object_in<ipcpp::mpsc_queue<tick>> log{segment, 4, ipcpp::mpsc_limits{.senders = 3}};
};

}  // namespace

TEST_F(Mpsc, EachSenderHasRoomOfItsOwnAndKeepsItsOrder) {
  auto one = log->sender();
  auto two = log->sender();
  auto out = log->receiver();
  for (std::uint64_t i = 0; i < 4; ++i) {
    ASSERT_TRUE(one.try_send({100 + i, 0}));
    ASSERT_TRUE(two.try_send({200 + i, 0}));
  }
  EXPECT_EQ(one.try_send({1, 0}).result(), send_result::full);
  EXPECT_EQ(log->size(), 8u);
  std::uint64_t next_one = 100;
  std::uint64_t next_two = 200;
  while (const auto got = out.try_receive()) {
    EXPECT_EQ(got->sequence, got->sequence < 200 ? next_one++ : next_two++);
    EXPECT_FALSE(got.redelivered());
  }
  EXPECT_EQ(next_one, 104u);
  EXPECT_EQ(next_two, 204u);
  const auto now = log->statistics();
  EXPECT_EQ(now.senders, 2u);
  EXPECT_EQ(now.sent, 8u);
  EXPECT_EQ(now.received, 8u);
}

TEST_F(Mpsc, ABusySenderDoesNotHideTheOthers) {
  object_in<ipcpp::mpsc_queue<tick>> wide{segment, 256};
  auto busy = wide->sender();
  auto quiet = wide->sender();
  auto out = wide->receiver();
  for (std::uint64_t i = 0; i < 200; ++i) ASSERT_TRUE(busy.try_send({i, 0}));
  ASSERT_TRUE(quiet.try_send({1000, 0}));
  for (int i = 0; i < 20; ++i)
    if (out.try_receive()->sequence == 1000) return;
  FAIL() << "passed over for 20 messages";
}

TEST_F(Mpsc, LanesAreLimitedAndGoToSuccessors) {
  auto one = log->sender();
  auto two = log->sender();
  auto three = log->sender();
  EXPECT_ERROR((void)log->sender(), limit_reached);
  ASSERT_TRUE(two.try_send({7, 0}));
  two.detach();
  auto next = log->sender();
  ASSERT_TRUE(next.try_send({8, 0}));
  auto out = log->receiver();
  EXPECT_EQ(out.try_receive()->sequence, 7u);
  EXPECT_EQ(out.try_receive()->sequence, 8u);
}

TEST_F(Mpsc, ThreadsTogetherLoseNothing) {
  constexpr std::uint64_t each = 20000;
  auto out = log->receiver();
  std::vector<std::thread> senders;
  std::atomic<int> at_work{3};
  for (std::uint64_t s = 0; s < 3; ++s)
    senders.emplace_back([&, s] {
      auto in = log->sender();
      for (std::uint64_t i = 0; i < each; ++i) in.send({i, static_cast<double>(s)});
      if (--at_work == 0) log->close();
    });
  std::array<std::uint64_t, 3> next{};
  while (const auto got = out.receive()) {
    auto& expected = next.at(static_cast<std::size_t>(got->price));
    ASSERT_EQ(got->sequence, expected);
    ++expected;
  }
  for (auto& s : senders) s.join();
  for (const std::uint64_t n : next) EXPECT_EQ(n, each);
}

TEST_F(Mpsc, BatchesClosingAndDestroying) {
  auto in = log->sender();
  auto out = log->receiver();
  std::array<tick, 3> three{tick{1, 0}, tick{2, 0}, tick{3, 0}};
  EXPECT_EQ(in.try_send_batch(three), 3u);
  EXPECT_EQ(in.try_send_batch(three), 1u);
  std::array<tick, 8> many{};
  EXPECT_EQ(out.receive_batch(many).count, 4u);
  log->close();
  EXPECT_EQ(in.try_send({1, 0}).result(), send_result::closed);
  EXPECT_EQ(out.receive().status(), receive_status::closed);
  log->reopen();
  EXPECT_TRUE(in.try_send({9, 0}));
  log.destroy();
  EXPECT_EQ(out.receive()->sequence, 9u);
  EXPECT_EQ(out.receive().status(), receive_status::destroyed);
  EXPECT_EQ(in.try_send({1, 0}).result(), send_result::destroyed);
}
