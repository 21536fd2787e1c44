// loan_queue and call_queue under death at every instruction. After each kill: chunks and places for
// calls all come back, messages are whole, clients are told the truth about their server.
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>
#include <unistd.h>

#include "posix_process.hpp"
#include "single_step.hpp"

import ipcpp;
import ipcpp.platform;

using namespace std::chrono_literals;
using namespace ipcpp::literals;
using ipcpp::call_status;
using ipcpp::loan_queue;

namespace {

struct question {
  std::uint64_t number;
};
struct answer {
  std::uint64_t square[3];
};
using calls_type = ipcpp::call_queue<question, answer>;

std::span<const std::byte> block_of(const void* queue) {
  const auto* const link = reinterpret_cast<const ipcpp::offset_ptr<std::byte>*>(
      static_cast<const std::byte*>(queue) + 8);
  std::uint64_t size = 0;
  std::memcpy(&size, link->get() + 16, sizeof size);
  return {link->get(), static_cast<std::size_t>(size)};
}

struct crash_fixture : testing::Test {
  void SetUp() override {
    if (const std::string reason = crash::why_not(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

constexpr std::uint32_t chunks = 5;

struct loan_stage {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1_MiB});
  loan_queue* frames = nullptr;
  ipcpp::loan_publisher publisher;
  ipcpp::loan_subscriber subscriber;

  explicit loan_stage(ipcpp::overflow what) {
    frames = &segment.construct<loan_queue>(
        "frames",
        ipcpp::loan_queue_options{
            .chunk_bytes = 256, .chunks = chunks, .capacity = 4, .overflow = what, .endpoints = 5});
    publisher = frames->publisher();
    subscriber = frames->subscriber();
  }
  static void fill(ipcpp::outgoing_loan& loan, int value) {
    std::memset(loan.data(), value, loan.size());
  }
  std::vector<int> drain() {
    std::vector<int> all;
    while (auto got = subscriber.try_receive()) {
      for (const std::byte b : got.bytes()) EXPECT_EQ(b, got.data()[0]) << "torn";
      all.push_back(static_cast<int>(got.data()[0]));
    }
    return all;
  }
  void use_again() {
    (void)drain();
    for (int lap = 0; lap < 3; ++lap) {
      std::vector<ipcpp::outgoing_loan> all;
      for (std::uint32_t i = 0; i < chunks; ++i) {
        all.push_back(publisher.try_loan(100));
        ASSERT_TRUE(all.back()) << "chunk " << i << " did not come back";
      }
      all.clear();
      for (int i = 0; i < 4; ++i) {
        auto loan = publisher.try_loan(100);
        ASSERT_TRUE(loan);
        fill(loan, 90 + i);
        ASSERT_TRUE(loan.try_publish()) << "blocked by the dead";
      }
      EXPECT_EQ(drain(), (std::vector<int>{90, 91, 92, 93}));
    }
  }
};

struct CrashLoan : crash_fixture {
  std::unique_ptr<loan_stage> now;
  crash::scene scene(std::string name, std::function<void()> prepare,
                     std::function<void()> operation, std::function<void(bool)> check) {
    return {.name = std::move(name),
            .prepare = std::move(prepare),
            .operation = std::move(operation),
            .while_stopped = [] {},
            .check = std::move(check),
            .watched = [this] { return block_of(now->frames); }};
  }
};

constexpr std::uint32_t places = 3;

struct call_stage {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 1_MiB});
  calls_type* calls = nullptr;
  ipcpp::call_client<question, answer> client;
  ipcpp::call_server<question, answer> server;
  std::optional<ipcpp::pending_call<answer>> under_way;

  call_stage() {
    calls = &segment.construct<calls_type>(
        "calls", ipcpp::call_queue_options{.capacity = places, .endpoints = 5});
    client = calls->client();
    server = calls->server();
  }
  static answer square(std::uint64_t n) { return {{n * n, n * n, n * n}}; }
  static void serve(ipcpp::call_server<question, answer>& by) {
    for (int looks = 0; looks < 1100; ++looks)
      if (auto request = by.try_receive()) request.reply(square(request.request().number));
  }
  void use_again() {
    serve(server);
    // What the dead began does not keep a closed one from its end.
    calls->close();
    ipcpp::receive_status end = ipcpp::receive_status::empty;
    for (int looks = 0; looks < 1100 && end == ipcpp::receive_status::empty; ++looks)
      end = server.try_receive().status();
    EXPECT_EQ(end, ipcpp::receive_status::closed);
    calls->reopen();
    for (int lap = 0; lap < 3; ++lap) {
      std::vector<ipcpp::pending_call<answer>> all;
      for (std::uint64_t i = 0; i < places; ++i) {
        all.push_back(client.try_start({i + 10}));
        ASSERT_TRUE(all.back()) << "a place for a call did not come back";
      }
      serve(server);
      for (std::uint64_t i = 0; i < places; ++i) {
        auto result = all[i].get_for(5s);
        ASSERT_TRUE(result) << static_cast<int>(result.status());
        for (const std::uint64_t s : result->square) EXPECT_EQ(s, (i + 10) * (i + 10));
      }
    }
  }
};

struct CrashCall : crash_fixture {
  std::unique_ptr<call_stage> now;
  crash::scene scene(std::string name, std::function<void()> prepare,
                     std::function<void()> operation, std::function<void(bool)> check) {
    return {.name = std::move(name),
            .prepare = std::move(prepare),
            .operation = std::move(operation),
            .while_stopped = [] {},
            .check = std::move(check),
            .watched = [this] { return block_of(now->calls); }};
  }
};

}  // namespace

