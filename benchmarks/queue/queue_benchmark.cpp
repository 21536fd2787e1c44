// The queues beside the machine and beside others: ./dev bench queue [--rounds N] [--only TEXT].
//
// Two parties, one on each of two processors, carry messages there and back. In each round every
// subject runs for a while, right behind the raw bounce of the same round, because a virtual machine's
// processors move: what counts is the median, over the rounds, of the ratio to that bounce (for
// blocking ones: to a bare futex), with a 95 % interval of that median. Then each round trip by itself
// for the percentiles; streams one way; the blocking ones once more with both parties on one processor;
// and one party alone, for the cost of an operation.
//
// With --gates the exit status is 1 if a gate of the project is missed.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <thread>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subject.hpp"

namespace bench {

namespace {

using clock = std::chrono::steady_clock;

struct plan {
  int rounds = 60;
  std::uint64_t trips = 4000;          // of a polling subject in a round
  std::uint64_t blocking_trips = 400;  // of one that sleeps
  std::uint64_t stream = 200000;       // messages one way in a round
  std::uint64_t blocking_stream = 20000;
  std::string only;
  bool gates = false;
};

double ns_since(clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(clock::now() - begin).count();
}

void run_on(int processor) {
  cpu_set_t where;
  CPU_ZERO(&where);
  CPU_SET(static_cast<unsigned>(processor), &where);
  ::sched_setaffinity(0, sizeof where, &where);
}

std::vector<int> processors() {
  cpu_set_t mine;
  ::sched_getaffinity(0, sizeof mine, &mine);
  std::vector<int> all;
  for (int i = 0; i < CPU_SETSIZE; ++i)
    if (CPU_ISSET(static_cast<unsigned>(i), &mine)) all.push_back(i);
  return all;
}

struct band {
  double median = 0;
  double low = 0;
  double high = 0;
};
// The median, and a 95 % interval for it from order statistics.
band middle_of(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const auto n = static_cast<double>(values.size());
  const double spread = 0.98 * std::sqrt(n);
  const auto at = [&](double i) {
    return values[static_cast<std::size_t>(std::clamp(i, 0.0, n - 1))];
  };
  return {at(n / 2), at(n / 2 - spread), at(n / 2 + spread)};
}
double percentile(std::vector<double>& sorted, double p) {
  return sorted[std::min(sorted.size() - 1,
                         static_cast<std::size_t>(p * static_cast<double>(sorted.size())))];
}

// The second party: does `work`, as a process or as a thread, on its processor.
class second_party {
 public:
  template <class Work>
  second_party(bool thread, int processor, Work work) {
    if (thread) {
      thread_ = std::thread([=] {
        run_on(processor);
        work();
      });
      return;
    }
    std::fflush(stdout);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      run_on(processor);
      try {
        work();
      } catch (const std::exception& e) {
        std::fprintf(stderr, "second party: %s\n", e.what());
        ::_exit(1);
      }
      ::_exit(0);
    }
  }
  second_party(const second_party&) = delete;
  second_party& operator=(const second_party&) = delete;
  ~second_party() {
    if (thread_.joinable()) thread_.join();
    if (pid_ > 0) ::waitpid(pid_, nullptr, 0);
  }

