// message_queue as one process sees it: letters in place, order, sizes, room, priorities, closing.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "objects.hpp"

import ipcpp;
import ipcpp.platform;

using namespace std::chrono_literals;
using namespace ipcpp::literals;
using ipcpp::message_queue;
using ipcpp::message_queue_options;
using ipcpp::receive_status;
using ipcpp::send_result;

namespace {

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}
std::string text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

struct MessageQueue : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 64_MiB});
  message_queue& make(const message_queue_options& options) {
    return segment.construct<message_queue>("mail", options);
  }
};

}  // namespace

TEST_F(MessageQueue, ALetterIsWrittenAndReadInPlace) {
  message_queue& mail = make({.capacity = 4096});
  auto out = mail.sender();
  auto in = mail.receiver();
  {
    auto letter = out.claim(5);
    ASSERT_TRUE(letter);
    EXPECT_TRUE(segment.contains(letter.data()));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(letter.data()) % 16, 0u);
    std::memcpy(letter.data(), "hello", 5);
    EXPECT_FALSE(in.try_receive()) << "a claim is not a letter";
    letter.commit();
    EXPECT_FALSE(letter);
  }
  auto letter = in.try_receive();
  ASSERT_TRUE(letter);
  EXPECT_EQ(text(*letter), "hello");
  EXPECT_TRUE(segment.contains(letter->data()));
  EXPECT_FALSE(letter.redelivered());
  EXPECT_EQ(in.try_receive().status(), receive_status::empty);
}

TEST_F(MessageQueue, WhatIsNotCommittedIsWithdrawn) {
  message_queue& mail = make({.capacity = 4096});
  auto out = mail.sender();
  auto in = mail.receiver();
  {
    auto letter = out.claim(100);
  }
  {
    auto letter = out.claim(100);
    letter.withdraw();
    letter.commit();  // nothing any more
  }
  out.send(bytes("after"));
  auto letter = in.try_receive();
  ASSERT_TRUE(letter);
  EXPECT_EQ(text(*letter), "after");
  EXPECT_EQ(mail.statistics().withdrawn, 2u);
  EXPECT_EQ(mail.statistics().sent, 1u);
}

TEST_F(MessageQueue, ALetterMayBeCommittedShorterAndMayBeEmpty) {
  message_queue& mail = make({.capacity = 4096});
  auto out = mail.sender();
  auto in = mail.receiver();
  auto letter = out.claim(1000);
  std::memcpy(letter.data(), "abc", 3);
  letter.commit(3);
  EXPECT_EQ(text(*in.try_receive()), "abc");
  out.send({});
  auto empty = in.try_receive();
  ASSERT_TRUE(empty);
  EXPECT_EQ(empty->size(), 0u);
}

TEST_F(MessageQueue, LettersComeInTheOrderOfTheirClaims) {
  message_queue& mail = make({.capacity = 4096});
  auto out = mail.sender();
  auto in = mail.receiver();
  auto first = out.claim(1);
  auto second = out.claim(1);
  *second.data() = std::byte{2};
  second.commit();
  EXPECT_EQ(in.try_receive().status(), receive_status::empty) << "the first one is under way";
  *first.data() = std::byte{1};
  first.commit();
  EXPECT_EQ(*in.try_receive()->data(), std::byte{1});
  EXPECT_EQ(*in.try_receive()->data(), std::byte{2});
}

