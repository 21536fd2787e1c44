// market_feed - one publisher, many subscribers, each a process of its own.
//
// Shows
//   broadcast_queue  every tick to every subscriber in one order. Nobody waits for a slow one: it loses
//                    the oldest ticks, and knows exactly how many
//   latest           the last price of each instrument, for those who only want to look
//   mpsc_queue       each subscriber's report to whoever started it
// and what a message costs: the time from publish() to the subscriber's hands, as a histogram.
//
//   market_feed                      all of it: publisher, subscribers, report; a few seconds
//   market_feed publish NAME         one role by hand, in terminals of your own; start with this one,
//   market_feed subscribe NAME       come and go with these as you like,
//   market_feed watch NAME           or only look at the prices
//
// Exit status 0 only if no subscriber saw a tick twice, torn, or out of order, each lost exactly what
// it was told it lost, and the last prices are the publisher's.
#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../support/program.hpp"

import ipcpp;

using namespace ipcpp::literals;
using namespace std::chrono_literals;
using std::chrono::steady_clock;
using ull = unsigned long long;

namespace {

constexpr std::array<const char*, 4> instruments{"ACME", "BRIO", "CORA", "DUNE"};
constexpr std::size_t ring = 1024;  // ticks that a subscriber may be behind

struct tick {
  std::uint64_t sequence;  // 1, 2, 3, ...
  std::int64_t sent_ns;    // steady clock: the same one in every process of the machine
  std::uint32_t instrument;
  std::int32_t cents;
  std::uint64_t sum;  // of the others: a torn tick would show
};
std::uint64_t sum_of(const tick& t) {
  return t.sequence * 3 + static_cast<std::uint64_t>(t.sent_ns) + t.instrument +
         static_cast<std::uint64_t>(t.cents);
}

struct quote {
  std::uint64_t sequence;
  std::int32_t cents;
};

// Latencies by half octaves: bucket 2 * log2(ns), one more for the upper half.
struct histogram {
  std::array<std::uint64_t, 96> bucket{};

  void add(std::uint64_t ns) {
    const int octave = std::bit_width(ns | 1) - 1;
    const bool upper = octave > 0 && (ns >> (octave - 1) & 1) != 0;
    ++bucket[static_cast<std::size_t>(std::min(2 * octave + (upper ? 1 : 0), 95))];
  }
  static double begin_of(std::size_t i) {
    return static_cast<double>(1ull << (i / 2)) * (i % 2 == 0 ? 1.0 : 1.5);
  }
  std::uint64_t count() const {
    std::uint64_t n = 0;
    for (const std::uint64_t b : bucket) n += b;
    return n;
  }
  // Upper end of the bucket in which that share of all is reached.
  double percentile(double share) const {
    const double wanted = share * static_cast<double>(count());
    std::uint64_t n = 0;
    for (std::size_t i = 0; i + 1 < bucket.size(); ++i)
      if (static_cast<double>(n += bucket[i]) >= wanted) return begin_of(i + 1);
    return begin_of(bucket.size() - 1);
  }
};

enum class sender : std::uint32_t { publisher, subscriber, slow_subscriber };
struct report {
  sender from;
  std::uint32_t pid;
  std::uint64_t ticks;   // published, received
  std::uint64_t lost;    // as lost() says
  std::uint64_t faults;  // twice, out of order, torn, or a gap that lost() did not tell
  std::array<std::int32_t, instruments.size()> last;
  histogram latencies;
};

using feed_queue = ipcpp::broadcast_queue<tick>;
using quote_cell = ipcpp::latest<quote>;
using report_queue = ipcpp::mpsc_queue<report>;

std::string quote_name(std::size_t instrument) {
  return std::string("quote.") + instruments[instrument];
}

std::string show_ns(double ns) {
  char text[32];
  if (ns < 1e3)
    std::snprintf(text, sizeof text, "%.0f ns", ns);
  else if (ns < 1e6)
    std::snprintf(text, sizeof text, "%.3g us", ns / 1e3);
  else
    std::snprintf(text, sizeof text, "%.3g ms", ns / 1e6);
  return text;
}

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             steady_clock::now().time_since_epoch())
      .count();
}

