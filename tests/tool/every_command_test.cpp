// Every command of `ipcpp` on every kind of segment: sound, with a dead process beside the living, left over by the dead,
// damaged, truncated, and no segment at all. As text and as JSON, each ends with a status that says what it found, never by
// a signal; what it says as JSON is JSON, and errors are among it.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tool.hpp"

using test::holder;
using test::json;

namespace fs = std::filesystem;

namespace {

fs::path file_of(const std::string& name) {
  return fs::path(std::getenv("IPCPP_DIRECTORY")) / ("ipcpp." + name);
}

// A copy of a segment's file under another name: nobody takes part in it.
std::string copied(const std::string& name) {
  const std::string other = test::unique_name();
  fs::copy_file(file_of(name), file_of(other));
  return other;
}

struct kind {
  const char* what;
  std::string name;
  int shown;      // status of show
  int drawn;      // of map
  int checked;    // of check
  int object;     // of dump NAME answer
  int reclaimed;  // of reclaim
  int removed;    // of rm without --force
};

void expect_ends(std::vector<std::string> words, int status, const std::string& what) {
  const std::string line = what + ": " + words.front();
  const test::outcome text = test::tool(words);
  EXPECT_EQ(text.status, status) << line << "\n" << text.output;
  EXPECT_FALSE(text.output.empty()) << line;
  words.emplace_back("--json");
  const test::outcome done = test::tool(words);
  EXPECT_EQ(done.status, status) << line << " --json\n" << done.output;
  // Standard error, with the same words for people, may follow.
  const std::string document = done.output.substr(0, done.output.find("\n}\n") + 3);
  const json found = json::parse(document, nullptr, false);
  ASSERT_FALSE(found.is_discarded()) << line << " --json\n" << done.output;
  if (status >= 3) EXPECT_TRUE(found.contains("error")) << line << " --json\n" << done.output;
}

}  // namespace

TEST(ToolCommands, EveryOneAnswersOnEveryKindOfSegment) {
  const std::string sound = test::unique_name();
  const holder user("make", sound);
  const std::string with_a_death = test::unique_name();
  const holder survivor("make", with_a_death);
  {
    holder victim("open", with_a_death);
    (void)victim.tell("lock");
    victim.kill();
  }
  const std::string left_over = test::unique_name();
  holder last("make", left_over);
  last.kill();
  const std::string damaged = copied(sound);
  {
    std::fstream file(file_of(damaged), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(512);  // the heap's header
    const std::uint64_t wrong[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    file.write(reinterpret_cast<const char*>(wrong), sizeof wrong);
  }
  const std::string truncated = copied(sound);
  fs::resize_file(file_of(truncated), 3000);
  const std::string text = test::unique_name();
  std::ofstream(file_of(text)) << "hello";

  for (const kind& one : std::vector<kind>{{"sound", sound, 0, 0, 0, 0, 0, 4},
                                           {"a death", with_a_death, 0, 0, 0, 0, 0, 4},
                                           {"left over", left_over, 0, 0, 0, 0, 4, 0},
                                           {"damaged", damaged, 0, 4, 1, 3, 4, 0},
                                           {"truncated", truncated, 0, 0, 1, 3, 4, 0},
                                           {"text", text, 4, 4, 1, 3, 4, 0},
                                           {"nothing", "no-such-name", 3, 3, 3, 3, 3, 3}}) {
    expect_ends({"ls"}, 0, one.what);
    expect_ends({"show", one.name, "--interval", "0"}, one.shown, one.what);
    expect_ends({"top", "--batch", "-n", "1", "-d", "0.1"}, 0, one.what);
    expect_ends({"check", one.name}, one.checked, one.what);
    // Bytes can be shown of anything.
    expect_ends({"dump", one.name}, one.shown == 3 ? 3 : 0, one.what);
    expect_ends({"dump", one.name, "answer"}, one.object, one.what);
    expect_ends({"map", one.name}, one.drawn, one.what);
    expect_ends({"limits"}, 0, one.what);
    expect_ends({"clean", "--dry-run"}, 0, one.what);
    expect_ends({"reclaim", one.name}, one.reclaimed, one.what);
    const test::outcome removed = test::tool({"rm", one.name, "--json"});
    EXPECT_EQ(removed.status, one.removed) << one.what << "\n" << removed.output;
    EXPECT_NE(removed.output.find(one.removed == 0 ? "\"refused\": []" : "\"removed\": []"),
              std::string::npos)
        << one.what << "\n"
        << removed.output;
  }
  for (const std::string& name : {damaged, truncated, text}) fs::remove(file_of(name));
}
