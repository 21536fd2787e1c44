// broadcast_queue under death at every instruction of publishing, subscribing, receiving, leaving and
// mending. After each kill: subscribers see the survivors' messages in order, each once and whole,
// nobody is blocked by the dead.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>
#include <unistd.h>

#include "posix_process.hpp"
#include "single_step.hpp"

import ipcpp;
import ipcpp.platform;

using ipcpp::broadcast_queue;
using ipcpp::overflow;
using namespace ipcpp::literals;

namespace {

struct note {
  std::uint64_t number;
  std::uint64_t complement[4];
};
note make_note(std::uint64_t n) {
  return {n, {~n, ~n, ~n, ~n}};
}
bool whole(const note& n) {
  for (const auto c : n.complement)
    if (c != ~n.number) return false;
  return true;
}

constexpr std::size_t capacity = 4;

struct stage {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1_MiB});
  broadcast_queue<note>* feed = nullptr;
  ipcpp::broadcast_publisher<note> publisher;
  ipcpp::broadcast_subscriber<note> subscriber;

  explicit stage(overflow what) {
    feed = &segment.construct<broadcast_queue<note>>(
        "feed",
        ipcpp::broadcast_queue_options{.capacity = capacity, .overflow = what, .endpoints = 6});
    publisher = feed->publisher();
    subscriber = feed->subscriber();
  }
  std::span<const std::byte> bytes() const {
    const auto* const link = reinterpret_cast<const ipcpp::offset_ptr<std::byte>*>(
        reinterpret_cast<const std::byte*>(feed) + 8);
    std::uint64_t size = 0;
    std::memcpy(&size, link->get() + 16, sizeof size);
    return {link->get(), static_cast<std::size_t>(size)};
  }
  std::vector<std::uint64_t> drain() {
    std::vector<std::uint64_t> all;
    for (int looks = 0; looks < 3300;) {
      if (auto n = subscriber.try_receive()) {
        EXPECT_TRUE(whole(*n)) << "torn";
        all.push_back(n->number);
      } else {
        ++looks;
      }
    }
    return all;
  }
  void use_again() {
    auto other = feed->subscriber();
    for (std::uint64_t lap = 0; lap < 3; ++lap) {
      for (std::uint64_t i = 0; i < capacity; ++i)
        ASSERT_TRUE(publisher.try_publish(make_note(1000 + i))) << "blocked by the dead";
      for (std::uint64_t i = 0; i < capacity; ++i) {
        auto a = subscriber.try_receive();
        auto b = other.try_receive();
        ASSERT_TRUE(a && b);
        EXPECT_EQ(a->number, 1000 + i);
        EXPECT_EQ(b->number, 1000 + i);
      }
    }
  }
};

struct CrashBroadcast : testing::Test {
  std::unique_ptr<stage> now;

  void SetUp() override {
    if (const std::string reason = crash::why_not(); !reason.empty()) GTEST_SKIP() << reason;
  }
  crash::scene scene(std::string name, std::function<void()> prepare,
                     std::function<void()> operation, std::function<void(bool)> check) {
    return {.name = std::move(name),
            .prepare = std::move(prepare),
            .operation = std::move(operation),
            .while_stopped = [] {},
            .check = std::move(check),
            .watched = [this] { return now->bytes(); }};
  }
};

}  // namespace

TEST_F(CrashBroadcast, KilledAtEveryInstructionOfPublishing) {
  for (const overflow what : {overflow::block, overflow::drop_oldest}) {
    for (const std::uint64_t before : {0u, 2u, 3u}) {
      auto s = scene(
          std::string("publish two, ") + (what == overflow::block ? "block, " : "drop_oldest, ") +
              std::to_string(before) + " before",
          [&, what, before] {
            now = std::make_unique<stage>(what);
            for (std::uint64_t i = 0; i < before; ++i) now->publisher.publish(make_note(i));
          },
          [&] {
            auto publisher = now->feed->publisher();
            (void)publisher.try_publish(make_note(50));
            (void)publisher.try_publish(make_note(51));
          },
          [&, what, before](bool finished) {
            // Survivors publish over and behind what it left.
            (void)now->publisher.try_publish(make_note(60));
            const auto seen = now->drain();
            if (what == overflow::block) {
              ASSERT_GE(seen.size(), before) << "lost";
              for (std::uint64_t i = 0; i < before; ++i) EXPECT_EQ(seen[i], i);
            }
            std::uint64_t last = 0;
            for (const std::uint64_t n : seen) {
              EXPECT_TRUE(last == 0 || n > last) << "doubled, or out of order";
              last = n;
            }
            if (finished && before < 2) EXPECT_EQ(seen.size(), before + 3);
            now->use_again();
          });
      crash::kill_everywhere(s);
    }
  }
}

