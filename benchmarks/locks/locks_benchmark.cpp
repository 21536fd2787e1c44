// Locks beside pthread's and Boost's: ./dev bench locks. Uncontended: all candidates in turn in each
// round, the median of the rounds' ratios to a plain process-shared pthread mutex. Contended: processes
// that lock, change a line and unlock, for 0.3 s, all candidates in turn in each round; medians.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "../../tests/locks/place.hpp"
#include "workloads.hpp"

import ipcpp.sync;

namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct by_writers {
  void lock() { mutex.lock(); }
  void unlock() { mutex.unlock(); }
  ipcpp::shared_mutex mutex;
};
struct by_readers {
  void lock() { mutex.lock_shared(); }
  void unlock() { mutex.unlock_shared(); }
  ipcpp::shared_mutex mutex;
};

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 41;
  lock_place place;
  std::vector<locks::candidate> all = locks::peers();
  const std::size_t first_of_ours = all.size();
  all.push_back({"ipcpp::mutex", locks::alone<ipcpp::mutex>, locks::contended<ipcpp::mutex>,
                 &place.make<ipcpp::mutex>(0)});
  all.push_back({"ipcpp::recursive_mutex", locks::alone<ipcpp::recursive_mutex>,
                 locks::contended<ipcpp::recursive_mutex>, &place.make<ipcpp::recursive_mutex>(1)});
  all.push_back({"ipcpp::shared_mutex, lock", locks::alone<by_writers>,
                 locks::contended<by_writers>, &place.make<by_writers>(2)});
  all.push_back({"ipcpp::shared_mutex, lock_shared", locks::alone<by_readers>,
                 locks::contended<by_readers>, &place.make<by_readers>(3)});

  std::printf("%-34s %10s %14s\n", "alone: lock and unlock", "ns", "x pthread");
  constexpr std::uint64_t each = 200'000;
  std::vector<std::vector<double>> ns(all.size());
  std::vector<std::vector<double>> ratio(all.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < all.size(); ++i)
      ns[i].push_back(static_cast<double>(all[i].alone(all[i].mutex, each)) / each);
    for (std::size_t i = 0; i < all.size(); ++i) ratio[i].push_back(ns[i].back() / ns[0].back());
  }
  for (std::size_t i = 0; i < all.size(); ++i)
    std::printf("%-34s %10.2f %14.2f\n", all[i].name.c_str(), median(ns[i]), median(ratio[i]));

  for (const int processes : {2, 4, 8}) {
    std::printf("\n%d processes %22s %14s %10s %12s %12s\n", processes, "", "locks/s", "p99 us",
                "worst us", "least share");
    struct series {
      std::vector<double> rate, p99, worst, share;
    };
    std::vector<series> of(first_of_ours + 1);
    // In turn, so that whatever else the machine does hits all alike.
    for (int round = 0; round < std::max(rounds / 5, 3); ++round)
      for (std::size_t i = 0; i < of.size(); ++i) {
        const locks::contended_result r = all[i].contended(all[i].mutex, processes);
        of[i].rate.push_back(r.per_second);
        of[i].p99.push_back(r.p99_us);
        of[i].worst.push_back(r.worst_us);
        of[i].share.push_back(r.least_share);
      }
    for (std::size_t i = 0; i < of.size(); ++i)
      std::printf("%-34s %14.0f %10.2f %12.1f %12.2f\n", all[i].name.c_str(), median(of[i].rate),
                  median(of[i].p99), median(of[i].worst), median(of[i].share));
  }
}
