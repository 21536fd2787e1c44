#include "single_step.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "posix_process.hpp"
#include "roles.hpp"

namespace crash {

namespace {

class victim {
 public:
  explicit victim(const scene& played) {
    pid_ = ::fork();
    if (pid_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
      ::raise(SIGSTOP);
      int status = 0;
      try {
        played.operation();
      } catch (const std::exception& e) {
        std::fprintf(stderr, "victim: %s\n", e.what());
        status = 1;
      }
      if (status == 0) ::raise(SIGSTOP);
      ::_exit(status);
    }
    wait_for_stop();
  }
  victim(const victim&) = delete;
  victim& operator=(const victim&) = delete;
  ~victim() { kill(); }

  // One instruction on. false: the operation is over.
  bool step() {
    if (::ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) != 0)
      throw std::runtime_error("PTRACE_SINGLESTEP");
    wait_for_stop();
    return last_signal_ != SIGSTOP;
  }

#if defined(__x86_64__)
  std::uint64_t address() const {
    return static_cast<std::uint64_t>(
        ::ptrace(PTRACE_PEEKUSER, pid_, offsetof(user_regs_struct, rip), nullptr));
  }
  bool is_system_call(std::uint64_t at) const {
    return (::ptrace(PTRACE_PEEKTEXT, pid_, reinterpret_cast<void*>(at), nullptr) & 0xffff) ==
           0x050f;
  }
#endif

  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }

 private:
  void wait_for_stop() {
    int status = 0;
    if (::waitpid(pid_, &status, 0) != pid_ || !WIFSTOPPED(status)) {
      if (!WIFSTOPPED(status)) pid_ = -1;
      throw std::runtime_error("the victim ended by itself, status " + std::to_string(status));
    }
    last_signal_ = WSTOPSIG(status);
  }

  pid_t pid_ = -1;
  int last_signal_ = 0;
};

// Keeps us and the victims we fork on one processor: a step is then a switch, not a call to another
// one.
class one_processor {
 public:
  one_processor() {
    ::sched_getaffinity(0, sizeof before_, &before_);
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(static_cast<unsigned>(::sched_getcpu()), &here);
    ::sched_setaffinity(0, sizeof here, &here);
  }
  one_processor(const one_processor&) = delete;
  one_processor& operator=(const one_processor&) = delete;
  ~one_processor() { ::sched_setaffinity(0, sizeof before_, &before_); }

 private:
  cpu_set_t before_{};
};

}  // namespace

std::string why_not() {
#if !defined(__x86_64__)
  return "single-stepping is written for x86-64";
#endif
  if (test::sanitized) return "a sanitizer's instructions are not the library's";
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) == 0 ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return status == 0 ? "" : "ptrace is not allowed here";
}

report kill_everywhere(const scene& played) {
#if defined(__x86_64__)
  const bool everywhere = test::prove_in_full();
  report result;
  const one_processor pinned;
  std::unordered_map<std::uint64_t, bool> addresses;  // and whether a system call stands there
  std::vector<std::byte> seen;
  for (std::size_t round = 0;; ++round) {
    played.prepare();
    const std::span<const std::byte> watched = played.watched();
    seen.assign(watched.begin(), watched.end());
    bool finished = false;
    std::size_t instructions = 0;
    std::size_t events = 0;
    {
      victim dying(played);
      while (everywhere ? instructions < round : events < round) {
        const std::uint64_t at = dying.address();
        auto known = addresses.find(at);
        if (known == addresses.end()) known = addresses.emplace(at, dying.is_system_call(at)).first;
        if (!dying.step()) {
          finished = true;
          break;
        }
        ++instructions;
        if (known->second || std::memcmp(seen.data(), watched.data(), watched.size()) != 0) {
          ++events;
          seen.assign(watched.begin(), watched.end());
        }
      }
      played.while_stopped();
      dying.kill();
    }
    ++result.kills;
    if (instructions > result.instructions) result.instructions = instructions;
    if (events > result.events) result.events = events;
    played.check(finished);
    if (finished || testing::Test::HasFatalFailure()) break;
    if (testing::Test::HasNonfatalFailure()) {
      ADD_FAILURE() << played.name << ": first failure after " << instructions << " instructions, "
                    << events << " events";
      break;
    }
  }
  result.addresses = addresses.size();
  std::printf("%s: %zu instructions at %zu addresses, %zu events; killed %zu times, %s\n",
              played.name.c_str(), result.instructions, result.addresses, result.events,
              result.kills, everywhere ? "after every instruction" : "after every event");
  std::fflush(stdout);
  return result;
#else
  throw std::runtime_error(why_not());
#endif
}

}  // namespace crash
