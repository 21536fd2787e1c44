// message_queue and loan_queue under random SIGKILL, SIGSTOP and SIGCONT of senders and receivers,
// while others go on. Every letter carries its sender, number and checksum; a ledger in shared memory
// says which were committed. Three seconds, or a minute with IPCPP_PROVE=full.
#include <gtest/gtest.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <new>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <vector>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "roles.hpp"

import ipcpp;
import ipcpp.platform;

using namespace std::chrono_literals;
using namespace ipcpp::literals;

namespace {

constexpr std::uint32_t most_senders = 4096;
constexpr std::uint32_t each = 1024;

struct ledger {
  std::atomic<std::uint32_t> next_sender{0};
  std::atomic<std::uint32_t> torn{0};
  std::atomic<std::uint32_t> out_of_order{0};
  std::atomic<std::uint64_t> received{0};
  std::atomic<bool> over{false};
  struct sender {
    std::atomic<std::uint32_t> begun{0};      // numbers below may have been committed
    std::atomic<std::uint32_t> committed{0};  // numbers below were
    std::atomic<std::uint8_t> times[each]{};
    std::atomic<std::uint8_t> again[each]{};
  } senders[most_senders];
};

struct letter {
  std::uint32_t sender;
  std::uint32_t number;
  std::uint32_t size;
  std::uint32_t sum;
};
std::uint32_t sum_of(std::span<const std::byte> rest, const letter& l) {
  std::uint32_t sum = l.sender * 31 + l.number * 17 + l.size;
  for (const std::byte b : rest) sum = sum * 33 + static_cast<std::uint32_t>(b);
  return sum;
}

void send_for_ever(ipcpp::message_queue& mail, ledger& book) {
  std::mt19937 random(static_cast<unsigned>(::getpid()));
  auto out = mail.sender();
  while (!book.over) {
    const std::uint32_t me = book.next_sender++;
    if (me >= most_senders) return;
    ledger::sender& mine = book.senders[me];
    for (std::uint32_t n = 0; n < each && !book.over; ++n) {
      const std::uint32_t size = static_cast<std::uint32_t>(sizeof(letter) + random() % 400);
      auto place = out.claim_for(size, 50ms);
      if (!place) {
        --n;
        continue;
      }
      letter l{me, n, size, 0};
      for (std::size_t i = sizeof l; i < size; ++i) place.data()[i] = static_cast<std::byte>(n + i);
      l.sum = sum_of(place.bytes().subspan(sizeof l), l);
      std::memcpy(place.data(), &l, sizeof l);
      mine.begun = n + 1;
      place.commit();
      mine.committed = n + 1;
    }
  }
}

// false: nothing came until the deadline.
bool receive_one(ipcpp::message_receiver& in, ledger& book, std::vector<std::int64_t>& last) {
  auto got = in.receive_for(50ms);
  if (!got) return false;
  letter l{};
  if (got->size() < sizeof l) return ++book.torn, true;
  std::memcpy(&l, got->data(), sizeof l);
  if (l.sender >= most_senders || l.number >= each || l.size != got->size() ||
      l.sum != sum_of(got->bytes().subspan(sizeof l), l))
    return ++book.torn, true;
  if (got.redelivered()) {
    ++book.senders[l.sender].again[l.number];
  } else {
    if (last[l.sender] >= l.number) ++book.out_of_order;
    last[l.sender] = l.number;
    ++book.senders[l.sender].times[l.number];
  }
  ++book.received;
  return true;
}

template <class F>
pid_t start(F&& body) {
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    int status = 0;
    try {
      body();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "soak: %s\n", e.what());
      status = 1;
    }
    ::_exit(status);
  }
  return pid;
}
void end(pid_t pid) {
  ::kill(pid, SIGKILL);
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace

TEST(CrashMailSoak, NothingCommittedIsLostWhoeverIsKilled) {
  const auto duration = test::prove_in_full() ? 60s : 3s;
  auto segment = ipcpp::segment::anonymous({.max_size = 64_MiB});
  auto& mail = segment.construct<ipcpp::message_queue>(
      "mail", ipcpp::message_queue_options{.capacity = 8192, .endpoints = 16});
  auto& book = *new (segment.heap().allocate(sizeof(ledger))) ledger;

  struct member {
    pid_t pid;
    bool sends;
    bool stopped;
  };
  std::vector<member> members;
  const auto recruit = [&](bool sends) {
    return member{start([&] {
                    if (sends) return send_for_ever(mail, book);
                    auto in = mail.receiver();
                    std::vector<std::int64_t> last(most_senders, -1);
                    while (!book.over) receive_one(in, book, last);
                  }),
                  sends, false};
  };
  for (int i = 0; i < 6; ++i) members.push_back(recruit(i < 3));
  std::mt19937 random(42);
  std::uint32_t kills = 0;
  std::uint32_t stops = 0;
  const auto deadline = std::chrono::steady_clock::now() + duration;
  while (std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1 + random() % 8));
    member& m = members[random() % members.size()];
    if (m.stopped) {
      ::kill(m.pid, random() % 2 == 0 ? SIGCONT : SIGKILL);
      m.stopped = false;
    } else if (random() % 3 == 0) {
      ::kill(m.pid, SIGSTOP);
      m.stopped = true;
      ++stops;
      continue;
    }
    if (random() % 2 == 0) continue;
    end(m.pid);
    ++kills;
    m = recruit(m.sends);
  }
  book.over = true;
  for (const member& m : members) end(m.pid);

  // Whoever is left receives the rest.
  auto in = mail.receiver();
  std::vector<std::int64_t> last(most_senders, -1);
  int silent = 0;
  while (silent < 4) silent = receive_one(in, book, last) ? 0 : silent + 1;
  EXPECT_EQ(book.torn, 0u);
  EXPECT_EQ(book.out_of_order, 0u);
  std::uint32_t lost = 0, doubled = 0, phantoms = 0, redelivered = 0;
  std::uint64_t committed = 0;
  for (const ledger::sender& s : book.senders) {
    committed += s.committed;
    for (std::uint32_t n = 0; n < each; ++n) {
      const int times = s.times[n];
      const int all = times + s.again[n];
      lost += n < s.committed && all == 0;
      doubled += times > 1;
      phantoms += n >= s.begun && all != 0;
      redelivered += s.again[n] != 0;
    }
  }
  EXPECT_EQ(lost, 0u);
  EXPECT_EQ(doubled, 0u) << "unflagged";
  EXPECT_EQ(phantoms, 0u);
  EXPECT_GT(committed, 1000u);
  auto out = mail.sender();
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(out.try_send(std::vector<std::byte>(3000)));
    ASSERT_TRUE(in.try_receive());
  }
  EXPECT_EQ(mail.statistics().bytes_in_use, 0u);
  std::printf("%llu letters committed, %u kills, %u stops, %u redelivered\n",
              static_cast<unsigned long long>(committed), kills, stops, redelivered);
}

