// call_queue as one process sees it: requests, answers, cancelling, closing.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "objects.hpp"

import ipcpp;
import ipcpp.platform;

using namespace std::chrono_literals;
using namespace ipcpp::literals;
using ipcpp::call_queue;
using ipcpp::call_status;
using ipcpp::receive_status;

namespace {

struct question {
  std::uint64_t number;
};
struct answer {
  std::uint64_t number;
  std::uint64_t square;
};
using calls_type = call_queue<question, answer>;

struct CallQueue : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 64_MiB});
  calls_type& make(std::uint32_t capacity) {
    return segment.construct<calls_type>("calls", capacity);
  }
};

}  // namespace

TEST_F(CallQueue, ARequestIsTakenOnceAndItsAnswerGoesToWhoAsked) {
  calls_type& calls = make(4);
  auto client = calls.client();
  auto other = calls.client();
  auto server = calls.server();
  EXPECT_EQ(server.try_receive().status(), receive_status::empty);
  auto a = client.start({2});
  auto b = other.start({3});
  EXPECT_EQ(a.try_get().status(), call_status::pending);
  for (int i = 0; i < 2; ++i) {
    auto request = server.try_receive();
    ASSERT_TRUE(request);
    const std::uint64_t n = request.request().number;
    EXPECT_TRUE(request.reply({n, n * n}));
    EXPECT_FALSE(request.reply({n, n})) << "once";
  }
  EXPECT_FALSE(server.try_receive());
  auto first = a.try_get();
  auto second = b.get();
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->square, 4u);
  EXPECT_EQ(second->square, 9u);
  EXPECT_EQ(calls.size(), 0u);
}

TEST_F(CallQueue, SoManyAtATimeAndNoMore) {
  calls_type& calls = make(2);
  auto client = calls.client();
  auto server = calls.server();
  auto a = client.try_start({1});
  auto b = client.try_start({2});
  ASSERT_TRUE(a && b);
  auto c = client.try_start({3});
  EXPECT_FALSE(c);
  EXPECT_EQ(c.try_get().status(), call_status::full);
  EXPECT_EQ(client.call_for({3}, 1ms).status(), call_status::timed_out);
  a.cancel();
  EXPECT_EQ(a.try_get().status(), call_status::cancelled);
  EXPECT_TRUE(client.try_start({3}));
}

TEST_F(CallQueue, WhatIsCancelledBeforeItIsTakenNeverHappens) {
  calls_type& calls = make(2);
  auto client = calls.client();
  auto server = calls.server();
  {
    auto cancelled = client.start({1});
  }
  EXPECT_FALSE(server.try_receive());
  EXPECT_EQ(client.call_for({1}, 1ms).status(), call_status::timed_out);
  EXPECT_FALSE(server.try_receive());
  auto late = client.start({2});
  auto request = server.try_receive();
  ASSERT_TRUE(request);
  late.cancel();
  EXPECT_FALSE(request.reply({0, 0})) << "nobody waits for it";
  EXPECT_EQ(calls.size(), 0u);
}

TEST_F(CallQueue, ARequestThatIsLetGoIsRefused) {
  calls_type& calls = make(2);
  auto client = calls.client();
  auto under_way = client.start({1});
  {
    auto server = calls.server();
    auto request = server.try_receive();
    ASSERT_TRUE(request);
  }
  EXPECT_EQ(under_way.get().status(), call_status::refused);
  EXPECT_EQ(calls.size(), 0u);
}

TEST_F(CallQueue, ManyClientsAndServers) {
  calls_type& calls = make(8);
  constexpr std::uint64_t each = 2000;
  std::vector<std::thread> servers;
  std::atomic<std::uint64_t> served{0};
  for (int s = 0; s < 2; ++s) {
    servers.emplace_back([&] {
      auto server = calls.server();
      while (auto request = server.receive()) {
        const std::uint64_t n = request.request().number;
        EXPECT_TRUE(request.reply({n, n * n}));
        ++served;
      }
    });
  }
  std::vector<std::thread> clients;
  for (std::uint64_t c = 0; c < 3; ++c) {
    clients.emplace_back([&, c] {
      auto client = calls.client();
      for (std::uint64_t i = 0; i < each; ++i) {
        const std::uint64_t n = c * 1'000'000 + i;
        const auto result = client.call({n});
        ASSERT_TRUE(result);
        ASSERT_EQ(result->number, n);
        ASSERT_EQ(result->square, n * n);
      }
    });
  }
  for (auto& t : clients) t.join();
  calls.close();
  for (auto& t : servers) t.join();
  EXPECT_EQ(served, 3 * each);
  EXPECT_EQ(calls.size(), 0u);
}

TEST_F(CallQueue, AClosedOneFinishesWhatIsUnderWay) {
  calls_type& calls = make(8);
  auto client = calls.client();
  auto server = calls.server();
  auto under_way = client.start({5});
  calls.close();
  EXPECT_EQ(client.call({6}).status(), call_status::closed);
  auto request = server.receive();
  ASSERT_TRUE(request);
  request.reply({5, 25});
  EXPECT_EQ(under_way.get()->square, 25u);
  EXPECT_EQ(server.receive().status(), receive_status::closed);
  calls.reopen();
  EXPECT_EQ(client.call_for({6}, 1ms).status(), call_status::timed_out);
}

TEST_F(CallQueue, WhoHoldsADestroyedOneIsTold) {
  calls_type& calls = make(4);
  auto client = calls.client();
  auto server = calls.server();
  auto taken = client.start({3});
  auto request = server.try_receive();
  ASSERT_TRUE(request);
  auto waits = client.start({5});
  auto forgotten = client.start({6});
  EXPECT_EQ(calls.statistics().requests, 3u);
  EXPECT_EQ(calls.statistics().under_way, 3u);
  EXPECT_TRUE(segment.destroy<calls_type>("calls"));
  // What a server has in hand goes on; what none has taken comes back to its client.
  EXPECT_TRUE(request.reply({3, 9}));
  EXPECT_EQ(taken.get()->square, 9u);
  EXPECT_EQ(waits.get().status(), call_status::closed);
  EXPECT_EQ(client.call({7}).status(), call_status::closed);
  auto last = server.receive();
  ASSERT_TRUE(last) << "drained first";
  EXPECT_EQ(last.request().number, 6u);
  EXPECT_TRUE(last.reply({6, 36}));
  EXPECT_EQ(server.receive().status(), receive_status::destroyed);
  EXPECT_EQ(forgotten.get()->square, 36u);
}
