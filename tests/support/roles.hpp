// Real processes for tests: a test starts this very program again in a role, talks with it line by
// line, and may kill it.
//
//   ROLE(echo) {                               // in the child: in and out are its standard input
//   and output
//     for (std::string line; hear(line);) say(line);
//     return 0;
//   }
//   child worker("echo", {"argument"});        // in the test
//   worker.say("hello");
//   EXPECT_EQ(worker.hear(), "hello");
//   worker.kill();                             // SIGKILL or TerminateProcess; the destructor does
//   the same
//
// No child outlives the test program, however that ends: Linux PR_SET_PDEATHSIG, macOS a thread that
// watches the parent, Windows a job object.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <vector>

namespace test {

// ---- in the child ----

using arguments = std::vector<std::string>;
using role_function = int (*)(const arguments&);

std::map<std::string, role_function>& roles();
struct role_entry {
  role_entry(const char* name, role_function function) { roles()[name] = function; }
};

bool hear(std::string& line);  // false: the test has nothing more to say
void say(const std::string& line);

// ---- in the test ----

class child {
 public:
  child(const std::string& role, const arguments& args = {});
  child(child&& other) noexcept;
  child& operator=(child&&) = delete;
  ~child();

  std::string hear();  // "" at the end of its output
  void say(const std::string& line);
  void kill();  // and waits until it is gone
  int wait();   // closes its input, waits; its exit status, -1 if it did not exit by itself
  std::uint64_t pid() const { return pid_; }

 private:
  std::uint64_t pid_ = 0;
  [[maybe_unused]] std::intptr_t process_ = -1;  // Windows handle
  std::intptr_t input_ = -1;                     // we write
  std::intptr_t output_ = -1;                    // we read
  std::string buffered_;
  bool gone_ = false;
};

// A command line of the system, run to its end: exit status and everything it printed.
struct outcome {
  int status = -1;
  std::string output;
};
outcome run(const std::vector<std::string>& command);

// A name no other test uses, in this run or a parallel one.
std::string unique_name();

// Runs `--role`s, prepares a private directory for named objects and removes it at the end, also if
// we are killed. Returns true if the process was a role, with its status.
bool ran_as_role(int argc, char** argv, int& status);
void prepare_directory();
const std::string& own_path();

// Is the part of the suite that IPCPP_PROVE=full asks for wanted?
bool prove_in_full();

}  // namespace test

#define ROLE(name)                                                     \
  static int role_##name(const test::arguments& args);                 \
  static const test::role_entry role_entry_##name(#name, role_##name); \
  static int role_##name([[maybe_unused]] const test::arguments& args)