TEST(CrashLoanSoak, ChunksOfTheDeadComeBack) {
  const auto duration = test::prove_in_full() ? 30s : 2s;
  auto segment = ipcpp::segment::anonymous({.max_size = 64_MiB});
  auto& frames = segment.construct<ipcpp::loan_queue>(
      "frames", ipcpp::loan_queue_options{.chunk_bytes = 4096,
                                          .chunks = 12,
                                          .capacity = 4,
                                          .overflow = ipcpp::overflow::drop_oldest,
                                          .endpoints = 8});
  auto& torn = *new (segment.heap().allocate(64)) std::atomic<std::uint64_t>(0);
  auto& seen = *new (segment.heap().allocate(64)) std::atomic<std::uint64_t>(0);
  const auto publish = [&] {
    auto publisher = frames.publisher();
    for (std::uint64_t n = 0;; ++n) {
      auto loan = publisher.loan(4096);
      for (std::size_t i = 0; i < 4096; i += 8) std::memcpy(loan.data() + i, &n, 8);
      loan.publish();
    }
  };
  const auto subscribe = [&] {
    auto subscriber = frames.subscriber();
    for (;;) {
      auto got = subscriber.receive();
      std::uint64_t first = 0;
      std::memcpy(&first, got.data(), 8);
      for (std::size_t i = 8; i < got.size(); i += 8) {
        std::uint64_t n = 0;
        std::memcpy(&n, got.data() + i, 8);
        if (n != first) ++torn;
      }
      ++seen;
    }
  };
  std::vector<pid_t> members;
  for (int i = 0; i < 5; ++i) members.push_back(i < 2 ? start(publish) : start(subscribe));
  std::mt19937 random(43);
  std::uint32_t kills = 0;
  const auto deadline = std::chrono::steady_clock::now() + duration;
  while (std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1 + random() % 8));
    const std::size_t which = random() % members.size();
    end(members[which]);
    ++kills;
    members[which] = which < 2 ? start(publish) : start(subscribe);
  }
  for (const pid_t pid : members) end(pid);
  EXPECT_EQ(torn, 0u);
  EXPECT_GT(seen, 100u);
  auto publisher = frames.publisher();
  std::vector<ipcpp::outgoing_loan> all;
  for (int i = 0; i < 12; ++i) {
    all.push_back(publisher.try_loan(4096));
    EXPECT_TRUE(all.back()) << "a chunk was lost";
  }
  std::printf("%llu received, %u kills\n", static_cast<unsigned long long>(seen.load()), kills);
}
