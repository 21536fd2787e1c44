// The queues beside the machine and beside others: ./dev bench queue [--rounds N] [--only TEXT].
//
// Two parties, one on each of two processors, carry messages there and back. In each round every
// subject runs for a while, right behind the raw bounce of the same round, because a virtual machine's
// processors move: what counts is the median, over the rounds, of the ratio to that bounce (for
// blocking ones: to a bare futex), with a 95 % interval of that median. Then each round trip by itself
// for the percentiles; streams one way; streams of several senders and receivers; large messages, copied
// and lent; the blocking ones once more with both parties on one processor; and one party alone, for the
// cost of an operation in nanoseconds and, under callgrind, in instructions.
//
// What is printed goes to RESULTS/queue_benchmark.md as tables, and as a figure to
// RESULTS/queue_benchmark.svg. --update-docs puts them into docs/queue_benchmarks.md and docs/figures.
//
// With --gates the exit status is 1 if a gate of the project is missed.
#include <algorithm>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <fstream>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/ratio_plot.hpp"
#include "subject.hpp"

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#else
#define CALLGRIND_TOGGLE_COLLECT
#endif

namespace bench {

namespace {

using clock = std::chrono::steady_clock;

struct plan {
  int rounds = 60;
  std::uint64_t trips = 4000;          // of a polling subject in a round
  std::uint64_t blocking_trips = 400;  // of one that sleeps
  std::uint64_t stream = 200000;       // messages one way in a round
  std::uint64_t blocking_stream = 20000;
  std::uint64_t crowd = 120000;     // messages of a crowd in a round
  std::uint64_t copied = 64 << 20;  // bytes copied in a round
  std::string only;
  std::string program;  // this one, for callgrind
  std::string count;    // under callgrind: which operation
  std::string root;     // the checkout, for --update-docs
  std::string results = ".";
  bool gates = false;
  bool counts = true;
  bool update_docs = false;
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
  for (const subject* const one : {&base, &s})
    if (one->begin) one->begin();
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
  if (s.begin) s.begin();
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

// Several senders and receivers, in their own processes or threads, on all processors: millions of
// messages a second, from the first start to the last end.
double crowd_round(const crowd& c, unsigned senders, unsigned receivers, const plan& p,
                   const std::vector<int>& cpus) {
  const std::uint64_t all = p.crowd / (senders * receivers) * (senders * receivers);
  struct line {
    std::atomic<std::uint32_t> ready;
    std::atomic<std::uint32_t> go;
  };
  static auto* const start = new (shared_bytes(sizeof(line))) line;
  start->ready = 0;
  start->go = 0;
  std::vector<std::unique_ptr<second_party>> parties;
  for (unsigned i = 0; i < senders + receivers; ++i)
    parties.push_back(std::make_unique<second_party>(c.threads, cpus[i % cpus.size()],
                                                     [&c, i, senders, receivers, all] {
                                                       start->ready.fetch_add(1);
                                                       until([] { return start->go.load() != 0; });
                                                       if (i < senders)
                                                         c.push(all / senders);
                                                       else
                                                         c.pull(all / receivers);
                                                     }));
  until([&] { return start->ready.load() == senders + receivers; });
  const auto begin = clock::now();
  start->go = 1;
  parties.clear();  // waits for them
  return static_cast<double>(all) / ns_since(begin) * 1e3;
}

// Time of the copies through the queue divided by that of two copies in one process.
band measure_copies(const copy_case& one, const plan& p, const int (&on)[2], band& gigabytes) {
  const std::uint64_t n = std::max<std::uint64_t>(4, p.copied / one.bytes);
  const int rounds = std::max(3, p.rounds / 6);
  std::vector<double> ratios;
  std::vector<double> rates;
  run_on(on[0]);
  second_party other(false, on[1], [&] {
    for (int round = 0; round <= rounds; ++round) one.through.pull(n);
  });
  for (int round = 0; round <= rounds; ++round) {
    const auto begin = clock::now();
    one.two_copies(n);
    const double base = ns_since(begin);
    const auto middle = clock::now();
    one.through.push(n);
    const double ns = ns_since(middle);
    if (round == 0) continue;
    ratios.push_back(ns / base);
    rates.push_back(static_cast<double>(n * one.bytes) / ns);
  }
  gigabytes = middle_of(rates);
  return middle_of(ratios);
}

// ---- instructions: this program again, under callgrind ----

constexpr std::uint64_t counted = 1000;

int count_here(const plan& p) {
  for (const loner& l : loners()) {
    if (l.name != p.count) continue;
    l.run(counted);
    CALLGRIND_TOGGLE_COLLECT;
    l.run(counted);
    CALLGRIND_TOGGLE_COLLECT;
    return 0;
  }
  return 2;
}
// Of one operation; negative: it could not be counted.
double instructions(const plan& p, const std::string& name) {
  const std::string command =
      "valgrind --tool=callgrind --collect-atstart=no --callgrind-out-file=/dev/null '" +
      p.program + "' --count '" + name + "' 2>&1";
  std::FILE* const out = ::popen(command.c_str(), "re");
  if (out == nullptr) return -1;
  double found = -1;
  char line[512];
  while (std::fgets(line, sizeof line, out) != nullptr)
    if (const char* at = std::strstr(line, "Collected : "); at != nullptr)
      found = std::strtod(at + 12, nullptr) / static_cast<double>(counted);
  return ::pclose(out) == 0 ? found : -1;
}

// ---- what was found, for people ----

class report {
 public:
  void section(const std::string& title, const std::vector<std::string>& columns) {
    std::printf("\n%s\n%-50s", title.c_str(), "");
    for (const std::string& c : columns) std::printf(" %16s", c.c_str());
    std::printf("\n");
    tables_ << "\n### " << title << "\n\n| |";
    for (const std::string& c : columns) tables_ << ' ' << c << " |";
    tables_ << "\n|---|";
    for (std::size_t i = 0; i < columns.size(); ++i) tables_ << "---|";
    tables_ << '\n';
  }
  void row(const std::string& name, const std::vector<std::string>& values) {
    std::printf("%-50s", name.c_str());
    tables_ << "| " << name << " |";
    for (const std::string& v : values) {
      std::printf(" %16s", v.c_str());
      tables_ << ' ' << v << " |";
    }
    std::printf("\n");
    std::fflush(stdout);
    tables_ << '\n';
  }
  // `found` is as good as it is small.
  void gate(const std::string& what, double found, double limit, double stretch) {
    const bool measured = found > 0;
    const char* const verdict = !measured          ? "not measured"
                                : found <= stretch ? "stretch met"
                                : found <= limit   ? "met"
                                                   : "missed";
    row(what,
        {measured ? text(found, 3) : "-", text(limit, 2) + " / " + text(stretch, 2), verdict});
    met_ = met_ && measured && found <= limit;
  }
  bool met() const { return met_; }
  std::string tables() const { return tables_.str(); }

