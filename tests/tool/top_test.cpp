// `ipcpp top`, in a pipe and in a terminal (tmux).
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "tool.hpp"

using test::eventually;
using test::holder;
using test::tool;
using test::tool_json;

namespace {

// A terminal of its own, gone with this object.
class terminal {
 public:
  explicit terminal(const std::string& command) : socket_("ipcpp-" + test::unique_name()) {
    // tmux's server has an environment of its own.
    std::string line;
    for (const char* const name : {"IPCPP_DIRECTORY", "IPCPP_PLATFORM_VARIANT"})
      if (const char* const value = std::getenv(name); value != nullptr)
        line += std::string(name) + "='" + value + "' ";
    started_ = tmux({"-f", "/dev/null", "new-session", "-d", "-x", "110", "-y", "32",
                     "LANG=C.UTF-8 " + line + command});
  }
  ~terminal() { (void)tmux({"kill-server"}); }
  terminal(const terminal&) = delete;

  const test::outcome& started() const { return started_; }
  std::string screen() const { return tmux({"capture-pane", "-p"}).output; }
  void press(const std::string& key) const { (void)tmux({"send-keys", key}); }
  bool over() const { return tmux({"has-session"}).status != 0; }
  bool shows(const std::string& text) const {
    return eventually([&] { return screen().find(text) != std::string::npos; });
  }

 private:
  test::outcome tmux(std::vector<std::string> words) const {
    words.insert(words.begin(), {"tmux", "-L", socket_});
    return test::run(words);
  }
  std::string socket_;
  test::outcome started_;
};

}  // namespace

TEST(ToolTop, InAPipeItWritesPlainText) {
  const std::string name = test::unique_name();
  const holder one("make", name);
  const test::outcome text = tool({"top", "--batch", "-n", "2", "-d", "0.1"});
  EXPECT_EQ(text.status, 0);
  const std::size_t first = text.output.find(name);
  ASSERT_NE(first, std::string::npos) << text.output;
  EXPECT_NE(text.output.find(name, first + 1), std::string::npos) << "one look of two";
  EXPECT_EQ(text.output.find('\x1b'), std::string::npos);
  const auto looks = tool_json({"top", "-n", "2", "-d", "0.1"}).at("looks");
  EXPECT_EQ(looks.size(), 2u);
  EXPECT_EQ(tool({"top"}).status, 4) << "no terminal, no --batch";
}

TEST(ToolTop, InATerminalItIsLiveAndHearsKeys) {
  if (test::run({"tmux", "-V"}).status != 0)
    GTEST_SKIP() << "NOT TESTED: `ipcpp top` on a screen; install tmux";
  (void)tool({"clean"});  // what tests before this one left would be the first in the list
  const std::string name = test::unique_name();
  holder one("make", name);
  const terminal window(std::string(IPCPP_TOOL) + " top --delay 0.2");
  ASSERT_EQ(window.started().status, 0) << window.started().output;
  ASSERT_TRUE(window.shows(name)) << window.screen();
  EXPECT_TRUE(window.shows("MEMORY*")) << window.screen();
  EXPECT_TRUE(window.shows("= 42")) << "details\n" << window.screen();
  window.press("s");
  EXPECT_TRUE(window.shows("NAME*")) << window.screen();
  window.press("h");
  EXPECT_TRUE(window.shows("this help")) << window.screen();
  window.press("x");
  ASSERT_TRUE(window.shows(name)) << window.screen();
  // Somebody comes, grows, is killed.
  {
    holder two("open", name);
    EXPECT_TRUE(window.shows(std::to_string(two.pid()))) << window.screen();
    (void)two.tell("allocate");
    two.kill();
    EXPECT_TRUE(window.shows("1 + 1 dead")) << window.screen();
  }
  window.press("q");
  EXPECT_TRUE(eventually([&] { return window.over(); }));
}

TEST(ToolTop, AnUnknownTerminalIsAClearError) {
  if (test::run({"tmux", "-V"}).status != 0)
    GTEST_SKIP() << "NOT TESTED: `ipcpp top` on a screen; install tmux";
  const terminal window("sh -c 'TERM=nonsense " + std::string(IPCPP_TOOL) + " top; sleep 60'");
  EXPECT_TRUE(window.shows("unknown terminal")) << window.screen();
}
