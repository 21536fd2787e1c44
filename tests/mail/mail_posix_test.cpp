// message_queue, broadcast_queue, loan_queue and call_queue under epoll, in coroutines, after fork, and
// by what they cost when nobody waits, or nothing comes.
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "objects.hpp"
#include "posix_process.hpp"

#include "epoll_loop.hpp"

import ipcpp;
import ipcpp.platform;

using namespace std::chrono_literals;
using namespace ipcpp::literals;
using test::epoll_loop;
using test::task;

namespace {

struct number {
  std::uint64_t value;
};
using calls_type = ipcpp::call_queue<number, number>;
using feed_type = ipcpp::broadcast_queue<number>;

// One of each, with an endpoint of each side.
struct kinds {
  ipcpp::segment segment = ipcpp::segment::anonymous({.max_size = 16_MiB});
  ipcpp::message_queue& mail = segment.construct<ipcpp::message_queue>("mail", 4096u);
  feed_type& feed = segment.construct<feed_type>("feed", 4u);
  ipcpp::loan_queue& frames = segment.construct<ipcpp::loan_queue>(
      "frames", ipcpp::loan_queue_options{.chunk_bytes = 256, .chunks = 3, .capacity = 4});
  calls_type& calls = segment.construct<calls_type>("calls", 2u);
  ipcpp::latest<number>& newest = segment.construct<ipcpp::latest<number>>("newest", number{0});
  ipcpp::spsc_queue<number>& line = segment.construct<ipcpp::spsc_queue<number>>("line", 8u);
  ipcpp::mpsc_queue<number>& lanes = segment.construct<ipcpp::mpsc_queue<number>>("lanes", 8u);
  ipcpp::mpmc_queue<number>& pool = segment.construct<ipcpp::mpmc_queue<number>>("pool", 8u);
};
std::span<const std::byte> bytes_of(const number& n) {
  return std::as_bytes(std::span(&n, 1));
}
std::uint64_t number_in(std::span<const std::byte> bytes) {
  std::uint64_t n = 0;
  if (bytes.size() == sizeof n) std::memcpy(&n, bytes.data(), sizeof n);
  return n;
}

struct mail_ends {
  ipcpp::message_sender out;
  ipcpp::message_receiver in;
  ipcpp::broadcast_publisher<number> publisher;
  ipcpp::broadcast_subscriber<number> subscriber;
  ipcpp::loan_publisher lender;
  ipcpp::loan_subscriber reader;
  ipcpp::call_client<number, number> client;
  ipcpp::call_server<number, number> server;

  explicit mail_ends(kinds& of)
      : out(of.mail.sender()),
        in(of.mail.receiver()),
        publisher(of.feed.publisher()),
        subscriber(of.feed.subscriber()),
        lender(of.frames.publisher()),
        reader(of.frames.subscriber()),
        client(of.calls.client()),
        server(of.calls.server()) {}

  // One message through each, without waiting. Which of them went wrong, 0: none.
  int once(std::uint64_t n) {
    if (!out.try_send(bytes_of({n}))) return 1;
    {
      auto letter = in.try_receive();
      if (!letter || number_in(*letter) != n) return 2;
    }
    if (!publisher.try_publish({n})) return 3;
    auto got = subscriber.try_receive();
    if (!got || got->value != n) return 4;
    {
      auto loan = lender.try_loan(sizeof n);
      if (!loan) return 5;
      std::memcpy(loan.data(), &n, sizeof n);
      if (!loan.try_publish()) return 6;
    }
    {
      auto loan = reader.try_receive();
      if (!loan || number_in(loan.bytes()) != n) return 7;
    }
    auto under_way = client.try_start({n});
    {
      auto request = server.try_receive();
      if (!request || !request.reply({request.request().value + 1})) return 8;
    }
    auto answer = under_way.try_get();
    return answer && answer->value == n + 1 ? 0 : 9;
  }
};

bool readable(int descriptor, std::chrono::milliseconds within) {
  pollfd wanted{descriptor, POLLIN, 0};
  return ::poll(&wanted, 1, static_cast<int>(within.count())) == 1;
}
// Not when nothing came, then after `come`. `look` finds nothing, and arms.
template <class Endpoint, class Look, class Come>
void expect_bell(Endpoint& of, Look look, Come come, const char* what) {
  const int bell = of.native_handle();
  (void)look();
  // The bell's own timer may ring just now: once more.
  const bool quiet = !readable(bell, 5ms) || (static_cast<void>(look()), !readable(bell, 5ms));
  EXPECT_TRUE(quiet) << what;
  come();
  EXPECT_TRUE(readable(bell, 30ms)) << what << ": rung, not timed";
  EXPECT_TRUE(look()) << what;
}

template <class Receiver, class Use>
task each(Receiver& from, epoll_loop& loop, Use use) {
  while (auto next = co_await from.async_receive(loop)) use(next);
}

std::chrono::microseconds time_of_this_thread() {
  rusage used{};
  ::getrusage(RUSAGE_THREAD, &used);
  const auto in = [](const timeval& t) {
    return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
  };
  return in(used.ru_utime) + in(used.ru_stime);
}

}  // namespace

