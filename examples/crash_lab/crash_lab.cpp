// crash_lab - start many users of one segment, kill whoever you like with SIGKILL, and watch nothing break.
//
//   crash_lab                                    asks for commands (try: help)
//   crash_lab tour                               everybody, and 40 deaths in five seconds
//   crash_lab start banker 3 \; run 2 \; kill banker \; check
//
// Shows that every part of the library outlives its users: mpmc_queue, concurrent_map, synchronized,
// latest, and the heap. What is checked is in lab.hpp, who the users are in users.cpp.
//
// Exit status 0 only if every check held, those at the end included: all is accounted for up to what the
// killed had in hand, the heap is whole, everything of theirs is freed. 1 if not, 2 for a wrong command.
#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <iostream>
#include <map>
#include <random>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "../support/program.hpp"
#include "lab.hpp"

import ipcpp;

using namespace ipcpp::literals;
using namespace std::chrono_literals;
using std::chrono::steady_clock;
using ull = unsigned long long;

namespace {

using mail_queue = ipcpp::mpmc_queue<lab::letter>;
using word_map = ipcpp::concurrent_map<ipcpp::string, std::uint64_t>;
using shared_bank = ipcpp::synchronized<lab::bank>;
using newest_statement = ipcpp::latest<lab::statement>;

constexpr const char* commands =
    R"(  start KIND [N]          N users: sender receiver counter banker churner reader; or all
  kill NUMBER|KIND|any    with SIGKILL, wherever it is
  stop NUMBER|KIND|any    with SIGSTOP: it is alive, and what it holds it keeps
  cont                    those who are stopped go on
  run SECONDS [KILLS]     lets them work; kills so many at random, and replaces them
  list                    who is there
  check                   is all in order?
  quit                    ends everybody and counts everything
)";

struct user {
  std::string_view kind;
  pid_t pid = -1;
  bool stopped = false;
};

class laboratory {
 public:
  laboratory(const std::string& name, std::uint64_t seed)
      : segment_(ipcpp::segment::create(name, {.max_size = 256_MiB})), random_(seed) {
    make();  // once for the directory's own sake: what it needs for these names stays
    destroy();
    blocks_before_ = segment_.heap().statistics().blocks_in_use;
    make();
  }
  ~laboratory() {
    if (board_ != nullptr) lab::at(board_->over).store(1);
    for (auto& [number, u] : living_) ::kill(u.pid, SIGCONT);
    (void)examples::wait_for_all(10s);
  }

  // Throws wrong_usage. false: that was the last one.
  bool obey(const std::string& line) {
    std::istringstream in(line);
    std::string verb;
    std::string what;
    std::string how_many;
    in >> verb >> what >> how_many;
    look_after();
    if (verb.empty() || verb[0] == '#') return true;
    if (verb == "start")
      start(what, number_of(how_many, 1));
    else if (verb == "kill")
      kill(choose(what));
    else if (verb == "stop")
      stop(choose(what));
    else if (verb == "cont")
      let_go_on();
    else if (verb == "run")
      run(number_of(what, 1), number_of(how_many, 0));
    else if (verb == "list")
      list();
    else if (verb == "check")
      check();
    else if (verb == "tour")
      return obey("start all 2"), obey("run 5 40"), obey("check"), false;
    else if (verb == "help")
      std::fputs(commands, stdout);
    else if (verb == "quit")
      return false;
    else
      throw examples::wrong_usage("no command \"" + verb + "\" (try: help)");
    std::fflush(stdout);
    return true;
  }

  // Everybody ends in good order, and everything is counted.
  bool close() {
    let_go_on();
    lab::at(board_->over).store(1);
    say(examples::wait_for_all(20s), "every survivor ended well");
    living_.clear();
    auto in = segment_.find<mail_queue>("mail")->receiver();
    std::uint64_t received = done("receiver");
    while (in.try_receive()) ++received;
    const std::uint64_t sent = done("sender");
    say(received + killed_["receiver"] >= sent && received <= sent + killed_["sender"],
        std::to_string(sent) + " messages sent, " + std::to_string(received) + " received; " +
            std::to_string(killed_["sender"]) + " senders and " +
            std::to_string(killed_["receiver"]) + " receivers were killed");
    auto& words = *segment_.find<word_map>("words");
    std::uint64_t sum = 0;
    words.for_each([&](std::string_view, std::uint64_t n) { sum += n; });
    const std::uint64_t counted = done("counter");
    say(sum >= counted && sum <= counted + killed_["counter"],
        std::to_string(counted) + " increments noted, the sum is " + std::to_string(sum) + "; " +
            std::to_string(killed_["counter"]) + " counters were killed");
    check_bank();
    check_faults();
    words.recover();
    segment_.recover();
    const auto report = segment_.heap().check();
    say(static_cast<bool>(report), "the heap is whole: " + report.message());
    {
      auto gone = std::move(in);
    }
    destroy();
    const std::size_t blocks = segment_.heap().statistics().blocks_in_use;
    say(blocks == blocks_before_ && segment_.attached_processes() == 1,
        "nothing of the dead is left: " + std::to_string(blocks) + " blocks in use as before (" +
            std::to_string(blocks_before_) + ")");
    return sound_;
  }

