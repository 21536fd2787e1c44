// `ipcpp clean`, `rm`, `reclaim`: those that change something.
#include <gtest/gtest.h>

#include <string>

#include "tool.hpp"

using test::holder;
using test::json;
using test::tool;
using test::tool_json;

namespace {

bool there(const std::string& name) {
  for (const std::string& one : ipcpp::platform::object_names())
    if (one == name) return true;
  return false;
}

bool tells_of(const json& list, const std::string& what) {
  for (const auto& one : list)
    if (one.at("what") == what) return true;
  return false;
}

}  // namespace

TEST(ToolClean, WhatTheDeadLeftGoesAndNothingElse) {
  const std::string dead = test::unique_name();
  const std::string used = test::unique_name();
  const std::string kept = test::unique_name();
  holder victim("make", dead);
  const holder user("make", used);
  holder founder("persistent", kept);
  victim.kill();
  founder.kill();
  EXPECT_TRUE(tells_of(tool_json({"clean", "--dry-run"}).at("removed"), dead));
  EXPECT_TRUE(there(dead));
  const json done = tool_json({"clean"});
  EXPECT_TRUE(tells_of(done.at("removed"), dead));
  EXPECT_GE(done.at("bytes"), 160'000u);
  EXPECT_FALSE(there(dead));
  EXPECT_TRUE(there(used));
  EXPECT_TRUE(there(kept));
  EXPECT_FALSE(tells_of(tool_json({"clean"}).at("removed"), dead));
  EXPECT_TRUE(ipcpp::segment::remove(kept));
}

TEST(ToolRm, AUsedSegmentTakesForce) {
  const std::string name = test::unique_name();
  holder user("make", name);
  const test::outcome refused = tool({"rm", name});
  EXPECT_EQ(refused.status, 4);
  EXPECT_NE(refused.output.find("--force"), std::string::npos) << refused.output;
  EXPECT_TRUE(there(name));
  EXPECT_EQ(tool({"rm", "--force", name}).status, 0);
  EXPECT_FALSE(there(name));
  EXPECT_EQ(user.tell("answer"), "42");
  EXPECT_EQ(tool({"rm", name}).status, 3);
}

TEST(ToolRm, AnUnusedOneGoesAtOnce) {
  const std::string name = test::unique_name();
  holder founder("persistent", name);
  EXPECT_EQ(founder.leave(), 0);
  EXPECT_TRUE(there(name));
  EXPECT_EQ(tool({"rm", name}).status, 0);
  EXPECT_FALSE(there(name));
}

TEST(ToolReclaim, TheDeadGiveBackWhatTheyHeld) {
  const std::string name = test::unique_name();
  const holder user("make", name);
  holder victim("open", name);
  (void)victim.tell("track");
  victim.kill();
  const json done = tool_json({"reclaim", name});
  EXPECT_EQ(done.at("dead_processes"), 1);
  EXPECT_GE(done.at("reclaimed"), 1);
  EXPECT_GE(done.at("in_use_bytes_before"),
            done.at("in_use_bytes_after").get<std::uint64_t>() + 100'000);
  const json seen = tool_json({"show", name});
  EXPECT_EQ(seen.at("processes").size(), 1u);
  EXPECT_EQ(tool_json({"reclaim", name}).at("reclaimed"), 0);
  EXPECT_EQ(tool({"reclaim", "no-such-segment"}).status, 3);
}

TEST(ToolReclaim, WithTheLastUserDeadTheSegmentIsLeftToClean) {
  const std::string name = test::unique_name();
  holder victim("make", name);
  victim.kill();
  EXPECT_EQ(tool({"reclaim", name}).status, 4);
  EXPECT_EQ(tool({"clean"}).status, 0);
  EXPECT_FALSE(there(name));
}
