// See subprocess.hpp. Each worker leads a process group of its own; when it is done, whatever of the
// group is still there is killed, and the name that Boost's worker gave its memory is removed.
#include "subprocess.hpp"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <string_view>

#include <sys/mman.h>
#include <sys/wait.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <unistd.h>

namespace malloc_bench {

namespace {

// Everything that comes out of the two pipes until both are closed; false when time is over.
bool drain(pollfd (&ends)[2], std::string* (&texts)[2],
           std::chrono::steady_clock::time_point deadline) {
  while (ends[0].fd >= 0 || ends[1].fd >= 0) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return false;
    if (poll(ends, 2, static_cast<int>(left.count())) < 0 && errno != EINTR) return false;
    for (int i = 0; i < 2; ++i) {
      if (ends[i].fd < 0 || ends[i].revents == 0) continue;
      char buffer[4096];
      const ssize_t got = read(ends[i].fd, buffer, sizeof buffer);
      if (got > 0)
        texts[i]->append(buffer, static_cast<std::size_t>(got));
      else if (got == 0 || errno != EINTR)
        ends[i].fd = -1;  // poll ignores it from now on
    }
  }
  return true;
}

std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

}  // namespace

process_output run_process(const std::vector<std::string>& arguments, std::chrono::seconds limit) {
  process_output result;
  int out[2];
  int err[2];
  if (pipe2(out, O_CLOEXEC) != 0) {
    result.problem = "no pipe";
    return result;
  }
  if (pipe2(err, O_CLOEXEC) != 0) {
    close(out[0]);
    close(out[1]);
    result.problem = "no pipe";
    return result;
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err[1], 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  posix_spawnattr_setpgroup(&attributes, 0);
  std::vector<char*> words;
  for (const std::string& argument : arguments)
    words.push_back(const_cast<char*>(argument.c_str()));
  words.push_back(nullptr);
  pid_t child = 0;
  const int failed = posix_spawnp(&child, words[0], &actions, &attributes, words.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  close(out[1]);
  close(err[1]);
  if (failed != 0) {
    result.problem = std::string("cannot be started: ") + std::strerror(failed);
  } else {
    pollfd ends[2] = {{out[0], POLLIN, 0}, {err[0], POLLIN, 0}};
    std::string* texts[2] = {&result.output, &result.errors};
    const bool in_time = drain(ends, texts, std::chrono::steady_clock::now() + limit);
    // Both pipes closed and not gone would be strange; the group is killed in any case.
    int status = 0;
    if (!in_time) kill(-child, SIGKILL);
    waitpid(child, &status, 0);
    kill(-child, SIGKILL);
    shm_unlink(("/malloc_benchmark." + std::to_string(child)).c_str());
    if (!in_time)
      result.problem = "hung for " + std::to_string(limit.count()) + " s";
    else if (WIFSIGNALED(status))
      result.problem =
          "killed by signal " + std::to_string(WTERMSIG(status)) + " " + first_line(result.errors);
    else if (WEXITSTATUS(status) != 0)
      result.problem =
          "status " + std::to_string(WEXITSTATUS(status)) + " " + first_line(result.errors);
    else
      result.ok = true;
  }
  close(out[0]);
  close(err[0]);
  return result;
}

std::map<std::string, double> parse_values(const std::string& line) {
  std::map<std::string, double> values;
  std::istringstream words(line);
  for (std::string word; words >> word;)
    if (const std::size_t at = word.find('='); at != std::string::npos)
      values[word.substr(0, at)] = std::strtod(word.c_str() + at + 1, nullptr);
  return values;
}

}  // namespace malloc_bench
