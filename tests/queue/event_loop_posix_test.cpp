// native_handle() in epoll and poll, and coroutines on a real event loop.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>
#include <poll.h>

#include "posix_process.hpp"

#include "epoll_loop.hpp"
#include "queues.hpp"

import ipcpp;

using namespace std::chrono_literals;
using test::epoll_loop;
using test::object_in;
using test::task;
using test::tick;

namespace {

bool readable(int descriptor, std::chrono::milliseconds within) {
  pollfd wanted{descriptor, POLLIN, 0};
  return ::poll(&wanted, 1, static_cast<int>(within.count())) == 1;
}

// The program's way: look until there is nothing, go back to the loop.
template <class Receiver>
std::vector<std::uint64_t> drain(Receiver& from) {
  std::vector<std::uint64_t> got;
  while (auto next = from.try_receive()) got.push_back(next->sequence);
  return got;
}

struct QueueBell : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1 << 22});
  object_in<ipcpp::mpmc_queue<tick>> pool{segment, 4};
};

template <class Receiver>
task sum_up(Receiver& from, epoll_loop& loop, std::uint64_t& sum) {
  while (auto next = co_await from.async_receive(loop)) sum += next->sequence;
}

}  // namespace

TEST_F(QueueBell, BecomesReadableWhenAMessageComesAndNotBefore) {
  auto in = pool->sender();
  auto out = pool->receiver();
  const int bell = out.native_handle();
  EXPECT_EQ(out.native_handle(), bell);
  EXPECT_TRUE(readable(bell, 0ms)) << "the first look is the program's";
  EXPECT_TRUE(drain(out).empty());
  EXPECT_FALSE(readable(bell, 5ms));
  in.send({1, 0});
  EXPECT_TRUE(readable(bell, 30ms)) << "rung, not timed";
  in.send({2, 0});
  EXPECT_EQ(drain(out), (std::vector<std::uint64_t>{1, 2}));
  EXPECT_FALSE(readable(bell, 5ms));
  pool->close();
  EXPECT_TRUE(readable(bell, 30ms));
  EXPECT_EQ(out.try_receive().status(), ipcpp::receive_status::closed);
}

TEST_F(QueueBell, ALostRingIsMadeGoodWithin100Milliseconds) {
  auto in = pool->sender();
  auto out = pool->receiver();
  const int bell = out.native_handle();
  EXPECT_TRUE(drain(out).empty());
  // As if the notifier had been killed after it took the bits off: nobody rings.
  EXPECT_TRUE(readable(bell, 100ms));
  EXPECT_TRUE(drain(out).empty());
}

TEST_F(QueueBell, ASenderIsToldThatThereIsRoom) {
  auto in = pool->sender();
  auto out = pool->receiver();
  const int bell = in.native_handle();
  std::uint64_t sent = 0;
  while (in.try_send({sent, 0})) ++sent;
  EXPECT_FALSE(readable(bell, 5ms));
  ASSERT_TRUE(out.try_receive());
  EXPECT_TRUE(readable(bell, 30ms));
  EXPECT_TRUE(in.try_send({sent, 0}));
}

TEST_F(QueueBell, AnotherProcessRingsAsWell) {
  auto out = pool->receiver();
  const int bell = out.native_handle();
  EXPECT_TRUE(drain(out).empty());
  std::thread waits([&] {
    EXPECT_TRUE(readable(bell, 10'000ms));
    std::vector<std::uint64_t> got;
    while (got.size() < 100) {
      if (!readable(bell, 10'000ms)) break;
      for (const std::uint64_t n : drain(out)) got.push_back(n);
    }
    EXPECT_EQ(got.size(), 100u);
  });
  EXPECT_EQ(test::in_forked_child([&] {
              auto in = pool->sender();
              for (std::uint64_t i = 0; i < 100; ++i) in.send({i, 0});
              return 0;
            }),
            0);
  waits.join();
}

TEST_F(QueueBell, CoroutinesRunOnEpoll) {
  object_in<ipcpp::spsc_queue<tick>> line{segment, 4};
  auto line_out = line->receiver();
  auto pool_out = pool->receiver();
  epoll_loop loop;
  std::uint64_t line_sum = 0;
  std::uint64_t pool_sum = 0;
  sum_up(line_out, loop, line_sum);
  sum_up(pool_out, loop, pool_sum);
  std::thread sends([&] {
    auto line_in = line->sender();
    auto pool_in = pool->sender();
    for (std::uint64_t i = 1; i <= 1000; ++i) {
      line_in.send({i, 0});
      pool_in.send({i, 0});
    }
    line->close();
    pool->close();
  });
  loop.run();
  sends.join();
  EXPECT_EQ(line_sum, 500'500u);
  EXPECT_EQ(pool_sum, 500'500u);
}
