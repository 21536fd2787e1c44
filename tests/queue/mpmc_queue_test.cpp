// mpmc_queue within one process: what it promises, form by form, and threads at it together.
#include <gtest/gtest.h>

#include <algorithm>
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

struct Mpmc : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1 << 22});
  object_in<ipcpp::mpmc_queue<tick>> pool{segment, 4};
};

}  // namespace

TEST_F(Mpmc, DeliversInOrderAndReportsFullAndEmpty) {
  auto in = pool->sender();
  auto other_in = pool->sender();
  auto out = pool->receiver();
  auto other_out = pool->receiver();
  std::uint64_t sent = 0;
  std::uint64_t taken = 0;
  for (int lap = 0; lap < 10; ++lap) {
    while ((sent % 2 == 0 ? in : other_in).try_send({sent, 0})) ++sent;
    EXPECT_EQ(in.try_send({99, 0}).result(), send_result::full);
    EXPECT_EQ(pool->size(), 4u);
    while (const auto got = (taken % 3 == 0 ? out : other_out).try_receive()) {
      EXPECT_EQ(got->sequence, taken++);
      EXPECT_FALSE(got.redelivered());
      if (taken % 5 == 0) break;
    }
  }
  EXPECT_GT(taken, 20u);
  const auto now = pool->statistics();
  EXPECT_EQ(now.sent, sent);
  EXPECT_EQ(now.received, taken);
  EXPECT_EQ(now.senders, 2u);
  EXPECT_EQ(now.receivers, 2u);
  EXPECT_EQ(now.repairs, 0u);
}

TEST_F(Mpmc, CapacityTwoWorks) {
  object_in<ipcpp::mpmc_queue<tick>> two{segment, 2};
  object_in<ipcpp::mpmc_queue<tick>> one{segment, 1};
  EXPECT_EQ(one->capacity(), 2u);
  auto in = two->sender();
  auto out = two->receiver();
  for (std::uint64_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(in.try_send({i, 0}));
    ASSERT_TRUE(in.try_send({i + 1000, 0}));
    ASSERT_FALSE(in.try_send({3, 0}));
    ASSERT_EQ(out.receive()->sequence, i);
    ASSERT_EQ(out.receive()->sequence, i + 1000);
    ASSERT_FALSE(out.try_receive());
  }
}

TEST_F(Mpmc, TimedFormsKeepTheirDeadlines) {
  auto in = pool->sender();
  auto out = pool->receiver();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(out.receive_for(20ms).status(), receive_status::timed_out);
  while (in.try_send({1, 1})) {
  }
  EXPECT_EQ(in.send_for({2, 2}, 20ms).result(), send_result::timed_out);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, 40ms);
  EXPECT_TRUE(out.receive_for(1h));
  EXPECT_TRUE(in.send_for({3, 3}, 1h));
}

TEST_F(Mpmc, BatchesGoAsFarAsThereIsRoom) {
  auto in = pool->sender();
  auto out = pool->receiver();
  std::array<tick, 6> six{};
  for (std::size_t i = 0; i < six.size(); ++i) six[i].sequence = i;
  EXPECT_EQ(in.try_send_batch(six), 4u);
  EXPECT_EQ(in.try_send_batch(six), 0u);
  std::array<tick, 3> three{};
  auto got = out.try_receive_batch(three);
  EXPECT_EQ(got.count, 3u);
  EXPECT_EQ(three[2].sequence, 2u);
  EXPECT_EQ(in.send_batch_for(six, 5ms), 3u);
  EXPECT_EQ(out.receive_batch(three).count, 3u);
  EXPECT_EQ(out.receive_batch(three).count, 1u);
  EXPECT_EQ(out.receive_batch_for(three, 5ms).status, receive_status::timed_out);
}

