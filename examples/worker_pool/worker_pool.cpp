// worker_pool - tasks for workers that may die at any moment and are replaced. Nothing is lost, nothing
// is counted twice.
//
// Shows
//   message_queue    a task is a letter that stays in the queue while its worker is at it. When the
//                    worker dies, the letter goes to another one
//   concurrent_map   a result is inserted only where none is. A worker that died between writing its
//                    result and releasing its letter has the task done again, and the second insert
//                    changes nothing: delivered at least once, counted exactly once
//
// The work is honest: how many primes are there in a stretch of numbers?
//
//   worker_pool                  submits tasks, starts workers, kills some with SIGKILL, replaces them
//   worker_pool work NAME        one more worker, by hand, from another terminal
//
// Exit status 0 only if every task has one result, the primes add up to what a sieve in one process
// counts, all survivors ended well, and the heap is whole and as it was.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <map>
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

struct task {
  std::uint64_t id;
  std::uint64_t first;  // numbers [first, last)
  std::uint64_t last;
};
struct result {
  std::uint64_t primes;
  std::uint32_t by;     // whose work counts
  std::uint32_t again;  // 1: another one had died over it
};

using task_queue = ipcpp::message_queue;
using result_map = ipcpp::concurrent_map<std::uint64_t, result>;

// The slow way, on purpose.
std::uint64_t count_primes(std::uint64_t first, std::uint64_t last) {
  std::uint64_t found = 0;
  for (std::uint64_t n = std::max<std::uint64_t>(first, 2); n < last; ++n) {
    bool prime = n == 2 || n % 2 != 0;
    for (std::uint64_t d = 3; prime && d * d <= n; d += 2) prime = n % d != 0;
    found += prime;
  }
  return found;
}

std::uint64_t sieve(std::uint64_t last) {
  std::vector<bool> composite(last, false);
  std::uint64_t found = 0;
  for (std::uint64_t n = 2; n < last; ++n) {
    if (composite[n]) continue;
    ++found;
    for (std::uint64_t m = n * n; m < last; m += n) composite[m] = true;
  }
  return found;
}

int work(const std::string& name) {
  auto segment = ipcpp::segment::open(name);
  auto* const tasks = segment.find<task_queue>("tasks");
  auto* const results = segment.find<result_map>("results");
  if (tasks == nullptr || results == nullptr) {
    std::fprintf(stderr, "worker_pool: %s is no pool\n", name.c_str());
    return 1;
  }
  auto in = tasks->receiver();
  const auto me = static_cast<std::uint32_t>(::getpid());
  while (!examples::should_stop()) {
    auto letter = in.receive_for(200ms);
    if (letter.status() == ipcpp::receive_status::closed) break;
    if (!letter) continue;
    task t;
    std::memcpy(&t, letter->data(), sizeof t);
    if (!letter.redelivered() || !results->contains(t.id))
      results->insert(t.id, result{count_primes(t.first, t.last), me, letter.redelivered()});
    letter->release();  // from here on nobody does it again
  }
  return 0;
}

class pool {
 public:
  pool(const std::string& name, std::uint64_t tasks, std::uint64_t size, std::size_t workers,
       std::uint64_t kills, std::uint64_t seed)
      : tasks_(tasks),
        size_(size),
        workers_wanted_(workers),
        kills_wanted_(kills),
        random_(seed),
        segment_(ipcpp::segment::create(name, {.max_size = 256_MiB})) {
    make();  // once for the directory's own sake: what it needs for two names stays
    destroy();
    blocks_before_ = segment_.heap().statistics().blocks_in_use;
    make();
  }

  int run() {
    std::printf("%llu tasks of %llu numbers, %zu workers, %llu to be killed\n",
                static_cast<ull>(tasks_), static_cast<ull>(size_), workers_wanted_,
                static_cast<ull>(kills_wanted_));
    const auto began = steady_clock::now();
    const bool complete = manage();
    queue_->close();
    const bool well = examples::wait_for_all(20s) && complete;
    const std::chrono::duration<double> took = steady_clock::now() - began;
    if (examples::asked_to_stop != 0) {
      std::printf("stopped\n");
      return 1;
    }
    std::printf("done in %.1f s\n", took.count());
    return report(well) ? 0 : 1;
  }

 private:
  // Submits, replaces, kills, until every task has its result. false: it will not come to that.
  bool manage() {
    auto out = queue_->sender();
    auto next_line = steady_clock::now();
    std::uint64_t submitted = 0;
    for (std::uint64_t done = 0; done < tasks_;) {
      if (examples::should_stop()) return false;
      while (submitted < tasks_) {
        auto letter = out.try_claim(sizeof(task));
        if (!letter) break;  // full: the workers are behind
        const task t{submitted, submitted * size_, (submitted + 1) * size_};
        std::memcpy(letter.data(), &t, sizeof t);
        letter.commit();
        ++submitted;
      }
      while (const auto e = examples::reap()) {
        std::printf("worker %d %s\n", static_cast<int>(e->pid), e->how().c_str());
        std::erase(workers_, e->pid);
        if (++unexpected_ > 10) return false;  // somebody else may kill, too; but not for ever
      }
      while (workers_.size() < workers_wanted_)
        workers_.push_back(examples::start({"work", std::string(segment_.name())}));
      done = map_->size();
      const std::uint64_t due = done * (kills_wanted_ + 1) / tasks_;
      if (killed_ < std::min(due, kills_wanted_)) kill_one();
      if (steady_clock::now() >= next_line) {
        std::printf("%6llu done, %4llu submitted and not done, %3llu killed\n",
                    static_cast<ull>(done), static_cast<ull>(submitted - done),
                    static_cast<ull>(killed_));
        std::fflush(stdout);
        next_line += 500ms;
      }
      std::this_thread::sleep_for(1ms);
    }
    return true;
  }