TEST(MailBell, RingsForEachKindAndForBothSides) {
  kinds k;
  mail_ends e(k);
  expect_bell(
      e.in, [&] { return static_cast<bool>(e.in.try_receive()); },
      [&] { e.out.send(bytes_of({1})); }, "message_queue");
  expect_bell(
      e.subscriber, [&] { return static_cast<bool>(e.subscriber.try_receive()); },
      [&] { e.publisher.publish({1}); }, "broadcast_queue");
  expect_bell(
      e.reader, [&] { return static_cast<bool>(e.reader.try_receive()); },
      [&] { e.lender.loan(8).publish(); }, "loan_queue");
  std::optional<ipcpp::pending_call<number>> under_way;
  expect_bell(
      e.server,
      [&] {
        auto request = e.server.try_receive();
        return request && request.reply({2});
      },
      [&] { under_way.emplace(e.client.start({1})); }, "call_queue");
  EXPECT_TRUE(under_way->get());

  // Full, until somebody receives.
  while (e.out.try_send(bytes_of({2}))) {
  }
  expect_bell(
      e.out, [&] { return static_cast<bool>(e.out.try_send(bytes_of({2}))); },
      [&] { (void)e.in.try_receive(); }, "message_queue, sender");
  while (e.publisher.try_publish({2})) {
  }
  expect_bell(
      e.publisher, [&] { return static_cast<bool>(e.publisher.try_publish({2})); },
      [&] { (void)e.subscriber.try_receive(); }, "broadcast_queue, publisher");
  {
    std::vector<ipcpp::outgoing_loan> all;
    for (int i = 0; i < 3; ++i) all.push_back(e.lender.loan(8));
    expect_bell(
        e.lender, [&] { return static_cast<bool>(e.lender.try_loan(8)); }, [&] { all.pop_back(); },
        "loan_queue, publisher");
  }
  auto waiting = e.client.start({3});
  expect_bell(
      e.client, [&] { return static_cast<bool>(waiting.try_get()); },
      [&] { EXPECT_TRUE(e.server.try_receive().reply({4})); }, "call_queue, client");
}

TEST(MailCoroutine, AllKindsOnOneEventLoop) {
  kinds k;
  mail_ends e(k);
  constexpr std::uint64_t each_kind = 200;
  std::uint64_t letters = 0, notes = 0, frames = 0, requests = 0;
  epoll_loop loop;
  each(e.in, loop, [&](ipcpp::received_letter& l) { letters += number_in(*l); });
  each(e.subscriber, loop, [&](ipcpp::received<number>& n) { notes += n->value; });
  each(e.reader, loop, [&](ipcpp::received_loan& l) { frames += number_in(l.bytes()); });
  each(e.server, loop, [&](ipcpp::incoming_call<number, number>& c) {
    requests += c.request().value;
    EXPECT_TRUE(c.reply({c.request().value}));
  });
  std::thread others([&] {
    for (std::uint64_t i = 1; i <= each_kind; ++i) {
      e.out.send(bytes_of({i}));
      e.publisher.publish({i});
      auto loan = e.lender.loan(sizeof i);
      std::memcpy(loan.data(), &i, sizeof i);
      loan.publish();
      EXPECT_EQ(e.client.call({i})->value, i);
    }
    k.mail.close();
    k.feed.close();
    k.frames.close();
    k.calls.close();
  });
  loop.run();
  others.join();
  for (const std::uint64_t sum : {letters, notes, frames, requests})
    EXPECT_EQ(sum, each_kind * (each_kind + 1) / 2);
}

