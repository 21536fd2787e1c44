// Queues between processes that fork, stop and die: whose endpoint is whose, and what sleepers learn.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "peek.hpp"
#include "posix_process.hpp"

import ipcpp;

using namespace std::chrono_literals;
using ipcpp::receive_status;
using test::object_in;
using test::tick;

namespace {

struct QueueProcesses : testing::Test {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1 << 22});
  object_in<ipcpp::mpmc_queue<tick>> pool{segment, 4, ipcpp::queue_limits{.endpoints = 4}};
  object_in<ipcpp::spsc_queue<tick>> line{segment, 4};
};

// Does `body`, says so, and stays until it is killed.
class victim {
 public:
  explicit victim(const std::function<void()>& body) {
    int pipe[2];
    if (::pipe(pipe) != 0) throw std::runtime_error("pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      try {
        body();
        (void)!::write(pipe[1], "!", 1);
      } catch (const std::exception& e) {
        std::fprintf(stderr, "victim: %s\n", e.what());
      }
      for (;;) ::pause();
    }
    char ready = 0;
    ::close(pipe[1]);
    if (::read(pipe[0], &ready, 1) != 1) throw std::runtime_error("a victim did not come up");
    ::close(pipe[0]);
  }
  victim(const victim&) = delete;
  victim& operator=(const victim&) = delete;
  ~victim() { kill(); }
  void kill() {
    if (pid_ < 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
};

}  // namespace

TEST_F(QueueProcesses, AForkedChildDoesNotActOnItsParentsEndpoints) {
  auto in = pool->sender();
  auto out = pool->receiver();
  auto line_out = line->receiver();
  in.send({1, 0});
  EXPECT_EQ(test::in_forked_child([&] {
              std::string message;
              if (ERROR_OF(in.try_send({2, 0}), message) !=
                  static_cast<int>(ipcpp::errc::not_a_participant))
                return 1;
              if (ERROR_OF(out.try_receive(), message) !=
                  static_cast<int>(ipcpp::errc::not_a_participant))
                return 2;
              if (ERROR_OF((void)line->receiver(), message) !=
                  static_cast<int>(ipcpp::errc::limit_reached))
                return 3;
              {
                auto mine = std::move(in);
              }  // detaches nothing
              out.detach();
              auto own = pool->sender();
              if (!own.try_send({3, 0})) return 4;
              return 0;
            }),
            0);
  EXPECT_TRUE(in.try_send({4, 0}));
  EXPECT_EQ(out.try_receive()->sequence, 1u);
  EXPECT_EQ(out.try_receive()->sequence, 3u);
  EXPECT_EQ(out.try_receive()->sequence, 4u);
  EXPECT_EQ(pool->statistics().senders, 1u);
}

TEST_F(QueueProcesses, EndpointsOfTheDeadComeBack) {
  for (int round = 0; round < 3; ++round) {
    victim dies([&] {
      static auto in = pool->sender();
      static auto out = pool->receiver();
      static auto other = pool->receiver();
      static auto line_in = line->sender();
      static auto line_out = line->receiver();
    });
    EXPECT_ERROR((void)line->sender(), limit_reached);
    EXPECT_EQ(pool->statistics().receivers, 2u);
    dies.kill();
    EXPECT_EQ(pool->statistics().receivers, 0u);
    std::vector<ipcpp::mpmc_sender<tick>> all;
    for (int i = 0; i < 4; ++i) all.push_back(pool->sender());
    auto line_in = line->sender();
    auto line_out = line->receiver();
  }
}

TEST_F(QueueProcesses, ASleeperLearnsOfAMessageWhoseSenderDiedBeforeItCouldWake) {
  // The sender commits and dies before it notifies: here by storing what a send stores.
  const auto begin = std::chrono::steady_clock::now();
  std::thread commits;
  auto out = line->receiver();
  commits = std::thread([&] {
    std::this_thread::sleep_for(20ms);
    auto* const head = test::head_of(*line);
    auto* const first = reinterpret_cast<std::byte*>(head) + sizeof(ipcpp::detail::queue_head) +
                        2 * sizeof(ipcpp::detail::endpoint_slot) +
                        sizeof(ipcpp::detail::lane_lines);
    std::atomic_ref(*reinterpret_cast<std::uint64_t*>(first)).store(1, std::memory_order_release);
  });
  EXPECT_TRUE(out.receive());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 20ms + 100ms + 100ms) << "and some patience";
  commits.join();
}