  void make() {
    queue_ = &segment_.construct<task_queue>("tasks", std::size_t{4096});  // full now and then
    map_ = &segment_.construct<result_map>("results");
  }
  void destroy() {
    segment_.destroy<task_queue>("tasks");
    segment_.destroy<result_map>("results");
  }
  void kill_one() {
    const std::size_t which = random_() % workers_.size();
    examples::kill(workers_[which]);
    workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(which));
    ++killed_;
  }

  bool report(bool well) {
    std::uint64_t found = 0;
    std::uint64_t missing = 0;
    std::uint64_t again = 0;
    std::map<std::uint32_t, std::uint64_t> of;  // by worker
    for (std::uint64_t id = 0; id < tasks_; ++id) {
      const auto r = map_->find(id);
      if (!r) {
        ++missing;
        continue;
      }
      found += r->primes;
      again += r->again;
      ++of[r->by];
    }
    for (const auto& [pid, n] : of)
      std::printf("  worker %7u: %5llu tasks %s\n", pid, static_cast<ull>(n),
                  std::string(static_cast<std::size_t>(n * 40 / tasks_), '#').c_str());
    map_->recover();
    segment_.recover();
    const auto checked = segment_.heap().check();
    const std::uint64_t redelivered = queue_->statistics().redelivered;
    const bool exact = map_->size() == tasks_;
    destroy();
    const std::size_t blocks = segment_.heap().statistics().blocks_in_use;

    const auto say = [](bool holds, const std::string& what) {
      std::printf("%s %s\n", holds ? "ok  " : "FAIL", what.c_str());
      return holds;
    };
    bool good = say(missing == 0 && exact, "every task has one result");
    good &= say(found == sieve(tasks_ * size_),
                std::to_string(found) + " primes, as a sieve in one process counts");
    good &= say(killed_ == kills_wanted_ || tasks_ <= kills_wanted_,
                std::to_string(killed_) + " workers killed; " + std::to_string(redelivered) +
                    " letters delivered again, " + std::to_string(again) +
                    " results are of the second try");
    good &= say(well, "every survivor ended well");
    good &= say(static_cast<bool>(checked), "the heap is whole: " + checked.message());
    good &= say(blocks == blocks_before_ && segment_.attached_processes() == 1,
                "nothing of the dead is left: " + std::to_string(blocks) +
                    " blocks in use as before (" + std::to_string(blocks_before_) + ")");
    return good;
  }

  std::uint64_t tasks_;
  std::uint64_t size_;
  std::size_t workers_wanted_;
  std::uint64_t kills_wanted_;
  std::minstd_rand random_;
  ipcpp::segment segment_;
  task_queue* queue_ = nullptr;
  result_map* map_ = nullptr;
  std::size_t blocks_before_ = 0;
  std::vector<pid_t> workers_;
  std::uint64_t killed_ = 0;
  std::uint64_t unexpected_ = 0;
};

constexpr const char* usage =
    R"(usage: worker_pool [OPTIONS]          a pool, its tasks, and murder
       worker_pool work NAME          one more worker for it

  --tasks N    (500) how many
  --size N   (20000) numbers in each
  --workers N    (4) at a time
  --kills N     (12) how many workers are killed over their work, and replaced
  --seed N       (1) who is
  --name NAME        the segment's (worker_pool.PID); `ipcpp show NAME` looks inside meanwhile
  --help             this text
)";

}  // namespace

int main(int argc, char** argv) {
  return examples::run("worker_pool", argv, [&]() -> int {
    examples::options given(argc, argv);
    if (given.flag("--help")) return std::fputs(usage, stdout) < 0;
    const auto tasks = given.number("--tasks", 500, 1, 1'000'000);
    const auto size = given.number("--size", 20'000, 1, 1'000'000);
    const auto workers = given.number("--workers", 4, 1, 16);
    const auto kills = given.number("--kills", 12, 0, 10'000);
    const auto seed = given.number("--seed", 1, 1, 1'000'000'000);
    const auto name = given.text("--name", "worker_pool." + std::to_string(::getpid()));
    const auto words = given.rest();
    if (words.size() == 2 && words[0] == "work") return work(words[1]);
    if (!words.empty()) throw examples::wrong_usage("what does \"" + words[0] + "\" mean here?");
    return pool(name, tasks, size, workers, kills, seed).run();
  });
}