TEST_F(CrashBroadcast, KilledAtEveryInstructionOfSubscribingReceivingAndLeaving) {
  for (const overflow what : {overflow::block, overflow::drop_oldest}) {
    auto s = scene(
        std::string("subscribe, receive, leave: ") +
            (what == overflow::block ? "block" : "drop_oldest"),
        [&, what] {
          now = std::make_unique<stage>(what);
          now->publisher.publish(make_note(1));
        },
        [&] {
          auto subscriber = now->feed->subscriber(ipcpp::begin_with::oldest);
          if (auto n = subscriber.try_receive()) {
            if (!whole(*n)) ::_exit(3);
          }
        },
        [&](bool) {
          EXPECT_EQ(now->drain(), std::vector<std::uint64_t>{1});
          now->use_again();
        });
    s.while_stopped = [&, what] {
      // A stopped subscriber is alive: publishers may be held back, but nothing is taken from it.
      if (what == overflow::drop_oldest)
        for (int i = 0; i < 3 * static_cast<int>(capacity); ++i) {
          EXPECT_TRUE(now->publisher.publish(make_note(1)));
          EXPECT_TRUE(now->subscriber.try_receive());
        }
    };
    if (what == overflow::drop_oldest)
      s.check = [&](bool) {
        (void)now->drain();
        now->use_again();
      };
    crash::kill_everywhere(s);
  }
}

TEST_F(CrashBroadcast, KilledAtEveryInstructionOfPublishingOverTheDead) {
  auto s = scene(
      "publish where a dead subscriber holds the ring and a dead publisher a position",
      [&] {
        now = std::make_unique<stage>(overflow::block);
        EXPECT_EQ(test::in_forked_child([&]() -> int {
                    auto slow = now->feed->subscriber();
                    ::_exit(0);
                  }),
                  0);
        for (std::uint64_t i = 0; i < capacity; ++i) now->publisher.publish(make_note(i + 1));
        for (std::uint64_t i = 0; i < capacity; ++i)
          EXPECT_EQ(now->subscriber.try_receive()->number, i + 1);
      },
      [&] {
        auto publisher = now->feed->publisher();
        if (!publisher.try_publish(make_note(70))) ::_exit(4);
      },
      [&](bool finished) {
        const auto seen = now->drain();
        EXPECT_LE(seen.size(), 1u);
        if (finished) EXPECT_EQ(seen.size(), 1u);
        now->use_again();
      });
  crash::kill_everywhere(s);
}

TEST_F(CrashBroadcast, PairsKilledAtEveryInstruction) {
  ipcpp::broadcast_publisher<note> publisher;
  ipcpp::broadcast_subscriber<note> subscriber;
  std::size_t kills = 0;
  for (const overflow what : {overflow::block, overflow::drop_oldest}) {
    const auto prepare = [&, what] {
      now = std::make_unique<stage>(what);
      now->publisher.publish(make_note(1));
    };
    const auto check = [&, what](bool) {
      (void)now->publisher.try_publish(make_note(60));
      const auto seen = now->drain();
      if (what == overflow::block) {
        ASSERT_GE(seen.size(), 1u) << "lost";
        EXPECT_EQ(seen.front(), 1u);
      }
      for (std::size_t i = 1; i < seen.size(); ++i)
        EXPECT_GT(seen[i], seen[i - 1]) << "doubled, or out of order";
      now->use_again();
    };
    const auto publishes = [&](std::uint64_t from) {
      auto s = scene(
          "publish two", prepare,
          [&, from] {
            (void)publisher.try_publish(make_note(from));
            (void)publisher.try_publish(make_note(from + 1));
          },
          check);
      s.before = [&] { publisher = now->feed->publisher(); };
      return s;
    };
    auto receives = scene(
        "receive and mend", prepare,
        [&] {
          const auto source = subscriber.wait_source();
          for (int looks = 0; looks < 3; ++looks) {
            source.tend(source.object);  // as after a slice: looks after the dead
            (void)subscriber.try_receive();
          }
        },
        check);
    receives.before = [&] { subscriber = now->feed->subscriber(ipcpp::begin_with::oldest); };
    for (const auto& first : {publishes(30), receives})
      for (auto second : {publishes(40), receives}) {
        second.most = 8;
        kills += crash::kill_pairs(first, second);
        if (HasFailure()) return;
      }
  }
  std::printf("broadcast_queue: %zu pairs\n", kills);
}
