// What message_queue, broadcast_queue, loan_queue and call_queue cost: mail_benchmark [SECONDS].
//
// Two processes, each on a processor of its own if there are two. Everything is measured in rounds,
// each with a raw exchange of two cache lines (or memcpy) beside it, and reported as the median of the
// rounds' ratios: what the machine does to one it does to the other.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <vector>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

import ipcpp;
import ipcpp.platform;

using namespace ipcpp::literals;
using clock_type = std::chrono::steady_clock;

namespace {

void pin(unsigned processor) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(processor % static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN)), &set);
  ::sched_setaffinity(0, sizeof set, &set);
}
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

struct control {
  alignas(128) std::atomic<std::uint64_t> there{0};
  alignas(128) std::atomic<std::uint64_t> back{0};
  alignas(128) std::atomic<std::uint64_t> mode{0};  // what the peer does; changes with each round
  alignas(128) std::atomic<std::uint64_t> ready{0};
};

// A peer process that answers in whatever way the round says.
class peer {
 public:
  peer(control& shared, const std::vector<std::function<void(std::uint64_t rounds)>>& answers)
      : shared_(shared) {
    pid_ = ::fork();
    if (pid_ != 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    pin(1);
    for (std::uint64_t last = 0;;) {
      const std::uint64_t mode = shared.mode.load();
      if (mode == last) {
        relax();
        continue;
      }
      last = mode;
      answers[mode & 0xff](mode >> 8 & 0xffffffff);
    }
  }
  ~peer() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  void start(std::size_t which, std::uint64_t rounds) {
    shared_.mode = ++turn_ << 40 | rounds << 8 | which;
  }

 private:
  control& shared_;
  pid_t pid_ = -1;
  std::uint64_t turn_ = 0;
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}
template <class F>
double ns_of(F&& f) {
  const auto begin = clock_type::now();
  f();
  return std::chrono::duration<double, std::nano>(clock_type::now() - begin).count();
}

struct row {
  std::string name;
  double median_ratio, low, high, ns;
};
void print(const row& r) {
  std::printf("%-58s %8.3f  [%.3f, %.3f]  %12.1f ns\n", r.name.c_str(), r.median_ratio, r.low,
              r.high, r.ns);
  std::fflush(stdout);
}
// Ratios of `what` to `reference`, measured one after the other, again and again.
row pairs(const std::string& name, double seconds, const std::function<double()>& reference,
          const std::function<double()>& what) {
  std::vector<double> ratios;
  std::vector<double> times;
  const auto end = clock_type::now() + std::chrono::duration<double>(seconds);
  while (clock_type::now() < end || ratios.size() < 9) {
    const double r = reference();
    const double w = what();
    ratios.push_back(w / r);
    times.push_back(w);
  }
  std::sort(ratios.begin(), ratios.end());
  // The ranks that hold the median with 95 %.
  const double n = static_cast<double>(ratios.size());
  const auto spread = static_cast<std::size_t>(0.98 * std::sqrt(n));
  const std::size_t middle = ratios.size() / 2;
  return {name, ratios[middle], ratios[middle > spread ? middle - spread : 0],
          ratios[std::min(middle + spread, ratios.size() - 1)], median(times)};
}

struct tick {
  std::uint64_t number;
  std::uint64_t more[5];
};
using calls_type = ipcpp::call_queue<tick, tick>;

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 2;
  auto segment = ipcpp::segment::anonymous({.max_size = 1_GiB});
  auto& shared = *new (segment.heap().allocate(sizeof(control), 128)) control;
  constexpr std::uint64_t rounds = 2000;

  const auto make_mail = [&](const char* name, ipcpp::users how) -> ipcpp::message_queue& {
    return segment.construct<ipcpp::message_queue>(
        name, ipcpp::message_queue_options{.capacity = 65536, .senders = how, .receivers = how});
  };
  auto& one_there = make_mail("one there", ipcpp::users::one);
  auto& one_back = make_mail("one back", ipcpp::users::one);
  auto& many_there = make_mail("many there", ipcpp::users::many);
  auto& many_back = make_mail("many back", ipcpp::users::many);
  auto& feed_there = segment.construct<ipcpp::broadcast_queue<tick>>("feed there", 1024u,
                                                                     ipcpp::overflow::drop_oldest);
  auto& feed_back = segment.construct<ipcpp::broadcast_queue<tick>>("feed back", 1024u,
                                                                    ipcpp::overflow::drop_oldest);
  auto& calls = segment.construct<calls_type>("calls", 8u);
  auto& large = segment.construct<ipcpp::message_queue>(
      "large",
      ipcpp::message_queue_options{
          .capacity = 32_MiB, .senders = ipcpp::users::one, .receivers = ipcpp::users::one});