 private:
  std::thread thread_;
  pid_t pid_ = -1;
};

struct figures {
  std::vector<double> ns;      // of a round trip, by round
  std::vector<double> ratios;  // to the base of the same round
  std::vector<double> single;  // each round trip by itself
  std::vector<double> per_second;
};

std::uint64_t trips_of(const subject& s, const plan& p) {
  return s.blocking ? p.blocking_trips : p.trips;
}
std::uint64_t stream_of(const subject& s, const plan& p) {
  return s.blocking ? p.blocking_stream : p.stream;
}

// `base` and the subject in turns, p.rounds times.
void measure(const subject& base, const subject& s, const plan& p, const int (&on)[2],
             figures& into) {
  run_on(on[0]);
  {
    second_party other(s.threads, on[1], [&] {
      for (int round = 0; round <= p.rounds; ++round) {
        base.pong(trips_of(base, p));
        s.pong(trips_of(s, p));
      }
      s.pong(trips_of(s, p) * 5);
    });
    for (int round = 0; round <= p.rounds; ++round) {
      const auto begin = clock::now();
      base.ping(trips_of(base, p));
      const double base_ns = ns_since(begin) / static_cast<double>(trips_of(base, p));
      const auto middle = clock::now();
      s.ping(trips_of(s, p));
      const double ns = ns_since(middle) / static_cast<double>(trips_of(s, p));
      if (round == 0) continue;  // attaching, page faults
      into.ns.push_back(ns);
      into.ratios.push_back(ns / base_ns);
    }
    for (std::uint64_t i = 0; i < trips_of(s, p) * 5; ++i) {
      const auto begin = clock::now();
      s.ping(1);
      into.single.push_back(ns_since(begin));
    }
  }
  std::sort(into.single.begin(), into.single.end());
}

void measure_stream(const subject& s, const plan& p, const int (&on)[2], figures& into) {
  if (!s.push) return;
  run_on(on[0]);
  const int rounds = std::max(3, p.rounds / 6);
  second_party other(s.threads, on[1], [&] {
    for (int round = 0; round <= rounds; ++round) {
      s.pull(stream_of(s, p));
      s.pong(1);
    }
  });
  for (int round = 0; round <= rounds; ++round) {
    const auto begin = clock::now();
    s.push(stream_of(s, p));
    s.ping(1);  // the answer says that everything has arrived
    if (round != 0)
      into.per_second.push_back(static_cast<double>(stream_of(s, p)) / ns_since(begin) * 1e3);
  }
}

struct gate {
  const char* subject;
  const char* what;
  double least_good;
  double stretch;
};

bool report_gate(const char* what, double found, double limit, double stretch) {
  std::printf("gate: %-58s %6.3f  limit %.2f  stretch %.2f  %s\n", what, found, limit, stretch,
              found <= stretch ? "stretch met"
              : found <= limit ? "met"
                               : "MISSED");
  return found <= limit;
}

int run(const plan& p) {
  const std::vector<int> cpus = processors();
  const int two[2] = {cpus.front(), cpus.back()};
  const int one[2] = {cpus.front(), cpus.front()};
  std::vector<subject> all;
  add_system_subjects(all);
  add_ipcpp_subjects(all);
  add_peer_subjects(all);
  const subject raw = all[0];
  const subject futex = all[1];
  const auto wanted = [&](const std::string& name) {
    return p.only.empty() || name.find(p.only) != std::string::npos;
  };
  std::map<std::string, double> ratio;
  std::map<std::string, double> rate;

  if (cpus.size() > 1) {
    std::printf(
        "\nround trips, two processors (ratio to a raw bounce, for blocking ones to a bare "
        "futex, of the same round)\n");
    std::printf("%-46s %10s %7s %-15s %9s %9s %9s\n", "", "ns", "ratio", "95 %", "p50", "p99",
                "p99.9");
    for (const subject& s : all) {
      if (!wanted(s.name)) continue;
      figures f;
      measure(s.blocking ? futex : raw, s, p, two, f);
      const band ns = middle_of(f.ns);
      const band r = middle_of(f.ratios);
      ratio[s.name] = r.median;
      std::printf("%-46s %10.1f %7.3f %.3f to %.3f  %9.0f %9.0f %9.0f\n", s.name.c_str(), ns.median,
                  r.median, r.low, r.high, percentile(f.single, 0.5), percentile(f.single, 0.99),
                  percentile(f.single, 0.999));
      std::fflush(stdout);
    }
    std::printf("\nstreams, two processors (million messages a second)\n");
    for (const subject& s : all) {
      if (!wanted(s.name) || !s.push) continue;
      figures f;
      measure_stream(s, p, two, f);
      const band m = middle_of(f.per_second);
      rate[s.name] = m.median;
      std::printf("%-46s %10.3f   %.3f to %.3f\n", s.name.c_str(), m.median, m.low, m.high);
      std::fflush(stdout);
    }
  } else {
    std::printf("one processor: nothing that polls can be measured\n");
  }

  std::printf("\nblocking round trips, one processor (ratio to a bare futex)\n");
  std::map<std::string, double> on_one;
  for (const subject& s : all) {
    if (!wanted(s.name) || !s.blocking) continue;
    figures f;
    measure(futex, s, p, one, f);
    const band r = middle_of(f.ratios);
    on_one[s.name] = r.median;
    std::printf("%-46s %10.1f %7.3f %.3f to %.3f\n", s.name.c_str(), middle_of(f.ns).median,
                r.median, r.low, r.high);
    std::fflush(stdout);
  }

  std::printf("\none party alone, send and receive (ns)\n");
  std::map<std::string, std::vector<double>> alone;
  const std::vector<loner> lone = loners();
  run_on(one[0]);
  for (int round = 0; round <= p.rounds; ++round)
    for (const loner& l : lone) {
      const auto begin = clock::now();
      l.run(20000);
      if (round != 0) alone[l.name].push_back(ns_since(begin) / 20000);
    }
  for (const loner& l : lone) {
    const band ns = middle_of(alone[l.name]);
    std::printf("%-46s %10.2f   %.2f to %.2f\n", l.name.c_str(), ns.median, ns.low, ns.high);
  }

  if (!p.only.empty()) return 0;
  std::printf("\n");
  bool met = true;
  if (cpus.size() > 1) {
    met &= report_gate("spsc_queue 8 B, ratio to raw", ratio["spsc_queue, 8 B"], 1.15, 1.05);
    met &= report_gate("spsc_queue 48 B, ratio to raw", ratio["spsc_queue, 48 B"], 1.15, 1.05);
    met &= report_gate("spsc_queue 64 B, ratio to raw", ratio["spsc_queue, 64 B"], 1.30, 1.18);
    met &= report_gate("mpmc_queue round trip, ratio to the same without crash protocol",
                       ratio["mpmc_queue, 48 B"] / ratio["mpmc without crash protocol, 48 B"], 1.05,
                       1.02);
    if (rate.count("Boost message_queue") != 0) {
      met &= report_gate("spsc_queue, Boost message_queue's throughput as a part of ours",
                         rate["Boost message_queue"] / rate["spsc_queue, 48 B"], 0.1, 0.1);
      met &= report_gate("mpmc_queue, Boost message_queue's throughput as a part of ours",
                         rate["Boost message_queue"] / rate["mpmc_queue, 48 B"], 0.1, 0.1);
    }
  }
  const double crash_cost = middle_of(alone["mpmc_queue, 48 B"]).median /
                            middle_of(alone["mpmc without crash protocol, 48 B"]).median;
  std::printf("      mpmc_queue alone, ratio to the same without crash protocol %.3f\n",
              crash_cost);
  met &= report_gate("spsc_queue blocking on one processor, ratio to a bare futex",
                     on_one["spsc_queue, 48 B, blocking"], 1.10, 1.10);
  return met || !p.gates ? 0 : 1;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  bench::plan p;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--rounds" && i + 1 < argc) {
      p.rounds = std::max(3, std::atoi(argv[++i]));
    } else if (argument == "--only" && i + 1 < argc) {
      p.only = argv[++i];
    } else if (argument == "--quick") {
      p.rounds = 5;
      p.trips = 1000;
      p.blocking_trips = 100;
      p.stream = 20000;
      p.blocking_stream = 2000;
    } else if (argument == "--gates") {
      p.gates = true;
    } else {
      std::puts("queue_benchmark [--quick] [--rounds N] [--only TEXT] [--gates]");
      return argument == "--help" ? 0 : 2;
    }
  }
  return bench::run(p);
}
