// Receiving in coroutines, on a small executor that polls.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "coroutine_task.hpp"
#include "queues.hpp"

import ipcpp;

using test::object_in;
using test::task;
using test::tick;

namespace {

// The smallest event loop: tries everything that is pending, again and again.
class polling_loop {
 public:
  void start(ipcpp::async_operation& operation) { pending_.push_back(&operation); }
  bool turn() {
    const std::vector<ipcpp::async_operation*> now = pending_;
    bool any = false;
    for (ipcpp::async_operation* operation : now) {
      if (!operation->try_complete()) continue;
      std::erase(pending_, operation);
      operation->resume();
      any = true;
    }
    return any;
  }
  std::size_t pending() const { return pending_.size(); }

 private:
  std::vector<ipcpp::async_operation*> pending_;
};

template <class Receiver>
task collect(Receiver& from, polling_loop& loop, std::vector<std::uint64_t>& into, bool& ended) {
  while (auto next = co_await from.async_receive(loop)) into.push_back(next->sequence);
  ended = true;
}

}  // namespace

TEST(QueueCoroutine, ReceivesInOrderUntilTheQueueIsClosed) {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1 << 22});
  object_in<ipcpp::spsc_queue<tick>> line{segment, 4};
  object_in<ipcpp::mpmc_queue<tick>> pool{segment, 4};
  auto line_out = line->receiver();
  auto pool_out = pool->receiver();
  auto line_in = line->sender();
  auto pool_in = pool->sender();
  polling_loop loop;
  std::vector<std::uint64_t> from_line;
  std::vector<std::uint64_t> from_pool;
  bool line_ended = false;
  bool pool_ended = false;
  line_in.send({1, 0});  // there before the coroutine looks: it does not suspend for it
  collect(line_out, loop, from_line, line_ended);
  collect(pool_out, loop, from_pool, pool_ended);
  EXPECT_EQ(from_line, std::vector<std::uint64_t>{1});
  EXPECT_EQ(loop.pending(), 2u);
  EXPECT_FALSE(loop.turn());
  for (std::uint64_t i = 2; i < 10; ++i) {
    line_in.send({i, 0});
    pool_in.send({i, 0});
    EXPECT_TRUE(loop.turn());
  }
  EXPECT_EQ(from_line.size(), 9u);
  EXPECT_EQ(from_pool.size(), 8u);
  EXPECT_EQ(from_pool.back(), 9u);
  line->close();
  pool->close();
  EXPECT_TRUE(loop.turn());
  EXPECT_TRUE(line_ended);
  EXPECT_TRUE(pool_ended);
  EXPECT_EQ(loop.pending(), 0u);
}
