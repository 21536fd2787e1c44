// word_index, the acceptance program: four builders at once over every text file of the project, compared
// with a plain count.
#include <gtest/gtest.h>

#include <array>
#include <cctype>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "roles.hpp"

namespace fs = std::filesystem;

namespace {

std::string content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::vector<std::string> text_files() {
  std::vector<std::string> found;
  for (auto it = fs::recursive_directory_iterator(IPCPP_SOURCE_DIR); it != fs::end(it); ++it) {
    const std::string name = it->path().filename().string();
    if (it->is_directory() && (name == "build" || name.starts_with('.')))
      it.disable_recursion_pending();
    if (it->is_regular_file() && content(it->path()).find('\0') == std::string::npos)
      found.push_back(it->path().string());
  }
  return found;
}

std::map<std::string, std::uint64_t> plain_count(const std::vector<std::string>& files) {
  std::map<std::string, std::uint64_t> counts;
  for (const std::string& file : files) {
    std::string word;
    for (const char c : content(file) + ' ') {
      const auto u = static_cast<unsigned char>(c);
      if (u < 128 && std::isalpha(u)) {
        word.push_back(static_cast<char>(std::tolower(u)));
      } else if (!word.empty()) {
        ++counts[word];
        word.clear();
      }
    }
  }
  return counts;
}

struct WordIndex : testing::Test {
  std::string segment = test::unique_name();
  void TearDown() override { (void)test::run({WORD_INDEX, "remove", segment}); }
};

}  // namespace

TEST_F(WordIndex, FourBuildersAtOnceCountWhatAPlainCountDoes) {
  const std::vector<std::string> files = text_files();
  ASSERT_GT(files.size(), 100u);
  const std::map<std::string, std::uint64_t> expected = plain_count(files);

  std::array<test::outcome, 4> results;
  std::vector<std::thread> builders;
  for (std::size_t b = 0; b < results.size(); ++b)
    builders.emplace_back([&, b] {
      std::vector<std::string> command{WORD_INDEX, "build", segment};
      for (std::size_t i = b; i < files.size(); i += results.size()) command.push_back(files[i]);
      results[b] = test::run(command);
    });
  for (std::thread& builder : builders) builder.join();
  for (const test::outcome& result : results) EXPECT_EQ(result.status, 0) << result.output;

  const test::outcome top = test::run({WORD_INDEX, "top", segment, "100000000"});
  ASSERT_EQ(top.status, 0) << top.output;
  std::map<std::string, std::uint64_t> counted;
  std::istringstream lines(top.output);
  std::uint64_t before = ~std::uint64_t{0};
  for (std::string word; lines >> word;) {
    std::uint64_t count = 0;
    lines >> count;
    EXPECT_LE(count, before);
    before = count;
    EXPECT_TRUE(counted.emplace(word, count).second) << word;
  }
  EXPECT_EQ(counted, expected);

  const test::outcome query =
      test::run({WORD_INDEX, "query", segment, "the", "nosuchwordatallinhere"});
  EXPECT_EQ(query.output.substr(0, query.output.find('\n')),
            "the " + std::to_string(expected.at("the")));
}

TEST_F(WordIndex, IsTheAcceptanceProgramUnchanged) {
  const fs::path original = fs::path(IPCPP_SOURCE_DIR) / "../shared/acceptance/word_index.cpp";
  if (!fs::exists(original)) GTEST_SKIP() << "the acceptance programs are not here";
  EXPECT_EQ(content(original),
            content(fs::path(IPCPP_SOURCE_DIR) / "examples/word_index/word_index.cpp"));
}
