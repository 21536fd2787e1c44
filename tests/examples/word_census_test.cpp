// The demonstration as a test: it checks its own counts and says so by its exit status.
#include <gtest/gtest.h>

#include <string>

#include "roles.hpp"

TEST(WordCensus, CountsExactlyAlthoughBuildersAreKilledAtWork) {
  const test::outcome result = test::run({WORD_CENSUS, "--quick", "--root", IPCPP_SOURCE_DIR});
  EXPECT_EQ(result.status, 0) << result.output;
  EXPECT_NE(result.output.find("ok   every count equals the plain single-process count"),
            std::string::npos)
      << result.output;
}

TEST(WordCensus, BadArgumentsAreAnError) {
  EXPECT_EQ(test::run({WORD_CENSUS, "--nonsense"}).status, 2);
  const test::outcome result = test::run({WORD_CENSUS, "/nonexistent/file"});
  EXPECT_EQ(result.status, 2);
  EXPECT_NE(result.output.find("/nonexistent/file is not a file"), std::string::npos)
      << result.output;
}
