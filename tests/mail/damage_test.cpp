// A peer scribbles over the queues: messages may be lost and errors come up, but nothing outside the
// queue is touched, nothing hangs, and after the scribbling the queue can be used again or says that
// it cannot. Every word of the block is written over with hostile values, one at a time, at several
// states; then many at once.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

import ipcpp;
import ipcpp.platform;

using namespace ipcpp::literals;
using ipcpp::broadcast_queue;
using ipcpp::loan_queue;
using ipcpp::message_queue;

namespace {

struct item {
  std::uint64_t number;
  std::uint64_t more[3];
};

const std::uint64_t hostile[] = {0,
                                 1,
                                 2,
                                 3,
                                 7,
                                 64,
                                 1023,
                                 0xffff,
                                 0xffffffff,
                                 std::uint64_t{1} << 31,
                                 std::uint64_t{1} << 32,
                                 std::uint64_t{1} << 36,
                                 std::uint64_t{1} << 62,
                                 std::uint64_t{1} << 63,
                                 ~std::uint64_t{0},
                                 ~std::uint64_t{0} >> 1,
                                 0x5555555555555555,
                                 0x0000001000000401};

// Between guards, so that what is written outside is seen.
struct stage {
  static constexpr std::size_t guard_bytes = 4096;
  static constexpr std::byte guard_value{0xa5};

  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 4_MiB});
  std::span<std::byte> block;
  std::vector<std::byte*> guards;

  stage() { add_guards(); }
  stage(const stage&) = delete;
  stage& operator=(const stage&) = delete;
  ~stage() {
    for (const std::byte* const guard : guards)
      for (std::size_t i = 0; i < guard_bytes; ++i)
        if (guard[i] != guard_value) {
          ADD_FAILURE() << "wrote out of the queue";
          return;
        }
  }
  void add_guards() {
    for (int i = 0; i < 3; ++i) {
      guards.push_back(static_cast<std::byte*>(segment.heap().allocate(guard_bytes)));
      std::memset(guards.back(), static_cast<int>(guard_value), guard_bytes);
    }
  }

  template <class Queue>
  void watch(Queue& queue) {
    auto* const link =
        reinterpret_cast<ipcpp::offset_ptr<std::byte>*>(reinterpret_cast<std::byte*>(&queue) + 8);
    std::uint64_t size = 0;
    std::memcpy(&size, link->get() + 16, sizeof size);
    block = {link->get(), static_cast<std::size_t>(size)};
    add_guards();
  }
  void scribble(std::size_t word, std::uint64_t value) {
    std::memcpy(block.data() + word * 8, &value, 8);
  }
  std::size_t words() const { return block.size() / 8; }
};

// Runs `use` and takes errors for an answer.
template <class Use>
void survive(Use&& use) {
  try {
    use();
  } catch (const ipcpp::error&) {
  }
}

// The first 256 bytes are the head, whose constants are checked at attach only.
constexpr std::size_t first_word = 32;

}  // namespace

TEST(Damage, OfAMessageQueueCostsMessagesAndNoMore) {
  std::size_t cases = 0;
  for (std::uint32_t filled : {0u, 3u, 12u}) {
    stage probe;
    probe.watch(probe.segment.construct<message_queue>(
        "mail", ipcpp::message_queue_options{.capacity = 1024, .endpoints = 3}));
    for (std::size_t word = first_word; word < probe.words(); word += word < 600 ? 1 : 3) {
      for (const std::uint64_t value : {hostile[(word + filled) % std::size(hostile)],
                                        hostile[(word * 7 + 3) % std::size(hostile)]}) {
        stage now;
        auto& mail = now.segment.construct<message_queue>(
            "mail", ipcpp::message_queue_options{.capacity = 1024, .endpoints = 3});
        now.watch(mail);
        auto out = mail.sender();
        auto in = mail.receiver();
        const std::vector<std::byte> message(40, std::byte{7});
        for (std::uint32_t i = 0; i < filled; ++i) ASSERT_TRUE(out.try_send(message));
        now.scribble(word, value);
        ++cases;
        for (int turn = 0; turn < 40; ++turn) {
          survive([&] { (void)out.try_send(message); });
          survive([&] {
            auto letter = in.try_receive();
            if (!letter) return;
            ASSERT_GE(letter->data(), now.block.data());
            ASSERT_LE(letter->size(), 1024u);
            ASSERT_LE(letter->data() + letter->size(), now.block.data() + now.block.size());
          });
        }
        survive([&] { (void)mail.size(); });
        survive([&] { (void)mail.statistics(); });
      }
    }
  }
  EXPECT_GE(cases, 2000u);
}

