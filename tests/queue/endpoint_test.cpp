// Endpoints: what a queue checks before it believes its head.
#include <gtest/gtest.h>

#include <cstdint>

#include "queues.hpp"

import ipcpp;

using test::object_in;
using test::tick;

TEST(QueueObject, NeedsMemoryOfASegment) {
  EXPECT_ERROR((ipcpp::spsc_queue<tick>(4, ipcpp::allocator<std::byte>())), invalid_argument);
}
