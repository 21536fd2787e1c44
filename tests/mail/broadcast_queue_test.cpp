// broadcast_queue as one process sees it: everybody sees all, what happens on overflow, joining late.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "objects.hpp"

import ipcpp;
import ipcpp.platform;

using namespace std::chrono_literals;
using namespace ipcpp::literals;
using ipcpp::broadcast_queue;
using ipcpp::broadcast_queue_options;
using ipcpp::overflow;
using ipcpp::receive_status;
using ipcpp::send_result;

namespace {

struct tick {
  std::uint64_t number;
  std::uint64_t complement;
  std::uint32_t more[9];
};
tick make_tick(std::uint64_t n) {
  tick t{n, ~n, {}};
  for (auto& m : t.more) m = static_cast<std::uint32_t>(n);
  return t;
}
bool whole(const tick& t) {
  if (t.complement != ~t.number) return false;
  for (const auto m : t.more)
    if (m != static_cast<std::uint32_t>(t.number)) return false;
  return true;
}

struct BroadcastQueue : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 64_MiB});
  broadcast_queue<tick>& make(std::size_t capacity, overflow what) {
    return segment.construct<broadcast_queue<tick>>("feed", capacity, what);
  }
};

}  // namespace

TEST_F(BroadcastQueue, EverySubscriberSeesEveryMessage) {
  for (const overflow what :
       {overflow::block, overflow::drop_oldest, overflow::drop_newest, overflow::fail}) {
    auto& feed = make(16, what);
    auto a = feed.subscriber();
    auto b = feed.subscriber();
    auto publisher = feed.publisher();
    for (std::uint64_t i = 0; i < 1000; ++i) {
      EXPECT_TRUE(publisher.publish(make_tick(i)));
      for (auto* s : {&a, &b}) {
        auto t = s->try_receive();
        ASSERT_TRUE(t);
        EXPECT_EQ(t->number, i);
        EXPECT_TRUE(whole(*t));
        EXPECT_EQ(s->try_receive().status(), receive_status::empty);
      }
    }
    EXPECT_EQ(a.lost(), 0u);
    EXPECT_EQ(feed.statistics().published, 1000u);
    EXPECT_EQ(feed.statistics().received, 2000u);
    segment.destroy<broadcast_queue<tick>>("feed");
  }
}

TEST_F(BroadcastQueue, DropOldestCountsWhatASlowSubscriberMissed) {
  auto& feed = make(8, overflow::drop_oldest);
  auto s = feed.subscriber();
  auto publisher = feed.publisher();
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(publisher.publish(make_tick(i)));
  std::uint64_t seen = 0;
  std::uint64_t last = 0;
  while (auto t = s.try_receive()) {
    ++seen;
    last = t->number;
  }
  EXPECT_EQ(last, 99u);
  EXPECT_EQ(seen + s.lost(), 100u);
  EXPECT_GT(seen, 1u);
  EXPECT_EQ(feed.statistics().lost, s.lost());
}

TEST_F(BroadcastQueue, DropNewestKeepsWhatIsThere) {
  auto& feed = make(4, overflow::drop_newest);
  auto s = feed.subscriber();
  auto publisher = feed.publisher();
  for (std::uint64_t i = 0; i < 10; ++i) EXPECT_EQ(publisher.publish(make_tick(i)), i < 4);
  EXPECT_EQ(publisher.try_publish(make_tick(9)).result(), send_result::full);
  EXPECT_EQ(feed.statistics().dropped, 6u);
  for (std::uint64_t i = 0; i < 4; ++i) EXPECT_EQ(s.try_receive()->number, i);
  EXPECT_FALSE(s.try_receive());
  EXPECT_TRUE(publisher.publish(make_tick(10)));
  EXPECT_EQ(s.try_receive()->number, 10u);
}