TEST(Damage, OfAMessageQueueIsOverWhenTheRingGoesOn) {
  // Words of the ring proper, one at a time: after some errors letters come again, whole.
  std::size_t dead_ends = 0;
  std::size_t cases = 0;
  for (std::size_t word = first_word; word < 1200; ++word) {
    stage now;
    auto& mail = now.segment.construct<message_queue>(
        "mail", ipcpp::message_queue_options{.capacity = 1024, .endpoints = 3});
    now.watch(mail);
    if (word >= now.words()) break;
    const std::size_t slots_end = (256 + 5 * 128) / 8;
    if (word < slots_end) continue;  // endpoints: whose they are is lost with them
    auto out = mail.sender();
    auto in = mail.receiver();
    const std::vector<std::byte> message(40, std::byte{7});
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(out.try_send(message));
    now.scribble(word, hostile[word % std::size(hostile)]);
    ++cases;
    int good_in_a_row = 0;
    for (int turn = 0; turn < 400 && good_in_a_row < 20; ++turn) {
      bool good = false;
      survive([&] { (void)out.try_send(message); });
      survive([&] {
        auto letter = in.try_receive();
        good = letter && letter->size() == 40 && letter->data()[39] == std::byte{7};
      });
      good_in_a_row = good ? good_in_a_row + 1 : 0;
    }
    if (good_in_a_row < 20) {
      ++dead_ends;
      ADD_FAILURE() << "word " << word << " with " << hostile[word % std::size(hostile)]
                    << " stopped the queue for good";
    }
  }
  EXPECT_GE(cases, 100u);
  EXPECT_EQ(dead_ends, 0u);
}

TEST(Damage, OfABroadcastQueueCostsMessagesAndNoMore) {
  std::size_t cases = 0;
  for (const auto what : {ipcpp::overflow::drop_oldest, ipcpp::overflow::fail}) {
    stage probe;
    const ipcpp::broadcast_queue_options options{.capacity = 8, .overflow = what, .endpoints = 3};
    probe.watch(probe.segment.construct<broadcast_queue<item>>("feed", options));
    for (std::size_t word = first_word; word < probe.words(); ++word) {
      for (std::size_t i = 0; i < 5; ++i) {
        const std::uint64_t value = hostile[(word * 5 + i * 7) % std::size(hostile)];
        stage now;
        auto& feed = now.segment.construct<broadcast_queue<item>>("feed", options);
        now.watch(feed);
        auto publisher = feed.publisher();
        auto subscriber = feed.subscriber();
        for (std::uint64_t i = 0; i < 5; ++i) publisher.publish({i, {i, i, i}});
        now.scribble(word, value);
        ++cases;
        for (std::uint64_t turn = 0; turn < 80; ++turn) {
          survive([&] { (void)publisher.try_publish({turn, {turn, turn, turn}}); });
          survive([&] { (void)subscriber.try_receive(); });
        }
        survive([&] { (void)feed.statistics(); });
      }
    }
  }
  EXPECT_GE(cases, 1000u);
}