TEST_F(CrashLoan, KilledAtEveryInstructionOfLendingAndPublishing) {
  for (const auto what : {ipcpp::overflow::block, ipcpp::overflow::drop_oldest}) {
    auto s = scene(
        std::string("lend and publish: ") +
            (what == ipcpp::overflow::block ? "block" : "drop_oldest"),
        [&, what] {
          now = std::make_unique<loan_stage>(what);
          for (int i = 1; i <= 3; ++i) {
            auto loan = now->publisher.loan(100);
            loan_stage::fill(loan, i);
            loan.publish();
          }
        },
        [&] {
          auto publisher = now->frames->publisher();
          for (int i = 51; i <= 52; ++i) {
            auto loan = publisher.try_loan(100);
            if (!loan) break;
            loan_stage::fill(loan, i);
            (void)loan.try_publish();
          }
        },
        [&, what](bool) {
          const auto seen = now->drain();
          int last = 0;
          for (const int n : seen) {
            EXPECT_GT(n, last) << "doubled, or out of order";
            last = n;
          }
          if (what == ipcpp::overflow::block) {
            ASSERT_GE(seen.size(), 3u) << "lost";
            EXPECT_EQ(seen[2], 3);
          }
          now->use_again();
        });
    crash::kill_everywhere(s);
  }
}

TEST_F(CrashLoan, KilledAtEveryInstructionOfSubscribingReadingAndLeaving) {
  auto s = scene(
      "subscribe, hold one, release another, leave",
      [&] { now = std::make_unique<loan_stage>(ipcpp::overflow::block); },
      [&] {
        auto subscriber = now->frames->subscriber();
        auto publisher = now->frames->publisher();
        for (int i = 1; i <= 2; ++i) {
          auto loan = publisher.loan(100);
          loan_stage::fill(loan, i);
          loan.publish();
        }
        auto held = subscriber.try_receive();
        if (auto second = subscriber.try_receive()) second.release();
      },
      [&](bool) { now->use_again(); });
  crash::kill_everywhere(s);
}

TEST_F(CrashLoan, KilledAtEveryInstructionOfTakingBackWhatTheDeadHad) {
  auto s = scene(
      "lend where the dead have all chunks",
      [&] {
        now = std::make_unique<loan_stage>(ipcpp::overflow::block);
        EXPECT_EQ(test::in_forked_child([&]() -> int {
                    auto subscriber = now->frames->subscriber();
                    auto publisher = now->frames->publisher();
                    auto first = publisher.loan(100);
                    loan_stage::fill(first, 1);
                    first.publish();
                    auto held = subscriber.try_receive();
                    std::vector<ipcpp::outgoing_loan> rest;
                    while (auto more = publisher.try_loan(100)) rest.push_back(std::move(more));
                    ::_exit(0);
                  }),
                  0);
        (void)now->drain();
      },
      [&] {
        auto publisher = now->frames->publisher();
        auto loan = publisher.try_loan(100);
        if (!loan) ::_exit(4);
      },
      [&](bool) { now->use_again(); });
  crash::kill_everywhere(s);
}