  static std::string text(double value, int digits) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, "%.*f", digits, value);
    return buffer;
  }
  static std::string interval(const band& b, int digits) {
    return text(b.low, digits) + " - " + text(b.high, digits);
  }

 private:
  std::ostringstream tables_;
  bool met_ = true;
};

std::string processor_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown processor";
}

bool update_document(const std::string& path, const plan& p, const std::string& tables) {
  const std::string begin_mark = "<!-- figures: ./dev bench queue --update-docs -->";
  const std::string end_mark = "<!-- end of figures -->";
  std::stringstream old;
  old << std::ifstream(path).rdbuf();
  const std::string text = old.str();
  const std::size_t begin = text.find(begin_mark);
  const std::size_t end = text.find(end_mark);
  if (begin == std::string::npos || end == std::string::npos || end < begin) return false;
  const std::time_t now = std::time(nullptr);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%d", std::localtime(&now));
  std::ofstream to(path);
  to << text.substr(0, begin + begin_mark.size()) << "\n\nMeasured " << date << " on "
     << processor_name() << ", " << ::sysconf(_SC_NPROCESSORS_ONLN) << " processors, " << p.rounds
     << " rounds.\n"
     << tables << '\n'
     << text.substr(end);
  return to.flush().good();
}

int run(const plan& p) {
  const std::vector<int> cpus = processors();
  const int two[2] = {cpus.front(), cpus.back()};
  const int one[2] = {cpus.front(), cpus.front()};
  std::vector<subject> all;
  add_system_subjects(all);
  add_ipcpp_subjects(all);
  add_mail_subjects(all);
  add_peer_subjects(all);
  const subject raw = all[0];
  const subject futex = all[1];
  const auto named = [&](const std::string& name) {
    for (const subject& s : all)
      if (s.name == name) return s;
    return raw;
  };
  const auto wanted = [&](const std::string& name) {
    return p.only.empty() || name.find(p.only) != std::string::npos;
  };
  const auto is_ours = [](const std::string& name) {
    return name.find("_queue, ") != std::string::npos && name.find("atomic") != 0 &&
           name.find("Boost") != 0 && name.find("boost") != 0;
  };
  using r_t = report;
  report out;
  bench_support::ratio_plot plot;
  plot.title = "Round trips: time divided by that of two raw cache lines (polling) or a bare futex";
  plot.note = "dot: median, whisker: its 95 % interval";
  plot.least = 0.5;
  plot.most = 64;
  plot.left = 290;
  plot.series = {{"ipcpp", "#3a86c8"}, {"others", "#d98324"}};
  plot.panels = {{"polling, two processors", {}, {}},
                 {"blocking, two processors", {}, {}},
                 {"blocking, one processor", {}, {}}};
  const auto mark = [&](std::size_t panel, const subject& s, const band& r) {
    plot.panels[panel].rows.push_back(s.name);
    plot.panels[panel].dots.push_back(
        {s.name, is_ours(s.name) ? std::size_t{0} : 1, r.median, r.low, r.high});
  };
  std::map<std::string, double> ratio;
  std::map<std::string, double> latency;
  std::map<std::string, double> rate;
  double without_protocol = 0;
  double lent = 0;
  double copied = 0;

  if (cpus.size() > 1) {
    out.section(
        "round trips, two processors (ratio to a raw bounce, for blocking ones to a bare futex)",
        {"ns", "ratio", "95 %", "p50", "p99", "p99.9"});
    for (const subject& s : all) {
      if (!wanted(s.name)) continue;
      figures f;
      measure(s.blocking ? futex : raw, s, p, two, f);
      const band r = middle_of(f.ratios);
      ratio[s.name] = r.median;
      latency[s.name] = middle_of(f.ns).median;
      mark(s.blocking ? 1 : 0, s, r);
      out.row(s.name,
              {r_t::text(latency[s.name], 1), r_t::text(r.median, 3), r_t::interval(r, 3),
               r_t::text(percentile(f.single, 0.5), 0), r_t::text(percentile(f.single, 0.99), 0),
               r_t::text(percentile(f.single, 0.999), 0)});
    }
    if (p.only.empty()) {
      out.section("round trips against each other, two processors", {"ratio", "95 %"});
      figures plain;
      measure(named("mpmc without crash protocol, 48 B"), named("mpmc_queue, 48 B"), p, two, plain);
      band r = middle_of(plain.ratios);
      without_protocol = r.median;
      out.row("mpmc_queue, 48 B, to the same without crash protocol",
              {r_t::text(r.median, 3), r_t::interval(r, 3)});
      const auto [small, large] = loans();
      figures lending;
      measure(small, large, p, two, lending);
      r = middle_of(lending.ratios);
      lent = r.median;
      out.row("loan_queue, 4 MiB to 64 B", {r_t::text(r.median, 3), r_t::interval(r, 3)});
    }
    out.section("streams, two processors", {"million/s", "95 %", "MB/s"});
    for (const subject& s : all) {
      if (!wanted(s.name) || !s.push) continue;
      figures f;
      measure_stream(s, p, two, f);
      const band m = middle_of(f.per_second);
      rate[s.name] = m.median;
      out.row(s.name, {r_t::text(m.median, 3), r_t::interval(m, 3),
                       r_t::text(m.median * static_cast<double>(s.bytes), 0)});
    }
    if (p.only.empty()) {
      out.section("copied in and out (time to that of two memcpy in one process)",
                  {"ratio", "95 %", "GB/s"});
      for (const copy_case& c : copy_cases()) {
        band rates;
        const band r = measure_copies(c, p, two, rates);
        copied = std::max(copied, r.median);
        out.row(c.through.name,
                {r_t::text(r.median, 3), r_t::interval(r, 3), r_t::text(rates.median, 2)});
      }
    }
  } else {
    std::printf("one processor: nothing that polls can be measured\n");
  }

  constexpr unsigned shapes[][2] = {{1, 1}, {2, 1}, {4, 1}, {1, 2}, {2, 2}, {4, 4}};
  std::vector<std::string> columns;
  for (const auto& shape : shapes)
    columns.push_back(std::to_string(shape[0]) + " to " + std::to_string(shape[1]));
  out.section("streams of several senders and receivers, all processors (million/s)", columns);
  std::vector<crowd> crowds;
  add_ipcpp_crowds(crowds);
  add_peer_crowds(crowds);
  for (const crowd& c : crowds) {
    if (!wanted(c.name)) continue;
    std::vector<std::string> values;
    for (const auto& shape : shapes) {
      if (shape[1] > c.most_receivers) {
        values.push_back("-");
        continue;
      }
      std::vector<double> found;
      for (int round = 0; round < std::max(3, p.rounds / 12); ++round)
        found.push_back(crowd_round(c, shape[0], shape[1], p, cpus));
      values.push_back(r_t::text(middle_of(found).median, 3));
    }
    out.row(c.name, values);
  }

  out.section("blocking round trips, one processor (ratio to a bare futex)",
              {"ns", "ratio", "95 %"});
  std::map<std::string, double> on_one;
  for (const subject& s : all) {
    if (!wanted(s.name) || !s.blocking) continue;
    figures f;
    measure(futex, s, p, one, f);
    const band r = middle_of(f.ratios);
    on_one[s.name] = r.median;
    mark(2, s, r);
    out.row(s.name,
            {r_t::text(middle_of(f.ns).median, 1), r_t::text(r.median, 3), r_t::interval(r, 3)});
  }

  out.section("one party alone, send and receive", {"ns", "95 %", "instructions"});
  std::map<std::string, std::vector<double>> alone;
  const std::vector<loner> lone = loners();
  run_on(one[0]);
  for (int round = 0; round <= p.rounds; ++round)
    for (const loner& l : lone) {
      if (!wanted(l.name)) continue;
      const auto begin = clock::now();
      l.run(5000);
      if (round != 0) alone[l.name].push_back(ns_since(begin) / 5000);
    }
  for (const loner& l : lone) {
    if (!wanted(l.name)) continue;
    const band ns = middle_of(alone[l.name]);
    const double count = p.counts ? instructions(p, l.name) : -1;
    out.row(l.name, {r_t::text(ns.median, 2), r_t::interval(ns, 2),
                     count < 0 ? std::string("-") : r_t::text(count, 1)});
  }

  if (!p.only.empty()) return 0;
  out.section("targets", {"found", "gate / stretch", ""});
  const auto part = [](double ours, double theirs) { return theirs > 0 ? ours / theirs : 0; };
  if (cpus.size() > 1) {
    out.gate("spsc_queue 8 B, ratio to raw", ratio["spsc_queue, 8 B"], 1.15, 1.05);
    out.gate("spsc_queue 48 B, ratio to raw", ratio["spsc_queue, 48 B"], 1.15, 1.05);
    out.gate("spsc_queue 64 B, ratio to raw", ratio["spsc_queue, 64 B"], 1.30, 1.18);
    out.gate("mpmc_queue, to the same without crash protocol", without_protocol, 1.05, 1.02);
    out.gate("message_queue 48 B in place, ratio to raw", ratio["message_queue, 48 B"], 1.20, 1.12);
    out.gate("copies of 64 KiB to 4 MiB, time to two memcpy", copied, 1 / 0.9, 1 / 0.9);
    out.gate("loan_queue, latency of 4 MiB to 64 B", lent, 1.20, 1.20);
    for (const char* const ours : {"spsc_queue, 48 B", "mpmc_queue, 48 B"}) {
      out.gate(std::string(ours) + ": latency, part of Boost message_queue's",
               part(latency[ours], latency["Boost message_queue, 48 B"]), 0.1, 0.1);
      out.gate(std::string(ours) + ": Boost message_queue's rate, part of ours",
               part(rate["Boost message_queue, 48 B"], rate[ours]), 0.1, 0.1);
    }
  }
  out.gate("mpmc_queue alone, to the same without crash protocol",
           part(middle_of(alone["mpmc_queue, 48 B"]).median,
                middle_of(alone["mpmc without crash protocol, 48 B"]).median),
           1.05, 1.02);
  out.gate("spsc_queue blocking on one processor, to a bare futex",
           on_one["spsc_queue, 48 B, blocking"], 1.10, 1.10);
  out.gate("message_queue blocking on one processor, to a bare futex",
           on_one["message_queue, 48 B, blocking"], 1.10, 1.10);

  bool written = bench_support::write_plot(p.results + "/queue_benchmark.svg", plot);
  std::ofstream tables(p.results + "/queue_benchmark.md");
  tables << out.tables();
  written = tables.flush().good() && written;
  if (p.update_docs)
    written = bench_support::write_plot(p.root + "/docs/figures/queue_benchmark.svg", plot) &&
              update_document(p.root + "/docs/queue_benchmarks.md", p, out.tables()) && written;
  if (!written) {
    std::fprintf(stderr, "the results could not be written\n");
    return 1;
  }
  return out.met() || !p.gates ? 0 : 1;
}

}  // namespace
}  // namespace bench