 private:
  void make() {
    segment_.construct<mail_queue>("mail", 64);
    segment_.construct<word_map>("words");
    lab::bank full{};
    full.account.fill(lab::money / static_cast<std::int64_t>(lab::accounts));
    segment_.construct<shared_bank>("bank", full);
    segment_.construct<newest_statement>("statement", lab::statement{0, lab::money});
    board_ = &segment_.construct<lab::board>("board");
  }
  void destroy() {
    board_ = nullptr;
    segment_.destroy<mail_queue>("mail");
    segment_.destroy<word_map>("words");
    segment_.destroy<shared_bank>("bank");
    segment_.destroy<newest_statement>("statement");
    segment_.destroy<lab::board>("board");
  }

  static std::uint64_t number_of(const std::string& text, std::uint64_t otherwise) {
    if (text.empty()) return otherwise;
    if (text.find_first_not_of("0123456789") != std::string::npos || text.size() > 6)
      throw examples::wrong_usage("\"" + text + "\" is no number");
    return std::stoull(text);
  }
  void say(bool holds, const std::string& what) {
    std::printf("%s %s\n", holds ? "ok  " : "FAIL", what.c_str());
    sound_ = sound_ && holds;
  }

  void start(const std::string& what, std::uint64_t n) {
    const bool all = what == "all";
    if (!all && std::ranges::find(lab::kinds, what) == lab::kinds.end())
      throw examples::wrong_usage("no kind of user \"" + what + "\" (try: help)");
    for (const std::string_view kind : lab::kinds)
      for (std::uint64_t i = 0; (all || kind == what) && i < n; ++i) start_one(kind);
    std::printf("%zu users\n", living_.size());
  }
  void start_one(std::string_view kind) {
    if (kind_of_.size() == lab::most_users || living_.size() == 40)
      throw examples::wrong_usage("that is enough: 40 users at a time, 1024 in all");
    const std::size_t number = kind_of_.size();
    kind_of_.push_back(kind);
    living_[number] = {kind, examples::start({"--user", std::string(segment_.name()),
                                              std::string(kind), std::to_string(number)})};
  }

  std::size_t choose(const std::string& what) {
    std::vector<std::size_t> possible;
    for (const auto& [number, u] : living_)
      if (what == "any" || what == u.kind || what == std::to_string(number))
        possible.push_back(number);
    if (possible.empty()) throw examples::wrong_usage("nobody is \"" + what + "\" (try: list)");
    return possible[random_() % possible.size()];
  }
  void kill(std::size_t number, bool tell = true) {
    const user u = living_.at(number);
    examples::kill(u.pid);
    living_.erase(number);
    ++killed_[u.kind];
    if (tell) std::printf("killed %zu, a %s\n", number, std::string(u.kind).c_str());
  }
  void stop(std::size_t number) {
    living_.at(number).stopped = true;
    ::kill(living_.at(number).pid, SIGSTOP);
    std::printf("stopped %zu, a %s\n", number, std::string(living_.at(number).kind).c_str());
  }
  void let_go_on() {
    for (auto& [number, u] : living_) {
      if (u.stopped) ::kill(u.pid, SIGCONT);
      u.stopped = false;
    }
  }

  // Somebody else may kill our users, too; but one that ends by itself is a fault.
  void look_after() {
    while (const auto e = examples::reap())
      for (const auto& [number, u] : living_)
        if (u.pid == e->pid) {
          std::printf("%zu, a %s, %s\n", number, std::string(u.kind).c_str(), e->how().c_str());
          if (WIFSIGNALED(e->status))
            ++killed_[u.kind];
          else
            sound_ = false;
          living_.erase(number);
          break;
        }
  }

