// The command line of `ipcpp`, and that its manual and completions know all of it.
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "tool.hpp"

using test::tool;

namespace {

const std::vector<std::string> commands{"ls",  "show",   "top",   "check", "dump",
                                        "map", "limits", "clean", "rm",    "reclaim"};

std::string contents(const std::string& path) {
  std::ifstream file(std::string(IPCPP_SOURCE_DIR) + "/" + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

TEST(ToolCommandLine, MistakesAreToldAndEndWithTwo) {
  EXPECT_EQ(tool({}).status, 2);
  EXPECT_EQ(tool({"nonsense"}).status, 2);
  EXPECT_EQ(tool({"show"}).status, 2);
  EXPECT_EQ(tool({"ls", "--nonsense"}).status, 2);
  EXPECT_EQ(tool({"ls", "--color", "mauve"}).status, 2);
  EXPECT_NE(tool({"ls", "--nonsense"}).output.find("--nonsense"), std::string::npos);
}

TEST(ToolCommandLine, HelpHasExamples) {
  EXPECT_EQ(tool({"--version"}).status, 0);
  const test::outcome all = tool({"--help"});
  EXPECT_EQ(all.status, 0);
  for (const std::string& command : commands) {
    EXPECT_NE(all.output.find("  " + command + " "), std::string::npos) << command;
    const test::outcome one = tool({command, "--help"});
    EXPECT_EQ(one.status, 0);
    EXPECT_NE(one.output.find("Examples:"), std::string::npos) << one.output;
    EXPECT_NE(one.output.find("ipcpp " + command), std::string::npos) << one.output;
    EXPECT_NE(one.output.find("--json"), std::string::npos) << one.output;
  }
}

TEST(ToolCommandLine, ManualAndCompletionsKnowEveryOption) {
  std::string manual = contents("docs/man/ipcpp.1");
  manual = std::regex_replace(manual, std::regex(R"(\\-)"), "-");
  const std::string bash = contents("tools/completion/ipcpp.bash");
  const std::string zsh = contents("tools/completion/_ipcpp");
  const std::string fish = contents("tools/completion/ipcpp.fish");
  ASSERT_FALSE(manual.empty() || bash.empty() || zsh.empty() || fish.empty());
  static const std::regex option(R"(--[a-z]+(-[a-z]+)*)");
  for (const std::string& command : commands) {
    for (const std::string* const text :
         std::initializer_list<const std::string*>{&manual, &bash, &zsh, &fish})
      EXPECT_NE(text->find(command), std::string::npos) << command;
    const std::string help = tool({command, "--help"}).output;
    std::set<std::string> options;
    for (auto at = std::sregex_iterator(help.begin(), help.end(), option);
         at != std::sregex_iterator(); ++at)
      options.insert(at->str());
    options.erase("--colour");    // another spelling of --color
    options.erase("--help-all");  // of all commands
    for (const std::string& one : options) {
      EXPECT_NE(manual.find(one), std::string::npos) << "the manual lacks " << one;
      EXPECT_NE(bash.find(one), std::string::npos) << "bash's completion lacks " << one;
      EXPECT_NE(zsh.find(one), std::string::npos) << "zsh's completion lacks " << one;
      if (one != "--help")
        EXPECT_NE(fish.find("-l " + one.substr(2)), std::string::npos)
            << "fish's completion lacks " << one;
    }
  }
}

TEST(ToolCommandLine, BashCompletesNamesOfSegmentsAndObjects) {
  const std::string name = test::unique_name();
  auto mine = ipcpp::segment::create(name, {.max_size = 1 << 20});
  (void)mine.construct<int>("inbox", 1);
  const std::string tool_path = IPCPP_TOOL;
  const auto completes = [&](const std::string& words, int at) {
    return test::run({"bash", "-c",
                      "PATH=" + tool_path.substr(0, tool_path.rfind('/')) + ":$PATH; source " +
                          IPCPP_SOURCE_DIR + "/tools/completion/ipcpp.bash; COMP_WORDS=(" + words +
                          "); COMP_CWORD=" + std::to_string(at) +
                          "; _ipcpp; echo \"${COMPREPLY[@]}\""})
        .output;
  };
  EXPECT_EQ(completes("ipcpp rec", 1), "reclaim\n");
  EXPECT_EQ(completes("ipcpp show " + name.substr(0, name.size() - 1), 2), name + "\n");
  EXPECT_EQ(completes("ipcpp dump " + name + " in", 3), "inbox\n");
  EXPECT_EQ(completes("ipcpp check --ex", 2), "--exact\n");
}
