// message_queue, broadcast_queue, loan_queue and call_queue between processes that map a named segment
// each on its own: letters across, pollers without the right to write, peers that are killed.
#include <gtest/gtest.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "roles.hpp"

import ipcpp;
import ipcpp.platform;

using namespace std::chrono_literals;
using namespace ipcpp::literals;
using test::child;

namespace {

struct tick {
  std::uint64_t number;
  std::uint64_t complement;
};
struct question {
  std::uint64_t number;
};
using calls_type = ipcpp::call_queue<question, tick>;

struct named_segment {
  std::string name = test::unique_name();
  ipcpp::segment segment = ipcpp::segment::create(name, {.max_size = 16_MiB});
  ~named_segment() { ipcpp::segment::remove(name); }
};

}  // namespace

ROLE(mail_echo) {
  auto segment = ipcpp::segment::open(args[0]);
  auto in = segment.find<ipcpp::message_queue>("there")->receiver();
  auto out = segment.find<ipcpp::message_queue>("back")->sender();
  test::say("ready");
  while (auto letter = in.receive()) out.send(*letter);
  return 0;
}
ROLE(mail_claimer) {  // claims, commits one, and stays with another claim and a letter in hand
  auto segment = ipcpp::segment::open(args[0]);
  auto& mail = *segment.find<ipcpp::message_queue>("there");
  auto in = mail.receiver();
  auto letter = in.receive();
  auto out = mail.sender();
  out.send(std::as_bytes(std::span("committed", 9)));
  auto claimed = out.claim(100);
  test::say("holding");
  for (std::string line; test::hear(line);) {
  }
  return 0;
}
ROLE(mail_poller) {
  const ipcpp::segment segment = ipcpp::segment::open_read_only(args[0]);
  auto poller = segment.find<ipcpp::broadcast_queue<tick>>("feed")->poller();
  test::say("ready");
  for (std::uint64_t expected = 1; expected <= 100;) {
    auto got = poller.try_receive();
    if (!got) continue;
    if (got->number != expected || got->complement != ~expected) return 1;
    ++expected;
  }
  test::say("seen");
  return 0;
}
ROLE(mail_server) {
  auto segment = ipcpp::segment::open(args[0]);
  auto server = segment.find<calls_type>("calls")->server();
  test::say("ready");
  while (auto request = server.receive()) {
    const std::uint64_t n = request.request().number;
    if (n == 13) {
      test::say("taken");
      for (std::string line; test::hear(line);) {
      }
    }
    request.reply({n, ~n});
  }
  return 0;
}

TEST(MailProcesses, LettersGoAcrossAndComeBack) {
  named_segment here;
  auto& there = here.segment.construct<ipcpp::message_queue>("there", 8192u);
  auto& back = here.segment.construct<ipcpp::message_queue>("back", 8192u);
  child echo("mail_echo", {here.name});
  ASSERT_EQ(echo.hear(), "ready");
  auto out = there.sender();
  auto in = back.receiver();
  for (std::uint64_t i = 0; i < 500; ++i) {
    std::vector<std::byte> message(8 + i * 7 % 3000, static_cast<std::byte>(i));
    std::memcpy(message.data(), &i, 8);
    out.send(message);
    auto letter = in.receive_for(10s);
    ASSERT_TRUE(letter);
    ASSERT_EQ(letter->size(), message.size());
    ASSERT_EQ(std::memcmp(letter->data(), message.data(), message.size()), 0);
  }
  there.close();
  EXPECT_EQ(echo.wait(), 0);
}

TEST(MailProcesses, WhatAKilledProcessHadIsMended) {
  named_segment here;
  auto& mail = here.segment.construct<ipcpp::message_queue>("there", 8192u);
  auto out = mail.sender();
  out.send(std::as_bytes(std::span("first", 5)));
  child victim("mail_claimer", {here.name});
  ASSERT_EQ(victim.hear(), "holding");
  out.send(std::as_bytes(std::span("behind", 6)));
  auto in = mail.receiver();
  {
    auto committed = in.receive_for(10s);
    ASSERT_TRUE(committed);
    EXPECT_EQ(committed->size(), 9u);
    EXPECT_FALSE(in.receive_for(150ms)) << "it is alive: what is behind its claim waits";
  }
  victim.kill();
  bool again = false;
  bool behind = false;
  for (int i = 0; i < 2; ++i) {
    auto letter = in.receive_for(10s);
    ASSERT_TRUE(letter);
    if (letter->size() == 5) again = letter.redelivered();
    if (letter->size() == 6) behind = !letter.redelivered();
  }
  EXPECT_TRUE(again && behind);
  EXPECT_FALSE(in.try_receive());
}

TEST(MailProcesses, APollerNeedsNoRightToWrite) {
  named_segment here;
  auto& feed = here.segment.construct<ipcpp::broadcast_queue<tick>>("feed", 256u,
                                                                    ipcpp::overflow::drop_oldest);
  child poller("mail_poller", {here.name});
  ASSERT_EQ(poller.hear(), "ready");
  auto publisher = feed.publisher();
  for (std::uint64_t i = 1; i <= 100; ++i) publisher.publish({i, ~i});
  EXPECT_EQ(poller.hear(), "seen");
  EXPECT_EQ(poller.wait(), 0);
}

TEST(MailProcesses, AClientLearnsThatItsServerDied) {
  named_segment here;
  auto& calls = here.segment.construct<calls_type>("calls", 4u);
  child server("mail_server", {here.name});
  ASSERT_EQ(server.hear(), "ready");
  auto client = calls.client();
  auto fine = client.call_for({7}, 10s);
  ASSERT_TRUE(fine);
  EXPECT_EQ(fine->complement, ~std::uint64_t{7});
  auto under_way = client.start({13});
  ASSERT_EQ(server.hear(), "taken");
  EXPECT_EQ(under_way.get_for(120ms).status(), ipcpp::call_status::timed_out) << "it is alive";
  server.kill();
  const auto began = std::chrono::steady_clock::now();
  EXPECT_EQ(under_way.get().status(), ipcpp::call_status::server_died);
  EXPECT_LT(std::chrono::steady_clock::now() - began, 5s);
  child next("mail_server", {here.name});
  ASSERT_EQ(next.hear(), "ready");
  EXPECT_TRUE(client.call_for({8}, 10s));
}
