#include <gtest/gtest.h>

import ipcpp;
TEST(MessageQueue, Builds) {
  auto s = ipcpp::segment::anonymous();
  ipcpp::message_queue q(65536, s.heap());
  EXPECT_EQ(q.size(), 0u);
}
