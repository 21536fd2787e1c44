// The conformance suite, part 5: who this process is. Runs unchanged on every platform and variant.
#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "roles.hpp"

import ipcpp.platform;

namespace platform = ipcpp::platform;

ROLE(identify) {
  const platform::process_identity me = platform::current_process();
  test::say(std::to_string(me.pid) + " " + std::to_string(me.start_time) + " " +
            std::to_string(me.pid_namespace));
  std::string line;
  test::hear(line);
  return 0;
}

TEST(Process, ItsIdentityIsStableAndItsOwn) {
  const platform::process_identity me = platform::current_process();
  EXPECT_NE(me.pid, 0u);
  EXPECT_NE(me.start_time, 0u);
  EXPECT_EQ(me, platform::current_process());
  EXPECT_TRUE(platform::same_process_lives(me));
}

TEST(Process, AnotherOneCanBeToldFromItsSuccessorAndFromTheDead) {
  test::child other("identify");
  platform::process_identity who;
  std::istringstream(other.hear()) >> who.pid >> who.start_time >> who.pid_namespace;
  EXPECT_EQ(who.pid, other.pid());
  EXPECT_NE(who, platform::current_process());
  EXPECT_TRUE(platform::same_process_lives(who));
  platform::process_identity successor = who;
  successor.start_time += 1;
  EXPECT_FALSE(platform::same_process_lives(successor))
      << "the pid lives, but it is somebody else's now";
  other.kill();
  EXPECT_FALSE(platform::same_process_lives(who));
}

TEST(Process, TheIncarnationIsNotZeroAndStable) {
  EXPECT_NE(platform::incarnation(), 0u);
  EXPECT_EQ(platform::incarnation(), platform::incarnation());
}

TEST(Process, PagesAreAPowerOfTwoOfAtLeast4096Bytes) {
  const std::size_t bytes = platform::page_bytes();
  EXPECT_GE(bytes, 4096u);
  EXPECT_EQ(bytes & (bytes - 1), 0u);
}
