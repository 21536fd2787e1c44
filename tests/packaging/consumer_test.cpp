// Users' projects: the library as a folder and as an installed package, and the Debian package.
//
// Each consumer builds the library once more, which takes a minute or two. Two of them run always and
// cover both ways, both standards, both kinds of build between them; the full cross runs with
// IPCPP_PROVE=full (`./dev prove`).
#include <gtest/gtest.h>

#include <filesystem>
#include <ostream>
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

struct way {
  std::string standard;
  std::string kind;  // Debug, Release
};
void PrintTo(const way& how, std::ostream* out) {
  *out << "C++" << how.standard << ", " << how.kind;
}

void build_and_run(const std::string& project, const std::string& name, const way& how,
                   const std::string& where_ipcpp_is) {
  const fs::path build = work / (name + "-" + how.standard + "-" + how.kind);
  fs::remove_all(build);
  expect_success({IPCPP_CMAKE, "-S", (source / "tests/packaging" / project).string(), "-B",
                  build.string(), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=" + how.kind,
                  "-DCMAKE_CXX_COMPILER=" IPCPP_CXX_COMPILER, "-DCMAKE_CXX_FLAGS=" IPCPP_CXX_FLAGS,
                  "-DCMAKE_CXX_STANDARD=" + how.standard, where_ipcpp_is});
  if (testing::Test::HasFatalFailure()) return;
  expect_success({IPCPP_CMAKE, "--build", build.string()});
  if (testing::Test::HasFatalFailure()) return;
  const test::outcome result = test::run({(build / "app").string()});
  EXPECT_EQ(result.status, 0);
  EXPECT_EQ(result.output, "hello\n");
  fs::remove_all(build);
}

// One install serves consumers in either standard.
fs::path install(const std::string& name) {
  const fs::path prefix = work / ("prefix-" + name);
  fs::remove_all(prefix);
  expect_success({IPCPP_CMAKE, "--install", IPCPP_BINARY_DIR, "--prefix", prefix.string()});
  return prefix;
}

void consume_package(const way& how) {
  const fs::path prefix = install(how.standard + "-" + how.kind);
  if (testing::Test::HasFatalFailure()) return;
  build_and_run("consumer_package", "package", how, "-DCMAKE_PREFIX_PATH=" + prefix.string());
  fs::remove_all(prefix);
}

void consume_folder(const way& how) {
  build_and_run("consumer_subdirectory", "folder", how, "-DIPCPP_SOURCE_DIR=" + source.string());
}

void consume_fetched(const way& how) {
  build_and_run("consumer_fetched", "fetched", how, "-DIPCPP_SOURCE_DIR=" + source.string());
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

TEST_F(Consumer, TheInstalledLibraryServesAProject) {
  consume_package({"23", "Release"});
}
TEST_F(Consumer, TheLibraryAsAFolderServesAProject) {
  consume_folder({"20", "Debug"});
}

struct EveryConsumer : Consumer, testing::WithParamInterface<way> {
  void SetUp() override {
    if (!test::prove_in_full()) GTEST_SKIP() << "only with IPCPP_PROVE=full (./dev prove)";
    Consumer::SetUp();
  }
};

TEST_P(EveryConsumer, TheInstalledLibraryServesAProject) {
  consume_package(GetParam());
}
TEST_P(EveryConsumer, TheLibraryAsAFolderServesAProject) {
  consume_folder(GetParam());
}
TEST_P(EveryConsumer, TheFetchedLibraryServesAProject) {
  consume_fetched(GetParam());
}
INSTANTIATE_TEST_SUITE_P(Full, EveryConsumer,
                         testing::Values(way{"20", "Debug"}, way{"20", "Release"},
                                         way{"23", "Debug"}, way{"23", "Release"}),
                         [](const auto& info) {
                           return "Cxx" + info.param.standard + info.param.kind;
                         });

TEST_F(Consumer, TheInstalledTreeIsComplete) {
  const fs::path prefix = install("tree");
  if (testing::Test::HasFatalFailure()) return;
  EXPECT_TRUE(fs::exists(prefix / "share/ipcpp/modules/modules/ipcpp.cppm"));
  EXPECT_TRUE(fs::exists(prefix / "share/doc/ipcpp/README.md"));
#ifdef IPCPP_HAS_TOOL
  for (const char* file :
       {"share/man/man1/ipcpp.1", "share/bash-completion/completions/ipcpp",
        "share/fish/vendor_completions.d/ipcpp.fish", "share/zsh/vendor-completions/_ipcpp",
        "share/ipcpp/debugger/ipcpp_gdb.py", "share/doc/ipcpp/docs/tools.md"})
    EXPECT_TRUE(fs::exists(prefix / file)) << file;
  const test::outcome tool = test::run({(prefix / "bin/ipcpp").string(), "ls"});
  EXPECT_EQ(tool.status, 0) << tool.output;
#endif
  fs::remove_all(prefix);
}

TEST_F(Consumer, TheDebianPackageHoldsTheLibraryAndTheTool) {
  for (const char* tool : {"dpkg-deb", "dpkg-shlibdeps", "file"})
    if (test::run({tool, "--version"}).status != 0) GTEST_SKIP() << "CPack needs " << tool;
  const fs::path place = work / "deb";
  fs::remove_all(place);
  fs::create_directories(place);
  const std::string cpack = (fs::path(IPCPP_CMAKE).parent_path() / "cpack").string();
  expect_success({cpack, "-G", "DEB", "--config",
                  (fs::path(IPCPP_BINARY_DIR) / "CPackConfig.cmake").string(), "-B",
                  place.string()});
  if (testing::Test::HasFatalFailure()) return;
  std::string package;
  for (const auto& entry : fs::directory_iterator(place))
    if (entry.path().extension() == ".deb") package = entry.path().string();
  ASSERT_FALSE(package.empty());
  const std::string files = test::run({"dpkg-deb", "--contents", package}).output;
  EXPECT_NE(files.find("./usr/share/ipcpp/modules/modules/ipcpp.cppm"), std::string::npos);
#ifdef IPCPP_HAS_TOOL
  EXPECT_NE(files.find("./usr/bin/ipcpp"), std::string::npos) << files;
  EXPECT_NE(files.find("./usr/share/man/man1/ipcpp.1"), std::string::npos) << files;
#endif
  EXPECT_EQ(files.find(IPCPP_BINARY_DIR), std::string::npos) << "paths of the build folder";
  const std::string about = test::run({"dpkg-deb", "--info", package}).output;
  EXPECT_NE(about.find("Package: ipcpp"), std::string::npos) << about;
  fs::remove_all(place);
}
