// examples/worker_pool: checks its own results and says so by its exit status.
#include <gtest/gtest.h>

#include <string>

#include "left_over.hpp"

TEST(WorkerPool, NothingIsLostThoughWorkersAreKilled) {
  const std::string name = test::unique_name();
  const test::outcome done = test::run(
      {WORKER_POOL, "--tasks", "300", "--size", "10000", "--kills", "10", "--name", name});
  EXPECT_EQ(done.status, 0) << done.output;
  for (const char* line : {"ok   every task has one result", "ok   216816 primes",
                           "ok   10 workers killed", "ok   nothing of the dead is left"})
    EXPECT_NE(done.output.find(line), std::string::npos) << line << "\n" << done.output;
  EXPECT_EQ(test::names_with(name), 0u);
}

TEST(WorkerPool, OneTaskAndOneWorkerWillDo) {
  const test::outcome done =
      test::run({WORKER_POOL, "--tasks", "1", "--workers", "1", "--kills", "0"});
  EXPECT_EQ(done.status, 0) << done.output;
}

TEST(WorkerPool, WhoeverEndsItNothingIsLeft) {
  for (const int signal : {SIGKILL, SIGTERM}) {
    const std::string name = test::unique_name();
    (void)test::leaves_nothing({WORKER_POOL, "--tasks", "1000000", "--name", name}, name, 5,
                               signal);
  }
}

TEST(WorkerPool, WrongWordsAreAnError) {
  EXPECT_EQ(test::run({WORKER_POOL, "--help"}).status, 0);
  EXPECT_EQ(test::run({WORKER_POOL, "--tasks", "0"}).status, 2);
  EXPECT_EQ(test::run({WORKER_POOL, "rest"}).status, 2);
  const test::outcome nobody = test::run({WORKER_POOL, "work", "no-such-pool"});
  EXPECT_EQ(nobody.status, 1);
  EXPECT_NE(nobody.output.find("no-such-pool"), std::string::npos) << nobody.output;
}
