// Users' projects: the library as a folder and as an installed package, in C++20 and C++23.
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "roles.hpp"

namespace fs = std::filesystem;

namespace {

const fs::path source = IPCPP_SOURCE_DIR;
const fs::path work = fs::path(IPCPP_BINARY_DIR) / "consumers";

void expect_success(const std::vector<std::string>& command) {
  const test::outcome result = test::run(command);
  std::string line;
  for (const auto& word : command) line += word + " ";
  ASSERT_EQ(result.status, 0) << line << "\n" << result.output;
}

std::vector<std::string> configure(const fs::path& project, const fs::path& build,
                                   const std::string& standard) {
  std::vector<std::string> command{IPCPP_CMAKE,
                                   "-S",
                                   project.string(),
                                   "-B",
                                   build.string(),
                                   "-G",
                                   "Ninja",
                                   "-DCMAKE_BUILD_TYPE=Debug",
                                   "-DCMAKE_CXX_COMPILER=" IPCPP_CXX_COMPILER,
                                   "-DCMAKE_CXX_FLAGS=" IPCPP_CXX_FLAGS,
                                   "-DCMAKE_CXX_STANDARD=" + standard};
  return command;
}

void build_and_run(const fs::path& build) {
  expect_success({IPCPP_CMAKE, "--build", build.string()});
  if (testing::Test::HasFatalFailure()) return;
  const test::outcome result = test::run({(build / "app").string()});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.output, "hello\n");
}

// One install serves consumers in either standard: made once per test, into a prefix of its own.
fs::path install(const std::string& name) {
  const fs::path prefix = work / ("prefix-" + name);
  fs::remove_all(prefix);
  expect_success({IPCPP_CMAKE, "--install", IPCPP_BINARY_DIR, "--prefix", prefix.string()});
  return prefix;
}

void consume_package(const std::string& standard) {
  const fs::path prefix = install(standard);
  if (testing::Test::HasFatalFailure()) return;
  const fs::path build = work / ("package-" + standard);
  fs::remove_all(build);
  auto command = configure(source / "tests/packaging/consumer_package", build, standard);
  command.push_back("-DCMAKE_PREFIX_PATH=" + prefix.string());
  expect_success(command);
  if (!testing::Test::HasFatalFailure()) build_and_run(build);
}

void consume_folder(const std::string& standard) {
  const fs::path build = work / ("folder-" + standard);
  fs::remove_all(build);
  auto command = configure(source / "tests/packaging/consumer_subdirectory", build, standard);
  command.push_back("-DIPCPP_SOURCE_DIR=" + source.string());
  expect_success(command);
  if (!testing::Test::HasFatalFailure()) build_and_run(build);
}

struct Consumer : testing::Test {
  void SetUp() override {
#ifdef _WIN32
    GTEST_SKIP() << "cross-built: the compiler cannot be run here";
#endif
    if (std::string(IPCPP_SANITIZE) != "") GTEST_SKIP() << "not repeated for sanitizers";
    if (std::string(IPCPP_CROSS_COMPILING) == "1") GTEST_SKIP() << "not repeated for cross builds";
  }
};

}  // namespace

TEST_F(Consumer, TheInstalledLibraryServesAProjectInCxx20) {
  consume_package("20");
}
TEST_F(Consumer, TheInstalledLibraryServesAProjectInCxx23) {
  consume_package("23");
}
TEST_F(Consumer, TheLibraryAsAFolderServesAProjectInCxx20) {
  consume_folder("20");
}
TEST_F(Consumer, TheLibraryAsAFolderServesAProjectInCxx23) {
  consume_folder("23");
}
