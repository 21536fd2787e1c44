// What one process adds to a segment can be used by the others as soon as they are told of it, whatever
// tells them: a lock, a semaphore, a latch, a barrier, a flag, a message. Where a segment grows by
// further mappings (macOS; the variant several_objects), that is when they map what is new.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "roles.hpp"

import ipcpp;

using namespace ipcpp::literals;

namespace {

using numbers = ipcpp::vector<std::uint64_t>;
constexpr std::uint64_t many = 4'000'000;  // 32 MB, in steps that nobody else has seen

struct board {
  ipcpp::synchronized<numbers> locked;
  numbers plain;
  ipcpp::shared_mutex door;
  ipcpp::counting_semaphore<4> permits{0};
  ipcpp::latch filled{1};
  ipcpp::barrier<2> meeting{2};
  ipcpp::once_flag once;
};

void fill(numbers& of) {
  for (std::uint64_t i = 0; i < many; ++i) of.push_back(i);
}
bool is_filled(const numbers& of) {
  return of.size() == many && of.front() == 0 && of.back() == many - 1;
}

struct way {
  std::function<void(ipcpp::segment&, board&)> tells;
  std::function<bool(ipcpp::segment&, board&)> hears;  // is it all there?
};
std::map<std::string, way> ways() {
  return {
      {"Synchronized",
       {[](auto&, board& b) { b.locked.with(fill); },
        [](auto&, board& b) {
          while (b.locked.with_shared([](const numbers& n) { return n.empty(); })) {
          }
          return b.locked.with([](numbers& n) { return is_filled(n); });
        }}},
      {"SharedMutex",
       {[](auto&, board& b) {
          b.door.lock();
          b.permits.release();
          fill(b.plain);
          b.door.unlock();
        },
        [](auto&, board& b) {
          b.permits.acquire();
          b.door.lock_shared();
          const bool filled = is_filled(b.plain);
          b.door.unlock_shared();
          return filled;
        }}},
      {"Semaphore",
       {[](auto&, board& b) {
          fill(b.plain);
          b.permits.release();
        },
        [](auto&, board& b) {
          b.permits.acquire();
          return is_filled(b.plain);
        }}},
      {"Latch",
       {[](auto&, board& b) {
          fill(b.plain);
          b.filled.count_down();
        },
        [](auto&, board& b) {
          b.filled.wait();
          return is_filled(b.plain);
        }}},
      {"Barrier",
       {[](auto&, board& b) {
          fill(b.plain);
          b.meeting.arrive_and_wait();
        },
        [](auto&, board& b) {
          b.meeting.arrive_and_wait();
          return is_filled(b.plain);
        }}},
      {"OnceFlag",
       {[](auto&, board& b) {
          ipcpp::call_once(b.once, [&] { fill(b.plain); });
          b.permits.release();
        },
        [](auto&, board& b) {
          while (!b.once.done()) {
          }
          ipcpp::call_once(b.once, [] { ADD_FAILURE() << "twice"; });
          return is_filled(b.plain);
        }}},
      {"Message",
       {[](ipcpp::segment& s, board&) {
          auto& made = s.construct<numbers>("made");
          fill(made);
          s.find<ipcpp::spsc_queue<ipcpp::heap_ptr<numbers>>>("desk")->sender().send(
              ipcpp::heap_ptr<numbers>(s.heap(), made));
        },
        [](ipcpp::segment& s, board&) {
          auto out = s.find<ipcpp::spsc_queue<ipcpp::heap_ptr<numbers>>>("desk")->receiver();
          return is_filled(*out.receive()->in(s.heap()));
        }}},
      {"Name",
       {[](ipcpp::segment& s, board&) { fill(s.construct<numbers>("made")); },
        [](ipcpp::segment& s, board& b) {
          b.permits.acquire();
          return is_filled(*s.find<numbers>("made"));
        }}},
  };
}

struct SegmentGrowth : testing::TestWithParam<std::string> {};

}  // namespace

ROLE(fills_the_board) {
  auto segment = ipcpp::segment::open(args.at(0));
  auto& b = *segment.find<board>("board");
  test::say("ready");
  for (std::string line; test::hear(line);) {
    ways().at(line).tells(segment, b);
    if (line == "Name") b.permits.release();
  }
  return 0;
}

TEST_P(SegmentGrowth, IsThereForWhoeverIsTold) {
  const std::string name = test::unique_name();
  auto segment = ipcpp::segment::create(name, {.max_size = 256_MiB});
  auto& b = segment.construct<board>("board");
  (void)segment.construct<ipcpp::spsc_queue<ipcpp::heap_ptr<numbers>>>("desk", 4);
  test::child other("fills_the_board", {name});
  ASSERT_EQ(other.hear(), "ready");
  other.say(GetParam());
  EXPECT_TRUE(ways().at(GetParam()).hears(segment, b));
  EXPECT_EQ(other.wait(), 0);
}

INSTANTIATE_TEST_SUITE_P(Ways, SegmentGrowth,
                         testing::Values("Synchronized", "SharedMutex", "Semaphore", "Latch",
                                         "Barrier", "OnceFlag", "Message", "Name"),
                         [](const auto& info) { return info.param; });