TEST_F(Mpmc, ClosingDrainsThenEnds) {
  auto in = pool->sender();
  auto out = pool->receiver();
  ASSERT_TRUE(in.try_send({43, 0}));
  pool->close();
  EXPECT_EQ(in.try_send({2, 0}).result(), send_result::closed);
  EXPECT_ERROR(in.send({2, 0}), closed);
  EXPECT_EQ(out.receive()->sequence, 43u);
  EXPECT_EQ(out.receive().status(), receive_status::closed);
  pool->reopen();
  EXPECT_TRUE(in.try_send({3, 0}));
  EXPECT_EQ(out.receive()->sequence, 3u);
}

TEST_F(Mpmc, ClosingWakesAllWhoSleep) {
  std::vector<std::thread> sleepers;
  std::atomic<int> ended{0};
  for (int i = 0; i < 4; ++i)
    sleepers.emplace_back([&] {
      auto out = pool->receiver();
      if (out.receive().status() == receive_status::closed) ++ended;
    });
  std::this_thread::sleep_for(20ms);
  pool->close();
  for (auto& sleeper : sleepers) sleeper.join();
  EXPECT_EQ(ended, 4);
}

TEST_F(Mpmc, DestroyingAQueueIsReportedToItsHolders) {
  auto in = pool->sender();
  auto out = pool->receiver();
  ASSERT_TRUE(in.try_send({1, 0}));
  const auto before = segment.heap().statistics().blocks_in_use;
  pool.destroy();
  EXPECT_EQ(in.try_send({2, 0}).result(), send_result::destroyed);
  EXPECT_EQ(out.receive()->sequence, 1u);
  EXPECT_EQ(out.receive().status(), receive_status::destroyed);
  in.detach();
  out.detach();
  EXPECT_LT(segment.heap().statistics().blocks_in_use, before);
}

TEST_F(Mpmc, EndpointsAreLimitedAndComeBack) {
  object_in<ipcpp::mpmc_queue<tick>> few{segment, 4, ipcpp::queue_limits{.endpoints = 2}};
  auto in = few->sender();
  {
    auto out = few->receiver();
    EXPECT_ERROR((void)few->sender(), limit_reached);
  }
  for (int i = 0; i < 10; ++i) (void)few->receiver();
}

TEST_F(Mpmc, ThreadsTogetherLoseNothingAndKeepEachSendersOrder) {
  constexpr int senders = 3;
  constexpr int receivers = 3;
  constexpr std::uint64_t each = 20000;
  struct numbered {
    std::uint64_t sender;
    std::uint64_t number;
    std::uint64_t check;
  };
  object_in<ipcpp::mpmc_queue<numbered>> queue{segment, 16};
  std::vector<std::thread> threads;
  std::vector<std::vector<std::vector<std::uint64_t>>> got(
      receivers, std::vector<std::vector<std::uint64_t>>(senders));
  std::atomic<bool> torn{false};
  for (int r = 0; r < receivers; ++r)
    threads.emplace_back([&, r] {
      auto out = queue->receiver();
      while (const auto m = out.receive()) {
        if (m->check != (m->sender ^ m->number * 3)) torn = true;
        got[static_cast<std::size_t>(r)][m->sender].push_back(m->number);
      }
    });
  std::vector<std::thread> producers;
  for (std::uint64_t s = 0; s < senders; ++s)
    producers.emplace_back([&, s] {
      auto in = queue->sender();
      for (std::uint64_t i = 0; i < each; ++i) in.send({s, i, s ^ i * 3});
    });
  for (auto& p : producers) p.join();
  queue->close();
  for (auto& t : threads) t.join();
  EXPECT_FALSE(torn);
  for (std::size_t s = 0; s < senders; ++s) {
    std::vector<std::uint64_t> all;
    for (std::size_t r = 0; r < receivers; ++r) {
      EXPECT_TRUE(std::is_sorted(got[r][s].begin(), got[r][s].end()));
      all.insert(all.end(), got[r][s].begin(), got[r][s].end());
    }
    std::sort(all.begin(), all.end());
    ASSERT_EQ(all.size(), each);
    for (std::uint64_t i = 0; i < each; ++i) ASSERT_EQ(all[i], i);
  }
}
