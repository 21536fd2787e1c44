// Shorthand for tests with shared objects. Include after <gtest/gtest.h>; import ipcpp.platform and
// ipcpp.sync after it.
#pragma once

// The errc of the ipcpp::error that `statement` throws, and its message in `message`; 0 if it
// throws none.
#define ERROR_OF(statement, message)     \
  [&] {                                  \
    try {                                \
      (void)(statement);                 \
    } catch (const ipcpp::error& e) {    \
      (message) = e.what();              \
      return static_cast<int>(e.kind()); \
    }                                    \
    return 0;                            \
  }()

#define EXPECT_ERROR(statement, expected)                                                          \
  do {                                                                                             \
    std::string message_;                                                                          \
    EXPECT_EQ(ERROR_OF(statement, message_), static_cast<int>(ipcpp::errc::expected)) << message_; \
  } while (0)