TEST_F(BroadcastQueue, FailThrowsAndBlockWaits) {
  {
    auto& feed = make(4, overflow::fail);
    auto s = feed.subscriber();
    auto publisher = feed.publisher();
    for (std::uint64_t i = 0; i < 4; ++i) publisher.publish(make_tick(i));
    EXPECT_ERROR(publisher.publish(make_tick(4)), limit_reached);
    EXPECT_EQ(publisher.publish_for(make_tick(4), 1ms).result(), send_result::timed_out);
  }
  segment.destroy<broadcast_queue<tick>>("feed");
  auto& feed = make(4, overflow::block);
  auto s = feed.subscriber();
  std::thread publishing([&] {
    auto publisher = feed.publisher();
    for (std::uint64_t i = 0; i < 2000; ++i) publisher.publish(make_tick(i));
  });
  for (std::uint64_t i = 0; i < 2000; ++i) {
    auto t = s.receive();
    ASSERT_TRUE(t);
    ASSERT_EQ(t->number, i);
  }
  publishing.join();
}

TEST_F(BroadcastQueue, WithoutSubscribersNobodyIsWaitedFor) {
  auto& feed = make(4, overflow::block);
  auto publisher = feed.publisher();
  for (std::uint64_t i = 0; i < 100; ++i) publisher.publish(make_tick(i));
  auto late = feed.subscriber();
  EXPECT_FALSE(late.try_receive()) << "it sees what is published from now on";
  publisher.publish(make_tick(100));
  EXPECT_EQ(late.try_receive()->number, 100u);
}

TEST_F(BroadcastQueue, ALateSubscriberMaySeeWhatIsStillThere) {
  auto& feed = make(8, overflow::drop_oldest);
  auto publisher = feed.publisher();
  for (std::uint64_t i = 0; i < 5; ++i) publisher.publish(make_tick(i));
  auto late = feed.subscriber(ipcpp::begin_with::oldest);
  for (std::uint64_t i = 0; i < 5; ++i) EXPECT_EQ(late.try_receive()->number, i);
  EXPECT_FALSE(late.try_receive());
}

TEST_F(BroadcastQueue, ASubscriberThatLeavesHoldsNobodyBack) {
  auto& feed = make(4, overflow::block);
  auto publisher = feed.publisher();
  {
    auto s = feed.subscriber();
    for (std::uint64_t i = 0; i < 4; ++i) publisher.publish(make_tick(i));
    EXPECT_EQ(publisher.try_publish(make_tick(4)).result(), send_result::full);
  }
  for (std::uint64_t i = 0; i < 100; ++i) EXPECT_TRUE(publisher.try_publish(make_tick(i)));
}

TEST_F(BroadcastQueue, APollerReadsAlongAndHoldsNobodyBack) {
  auto& feed = make(8, overflow::drop_oldest);
  auto publisher = feed.publisher();
  auto poller = feed.poller();
  EXPECT_FALSE(poller.try_receive());
  for (std::uint64_t i = 0; i < 3; ++i) publisher.publish(make_tick(i));
  for (std::uint64_t i = 0; i < 3; ++i) EXPECT_EQ(poller.try_receive()->number, i);
  for (std::uint64_t i = 3; i < 100; ++i) publisher.publish(make_tick(i));
  std::uint64_t seen = 3;
  while (auto t = poller.try_receive()) {
    EXPECT_TRUE(whole(*t));
    ++seen;
  }
  EXPECT_EQ(seen + poller.lost(), 100u);
  auto& gated = segment.construct<broadcast_queue<tick>>("gated", 8u, overflow::block);
  EXPECT_ERROR(gated.poller(), invalid_argument);
}

