// Queues under load, with senders and receivers killed, stopped and continued at random: every message
// that a sender knows to be sent arrives, whole, in its sender's order, once unless it is flagged; only
// what a killed receiver had in its hands may be missing.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "posix_process.hpp"
#include "queues.hpp"
#include "roles.hpp"

import ipcpp;

using namespace std::chrono_literals;
using test::object_in;

namespace {

constexpr std::uint64_t most_senders = 400;
constexpr std::uint64_t most_each = 1 << 14;

struct numbered {
  std::uint64_t sender;
  std::uint64_t number;
  std::uint64_t check[3];
};
numbered write(std::uint64_t sender, std::uint64_t number) {
  numbered m{sender, number, {}};
  for (std::uint64_t i = 0; i < 3; ++i) m.check[i] = sender * 31 + number * (i + 7);
  return m;
}
bool is_whole(const numbered& m) {
  for (std::uint64_t i = 0; i < 3; ++i)
    if (m.check[i] != m.sender * 31 + m.number * (i + 7)) return false;
  return m.sender < most_senders && m.number < most_each;
}

// In the segment, for everybody.
struct ledger {
  std::atomic<std::uint64_t> senders;                      // numbers given out
  std::atomic<std::uint64_t> sent[most_senders];           // that so many were sent, is known
  std::atomic<std::uint8_t> got[most_senders][most_each];  // times, without a flag
  std::atomic<std::uint64_t> received;
  std::atomic<std::uint64_t> again;
  std::atomic<std::uint64_t> torn;
  std::atomic<std::uint64_t> out_of_order;
  std::atomic<bool> stop;
};

template <class Queue>
class soak {
 public:
  explicit soak(bool single) : single_(single) {
    notes_ = static_cast<ledger*>(segment_.heap().allocate_zeroed(sizeof(ledger)));
  }

  void run(std::chrono::milliseconds time) {
    std::mt19937 random(7);
    const std::size_t senders = single_ ? 1 : 2;
    std::vector<pid_t> workers;
    const auto start = [&](std::size_t i) { return i < senders ? sender() : receiver(); };
    for (std::size_t i = 0; i < senders + (single_ ? 1 : 2); ++i) workers.push_back(start(i));
    const auto end = std::chrono::steady_clock::now() + time;
    std::uint64_t kills = 0;
    std::uint64_t killed_receivers = 0;
    while (std::chrono::steady_clock::now() < end && notes_->senders < most_senders - 4) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 8000));
      const std::size_t i = random() % workers.size();
      if (random() % 3 == 0) {
        ::kill(workers[i], SIGSTOP);
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 4000));
        ::kill(workers[i], SIGCONT);
        continue;
      }
      ::kill(workers[i], SIGKILL);
      ::waitpid(workers[i], nullptr, 0);
      ++kills;
      if (i >= senders) ++killed_receivers;
      workers[i] = start(i);
    }
    // Let the receivers empty it: no sender any more.
    for (std::size_t i = 0; i < senders; ++i) {
      ::kill(workers[i], SIGKILL);
      ::waitpid(workers[i], nullptr, 0);
    }
    queue_->close();
    for (std::size_t i = senders; i < workers.size(); ++i) {
      int status = 0;
      ::waitpid(workers[i], &status, 0);
      EXPECT_EQ(status, 0) << "a receiver did not come to the end";
    }
    {
      // What receivers who died last had in hand.
      queue_->reopen();
      auto out = queue_->receiver();
      receive_all(out);
    }
    std::uint64_t sent = 0;
    std::uint64_t missing = 0;
    std::uint64_t twice = 0;
    for (std::uint64_t s = 0; s < notes_->senders; ++s) {
      const std::uint64_t known = notes_->sent[s];
      sent += known;
      for (std::uint64_t n = 0; n < most_each; ++n) {
        const unsigned times = notes_->got[s][n];
        if (times == 0 && n < known) ++missing;
        if (times > 1) ++twice;
        if (times != 0) EXPECT_LE(n, known) << "more than was sent";
      }
    }
    std::printf(
        "soak: %llu kills, %llu of receivers; %llu messages sent, %llu flagged, %llu in dead "
        "hands\n",
        static_cast<unsigned long long>(kills), static_cast<unsigned long long>(killed_receivers),
        static_cast<unsigned long long>(sent),
        static_cast<unsigned long long>(notes_->again.load()),
        static_cast<unsigned long long>(missing));
    EXPECT_EQ(notes_->torn, 0u);
    EXPECT_EQ(notes_->out_of_order, 0u);
    EXPECT_EQ(twice, 0u) << "without a flag";
    EXPECT_LE(missing, killed_receivers) << "lost: a receiver holds one at a time";
    EXPECT_GT(sent, 0u);
  }

 private:
  template <class Body>
  pid_t start_process(Body body) {
    const pid_t pid = ::fork();
    if (pid != 0) return pid;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    try {
      body();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "worker: %s\n", e.what());
      ::_exit(1);
    }
    ::_exit(0);
  }
  pid_t sender() {
    return start_process([this] {
      const std::uint64_t me = notes_->senders.fetch_add(1);
      if (me >= most_senders) ::_exit(0);
      auto in = queue_->sender();
      for (std::uint64_t n = 0; n < most_each; ++n) {
        in.send(write(me, n));
        notes_->sent[me] = n + 1;
      }
      for (;;) ::pause();
    });
  }
  pid_t receiver() {
    return start_process([this] {
      auto out = queue_->receiver();
      receive_all(out, true);
    });
  }
  void receive_all(typename Queue::receiver_type& out, bool to_the_end = false) {
    std::vector<std::uint64_t> next(most_senders, 0);
    for (;;) {
      const auto m = to_the_end ? out.receive() : out.receive_for(150ms);
      if (!m) return;
      if (!is_whole(*m)) {
        ++notes_->torn;
        continue;
      }
      ++notes_->received;
      if (m.redelivered()) {
        ++notes_->again;
        // Seen before, perhaps: once is enough.
        std::uint8_t none = 0;
        notes_->got[m->sender][m->number].compare_exchange_strong(none, 1);
        continue;
      }
      if (m->number < next[m->sender]) ++notes_->out_of_order;
      next[m->sender] = m->number + 1;
      ++notes_->got[m->sender][m->number];
    }
  }

  bool single_;
  ipcpp::segment segment_ = ipcpp::segment::anonymous({.max_size = 64 << 20});
  object_in<Queue> queue_{segment_, std::size_t{16}};
  ledger* notes_ = nullptr;
};

std::chrono::milliseconds time_for_each() {
  return test::prove_in_full() ? std::chrono::milliseconds(20000) : 2500ms;
}

}  // namespace

TEST(CrashQueueSoak, MpmcUnderKillsAndStops) {
  soak<ipcpp::mpmc_queue<numbered>>(false).run(time_for_each());
}
TEST(CrashQueueSoak, SpscUnderKillsAndStops) {
  soak<ipcpp::spsc_queue<numbered>>(true).run(time_for_each());
}