TEST_F(CrashLoan, PairsKilledAtEveryInstruction) {
  ipcpp::loan_publisher publisher;
  ipcpp::loan_subscriber subscriber;
  std::size_t kills = 0;
  for (const auto what : {ipcpp::overflow::block, ipcpp::overflow::drop_oldest}) {
    const auto prepare = [&, what] {
      now = std::make_unique<loan_stage>(what);
      for (int i = 1; i <= 2; ++i) {
        auto loan = now->publisher.loan(100);
        loan_stage::fill(loan, i);
        loan.publish();
      }
    };
    const auto check = [&, what](bool) {
      const auto seen = now->drain();
      if (what == ipcpp::overflow::block) {
        ASSERT_GE(seen.size(), 2u) << "lost";
        EXPECT_EQ(seen[1], 2);
      }
      for (std::size_t i = 1; i < seen.size(); ++i)
        EXPECT_GT(seen[i], seen[i - 1]) << "doubled, or out of order";
      now->use_again();
    };
    const auto publishes = [&](int from) {
      auto s = scene(
          "lend and publish", prepare,
          [&, from] {
            for (int i = from; i < from + 2; ++i) {
              auto loan = publisher.try_loan(100);
              if (!loan) break;
              loan_stage::fill(loan, i);
              (void)loan.try_publish();
            }
          },
          check);
      s.before = [&] { publisher = now->frames->publisher(); };
      return s;
    };
    const auto reads = [&](int from) {
      auto s = scene(
          "read, hold one", prepare,
          [&] {
            auto held = subscriber.try_receive();
            for (int looks = 0; looks < 3; ++looks) (void)subscriber.try_receive();
          },
          check);
      s.before = [&, from] {
        subscriber = now->frames->subscriber();
        publisher = now->frames->publisher();
        for (int i = from; i < from + 2; ++i) {
          auto loan = publisher.try_loan(100);
          if (!loan) break;
          loan_stage::fill(loan, i);
          (void)loan.try_publish();
        }
      };
      return s;
    };
    for (const auto& first : {publishes(30), reads(10)})
      for (auto second : {publishes(40), reads(50)}) {
        second.most = 8;
        kills += crash::kill_pairs(first, second);
        if (HasFailure()) return;
      }
  }
  std::printf("loan_queue: %zu pairs\n", kills);
}

TEST_F(CrashCall, KilledAtEveryInstructionOfAsking) {
  auto s = scene(
      "ask, cancel one, wait for the other's answer", [&] { now = std::make_unique<call_stage>(); },
      [&] {
        auto client = now->calls->client();
        auto server = now->calls->server();
        auto cancelled = client.start({1});
        auto under_way = client.start({2});
        cancelled.cancel();
        call_stage::serve(server);
        auto result = under_way.try_get();
        if (!result || result->square[2] != 4) ::_exit(3);
      },
      [&](bool) { now->use_again(); });
  crash::kill_everywhere(s);
}

TEST_F(CrashCall, KilledAtEveryInstructionOfAnswering) {
  bool told = false;
  bool answered = false;
  auto s = scene(
      "take two requests, answer one, let the other go",
      [&] {
        now = std::make_unique<call_stage>();
        now->under_way.emplace(now->client.start({7}));
      },
      [&] {
        auto server = now->calls->server();
        auto request = server.try_receive();
        if (!request) ::_exit(3);
        request.reply(call_stage::square(request.request().number));
      },
      [&](bool finished) {
        auto result = now->under_way->get_for(150ms);
        if (result) {
          for (const std::uint64_t n : result->square) EXPECT_EQ(n, 49u) << "torn";
          answered = true;
        } else if (result.status() == call_status::server_died) {
          told = true;
          EXPECT_FALSE(finished);
        } else {
          // No server had taken it.
          EXPECT_EQ(result.status(), call_status::timed_out);
          EXPECT_FALSE(finished);
          call_stage::serve(now->server);
          EXPECT_TRUE(now->under_way->get_for(5s));
        }
        now->under_way.reset();
        now->use_again();
      });
  crash::kill_everywhere(s);
  EXPECT_TRUE(told && answered);
}

TEST_F(CrashCall, PairsKilledAtEveryInstruction) {
  ipcpp::call_client<question, answer> client;
  ipcpp::call_server<question, answer> server;
  const auto prepare = [&] {
    now = std::make_unique<call_stage>();
    now->under_way.emplace(now->client.start({7}));
  };
  const auto check = [&](bool) {
    auto result = now->under_way->get_for(120ms);
    if (!result && result.status() == call_status::timed_out) {
      call_stage::serve(now->server);
      result = now->under_way->get_for(5s);
    }
    if (result) {
      for (const std::uint64_t n : result->square) EXPECT_EQ(n, 49u) << "torn";
    } else {
      EXPECT_EQ(result.status(), call_status::server_died);
    }
    now->under_way.reset();
    now->use_again();
  };
  auto asks = scene(
      "ask and cancel", prepare,
      [&] {
        auto cancelled = client.try_start({1});
        auto under_way = client.try_start({2});
        cancelled.cancel();
        for (int looks = 0; looks < 3; ++looks)
          if (auto request = server.try_receive())
            request.reply(call_stage::square(request.request().number));
        (void)under_way.try_get();
      },
      check);
  asks.before = [&] {
    client = now->calls->client();
    server = now->calls->server();
  };
  auto answers = scene(
      "answer", prepare,
      [&] {
        for (int i = 0; i < 2; ++i)
          if (auto request = server.try_receive())
            request.reply(call_stage::square(request.request().number));
      },
      check);
  answers.before = [&] { server = now->calls->server(); };
  std::size_t kills = 0;
  for (const auto& first : {asks, answers})
    for (auto second : {asks, answers}) {
      second.most = 8;
      kills += crash::kill_pairs(first, second);
      if (HasFailure()) return;
    }
  std::printf("call_queue: %zu pairs\n", kills);
}
