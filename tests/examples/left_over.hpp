// Examples that are killed: who and what is left of them. Linux.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "roles.hpp"

namespace test {

inline bool within(std::chrono::seconds patience, const std::function<bool()>& is_so) {
  const auto end = std::chrono::steady_clock::now() + patience;
  while (!is_so()) {
    if (std::chrono::steady_clock::now() >= end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

// Living processes with that word in their command lines.
inline std::vector<pid_t> processes_with(const std::string& word) {
  std::vector<pid_t> found;
  std::error_code gone;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", gone)) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    std::ifstream file(entry.path() / "cmdline", std::ios::binary);
    // Empty of a zombie. Reading fails where the process goes meanwhile: libstdc++'s buffer throws then,
    // which this operator keeps to itself.
    std::ostringstream line;
    line << file.rdbuf();
    if (line.str().find(word) != std::string::npos && name != std::to_string(::getpid()))
      found.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return found;
}

// What of that name there is where shared memory has its names.
inline std::size_t names_with(const std::string& word) {
  const char* const chosen = std::getenv("IPCPP_DIRECTORY");
  std::size_t found = 0;
  std::error_code gone;
  for (const auto& entry :
       std::filesystem::directory_iterator(chosen != nullptr ? chosen : "/dev/shm", gone))
    found += entry.path().filename().string().find(word) != std::string::npos ? 1 : 0;
  return found;
}

// A command whose output nobody reads, killed by the destructor unless it was waited for.
class running {
 public:
  explicit running(std::vector<std::string> command) : pid_(::fork()) {
    if (pid_ != 0) return;
    const int nowhere = ::open("/dev/null", O_RDWR);
    for (const int standard : {0, 1, 2}) ::dup2(nowhere, standard);
    std::vector<char*> words;
    for (std::string& word : command) words.push_back(word.data());
    words.push_back(nullptr);
    ::execv(words[0], words.data());
    ::_exit(127);
  }
  running(const running&) = delete;
  running& operator=(const running&) = delete;
  ~running() {
    if (pid_ > 0) (void)end(SIGKILL);
  }
  pid_t pid() const { return pid_; }
  // Its status as waitpid says it.
  int end(int signal) {
    ::kill(pid_, signal);
    int status = 0;
    ::waitpid(std::exchange(pid_, -1), &status, 0);
    return status;
  }

 private:
  pid_t pid_;
};

// Once `command`, which mentions `name`, has so many processes: kills the first of them with `signal`.
// After that no process and no name may be left. Returns its waitpid status.
inline int leaves_nothing(const std::vector<std::string>& command, const std::string& name,
                          std::size_t processes, int signal) {
  running example(command);
  EXPECT_TRUE(
      within(std::chrono::seconds(30),
             [&] { return processes_with(name).size() >= processes && names_with(name) != 0; }))
      << processes_with(name).size() << " processes";
  const int status = example.end(signal);
  EXPECT_TRUE(within(std::chrono::seconds(30), [&] { return processes_with(name).empty(); }))
      << processes_with(name).size() << " processes left";
  EXPECT_EQ(names_with(name), 0u);
  return status;
}

}  // namespace test
