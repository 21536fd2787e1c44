#include "single_step.hpp"

#include <gtest/gtest.h>

#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <functional>
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
      int status = 0;
      try {
        played.before();
        ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
        ::raise(SIGSTOP);
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

  // To the end of the next system call. false: the operation is over.
  bool next_system_call() {
    ::ptrace(PTRACE_SETOPTIONS, pid_, nullptr, PTRACE_O_TRACESYSGOOD);
    for (int stops = 0; stops < 2; ++stops) {  // on its way in and on its way out
      if (::ptrace(PTRACE_SYSCALL, pid_, nullptr, nullptr) != 0)
        throw std::runtime_error("PTRACE_SYSCALL");
      wait_for_stop();
      if (last_signal_ == SIGSTOP) return false;
    }
    return true;
  }

  // One instruction on. false: the operation is over.
  bool step() {
    if (::ptrace(PTRACE_SINGLESTEP, pid_, nullptr, nullptr) != 0)
      throw std::runtime_error("PTRACE_SINGLESTEP");
    wait_for_stop();
    return last_signal_ != SIGSTOP;
  }

#if defined(__x86_64__)
  // To the next arrival at the instruction at `address`; one that the victim stands at does not
  // count. false: the operation is over.
  bool next_arrival(std::uint64_t address) {
    while (this->address() == address)
      if (!step()) return false;
    watch(address, 1);
    if (::ptrace(PTRACE_CONT, pid_, nullptr, nullptr) != 0) throw std::runtime_error("PTRACE_CONT");
    wait_for_stop();
    if (last_signal_ == SIGSTOP) return false;
    watch(0, 0);
    return true;
  }

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

#if defined(__x86_64__)
  // The processor's first breakpoint register; 7 is the one that turns it on.
  void watch(std::uint64_t address, std::uint64_t on) {
    const auto set = [&](std::size_t which, std::uint64_t to) {
      return ::ptrace(PTRACE_POKEUSER, pid_, offsetof(user, u_debugreg) + which * sizeof to, to) ==
             0;
    };
    if (!set(7, 0) || (on != 0 && (!set(0, address) || !set(7, on))))
      throw std::runtime_error("no hardware breakpoints here");
  }
#endif

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

#if defined(__x86_64__)

namespace {

// The cheapest way to each place of a walk, from its last system call. A breakpoint costs about two
// steps a visit. Repeated string instructions stop a walk at each round but are arrived at once.
class way {
 public:
  void after_system_call() {
    arrivals_.clear();
    best_ = {best_.system_calls + 1, 0, 0, 0};
    cost_ = 0;
    last_ = 0;
  }
  void after_step(std::uint64_t address) {
    ++best_.steps;
    ++cost_;
    if (address == last_) return;
    last_ = address;
    const std::size_t visits = ++arrivals_[address];
    if (2 * visits >= cost_) return;
    best_ = {best_.system_calls, address, visits, 0};
    cost_ = 2 * visits;
  }
  const place_to_die& here() const { return best_; }

 private:
  place_to_die best_;
  std::size_t cost_ = 0;  // in steps
  std::uint64_t last_ = 0;
  std::unordered_map<std::uint64_t, std::size_t> arrivals_;
};

// Walks through the whole operation once, instruction by instruction, and notes where to kill.
std::vector<place_to_die> scout(const scene& played, bool everywhere, report& result) {
  played.prepare();
  const std::span<const std::byte> watched =
      played.watched ? played.watched() : std::span<const std::byte>();
  std::vector<std::byte> seen(watched.begin(), watched.end());
  std::vector<place_to_die> places{{}};
  std::unordered_map<std::uint64_t, bool> addresses;  // and whether a system call stands there
  victim walker(played);
  way so_far;
  std::uint64_t at = walker.address();
  for (;;) {
    auto known = addresses.find(at);
    if (known == addresses.end()) known = addresses.emplace(at, walker.is_system_call(at)).first;
    if (!walker.step()) break;
    ++result.instructions;
    at = walker.address();
    if (known->second)
      so_far.after_system_call();
    else
      so_far.after_step(at);
    const bool changed = std::memcmp(seen.data(), watched.data(), watched.size()) != 0;
    if (changed) seen.assign(watched.begin(), watched.end());
    if (known->second || changed) ++result.events;
    if (everywhere || known->second || changed) places.push_back(so_far.here());
  }
  places.push_back({.system_calls = ~std::size_t{0}});  // after the end
  result.addresses = addresses.size();
  played.while_stopped();
  walker.kill();
  played.check(true);
  return places;
}

// Brings a victim to its place. true: the operation was over before.
bool reach(victim& dying, const place_to_die& place) {
  for (std::size_t n = 0; n < place.system_calls; ++n)
    if (!dying.next_system_call()) return true;
  for (std::size_t n = 0; n < place.arrivals; ++n)
    if (!dying.next_arrival(place.address)) return true;
  for (std::size_t n = 0; n < place.steps; ++n)
    if (!dying.step()) return true;
  return false;
}

}  // namespace

std::vector<place_to_die> places_of(const scene& played) {
  const one_processor pinned;
  report result;
  return scout(played, test::prove_in_full() && !played.events_only, result);
}

bool kill_at(const scene& played, place_to_die place) {
  victim dying(played);
  const bool finished = reach(dying, place);
  dying.kill();
  return finished;
}

report kill_everywhere(const scene& played) {
  const bool everywhere = test::prove_in_full() && !played.events_only;
  const one_processor pinned;
  report result;
  const std::vector<place_to_die> places = scout(played, everywhere, result);
  const std::size_t each = test::prove_in_full() || places.size() <= played.most
                               ? 1
                               : (places.size() + played.most - 1) / played.most;
  for (std::size_t i = 0; i < places.size(); i += each) {
    const place_to_die& place = places[i];
    played.prepare();
    bool finished = false;
    {
      victim dying(played);
      finished = reach(dying, place);
      played.while_stopped();
      dying.kill();
    }
    ++result.kills;
    played.check(finished);
    if (testing::Test::HasFailure()) {
      ADD_FAILURE() << played.name << ": first failure after " << place.system_calls
                    << " system calls, " << place.arrivals << " arrivals at "
                    << reinterpret_cast<const void*>(place.address) << " and " << place.steps
                    << " steps";
      break;
    }
  }
  std::printf("%s: %zu instructions at %zu addresses, %zu events; killed %zu times, %s\n",
              played.name.c_str(), result.instructions, result.addresses, result.events,
              result.kills, everywhere ? "after every instruction" : "after every event");
  std::fflush(stdout);
  return result;
}

std::size_t kill_pairs(const scene& first, const scene& second,
                       const std::function<void(bool finished)>& between) {
  scene before = first;
  before.events_only = true;
  const std::vector<place_to_die> places = places_of(before);
  constexpr std::size_t most = 8;
  const std::size_t each =
      test::prove_in_full() || places.size() <= most ? 1 : (places.size() + most - 1) / most;
  std::size_t kills = 0;
  for (std::size_t i = 0; i < places.size() && !testing::Test::HasFailure(); i += each) {
    scene after = second;
    after.name += ", after \"" + first.name + "\" died at " + std::to_string(i + 1) + " of " +
                  std::to_string(places.size());
    after.prepare = [&] {
      first.prepare();
      between(kill_at(first, places[i]));
    };
    kills += kill_everywhere(after).kills;
  }
  return kills;
}

#else

std::vector<place_to_die> places_of(const scene&) {
  throw std::runtime_error(why_not());
}

std::size_t kill_pairs(const scene&, const scene&, const std::function<void(bool)>&) {
  throw std::runtime_error(why_not());
}

bool kill_at(const scene&, place_to_die) {
  throw std::runtime_error(why_not());
}

report kill_everywhere(const scene&) {
  throw std::runtime_error(why_not());
}

#endif

}  // namespace crash
