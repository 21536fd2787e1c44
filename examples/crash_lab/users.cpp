// The users of the crash laboratory: each loops over one kind of operation, notes what it has done, and
// may be killed anywhere.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "../support/program.hpp"
#include "lab.hpp"

import ipcpp;

using namespace std::chrono_literals;

namespace lab {

std::int64_t total_of(const bank& of) noexcept {
  std::int64_t total = 0;
  for (const std::int64_t a : of.account) total += a;
  return total;
}

// The order of stores, for whoever looks after our death: that is program order, if the compiler keeps it.
static void in_this_order() noexcept {
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

void mend(bank& of) noexcept {
  if (of.moving == 0) return;
  of.account[of.from % accounts] = of.from_before;
  of.account[of.to % accounts] = of.to_before;
  in_this_order();
  of.moving = 0;
}

namespace {

class user {
 public:
  user(const std::string& name, std::size_t number)
      : segment_(ipcpp::segment::open(name)),
        board_(*segment_.find<board>("board")),
        mine_(board_.seats.at(number)),
        number_(number),
        random_(static_cast<std::uint32_t>(number + 1)) {}

  int run(std::string_view kind) {
    if (kind == "sender")
      send();
    else if (kind == "receiver")
      receive();
    else if (kind == "counter")
      count();
    else if (kind == "banker")
      move_money();
    else if (kind == "churner")
      churn();
    else if (kind == "reader")
      read();
    else
      throw std::runtime_error("no such kind of user: " + std::string(kind));
    return 0;
  }

 private:
  // A turn is over. Is there another one?
  bool go_on() {
    add_one(mine_.turns);
    return at(board_.over).load(std::memory_order_relaxed) == 0 && !examples::should_stop();
  }
  void complain_unless(bool holds) {
    if (!holds) add_one(mine_.faults);
  }

  void send() {
    auto out = segment_.find<ipcpp::mpmc_queue<letter>>("mail")->sender();
    for (std::uint64_t n = 1; go_on();)
      if (out.send_for({number_, n, number_ ^ n * 7}, 100ms)) {
        add_one(mine_.done);
        ++n;
      }
  }

  void receive() {
    auto in = segment_.find<ipcpp::mpmc_queue<letter>>("mail")->receiver();
    while (go_on())
      if (const auto got = in.receive_for(100ms)) {
        add_one(mine_.done);
        complain_unless(got->check == (got->from ^ got->number * 7));
      }
  }

  void count() {
    auto& words = *segment_.find<ipcpp::concurrent_map<ipcpp::string, std::uint64_t>>("words");
    while (go_on()) {
      const std::string word = "word " + std::to_string(random_() % 100);
      words.update(std::string_view(word), [](std::uint64_t& n) { ++n; });
      add_one(mine_.done);
    }
  }

  void move_money() {
    auto& shared = *segment_.find<ipcpp::synchronized<bank>>("bank");
    auto& newest = *segment_.find<ipcpp::latest<statement>>("statement");
    while (go_on()) {
      try {
        const std::int64_t total = shared.with([&](bank& b) {
          b.from = random_() % accounts;
          b.to = (b.from + 1 + random_() % (accounts - 1)) % accounts;
          b.from_before = b.account[b.from];
          b.to_before = b.account[b.to];
          in_this_order();
          b.moving = 1;
          in_this_order();
          const auto sum = static_cast<std::int64_t>(random_() % 10);
          b.account[b.from] -= sum;
          in_this_order();  // die here, and money is missing
          b.account[b.to] += sum;
          in_this_order();
          b.moving = 0;
          return total_of(b);
        });
        complain_unless(total == money);
        newest.store({mine_.done, total});
        add_one(mine_.done);
      } catch (const ipcpp::error& e) {
        if (e.kind() != ipcpp::errc::owner_died) throw;
        shared.repair(mend);
      }
    }
  }

  void churn() {
    struct block {
      unsigned char* at;
      std::size_t bytes;
    };
    std::vector<block> mine;
    auto& heap = segment_.heap();
    while (go_on()) {
      if (mine.size() < 64 && random_() % 2 == 0) {
        const std::size_t bytes =
            random_() % 8 == 0 ? random_() % 100'000 + 1 : random_() % 500 + 1;
        mine.push_back({static_cast<unsigned char*>(heap.allocate_tracked(bytes)), bytes});
        std::memset(mine.back().at, static_cast<int>(number_ % 251), bytes);
      } else if (!mine.empty()) {
        std::swap(mine[random_() % mine.size()], mine.back());
        const block b = mine.back();
        complain_unless(
            std::all_of(b.at, b.at + b.bytes, [&](unsigned char c) { return c == number_ % 251; }));
        heap.deallocate(b.at);
        mine.pop_back();
        add_one(mine_.done);
      }
    }
    for (const block& b : mine) heap.deallocate(b.at);
  }

  void read() {
    const auto& words =
        *segment_.find<ipcpp::concurrent_map<ipcpp::string, std::uint64_t>>("words");
    auto& newest = *segment_.find<ipcpp::latest<statement>>("statement");
    std::uint64_t before = 0;
    while (go_on()) {
      complain_unless(newest.load().total == money);
      std::uint64_t sum = 0;
      words.for_each([&](std::string_view, std::uint64_t n) { sum += n; });
      complain_unless(sum >= before);  // nothing is taken back
      before = sum;
      add_one(mine_.done);
    }
  }

  ipcpp::segment segment_;
  board& board_;
  seat& mine_;
  std::size_t number_;
  std::minstd_rand random_;
};

}  // namespace

int work(const std::string& segment, std::string_view kind, std::size_t number) {
  return user(segment, number).run(kind);
}

}  // namespace lab
