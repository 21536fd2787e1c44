// wait_any and wait_set: several endpoints, one sleep.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <thread>
#include <vector>

#include "queues.hpp"

import ipcpp;

using namespace std::chrono_literals;
using test::object_in;
using test::tick;

namespace {

struct WaitAny : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1 << 22});
  object_in<ipcpp::spsc_queue<tick>> line{segment, 4};
  object_in<ipcpp::mpmc_queue<tick>> pool{segment, 4};
  object_in<ipcpp::mpsc_queue<tick>> log{segment, 4};
  object_in<ipcpp::latest<tick>> price{segment, tick{0, 0}};
};

}  // namespace

TEST_F(WaitAny, TellsWhichIsReadyAcrossAllKinds) {
  auto line_out = line->receiver();
  auto pool_out = pool->receiver();
  auto log_out = log->receiver();
  auto news = price->reader();
  ASSERT_TRUE(news.try_receive());
  EXPECT_FALSE(ipcpp::wait_any_for(2ms, line_out, pool_out, log_out, news));
  auto line_in = line->sender();
  auto pool_in = pool->sender();
  auto log_in = log->sender();
  pool_in.send({1, 0});
  EXPECT_EQ(ipcpp::wait_any_for(1s, line_out, pool_out, log_out, news),
            std::optional(std::size_t{1}));
  ASSERT_TRUE(pool_out.try_receive());
  price->store({1, 0});
  EXPECT_EQ(ipcpp::wait_any(line_out, pool_out, log_out, news), std::optional(std::size_t{3}));
  ASSERT_TRUE(news.try_receive());
  for (int round = 0; round < 20; ++round) {
    std::thread later([&] {
      std::this_thread::sleep_for(1ms);
      if (round % 2 == 0) {
        log_in.send({2, 0});
      } else {
        line_in.send({2, 0});
      }
    });
    const auto ready = ipcpp::wait_any_for(10s, line_out, pool_out, log_out, news);
    later.join();
    ASSERT_EQ(ready, std::optional(round % 2 == 0 ? std::size_t{2} : std::size_t{0}));
    ASSERT_TRUE(round % 2 == 0 ? log_out.try_receive() : line_out.try_receive());
  }
}

TEST_F(WaitAny, ClosedCountsAsReadyAndSendersMayWaitToo) {
  auto line_in = line->sender();
  auto pool_out = pool->receiver();
  while (line_in.try_send({1, 0})) {
  }
  EXPECT_FALSE(ipcpp::wait_any_for(2ms, line_in, pool_out));
  auto line_out = line->receiver();
  ASSERT_TRUE(line_out.try_receive());
  EXPECT_EQ(ipcpp::wait_any_for(1s, line_in, pool_out), std::optional(std::size_t{0}));
  ASSERT_TRUE(line_in.try_send({1, 0}));
  pool->close();
  EXPECT_EQ(ipcpp::wait_any_for(1s, line_in, pool_out), std::optional(std::size_t{1}));
}

TEST_F(WaitAny, OfAnotherSegmentIsNoticedAsWell) {
  ipcpp::segment other = ipcpp::segment::anonymous({.max_size = 1 << 20});
  object_in<ipcpp::spsc_queue<tick>> far{other, 4};
  auto far_out = far->receiver();
  auto far_in = far->sender();
  auto line_out = line->receiver();
  std::thread later([&] {
    std::this_thread::sleep_for(5ms);
    far_in.send({1, 0});
  });
  EXPECT_EQ(ipcpp::wait_any_for(10s, line_out, far_out), std::optional(std::size_t{1}));
  later.join();
}

TEST_F(WaitAny, AWakeUpThatIsNotUsedGoesToSomebodyElse) {
  // One waits for both queues, the other for the pool only. Whatever is told first, nobody is left
  // asleep with a message for it.
  auto line_in = line->sender();
  auto pool_in = pool->sender();
  for (int round = 0; round < 50; ++round) {
    std::thread both([&] {
      auto line_out = line->receiver();
      auto pool_out = pool->receiver();
      const auto ready = ipcpp::wait_any_for(10s, line_out, pool_out);
      ASSERT_TRUE(ready);
      // Takes from the line if there is something, whatever it was told.
      if (line_out.try_receive()) return;
      (void)pool_out.try_receive();
    });
    std::thread one([&] {
      auto pool_out = pool->receiver();
      (void)pool_out.receive_for(10s);
    });
    line_in.send({1, 0});
    pool_in.send({1, 0});
    both.join();
    if (pool->empty()) pool_in.send({2, 0});  // `both` was faster at the pool
    const auto begin = std::chrono::steady_clock::now();
    one.join();
    EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
    auto drain = pool->receiver();
    while (drain.try_receive()) {
    }
    auto drain_line = line->receiver();
    while (drain_line.try_receive()) {
    }
  }
}

TEST_F(WaitAny, WaitSetsChangeAndAreFair) {
  auto line_out = line->receiver();
  auto pool_out = pool->receiver();
  auto line_in = line->sender();
  auto pool_in = pool->sender();
  ipcpp::wait_set set;
  EXPECT_TRUE(set.empty());
  EXPECT_ERROR((void)set.wait_for(1ms), invalid_argument);
  set.add(line_out, 10);
  set.add(pool_out, 20);
  EXPECT_EQ(set.size(), 2u);
  EXPECT_FALSE(set.wait_for(1ms));
  line_in.send({1, 0});
  pool_in.send({1, 0});
  const auto first = set.wait_for(1s);
  const auto second = set.wait_for(1s);
  ASSERT_TRUE(first && second);
  EXPECT_NE(*first, *second) << "both are ready, and both get their turn";
  EXPECT_TRUE(set.remove(line_out));
  EXPECT_FALSE(set.remove(line_out));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(set.wait_for(1s), std::optional<std::uint64_t>(20));
  set.add(pool_out, 21);
  EXPECT_EQ(set.wait(), std::optional<std::uint64_t>(21));
}