int main(int argc, char** argv) {
  bench::plan p;
  p.program = argv[0];
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    const auto takes = [&](const char* name) { return argument == name && i + 1 < argc; };
    if (takes("--rounds")) {
      p.rounds = std::max(3, std::atoi(argv[++i]));
    } else if (takes("--only")) {
      p.only = argv[++i];
    } else if (takes("--count")) {
      p.count = argv[++i];
    } else if (takes("--root")) {
      p.root = argv[++i];
    } else if (takes("--results")) {
      p.results = argv[++i];
    } else if (argument == "--quick") {
      p.rounds = 5;
      p.trips = 1000;
      p.blocking_trips = 100;
      p.stream = 20000;
      p.blocking_stream = 2000;
      p.crowd = 8000;
      p.copied = 8 << 20;
    } else if (argument == "--gates") {
      p.gates = true;
    } else if (argument == "--no-counts") {
      p.counts = false;
    } else if (argument == "--update-docs") {
      p.update_docs = true;
    } else {
      std::puts(
          "queue_benchmark [--quick] [--rounds N] [--only TEXT] [--no-counts] [--gates]\n"
          "                [--results FOLDER] [--root CHECKOUT --update-docs]");
      return argument == "--help" ? 0 : 2;
    }
  }
  if (!p.count.empty()) return bench::count_here(p);
  return bench::run(p);
}