TEST(MailProcesses, AForkedChildDoesNotActOnItsParentsEndpoints) {
  kinds k;
  mail_ends e(k);
  auto claimed = e.out.claim(8);
  e.out.send(bytes_of({1}));
  auto lent = e.lender.loan(8);
  auto under_way = e.client.start({5});
  auto request = e.server.try_receive();
  ASSERT_TRUE(request);
  EXPECT_EQ(test::in_forked_child([&] {
              std::string message;
              constexpr int refused = static_cast<int>(ipcpp::errc::not_a_participant);
              if (ERROR_OF((void)e.out.try_send(bytes_of({2})), message) != refused) return 1;
              if (ERROR_OF((void)e.in.try_receive(), message) != refused) return 2;
              if (ERROR_OF((void)e.publisher.try_publish({2}), message) != refused) return 3;
              if (ERROR_OF((void)e.subscriber.try_receive(), message) != refused) return 4;
              if (ERROR_OF((void)e.lender.try_loan(8), message) != refused) return 5;
              if (ERROR_OF((void)e.reader.try_receive(), message) != refused) return 6;
              if (ERROR_OF((void)e.client.try_start({6}), message) != refused) return 7;
              if (ERROR_OF((void)e.server.try_receive(), message) != refused) return 8;
              // None of these reaches the queue.
              claimed.commit();
              lent.give_back();
              under_way.cancel();
              if (request.reply({0})) return 9;
              {
                auto ends = std::move(e);
              }
              mail_ends own(k);
              return own.publisher.try_publish({7}) ? 0 : 10;
            }),
            0);
  std::memset(claimed.data(), 0, 8);
  claimed.commit();
  EXPECT_EQ(number_in(*e.in.receive()), 0u);
  EXPECT_EQ(number_in(*e.in.receive()), 1u);
  EXPECT_EQ(e.subscriber.receive()->value, 7u);
  EXPECT_TRUE(lent.publish());
  EXPECT_TRUE(e.reader.try_receive());
  EXPECT_TRUE(request.reply({6}));
  EXPECT_EQ(under_way.get()->value, 6u);
  EXPECT_EQ(k.calls.statistics().clients, 1u);
  EXPECT_EQ(k.mail.statistics().senders, 1u);
}

TEST(MailCost, NobodyWaitsNoSystemCall) {
  if (test::sanitized) GTEST_SKIP() << "a sanitizer's system calls are not the library's";
  kinds k;
  EXPECT_EQ(test::in_forked_child([&]() -> int {
              mail_ends e(k);
              auto line_in = k.line.sender();
              auto line_out = k.line.receiver();
              auto lanes_in = k.lanes.sender();
              auto lanes_out = k.lanes.receiver();
              auto pool_in = k.pool.sender();
              auto pool_out = k.pool.receiver();
              auto values = k.newest.reader();
              const auto all = [&](std::uint64_t n) -> int {
                if (const int wrong = e.once(n); wrong != 0) return wrong;
                if (!line_in.try_send({n}) || line_out.try_receive()->value != n) return 10;
                if (!lanes_in.try_send({n}) || lanes_out.try_receive()->value != n) return 11;
                if (!pool_in.try_send({n}) || pool_out.try_receive()->value != n) return 12;
                k.newest.store({n});
                return values.try_receive()->value == n ? 0 : 13;
              };
              int wrong = 0;
              for (std::uint64_t n = 1; n <= 20 && wrong == 0; ++n) wrong = all(n);
              // From here on the kernel kills for any other call than read, write and exit.
              if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) return 77;
              for (std::uint64_t n = 21; n <= 3000 && wrong == 0; ++n) wrong = all(n);
              ::syscall(SYS_exit, wrong);
              return 99;
            }),
            0);
}

TEST(MailCost, IdleWaitingTakesLessThanAHundredthOfAProcessor) {
  kinds k;
  mail_ends e(k);
  auto line_out = k.line.receiver();
  auto pool_out = k.pool.receiver();
  const auto expect_idle = [](const char* what, auto wait) {
    const auto before = time_of_this_thread();
    const auto begin = std::chrono::steady_clock::now();
    wait();
    const auto passed = std::chrono::steady_clock::now() - begin;
    EXPECT_GE(passed, 450ms) << what;
    EXPECT_LT(time_of_this_thread() - before, passed / 100) << what;
  };
  expect_idle("spsc_queue", [&] { EXPECT_FALSE(line_out.receive_for(500ms)); });
  expect_idle("mpmc_queue", [&] { EXPECT_FALSE(pool_out.receive_for(500ms)); });
  expect_idle("message_queue", [&] { EXPECT_FALSE(e.in.receive_for(500ms)); });
  expect_idle("broadcast_queue", [&] { EXPECT_FALSE(e.subscriber.receive_for(500ms)); });
  expect_idle("loan_queue", [&] { EXPECT_FALSE(e.reader.receive_for(500ms)); });
  expect_idle("call_queue", [&] { EXPECT_FALSE(e.server.receive_for(500ms)); });
  expect_idle("wait_any", [&] {
    EXPECT_FALSE(
        ipcpp::wait_any_for(500ms, line_out, pool_out, e.in, e.subscriber, e.reader, e.server));
  });
  const int bell = e.in.native_handle();
  expect_idle("epoll", [&] {
    const auto end = std::chrono::steady_clock::now() + 500ms;
    while (std::chrono::steady_clock::now() < end) {
      EXPECT_FALSE(e.in.try_receive());
      (void)readable(bell, 500ms);
    }
  });
}