// The segment with everything in it, made by whoever comes first.
ipcpp::segment open_market(const std::string& name) {
  auto segment = ipcpp::segment::open_or_create(name, {.max_size = 64_MiB});
  segment.find_or_construct<feed_queue>("feed", ring, ipcpp::overflow::drop_oldest);
  for (std::size_t i = 0; i < instruments.size(); ++i)
    segment.find_or_construct<quote_cell>(quote_name(i), quote{0, 10'000});
  segment.find_or_construct<report_queue>("reports", 4);
  return segment;
}

// The report goes to whoever started us; by hand there is nobody, and it is printed.
int deliver(ipcpp::segment& segment, const report& r, bool by_hand) {
  if (by_hand) {
    std::printf("%llu ticks, %llu lost, %llu faults", static_cast<ull>(r.ticks),
                static_cast<ull>(r.lost), static_cast<ull>(r.faults));
    if (r.latencies.count() != 0)
      std::printf(", half of them within %s", show_ns(r.latencies.percentile(0.5)).c_str());
    std::printf("\n");
  } else if (!segment.find<report_queue>("reports")->sender().send_for(r, 5s)) {
    return 1;
  }
  return r.faults == 0 ? 0 : 1;
}

int publish(const std::string& name, std::uint64_t seconds, std::uint64_t rate, bool by_hand) {
  auto segment = open_market(name);
  auto& feed = *segment.find<feed_queue>("feed");
  std::vector<quote_cell*> quotes;
  for (std::size_t i = 0; i < instruments.size(); ++i)
    quotes.push_back(segment.find<quote_cell>(quote_name(i)));
  auto out = feed.publisher();
  report r{};
  r.from = sender::publisher;
  r.pid = static_cast<std::uint32_t>(::getpid());
  r.last.fill(10'000);
  std::minstd_rand random(7);
  const auto began = steady_clock::now();
  for (std::uint64_t n = 1; n <= seconds * rate; ++n) {
    const auto due = began + std::chrono::nanoseconds(n * 1'000'000'000 / rate);
    if (steady_clock::now() < due) std::this_thread::sleep_until(due);
    if (n % 64 == 0 && examples::should_stop()) break;
    const std::uint32_t which = random() % instruments.size();
    r.last[which] = std::max(100, r.last[which] + static_cast<int>(random() % 21) - 10);
    tick t{n, now_ns(), which, r.last[which], 0};
    t.sum = sum_of(t);
    out.publish(t);
    quotes[which]->store({n, t.cents});
    r.ticks = n;
  }
  if (!by_hand) feed.close();  // by hand, the next publisher goes on with the same subscribers
  return deliver(segment, r, by_hand);
}

int subscribe(const std::string& name, bool slow, bool by_hand) {
  auto segment = open_market(name);
  auto in = segment.find<feed_queue>("feed")->subscriber();
  report r{};
  r.from = slow ? sender::slow_subscriber : sender::subscriber;
  r.pid = static_cast<std::uint32_t>(::getpid());
  std::uint64_t before = 0;  // the last tick's sequence
  std::uint64_t lost_before = 0;
  while (!examples::should_stop()) {
    const auto t = in.receive_for(200ms);
    if (t.status() == ipcpp::receive_status::closed) break;
    if (!t) continue;
    r.latencies.add(static_cast<std::uint64_t>(std::max<std::int64_t>(now_ns() - t->sent_ns, 0)));
    const bool restarted = by_hand && t->sequence == 1;  // another publisher
    const bool as_told = t->sequence == before + 1 + (in.lost() - lost_before);
    if (t->sum != sum_of(*t) || (before != 0 && !restarted && !as_told)) ++r.faults;
    before = t->sequence;
    lost_before = in.lost();
    r.last[t->instrument % instruments.size()] = t->cents;
    ++r.ticks;
    if (slow) std::this_thread::sleep_for(2ms);
  }
  r.lost = in.lost();
  return deliver(segment, r, by_hand);
}

// One line of prices, over and over where a person looks.
void show_prices(ipcpp::segment& segment) {
  std::string line;
  for (std::size_t i = 0; i < instruments.size(); ++i) {
    const quote q = segment.find<quote_cell>(quote_name(i))->load();
    char text[64];
    std::snprintf(text, sizeof text, "%s %7.2f   ", instruments[i], q.cents / 100.0);
    line += text;
  }
  std::printf(::isatty(1) ? "\r%s" : "%s\n", line.c_str());
  std::fflush(stdout);
}

int watch(const std::string& name) {
  auto segment = ipcpp::segment::open(name);
  while (!examples::should_stop()) {
    show_prices(segment);
    std::this_thread::sleep_for(200ms);
  }
  std::printf("\n");
  return 0;
}

void draw(const histogram& of) {
  const std::uint64_t most = *std::ranges::max_element(of.bucket);
  std::size_t first = 0;
  std::size_t last = of.bucket.size() - 1;
  while (first < last && of.bucket[first] == 0) ++first;
  while (last > first && of.bucket[last] == 0) --last;
  std::printf("from publish() to the subscriber's hands, %llu deliveries:\n",
              static_cast<ull>(of.count()));
  for (std::size_t i = first; i <= last; ++i) {
    const std::uint64_t n = of.bucket[i];
    const auto eighths =
        static_cast<std::size_t>((n * 400 + most - 1) / std::max(most, std::uint64_t{1}));
    std::string bar;
    for (std::size_t full = 0; full < eighths / 8; ++full) bar += "█";
    static constexpr const char* part[]{"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    bar += part[eighths % 8];
    std::printf("%10s %9llu %s\n", show_ns(histogram::begin_of(i)).c_str(), static_cast<ull>(n),
                bar.c_str());
  }
  std::printf("half within %s, 99%% within %s, 99.9%% within %s\n",
              show_ns(of.percentile(0.5)).c_str(), show_ns(of.percentile(0.99)).c_str(),
              show_ns(of.percentile(0.999)).c_str());
}

int everything(const std::string& name, std::size_t subscribers, std::size_t slow,
               std::uint64_t seconds, std::uint64_t rate, bool kill_one) {
  const auto made = ipcpp::segment::create(name, {.max_size = 64_MiB});  // throws if there is one
  auto segment = open_market(name);
  auto& feed = *segment.find<feed_queue>("feed");
  auto reports = segment.find<report_queue>("reports")->receiver();

  std::vector<pid_t> running;
  for (std::size_t i = 0; i < subscribers + slow; ++i)
    running.push_back(
        examples::start({i < subscribers ? "--child-subscribe" : "--child-slow", name}));
  const auto deadline = steady_clock::now() + 20s;
  while (feed.statistics().subscribers != running.size()) {
    if (steady_clock::now() > deadline || examples::reap() || examples::should_stop())
      throw std::runtime_error("the subscribers did not come");
    std::this_thread::sleep_for(1ms);
  }
  std::printf("%zu subscribers and %zu slow, and a publisher of %llu ticks a second\n", subscribers,
              slow, static_cast<ull>(rate));
  examples::start({"--child-publish", name, std::to_string(seconds), std::to_string(rate)});

  const auto half = steady_clock::now() + std::chrono::milliseconds(500 * seconds);
  std::vector<report> came;
  while (came.size() < running.size() + 1 && !examples::started.empty()) {
    if (auto r = reports.receive_for(200ms)) came.push_back(*r);
    if (came.empty()) show_prices(segment);
    if (kill_one && steady_clock::now() >= half) {
      examples::kill(running.front());
      running.erase(running.begin());
      kill_one = false;
      std::printf("\na subscriber was killed; the others hear nothing of it\n");
    }
    while (const auto e = examples::reap())
      if (!e->well()) std::printf("process %d %s\n", static_cast<int>(e->pid), e->how().c_str());
    if (examples::should_stop()) feed.close();  // everybody ends by that
  }
  while (auto r = reports.try_receive()) came.push_back(*r);
  const bool ended_well = examples::wait_for_all(10s);
  std::printf("\n");

  histogram fast;
  bool sound = ended_well && came.size() == running.size() + 1;
  report published{};
  for (const report& r : came)
    if (r.from == sender::publisher) published = r;
  for (const report& r : came) {
    if (r.from == sender::publisher) continue;
    const bool is_slow = r.from == sender::slow_subscriber;
    std::printf("  %s %u: %llu ticks, %llu lost, %llu faults\n", is_slow ? "slow" : "    ", r.pid,
                static_cast<ull>(r.ticks), static_cast<ull>(r.lost), static_cast<ull>(r.faults));
    sound = sound && r.faults == 0 && r.ticks + r.lost == published.ticks;
    if (is_slow) continue;
    for (std::size_t i = 0; i < fast.bucket.size(); ++i) fast.bucket[i] += r.latencies.bucket[i];
  }
  for (std::size_t i = 0; i < instruments.size(); ++i)
    sound = sound && segment.find<quote_cell>(quote_name(i))->load().cents == published.last[i];
  draw(fast);
  std::printf(
      "%s: every subscriber received or was told it lost each of %llu ticks, in order; the last "
      "prices are the publisher's\n",
      sound ? "ok" : "FAIL", static_cast<ull>(published.ticks));
  return sound ? 0 : 1;
}

constexpr const char* usage =
    R"(usage: market_feed [OPTIONS]                 publisher, subscribers, report
       market_feed publish NAME [OPTIONS]     one role by hand
       market_feed subscribe NAME [--slow]
       market_feed watch NAME

  --subscribers N  (4) how many read as fast as they can
  --slow N         (1) how many take 2 ms for a tick
  --seconds S      (3) how long the publisher publishes
  --rate N      (5000) ticks a second
  --kill               kill a subscriber halfway
  --name NAME          the segment's (market_feed.PID); `ipcpp show NAME` looks inside meanwhile
  --help               this text
)";

}  // namespace

int main(int argc, char** argv) {
  return examples::run("market_feed", argv, [&]() -> int {
    examples::options given(argc, argv);
    if (given.flag("--help")) return std::fputs(usage, stdout) < 0;
    if (argc == 3 && given.flag("--child-subscribe")) return subscribe(argv[2], false, false);
    if (argc == 3 && given.flag("--child-slow")) return subscribe(argv[2], true, false);
    if (argc == 5 && given.flag("--child-publish"))
      return publish(argv[2], std::stoull(argv[3]), std::stoull(argv[4]), false);
    const bool slow = argc > 1 && argv[1] == std::string("subscribe") && given.flag("--slow");
    const auto subscribers = given.number("--subscribers", 4, 1, 16);
    const auto slow_ones = slow ? 1 : given.number("--slow", 1, 0, 8);
    const auto seconds = given.number("--seconds", 3, 1, 86'400);
    const auto rate = given.number("--rate", 5000, 1, 10'000'000);
    const bool kill_one = given.flag("--kill");
    const auto name = given.text("--name", "market_feed." + std::to_string(::getpid()));
    const auto words = given.rest();
    if (words.empty()) return everything(name, subscribers, slow_ones, seconds, rate, kill_one);
    if (words.size() == 2 && words[0] == "publish") return publish(words[1], seconds, rate, true);
    if (words.size() == 2 && words[0] == "subscribe") return subscribe(words[1], slow, true);
    if (words.size() == 2 && words[0] == "watch") return watch(words[1]);
    throw examples::wrong_usage("what does \"" + words[0] + "\" mean here?");
  });
}