TEST_F(BroadcastQueue, AClosedQueueIsDrainedThenEnds) {
  auto& feed = make(8, overflow::block);
  auto s = feed.subscriber();
  auto publisher = feed.publisher();
  publisher.publish(make_tick(1));
  feed.close();
  EXPECT_ERROR(publisher.publish(make_tick(2)), closed);
  EXPECT_EQ(publisher.try_publish(make_tick(2)).result(), send_result::closed);
  EXPECT_EQ(s.receive()->number, 1u);
  EXPECT_EQ(s.receive().status(), receive_status::closed);
  feed.reopen();
  publisher.publish(make_tick(3));
  EXPECT_EQ(s.receive()->number, 3u);
  segment.destroy<broadcast_queue<tick>>("feed");
  EXPECT_EQ(s.receive().status(), receive_status::destroyed);
  EXPECT_EQ(publisher.try_publish(make_tick(4)).result(), send_result::destroyed);
}

TEST_F(BroadcastQueue, BatchesArePublishedAndReceived) {
  auto& feed = make(8, overflow::fail);
  auto s = feed.subscriber();
  auto publisher = feed.publisher();
  std::vector<tick> many;
  for (std::uint64_t i = 0; i < 10; ++i) many.push_back(make_tick(i));
  EXPECT_EQ(publisher.try_publish_batch(many), 8u);
  std::vector<tick> got(10);
  EXPECT_EQ(s.try_receive_batch(got).count, 8u);
  EXPECT_EQ(got[7].number, 7u);
}

TEST_F(BroadcastQueue, ManyPublishersAndSubscribersAgreeOnTheOrder) {
  for (const overflow what : {overflow::block, overflow::drop_oldest}) {
    auto& feed = make(64, what);
    constexpr std::uint64_t each = 4000;
    constexpr int subscribers = 3;
    std::vector<std::vector<std::uint64_t>> seen(subscribers);
    std::vector<std::uint64_t> lost(subscribers);
    std::atomic<int> ready{0};
    std::vector<std::thread> threads;
    for (std::size_t n = 0; n < subscribers; ++n) {
      threads.emplace_back([&, n] {
        auto s = feed.subscriber();
        ++ready;
        while (auto t = s.receive()) {
          ASSERT_TRUE(whole(*t));
          seen[n].push_back(t->number);
        }
        lost[n] = s.lost();
      });
    }
    while (ready < subscribers) std::this_thread::yield();
    std::vector<std::thread> publishers;
    for (std::uint64_t p = 0; p < 2; ++p) {
      publishers.emplace_back([&, p] {
        auto publisher = feed.publisher();
        for (std::uint64_t i = 0; i < each; ++i) publisher.publish(make_tick(p << 32 | i));
      });
    }
    for (auto& t : publishers) t.join();
    feed.close();
    for (auto& t : threads) t.join();
    for (std::size_t n = 0; n < subscribers; ++n) {
      if (what == overflow::block) {
        EXPECT_EQ(seen[n], seen[0]);
        EXPECT_EQ(seen[n].size(), 2 * each);
      } else {
        EXPECT_GE(seen[n].size() + lost[n], 2 * each);
      }
      std::uint64_t next[2] = {0, 0};
      for (const std::uint64_t number : seen[n]) {
        const auto p = static_cast<std::size_t>(number >> 32);
        ASSERT_GE(number & 0xffffffff, next[p]);
        next[p] = (number & 0xffffffff) + 1;
      }
    }
    segment.destroy<broadcast_queue<tick>>("feed");
  }
}

TEST_F(BroadcastQueue, BlockingBatchesGoThroughASmallRing) {
  auto& feed = make(4, overflow::block);
  auto publisher = feed.publisher();
  auto subscriber = feed.subscriber();
  std::vector<tick> many;
  for (std::uint64_t i = 0; i < 50; ++i) many.push_back(make_tick(i));
  EXPECT_EQ(publisher.publish_batch_for(many, 1ms), 4u);
  std::thread reads([&] {
    for (std::uint64_t i = 0; i < 54; ++i) {
      auto got = subscriber.receive();
      ASSERT_TRUE(got);
      EXPECT_EQ(got->number, i < 4 ? i : i - 4);
    }
  });
  EXPECT_EQ(publisher.publish_batch(many), 50u);
  reads.join();
}