TEST(Damage, OfALoanQueueCostsMessagesAndNoMore) {
  const ipcpp::loan_queue_options options{.chunk_bytes = 100,
                                          .chunks = 5,
                                          .capacity = 4,
                                          .overflow = ipcpp::overflow::drop_oldest,
                                          .endpoints = 3};
  stage probe;
  probe.watch(probe.segment.construct<loan_queue>("frames", options));
  for (std::size_t word = first_word; word < probe.words(); ++word) {
    for (std::size_t i = 0; i < 5; ++i) {
      const std::uint64_t value = hostile[(word * 5 + i * 7) % std::size(hostile)];
      stage now;
      auto& frames = now.segment.construct<loan_queue>("frames", options);
      now.watch(frames);
      auto publisher = frames.publisher();
      auto subscriber = frames.subscriber();
      for (int i = 0; i < 3; ++i) publisher.loan(64).publish();
      now.scribble(word, value);
      for (int turn = 0; turn < 20; ++turn) {
        survive([&] {
          auto loan = publisher.try_loan(64);
          if (!loan) return;
          ASSERT_LE(loan.data() + 64, now.block.data() + now.block.size());
          std::memset(loan.data(), turn, 64);
          (void)loan.try_publish();
        });
        survive([&] {
          auto loan = subscriber.try_receive();
          if (!loan) return;
          ASSERT_GE(loan.data(), now.block.data());
          ASSERT_LE(loan.data() + loan.size(), now.block.data() + now.block.size());
        });
      }
      survive([&] { (void)frames.statistics(); });
    }
  }
}

TEST(Damage, OfACallQueueCostsCallsAndNoMore) {
  using calls_type = ipcpp::call_queue<item, item>;
  const ipcpp::call_queue_options options{.capacity = 3, .endpoints = 3};
  stage probe;
  probe.watch(probe.segment.construct<calls_type>("calls", options));
  std::size_t cases = 0;
  for (std::size_t word = first_word; word < probe.words(); ++word) {
    for (std::size_t i = 0; i < 4; ++i) {
      const std::uint64_t value = hostile[(word * 5 + i * 7) % std::size(hostile)];
      stage now;
      auto& calls = now.segment.construct<calls_type>("calls", options);
      now.watch(calls);
      auto client = calls.client();
      auto server = calls.server();
      auto before = client.start({1, {}});
      auto taken = client.start({2, {}});
      auto request = server.try_receive();
      now.scribble(word, value);
      ++cases;
      survive([&] { (void)request.reply({3, {}}); });
      for (std::uint64_t turn = 0; turn < 20; ++turn) {
        survive([&] {
          auto call = client.try_start({turn, {}});
          auto got = server.try_receive();
          if (got) (void)got.reply(got.request());
          (void)call.try_get();
        });
      }
      survive([&] { (void)before.try_get(); });
      survive([&] { (void)taken.try_get(); });
      survive([&] { (void)calls.statistics(); });
      survive([&] {
        calls.close();
        for (int looks = 0; looks < 1100; ++looks) (void)server.try_receive();
      });
    }
  }
  EXPECT_GE(cases, 300u);
}

TEST(Damage, OfEverythingAtOnceHangsNobody) {
  std::mt19937_64 random(20260101);
  for (int round = 0; round < 300; ++round) {
    stage now;
    auto& mail = now.segment.construct<message_queue>(
        "mail", ipcpp::message_queue_options{.capacity = 2048, .priorities = 2, .endpoints = 4});
    now.watch(mail);
    auto out = mail.sender();
    auto in = mail.receiver();
    const std::vector<std::byte> message(100, std::byte{7});
    for (int turn = 0; turn < 30; ++turn) {
      for (int n = 0; n < 4; ++n)
        now.scribble(first_word + random() % (now.words() - first_word),
                     random() % 2 == 0 ? hostile[random() % std::size(hostile)] : random());
      survive([&] { (void)out.try_send(message, static_cast<std::uint32_t>(random() % 2)); });
      survive([&] {
        auto letter = in.try_receive();
        if (letter) {
          ASSERT_LE(letter->data() + letter->size(), now.block.data() + now.block.size());
        }
      });
      survive([&] { (void)mail.size(); });
    }
  }
}