  const auto echo_mail = [](ipcpp::message_queue& there, ipcpp::message_queue& back) {
    return [&there, &back](std::uint64_t n) {
      auto in = there.receiver();
      auto out = back.sender();
      for (std::uint64_t i = 0; i < n; ++i) {
        for (;;) {
          auto letter = in.try_receive();
          if (!letter) {
            relax();
            continue;
          }
          auto reply = out.claim(letter->size());
          std::memcpy(reply.data(), letter->data(), letter->size());
          reply.commit();
          break;
        }
      }
    };
  };
  std::vector<std::byte> sink(4_MiB);
  const std::vector<std::function<void(std::uint64_t)>> answers{
      [&](std::uint64_t n) {  // 0: two raw lines
        for (std::uint64_t i = 1; i <= n; ++i) {
          while (shared.there.load(std::memory_order_acquire) != i) relax();
          shared.back.store(i, std::memory_order_release);
        }
      },
      echo_mail(one_there, one_back),    // 1
      echo_mail(many_there, many_back),  // 2
      [&](std::uint64_t n) {             // 3: broadcast
        auto in = feed_there.subscriber();
        auto out = feed_back.publisher();
        shared.ready = 1;
        for (std::uint64_t i = 0; i < n; ++i) {
          for (;;) {
            auto got = in.try_receive();
            if (!got) {
              relax();
              continue;
            }
            out.publish(*got);
            break;
          }
        }
      },
      [&](std::uint64_t n) {  // 4: calls
        auto server = calls.server();
        for (std::uint64_t i = 0; i < n;) {
          auto request = server.try_receive();
          if (!request) {
            relax();
            continue;
          }
          request.reply(request.request());
          ++i;
        }
      },
      [&](std::uint64_t n) {  // 5: copies large letters out
        auto in = large.receiver();
        for (std::uint64_t i = 0; i < n;) {
          auto letter = in.try_receive();
          if (!letter) {
            relax();
            continue;
          }
          std::memcpy(sink.data(), letter->data(), letter->size());
          ++i;
        }
        shared.ready = 2;
      },
  };
  peer other(shared, answers);
  pin(0);

  const auto raw = [&] {
    shared.there = 0;
    shared.back = 0;
    other.start(0, rounds);
    return ns_of([&] {
             for (std::uint64_t i = 1; i <= rounds; ++i) {
               shared.there.store(i, std::memory_order_release);
               while (shared.back.load(std::memory_order_acquire) != i) relax();
             }
           }) /
           static_cast<double>(rounds);
  };
  const auto mail_round = [&](std::size_t which, ipcpp::message_queue& there,
                              ipcpp::message_queue& back, std::size_t bytes) {
    auto out = there.sender();
    auto in = back.receiver();
    other.start(which, rounds);
    const std::vector<std::byte> message(bytes);
    const double ns = ns_of([&] {
      for (std::uint64_t i = 0; i < rounds; ++i) {
        auto letter = out.claim(bytes);
        std::memcpy(letter.data(), message.data(), bytes);
        letter.commit();
        while (!in.try_receive()) relax();
      }
    });
    return ns / static_cast<double>(rounds);
  };

