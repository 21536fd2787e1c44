// What the examples share and what has nothing to do with ipcpp: options, and child processes the POSIX
// way.
//
// A child is this very program, started again with other arguments. None outlives its parent, however
// that ends, and none is cut off in the middle of its work either: each looks now and then whether it
// should stop (`should_stop`), because its parent is gone or because somebody pressed Ctrl-C, and ends
// in good order. So the last one out takes the segment's name along, and nothing stays in /dev/shm.
#pragma once

#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>
#include <sys/wait.h>
#include <unistd.h>

namespace examples {

// ---- options ----

struct wrong_usage : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// "--name VALUE" pairs in any order between other words.
class options {
 public:
  options(int argc, char** argv) : words_(argv + 1, argv + argc) {}

  bool flag(std::string_view name) {
    for (std::size_t i = 0; i < words_.size(); ++i)
      if (words_[i] == name) return take(i, 1), true;
    return false;
  }
  std::string text(std::string_view name, std::string otherwise) {
    for (std::size_t i = 0; i < words_.size(); ++i) {
      if (words_[i] != name) continue;
      if (i + 1 == words_.size()) throw wrong_usage(std::string(name) + " wants a value");
      std::string value = words_[i + 1];
      take(i, 2);
      return value;
    }
    return otherwise;
  }
  std::uint64_t number(std::string_view name, std::uint64_t otherwise, std::uint64_t least,
                       std::uint64_t most) {
    const std::string value = text(name, std::to_string(otherwise));
    std::uint64_t n = 0;
    const auto [end, failed] = std::from_chars(value.data(), value.data() + value.size(), n);
    if (failed != std::errc{} || end != value.data() + value.size() || n < least || n > most)
      throw wrong_usage(std::string(name) + " wants a number from " + std::to_string(least) +
                        " to " + std::to_string(most) + ", not \"" + value + "\"");
    return n;
  }
  // What no option took.
  std::vector<std::string> rest() {
    for (const std::string& word : words_)
      if (word.size() > 1 && word[0] == '-') throw wrong_usage("there is no option " + word);
    return words_;
  }

 private:
  void take(std::size_t at, std::size_t n) {
    const auto first = words_.begin() + static_cast<std::ptrdiff_t>(at);
    words_.erase(first, first + static_cast<std::ptrdiff_t>(n));
  }
  std::vector<std::string> words_;
};

// ---- processes ----

inline volatile std::sig_atomic_t asked_to_stop = 0;
inline const char* const parent_variable = "IPCPP_EXAMPLE_PARENT";

// First thing in main(): from now on Ctrl-C and SIGTERM only ask.
inline void begin() {
  struct sigaction ask{};
  ask.sa_handler = [](int) { asked_to_stop = 1; };
  ::sigaction(SIGINT, &ask, nullptr);
  ::sigaction(SIGTERM, &ask, nullptr);
  ::sigaction(SIGHUP, &ask, nullptr);
  ::signal(SIGPIPE, SIG_IGN);  // who reads our output may leave
}

inline bool should_stop() {
  static const char* const text = std::getenv(parent_variable);
  static const long parent = text == nullptr ? 0 : std::strtol(text, nullptr, 10);
  return asked_to_stop != 0 || (parent != 0 && ::getppid() != parent);
}

inline const std::string& own_path(const char* argv0 = nullptr) {
  static const std::string path = [argv0] {
    char link[4096];
    const ssize_t n = ::readlink("/proc/self/exe", link, sizeof link);
    return n > 0 ? std::string(link, static_cast<std::size_t>(n)) : std::string(argv0);
  }();
  return path;
}

inline std::vector<pid_t> started;  // and not yet waited for

inline void forget(pid_t pid) {
  std::erase(started, pid);
}

// This program again, with these arguments.
inline pid_t start(const std::vector<std::string>& arguments) {
  const std::string parent = std::to_string(::getpid());
  std::vector<char*> words{const_cast<char*>(own_path().c_str())};
  for (const std::string& word : arguments) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  std::fflush(nullptr);
  const pid_t pid = ::fork();
  if (pid < 0) throw std::system_error(errno, std::generic_category(), "cannot start a process");
  if (pid == 0) {
    ::setenv(parent_variable, parent.c_str(), 1);
    ::execv(words[0], words.data());
    std::perror(words[0]);
    ::_exit(127);
  }
  started.push_back(pid);
  return pid;
}

struct ended {
  pid_t pid = -1;
  int status = 0;

  bool well() const { return WIFEXITED(status) && WEXITSTATUS(status) == 0; }
  std::string how() const {
    return WIFSIGNALED(status) ? "was killed by signal " + std::to_string(WTERMSIG(status))
                               : "ended with status " + std::to_string(WEXITSTATUS(status));
  }
};

// A child that has ended, if there is one.
inline std::optional<ended> reap() {
  ended e;
  e.pid = ::waitpid(-1, &e.status, WNOHANG);
  if (e.pid <= 0) return std::nullopt;
  forget(e.pid);
  return e;
}

// Kills a child as `kill -9` does, and waits until it is gone.
inline void kill(pid_t pid) {
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  forget(pid);
}

// Waits until all children are gone; true: all of them ended well by themselves. Those that have not
// ended after `patience` are killed.
inline bool wait_for_all(std::chrono::seconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  bool well = true;
  while (!started.empty()) {
    if (const std::optional<ended> e = reap()) {
      if (!e->well()) {
        std::fprintf(stderr, "process %d %s\n", static_cast<int>(e->pid), e->how().c_str());
        well = false;
      }
    } else if (std::chrono::steady_clock::now() >= deadline) {
      for (const pid_t late : std::exchange(started, {})) {
        std::fprintf(stderr, "process %d does not end and is killed\n", static_cast<int>(late));
        kill(late);
      }
      return false;
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
  }
  return well;
}

// ---- main ----

// What main() of every example does around its own words: whatever goes wrong is told on standard error,
// with status 2 when the command line is at fault and 1 otherwise.
template <class Body>
int run(const char* program, char** argv, Body body) {
  begin();
  own_path(argv[0]);
  try {
    return body();
  } catch (const wrong_usage& e) {
    std::fprintf(stderr, "%s: %s; see %s --help\n", program, e.what(), program);
    return 2;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: %s\n", program, e.what());
    return 1;
  }
}

}  // namespace examples
