// roles.hpp on POSIX systems.
#include "roles.hpp"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__linux__)
#include <sys/prctl.h>
#elif defined(__APPLE__)
#include <thread>
#include <mach-o/dyld.h>
#include <sys/event.h>
#include <sys/mman.h>
#endif

namespace test {

namespace {

std::string shm_directory;

#if defined(__linux__)

constexpr const char* directory_pattern = "/dev/shm/ipcpp-test.XXXXXX";

void make_pipe(int (&ends)[2]) {
  if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2");
}

// In a forked child: it ends with its parent, also after exec.
void end_with(pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(126);
}

// In a role: the same, where exec forgets it.
void role_ends_with_its_parent() {}

std::string program_path() {
  char text[4096];
  const ssize_t n = ::readlink("/proc/self/exe", text, sizeof text);
  return std::string(text, n > 0 ? static_cast<std::size_t>(n) : 0);
}

void remove_memory_of(const std::string&) {}

#else  // macOS

constexpr const char* directory_pattern = "/tmp/ipcpp-test.XXXXXX";

void make_pipe(int (&ends)[2]) {
  if (::pipe(ends) != 0) throw std::runtime_error("pipe");
  for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
}

void end_with(pid_t) {}

// A thread sleeps until the parent ends.
void role_ends_with_its_parent() {
  const pid_t parent = ::getppid();
  std::thread([parent] {
    const int queue = ::kqueue();
    struct kevent wanted{};
    wanted.ident = static_cast<std::uintptr_t>(parent);
    wanted.filter = EVFILT_PROC;
    wanted.flags = EV_ADD;
    wanted.fflags = NOTE_EXIT;
    struct kevent seen{};
    // A parent that is gone already cannot be watched.
    if (::kevent(queue, &wanted, 1, &seen, 1, nullptr) != 0 || ::getppid() != parent) ::_exit(126);
  }).detach();
}

std::string program_path() {
  char text[4096];
  std::uint32_t bytes = sizeof text;
  return ::_NSGetExecutablePath(text, &bytes) == 0 ? text : "";
}

// Memory lies in no directory: found through the record that a killed test left.
void remove_memory_of(const std::string& file) {
  if (file.size() != 33 || !file.starts_with(".ipcpp.")) return;
  for (int step = 0; step < 48; ++step) {
    const char digits[] = {static_cast<char>('0' + step / 10), static_cast<char>('0' + step % 10),
                           0};
    if (::shm_unlink(("/i" + file.substr(7) + digits).c_str()) != 0) return;
  }
}

#endif

// Replaces this (forked) process by the command.
[[noreturn]] void become(const std::vector<std::string>& command) {
  std::vector<char*> words;
  for (const auto& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  ::execvp(words[0], words.data());
  std::perror(words[0]);
  ::_exit(127);
}

void remove_directory(const std::string& path) {
  if (DIR* listing = ::opendir(path.c_str())) {
    while (const dirent* entry = ::readdir(listing)) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      remove_memory_of(name);
      ::unlink((path + "/" + name).c_str());
    }
    ::closedir(listing);
  }
  ::rmdir(path.c_str());
}

}  // namespace

const std::string& own_path() {
  static const std::string path = program_path();
  return path;
}

child::child(const std::string& role, const arguments& args) {
  int to_child[2];
  int from_child[2];
  make_pipe(to_child);
  make_pipe(from_child);
  std::vector<std::string> command{own_path(), "--role=" + role};
  command.insert(command.end(), args.begin(), args.end());
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid < 0) throw std::runtime_error("fork");
  if (pid == 0) {
    end_with(parent);
    ::dup2(to_child[0], 0);
    ::dup2(from_child[1], 1);
    become(command);
  }
  ::close(to_child[0]);
  ::close(from_child[1]);
  pid_ = static_cast<std::uint64_t>(pid);
  input_ = to_child[1];
  output_ = from_child[0];
}

child::child(child&& other) noexcept
    : pid_(other.pid_),
      input_(other.input_),
      output_(other.output_),
      buffered_(std::move(other.buffered_)),
      gone_(other.gone_) {
  other.gone_ = true;
  other.input_ = other.output_ = -1;
}

child::~child() {
  kill();
  if (input_ >= 0) ::close(static_cast<int>(input_));
  if (output_ >= 0) ::close(static_cast<int>(output_));
}

std::string child::hear() {
  for (;;) {
    if (const auto end = buffered_.find('\n'); end != std::string::npos) {
      std::string line = buffered_.substr(0, end);
      buffered_.erase(0, end + 1);
      return line;
    }
    char text[4096];
    const ssize_t n = ::read(static_cast<int>(output_), text, sizeof text);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return "";
    buffered_.append(text, static_cast<std::size_t>(n));
  }
}

void child::say(const std::string& line) {
  const std::string text = line + "\n";
  if (::write(static_cast<int>(input_), text.data(), text.size()) !=
      static_cast<ssize_t>(text.size()))
    std::perror("write to child");
}

void child::kill() {
  if (gone_) return;
  ::kill(static_cast<pid_t>(pid_), SIGKILL);
  ::waitpid(static_cast<pid_t>(pid_), nullptr, 0);
  gone_ = true;
}

int child::wait() {
  if (input_ >= 0) ::close(static_cast<int>(input_));
  input_ = -1;
  int status = 0;
  if (gone_ || ::waitpid(static_cast<pid_t>(pid_), &status, 0) < 0) return -1;
  gone_ = true;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

outcome run(const std::vector<std::string>& command) {
  int pipe[2];
  make_pipe(pipe);
  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) {
    end_with(parent);
    ::dup2(pipe[1], 1);
    ::dup2(pipe[1], 2);
    become(command);
  }
  ::close(pipe[1]);
  outcome result;
  char text[4096];
  for (ssize_t n; (n = ::read(pipe[0], text, sizeof text)) > 0;)
    result.output.append(text, static_cast<std::size_t>(n));
  ::close(pipe[0]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return result;
}

std::string unique_name() {
  static std::atomic<int> count{0};
  return "test." + std::to_string(::getpid()) + "." + std::to_string(++count);
}

bool ran_as_role(int argc, char** argv, int& status) {
  const std::string first = argc > 1 ? argv[1] : "";
  if (!first.starts_with("--role=")) return false;
  const auto role = roles().find(first.substr(7));
  if (role == roles().end()) throw std::runtime_error("no role " + first);
  role_ends_with_its_parent();
  status = role->second(arguments(argv + 2, argv + argc));
  return true;
}

void prepare_directory() {
  if (std::getenv("IPCPP_DIRECTORY") != nullptr) return;
  shm_directory = directory_pattern;
  if (::mkdtemp(shm_directory.data()) == nullptr) throw std::runtime_error("mkdtemp");
  ::setenv("IPCPP_DIRECTORY", shm_directory.c_str(), 1);
  // The caretaker sees the pipe end when this process and all it forked are gone, and is in a
  // session of its own, so that no signal to our group reaches it.
  int pipe[2];
  make_pipe(pipe);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::setsid();
    ::close(pipe[1]);
    // Nothing of ours may be kept open: whoever waits for the end of our output would wait for the
    // caretaker too.
    for (int fd = 0; fd < 3; ++fd) ::close(fd);
    char byte;
    while (::read(pipe[0], &byte, 1) < 0 && errno == EINTR) {
    }
    remove_directory(shm_directory);
    ::_exit(0);
  }
  ::close(pipe[0]);
}

}  // namespace test