  std::printf("%-58s %8s  %16s  %12s\n", "round trip, polling; ratio to two raw lines", "ratio",
              "95 % of median", "median");
  for (const std::size_t bytes : {std::size_t{8}, std::size_t{48}, std::size_t{256}}) {
    print(pairs("message_queue, one to one, " + std::to_string(bytes) + " B", seconds, raw,
                [&] { return mail_round(1, one_there, one_back, bytes); }));
    print(pairs("message_queue, many to many, " + std::to_string(bytes) + " B", seconds, raw,
                [&] { return mail_round(2, many_there, many_back, bytes); }));
  }
  print(pairs("broadcast_queue, 48 B", seconds, raw, [&] {
    auto in = feed_back.subscriber();
    auto out = feed_there.publisher();
    shared.ready = 0;
    other.start(3, rounds);
    while (shared.ready != 1) relax();
    return ns_of([&] {
             for (std::uint64_t i = 0; i < rounds; ++i) {
               out.publish({i, {}});
               while (!in.try_receive()) relax();
             }
           }) /
           static_cast<double>(rounds);
  }));
  print(pairs("call_queue, 48 B", seconds, raw, [&] {
    auto client = calls.client();
    other.start(4, rounds);
    return ns_of([&] {
             for (std::uint64_t i = 0; i < rounds; ++i) {
               auto under_way = client.start({i, {}});
               while (under_way.try_get().status() == ipcpp::call_status::pending) relax();
             }
           }) /
           static_cast<double>(rounds);
  }));

  std::printf("\n%-58s\n", "copy in, copy out; ratio of time to two memcpys in one process");
  for (const std::size_t bytes : {64_KiB, 256_KiB, 1_MiB, 4_MiB}) {
    const std::uint64_t n = 64_MiB / bytes;
    std::vector<std::byte> from(bytes), middle(bytes), to(bytes);
    print(pairs(
        std::to_string(bytes / 1024) + " KiB", seconds,
        [&] {
          return ns_of([&] {
                   for (std::uint64_t i = 0; i < n; ++i) {
                     std::memcpy(middle.data(), from.data(), bytes);
                     asm volatile("" ::"r"(middle.data()) : "memory");
                     std::memcpy(to.data(), middle.data(), bytes);
                     asm volatile("" ::"r"(to.data()) : "memory");
                   }
                 }) /
                 static_cast<double>(n);
        },
        [&] {
          auto out = large.sender();
          shared.ready = 0;
          other.start(5, n);
          return ns_of([&] {
                   for (std::uint64_t i = 0; i < n; ++i)
                     while (!out.try_send(from)) relax();
                   while (shared.ready != 2) relax();
                 }) /
                 static_cast<double>(n);
        }));
  }

  std::printf("\n%-58s\n",
              "loan, publish, receive, release in one process; ratio to 64 B, one subscriber");
  auto& frames = segment.construct<ipcpp::loan_queue>(
      "frames", ipcpp::loan_queue_options{.chunk_bytes = 4_MiB, .chunks = 16, .capacity = 8});
  auto publisher = frames.publisher();
  const auto loan_round = [&](std::size_t bytes, std::vector<ipcpp::loan_subscriber>& subscribers) {
    return ns_of([&] {
             for (int i = 0; i < 2000; ++i) {
               auto loan = publisher.loan(bytes);
               loan.data()[0] = std::byte{1};
               loan.data()[bytes - 1] = std::byte{2};
               loan.publish();
               for (auto& s : subscribers) (void)s.try_receive();
             }
           }) /
           2000;
  };
  const auto publish_only = [&](std::size_t bytes,
                                std::vector<ipcpp::loan_subscriber>& subscribers) {
    double ns = 0;
    for (int i = 0; i < 500; ++i) {
      for (int k = 0; k < 4; ++k) {
        auto loan = publisher.loan(bytes);
        loan.data()[0] = std::byte{1};
        ns += ns_of([&] { loan.publish(); });
      }
      for (auto& s : subscribers)
        while (s.try_receive()) {
        }
    }
    return ns / 2000;
  };
  std::vector<ipcpp::loan_subscriber> one;
  one.push_back(frames.subscriber());
  print(pairs(
      "4 MiB, one subscriber", seconds, [&] { return loan_round(64, one); },
      [&] { return loan_round(4_MiB, one); }));
  const double single = publish_only(64, one);
  std::vector<ipcpp::loan_subscriber> twenty;
  for (int i = 0; i < 19; ++i) twenty.push_back(frames.subscriber());
  twenty.push_back(std::move(one.back()));
  one.clear();
  std::printf(
      "publish alone: 64 B to 1 subscriber %.0f ns, 64 B to 20 %.0f ns, 4 MiB to 20 %.0f ns\n",
      single, publish_only(64, twenty), publish_only(4_MiB, twenty));
  return 0;
}
