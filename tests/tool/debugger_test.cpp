// The debugger's views, in gdb.
#include <gtest/gtest.h>

#include <string>

#include "tool.hpp"

TEST(Debugger, GdbShowsPointersAndContainers) {
  if (std::string(IPCPP_SANITIZE) != "") GTEST_SKIP() << "not under sanitizers";
  if (test::run({"gdb", "--version"}).status != 0)
    GTEST_SKIP() << "NOT TESTED: the debugger's views; install gdb";
  std::vector<std::string> command{"gdb",
                                   "-nx",
                                   "-batch",
                                   "-ex",
                                   "source " IPCPP_SOURCE_DIR "/tools/debugger/ipcpp_gdb.py",
                                   "-ex",
                                   "break puts",
                                   "-ex",
                                   "run",
                                   "-ex",
                                   "up"};
  for (const char* name : {"pointer", "nowhere", "word", "sentence", "numbers", "chain", "prices",
                           "sorted", "known", "seen", "row", "line", "flat", "few", "far"}) {
    command.emplace_back("-ex");
    command.emplace_back("print " + std::string(name));
  }
  command.emplace_back(IPCPP_DEBUGGED);
  const test::outcome done = test::run(command);
  if (done.output.find("ptrace: Operation not permitted") != std::string::npos)
    GTEST_SKIP() << "NOT TESTED: gdb may not trace here";
  for (const char* text :
       {"* = 4711", "(int *) nullptr", "\"short\"",
        "\"a sentence longer than the inside of a string\"", "ipcpp::vector of 3", "{11, 22, 33}",
        "{7, 14, 21}", "[42] = 2.5", "{[1] = 100, [2] = 200, [3] = 300, [4] = 400, [5] = 500}",
        "{13, 26, 39}", "{23}", "{-2, -1, 0, 1, 2, 3, 4}", "{17, 34, 51}", "{19, 38, 57}",
        "{[1] = 0.5, [2] = 1, [3] = 1.5}"})
    EXPECT_NE(done.output.find(text), std::string::npos) << text << "\n" << done.output;
}
