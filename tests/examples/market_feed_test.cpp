// examples/market_feed: checks its own counts and says so by its exit status.
#include <gtest/gtest.h>

#include <string>

#include "left_over.hpp"

TEST(MarketFeed, EverySubscriberReceivesOrIsToldWhatItLost) {
  const std::string name = test::unique_name();
  const test::outcome done =
      test::run({MARKET_FEED, "--seconds", "2", "--rate", "2000", "--name", name});
  EXPECT_EQ(done.status, 0) << done.output;
  EXPECT_NE(
      done.output.find("ok: every subscriber received or was told it lost each of 4000 ticks"),
      std::string::npos)
      << done.output;
  EXPECT_NE(done.output.find("█"), std::string::npos) << done.output;
  EXPECT_EQ(test::names_with(name), 0u);
}

TEST(MarketFeed, AKilledSubscriberHoldsNobodyBack) {
  const test::outcome done = test::run({MARKET_FEED, "--seconds", "2", "--rate", "2000",
                                        "--subscribers", "2", "--slow", "0", "--kill"});
  EXPECT_EQ(done.status, 0) << done.output;
  EXPECT_NE(done.output.find("a subscriber was killed"), std::string::npos) << done.output;
}

TEST(MarketFeed, WhoeverEndsItNothingIsLeft) {
  for (const int signal : {SIGKILL, SIGTERM}) {
    const std::string name = test::unique_name();
    (void)test::leaves_nothing({MARKET_FEED, "--seconds", "60", "--name", name}, name, 7, signal);
  }
}

TEST(MarketFeed, WrongWordsAreAnError) {
  EXPECT_EQ(test::run({MARKET_FEED, "--help"}).status, 0);
  const test::outcome rate = test::run({MARKET_FEED, "--rate", "fast"});
  EXPECT_EQ(rate.status, 2);
  EXPECT_NE(rate.output.find("--rate wants a number from 1"), std::string::npos) << rate.output;
  EXPECT_EQ(test::run({MARKET_FEED, "--nonsense"}).status, 2);
  EXPECT_EQ(test::run({MARKET_FEED, "sell"}).status, 2);
  const test::outcome nobody = test::run({MARKET_FEED, "watch", "no-such-market"});
  EXPECT_EQ(nobody.status, 1);
  EXPECT_NE(nobody.output.find("no-such-market"), std::string::npos) << nobody.output;
}
