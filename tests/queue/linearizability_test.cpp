// Small concurrent histories of mpmc_queue, checked against a queue: is there an order of the
// operations that explains every result and respects who came before whom in time?
//
// The search is Wing and Gong's ("Testing and verifying concurrent objects", 1993) with Lowe's memory
// of what was tried. A result "empty" or "full" while another operation was under way may be due to
// that (a place claimed, not yet filled or freed), as the queue documents, and then explains nothing.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "queues.hpp"
#include "roles.hpp"

import ipcpp;

using test::object_in;

namespace {

struct numbered {
  std::uint64_t number;
};

struct operation {
  bool sends = false;
  std::uint64_t number = 0;  // sent, or received; 0: full, or empty
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

class history {
 public:
  explicit history(std::size_t capacity) : capacity_(capacity) {}
  void add(const std::vector<operation>& of_one) {
    for (const operation& o : of_one) operations_.push_back(o);
  }
  bool explained() {
    done_.assign(operations_.size(), false);
    // What may be due to somebody else under way says nothing.
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      if (operations_[i].number != 0) continue;
      for (std::size_t j = 0; j < operations_.size(); ++j)
        if (i != j && operations_[j].begin < operations_[i].end &&
            operations_[i].begin < operations_[j].end)
          done_[i] = true;
    }
    tried_.clear();
    return search();
  }
  std::string text() const {
    std::string lines;
    for (const operation& o : operations_)
      lines += (o.sends ? "send " : "receive ") + std::to_string(o.number) + "  [" +
               std::to_string(o.begin) + ", " + std::to_string(o.end) + "]\n";
    return lines;
  }

 private:
  bool search() {
    std::uint64_t first_end = ~std::uint64_t{0};
    bool all = true;
    for (std::size_t i = 0; i < operations_.size(); ++i)
      if (!done_[i]) {
        all = false;
        if (operations_[i].end < first_end) first_end = operations_[i].end;
      }
    if (all) return true;
    if (!tried_.insert({done_, std::vector<std::uint64_t>(queue_.begin(), queue_.end())}).second)
      return false;
    for (std::size_t i = 0; i < operations_.size(); ++i) {
      const operation& o = operations_[i];
      if (done_[i] || o.begin > first_end) continue;  // somebody was over before it began
      if (o.sends && o.number != 0) {
        if (queue_.size() == capacity_) continue;
        queue_.push_back(o.number);
      } else if (o.sends) {
        if (queue_.size() != capacity_) continue;
      } else if (o.number != 0) {
        if (queue_.empty() || queue_.front() != o.number) continue;
        queue_.pop_front();
      } else if (!queue_.empty()) {
        continue;
      }
      done_[i] = true;
      if (search()) return true;
      done_[i] = false;
      if (o.sends && o.number != 0) queue_.pop_back();
      if (!o.sends && o.number != 0) queue_.push_front(o.number);
    }
    return false;
  }

  std::size_t capacity_;
  std::vector<operation> operations_;
  std::vector<bool> done_;
  std::deque<std::uint64_t> queue_;
  std::set<std::pair<std::vector<bool>, std::vector<std::uint64_t>>> tried_;
};

}  // namespace

TEST(QueueLinearizability, TheCheckerKnowsWrongHistories) {
  const auto explained = [](std::vector<operation> operations) {
    history h(2);
    h.add(operations);
    return h.explained();
  };
  EXPECT_TRUE(explained({{true, 1, 1, 2}, {false, 1, 3, 4}}));
  EXPECT_TRUE(explained({{true, 1, 1, 4}, {true, 2, 2, 3}, {false, 2, 5, 6}, {false, 1, 7, 8}}));
  EXPECT_FALSE(explained({{true, 1, 1, 2}, {true, 2, 3, 4}, {false, 2, 5, 6}})) << "out of order";
  EXPECT_FALSE(explained({{true, 1, 1, 2}, {false, 0, 3, 4}})) << "not empty";
  EXPECT_FALSE(explained({{true, 1, 1, 2}, {true, 0, 3, 4}})) << "not full";
  EXPECT_FALSE(explained({{true, 1, 1, 2}, {false, 1, 3, 4}, {false, 1, 5, 6}})) << "twice";
}

TEST(QueueLinearizability, ConcurrentHistoriesAreExplained) {
  constexpr std::size_t parties = 3;
  constexpr std::size_t each = 8;
  const int histories = test::prove_in_full() ? 20000 : 500;
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1 << 22});
  object_in<ipcpp::mpmc_queue<numbered>> queue(segment, std::size_t{2});
  std::atomic<std::uint64_t> now{1};
  std::atomic<int> round{0};
  std::atomic<std::size_t> finished{0};
  std::atomic<bool> stop{false};
  std::vector<operation> of[parties];
  std::vector<std::thread> threads;
  for (std::size_t p = 0; p < parties; ++p)
    threads.emplace_back([&, p] {
      auto in = queue->sender();
      auto out = queue->receiver();
      std::mt19937_64 random(p + 1);
      for (int mine = 1;; ++mine) {
        // Asleep between rounds: on a busy machine, threads that spin here keep each other from running.
        round.wait(mine - 1);
        if (stop) return;
        of[p].clear();
        for (std::size_t i = 0; i < each; ++i) {
          operation o;
          o.sends = random() % 2 == 0;
          if (o.sends) o.number = (p + 1) * 100 + i;
          o.begin = now.fetch_add(1);
          if (random() % 4 == 0) std::this_thread::yield();  // others come in between
          if (o.sends) {
            if (!in.try_send({o.number})) o.number = 0;
          } else if (const auto got = out.try_receive()) {
            o.number = got->number;
          }
          o.end = now.fetch_add(1);
          of[p].push_back(o);
        }
        if (finished.fetch_add(1) + 1 == parties) finished.notify_one();
      }
    });
  auto drain = queue->receiver();
  std::size_t concurrent = 0;
  for (int h = 1; h <= histories; ++h) {
    finished = 0;
    round = h;
    round.notify_all();
    for (std::size_t n = 0; (n = finished.load()) != parties;) finished.wait(n);
    history seen(2);
    for (const auto& operations : of) seen.add(operations);
    for (std::size_t i = 0; i + 1 < parties; ++i)
      if (of[i].front().begin < of[i + 1].back().end && of[i + 1].front().begin < of[i].back().end)
        ++concurrent;
    // What is left belongs to the history.
    std::vector<operation> rest;
    for (;;) {
      operation o;
      o.begin = now.fetch_add(1);
      const auto got = drain.try_receive();
      o.number = got ? got->number : 0;
      o.end = now.fetch_add(1);
      rest.push_back(o);
      if (!got) break;
    }
    seen.add(rest);
    if (!seen.explained()) {
      ADD_FAILURE() << seen.text();
      break;
    }
  }
  stop = true;
  round = histories + 1;
  round.notify_all();
  for (auto& t : threads) t.join();
  EXPECT_GT(concurrent, 0u);
}
