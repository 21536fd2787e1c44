// The role of whoever uses a segment that `ipcpp` looks at.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tool.hpp"

using namespace ipcpp::literals;
using ipcpp::segment;

namespace {

using numbers = std::vector<std::uint64_t, ipcpp::allocator<std::uint64_t>>;

using inbox = ipcpp::mpmc_queue<std::uint64_t>;

struct order {
  std::uint32_t article = 7;
  double price = 1.5;
};

segment made(const std::string& how, const std::string& name) {
  if (how == "open") return segment::open(name);
  return segment::create(name, {.max_size = 8_MiB,
                                .lifetime = how == "persistent" ? ipcpp::lifetime::persistent
                                                                : ipcpp::lifetime::last_user});
}

}  // namespace

ROLE(segment_holder) {
  const std::string how = args.at(0);
  segment mine = made(how, args.at(1));
  if (how != "open") {
    (void)mine.construct<std::uint64_t>("answer", 42u);
    (void)mine.construct<double>("ratio", 1.5);
    (void)mine.construct<order>("order");
    mine.construct<numbers>("numbers").resize(20'000);
    (void)mine.construct<inbox>("inbox", 64u);
    (void)mine.construct<ipcpp::mutex>("guard");
  }
  test::say("ready");
  std::vector<void*> blocks;
  ipcpp::mpmc_sender<std::uint64_t> sender;
  ipcpp::mpmc_receiver<std::uint64_t> receiver;
  if (inbox* const queue = mine.find<inbox>("inbox"); queue != nullptr) {
    sender = queue->sender();
    receiver = queue->receiver();
  }
  for (std::string line; test::hear(line);) {
    if (line == "allocate") {
      for (int i = 0; i < 200; ++i) blocks.push_back(mine.heap().allocate(100));
    } else if (line == "track") {
      for (int i = 0; i < 100; ++i) (void)mine.heap().allocate_tracked(1000);
    } else if (line == "churn") {  // until the next line is waiting
      for (int round = 0; round < 20'000; ++round) {
        void* const small = mine.heap().allocate(static_cast<std::size_t>(round % 5000));
        void* const large =
            mine.heap().allocate(40'000 + static_cast<std::size_t>(round % 9) * 4096);
        mine.heap().deallocate(small);
        mine.heap().deallocate(large);
        const std::string name = "passing" + std::to_string(round % 20);
        if (!mine.destroy<int>(name)) (void)mine.construct<int>(name, round);
        if (round == 0) test::say("churning");
      }
    } else if (line == "send") {
      for (std::uint64_t i = 0; i < 10; ++i) sender.send(i);
    } else if (line == "receive") {
      for (int i = 0; i < 3; ++i) (void)receiver.receive();
    } else if (line == "lock") {
      mine.find<ipcpp::mutex>("guard")->lock();
    } else if (line == "answer") {
      test::say(std::to_string(*mine.find<std::uint64_t>("answer")));
      continue;
    }
    test::say("done");
  }
  return 0;
}
