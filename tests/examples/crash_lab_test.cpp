// examples/crash_lab: checks what is always true by itself, and says so by its exit status.
#include <gtest/gtest.h>

#include <string>

#include "left_over.hpp"

TEST(CrashLab, ManyDeathsBreakNothing) {
  const std::string name = test::unique_name();
  const test::outcome done = test::run(
      {CRASH_LAB, "--name", name, "start", "all", "2;", "run", "4", "30;", "check;", "list"});
  EXPECT_EQ(done.status, 0) << done.output;
  for (const char* line :
       {"30 killed and replaced", "ok   everybody gets on", "ok   the bank holds 16000",
        "ok   the heap is whole", "ok   nothing of the dead is left", "12 alive, 30 killed"})
    EXPECT_NE(done.output.find(line), std::string::npos) << line << "\n" << done.output;
  EXPECT_EQ(done.output.find("FAIL"), std::string::npos) << done.output;
  EXPECT_EQ(test::names_with(name), 0u);
}

TEST(CrashLab, AStoppedBankerIsWaitedForAndADeadOneIsNot) {
  const test::outcome done =
      test::run({CRASH_LAB, "start",   "banker", "3;",  "run",    "1;",   "stop",
                 "banker;", "check;",  "cont;",  "run", "1;",     "kill", "banker;",
                 "kill",    "banker;", "run",    "1;",  "check;", "quit"});
  EXPECT_EQ(done.status, 0) << done.output;
  EXPECT_NE(done.output.find("somebody is stopped"), std::string::npos) << done.output;
  EXPECT_NE(done.output.find("ok   all 1 get on"), std::string::npos) << done.output;
}

TEST(CrashLab, WhoeverEndsItNothingIsLeft) {
  for (const int signal : {SIGKILL, SIGTERM}) {
    const std::string name = test::unique_name();
    (void)test::leaves_nothing(
        {CRASH_LAB, "--name", name, "start", "all", "1;", "run", "60", "100"}, name, 7, signal);
  }
}

TEST(CrashLab, WrongCommandsAreAnError) {
  EXPECT_EQ(test::run({CRASH_LAB, "--help"}).status, 0);
  const test::outcome verb = test::run({CRASH_LAB, "explode"});
  EXPECT_EQ(verb.status, 2);
  EXPECT_NE(verb.output.find("no command \"explode\""), std::string::npos) << verb.output;
  EXPECT_EQ(test::run({CRASH_LAB, "kill", "any"}).status, 2) << "nobody is there";
  EXPECT_EQ(test::run({CRASH_LAB, "--seed", "none", "list"}).status, 2);
}
