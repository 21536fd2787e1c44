// A peer that scribbles over a queue costs messages and yields errors; it never leads anybody out of
// the queue's own memory, and nobody hangs in a try_ operation.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "peek.hpp"
#include "roles.hpp"

import ipcpp;

using test::object_in;
using test::tick;

namespace {

// Memory right before and behind a queue's block, which must stay as it was.
struct guards {
  explicit guards(ipcpp::segment& in) : heap(in.heap()) {
    for (auto& block : blocks) {
      block = static_cast<unsigned char*>(heap.allocate(4096));
      std::memset(block, 0xa5, 4096);
    }
  }
  void expect_whole() const {
    unsigned char whole[4096];
    std::memset(whole, 0xa5, sizeof whole);
    for (const unsigned char* block : blocks)
      ASSERT_EQ(std::memcmp(block, whole, sizeof whole), 0) << "wrote out of the queue";
  }
  ipcpp::heap& heap;
  unsigned char* blocks[8] = {};
};

template <class Operation>
void attempt(Operation operation) {
  try {
    operation();
  } catch (const ipcpp::error& e) {
    // damaged, wrong_layout, limit_reached (a scribbled registry), closed: all of them are answers.
    EXPECT_FALSE(std::string(e.what()).empty());
  } catch (const std::bad_alloc&) {
  }
}

std::uint64_t interesting(std::mt19937_64& random, std::uint64_t old) {
  switch (random() % 8) {
    case 0:
      return random();
    case 1:
      return ~std::uint64_t{0};
    case 2:
      return 0;
    case 3:
      return old + 1;
    case 4:
      return old - 1;
    case 5:
      return old ^ (std::uint64_t{1} << random() % 64);
    case 6:
      return random() % 16;
    default:
      return std::uint64_t{1} << random() % 64;
  }
}

template <class Queue, class... Args>
void scribble_over(std::uint64_t seed, const Args&... args) {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1 << 22});
  const guards around(segment);
  std::mt19937_64 random(seed);
  object_in<Queue> queue(segment, std::size_t{4}, args...);
  const guards behind(segment);
  std::vector<typename Queue::sender_type> in;
  std::vector<typename Queue::receiver_type> out;
  in.push_back(queue->sender());
  out.push_back(queue->receiver());
  const auto block = test::block_of(*queue);
  std::vector<std::byte> sound(block.begin(), block.end());
  for (int round = 0; round < 60; ++round) {
    for (int words = 0; words < 3; ++words) {
      const std::size_t at = random() % (block.size() / 8);
      auto* const word = reinterpret_cast<std::uint64_t*>(block.data()) + at;
      *word = interesting(random, *word);
    }
    for (int i = 0; i < 4; ++i) {
      attempt([&] { (void)in[0].try_send({1, 2}); });
      attempt([&] { (void)out[0].try_receive(); });
    }
    std::vector<tick> batch(3);
    attempt([&] { (void)in[0].try_send_batch(batch); });
    attempt([&] { (void)out[0].try_receive_batch(batch); });
    attempt([&] {
      const auto source = out[0].wait_source();
      source.tend(source.object);
      (void)source.ready(source.object);
    });
    attempt([&] { (void)queue->size(); });
    attempt([&] { (void)queue->statistics(); });
    attempt([&] { (void)queue->sender().try_send({3, 4}); });
    attempt([&] { (void)queue->receiver().try_receive(); });
    attempt([&] { queue->close(); });
    attempt([&] { queue->reopen(); });
    around.expect_whole();
    behind.expect_whole();
    if (testing::Test::HasFailure()) return;
  }
  // A sound block again, so that everything can be taken apart.
  std::memcpy(block.data(), sound.data(), sound.size());
}

}  // namespace

TEST(QueueDamage, ScribblingCostsMessagesAndNothingElse) {
  const std::uint64_t seeds = test::prove_in_full() ? 2000 : 100;
  for (std::uint64_t seed = 1; seed <= seeds && !testing::Test::HasFailure(); ++seed) {
    scribble_over<ipcpp::spsc_queue<tick>>(seed);
    scribble_over<ipcpp::mpmc_queue<tick>>(seed, ipcpp::queue_limits{.endpoints = 4});
    scribble_over<ipcpp::mpsc_queue<tick>>(seed, ipcpp::mpsc_limits{.senders = 3});
    if (testing::Test::HasFailure()) ADD_FAILURE() << "seed " << seed;
  }
}

TEST(QueueDamage, AHeadThatSaysMoreThanThereIsIsRefused) {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1 << 22});
  object_in<ipcpp::mpmc_queue<tick>> queue(segment, std::size_t{4});
  auto* const head = test::head_of(*queue);
  const auto refused = [&](auto& field, std::uint64_t value, ipcpp::errc why) {
    const auto old = field;
    field = static_cast<std::remove_reference_t<decltype(field)>>(value);
    std::string message;
    EXPECT_EQ(ERROR_OF((void)queue->sender(), message), static_cast<int>(why)) << message;
    field = old;
  };
  refused(head->magic, 1, ipcpp::errc::damaged);
  refused(head->version, 99, ipcpp::errc::wrong_layout);
  refused(head->kind, 1, ipcpp::errc::wrong_layout);
  refused(head->capacity, 3, ipcpp::errc::damaged);
  refused(head->capacity, 1u << 20, ipcpp::errc::damaged);
  refused(head->capacity, std::uint64_t{1} << 63, ipcpp::errc::damaged);
  refused(head->bytes, std::uint64_t{1} << 40, ipcpp::errc::damaged);
  refused(head->endpoints, 4000, ipcpp::errc::damaged);
  refused(head->endpoints, 0, ipcpp::errc::damaged);
  refused(head->message_bytes, 8, ipcpp::errc::wrong_layout);
  refused(head->stride, 128, ipcpp::errc::wrong_layout);
  EXPECT_NO_THROW((void)queue->sender());
}