  std::uint64_t turns(std::size_t number) { return lab::at(board_->seats[number].turns).load(); }
  std::uint64_t done(std::string_view kind) {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < kind_of_.size(); ++i)
      if (kind_of_[i] == kind) sum += lab::at(board_->seats[i].done).load();
    return sum;
  }
  bool nobody_is_stopped() const {
    return std::ranges::none_of(living_, [](const auto& entry) { return entry.second.stopped; });
  }

  void run(std::uint64_t seconds, std::uint64_t kills) {
    struct progress {
      std::uint64_t turns;
      steady_clock::time_point since;
    };
    std::map<std::size_t, progress> last;
    steady_clock::duration longest{};
    std::size_t who = 0;
    const auto began = steady_clock::now();
    std::uint64_t killed = 0;
    for (auto now = began; now < began + std::chrono::seconds(seconds) && !examples::should_stop();
         now = steady_clock::now()) {
      look_after();
      const auto due =
          began + std::chrono::milliseconds(seconds * 1000 * (killed + 1) / (kills + 1));
      if (killed < kills && now >= due && !living_.empty()) {
        const std::size_t victim = choose("any");
        const std::string_view kind = living_.at(victim).kind;
        kill(victim, false);
        start_one(kind);
        ++killed;
      }
      for (const auto& [number, u] : living_) {
        const std::uint64_t t = turns(number);
        const auto [entry, fresh] = last.try_emplace(number, progress{t, now});
        if (fresh || t == 0 || u.stopped || entry->second.turns != t) entry->second = {t, now};
        if (now - entry->second.since > longest) {
          longest = now - entry->second.since;
          who = number;
        }
      }
      std::this_thread::sleep_for(1ms);
    }
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(longest).count();
    std::printf(
        "%llu s, %llu killed and replaced; the longest that anybody stood still: %lld ms (%s)\n",
        static_cast<ull>(seconds), static_cast<ull>(killed), static_cast<long long>(ms),
        kind_of_.empty() ? "nobody" : std::string(kind_of_[who]).c_str());
    if (nobody_is_stopped()) say(longest < 5s, "everybody gets on");
  }

  void list() {
    for (const auto& [number, u] : living_)
      std::printf("%4zu  %-9s pid %-7d %12llu turns %12llu done%s\n", number,
                  std::string(u.kind).c_str(), static_cast<int>(u.pid),
                  static_cast<ull>(turns(number)),
                  static_cast<ull>(lab::at(board_->seats[number].done).load()),
                  u.stopped ? "  stopped" : "");
    std::uint64_t dead = 0;
    for (const auto& [kind, n] : killed_) dead += n;
    std::printf("%zu alive, %llu killed\n", living_.size(), static_cast<ull>(dead));
  }

  void check() {
    check_faults();
    if (!nobody_is_stopped()) {
      std::printf("     somebody is stopped: alive, and waited for. The rest after cont\n");
      return;
    }
    std::map<std::size_t, std::uint64_t> before;
    for (const auto& [number, u] : living_) before[number] = turns(number);
    const auto deadline = steady_clock::now() + 5s;
    const auto all_got_on = [&] {
      return std::ranges::all_of(before, [&](const auto& b) { return turns(b.first) != b.second; });
    };
    while (!all_got_on() && steady_clock::now() < deadline) std::this_thread::sleep_for(1ms);
    say(all_got_on(), "all " + std::to_string(before.size()) + " get on");
    check_bank();
  }
  void check_bank() {
    auto& bank = *segment_.find<shared_bank>("bank");
    std::int64_t total = 0;
    try {
      total = bank.with_shared(lab::total_of);
    } catch (const ipcpp::error& e) {
      if (e.kind() != ipcpp::errc::owner_died) throw;
      std::printf("     a banker died over an account; we mend it\n");
      total = bank.repair([](lab::bank& b) { return lab::mend(b), lab::total_of(b); });
    }
    say(total == lab::money, "the bank holds " + std::to_string(total));
  }
  void check_faults() {
    std::uint64_t faults = 0;
    for (auto& s : board_->seats) faults += lab::at(s.faults).load();
    say(faults == 0, "users saw " + std::to_string(faults) + " things that must not be");
  }

  ipcpp::segment segment_;
  std::minstd_rand random_;
  lab::board* board_ = nullptr;
  std::size_t blocks_before_ = 0;
  std::vector<std::string_view> kind_of_;  // by number, the dead as well
  std::map<std::size_t, user> living_;
  std::map<std::string_view, std::uint64_t> killed_;
  bool sound_ = true;
};

int experiment(const std::string& name, std::uint64_t seed, const std::vector<std::string>& words) {
  laboratory lab(name, seed);
  std::string script;
  for (const std::string& word : words) script += word + " ";
  std::istringstream given(script);
  const bool ask = words.empty() && ::isatty(0);
  bool wrong = false;
  for (std::string line;;) {
    if (ask) std::printf("crash_lab> "), std::fflush(stdout);
    if (examples::should_stop()) break;
    if (words.empty() ? !std::getline(std::cin, line) : !std::getline(given, line, ';')) break;
    try {
      if (!lab.obey(line)) break;
    } catch (const examples::wrong_usage& e) {
      std::fprintf(stderr, "crash_lab: %s\n", e.what());
      if (!ask) {
        wrong = true;
        break;
      }
    }
  }
  if (!lab.close()) return 1;
  return wrong ? 2 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  return examples::run("crash_lab", argv, [&]() -> int {
    if (argc == 5 && argv[1] == std::string("--user"))
      return lab::work(argv[2], argv[3], std::stoull(argv[4]));
    examples::options given(argc, argv);
    if (given.flag("--help")) {
      std::printf(
          "usage: crash_lab [--name NAME] [--seed N] [tour | COMMAND [\\; COMMAND]...]\n\n"
          "Without commands it asks for them, or reads them from its input, one a line:\n%s",
          commands);
      return 0;
    }
    const auto seed = given.number("--seed", 1, 1, 1'000'000'000);
    const auto name = given.text("--name", "crash_lab." + std::to_string(::getpid()));
    return experiment(name, seed, given.rest());
  });
}