TEST_F(MessageQueue, AnySizeFitsAnywhereInTheRing) {
  for (const auto mode : {ipcpp::users::one, ipcpp::users::many}) {
    message_queue& mail = make({.capacity = 4096, .senders = mode, .receivers = mode});
    auto out = mail.sender();
    auto in = mail.receiver();
    std::mt19937 random(7);
    std::vector<std::byte> noise(mail.max_message_size());
    for (auto& b : noise) b = static_cast<std::byte>(random());
    for (int i = 0; i < 20'000; ++i) {
      const std::size_t n = random() % (noise.size() + 1);
      const std::size_t from = random() % (noise.size() - n + 1);
      ASSERT_TRUE(out.try_send(std::span(noise).subspan(from, n))) << i << ' ' << n;
      auto letter = in.try_receive();
      ASSERT_TRUE(letter) << i;
      ASSERT_EQ(letter->size(), n);
      ASSERT_TRUE(n == 0 || std::memcmp(letter->data(), noise.data() + from, n) == 0) << i;
    }
    EXPECT_EQ(mail.statistics().sent, 20'000u);
    EXPECT_EQ(mail.statistics().received, 20'000u);
    EXPECT_EQ(mail.statistics().bytes_in_use, 0u);
    segment.destroy<message_queue>("mail");
  }
}

TEST_F(MessageQueue, ManyLettersOfManySizesKeepTheirOrder) {
  message_queue& mail = make({.capacity = 8192});
  auto out = mail.sender();
  auto in = mail.receiver();
  std::mt19937 random(11);
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::vector<std::byte> message(mail.max_message_size());
  while (received < 50'000) {
    const std::size_t n = 8 + random() % (random() % 8 == 0 ? message.size() - 8 : 100);
    std::memcpy(message.data(), &sent, 8);
    std::memset(message.data() + 8, static_cast<int>(sent & 0xff), n - 8);
    if (random() % 3 != 0 && out.try_send(std::span(message).first(n))) {
      ++sent;
    } else if (auto letter = in.try_receive()) {
      std::uint64_t number = 0;
      std::memcpy(&number, letter->data(), 8);
      ASSERT_EQ(number, received);
      for (std::size_t i = 8; i < letter->size(); ++i)
        ASSERT_EQ(letter->data()[i], static_cast<std::byte>(received & 0xff));
      ++received;
    }
  }
  EXPECT_EQ(mail.size(), sent - received);
}

TEST_F(MessageQueue, TooLargeIsAnErrorAndFullIsNot) {
  message_queue& mail = make({.capacity = 1024});
  auto out = mail.sender();
  auto in = mail.receiver();
  EXPECT_EQ(mail.capacity(), 1024u);
  EXPECT_EQ(mail.max_message_size(), 496u);
  EXPECT_ERROR(out.try_claim(497), invalid_argument);
  EXPECT_ERROR(out.claim(497), invalid_argument);
  EXPECT_ERROR(out.try_send(std::vector<std::byte>(497)), invalid_argument);
  EXPECT_ERROR(out.claim_for(497, 1ms), invalid_argument);
  int sent = 0;
  while (out.try_send(bytes("0123456789"))) ++sent;
  EXPECT_EQ(sent, 15);  // of 16 granules one stays free
  EXPECT_EQ(out.try_send(bytes("x")).result(), send_result::full);
  EXPECT_EQ(out.try_claim(1).status().result(), send_result::full);
  EXPECT_EQ(out.send_for(bytes("x"), 1ms).result(), send_result::timed_out);
  EXPECT_EQ(out.claim_for(1, 1ms).status().result(), send_result::timed_out);
  EXPECT_EQ(mail.size(), 15u);
  EXPECT_TRUE(in.try_receive());
  EXPECT_TRUE(out.try_send(bytes("x")));
}

TEST_F(MessageQueue, LettersMayBeReleasedInAnyOrder) {
  message_queue& mail = make({.capacity = 1024});
  auto out = mail.sender();
  auto in = mail.receiver();
  for (int i = 0; i < 3; ++i) out.send(bytes("abc"));
  auto a = in.try_receive();
  auto b = in.try_receive();
  auto c = in.try_receive();
  ASSERT_TRUE(a && b && c);
  const std::size_t before = mail.statistics().bytes_in_use;
  b->release();
  c->release();
  EXPECT_EQ(text(*a), "abc");
  EXPECT_EQ(mail.statistics().bytes_in_use, before) << "space is free in the order of the ring";
  a->release();
  EXPECT_EQ(mail.statistics().bytes_in_use, 0u);
}

TEST_F(MessageQueue, ALetterMayBeReleasedByAnotherThread) {
  message_queue& mail = make({.capacity = 1024});
  auto out = mail.sender();
  auto in = mail.receiver();
  out.send(bytes("abc"));
  auto letter = in.try_receive();
  std::thread([taken = std::move(letter)]() mutable { taken->release(); }).join();
  EXPECT_EQ(mail.statistics().bytes_in_use, 0u);
}

TEST_F(MessageQueue, HigherPrioritiesComeFirst) {
  message_queue& mail = make({.capacity = 1024, .priorities = 3});
  auto out = mail.sender();
  auto in = mail.receiver();
  out.send(bytes("low"), 0);
  out.send(bytes("high"), 2);
  out.send(bytes("middle"), 1);
  out.send(bytes("high again"), 2);
  EXPECT_ERROR(out.try_send(bytes("x"), 3), invalid_argument);
  for (const std::string_view expected : {"high", "high again", "middle", "low"}) {
    auto letter = in.try_receive();
    ASSERT_TRUE(letter);
    EXPECT_EQ(text(*letter), expected);
  }
  while (out.try_send(bytes("low"), 0)) {
  }
  EXPECT_TRUE(out.try_send(bytes("high"), 2)) << "each priority has its own room";
  EXPECT_EQ(in.try_receive()->priority(), 2u);
}

TEST_F(MessageQueue, BatchesGoAsFarAsThereIsRoom) {
  message_queue& mail = make({.capacity = 1024});
  auto out = mail.sender();
  auto in = mail.receiver();
  const std::vector<std::span<const std::byte>> many(20, bytes("one of many"));
  EXPECT_EQ(out.try_send_batch(many), 15u);
  std::size_t seen = 0;
  EXPECT_EQ(in.try_receive_batch(10, [&](const ipcpp::incoming_letter& l) { seen += l.size(); }),
            10u);
  EXPECT_EQ(seen, 110u);
  EXPECT_EQ(in.try_receive_batch(10, [](const ipcpp::incoming_letter&) {}), 5u);
}

TEST_F(MessageQueue, BlockingBatchesGoThroughASmallRing) {
  message_queue& mail = make({.capacity = 1024});
  auto out = mail.sender();
  auto in = mail.receiver();
  const std::vector<std::span<const std::byte>> many(100, bytes("one of many"));
  EXPECT_EQ(out.send_batch_for(many, 1ms), 15u);
  std::size_t seen = 0;
  const auto count = [&](const ipcpp::incoming_letter&) { ++seen; };
  EXPECT_EQ(in.receive_batch(4, count), 4u);
  EXPECT_EQ(in.receive_batch(100, count), 11u);
  EXPECT_EQ(in.receive_batch_for(1, 1ms, count), 0u);
  std::thread reads([&] {
    while (in.receive_batch(7, count) != 0) {
    }
  });
  out.send_batch(many);
  mail.close();
  reads.join();
  EXPECT_EQ(seen, 115u);
  EXPECT_ERROR(out.send_batch(many), closed);
}

TEST_F(MessageQueue, AClosedQueueIsDrainedThenEndsAndCanBeReopened) {
  message_queue& mail = make({.capacity = 1024});
  auto out = mail.sender();
  auto in = mail.receiver();
  out.send(bytes("last"));
  auto pending = out.claim(3);
  mail.close();
  EXPECT_TRUE(mail.is_closed());
  EXPECT_EQ(out.try_send(bytes("x")).result(), send_result::closed);
  EXPECT_ERROR(out.send(bytes("x")), closed);
  EXPECT_ERROR(out.claim(1), closed);
  EXPECT_EQ(text(*in.receive()), "last");
  EXPECT_EQ(in.try_receive().status(), receive_status::empty) << "one is still under way";
  std::memcpy(pending.data(), "end", 3);
  pending.commit();
  EXPECT_EQ(text(*in.receive()), "end");
  EXPECT_EQ(in.receive().status(), receive_status::closed);
  mail.reopen();
  EXPECT_EQ(in.try_receive().status(), receive_status::empty);
  EXPECT_TRUE(out.try_send(bytes("again")));
  EXPECT_EQ(text(*in.receive()), "again");
}

TEST_F(MessageQueue, WhoHoldsADestroyedQueueIsTold) {
  message_queue& mail = make({.capacity = 1024});
  auto out = mail.sender();
  auto in = mail.receiver();
  out.send(bytes("left"));
  segment.destroy<message_queue>("mail");
  EXPECT_EQ(out.try_send(bytes("x")).result(), send_result::destroyed);
  EXPECT_ERROR(out.send(bytes("x")), closed);
  EXPECT_EQ(text(*in.receive()), "left");
  EXPECT_EQ(in.receive().status(), receive_status::destroyed);
}

TEST_F(MessageQueue, OneSenderAndOneReceiverAtATimeIfSoChosen) {
  message_queue& mail =
      make({.capacity = 1024, .senders = ipcpp::users::one, .receivers = ipcpp::users::one});
  {
    auto out = mail.sender();
    auto in = mail.receiver();
    EXPECT_ERROR(mail.sender(), limit_reached);
    EXPECT_ERROR(mail.receiver(), limit_reached);
  }
  auto out = mail.sender();
  auto in = mail.receiver();
  out.send(bytes("next"));
  EXPECT_EQ(text(*in.receive()), "next");
}

TEST_F(MessageQueue, AReceiverThatLeavesGivesItsLettersBack) {
  message_queue& mail = make({.capacity = 1024});
  auto out = mail.sender();
  out.send(bytes("one"));
  auto other = mail.receiver();
  {
    auto in = mail.receiver();
    auto letter = in.try_receive();
    ASSERT_TRUE(letter);
    in = mail.receiver();  // the letter was not released, and never will be
    [[maybe_unused]] static const auto* const kept = new ipcpp::received_letter(std::move(letter));
  }
  auto letter = other.receive_for(5s);
  ASSERT_TRUE(letter);
  EXPECT_EQ(text(*letter), "one");
  EXPECT_TRUE(letter.redelivered());
}

TEST_F(MessageQueue, SendersAndReceiversWakeEachOther) {
  message_queue& mail = make({.capacity = 1024});
  constexpr int rounds = 3000;
  std::thread sender([&] {
    auto out = mail.sender();
    for (int i = 0; i < rounds; ++i) {
      auto letter = out.claim(sizeof i + static_cast<std::size_t>(i % 400));
      std::memcpy(letter.data(), &i, sizeof i);
      letter.commit();
    }
  });
  auto in = mail.receiver();
  for (int i = 0; i < rounds; ++i) {
    auto letter = in.receive();
    ASSERT_TRUE(letter);
    int number = 0;
    std::memcpy(&number, letter->data(), sizeof number);
    ASSERT_EQ(number, i);
  }
  sender.join();
}

TEST_F(MessageQueue, ManySendersAndReceiversShareTheWork) {
  message_queue& mail = make({.capacity = 4096});
  constexpr int each = 5000;
  std::vector<std::thread> threads;
  for (int s = 0; s < 3; ++s) {
    threads.emplace_back([&, s] {
      auto out = mail.sender();
      for (int i = 0; i < each; ++i) {
        const int message[2] = {s, i};
        const std::size_t extra = static_cast<std::size_t>((i * 37) % 300);
        auto letter = out.claim(sizeof message + extra);
        std::memcpy(letter.data(), message, sizeof message);
        std::memset(letter.data() + sizeof message, i & 0xff, extra);
        letter.commit();
      }
    });
  }
  std::atomic<int> received{0};
  for (int r = 0; r < 2; ++r) {
    threads.emplace_back([&] {
      auto in = mail.receiver();
      int last[3] = {-1, -1, -1};
      for (;;) {
        auto letter = in.receive();
        if (!letter) break;
        int message[2];
        std::memcpy(message, letter->data(), sizeof message);
        EXPECT_GT(message[1], last[message[0]]) << "each sender's letters in their order";
        last[message[0]] = message[1];
        for (std::size_t i = sizeof message; i < letter->size(); ++i)
          EXPECT_EQ(letter->data()[i], static_cast<std::byte>(message[1] & 0xff));
        if (++received == 3 * each) mail.close();
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(received, 3 * each);
  EXPECT_EQ(mail.statistics().bytes_in_use, 0u);
}

TEST_F(MessageQueue, ItIsWaitedForTogetherWithOthers) {
  message_queue& mail = make({.capacity = 1024});
  auto out = mail.sender();
  auto in = mail.receiver();
  EXPECT_FALSE(ipcpp::detail::wait_for(in.wait_source(), std::chrono::steady_clock::now() + 1ms));
  out.send(bytes("x"));
  EXPECT_TRUE(ipcpp::detail::wait_for(in.wait_source(), std::chrono::steady_clock::now() + 1s));
}

TEST_F(MessageQueue, WithoutAHeapThereIsNone) {
  EXPECT_ERROR(message_queue(1024, ipcpp::allocator<std::byte>{}), invalid_argument);
  EXPECT_ERROR(make({.capacity = 0}), invalid_argument);
  EXPECT_ERROR(make({.priorities = 9}), invalid_argument);
}
