// Other processes of a run: started from this program anew (so that they map everything elsewhere),
// waited for, or killed and started again all the time.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/wait.h>

#include <signal.h>
#include <spawn.h>
#include <unistd.h>

#include "workloads.hpp"

namespace malloc_bench {

// posix_spawn does not copy page tables, so a big heap makes it no slower.
inline pid_t start_self(const std::vector<std::string>& arguments) {
  std::vector<char*> words{const_cast<char*>("malloc_worker")};
  for (const std::string& argument : arguments)
    words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  pid_t child = 0;
  if (posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, words.data(), environ) != 0)
    throw std::runtime_error("cannot start another process");
  return child;
}

inline void wait_for(pid_t child) {
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
    throw std::runtime_error("the other process failed");
}

// Starts a peer, lets it work for 1 to 5 ms, kills it, and so on until end(). With `kill` false the
// first one lives until the end.
class tormentor {
 public:
  tormentor(std::function<pid_t()> start, const std::atomic<std::uint32_t>& at_work, bool kill)
      : start_(std::move(start)), at_work_(&at_work), kill_(kill) {}
  ~tormentor() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
  }

  // Returns when the first peer is at work.
  void begin() {
    thread_ = std::thread([this] { torment(); });
    wait_until([&] { return at_work_->load(std::memory_order_acquire) != 0 || failed_; });
  }
  // How many were killed while this process went on.
  std::uint64_t end() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    if (failed_.exchange(false)) throw std::runtime_error("the peer process failed");
    return kills_;
  }

 private:
  void torment() {
    random_numbers random(static_cast<std::uint64_t>(getpid()));
    while (!stop_) {
      const std::uint32_t before = at_work_->load(std::memory_order_acquire);
      const pid_t victim = start_();
      while (!stop_ && at_work_->load(std::memory_order_acquire) == before) {
        if (waitpid(victim, nullptr, WNOHANG) == victim) {
          failed_ = true;  // by itself
          return;
        }
        std::this_thread::sleep_for(std::chrono::microseconds(100));
      }
      std::this_thread::sleep_for(std::chrono::microseconds(1000 + random.below(4000)));
      while (!stop_ && !kill_) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      kill(victim, SIGKILL);
      waitpid(victim, nullptr, 0);
      ++kills_;
    }
  }

  std::function<pid_t()> start_;
  const std::atomic<std::uint32_t>* at_work_;
  bool kill_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> failed_{false};
  std::uint64_t kills_ = 0;
  std::thread thread_;
};

}  // namespace malloc_bench