TEST_F(QueueProcesses, TheLastLivingHolderOfADestroyedQueueFreesIt) {
  const auto before = segment.heap().statistics().blocks_in_use;
  object_in<ipcpp::mpmc_queue<tick>> gone{segment, 4};
  auto in = gone->sender();
  {
    victim holds([&] { static auto out = gone->receiver(); });
    gone.destroy();
    EXPECT_GT(segment.heap().statistics().blocks_in_use, before);
  }
  in.detach();
  EXPECT_EQ(segment.heap().statistics().blocks_in_use, before);
  EXPECT_TRUE(segment.heap().check());
}

TEST_F(QueueProcesses, MessagesOfADeadReceiverGoToTheNextFlagged) {
  auto in = pool->sender();
  in.send({10, 0});
  in.send({11, 0});
  // Dies with a message in hand: here by claiming as receive does, and no more.
  victim dies([&] {
    static auto out = pool->receiver();
    auto* const head = test::head_of(*pool);
    auto* const slots = reinterpret_cast<ipcpp::detail::endpoint_slot*>(
        reinterpret_cast<std::byte*>(head) + sizeof(ipcpp::detail::queue_head));
    auto* const lines = reinterpret_cast<ipcpp::detail::mpmc_lines*>(slots + head->endpoints);
    for (std::uint32_t i = 0; i < head->endpoints; ++i)
      if (ipcpp::detail::role_of(slots[i].control) == ipcpp::detail::endpoint_role::receiver)
        slots[i].intent = ipcpp::detail::intends_to_receive | 0;
    lines->head = 1;
  });
  auto out = pool->receiver();
  EXPECT_EQ(out.receive()->sequence, 11u);
  EXPECT_EQ(out.receive_for(120ms).status(), receive_status::timed_out)
      << "whoever is alive is not robbed, however long it takes";
  dies.kill();
  const auto begin = std::chrono::steady_clock::now();
  const auto again = out.receive();
  EXPECT_EQ(again->sequence, 10u);
  EXPECT_TRUE(again.redelivered());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 200ms);
  EXPECT_EQ(pool->statistics().repairs, 1u);
}

TEST_F(QueueProcesses, AReceiverInheritsTheSlotOfADeadOneWhenThereIsNoOther) {
  object_in<ipcpp::mpmc_queue<tick>> tight{segment, 4, ipcpp::queue_limits{.endpoints = 2}};
  {
    victim dies([&] {
      {
        auto in = tight->sender();
        in.send({10, 0});
        in.send({11, 0});
      }
      static auto out = tight->receiver();
      static auto other = tight->receiver();
      auto* const head = test::head_of(*tight);
      auto* const slots = reinterpret_cast<ipcpp::detail::endpoint_slot*>(
          reinterpret_cast<std::byte*>(head) + sizeof(ipcpp::detail::queue_head));
      auto* const lines = reinterpret_cast<ipcpp::detail::mpmc_lines*>(slots + head->endpoints);
      slots[0].intent = ipcpp::detail::intends_to_receive | 0;
      slots[1].intent = ipcpp::detail::intends_to_receive | 1;
      lines->head = 2;
    });
  }
  EXPECT_ERROR((void)tight->sender(), limit_reached);  // a sender cannot deliver what they held
  std::vector<std::uint64_t> got;
  {
    // One that leaves without having received passes the inheritance on.
    auto leaves = tight->receiver();
  }
  auto out = tight->receiver();
  for (int i = 0; i < 2; ++i) {
    const auto again = out.receive_for(1s);
    ASSERT_TRUE(again);
    EXPECT_TRUE(again.redelivered());
    got.push_back(again->sequence);
  }
  EXPECT_EQ(got[0] + got[1], 21u);
  auto in = tight->sender();
  in.send({12, 0});
  EXPECT_EQ(out.receive()->sequence, 12u);
}
