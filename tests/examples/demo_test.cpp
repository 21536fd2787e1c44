// The demonstration as a test: it checks its own counts and says so by its exit status.
#include <gtest/gtest.h>

#include <string>

#include "roles.hpp"

TEST(Demo, CountsExactlyAlthoughBuildersAreKilledInsideUpdates) {
  const test::outcome result = test::run({DEMO, "--quick", "--root", IPCPP_SOURCE_DIR});
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("inside update("), std::string::npos) << result.output;
  EXPECT_NE(result.output.find("ok   every word's count is that of a plain count"),
            std::string::npos)
      << result.output;
  EXPECT_NE(result.output.find("ok   nothing is left in shared memory"), std::string::npos);
}

TEST(Demo, OneSmallFileWillDo) {
  const test::outcome result = test::run({DEMO, "--quick", IPCPP_SOURCE_DIR "/LICENSE"});
  EXPECT_EQ(result.status, 0) << result.output;
}

TEST(Demo, BadArgumentsAreAnError) {
  EXPECT_EQ(test::run({DEMO, "--nonsense"}).status, 2);
  const test::outcome result = test::run({DEMO, "/nonexistent/file"});
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.output.find("/nonexistent/file is not a file"), std::string::npos)
      << result.output;
}
