#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <system_error>

import ipcpp.platform;

using ipcpp::errc;

TEST(Error, AMessageNamesTheObjectWhatWasExpectedWhatWasFoundAndWhatToDo) {
  const ipcpp::error e(errc::wrong_layout, "shared object 'shop'", "layout version 1", "7",
                       "build both alike");
  EXPECT_STREQ(
      e.what(),
      "shared object 'shop': expected layout version 1, found 7; build both alike: wrong layout");
}

TEST(Error, PartsThatDoNotApplyAreLeftOut) {
  EXPECT_STREQ(ipcpp::error(errc::damaged, "x", "", "garbage", "").what(),
               "x: found garbage: damaged");
  EXPECT_STREQ(ipcpp::error(errc::damaged, "x", "a table", "", "").what(),
               "x: expected a table: damaged");
}

TEST(Error, ItIsASystemErrorWhoseCodeComparesWithErrc) {
  try {
    throw ipcpp::error(errc::not_found, "x", "", "", "", ENOENT);
  } catch (const std::system_error& e) {
    EXPECT_EQ(e.code(), errc::not_found);
    EXPECT_NE(e.code(), errc::damaged);
    EXPECT_STREQ(e.code().category().name(), "ipcpp");
  }
  const ipcpp::error e(errc::not_found, "x", "", "", "", 2);
  EXPECT_EQ(e.kind(), errc::not_found);
  EXPECT_EQ(e.system_code(), 2);
}

TEST(Error, EveryKindHasItsOwnWords) {
  std::string seen;
  for (int i = 1; i <= 11; ++i) {
    const std::string words = ipcpp::error_category().message(i);
    EXPECT_EQ(words.find("unknown"), std::string::npos) << i;
    EXPECT_EQ(seen.find(words + ";"), std::string::npos) << words;
    seen += words + ";";
  }
  EXPECT_NE(ipcpp::error_category().message(99).find("99"), std::string::npos);
}

TEST(Error, WhatTheSystemSaidIsPartOfASystemFailure) {
  const ipcpp::error e = ipcpp::platform::system_error_of("shared object 'shop'", "map it", 12);
  EXPECT_EQ(e.kind(), errc::system_failure);
  EXPECT_EQ(e.system_code(), 12);
  EXPECT_NE(std::string(e.what()).find("expected map it to succeed"), std::string::npos)
      << e.what();
  EXPECT_NE(std::string(e.what()).find("(12)"), std::string::npos) << e.what();
}
