// The layers of docs/design: a unit imports only modules that stand above its own in the list,
// interfaces name no system header, and includes come before imports. Read from the sources
// themselves.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <string>
#include <vector>

namespace fs = std::filesystem;

namespace {

const std::vector<std::string> layers{"ipcpp.platform", "ipcpp.sync",  "ipcpp.malloc",
                                      "ipcpp.segment",  "ipcpp.queue", "ipcpp.containers",
                                      "ipcpp"};

std::size_t layer_of(const std::string& module) {
  const auto at = std::find(layers.begin(), layers.end(), module);
  return static_cast<std::size_t>(at - layers.begin());
}

struct unit {
  fs::path path;
  std::string module;  // "" for a file that is part of none
  bool interface = false;
  std::vector<std::string> imports;  // of whole modules
  std::vector<std::string> includes;
  bool include_after_import = false;
};

unit read(const fs::path& path) {
  static const std::regex declaration(R"(^(export )?module ([a-z._]+)(:[a-z_]+)?;.*)");
  static const std::regex import(R"(^(export )?import ([a-z._]+)?(:[a-z_]+)?;.*)");
  static const std::regex include(R"(^#\s*include\s+[<"]([^>"]+)[>"].*)");
  unit found;
  found.path = path;
  std::ifstream file(path);
  std::smatch match;
  bool imported = false;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (std::regex_match(line, match, declaration)) {
      found.module = match[2];
      found.interface = match[1].matched;
    } else if (std::regex_match(line, match, import)) {
      imported = true;
      if (match[2].matched) found.imports.push_back(match[2]);
    } else if (std::regex_match(line, match, include)) {
      found.includes.push_back(match[1]);
      found.include_after_import |= imported;
    }
  }
  return found;
}

std::vector<unit> units() {
  std::vector<unit> all;
  for (const char* folder : {"modules", "impl", "platform"})
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(IPCPP_SOURCE_DIR) / folder))
      if (entry.path().extension() == ".cppm" || entry.path().extension() == ".cpp")
        all.push_back(read(entry.path()));
  return all;
}

}  // namespace

TEST(Layers, AllModulesOfTheDesignExist) {
  const auto all = units();
  for (const auto& module : layers)
    EXPECT_TRUE(std::any_of(all.begin(), all.end(), [&](const unit& u) {
      return u.interface && u.module == module;
    })) << module;
  EXPECT_GT(all.size(), 20u);
}

TEST(Layers, AUnitImportsOnlyLowerLayers) {
  for (const unit& u : units()) {
    ASSERT_LT(layer_of(u.module), layers.size())
        << u.path << " belongs to module '" << u.module << "'";
    for (const auto& imported : u.imports) {
      EXPECT_LT(layer_of(imported), layer_of(u.module)) << u.path << " imports " << imported;
      const bool siblings = (u.module == "ipcpp.queue" && imported == "ipcpp.containers") ||
                            (u.module == "ipcpp.containers" && imported == "ipcpp.queue");
      EXPECT_FALSE(siblings) << u.path << ": queue and containers do not know each other";
    }
  }
}

TEST(Layers, AnInterfaceNamesNoSystemHeader) {
  static const std::regex standard(R"([a-z_]+)");
  for (const unit& u : units()) {
    if (!u.interface) continue;
    for (const auto& header : u.includes)
      EXPECT_TRUE(std::regex_match(header, standard)) << u.path << " includes <" << header << ">";
  }
}

TEST(Layers, IncludesComeBeforeImportsEverywhere) {
  for (const unit& u : units()) EXPECT_FALSE(u.include_after_import) << u.path;
  for (const char* folder : {"tests", "examples", "benchmarks"})
    for (const auto& entry :
         fs::recursive_directory_iterator(fs::path(IPCPP_SOURCE_DIR) / folder)) {
      if (entry.path().extension() != ".cpp") continue;
      EXPECT_FALSE(read(entry.path()).include_after_import) << entry.path();
    }
}

TEST(Layers, EveryUnitOpensByTellingWhatItIs) {
  for (const unit& u : units()) {
    std::ifstream file(u.path);
    std::string line;
    std::getline(file, line);
    EXPECT_TRUE(line.starts_with("// ")) << u.path;
  }
}
